"""A recurrent layer's passes, and the sums over samples and units that its backward takes of every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradiometer import _core

__all__ = ["GATES", "SIGMOID", "Pass", "by_steps_back", "by_time", "forward"]

Array = Any

GATES = {
    "lstm": ("i", "f", "g", "o"),
    "lstm_norm": ("i", "f", "g", "o"),
    "gru": ("r", "z", "n"),
    "gru_reset_before": ("r", "z", "n"),
    "rnn_tanh": (),
    "rnn_relu": (),
}
"""In the order of the weights."""
SIGMOID = ("i", "f", "o", "r", "z")


@dataclass(frozen=True)
class Pass:
    """One layer in one direction after its forward pass; x and y are by step, (T, N, ...)."""

    cell: str
    x: Array
    weights: tuple[Array | None, ...]
    h0: Array | None
    c0: Array | None
    lengths: Array
    reverse: bool
    y: Array
    h_n: Array
    cache: Array

    @property
    def hidden(self) -> int:
        """Units, of which y has fewer where an LSTM projects them."""
        return len(self.weights[1]) // max(1, len(GATES[self.cell]))  # type: ignore[arg-type]


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
    y, h_n, _, cache = _core.recurrent_forward(cell, x, weights, h0, c0, _uneven(lengths, x), reverse)
    return Pass(cell, x, weights, h0, c0, lengths, reverse, y, h_n, cache)


def by_time(ran: Pass, dy: Array | None, dh_n: Array | None, dc_n: Array | None) -> tuple[dict[str, Array], Array]:
    """The sums of `kernels.lstm_backward`, entry t of time t, and ``dx``."""
    # The layer that goes from the last time to the first has t more steps to come at time t.
    made = _backward(ran, dy, dh_n, dc_n, from_end=ran.reverse, by_x=True)
    return made["measured"], made["dx"]


def by_steps_back(ran: Pass, dh_n: Array, dc_n: Array | None) -> dict[str, Array]:
    """The sums where the loss's derivative is one by the state after the last step: entry k of k steps before it."""
    measured: dict[str, Array] = _backward(ran, None, dh_n, dc_n, from_end=True, by_x=False)["measured"]
    return measured


def _backward(
    ran: Pass, dy: Array | None, dh_n: Array | None, dc_n: Array | None, *, from_end: bool, by_x: bool
) -> dict[str, Any]:
    return _core.recurrent_backward(
        ran.cell,
        ran.x,
        ran.weights,
        ran.y,
        ran.cache,
        dy,
        dh_n,
        dc_n,
        ran.h0,
        _uneven(ran.lengths, ran.x),
        ran.reverse,
        measure=True,
        from_end=from_end,
        by_x=by_x,
        by_weights=False,
    )


def _uneven(lengths: Array, x: Array) -> Array | None:
    """None where every sample has all steps: without lengths the walk is the faster one."""
    return lengths if np.any(lengths != len(x)) else None
