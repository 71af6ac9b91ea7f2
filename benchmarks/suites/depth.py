"""A step of 10,000 layers of 64, and the same layers as shallower nets (`shallow`), one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from suites.case import Arrays, Case, Made
from suites.networks import in_gradiometer, in_numpy, weights_and_data

_DEPTH, _WIDTH, _BATCH = 10_000, 64, 32


def cases() -> Iterator[Case]:
    for dtype in ("float32", "float64"):
        for against in (1000, 100):
            rtol = 5e-2 if dtype == "float32" else 1e-9
            flops = 6.0 * _DEPTH * _WIDTH**2 * _BATCH
            yield Case(f"10000 layers beside {against}", dtype, {"against": against}, flops=flops, rtol=rtol)


def inputs(rng: Any, dtype: str, against: int) -> Arrays:
    """Orthogonal weights: a net of tanh that neither dies nor explodes at this depth."""
    v = weights_and_data(rng, dtype, 1, _WIDTH, _BATCH, "tanh")
    square = rng.standard_normal((_DEPTH, _WIDTH, _WIDTH))
    return {**v, "weights": [np.linalg.qr(a)[0].astype(dtype) for a in square]}


def reference(v: Arrays, **_: Any) -> list[Any]:
    """The loss, and the gradient of the last weight (that of the first has lost its digits in float32)."""
    loss, gradients = in_numpy(v, "tanh")
    return [np.array(loss), gradients[-1]]


def ours(v: Arrays, **_: Any) -> Made:
    net = in_gradiometer(v, "tanh")
    native, x, y, kept = net._compile().network, v["x"], v["y"], [0.0]

    def run() -> None:
        kept[:] = [native.gradient(x, "cross_entropy", y)[0]]

    return run, lambda: [np.array(kept[0]), list(net.gradients.values())[-1]]


def shallow(v: Arrays, against: int) -> Made:
    native = in_gradiometer({**v, "weights": v["weights"][:against]}, "tanh")._compile().network
    x, y = v["x"], v["y"]

    def run() -> None:
        for _ in range(_DEPTH // against):
            native.gradient(x, "cross_entropy", y)

    return run, None
