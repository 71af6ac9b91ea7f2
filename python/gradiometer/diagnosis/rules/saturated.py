from __future__ import annotations

import math

from gradiometer.diagnosis.findings import Finding, Rule
from gradiometer.diagnosis.reading import weight_gain, with_digits
from gradiometer.measurement.result import Measurement
from gradiometer.report.text import percent

EXPLAIN = """
What     Most pre-activations of a layer lie where its activation (sigmoid, tanh) is flat: the units answer
         with their two extremes and hardly pass a gradient.

Why      The pre-activations are too large: weights or inputs of large variance, or a network that has been
         trained with too large a step.

Measured The share of (sample, unit) whose slope is below 5 % of the steepest: beyond 2.18 for tanh, 4.36 for
         sigmoid. It fails above one half. Gaussian pre-activations of variance 1 give tanh 3 %, of variance
         4 28 %, and such networks train; one half needs a variance above 10.

Try      Weights fitted to the activation; batch norm before the activation; standardised inputs; a smaller
         learning rate when it comes with training.

Sources  Glorot, Bengio 2010; Wardat et al. 2022 (DeepDiagnosis), who also take one half.
"""

SHARE = 0.5


def check(measurement: Measurement) -> Finding | None:
    layers = [layer for layer in with_digits(measurement) if not math.isnan(layer.saturated)]
    if not layers:
        return None
    worst = max(layers, key=lambda layer: layer.saturated)
    evidence = {"worst": worst.saturated, "pre_var": worst.pre_var, "gain": weight_gain(worst)}
    if worst.saturated <= SHARE:
        return Finding("saturated", "ok", f"saturation <= {percent(worst.saturated)}", None, evidence)
    over = [layer.index for layer in layers if layer.saturated > SHARE]
    return Finding(
        "saturated",
        "fail",
        f"{percent(worst.saturated)} of the pre-activations of layer {worst.index} lie where {worst.activation} "
        f"is flat ({len(over)} of {len(layers)} layers above {percent(SHARE)})",
        (over[0], over[-1]),
        evidence,
        f"Pre-activations too large: RMS {math.hypot(worst.pre_mean, math.sqrt(worst.pre_var)):.2g} in layer "
        f"{worst.index}, fan_in Var W = {weight_gain(worst):.2g}.",
        ("fitted-init", "batch-norm", "relu-he"),
    )


RULE = Rule("saturated", "the activation works in its flat tails", EXPLAIN, check)
