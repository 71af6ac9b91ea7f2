"""A dense layer and its activation under a squared loss: forward, dx, dW and db.

Beside the peers stand two of our own: `bare`, the network without bias and activation (the share of a row is what both
cost), and `apart`, the raw kernels one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from suites.case import Arrays, Case, Made
from suites.functions import SLOPES, VALUES


def cases() -> Iterator[Case]:
    for dtype in ("float32", "float64"):
        for activation, N, width in product(("relu", "tanh", "gelu"), (32, 128, 1024), (64, 256, 1024)):
            args = {"N": N, "width": width, "activation": activation}
            yield Case(f"{width}, batch {N}, {activation}", dtype, args, flops=6.0 * N * width**2, rtol=1e-4)


def inputs(rng: Any, dtype: str, N: int, width: int, activation: str) -> Arrays:
    return {
        "x": rng.standard_normal((N, width)).astype(dtype),
        "weight": (rng.standard_normal((width, width)) / np.sqrt(width)).astype(dtype),
        "bias": (0.1 * rng.standard_normal(width)).astype(dtype),
        "y": rng.standard_normal((N, width)).astype(dtype),
    }


def reference(v: Arrays, N: int, width: int, activation: str) -> list[Any]:
    a = v["x"] @ v["weight"].T + v["bias"]
    d = 2 * (VALUES[activation](a) - v["y"]) / (N * width) * SLOPES[activation](a)
    return [d @ v["weight"], d.T @ v["x"], d.sum(axis=0)]


def _network(v: Arrays, width: int, bias: bool, activation: str | None) -> tuple[Any, Any]:
    import gradiometer as gm

    dtype = str(v["x"].dtype)
    linear = gm.Linear(width, width, bias=bias, rng=0, dtype=dtype)
    linear.weight[...] = v["weight"]
    if bias:
        linear.bias[...] = v["bias"]
    net = gm.Sequential(linear, *([gm.Activation(activation, dtype=dtype)] if activation else []))
    return net, net._compile().network


def ours(v: Arrays, N: int, width: int, activation: str) -> Made:
    net, native = _network(v, width, True, activation)
    x, y, kept = v["x"], v["y"], []

    def run() -> None:
        kept[:] = [native.gradient(x, "mse", y, want_dx=True)[1]]

    def results() -> list[Any]:
        gradients = list(net.gradients.values())
        return [kept[0], *sorted(gradients, key=lambda g: -g.ndim)]

    return run, results


def bare(v: Arrays, N: int, width: int, activation: str) -> Made:
    _, native = _network(v, width, False, None)
    x, y = v["x"], v["y"]
    return lambda: native.gradient(x, "mse", y, want_dx=True), None


def apart(v: Arrays, N: int, width: int, activation: str) -> Made:
    import gradiometer as gm

    k, x, weight, bias, y = gm.kernels, v["x"], v["weight"], v["bias"], v["y"]
    a, h, kept = np.empty_like(y), np.empty_like(y), []

    def run() -> None:
        k.linear_forward(x, weight, bias, a)
        _, dy = k.loss("mse", k.forward(activation, a, h), y)
        kept[:] = k.linear_backward(x, weight, k.backward(activation, a, dy, dy))

    return run, lambda: kept


def torch(v: Arrays, N: int, width: int, activation: str) -> Made:
    import torch as t

    nn = t.nn.functional
    x, weight, bias = (t.from_numpy(v[name]).requires_grad_() for name in ("x", "weight", "bias"))
    y, f = t.from_numpy(v["y"]), getattr(nn, activation)

    def run() -> None:
        x.grad = weight.grad = bias.grad = None
        nn.mse_loss(f(nn.linear(x, weight, bias)), y).backward()

    return run, lambda: [x.grad.numpy(), weight.grad.numpy(), bias.grad.numpy()]
