"""Deep nets of equal layers without biases, the same weights in every library, and their gradients in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from suites.case import Arrays
from suites.functions import SLOPES, VALUES


def weights_and_data(rng: Any, dtype: str, depth: int, width: int, batch: int, activation: str) -> Arrays:
    scale = np.sqrt((2 if activation == "relu" else 1) / width)
    return {
        "weights": [(rng.standard_normal((width, width)) * scale).astype(dtype) for _ in range(depth)],
        "x": rng.standard_normal((batch, width)).astype(dtype),
        "y": rng.integers(0, width, batch),
    }


def in_numpy(v: Arrays, activation: str, norm: bool = False) -> tuple[float, list[Any]]:
    """Loss and the gradient of each weight."""
    batch, h, saved = len(v["x"]), v["x"], []
    for w in v["weights"]:
        a = h @ w.T
        inverse = 1 / np.sqrt(a.var(axis=0) + 1e-5) if norm else 1.0
        n = (a - a.mean(axis=0)) * inverse if norm else a
        saved.append((h, n, inverse))
        h = VALUES[activation](n)
    z = h - h.max(axis=1, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    loss = -np.mean(np.log(p[np.arange(batch), v["y"]]))
    d = p
    d[np.arange(batch), v["y"]] -= 1
    d /= batch
    gradients = []
    for w, (x, n, inverse) in zip(reversed(v["weights"]), reversed(saved), strict=True):
        d = d * SLOPES[activation](n)
        if norm:
            d = inverse * (d - d.mean(axis=0) - n * (d * n).mean(axis=0))
        gradients.append(d.T @ x)
        d = d @ w
    return float(loss), gradients[::-1]


def in_gradiometer(v: Arrays, activation: str, norm: bool = False) -> Any:
    import gradiometer as gm

    dtype, layers = str(v["x"].dtype), []
    for w in v["weights"]:
        linear = gm.Linear(len(w), len(w), bias=False, rng=0, dtype=dtype)
        linear.weight[...] = w
        layers += [linear, *([gm.BatchNorm1d(len(w), affine=False, dtype=dtype)] if norm else [])]
        layers.append(gm.Activation(activation, dtype=dtype))
    return gm.Sequential(*layers)


def in_torch(v: Arrays, activation: str, norm: bool = False) -> Any:
    import torch as t

    layers: list[Any] = []
    dtype = t.from_numpy(v["x"]).dtype
    for w in v["weights"]:
        linear = t.nn.Linear(len(w), len(w), bias=False, dtype=dtype)
        with t.no_grad():
            linear.weight.copy_(t.from_numpy(w))
        layers += [linear, *([t.nn.BatchNorm1d(len(w), affine=False, dtype=dtype)] if norm else [])]
        layers.append({"tanh": t.nn.Tanh, "relu": t.nn.ReLU}[activation]())
    return t.nn.Sequential(*layers)
