from __future__ import annotations

from statistics import median

from gradiometer.diagnosis.findings import Finding, Rule
from gradiometer.diagnosis.reading import (
    activation_of,
    bare,
    mean_square_slope,
    span_layers,
    total,
    weight_gain,
)
from gradiometer.measurement.result import Measurement
from gradiometer.measurement.text import factor_in_words
from gradiometer.report.text import times

EXPLAIN = """
What     The derivative of the loss by a layer's output, dL/dh, grows by a factor on its way down to the
         input. A learning rate small enough for the first layers is far too small for the last, one that
         fits the last tears the first apart.

Why      The squared norm changes by sw2 E f'(a)^2 a layer (sw2 = fan_in Var W), and a rate above 1 is a
         power of the depth. Weights are too large for the slope; or batch norm: it fixes the forward
         variance, and the price backwards is E f'^2 / Var f >= 1 a layer for any activation that is not
         affine (ReLU pi/(pi - 1) = 1.467, sigmoid 1.034); or a skip x + f(x) without scale, which doubles
         the squared norm a block.

Measured The factor a layer of the norm of dL/dh from the end points of a span of layers, with an interval
         from the scatter of the layers' increments. It fails when the gradient has grown more than a
         hundredfold and the interval lies above 1; a warning when the interval does not. The worst single
         layer is named when it alone grows tenfold.

Try      Weights fitted to the activation; a residual branch scaled by 1/sqrt(depth); with batch norm a
         smoother activation (ELU, tanh) or a larger batch. Clipping stops the step from tearing, but
         multiplies all layers alike: it does not bring them back together.

Sources  Pascanu, Mikolov, Bengio 2013 (arXiv:1211.5063); Schoenholz et al. 2017 (arXiv:1611.01232);
         Yang et al. 2019 (arXiv:1902.08129).
"""

# ReLU with batch norm under SGD: 10 layers (total 7) train fully, 30 (300) are damaged, 60 (1e5) fail.
TOTAL = 1e2
BURST = 10.0


def check(measurement: Measurement) -> Finding | None:
    attenuation = measurement.attenuation
    low, high = attenuation.ci95
    arrives = total(measurement)
    if not arrives > 1.0:
        return None
    first, last = attenuation.span
    evidence = {
        "factor": attenuation.factor,
        "ci95_low": low,
        "ci95_high": high,
        "theory": attenuation.theory,
        "total": arrives,
    }
    if arrives <= TOTAL:
        text = f"gradient {times(attenuation.factor)} a layer"
        return Finding("exploding-gradient", "ok", text, (first, last), evidence)

    bursts = [layer for layer in span_layers(measurement) if layer.factor > BURST]
    if low > 1.0:
        where, status = (first, last), "fail"
    elif bursts:
        where, status = (bursts[0].index, bursts[-1].index), "fail"
    else:
        where, status = (first, last), "warn"
    text = f"|dL/dh| toward the input: {factor_in_words(attenuation)}, {times(arrives, 0)} in all"
    cause, tries = likely_cause(measurement)
    return Finding("exploding-gradient", status, text, where, evidence, cause, tries)  # type: ignore[arg-type]


def likely_cause(measurement: Measurement) -> tuple[str, tuple[str, ...]]:
    span = span_layers(measurement)
    layers = bare(span)
    name = activation_of(span) or "the activation"
    if len(layers) > len(span) / 2:
        gain = median(weight_gain(layer) for layer in layers)
        slope = median(mean_square_slope(layer) for layer in layers)
        return (
            f"Weights too large for {name}: E f'^2 = {slope:.2g} wants fan_in Var W = {1.0 / slope:.2g}, "
            f"here {gain:.2g}.",
            ("fitted-init", "selu", "relu-he"),
        )
    if sum(layer.norm is not None for layer in span) > len(span) / 2:
        if span[-1].norm == "batch":
            cost = "E f'^2 / Var f, above 1 for any bent activation"
        else:
            cost = f"E f'^2 / E f^2, above 1 for {name}"
        return (
            f"The norm before {name}: backwards it costs {cost}.",
            ("elu-lecun", "scaled-residual", "selu"),
        )
    return (
        "Each unscaled skip adds the gradient of its branch to its own: the norm grows with every block.",
        ("scaled-residual",),
    )


RULE = Rule("exploding-gradient", "the gradient grows toward the input", EXPLAIN, check)
