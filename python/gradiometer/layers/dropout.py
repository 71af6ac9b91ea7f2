"""Dropout."""

from __future__ import annotations

from typing import Any

from gradiometer.arguments import real
from gradiometer.layers.module import Builder, Module

__all__ = ["Dropout"]


class Dropout(Module):
    """In training ``y = x m``, every element of m 0 with probability p, else ``1 / (1 - p)``; in evaluation ``y = x``.
    Srivastava et al. 2014, JMLR 15:1929.

    The mask is a function of seed, step, place in the network and element (Philox4x32-10): the same for any number of
    threads and any division into micro-batches. ``fit`` draws the seed from its `rng` and changes the step; a call, a
    ``backward`` and ``gm.measure`` take the mask of seed 0, step 1.

    Parameters
    ----------
    p : float
        0 to 1.

    Raises
    ------
    ValueError, TypeError
        For another p.

    Examples
    --------
    >>> import gradiometer as gm
    >>> layer = gm.Dropout(0.5)
    >>> layer([[1.0, 2.0]])
    array([[1., 2.]], dtype=float32)
    >>> sorted({float(v) for v in layer([[1.0] * 100], training=True)[0]})
    [0.0, 2.0]
    """

    def __init__(self, p: float = 0.5, *, dtype: str = "float32") -> None:
        super().__init__(dtype)
        self.p = real("p", p, 0.0, 1.0)

    def _config(self) -> dict[str, Any]:
        return {"p": self.p, "dtype": self.dtype}

    def _emit(self, builder: Builder, x: int) -> int:
        return builder.add(self, "dropout", (x,), p=self.p)
