"""What it costs to see every layer: the same step with and without (`plain`) the measurement.

`norms`: of the output and its gradient, of every module as by torch's hooks; `everything`: what `gm.measure` looks at,
with the norms of single samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from suites.case import Arrays, Case, Made
from suites.networks import in_gradiometer, in_numpy, in_torch, weights_and_data


def cases() -> Iterator[Case]:
    for dtype in ("float32", "float64"):
        for width, batch in ((64, 32), (256, 128)):
            for seen in ("norms", "everything", "gm.measure"):
                args = {"width": width, "batch": batch, "seen": seen}
                rtol = 2e-2 if dtype == "float32" else 1e-9
                name = f"{seen}, 64 x {width}, batch {batch}, tanh"
                yield Case(name, dtype, args, flops=6.0 * 64 * width * width * batch, rtol=rtol)


def inputs(rng: Any, dtype: str, width: int, batch: int, seen: str) -> Arrays:
    return weights_and_data(rng, dtype, 64, width, batch, "tanh")


def reference(v: Arrays, **_: Any) -> list[Any]:
    """The norms of the gradients of the first and the last weight."""
    gradients = in_numpy(v, "tanh")[1]
    return [np.linalg.norm(gradients[0]), np.linalg.norm(gradients[-1])]


def ours(v: Arrays, seen: str, **_: Any) -> Made:
    import gradiometer as gm

    net, x, y = in_gradiometer(v, "tanh"), v["x"], v["y"]
    native, core = net._compile().network, gm._core
    taps = core.TAP_NORMS
    if seen == "everything":
        gm.measure(net, x, y, loss="cross_entropy")  # says which nodes
        taps = core.TAP_MOMENTS | core.TAP_ROWS | core.TAP_COLUMNS

    def run() -> None:
        if seen == "gm.measure":
            gm.measure(net, x, y, loss="cross_entropy")
        else:
            native.gradient(x, "cross_entropy", y, taps=taps)

    def results() -> list[Any]:
        g = list(net.gradients.values())
        return [np.linalg.norm(g[0]), np.linalg.norm(g[-1])]

    return run, results


def plain(v: Arrays, **_: Any) -> Made:
    native, x, y = in_gradiometer(v, "tanh")._compile().network, v["x"], v["y"]
    return lambda: native.gradient(x, "cross_entropy", y), None


def torch(v: Arrays, **_: Any) -> Made:
    """The norm of the output and of its gradient at every layer, by hooks."""
    import torch as t

    net, x, y = in_torch(v, "tanh"), t.from_numpy(v["x"]), t.from_numpy(v["y"])
    seen: list[Any] = []

    def look(module: Any, args: Any, output: Any) -> None:
        seen.append(output.detach().norm())
        output.register_hook(lambda gradient: seen.append(gradient.norm()))

    for module in net:
        module.register_forward_hook(look)

    def run() -> None:
        seen.clear()
        net.zero_grad(set_to_none=True)
        t.nn.functional.cross_entropy(net(x), y).backward()
        [float(norm) for norm in seen]

    def results() -> list[Any]:
        g = [p.grad.double().norm().numpy() for p in net.parameters()]
        return [g[0], g[-1]]

    return run, results
