"""The dense layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from gradiometer import init
from gradiometer.arguments import generator, positive
from gradiometer.layers.module import Builder, Module

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Linear"]


class Linear(Module):
    """``y = x weightᵀ + bias``: x (N, in_features), y (N, out_features).

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    rng : None, int, SeedSequence or Generator
        Weights and bias start as torch.nn.Linear's, U(-1/sqrt(in), 1/sqrt(in)).
    dtype : "float32" or "float64"

    Raises
    ------
    TypeError, ValueError
        For sizes that are no positive integers, or another dtype.

    Examples
    --------
    >>> import gradiometer as gm
    >>> layer = gm.Linear(3, 2, rng=0)
    >>> layer.weight.shape, layer([[1.0, 2.0, 3.0]]).shape
    ((2, 3), (1, 2))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rng: Any = None,
        dtype: str = "float32",
    ) -> None:
        super().__init__(dtype)
        self._in = positive("in_features", in_features)
        self.out_features = positive("out_features", out_features)
        rng = generator("rng", rng)
        self._arrays["weight"] = init.torch_default((self.out_features, self._in), rng=rng, dtype=dtype)
        if bias:
            bound = 1 / math.sqrt(self._in)
            self._arrays["bias"] = rng.uniform(-bound, bound, self.out_features).astype(dtype)

    @property
    def in_features(self) -> int:
        """Features of the input."""
        return self._in

    @property
    def weight(self) -> NDArray[Any]:
        """(out_features, in_features), a view that may be written to."""
        return self._arrays["weight"]

    @property
    def bias(self) -> NDArray[Any] | None:
        """(out_features), or None."""
        return self._arrays.get("bias")

    def _config(self) -> dict[str, Any]:
        return {
            "in_features": self._in,
            "out_features": self.out_features,
            "bias": "bias" in self._arrays,
            "dtype": self.dtype,
        }

    def _emit(self, builder: Builder, x: int) -> int:
        if builder.graph.features(x) != self._in:
            raise ValueError(f"{self!r} gets {builder.graph.features(x)} features; expected {self._in}")
        return builder.add(self, "linear", (x,), features=self.out_features, bias="bias" in self._arrays)
