from __future__ import annotations

import math

from gradiometer.diagnosis.findings import Finding, Rule
from gradiometer.diagnosis.through_time import at_first_step, average, carry, furthest, left_in_words, weakest
from gradiometer.measurement.result import Measurement
from gradiometer.measurement.time import TimeMeasurement
from gradiometer.measurement.time.text import decay_in_words
from gradiometer.report.text import times

EXPLAIN = """
What     The gradient of the last step shrinks by a factor with every step that it goes back. What happened
         at the beginning of a sequence then has next to no say in how the weights change.

Why      Going back one step multiplies by the Jacobian of the step, in an RNN diag(phi'(a_t)) W. Its norm
         is at most smax(W) max phi', and where that is below 1 the gradient must vanish (Pascanu 2013); the
         typical rate of a random W is lower still, g sqrt(E phi'^2). An LSTM adds a path on which c_t is
         multiplied by nothing but the forget gate, a GRU one by z: with a gate of f its half-life is
         ln 0.5 / ln f, and f is 1/2 where its bias begins at 0: one step.

Measured Each sample's gradient at its last step, scaled to norm 1, goes back alone through the layer. The
         factor a step is from the end points of a span of steps, with an interval for other samples. It
         fails when less than 1/1000 arrives at the first step of the longest sequences and the interval
         lies below 1; a warning below 1 %. Past the end of the measured span the factor is carried on.
         A task whose answer lies in its last steps is not harmed: see short-memory.

Try      A forget bias of 1 or more, or chrono initialisation, which spreads the biases over the lengths up
         to T; LSTM or GRU instead of an RNN; layer norm in the LSTM, which makes small weights count as much
         as large ones; an orthogonal recurrent matrix, or the identity with ReLU.

Sources  Hochreiter 1991; Bengio, Simard, Frasconi 1994; Pascanu, Mikolov, Bengio 2013 (arXiv:1211.5063);
         Gers, Schmidhuber, Cummins 2000; Ba, Kiros, Hinton 2016 (arXiv:1607.06450); Tallec, Ollivier 2018
         (arXiv:1804.11188).
"""

FAIL, WARN = 1e-3, 1e-2


def check(measurement: Measurement) -> Finding | None:
    seen = [each for each in measurement.time if not math.isnan(each.decay.factor)]
    if not seen:
        return None
    far = furthest(seen)
    arrives, high = at_first_step(far), far.decay.ci95[1]
    evidence = {
        "factor": far.decay.factor,
        "ci95_low": far.decay.ci95[0],
        "ci95_high": high,
        "arrives": arrives,
        "steps": float(far.steps),
    }
    where = (min(each.index for each in seen), max(each.index for each in seen))
    if arrives >= WARN or not (high < 1.0 or far.decay.factor < 1.0):
        if arrives > 1.0:
            return None
        return Finding("vanishing-through-time", "ok", f"gradient {decay_in_words(far.decay)}", where, evidence)
    status = "fail" if arrives < FAIL and not high >= 1.0 else "warn"
    return Finding(
        "vanishing-through-time",
        status,  # type: ignore[arg-type]
        f"{far.name}: the last step's gradient goes back {decay_in_words(far.decay)}; "
        f"{far.steps - 1} steps back {left_in_words(far, measurement.dtype)} is left",
        where,
        evidence,
        *likely_cause(weakest(seen), far),
    )


def likely_cause(weak: TimeMeasurement, far: TimeMeasurement) -> tuple[str, tuple[str, ...]]:
    gate = carry(far)
    if gate is not None and far.cell_path is not None:
        mean = average(gate.mean, far.rows)
        factor = far.cell_path.factor
        said = f"goes back {times(factor)} a step" if factor >= 0.0 else "is gone before a factor can be measured"
        halves = f": it halves in {math.log(0.5) / math.log(factor):.1f} steps" if 0.0 < factor < 1.0 else ""
        word = "forget gate" if far.cell.startswith("lstm") else "gate z"
        gated: tuple[str, ...] = ("forget-bias", "chrono") if far.cell.startswith("lstm") else ("chrono", "lstm")
        gated += ("layer-norm",) * (far.cell != "lstm_norm")
        return (
            f"The {word} is {mean:.2f} on average. By the memory alone (the gates multiplied, as measured) the "
            f"gradient {said}{halves}.",
            gated,
        )
    bounds = weak.jacobian
    cures = ("lstm", "gru", "chrono", "layer-norm", "orthogonal", "irnn")
    if bounds is None:
        return "", cures
    if bounds.bound < 1.0:
        return (
            f"The largest singular value of the recurrent weights is {bounds.largest_singular:.3g}: below 1 the "
            "gradient must vanish, whatever the input.",
            cures,
        )
    return (
        f"The recurrent weights (spectral radius {bounds.spectral_radius:.3g}) times the slope of "
        f"{weak.cell.removeprefix('rnn_')} fall short of 1"
        + (f"; theory {times(weak.theory)} a step." if weak.theory > 0 else "."),
        cures,
    )


RULE = Rule("vanishing-through-time", "the gradient shrinks with every step back", EXPLAIN, check)
