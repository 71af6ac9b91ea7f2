"""Norms within a row and their derivatives, by the definition, in long double."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any
WIDE = np.longdouble


def normalised(x: Array, groups: int, centred: bool, eps: float) -> tuple[Array, Array]:
    """h and 1 / sqrt(var + eps), each (N, C)."""
    parts = x.astype(WIDE).reshape(len(x), groups, -1)
    if centred:
        parts = parts - parts.mean(2, keepdims=True)
    inverse = 1 / np.sqrt((parts**2).mean(2, keepdims=True) + WIDE(eps))
    return (parts * inverse).reshape(x.shape), np.broadcast_to(inverse, parts.shape).reshape(x.shape)


def forward(x: Array, gamma: Array, beta: Array, groups: int, centred: bool, eps: float) -> Array:
    """y of x (N, C)."""
    return normalised(x, groups, centred, eps)[0] * gamma.astype(WIDE) + beta.astype(WIDE)


def backward(x: Array, dy: Array, gamma: Array, groups: int, centred: bool, eps: float) -> tuple[Array, Array, Array]:
    """dx, dgamma, dbeta: dy times the whole Jacobian d h[j] / d x[i], group by group."""
    x, dy, gamma = (a.astype(WIDE) for a in (x, dy, gamma))
    h, inverse = normalised(x, groups, centred, eps)
    n = x.shape[1] // groups
    dx = np.empty_like(x)
    for row in range(len(x)):
        for start in range(0, x.shape[1], n):
            at = slice(start, start + n)
            out = np.outer(h[row, at], h[row, at])
            jacobian = (np.eye(n, dtype=WIDE) - ((1 if centred else 0) + out) / n) * inverse[row, start]
            dx[row, at] = (dy * gamma)[row, at] @ jacobian
    return dx, (dy * h).sum(0), dy.sum(0)
