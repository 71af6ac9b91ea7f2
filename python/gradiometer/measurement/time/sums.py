"""Sums over samples and units by step, from what the recurrent kernels give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradiometer import _core, kernels

__all__ = ["GATES", "Pass", "StepSums", "forward", "step_sums"]

Array = Any

GATES = {"lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n"), "rnn_tanh": (), "rnn_relu": ()}
"""In the order of the weights."""
SIGMOID = ("i", "f", "o", "r", "z")
CARRY = {"lstm": "f", "gru": "z"}
"""The gate by which the state goes on."""


@dataclass(frozen=True)
class Pass:
    """One layer in one direction after its forward pass; arrays are by step, (T, N, ...)."""

    cell: str
    x: Array
    weights: tuple[Array | None, ...]
    h0: Array | None
    c0: Array | None
    lengths: Array
    reverse: bool
    y: Array
    cache: Array


@dataclass(frozen=True)
class StepSums:
    """Float64 arrays by step (T); of a gate (gates, T), the gates in the order of the weights without g and n."""

    rows: Array
    h: Array
    c: Array
    dh: Array
    dc: Array
    carried: Array
    """Squares of the part of the gradient by the state that the memory alone has carried."""
    rest: Array
    """Squares of the gradient by the state less that part."""
    gate: Array
    shut: Array
    open: Array


def forward(
    cell: str,
    x: Array,
    weights: tuple[Array | None, ...],
    h0: Array | None,
    c0: Array | None,
    lengths: Array,
    reverse: bool,
) -> Pass:
    """Run a layer, keeping what backward needs."""
    made = _core.recurrent_forward(cell, x, weights, h0, c0, lengths, reverse)
    return Pass(cell, x, weights, h0, c0, lengths, reverse, made[0], made[3])


def step_sums(ran: Pass, dy: Array | None, dh_n: Array | None, dc_n: Array | None) -> tuple[StepSums, Array]:
    """The sums of one backward pass, and ``dx``."""
    T, N, H = ran.y.shape
    how = {"lengths": ran.lengths, "reverse": ran.reverse}
    made = _core.recurrent_backward(
        ran.cell, ran.x, ran.weights, ran.y, ran.cache, dy, dh_n, dc_n, ran.h0, **how, steps=True
    )
    names = GATES[ran.cell]
    values, c = _core.recurrent_gates(ran.cell, ran.weights, ran.y, ran.cache, **how)
    runs = np.arange(T)[:, None] < ran.lengths
    gates = {name: values[:, :, k * H : (k + 1) * H] for k, name in enumerate(names)}
    state = made["dc"] if ran.cell == "lstm" else made["dh"]
    carried, rest = np.zeros(T), np.zeros(T)
    if names:
        path = np.zeros((N, H))
        for t in range(T) if ran.reverse else range(T - 1, -1, -1):
            path = (_at_the_step(ran, gates, c, dy, dh_n, dc_n, t) + path) * runs[t][:, None]
            carried[t] = np.sum(path**2)
            rest[t] = np.sum((np.asarray(state[t], np.float64) - path) ** 2)
            path = path * gates[CARRY[ran.cell]][t]
    shown = [gates[name] for name in names if name in SIGMOID]
    running = runs[:, :, None]
    return (
        StepSums(
            rows=runs.sum(1),
            h=_squares(ran.y),
            c=_squares(c) if ran.cell == "lstm" else np.zeros(T),
            dh=_squares(made["dh"]),
            dc=_squares(made["dc"]) if ran.cell == "lstm" else np.zeros(T),
            carried=carried,
            rest=rest,
            gate=np.array([gate.sum((1, 2), dtype=np.float64) for gate in shown]),
            shut=np.array([np.sum((gate < 0.1) & running, (1, 2)) for gate in shown]),
            open=np.array([np.sum((gate > 0.9) & running, (1, 2)) for gate in shown]),
        ),
        made["dx"],
    )


def _at_the_step(
    ran: Pass, gates: dict[str, Array], c: Array, dy: Array | None, dh_n: Array | None, dc_n: Array | None, t: int
) -> Array:
    """The gradient by the state that the loss has at a step itself, (N, H) in float64; of samples that have ended
    anything."""
    N, H = ran.y.shape[1:]
    ends = np.full(N, t == 0) if ran.reverse else ran.lengths == t + 1
    by_h = np.zeros((N, H)) if dy is None else np.where(t < ran.lengths[:, None], dy[t], 0.0).astype(np.float64)
    if dh_n is not None:
        by_h[ends] += dh_n[ends]
    if ran.cell != "lstm":
        return by_h
    out = by_h * gates["o"][t] * kernels.backward("tanh", np.asarray(c[t], np.float64), np.ones((N, H)))
    if dc_n is not None:
        out[ends] += dc_n[ends]
    return out


def _squares(values: Array) -> Array:
    return np.sum(np.square(values, dtype=np.float64), (1, 2))
