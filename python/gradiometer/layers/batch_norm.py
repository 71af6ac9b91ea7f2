"""Batch normalisation over (N, C) and (N, C, L)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gradiometer import kernels
from gradiometer.arguments import positive, real, reals
from gradiometer.layers.module import Builder, Module

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["BatchNorm1d"]


class BatchNorm1d(Module):
    """``y = (x - mean) / sqrt(var + eps) * weight + bias`` by channel; torch.nn.BatchNorm1d's names and defaults.

    Training uses the batch's mean and biased variance and moves the running statistics (with the unbiased variance)
    by `momentum`; evaluation uses the running ones. Ioffe & Szegedy 2015, arXiv:1502.03167.

    Called by itself the layer takes (N, C) and (N, C, L), whose statistics go over N and L; a network's values are
    (N, C).

    Parameters
    ----------
    num_features : int
        Channels C.
    eps : float
        Positive.
    momentum : float or None
        0 to 1; None makes the running statistics means over all batches so far, every batch of equal weight.
    affine : bool
        With weight (gamma) and bias (beta).

    Raises
    ------
    ValueError, TypeError
        For what is not a positive integer, an eps that is not positive, a momentum outside 0 to 1.

    Examples
    --------
    >>> import gradiometer as gm
    >>> gm.BatchNorm1d(1)([[1.0], [3.0]], training=True).round(3)
    array([[-1.],
           [ 1.]], dtype=float32)
    >>> gm.BatchNorm1d(1)([[[1.0, 3.0]]], training=True).round(3)
    array([[[-1.,  1.]]], dtype=float32)
    """

    _state = ("running_mean", "running_var", "num_batches_tracked")

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        *,
        dtype: str = "float32",
    ) -> None:
        super().__init__(dtype)
        self.num_features = positive("num_features", num_features)
        self.eps = real("eps", eps, 0.0)
        if self.eps == 0:
            raise ValueError(f"eps is {eps!r}; expected a positive number")
        self.momentum = None if momentum is None else real("momentum", momentum, 0.0, 1.0)
        if affine:
            self._arrays["weight"] = np.ones(num_features, dtype)
            self._arrays["bias"] = np.zeros(num_features, dtype)
        self._arrays["running_mean"] = np.zeros(num_features, dtype)
        self._arrays["running_var"] = np.ones(num_features, dtype)
        self._arrays["num_batches_tracked"] = np.zeros((), dtype)

    def __call__(self, x: ArrayLike, *, training: bool = False) -> NDArray[Any]:
        """Forward pass over (N, C) or (N, C, L); running statistics are left as they are."""
        if np.ndim(x) != 3:
            return super().__call__(x, training=training)
        return self._normalised(reals("x", x, self.dtype), training)[0]

    def backward(
        self, x: ArrayLike, dy: ArrayLike, *, training: bool = True
    ) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        """Forward and backward pass: ``dx`` of the shape of x, (N, C) or (N, C, L), and the gradients of weight and
        bias; running statistics are left as they are.
        """
        if np.ndim(x) != 3:
            return super().backward(x, dy, training=training)
        x, dy = reals("x", x, self.dtype), reals("dy", dy, self.dtype)
        _, cache = self._normalised(x, training)
        dx, *gradients = kernels.batch_norm_backward(x, dy, cache, self.weight, training, self.eps)
        by_name = zip(("weight", "bias"), gradients, strict=True)
        return dx, {name: gradient for name, gradient in by_name if self.requires_grad.get(name)}

    def _normalised(self, x: NDArray[Any], training: bool) -> tuple[NDArray[Any], NDArray[Any]]:
        if x.shape[1] != self.num_features:
            raise ValueError(f"x has shape {x.shape}; expected (N, {self.num_features}, L)")
        mean, var = (None, None) if training else (self.running_mean, self.running_var)
        return kernels.batch_norm_forward(x, self.weight, self.bias, mean, var, training, eps=self.eps)

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

    @property
    def num_batches_tracked(self) -> int:
        """Training batches that moved the running statistics."""
        return int(self._arrays["num_batches_tracked"])

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
            self,
            "batch_norm",
            (x,),
            eps=self.eps,
            momentum=0.0 if self.momentum is None else self.momentum,
            affine="weight" in self._arrays,
            cumulative=self.momentum is None,
        )
