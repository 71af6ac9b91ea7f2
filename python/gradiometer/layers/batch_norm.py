"""Batch normalisation over (N, C)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gradiometer.arguments import positive, real
from gradiometer.layers.module import Builder, Module

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BatchNorm1d"]


class BatchNorm1d(Module):
    """``y = (x - mean) / sqrt(var + eps) * weight + bias`` by feature; torch.nn.BatchNorm1d's names and defaults.

    Training uses the batch's mean and biased variance and moves the running statistics (with the unbiased variance)
    by `momentum`; evaluation uses the running ones. Ioffe & Szegedy 2015, arXiv:1502.03167.

    Parameters
    ----------
    num_features : int
    eps : float
        Positive.
    momentum : float
        0 to 1.
    affine : bool
        With weight (gamma) and bias (beta).

    Examples
    --------
    >>> import gradiometer as gm
    >>> gm.BatchNorm1d(1)([[1.0], [3.0]], training=True).round(3)
    array([[-1.],
           [ 1.]], dtype=float32)
    """

    _state = ("running_mean", "running_var")

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        *,
        dtype: str = "float32",
    ) -> None:
        super().__init__(dtype)
        self.num_features = positive("num_features", num_features)
        self.eps = real("eps", eps, 0.0)
        if self.eps == 0:
            raise ValueError(f"eps is {eps!r}; expected a positive number")
        self.momentum = real("momentum", momentum, 0.0, 1.0)
        if affine:
            self._arrays["weight"] = np.ones(num_features, dtype)
            self._arrays["bias"] = np.zeros(num_features, dtype)
        self._arrays["running_mean"] = np.zeros(num_features, dtype)
        self._arrays["running_var"] = np.ones(num_features, dtype)

    @property
    def in_features(self) -> int:
        """Features of the input."""
        return self.num_features

    @property
    def weight(self) -> NDArray[Any] | None:
        """gamma (C), or None."""
        return self._arrays.get("weight")

    @property
    def bias(self) -> NDArray[Any] | None:
        """beta (C), or None."""
        return self._arrays.get("bias")

    @property
    def running_mean(self) -> NDArray[Any]:
        """(C)."""
        return self._arrays["running_mean"]

    @property
    def running_var(self) -> NDArray[Any]:
        """(C), unbiased."""
        return self._arrays["running_var"]

    def _config(self) -> dict[str, Any]:
        return {
            "num_features": self.num_features,
            "eps": self.eps,
            "momentum": self.momentum,
            "affine": "weight" in self._arrays,
            "dtype": self.dtype,
        }

    def _emit(self, builder: Builder, x: int) -> int:
        if builder.graph.features(x) != self.num_features:
            raise ValueError(f"{self!r} gets {builder.graph.features(x)} features; expected {self.num_features}")
        return builder.add(
            self, "batch_norm", (x,), eps=self.eps, momentum=self.momentum, affine="weight" in self._arrays
        )
