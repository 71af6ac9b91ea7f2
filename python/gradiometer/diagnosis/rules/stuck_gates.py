from __future__ import annotations

from gradiometer.diagnosis.findings import Finding, Rule
from gradiometer.diagnosis.through_time import average
from gradiometer.measurement.result import Measurement
from gradiometer.measurement.time import TimeMeasurement
from gradiometer.report.text import percent

EXPLAIN = """
What     A gate stands open or shut in nearly all units, for nearly all samples and steps: it no longer
         decides anything, and hardly learns, since the slope of its sigmoid is small there.

Why      Its bias or its weights are large: initialised so, or trained with too large a step. A forget gate
         (in a GRU z) that is shut keeps nothing from one step to the next; one that is open erases nothing.
         An input gate that is shut writes nothing, an output gate that is shut shows nothing.

Measured The share of (sample, step, unit) below 0.1 and above 0.9. It fails where the gate of the memory is
         shut, or that of the input or output, in 9 of 10; an open one is a warning. An input gate that is
         shut as far as the forget gate is open (their means add up to about 1) is a slow memory by design,
         as chrono initialisation makes it, and in order.

Try      A forget bias near 1; layer norm, after which the size of the weights no longer matters; a smaller
         learning rate where it came with training; clipping by the norm.

Sources  Karpathy, Johnson, Li 2015 (arXiv:1506.02078), who count in the same way; Ba, Kiros, Hinton 2016
         (arXiv:1607.06450); Tallec, Ollivier 2018 (arXiv:1804.11188).
"""

SHARE = 0.9
SLOW = 0.1
"""How far the means of f and i may be from 1 in sum."""
SHUT = {
    "f": "nothing is kept from one step to the next",
    "z": "nothing is kept from one step to the next",
    "i": "nothing is written to the memory",
    "o": "the memory is not shown",
    "r": "the candidate does not see the state",
}
OPEN = {
    "f": "nothing is erased",
    "z": "nothing new comes in",
    "i": "everything is written to the memory",
    "o": "the memory is always shown",
    "r": "the candidate always sees the whole state",
}
HARMFUL = ("f", "z", "i", "o")


def check(measurement: Measurement) -> Finding | None:
    if not any(each.gates for each in measurement.time):
        return None
    found: list[tuple[bool, TimeMeasurement, str, float, str]] = []
    most, judged, by_design = 0.0, 0.0, False
    for each in measurement.time:
        slow = slow_by_design(each)
        for gate in each.gates:
            shut, opened = average(gate.shut, each.rows), average(gate.open, each.rows)
            most = max(most, shut, opened)
            if slow and gate.name in ("f", "i"):
                by_design = by_design or max(shut, opened) > SHARE
                continue
            judged = max(judged, shut, opened)
            if shut > SHARE:
                found.append((gate.name in HARMFUL, each, gate.name, shut, "shut"))
            elif opened > SHARE:
                found.append((gate.name == "z", each, gate.name, opened, "open"))
    evidence = {"worst": most}
    if not found:
        return Finding("stuck-gates", "ok", "no gate stuck" + stands(judged, by_design), None, evidence)
    found.sort(key=lambda one: (not one[0], -one[3]))
    _, each, gate_name, share, word = found[0]
    meaning = (SHUT if word == "shut" else OPEN)[gate_name]
    others = [f"{name} of {layer.name} {how}" for _, layer, name, _, how in found[1:]]
    return Finding(
        "stuck-gates",
        "fail" if found[0][0] else "warn",
        f"gate {gate_name} of {each.name} is {word} in {percent(share)} of (sample, step, unit)"
        + (f"; also {', '.join(others)}" if others else ""),
        (min(one[1].index for one in found), max(one[1].index for one in found)),
        evidence,
        f"Gate {gate_name} is {word}: {meaning}. Its bias or its weights are too large.",
        ("forget-bias" if each.cell.startswith("lstm") else "chrono", *["layer-norm"] * (each.cell == "lstm"), "clip"),
    )


def stands(judged: float, by_design: bool) -> str:
    """What there is to say of gates in order: f and i of a slow memory, or how often one stands at an end."""
    if by_design:
        return " (f open and i shut: a slow memory by design)"
    return f" (the most at an end {percent(judged)} of the time)" if judged > 0.1 else ""


def slow_by_design(measured: TimeMeasurement) -> bool:
    means = {gate.name: average(gate.mean, measured.rows) for gate in measured.gates}
    return {"f", "i"} <= means.keys() and means["f"] > 0.5 and abs(means["f"] + means["i"] - 1.0) < SLOW


RULE = Rule("stuck-gates", "gates stand open or shut and decide nothing", EXPLAIN, check)
