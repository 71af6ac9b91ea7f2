"""BatchNorm1d in training, forward and backward, over (N, C) and (N, C, L)."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from suites.case import SIZE, Arrays, Case, Made


def cases() -> Iterator[Case]:
    for dtype in ("float32", "float64"):
        for shape in ((128, 256), (1024, 1024), (8192, 1024), (65536, 64), (32, 64, 1024)):
            for op, streams in (("forward", 2), ("both", 5)):
                # forward reads x and writes y, backward reads x and dy and writes dx, were each read once
                moved = streams * prod(shape) * SIZE[dtype]
                name = f"{'x'.join(map(str, shape))} {op}"
                yield Case(name, dtype, {"shape": shape, "op": op}, bytes=moved, rtol=1e-4)


def inputs(rng: Any, dtype: str, shape: tuple[int, ...], op: str) -> Arrays:
    return {
        "x": (3 + rng.standard_normal(shape)).astype(dtype),
        "dy": rng.standard_normal(shape).astype(dtype),
        "gamma": (1 + 0.1 * rng.standard_normal(shape[1])).astype(dtype),
        "beta": (0.1 * rng.standard_normal(shape[1])).astype(dtype),
    }


def reference(v: Arrays, shape: tuple[int, ...], op: str) -> list[Any]:
    x, dy = v["x"], v["dy"]
    axes = (0, *range(2, len(shape)))
    gamma, beta = (v[name].reshape(-1, *[1] * (len(shape) - 2)) for name in ("gamma", "beta"))
    inverse = 1 / np.sqrt(x.var(axis=axes, keepdims=True) + 1e-5)
    h = (x - x.mean(axis=axes, keepdims=True)) * inverse
    y = h * gamma + beta
    if op == "forward":
        return [y]
    means = dy.mean(axis=axes, keepdims=True), (dy * h).mean(axis=axes, keepdims=True)
    return [y, gamma * inverse * (dy - means[0] - h * means[1])]


def ours(v: Arrays, shape: tuple[int, ...], op: str) -> Made:
    import gradiometer as gm

    k, kept = gm.kernels, []
    y, dx = np.empty_like(v["x"]), np.empty_like(v["x"])

    def run() -> None:
        value, cache = k.batch_norm_forward(v["x"], v["gamma"], v["beta"], out=y)
        kept[:] = [value]
        if op == "both":
            kept.append(k.batch_norm_backward(v["x"], v["dy"], cache, v["gamma"], out=dx)[0])

    return run, lambda: kept


def fresh(v: Arrays, shape: tuple[int, ...], op: str) -> Made:
    """Ours into new memory at each call."""
    import gradiometer as gm

    k, kept = gm.kernels, []

    def run() -> None:
        value, cache = k.batch_norm_forward(v["x"], v["gamma"], v["beta"])
        kept[:] = [value]
        if op == "both":
            kept.append(k.batch_norm_backward(v["x"], v["dy"], cache, v["gamma"])[0])

    return run, lambda: kept


def torch(v: Arrays, shape: tuple[int, ...], op: str) -> Made:
    import torch as t

    x, dy, gamma, beta = (t.from_numpy(v[name]) for name in ("x", "dy", "gamma", "beta"))
    for leaf in (x, gamma, beta):
        leaf.requires_grad_()
    kept: list[Any] = []

    def run() -> None:
        x.grad = gamma.grad = beta.grad = None
        y = t.nn.functional.batch_norm(x, None, None, gamma, beta, training=True)
        kept[:] = [y.detach().numpy()]
        if op == "both":
            y.backward(dy)
            kept.append(x.grad.numpy())

    return run, lambda: kept
