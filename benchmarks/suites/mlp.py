"""Forward, loss and backward of a deep net, and the whole training step with Adam."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from suites.case import Arrays, Case, Made
from suites.networks import in_gradiometer, in_numpy, in_torch, weights_and_data

_RATE = 1e-3


def cases() -> Iterator[Case]:
    rows = [
        (64, 64, 32, "tanh", False, ""),
        (64, 64, 32, "relu", False, ""),
        (64, 64, 32, "tanh", True, ""),
        (64, 64, 32, "tanh", False, "adam"),
        (64, 256, 128, "tanh", False, ""),
        (64, 256, 128, "tanh", True, ""),
        (32, 1024, 128, "relu", False, ""),
        (16, 64, 1, "tanh", False, ""),
        (16, 64, 8, "tanh", False, ""),
    ]
    for dtype in ("float32", "float64"):
        for depth, width, batch, activation, norm, optimizer in rows:
            name = f"{depth} x {width}, batch {batch}, {activation}"
            name += " + batch norm" * norm + f" + {optimizer}" * bool(optimizer)
            args = {"depth": depth, "width": width, "batch": batch, "activation": activation}
            # A float32 gradient loses digits on its way through 64 layers (torch's alike: 4e-3 at 32 x 1024).
            rtol = 2e-2 if dtype == "float32" else 1e-9
            flops = 6.0 * depth * width * width * batch
            yield Case(name, dtype, {**args, "norm": norm, "optimizer": optimizer}, flops=flops, rtol=rtol)


def inputs(
    rng: Any, dtype: str, depth: int, width: int, batch: int, activation: str, norm: bool, optimizer: str
) -> Arrays:
    return weights_and_data(rng, dtype, depth, width, batch, activation)


def reference(v: Arrays, activation: str, norm: bool, **_: Any) -> list[Any]:
    """The loss and the gradients of the first and the last weight."""
    loss, gradients = in_numpy(v, activation, norm)
    return [np.array([loss]), gradients[0], gradients[-1]]


def ours(v: Arrays, activation: str, norm: bool, optimizer: str, **_: Any) -> Made:
    import gradiometer as gm

    net = in_gradiometer(v, activation, norm)
    native, x, y, values = net._compile().network, v["x"], v["y"], []
    if optimizer:
        adam = gm._core.Optimizer(optimizer)
        slots, count = np.zeros((adam.slots, len(native.parameters)), x.dtype), [0]

        def run() -> None:
            count[0] += 1
            values[:] = [native.step(x, "cross_entropy", y, adam, slots, _RATE, count[0])]
    else:

        def run() -> None:
            values[:] = [native.gradient(x, "cross_entropy", y)[0]]

    def results() -> list[Any]:
        g = list(net.gradients.values())
        return [np.array(values), g[0], g[-1]]

    return run, results


def torch(v: Arrays, activation: str, norm: bool, optimizer: str, **_: Any) -> Made:
    return _in_torch(in_torch(v, activation, norm), v, optimizer)


def compiled(v: Arrays, activation: str, norm: bool, optimizer: str, depth: int, **_: Any) -> Made | None:
    """torch.compile, where compiling ends within a minute or so."""
    import torch as t

    if depth > 16:
        return None
    return _in_torch(t.compile(in_torch(v, activation, norm)), v, optimizer)


def _in_torch(net: Any, v: Arrays, optimizer: str) -> Made:
    import torch as t

    x, y, values = t.from_numpy(v["x"]), t.from_numpy(v["y"]), []
    adam = t.optim.Adam(net.parameters(), lr=_RATE, foreach=True) if optimizer else None

    def run() -> None:
        net.zero_grad(set_to_none=True)
        loss = t.nn.functional.cross_entropy(net(x), y)
        loss.backward()
        if adam:
            adam.step()
        values[:] = [loss]

    def results() -> list[Any]:
        g = [p.grad.numpy() for p in net.parameters()]
        return [values[0].detach().numpy().reshape(1), g[0], g[-1]]

    return run, results
