from __future__ import annotations

import math

from gradiometer.diagnosis.findings import Finding, Rule
from gradiometer.diagnosis.rules.vanishing_through_time import likely_cause
from gradiometer.diagnosis.through_time import furthest, weakest
from gradiometer.measurement.result import Measurement
from gradiometer.measurement.time.text import reach

EXPLAIN = """
What     The gradient of the last step does not reach as far back as the task asks. What lies further away
         than the horizon cannot be learned from, however long the training.

Why      See vanishing-through-time. The horizon to 1/1000 is ln(0.001)/ln(factor) steps: 14 for an LSTM as
         torch initialises it, 42 with a forget bias of 1.

Measured The horizon to 1/1000 of the layer that reaches furthest, against the steps that the task asks to be
         bridged, ``memory=`` of gm.measure. Without it the length of the longest sequences is taken, which
         many tasks do not need, so that it is a warning only; with it, it fails. A horizon beyond the end
         of the sequences is carried on by the factor a step, and marked ~.

Try      As for vanishing-through-time; chrono initialisation takes the length itself. Training moves the
         horizon too: measure again after some epochs.

Sources  Bengio, Simard, Frasconi 1994; Hochreiter, Schmidhuber 1997; Tallec, Ollivier 2018
         (arXiv:1804.11188).
"""


def check(measurement: Measurement) -> Finding | None:
    seen = [each for each in measurement.time if not math.isnan(each.horizon.thousandth)]
    if not seen:
        return None
    far = furthest(seen)
    horizon = far.horizon.thousandth
    given = measurement.memory
    wanted = given if given is not None else max(each.steps for each in seen) - 1
    evidence = {"horizon": horizon, "half": far.horizon.half, "wanted": float(wanted)}
    where = (min(each.index for each in seen), max(each.index for each in seen))
    shown = reach(horizon, far.horizon.thousandth_measured)
    if horizon >= wanted:
        asked = f"{wanted} asked for" if given is not None else f"sequences of {wanted + 1}"
        fine = f"horizon {shown} steps ({asked})" if horizon < math.inf else f"horizon without end ({asked})"
        return Finding("short-memory", "ok", fine, where, evidence)
    asked = f"the task asks for {wanted}" if given is not None else f"the sequences have {wanted + 1}"
    return Finding(
        "short-memory",
        "fail" if given is not None else "warn",
        f"the last step's gradient falls to 1/1000 within {shown} steps, {asked}",
        where,
        evidence,
        *likely_cause(weakest(seen), far),
    )


RULE = Rule("short-memory", "the gradient does not reach back as far as the task", EXPLAIN, check)
