"""Checks of the kernels on the CPU at hand: every instruction set it has, against the definitions written plainly."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradiometer import _core, kernels
from gradiometer.definitions import (
    ACTIVATIONS,
    LOSSES,
    OPTIMIZERS,
    RECURRENT,
    Real,
    layer_norm,
    log_softmax,
    sigmoid,
)
from gradiometer.recurrent import Stepper

__all__ = ["Check", "about", "checks"]

COARSE = np.finfo(np.longdouble).eps > 1e-18
"""Whether longdouble is no more than float64 here."""

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


def largest(found: Sequence[Check]) -> list[tuple[str, float, float, float, float, str]]:
    """A row a kernel: name, then error and allowed of float32 and of float64, each the worst over all instruction sets
    (NaN where there is no such check), and the unit."""
    by_name: dict[tuple[str, str], dict[str, list[Check]]] = {}
    for check in found:
        by_name.setdefault((check.name, check.unit), {}).setdefault(check.dtype, []).append(check)
    rows = []
    for (name, unit), of in by_name.items():
        numbers = []
        for dtype in ("float32", "float64"):
            worst = max(of.get(dtype, []), key=lambda check: (not check.passed, check.error), default=None)
            numbers += [math.nan, math.nan] if worst is None else [worst.error, worst.allowed]
        rows.append((name, numbers[0], numbers[1], numbers[2], numbers[3], unit))
    return rows


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
        "built with threads": "yes" if _core.threaded() else "no",
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
                for check in CHECKS:
                    for name, error, allowed, unit in check(np.dtype(dtype), isa):
                        yield Check(isa, dtype, name, error, allowed, unit)
    finally:
        kernels.set_isa(chosen)
        kernels.set_threads(threads)


Found = Iterator[tuple[str, float, float, str]]


def ulps(value: NDArray[Any], truth: Real, terms: Real | None, allowed: float) -> float:
    """Largest error in units in the last place of the truth; where `terms` are given an error of 4 rounding units of
    them counts as no more than what is allowed."""
    scale = np.spacing(np.abs(truth).astype(value.dtype)).astype(np.longdouble)
    error = np.abs(value.astype(np.longdouble) - truth)
    if terms is not None:
        scale = np.maximum(scale, 2 * np.finfo(value.dtype).eps * terms / allowed)
    return float(np.max(error / scale))


def activation_checks(dtype: np.dtype[Any], isa: str) -> Found:
    """Values and derivatives against `definitions`, on 16,000 numbers from the subnormal to 80 and at 0."""
    tiny = float(np.finfo(dtype).tiny)
    sizes = np.concatenate([np.geomspace(tiny / 64, 80.0, 4001), np.linspace(0.0, 12.0, 4001)])
    every = np.concatenate([-sizes, sizes]).astype(dtype)
    double = dtype == np.float64
    for name in kernels.activations():
        definition = ACTIVATIONS.get(name)
        if definition is None:
            yield f"{name} derivative by quotient", difference(name), 1e-7, "absolute"
            continue
        x = every[np.abs(every) <= definition.most] if double else every
        wide = x.astype(np.longdouble)
        allowed = definition.value_ulp[double]
        if name == "tanh" and isa == "avx512" and not double:
            allowed = 1.5
        # The definition itself: math.erf and erfc are good to an ulp of float64, and longdouble is float64 elsewhere.
        slack = 1.0 if double and (name in ("erf", "gelu") or COARSE) else 0.0
        yield name, ulps(kernels.forward(name, x), definition.value(wide), None, 1), allowed + slack, "ulp"
        dx = kernels.backward(name, x, np.ones_like(x))
        allowed = definition.derivative_ulp
        terms = definition.terms(wide) if definition.terms else None
        error = ulps(dx, definition.derivative(wide), terms, allowed or 1)
        yield f"{name} derivative", error, allowed + slack, "ulp"
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
    different = float(np.sum(kernels.gemm(a, kernels.pack(b)) != kernels.gemm(a, b)))
    yield "gemm of a packed matrix", different, 0.0, "elements"
    yield "gemm, 1 thread or 4", different_bits(lambda: kernels.gemm(a, b)), 0.0, "elements"


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
        "batch norm, threads",
        different_bits(lambda: kernels.batch_norm_forward(large)[0]),
        0.0,
        "elements",
    )


def close(name: str, got: Any, truth: Any, allowed: float = 8.0) -> tuple[str, float, float, str]:
    """The largest error in eps of the largest number of the truth."""
    eps = float(np.finfo(got.dtype if hasattr(got, "dtype") else np.float64).eps)
    error = np.max(np.abs(np.asarray(got, np.longdouble) - truth)) / (
        eps * max(np.max(np.abs(truth)), np.longdouble(1e-300))
    )
    return name, float(error), allowed, "eps of the largest"


def linear_checks(dtype: np.dtype[Any], isa: str) -> Found:
    """The dense layer with its bias, forward and backward."""
    rng = np.random.default_rng(1)
    x, weight, bias, dy = (rng.standard_normal(n).astype(dtype) for n in ((33, 50), (21, 50), (21,), (33, 21)))
    wide, w, d = (a.astype(np.longdouble) for a in (x, weight, dy))
    yield close("linear", kernels.linear_forward(x, weight, bias), wide @ w.T + bias)
    for name, got, truth in zip(
        ("dx", "dweight", "dbias"),
        kernels.linear_backward(x, weight, dy),
        (d @ w, d.T @ wide, d.sum(axis=0)),
        strict=True,
    ):
        yield close(f"linear {name}", got, truth)


def row_checks(dtype: np.dtype[Any], isa: str) -> Found:
    """Norms within a row, softmax, log-softmax, PReLU: forward and backward."""
    rng = np.random.default_rng(2)
    x, dy = ((2 + 3 * rng.standard_normal((29, 36))).astype(dtype), rng.standard_normal((29, 36)).astype(dtype))
    gamma, beta = (rng.standard_normal(36).astype(dtype) for _ in range(2))
    wide, g = x.astype(np.longdouble), dy.astype(np.longdouble) * gamma
    for name, groups, centred in (("layer norm", 1, True), ("group norm", 4, True), ("RMS norm", 1, False)):
        parts, dparts = wide.reshape(29, groups, -1), g.reshape(29, groups, -1)
        mean = parts.mean(axis=2, keepdims=True) if centred else np.longdouble(0)
        deviation = np.sqrt(((parts - mean) ** 2).mean(axis=2, keepdims=True) + np.longdouble(1e-5))
        normal = (parts - mean) / deviation
        y, cache = kernels.group_norm_forward(x, groups, gamma, beta, centred)
        yield close(name, y, normal.reshape(29, 36) * gamma + beta)
        centre = dparts.mean(axis=2, keepdims=True) if centred else np.longdouble(0)
        truth = (dparts - centre - normal * (dparts * normal).mean(axis=2, keepdims=True)) / deviation
        got = kernels.group_norm_backward(x, dy, cache, gamma, centred)
        flat = normal.reshape(29, 36)
        for part, value, wanted in zip(
            ("dx", "dgamma", "dbeta"), got, (truth.reshape(29, 36), (flat * dy).sum(axis=0), wide * 0 + dy), strict=True
        ):
            yield close(f"{name} {part}", value, wanted.sum(axis=0) if part == "dbeta" else wanted)
    log_p, d = log_softmax(wide), dy.astype(np.longdouble)
    p = np.exp(log_p)
    y, log_y = kernels.softmax_forward(x), kernels.log_softmax_forward(x)
    yield close("softmax", y, p)
    yield close("log_softmax", log_y, log_p)
    yield close("softmax dx", kernels.softmax_backward(y, dy), p * (d - (p * d).sum(axis=1, keepdims=True)))
    yield close("log_softmax dx", kernels.log_softmax_backward(log_y, dy), d - p * d.sum(axis=1, keepdims=True), 16.0)
    yield close("PReLU by feature", kernels.prelu_forward(x, gamma), np.where(wide > 0, wide, gamma * wide))
    dx, dweight = kernels.prelu_backward(x, gamma, dy)
    yield close("PReLU dx", dx, np.where(wide > 0, d, gamma * d))
    yield close("PReLU dweight", dweight, np.where(wide > 0, 0, wide * d).sum(axis=0))


def loss_checks(dtype: np.dtype[Any], isa: str) -> Found:
    """Values and derivatives of all losses."""
    rng = np.random.default_rng(3)
    y, values = (3 * rng.standard_normal((41, 13))).astype(dtype), rng.random((41, 13)).astype(dtype)
    for name, kind in kernels.losses().items():
        if name not in LOSSES:
            continue
        target = rng.integers(0, 13, 41) if kind == "classes" else values
        value, dy = kernels.loss(name, y, target)
        truth, slope = LOSSES[name](y.astype(np.longdouble), target)
        yield close(f"loss {name}", dtype.type(value), truth)
        yield close(f"loss {name} dy", dy, slope)


def optimizer_checks(dtype: np.dtype[Any], isa: str) -> Found:
    """Five steps of every optimiser."""
    rng = np.random.default_rng(4)
    start = rng.standard_normal(103).astype(dtype)
    gradients = [rng.standard_normal(103).astype(dtype) for _ in range(5)]
    for name in kernels.optimizers():
        if name not in OPTIMIZERS:
            continue
        definition, params = OPTIMIZERS[name]
        w, slots = start.copy(), np.zeros((kernels.optimizer_slots(name), 103), dtype)
        for step, g in enumerate(gradients, 1):
            kernels.optimizer_step(name, w, g, slots, 0.125, step, **params)
        wide = [g.astype(np.longdouble) for g in gradients]
        yield close(f"optimizer {name}", w, definition(start.astype(np.longdouble), wide, 0.125), 16.0)


LAYER = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
NORMS = ("norm_weight_ih_l0", "norm_weight_hh_l0", "norm_weight_c_l0", "norm_bias_c_l0")


def recurrent_checks(dtype: np.dtype[Any], isa: str) -> Found:
    """Sequences and steps against one sample a step at a time; gradients along a direction against differences."""
    T, N, I, H = 5, 3, 4, 19
    for cell, (gates, step) in RECURRENT.items():
        rng = np.random.default_rng(6)
        shapes: tuple[tuple[int, ...], ...] = ((gates * H, I), (gates * H, H), (gates * H,), (gates * H,))
        names = (*LAYER, *NORMS * (cell == "lstm_norm"))
        shapes += ((gates * H,), (gates * H,), (H,), (H,)) * (cell == "lstm_norm")
        arrays = [rng.standard_normal(n).astype(dtype) / 2 for n in ((T, N, I), *shapes, (N, H))]
        dy, dh_n = (rng.standard_normal(n).astype(dtype) for n in ((T, N, H), (N, H)))
        wide = [a.astype(np.longdouble) for a in arrays]

        def sequences(x: Real, *rest: Real, step: Any = step) -> tuple[Real, Real]:
            *weights, h0 = rest
            y, c_n = np.zeros((T, N, H), np.longdouble), np.zeros((N, H), np.longdouble)
            for n in range(N):
                h, c = h0[n], np.zeros(H, np.longdouble)
                for t in range(T):
                    h, c = step(x[t, n], h, c, weights)
                    y[t, n] = h
                c_n[n] = c
            return y, c_n

        x, *given, h0 = arrays
        weights, norm = given[:4], given[4:]
        family = cell.split("_")[0]
        options: dict[str, Any] = {"norm": norm} if norm else {}
        if cell == "gru_reset_before":
            options = {"reset_after": False}

        def kernel(name: str, family: str = family, options: Any = options) -> Any:
            return partial(getattr(kernels, f"{family}_{name}"), **options)

        forward, backward = kernel("forward"), kernel("backward")
        y, c_n = sequences(*wide)
        got = forward(x, weights, h0)
        yield close(cell, got[0], y)
        if family == "lstm":
            yield close(f"{cell}, memory", got[2], c_n)
        one_forward, one_backward = kernel("cell_forward"), kernel("cell_backward")
        one = one_forward(x[0], weights, h0)
        yield close(f"{cell} cell", one[0], y[0])
        if cell != "rnn":
            values = kernel("gates")(weights, got[0], got[-1])
            last = (values[0] if family == "lstm" else values)[0, 0, H : 2 * H]  # f of an LSTM, z of a GRU
            parts = [wide[k + 1] @ (wide[0][0, 0], wide[-1][0])[k] for k in (0, 1)]
            if norm:
                parts = [wide[k + 5] * layer_norm(part) for k, part in enumerate(parts)]
            a = sum(parts) + wide[3] + wide[4]
            yield close(f"{cell} gates", last, sigmoid(a[H : 2 * H]))

        stepper = Stepper("rnn_tanh" if cell == "rnn" else cell, dict(zip(names, given, strict=True)), N)
        stepper.h[:] = h0
        yield close(f"{cell} a step at a time", np.stack([stepper.step(part) for part in x]), y)
        seen = backward(x, weights, got[0], got[-1], dy, dh_n, h0=h0, steps=True, measure=True)
        for name, truth in (("h", y), ("dh", seen["dh"].astype(np.longdouble))):
            yield close(f"{cell} steps, {name}", seen["measured"][name].astype(dtype), (truth**2).sum((1, 2)))

        directions = [rng.standard_normal(a.shape) for a in wide]
        by = ("dx", *(f"d{name.removesuffix('_l0')}" for name in names), "dh0")
        gradients = backward(x, weights, got[0], got[-1], dy, dh_n, h0=h0)
        pull: Real = dy.astype(np.longdouble)
        pull[-1] += dh_n

        def along(steps: int, shift: float, pull: Real = pull, wide: Any = wide, directions: Any = directions) -> Real:
            moved = [a + shift * d for a, d in zip(wide, directions, strict=True)]
            return (pull[:steps] * sequences(*moved)[0][:steps]).sum()

        def slope(steps: int, along: Any = along) -> Real:
            """By five points: the error is of the fourth order of 1e-4."""
            near, far = (along(steps, h) - along(steps, -h) for h in (1e-4, 2e-4))
            return (8 * near - far) / np.longdouble(12e-4)

        parts = [gradients[name].astype(np.longdouble) * d for name, d in zip(by, directions, strict=True)]
        terms = sum(np.abs(part).sum() for part in parts)
        bound = max(64 * float(np.finfo(dtype).eps), 1e-10)
        yield (
            f"{cell} gradients",
            float(abs(sum(part.sum() for part in parts) - slope(T)) / terms),
            bound,
            "of the terms",
        )
        single = one_backward(x[0], weights, one[-1], pull[0].astype(dtype), h=h0)
        moves = [directions[0][0], *directions[1:]]
        parts = [single[name].astype(np.longdouble) * d for name, d in zip((*by[:-1], "dh"), moves, strict=True)]
        terms = sum(np.abs(part).sum() for part in parts)
        yield (
            f"{cell} cell gradients",
            float(abs(sum(part.sum() for part in parts) - slope(1)) / terms),
            bound,
            "of the terms",
        )


def other_checks(dtype: np.dtype[Any], isa: str) -> Found:
    """What a measurement sums, and dropout's mask."""
    from gradiometer.layers import Dropout

    x = (5 + np.random.default_rng(5).standard_normal(1003)).astype(dtype)
    m, wide = kernels.moments(x), x.astype(np.longdouble)
    for name, got, truth in (
        ("sum", m.sum, wide.sum()),
        ("norm", m.norm, np.sqrt((wide**2).sum())),
        ("deviation", m.deviation, wide.std()),
    ):
        yield close(f"moments, {name}", np.float64(got), truth)
    ones = np.ones((50, 200), dtype)
    y = Dropout(0.25, dtype=str(dtype))(ones, training=True)
    scale = dtype.type(1 / 0.75)
    yield (
        "dropout, values",
        float(np.count_nonzero((y != 0) & (np.abs(y - scale) > np.spacing(scale)))),
        0.0,
        "elements",
    )
    # Of 10,000 fair draws: five standard deviations.
    yield "dropout, share", abs(float(np.mean(y == 0)) - 0.25), 5 * (0.25 * 0.75 / 10_000) ** 0.5, "absolute"


def different_bits(call: Callable[[], NDArray[Any]]) -> float:
    """How many elements differ between one thread and four."""
    kernels.set_threads(1)
    alone = call()
    kernels.set_threads(4)
    together = call()
    kernels.set_threads(0)
    return float(np.count_nonzero(alone.view(np.uint8) != together.view(np.uint8)))


CHECKS: tuple[Callable[[np.dtype[Any], str], Found], ...] = (
    activation_checks,
    gemm_checks,
    linear_checks,
    batch_norm_checks,
    row_checks,
    loss_checks,
    optimizer_checks,
    recurrent_checks,
    other_checks,
)
