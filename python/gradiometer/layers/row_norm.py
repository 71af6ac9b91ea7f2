"""Norms within a sample: layer norm, RMS norm, group norm over (N, C)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gradiometer.arguments import positive, real
from gradiometer.layers.module import Builder, Module

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["GroupNorm", "LayerNorm", "RMSNorm"]


class _RowNorm(Module):
    """What the three share: a width, eps, weight and bias."""

    _type: str

    def __init__(self, features: int, eps: float, weight: bool, bias: bool, dtype: str) -> None:
        super().__init__(dtype)
        self._features = features
        self.eps = real("eps", eps, 0.0)
        if self.eps == 0:
            raise ValueError(f"eps is {eps!r}; expected a positive number")
        if weight:
            self._arrays["weight"] = np.ones(features, dtype)
        if weight and bias:
            self._arrays["bias"] = np.zeros(features, dtype)

    @property
    def in_features(self) -> int:
        """Features of the input."""
        return self._features

    @property
    def weight(self) -> NDArray[Any] | None:
        """gamma (C), or None."""
        return self._arrays.get("weight")

    @property
    def bias(self) -> NDArray[Any] | None:
        """beta (C), or None."""
        return self._arrays.get("bias")

    def _emit(self, builder: Builder, x: int) -> int:
        if builder.graph.features(x) != self._features:
            raise ValueError(f"{self!r} gets {builder.graph.features(x)} features; expected {self._features}")
        return builder.add(self, self._type, (x,), eps=self.eps, affine="weight" in self._arrays, **self._attributes())

    def _attributes(self) -> dict[str, float]:
        return {"bias": "bias" in self._arrays}


class LayerNorm(_RowNorm):
    """``y = (x - mean) / sqrt(var + eps) * weight + bias``, mean and biased variance over the features of each sample;
    torch.nn.LayerNorm's names and defaults. Ba et al. 2016, arXiv:1607.06450.

    Parameters
    ----------
    normalized_shape : int or sequence of one int
        Features C.
    eps : float
        Positive.
    elementwise_affine : bool
        With weight (gamma).
    bias : bool
        And bias (beta).

    Raises
    ------
    ValueError, TypeError
        For a shape of more than one dimension, no positive integer, or an eps that is not positive.

    Examples
    --------
    >>> import gradiometer as gm
    >>> gm.LayerNorm(2)([[1.0, 3.0]]).round(3)
    array([[-1.,  1.]], dtype=float32)
    """

    _type = "layer_norm"

    def __init__(
        self,
        normalized_shape: int | tuple[int] | list[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: str = "float32",
    ) -> None:
        super().__init__(_width(normalized_shape), eps, elementwise_affine, bias, dtype)
        self.normalized_shape = (self._features,)

    def _config(self) -> dict[str, Any]:
        return {
            "normalized_shape": self.normalized_shape,
            "eps": self.eps,
            "elementwise_affine": "weight" in self._arrays,
            "bias": "bias" in self._arrays,
            "dtype": self.dtype,
        }


class RMSNorm(_RowNorm):
    """``y = x / sqrt(mean x^2 + eps) * weight``, the mean over the features of each sample; torch.nn.RMSNorm's names
    and defaults. Zhang & Sennrich 2019, arXiv:1910.07467.

    Parameters
    ----------
    normalized_shape : int or sequence of one int
        Features C.
    eps : float, optional
        Positive; None is the machine epsilon of the dtype.
    elementwise_affine : bool
        With weight (gamma).

    Raises
    ------
    ValueError, TypeError
        As `LayerNorm`.

    Examples
    --------
    >>> import gradiometer as gm
    >>> gm.RMSNorm(2)([[1.0, 7.0]]).round(3)
    array([[0.2, 1.4]], dtype=float32)
    """

    _type = "rms_norm"

    def __init__(
        self,
        normalized_shape: int | tuple[int] | list[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        dtype: str = "float32",
    ) -> None:
        Module.__init__(self, dtype)  # refuses a dtype that has no machine epsilon
        chosen = float(np.finfo(dtype).eps) if eps is None else eps
        super().__init__(_width(normalized_shape), chosen, elementwise_affine, False, dtype)
        self.normalized_shape = (self._features,)

    def _attributes(self) -> dict[str, float]:
        return {}

    def _config(self) -> dict[str, Any]:
        return {
            "normalized_shape": self.normalized_shape,
            "eps": self.eps,
            "elementwise_affine": "weight" in self._arrays,
            "dtype": self.dtype,
        }


class GroupNorm(_RowNorm):
    """`LayerNorm` over each of `num_groups` groups of neighbouring features; torch.nn.GroupNorm's names and defaults.
    Wu & He 2018, arXiv:1803.08494.

    Parameters
    ----------
    num_groups : int
        Divides `num_channels`.
    num_channels : int
        Features C.
    eps : float
        Positive.
    affine : bool
        With weight (gamma) and bias (beta).

    Raises
    ------
    ValueError, TypeError
        For groups that are not equal, no positive integers, or an eps that is not positive.

    Examples
    --------
    >>> import gradiometer as gm
    >>> gm.GroupNorm(2, 4)([[1.0, 3.0, 10.0, 30.0]]).round(3)
    array([[-1.,  1., -1.,  1.]], dtype=float32)
    """

    _type = "group_norm"

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        dtype: str = "float32",
    ) -> None:
        super().__init__(positive("num_channels", num_channels), eps, affine, affine, dtype)
        self.num_groups = positive("num_groups", num_groups)
        self.num_channels = self._features
        if self.num_channels % self.num_groups:
            raise ValueError(f"num_groups is {num_groups!r}; expected a divisor of num_channels, {num_channels!r}")

    def _attributes(self) -> dict[str, float]:
        return {**super()._attributes(), "groups": self.num_groups}

    def _config(self) -> dict[str, Any]:
        return {
            "num_groups": self.num_groups,
            "num_channels": self.num_channels,
            "eps": self.eps,
            "affine": "weight" in self._arrays,
            "dtype": self.dtype,
        }


def _width(shape: Any) -> int:
    if isinstance(shape, tuple | list):
        if len(shape) != 1:
            raise ValueError(f"normalized_shape is {shape!r}; expected one dimension, the features")
        shape = shape[0]
    return positive("normalized_shape", shape)
