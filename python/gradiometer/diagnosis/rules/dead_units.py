from __future__ import annotations

import math

from gradiometer.diagnosis.findings import Finding, Rule
from gradiometer.diagnosis.reading import with_digits
from gradiometer.measurement.result import LayerMeasurement, Measurement
from gradiometer.report.text import percent

EXPLAIN = """
What     A unit whose slope is exactly 0 for every sample measured: it answers the same to all of them, gets
         no gradient and cannot come back by gradient descent.

Why      A large step pushed the bias of a ReLU far below zero; or the samples have grown so alike that a
         unit is on for all of them or off for all.

Measured Units with f'(a) = 0 for every sample of the set (its size is stated: fewer samples find more dead
         units). A He-initialised ReLU is off for half of the samples, and that is healthy. Where the input
         is nearly lost each unit is on or off for all samples at once, so half of a layer is dead without
         any bias at fault: the rule fails only clearly above one half, 70 %, or three standard deviations
         of a fair coin in a narrow layer.

Try      A smaller learning rate; batch norm before the activation; leaky ReLU or ELU, whose slope is never
         exactly 0 for moderate inputs; an initialisation fitted to the activation.

Sources  Maas, Hannun, Ng 2013; Lu et al. 2019 (arXiv:1903.06733).
"""

SHARE = 0.7


def limit(layer: LayerMeasurement) -> float:
    # Three standard deviations of the share of n fair coins: 1.5 / sqrt(n). A layer wholly dead always fires.
    return min(0.99, max(SHARE, 0.5 + 1.5 / math.sqrt(layer.fan_out)))


def check(measurement: Measurement) -> Finding | None:
    layers = [layer for layer in with_digits(measurement) if layer.activation is not None]
    if not layers:
        return None
    worst = max(layers, key=lambda layer: layer.dead / layer.fan_out)
    share = worst.dead / worst.fan_out
    evidence = {"dead": float(worst.dead), "units": float(worst.fan_out), "share": share}
    over = [layer.index for layer in layers if layer.dead / layer.fan_out > limit(layer)]
    if not over:
        text = "dead 0" if worst.dead == 0 else f"dead <= {worst.dead} of {worst.fan_out} (layer {worst.index})"
        return Finding("dead-units", "ok", text, None, evidence)
    alike = worst.sample_spread < 1e-2
    return Finding(
        "dead-units",
        "fail",
        f"{worst.dead} of {worst.fan_out} units of layer {worst.index} are off for all {measurement.samples} "
        f"samples ({len(over)} of {len(layers)} layers above {percent(SHARE)})",
        (over[0], over[-1]),
        evidence,
        "The samples are nearly alike there, so a unit is off for all of them or for none."
        if alike
        else f"The pre-activations lie too low: mean {worst.pre_mean:.2g}, standard deviation "
        f"{math.sqrt(worst.pre_var):.2g} in layer {worst.index}.",
        ("batch-norm", "elu-lecun", "fitted-init"),
    )


RULE = Rule("dead-units", "units that are off for every sample", EXPLAIN, check)
