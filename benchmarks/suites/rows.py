"""What is taken over a row: LayerNorm and softmax forward and backward, cross entropy with its gradient."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from suites.case import SIZE, Arrays, Case, Made


def cases() -> Iterator[Case]:
    for dtype in ("float32", "float64"):
        for (op, streams), (N, C) in product(
            (("layer_norm", 5), ("softmax", 5), ("cross_entropy", 2)), ((128, 256), (4096, 1024))
        ):
            args = {"op": op, "N": N, "C": C}
            yield Case(f"{op} {N}x{C}", dtype, args, bytes=streams * N * C * SIZE[dtype], rtol=1e-4)


def inputs(rng: Any, dtype: str, op: str, N: int, C: int) -> Arrays:
    return {
        "x": (2 * rng.standard_normal((N, C))).astype(dtype),
        "dy": rng.standard_normal((N, C)).astype(dtype),
        "gamma": (1 + 0.1 * rng.standard_normal(C)).astype(dtype),
        "beta": (0.1 * rng.standard_normal(C)).astype(dtype),
        "target": rng.integers(0, C, N),
    }


def reference(v: Arrays, op: str, N: int, C: int) -> list[Any]:
    x, dy = v["x"], v["dy"]
    if op == "layer_norm":
        inverse = 1 / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
        h = (x - x.mean(axis=1, keepdims=True)) * inverse
        g = dy * v["gamma"]
        dx = inverse * (g - g.mean(axis=1, keepdims=True) - h * (g * h).mean(axis=1, keepdims=True))
        return [h * v["gamma"] + v["beta"], dx]
    e = np.exp(x - x.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    if op == "softmax":
        return [p, p * (dy - (dy * p).sum(axis=1, keepdims=True))]
    rows = np.arange(N)
    value = -np.log(p[rows, v["target"]]).mean()
    p[rows, v["target"]] -= 1
    return [np.array(value), p / N]


def ours(v: Arrays, op: str, N: int, C: int) -> Made | None:
    import gradiometer as gm

    k, x, dy, kept = gm.kernels, v["x"], v["dy"], []
    y, dx = np.empty_like(x), np.empty_like(x)

    def layer_norm() -> None:
        value, cache = k.group_norm_forward(x, 1, v["gamma"], v["beta"], out=y)
        kept[:] = [value, k.group_norm_backward(x, dy, cache, v["gamma"], out=dx)[0]]

    def softmax() -> None:
        kept[:] = [k.softmax_forward(x, out=y), k.softmax_backward(y, dy, out=dx)]

    def cross_entropy() -> None:
        kept[:] = k.loss("cross_entropy", x, v["target"])

    return {"layer_norm": layer_norm, "softmax": softmax, "cross_entropy": cross_entropy}[op], lambda: kept


def torch(v: Arrays, op: str, N: int, C: int) -> Made:
    import torch as t

    nn, kept = t.nn.functional, []
    x, gamma, beta = (t.from_numpy(v[name]).requires_grad_() for name in ("x", "gamma", "beta"))
    dy, target = t.from_numpy(v["dy"]), t.from_numpy(v["target"])

    def run() -> None:
        x.grad = gamma.grad = beta.grad = None
        if op == "cross_entropy":
            value = nn.cross_entropy(x, target)
            value.backward()
        else:
            value = nn.layer_norm(x, (C,), gamma, beta) if op == "layer_norm" else nn.softmax(x, 1)
            value.backward(dy)
        kept[:] = [value.detach().numpy(), x.grad.numpy()]

    return run, lambda: kept
