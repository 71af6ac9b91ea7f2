"""Softmax and log-softmax over the last axis and their derivatives, by the definition, in long double."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any


def parts(x: Array) -> tuple[Array, Array, Array]:
    """x - max x, its exponentials, and the logarithm of their sum, exact where that is near 1."""
    d = x.astype(np.longdouble)
    d = d - d.max(-1, keepdims=True)
    e = np.exp(d)
    at = d.argmax(-1)[..., None]
    others = e.copy()
    np.put_along_axis(others, at, 0, -1)
    return d, e, np.log1p(others.sum(-1, keepdims=True))


def softmax(x: Array) -> Array:
    """exp(x) / sum exp(x)."""
    _, e, _ = parts(x)
    return e / e.sum(-1, keepdims=True)


def log_softmax(x: Array) -> Array:
    """Its logarithm."""
    d, _, log_sum = parts(x)
    return d - log_sum


def softmax_backward(y: Array, dy: Array) -> Array:
    """y (dy - sum y dy)."""
    y, dy = y.astype(np.longdouble), dy.astype(np.longdouble)
    return y * (dy - (y * dy).sum(-1, keepdims=True))


def log_softmax_backward(y: Array, dy: Array) -> Array:
    """dy - exp(y) sum dy."""
    dy = dy.astype(np.longdouble)
    return dy - np.exp(y.astype(np.longdouble)) * dy.sum(-1, keepdims=True)
