"""Every activation, forward and backward (dx from x and dy), in L1/L2, L3 and DRAM; and the cost of a call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from suites.case import SIZE, Arrays, Case, Made
from suites.functions import SLOPES, VALUES

_CHECKED = 1 << 14  # elements, spread over the array


def cases() -> Iterator[Case]:
    for dtype in ("float32", "float64"):
        for op, streams in (("forward", 2), ("backward", 3)):
            for name in ("relu", "tanh"):
                args = {"op": op, "name": name, "n": 16}
                yield Case(f"{name} {op} 16", dtype, args, bytes=streams * 16 * SIZE[dtype])
            for name in VALUES:
                for power in (14, 20, 24):
                    args = {"op": op, "name": name, "n": 1 << power}
                    yield Case(f"{name} {op} 2^{power}", dtype, args, bytes=streams * SIZE[dtype] << power)


def inputs(rng: Any, dtype: str, op: str, name: str, n: int) -> Arrays:
    some = min(n, 1 << 16)  # the same numbers again and again: to draw 2^24 takes longer than to time them
    x, dy = 2 * rng.standard_normal(some), rng.standard_normal(some)
    return {"x": np.tile(x.astype(dtype), n // some), "dy": np.tile(dy.astype(dtype), n // some)}


def _some(array: Any) -> Any:
    return array[:: max(1, len(array) // _CHECKED)]


def reference(v: Arrays, op: str, name: str, n: int) -> list[Any]:
    x, dy = _some(v["x"]), _some(v["dy"])
    return [VALUES[name](x) if op == "forward" else dy * SLOPES[name](x)]


def ours(v: Arrays, op: str, name: str, n: int) -> Made:
    import gradiometer as gm

    x, dy, out = v["x"], v["dy"], np.empty_like(v["x"])
    if op == "forward":
        return lambda: gm.kernels.forward(name, x, out), lambda: [_some(out)]
    return lambda: gm.kernels.backward(name, x, dy, out), lambda: [_some(out)]


def fresh(v: Arrays, op: str, name: str, n: int) -> Made | None:
    """Ours into new memory at each call."""
    import gradiometer as gm

    x, dy, kept = v["x"], v["dy"], []
    if n < 1 << 20:
        return None

    def run() -> None:
        kept[:] = [gm.kernels.forward(name, x) if op == "forward" else gm.kernels.backward(name, x, dy)]

    return run, lambda: [_some(kept[0])]


def numpy(v: Arrays, op: str, name: str, n: int) -> Made | None:
    ufuncs = {"tanh": lambda x, out: np.tanh(x, out=out), "relu": lambda x, out: np.maximum(x, 0, out=out)}
    if op == "backward" or name not in ufuncs:
        return None
    x, out, run = v["x"], np.empty_like(v["x"]), ufuncs[name]
    return lambda: run(x, out), lambda: [_some(out)]


def torch(v: Arrays, op: str, name: str, n: int) -> Made:
    """Its own backward kernel without autograd, outputs reused, wherever it has one; autograd elsewhere."""
    import torch as t

    aten, nn = t.ops.aten, t.nn.functional
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    values: dict[str, Any] = {
        "identity": lambda x, out: out.copy_(x),
        "relu": lambda x, out: t.clamp_min(x, 0, out=out),
        "leaky_relu": lambda x, out: aten.leaky_relu.out(x, 0.01, out=out),
        "elu": lambda x, out: aten.elu.out(x, out=out),
        "selu": lambda x, out: aten.elu.out(x, alpha, scale, out=out),
        "gelu": lambda x, out: aten.gelu.out(x, out=out),
        "silu": lambda x, out: aten.silu.out(x, out=out),
        "sigmoid": lambda x, out: t.sigmoid(x, out=out),
        "tanh": lambda x, out: t.tanh(x, out=out),
        "celu": lambda x, out: aten.elu.out(x, out=out),
        "gelu_tanh": lambda x, out: aten.gelu.out(x, approximate="tanh", out=out),
        "mish": lambda x, out: aten.mish.out(x, out=out),
        "softplus": lambda x, out: aten.softplus.out(x, out=out),
        "logsigmoid": lambda x, out: aten.log_sigmoid.out(x, out=out),
        "tanhshrink": lambda x, out: nn.tanhshrink(x),
        "erf": lambda x, out: t.erf(x, out=out),
        "softsign": lambda x, out: nn.softsign(x),
        "hardtanh": lambda x, out: aten.hardtanh.out(x, out=out),
        "relu6": lambda x, out: aten.hardtanh.out(x, 0, 6, out=out),
        "hardsigmoid": lambda x, out: aten.hardsigmoid.out(x, out=out),
        "hardswish": lambda x, out: aten.hardswish.out(x, out=out),
        "prelu": lambda x, out: aten.leaky_relu.out(x, 0.25, out=out),
    }
    slopes: dict[str, Any] = {
        "identity": lambda x, y, dy, out: out.copy_(dy),
        "relu": lambda x, y, dy, out: aten.threshold_backward.grad_input(dy, x, 0, grad_input=out),
        "leaky_relu": lambda x, y, dy, out: aten.leaky_relu_backward.grad_input(dy, x, 0.01, False, grad_input=out),
        "elu": lambda x, y, dy, out: aten.elu_backward.grad_input(dy, 1, 1, 1, False, x, grad_input=out),
        "selu": lambda x, y, dy, out: aten.elu_backward.grad_input(dy, alpha, scale, 1, False, x, grad_input=out),
        "gelu": lambda x, y, dy, out: aten.gelu_backward.grad_input(dy, x, grad_input=out),
        "silu": lambda x, y, dy, out: aten.silu_backward.grad_input(dy, x, grad_input=out),
        "sigmoid": lambda x, y, dy, out: aten.sigmoid_backward.grad_input(dy, y, grad_input=out),
        "tanh": lambda x, y, dy, out: aten.tanh_backward.grad_input(dy, y, grad_input=out),
        "celu": lambda x, y, dy, out: aten.elu_backward.grad_input(dy, 1, 1, 1, False, x, grad_input=out),
        "gelu_tanh": lambda x, y, dy, out: aten.gelu_backward.grad_input(dy, x, approximate="tanh", grad_input=out),
        "mish": lambda x, y, dy, out: aten.mish_backward(dy, x),
        "softplus": lambda x, y, dy, out: aten.softplus_backward.grad_input(dy, x, 1, 20, grad_input=out),
        "hardtanh": lambda x, y, dy, out: aten.hardtanh_backward.grad_input(dy, x, -1, 1, grad_input=out),
        "relu6": lambda x, y, dy, out: aten.hardtanh_backward.grad_input(dy, x, 0, 6, grad_input=out),
        "hardsigmoid": lambda x, y, dy, out: aten.hardsigmoid_backward.grad_input(dy, x, grad_input=out),
        "hardswish": lambda x, y, dy, out: aten.hardswish_backward(dy, x),
        "prelu": lambda x, y, dy, out: aten.leaky_relu_backward.grad_input(dy, x, 0.25, False, grad_input=out),
    }
    x, dy, kept = t.from_numpy(v["x"]), t.from_numpy(v["dy"]), []
    out, value = t.empty_like(x), values[name]
    if op == "forward":

        def run() -> None:
            kept[:] = [value(x, out)]

        return run, lambda: [_some(kept[0].numpy())]
    if name in slopes:
        y, slope = value(x, t.empty_like(x)), slopes[name]

        def run() -> None:
            kept[:] = [slope(x, y, dy, out)]

        return run, lambda: [_some(kept[0].numpy())]
    leaf = x.clone().requires_grad_()
    plain = {"tanhshrink": nn.tanhshrink, "softsign": nn.softsign, "logsigmoid": nn.logsigmoid, "erf": t.erf}
    graph = plain[name](leaf)

    def run() -> None:
        kept[:] = t.autograd.grad(graph, leaf, dy, retain_graph=True)

    return run, lambda: [_some(kept[0].numpy())]
