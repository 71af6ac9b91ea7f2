"""The losses and their derivatives, by the definition, in long double."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any


def cross_entropy(y: Array, target: Array) -> tuple[Any, Array]:
    """Mean over rows of -log softmax(y)[target], exact where the probability of the target rounds to 1."""
    y = y.astype(np.longdouble)
    losses = np.empty(len(y), np.longdouble)
    dy = np.empty_like(y)
    for r, t in enumerate(target):
        e = np.exp(y[r] - y[r].max())
        others = np.delete(e, t).sum()
        losses[r] = np.log(e.sum()) - (y[r, t] - y[r].max()) if others > e[t] else np.log1p(others / e[t])
        dy[r] = e / e.sum()
        dy[r, t] = -others / e.sum()
    return losses.mean(), dy / len(y)


def mse(y: Array, target: Array) -> tuple[Any, Array]:
    """Mean over all of (y - target)²."""
    d = y.astype(np.longdouble) - target
    return (d**2).mean(), 2 * d / d.size


def dot(y: Array, target: Array) -> tuple[Any, Array]:
    """Sum of y target."""
    return (y.astype(np.longdouble) * target).sum(), target.astype(np.longdouble)


LOSSES = {"cross_entropy": cross_entropy, "mse": mse, "dot": dot}
