"""Batch norm and its derivatives, by the definition, in long double."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any


def forward(x: Array, gamma: Array, beta: Array, eps: float) -> tuple[Array, Array, Array]:
    """y, mean and biased variance of x (N, C)."""
    x = x.astype(np.longdouble)
    mean = x.mean(0)
    var = ((x - mean) ** 2).mean(0)
    return evaluate(x, gamma, beta, mean, var, eps), mean, var


def evaluate(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float) -> Array:
    """y with given statistics."""
    wide = [np.asarray(a).astype(np.longdouble) for a in (x, gamma, beta, mean, var)]
    x, gamma, beta, mean, var = wide
    return (x - mean) / np.sqrt(var + np.longdouble(eps)) * gamma + beta


def backward(x: Array, dy: Array, gamma: Array, eps: float) -> tuple[Array, Array, Array]:
    """dx, dgamma, dbeta: dy times the whole Jacobian d normalised[j] / d x[i], column by column."""
    x, dy, gamma = (a.astype(np.longdouble) for a in (x, dy, gamma))
    N = len(x)
    normalised, _, var = forward(x, np.ones_like(gamma), np.zeros_like(gamma), eps)
    dx = np.empty_like(x)
    for c in range(x.shape[1]):
        h = normalised[:, c]
        jacobian = (np.eye(N, dtype=np.longdouble) - (1 + np.outer(h, h)) / N) / np.sqrt(var[c] + np.longdouble(eps))
        dx[:, c] = gamma[c] * dy[:, c] @ jacobian
    return dx, (dy * normalised).sum(0), dy.sum(0)
