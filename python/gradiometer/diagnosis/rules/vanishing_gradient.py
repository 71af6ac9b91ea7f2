from __future__ import annotations

import math
from statistics import median

from gradiometer.diagnosis.findings import Finding, Rule
from gradiometer.diagnosis.reading import (
    activation_of,
    bare,
    forward_underflow,
    mean_square_slope,
    span_layers,
    steepest_slope,
    total,
    weight_gain,
)
from gradiometer.measurement.result import Measurement
from gradiometer.measurement.text import factor_in_words
from gradiometer.report.text import percent, scientific, times

EXPLAIN = """
What     The derivative of the loss by a layer's output, dL/dh, shrinks by a factor on its way down to the
         input. The first layers then get next to no gradient, and plain gradient descent leaves them as
         they were initialised.

Why      Backwards, each layer multiplies dL/dh by the slope of its activation and by its weights. In a wide
         random network the squared norm changes by the same rate in every layer,

             |dL/dh_(l-1)|^2 / |dL/dh_l|^2 = sw2 E f'(a)^2,      sw2 = fan_in Var W,

         and any rate below 1 is a power of the depth. Three things make it small: a slope that is small
         everywhere (sigmoid' <= 1/4: the rate is at most sw2/16), weights too small for the slope (ReLU
         is off for half of its inputs, so E f'^2 = 1/2 and sw2 must be 2), or saturation.

Measured The factor a layer of the norm of dL/dh from the end points of a span of layers, with an interval
         from the scatter of the layers' increments. Not from dL/dW: in a bias-free ReLU net the norm of
         dL/dW is the same in every layer however far dL/dh falls. It fails when the gradient that arrives
         is below 1 % of what set out and the interval lies below 1, and warns below 5 %. Layers below the
         span, where nothing but 0 and subnormal numbers arrives, count to it. Where the interval does not
         lie below 1, one layer
         that passes less than a tenth is named; otherwise it is a warning, since in a narrow network so
         much can be chance (ln of the squared norm is a random walk with variance about 5 L / width).
         Output weights that are 0 let no gradient through at all: a warning, since the first step moves
         them.

Try      Weights fitted to the activation (gain 1/sqrt(E f'^2)); ReLU with He, ELU with LeCun; batch norm
         before the activation; residual branches. Adam alone rescales what arrives: it helps while the
         gradient is well above its eps of 1e-8, and not once the input is lost too.

Sources  Hochreiter 1991; Bengio, Simard, Frasconi 1994; Glorot, Bengio 2010; He et al. 2015
         (arXiv:1502.01852); Schoenholz et al. 2017 (arXiv:1611.01232).
"""

# Sigmoid nets under SGD: 3 layers (total 0.05) train to 98 % of digits, 5 layers (0.003) stay at chance.
TOTAL, FEW = 1e-2, 0.05
# One layer that passes less than a tenth: a bare layer of width 128 scatters by about 10 %.
CHOKE = 0.1
# Half of all pre-activations in the flat tails: then a fit of the weights must make them smaller, not larger.
MOSTLY_SATURATED = 0.5


def check(measurement: Measurement) -> Finding | None:
    attenuation = measurement.attenuation
    low, high = attenuation.ci95
    arrives = total(measurement)
    if not arrives <= 1.0:
        return gone(measurement)
    first, last = attenuation.span
    evidence = {
        "factor": attenuation.factor,
        "ci95_low": low,
        "ci95_high": high,
        "theory": attenuation.theory,
        "total": arrives,
    }
    few = arrives < FEW and high < 1.0
    if arrives >= TOTAL and not few:
        text = f"gradient {times(attenuation.factor)} a layer"
        return Finding("vanishing-gradient", "ok", text, (first, last), evidence)

    first = lowest_reached(measurement)
    chokes = [layer for layer in span_layers(measurement) if layer.factor < CHOKE]
    if arrives >= TOTAL:
        where, status = (first, last), "warn"
    elif high < 1.0 or arrives == 0.0:
        where, status = (first, last), "fail"
    elif chokes:
        where, status = (chokes[0].index, chokes[-1].index), "fail"
    else:
        where, status = (first, last), "warn"
    text = f"|dL/dh| toward the input: {factor_in_words(attenuation, len(measurement.hidden))}"
    if arrives >= TOTAL:
        text += f"; {percent(arrives)} arrives"
    if first < attenuation.span[0]:
        text += f" over layers {attenuation.span[0]}-{last}, 0 or subnormal below"
    cause, tries = likely_cause(measurement)
    return Finding("vanishing-gradient", status, text, where, evidence, cause, tries)  # type: ignore[arg-type]


def lowest_reached(measurement: Measurement) -> int:
    """The span's first layer, or the lowest layer where nothing but what float32 cannot hold is left between."""
    first = measurement.attenuation.span[0]
    below = [layer for layer in measurement.hidden if layer.index < first]
    lost = all(layer.grad_zeros + layer.grad_subnormals > 0.5 or layer.grad_norm == 0.0 for layer in below)
    return below[0].index if below and lost else first


def gone(measurement: Measurement) -> Finding | None:
    """dL/dh is exactly 0 in every hidden layer below some layer, and no factor can be measured: either the output
    layer passes nothing, or a layer whose slope is 0 everywhere."""
    hidden, head = measurement.hidden, measurement.layers[-1]
    if not hidden or not head.grad_norm > 0.0 or not math.isnan(measurement.attenuation.factor):
        return None
    passing = [layer for layer in hidden if layer.grad_norm != 0.0]
    if passing and passing[0] is hidden[-1] and len(hidden) > 1 and math.isfinite(passing[0].grad_norm):
        top, lost = passing[0], forward_underflow(measurement)
        return Finding(
            "vanishing-gradient",
            "fail",
            f"dL/dh is exactly 0 below layer {top.index}, where its norm is {scientific(top.grad_norm)}",
            (hidden[0].index, hidden[-2].index),
            {"grad_norm": top.grad_norm},
            f"{top.activation or 'the layer'} passes nothing where the pre-activations are 0: they underflow from "
            f"layer {lost.index} on."
            if lost is not None
            else f"The slope of layer {top.index} is 0 for every sample.",
            ("batch-norm", "elu-lecun", "fitted-init") if lost is not None else ("elu-lecun", "batch-norm"),
        )
    if passing:
        return None
    return Finding(
        "vanishing-gradient",
        "warn",
        f"dL/dh is exactly 0 in all hidden layers, |dL/dy| = {scientific(head.grad_norm)}",
        (hidden[0].index, hidden[-1].index),
        {"head_grad_norm": head.grad_norm, "head_weight_norm": head.weight_norm},
        f"The weights of layer {head.index} are 0: only they and its bias learn at the first step."
        if head.weight_norm == 0.0
        else f"The weights of layer {head.index} are so small that the gradient underflows behind them.",
    )


def likely_cause(measurement: Measurement) -> tuple[str, tuple[str, ...]]:
    layers = bare(span_layers(measurement))
    if not layers:
        return (
            "The slope of the activation falls short of 1 by more than the norm or the skip makes up for.",
            ("batch-norm", "elu-lecun", "scaled-residual"),
        )
    name = activation_of(layers) or "the activation"
    gain = median(weight_gain(layer) for layer in layers)
    slope = median(mean_square_slope(layer) for layer in layers)
    saturated = median(layer.saturated for layer in layers)
    steepest = steepest_slope(name)
    if steepest**2 * gain < 1.0 and steepest < 1.0:
        return (
            f"{name}' <= {steepest:.3g} and the weights have fan_in Var W = {gain:.3g} (inputs times "
            f"variance): at most {times(steepest * math.sqrt(gain), 2)} a layer whatever the input (not saturation)."
            f"{end_of_float32(measurement)}",
            ("batch-norm", "elu-lecun", "relu-he", "selu", "fitted-init"),
        )
    if saturated > MOSTLY_SATURATED:
        return (
            f"{name} is saturated at {percent(saturated)} of its inputs (fan_in Var W = {gain:.3g}): weights "
            "too large.",
            ("fitted-init", "batch-norm", "relu-he"),
        )
    if slope * gain < 1.0:
        return (
            f"Weights too small for {name}: E f'^2 = {slope:.2g} wants fan_in Var W = {1.0 / slope:.2g}, "
            f"here {gain:.2g} (mean square slope; number of inputs times variance of the weights)."
            f"{end_of_float32(measurement)}",
            ("fitted-init", "batch-norm", "elu-lecun", "scaled-residual"),
        )
    return "One part of the network chokes the gradient; the rest passes it.", ("fitted-init", "batch-norm")


def end_of_float32(measurement: Measurement) -> str:
    depth = measurement.attenuation.float32_zero_depth
    near = depth < 2 * len(measurement.layers)
    return f" So it falls below what float32 can hold {depth:.0f} layers below the output." if near else ""


RULE = Rule("vanishing-gradient", "the gradient shrinks toward the input", EXPLAIN, check)
