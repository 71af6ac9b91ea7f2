"""What several rules read off a measurement through time in the same way."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradiometer.diagnosis.reading import SMALLEST
from gradiometer.measurement.time import GateTrace, TimeMeasurement
from gradiometer.measurement.time.text import average, furthest
from gradiometer.report.text import percent, scientific

__all__ = ["at_first_step", "average", "carry", "furthest", "left_in_words", "weakest"]


def weakest(measured: Sequence[TimeMeasurement]) -> TimeMeasurement:
    """The layer with the smallest factor a step."""
    return min(measured, key=lambda each: each.decay.factor)


def at_first_step(measured: TimeMeasurement) -> float:
    """What is left of the last step's gradient at the first step of the longest sequences: measured as far as it was,
    carried on by the factor."""
    decay, steps = measured.decay, measured.steps - 1
    last = min(decay.span[1], steps)
    if last >= len(decay.norms):
        return math.nan
    if decay.factor == 0.0:
        return 0.0 if steps > last else decay.norms[last]
    exponent = math.log(decay.norms[last]) + (steps - last) * math.log(decay.factor) if decay.norms[last] else -math.inf
    return math.exp(min(exponent, 700.0))


def left_in_words(measured: TimeMeasurement, dtype: str) -> str:
    """`at_first_step`, with a ``~`` where it was carried on, and no number where the dtype has no digits for it."""
    arrives, tiny = at_first_step(measured), SMALLEST[dtype]
    if arrives < tiny:
        return f"less than {dtype} holds in full ({tiny:.1e})"
    carried = "~" * (measured.decay.span[1] < measured.steps - 1)
    return carried + (percent(arrives) if arrives >= 1e-4 else scientific(arrives))


def carry(measured: TimeMeasurement) -> GateTrace | None:
    """The gate by which the state goes on: f of an LSTM, z of a GRU."""
    return next((gate for gate in measured.gates if gate.name in ("f", "z")), None)
