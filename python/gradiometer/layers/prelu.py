"""PReLU: leaky ReLU that learns its slope."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from gradiometer import kernels
from gradiometer.arguments import positive, real
from gradiometer.layers.module import Builder, Module

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PReLU"]


class PReLU(Module):
    """``y = x``, and ``weight * x`` for x <= 0, the slope learned; torch.nn.PReLU's names and defaults. He, Zhang, Ren,
    Sun 2015, arXiv:1502.01852.

    The paper trains slopes without weight decay: ``fit(decay_matrices_only=True)``. ``gm.Activation("prelu")`` is the
    same function at a fixed slope.

    Parameters
    ----------
    num_parameters : int
        1, one slope for all features, or the number of features C.
    init : float
        Slope to begin with.

    Raises
    ------
    ValueError, TypeError
        For no positive integer, or a slope that is not within -1000 and 1000.

    Examples
    --------
    >>> import gradiometer as gm
    >>> layer = gm.PReLU()
    >>> layer([[-1.0, 2.0]])
    array([[-0.25,  2.  ]], dtype=float32)
    >>> layer.state_dict()["weight"]
    array([0.25], dtype=float32)
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25, *, dtype: str = "float32") -> None:
        super().__init__(dtype)
        self.num_parameters = positive("num_parameters", num_parameters)
        _, low, high = kernels.activation_parameters("prelu")["negative_slope"]
        self.init = real("init", init, low, high)
        self._arrays["weight"] = np.full(self.num_parameters, self.init, dtype)

    @property
    def in_features(self) -> int | None:
        """Features of the input; None for any."""
        return self.num_parameters if self.num_parameters > 1 else None

    @property
    def weight(self) -> NDArray[Any]:
        """Slopes (num_parameters)."""
        return self._arrays["weight"]

    @property
    def name(self) -> str:
        """Its kernel."""
        return "prelu"

    @property
    def params(self) -> dict[str, float]:
        """Of the kernel, for theory: of slopes that differ by feature the one with their mean square, with which y^2
        and its derivative's square have the same means."""
        slopes = kernels.moments(self.weight)
        size = min(math.sqrt(slopes.sum_squares / slopes.count), 1000.0)
        return {"negative_slope": math.copysign(size, slopes.sum)}

    def _config(self) -> dict[str, Any]:
        return {"num_parameters": self.num_parameters, "init": self.init, "dtype": self.dtype}

    def _emit(self, builder: Builder, x: int) -> int:
        if self.num_parameters not in (1, builder.graph.features(x)):
            raise ValueError(f"{self!r} gets {builder.graph.features(x)} features; expected {self.num_parameters}")
        return builder.add(self, "prelu", (x,), num_parameters=self.num_parameters, init=self.init)
