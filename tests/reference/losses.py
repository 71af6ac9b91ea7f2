"""The losses and their derivatives, by the definition, in long double."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any


def cross_entropy(
    y: Array, target: Array, class_weights: Any = None, label_smoothing: float = 0.0
) -> tuple[Any, Array]:
    """Mean over rows of -log softmax(y)[target], exact where the probability of the target rounds to 1; weighted by
    class, of targets mixed with the uniform distribution."""
    y = y.astype(np.longdouble)
    C = y.shape[1]
    w = np.ones(C, np.longdouble) if class_weights is None else np.asarray(class_weights, np.longdouble)
    losses = np.empty(len(y), np.longdouble)
    dy = np.empty_like(y)
    for r, t in enumerate(target):
        e = np.exp(y[r] - y[r].max())
        total = e.sum()
        others = np.delete(e, t).sum()
        own = np.log(total) - (y[r, t] - y[r].max()) if others > e[t] else np.log1p(others / e[t])
        derivative = e / total
        derivative[t] = -others / total
        losses[r], dy[r] = (1 - label_smoothing) * w[t] * own, (1 - label_smoothing) * w[t] * derivative
        for c in range(C if label_smoothing else 0):
            share = label_smoothing / C * w[c]
            losses[r] += share * (np.log(total) - (y[r, c] - y[r].max()))
            dy[r] += share * (e / total - (np.arange(C) == c))
    divisor = w[target].sum()
    return losses.sum() / divisor, dy / divisor


def mse(y: Array, target: Array) -> tuple[Any, Array]:
    """Mean over all of (y - target)²."""
    d = y.astype(np.longdouble) - target
    return (d**2).mean(), 2 * d / d.size


def dot(y: Array, target: Array) -> tuple[Any, Array]:
    """Sum of y target."""
    return (y.astype(np.longdouble) * target).sum(), target.astype(np.longdouble)


def huber(y: Array, target: Array, delta: float = 1.0) -> tuple[Any, Array]:
    """Mean over all of half the square, continued as a line from |y - target| = delta on."""
    d = y.astype(np.longdouble) - target
    values = np.where(np.abs(d) <= delta, d**2 / 2, delta * np.abs(d) - np.longdouble(delta) ** 2 / 2)
    return values.mean(), np.clip(d, -delta, delta) / d.size


def bce_with_logits(y: Array, target: Array) -> tuple[Any, Array]:
    """Mean over all of -t log p - (1 - t) log(1 - p), p = 1 / (1 + exp(-y))."""
    y, t = y.astype(np.longdouble), target.astype(np.longdouble)
    p, q = 1 / (1 + np.exp(-y)), 1 / (1 + np.exp(y))
    values = t * np.log1p(np.exp(-y)) + (1 - t) * np.log1p(np.exp(y))
    return values.mean(), ((1 - t) * p - t * q) / y.size


LOSSES = {"cross_entropy": cross_entropy, "mse": mse, "huber": huber, "bce_with_logits": bce_with_logits, "dot": dot}
