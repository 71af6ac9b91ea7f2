"""Sums over samples and units by step, from what the recurrent kernels give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradiometer import _core, kernels

__all__ = ["GATES", "SIGMOID", "Pass", "PathSums", "StepSums", "forward", "path_sums", "step_sums"]

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

    @property
    def hidden(self) -> int:
        """Units, of which y has fewer where an LSTM projects them."""
        return len(self.weights[1]) // max(1, len(GATES[self.cell]))  # type: ignore[arg-type]

    @property
    def projection(self) -> Array | None:
        """weight_hr (P, H)."""
        return self.weights[4] if len(self.weights) > 4 else None


@dataclass(frozen=True)
class StepSums:
    """Float64 arrays by step (T); of a gate (gates, T), the gates in the order of the weights without g and n."""

    rows: Array
    h: Array
    c: Array
    dh: Array
    dc: Array
    gate: Array
    shut: Array
    open: Array


@dataclass(frozen=True)
class PathSums:
    """Float64 arrays by step (T): sums of squares of the gradient by the state, of the part of it that the memory alone
    has carried, and of the rest."""

    state: Array
    carried: Array
    rest: Array


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
    """What is seen of every step in one backward pass, and ``dx``."""
    T = len(ran.y)
    made = _backward(ran, dy, dh_n, dc_n)
    gates, c = _gates(ran)
    runs = np.arange(T)[:, None] < ran.lengths
    shown = [gates[name] for name in GATES[ran.cell] if name in SIGMOID]
    beyond = ran.hidden * np.sum(~runs, 1)  # where a gate reads 0
    return (
        StepSums(
            rows=runs.sum(1),
            h=_squares(ran.y),
            c=_squares(c) if ran.cell == "lstm" else np.zeros(T),
            dh=_squares(made["dh"]),
            dc=_squares(made["dc"]) if ran.cell == "lstm" else np.zeros(T),
            gate=np.array([gate.sum((1, 2), dtype=np.float64) for gate in shown]),
            shut=np.array([np.count_nonzero(gate < 0.1, (1, 2)) - beyond for gate in shown]),
            open=np.array([np.count_nonzero(gate > 0.9, (1, 2)) for gate in shown]),
        ),
        made["dx"],
    )


def path_sums(ran: Pass, dh_n: Array, dc_n: Array | None) -> PathSums:
    """How a gradient by the last state goes back."""
    T, N, _ = ran.y.shape
    made = _backward(ran, None, dh_n, dc_n)
    state = made["dc"] if ran.cell == "lstm" else made["dh"]
    carried, rest = np.zeros(T), np.zeros(T)
    if GATES[ran.cell]:
        gates, c = _gates(ran)
        path = np.zeros((N, ran.hidden))
        for t in range(T) if ran.reverse else range(T - 1, -1, -1):
            path += _at_the_step(ran, gates, c, dh_n, dc_n, t)
            path[t >= ran.lengths] = 0.0
            carried[t] = np.sum(path**2)
            rest[t] = np.sum((state[t] - path) ** 2)
            path *= gates[CARRY[ran.cell]][t]
    return PathSums(_squares(state), carried, rest)


def _backward(ran: Pass, dy: Array | None, dh_n: Array | None, dc_n: Array | None) -> dict[str, Array]:
    made: dict[str, Array] = _core.recurrent_backward(
        ran.cell,
        ran.x,
        ran.weights,
        ran.y,
        ran.cache,
        dy,
        dh_n,
        dc_n,
        ran.h0,
        lengths=ran.lengths,
        reverse=ran.reverse,
        steps=True,
    )
    return made


def _gates(ran: Pass) -> tuple[dict[str, Array], Array]:
    """Gates by name, and c; none of an RNN."""
    names, H = GATES[ran.cell], ran.hidden
    if not names:
        return {}, None
    values, c = _core.recurrent_gates(ran.cell, ran.weights, ran.y, ran.cache, lengths=ran.lengths, reverse=ran.reverse)
    return {name: values[:, :, k * H : (k + 1) * H] for k, name in enumerate(names)}, c


def _at_the_step(ran: Pass, gates: dict[str, Array], c: Array, dh_n: Array, dc_n: Array | None, t: int) -> Array:
    """The gradient by the state that `dh_n` and `dc_n` have at a step itself, (N, H) in float64."""
    ends = (ran.lengths > 0) & (t == 0) if ran.reverse else ran.lengths == t + 1
    out = np.zeros((len(ends), ran.hidden))
    if not ends.any():
        return out
    out[ends] = dh_n[ends] if ran.projection is None else dh_n[ends].astype(np.float64) @ ran.projection
    if ran.cell == "lstm":
        slope = kernels.backward("tanh", c[t, ends].astype(np.float64), np.ones((np.count_nonzero(ends), out.shape[1])))
        out[ends] *= gates["o"][t, ends] * slope
        if dc_n is not None:
            out[ends] += dc_n[ends]
    return out


def _squares(values: Array) -> Array:
    return np.sum(np.square(values, dtype=np.float64), (1, 2))
