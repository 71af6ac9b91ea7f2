"""Checks of the kernels on the CPU at hand: every instruction set it has, against float64 and the definitions."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradiometer import _core, kernels

__all__ = ["Check", "about", "checks"]

FORWARD_ULP, BACKWARD_ULP = 4.0, 6.0
"""Promised over all inputs, by the least exact activation."""

GEMM_SHAPES = ((1, 1, 1), (5, 7, 3), (17, 33, 65), (70, 40, 600))
FORMS: dict[Literal["NN", "NT", "TN"], tuple[bool, bool]] = {
    "NN": (False, False),
    "NT": (False, True),
    "TN": (True, False),
}


@dataclass(frozen=True)
class Check:
    """One comparison: the largest error found, and the largest allowed.

    Attributes
    ----------
    isa, dtype, name : str
    error, allowed : float
    unit : str
        ``"ulp"``, or what else `error` counts.
    """

    isa: str
    dtype: str
    name: str
    error: float
    allowed: float
    unit: str

    @property
    def passed(self) -> bool:
        """False for an error too large, or one that is not a number."""
        return self.error <= self.allowed


def about() -> dict[str, Any]:
    """Version, machine, and the names of all that can be chosen."""
    from gradiometer import init

    return {
        "version": _core.version(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "instruction sets": list(kernels.isas()),
        "chosen": kernels.isa(),
        "OpenMP": "yes" if _core.openmp() else "no",
        "threads": kernels.threads(),
        "subnormals": "flushed to zero by this process" if _core.flushes_subnormals() else "kept",
        "activations": list(kernels.activations()),
        "losses": [name for name in kernels.losses() if name != "dot"],
        "optimizers": list(kernels.optimizers()),
        "initialisers": list(init.names()),
    }


def checks() -> Iterator[Check]:
    """All checks, one after another; the chosen instruction set and the threads are as before at the end."""
    chosen, threads = kernels.isa(), kernels.threads()
    try:
        for isa in kernels.isas():
            kernels.set_isa(isa)
            for dtype in ("float32", "float64"):
                for check in (activation_checks, gemm_checks, batch_norm_checks):
                    for name, error, allowed, unit in check(np.dtype(dtype), isa):
                        yield Check(isa, dtype, name, error, allowed, unit)
    finally:
        kernels.set_isa(chosen)
        kernels.set_threads(threads)


Found = Iterator[tuple[str, float, float, str]]


def in_scalar_float64(isa: str, call: Callable[[], NDArray[Any]]) -> NDArray[np.float64]:
    """`call` with the scalar kernels: the plainest code of this build."""
    kernels.set_isa("scalar")
    try:
        return call()
    finally:
        kernels.set_isa(isa)


def ulps(value: NDArray[Any], truth: NDArray[np.float64], least: NDArray[np.float64]) -> float:
    """Largest error in units in the last place of the truth, or of `least` where the truth is smaller."""
    scale = np.spacing(np.maximum(np.abs(truth), least).astype(value.dtype)).astype(np.float64)
    return float(np.max(np.abs(value.astype(np.float64) - truth) / scale))


def activation_checks(dtype: np.dtype[Any], isa: str) -> Found:
    """Values and derivatives; float32 against float64, float64 against its scalar form and a difference quotient."""
    tiny = float(np.finfo(dtype).tiny)
    sizes = np.concatenate([np.geomspace(tiny / 64, 80.0, 4001), np.linspace(0.0, 12.0, 4001)])
    x = np.concatenate([-sizes, sizes]).astype(dtype)
    wide = x.astype(np.float64)
    ones, nothing = np.ones_like(x), np.zeros_like(wide)
    # Near a root of the derivative (silu, gelu) its terms cancel: the promise is then one of absolute error.
    terms = np.where(np.abs(wide) < 4.0, 0.25, 0.0)
    # Two float64 results, each within its promise.
    factor = 1.0 if dtype == np.float32 else 2.0
    for name in kernels.activations():
        y = kernels.forward(name, x)
        truth = in_scalar_float64(isa, lambda name=name: kernels.forward(name, wide))  # type: ignore[misc]
        yield name, ulps(y, truth, nothing), factor * FORWARD_ULP, "ulp"
        dx = kernels.backward(name, x, ones)
        truth = in_scalar_float64(isa, lambda name=name: kernels.backward(name, wide, np.ones_like(wide)))  # type: ignore[misc]
        yield f"{name} derivative", ulps(dx, truth, terms), factor * BACKWARD_ULP, "ulp"
        if dtype == np.float64:
            yield f"{name} derivative against a difference", difference(name), 1e-7, "absolute"
    yield (
        "subnormal kept",
        float(kernels.forward("identity", np.full(9, tiny / 8, dtype))[8] != dtype.type(tiny / 8)),
        0.0,
        "wrong",
    )


def difference(name: str) -> float:
    """Largest distance of the derivative from a central difference of the values, away from kinks at integers."""
    x = (np.arange(-1020, 1020) + 0.5) / 170.0
    step = 1e-5
    quotient = (kernels.forward(name, x + step) - kernels.forward(name, x - step)) / (2 * step)
    return float(np.max(np.abs(kernels.backward(name, x, np.ones_like(x)) - quotient)))


def gemm_checks(dtype: np.dtype[Any], isa: str) -> Found:
    """All forms and some odd shapes; then the same bits for one thread and for several."""
    rng = np.random.default_rng(0)
    eps = float(np.finfo(dtype).eps)
    for form, (a_turned, b_turned) in FORMS.items():
        error = 0.0
        for m, n, k in GEMM_SHAPES:
            a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
            got = kernels.gemm(a.T.copy() if a_turned else a, b.T.copy() if b_turned else b, form)
            wide = np.longdouble if dtype == np.float64 else np.float64
            # |error| <= k eps / 2 sum |a| |b|, whatever the order of the sum.
            bound = (k / 2 + 1) * eps * (np.abs(a).astype(wide) @ np.abs(b).astype(wide))
            error = max(error, float(np.max(np.abs(got - a.astype(wide) @ b.astype(wide)) / bound)))
        yield f"gemm {form}", error, 1.0, "of the bound"
    a, b = (rng.standard_normal((300, 300)).astype(dtype) for _ in range(2))
    yield "gemm, 1 thread and 4", different_bits(lambda: kernels.gemm(a, b)), 0.0, "elements"


def batch_norm_checks(dtype: np.dtype[Any], isa: str) -> Found:
    """Training, forward and backward, against the definition in float64; then the same bits for any threads."""
    rng = np.random.default_rng(0)
    x = (3.0 + rng.standard_normal((93, 37))).astype(dtype)
    dy = rng.standard_normal(x.shape).astype(dtype)
    gamma, beta = (rng.standard_normal((x.shape[1],)).astype(dtype) for _ in range(2))
    eps = float(np.finfo(dtype).eps)
    wide = x.astype(np.float64)
    deviation = np.sqrt(np.var(wide, axis=0) + 1e-5)
    normal = (wide - wide.mean(axis=0)) / deviation
    y, cache = kernels.batch_norm_forward(x, gamma, beta)
    error = np.abs(y - (normal * gamma + beta)).max() / (eps * np.abs(y).max())
    yield "batch norm", float(error), 8.0, "eps of the largest"
    dx, _, _ = kernels.batch_norm_backward(x, dy, cache, gamma)
    g: NDArray[np.float64] = dy.astype(np.float64) * gamma
    truth = (g - g.mean(axis=0) - normal * (g * normal).mean(axis=0)) / deviation
    yield (
        "batch norm dx",
        float(np.max(np.abs(dx - truth)) / (eps * np.max(np.abs(truth)))),
        8.0,
        "eps of the largest",
    )
    large = rng.standard_normal((2000, 64)).astype(dtype)
    yield (
        "batch norm, 1 thread and 4",
        different_bits(lambda: kernels.batch_norm_forward(large)[0]),
        0.0,
        "elements",
    )


def different_bits(call: Callable[[], NDArray[Any]]) -> float:
    """How many elements differ between one thread and four."""
    kernels.set_threads(1)
    alone = call()
    kernels.set_threads(4)
    together = call()
    kernels.set_threads(0)
    return float(np.count_nonzero(alone.view(np.uint8) != together.view(np.uint8)))
