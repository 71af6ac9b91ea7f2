"""Softmax and its logarithm over the features."""

from __future__ import annotations

from typing import Any

from gradiometer.layers.module import Builder, Module

__all__ = ["LogSoftmax", "Softmax"]


class Softmax(Module):
    """``y = exp(x) / sum exp(x)`` over the features of each sample; torch.nn.Softmax(dim=-1).

    For training, leave it out and take the loss "cross_entropy" of its input: it holds a softmax, whose logarithm is
    exact there.

    Examples
    --------
    >>> import gradiometer as gm
    >>> gm.Softmax()([[0.0, 0.0]])
    array([[0.5, 0.5]], dtype=float32)
    """

    def _config(self) -> dict[str, Any]:
        return {"dtype": self.dtype}

    def _emit(self, builder: Builder, x: int) -> int:
        return builder.add(self, "softmax", (x,))


class LogSoftmax(Module):
    """``y = x - log sum exp(x)`` over the features of each sample; torch.nn.LogSoftmax(dim=-1).

    Examples
    --------
    >>> import gradiometer as gm
    >>> gm.LogSoftmax()([[0.0, 0.0]]).round(3)
    array([[-0.693, -0.693]], dtype=float32)
    """

    def _config(self) -> dict[str, Any]:
        return {"dtype": self.dtype}

    def _emit(self, builder: Builder, x: int) -> int:
        return builder.add(self, "log_softmax", (x,))
