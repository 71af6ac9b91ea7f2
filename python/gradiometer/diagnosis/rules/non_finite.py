from __future__ import annotations

import math

from gradiometer.diagnosis.findings import Finding, Rule
from gradiometer.measurement.result import Measurement
from gradiometer.report.text import scientific, spans

EXPLAIN = """
What     NaN or infinity among the activations or the gradients. One NaN reaches every weight in one step.

Why      Training that has diverged, if the weights themselves are not finite: the learning rate was too
         large. Else NaN in the input; activations that grow until they overflow (float32 ends at
         3.4e38), after which inf - inf and 0 * inf are NaN; or a gradient that overflows on its way down
         while all activations are finite.

Measured Counts of NaN and infinity in pre-activations, outputs and dL/dh of every layer. The forward pass is
         at fault if some mean or variance is not finite: the lowest such layer is named. Otherwise the
         backward pass is, and the highest layer with such a gradient is named.

Try      If the weights are not finite: those of before, and a learning rate ten times smaller, or gradients
         that are clipped. Otherwise look at the input first. Then weights fitted to the activation, batch
         norm, a smaller learning rate. Float64 moves the limit to 1.8e308; it does not remove the cause.
"""


def check(measurement: Measurement) -> Finding | None:
    bad = [layer for layer in measurement.layers if layer.nans or layer.infs]
    broken = [layer.index for layer in measurement.layers if not math.isfinite(layer.weight_norm)]
    if broken:
        return Finding(
            "non-finite",
            "fail",
            f"the weights of layer{'s' * (len(broken) > 1)} {spans(broken)} are not finite",
            (broken[0], broken[-1]),
            {"layers": float(len(broken)), "loss": measurement.loss_value},
            "Training has diverged, most likely because the learning rate is too large: go back to the weights of "
            "before, and train at a tenth of it or with clip_norm=1.",
        )
    nans = sum(layer.nans for layer in bad)
    infs = sum(layer.infs for layer in bad)
    evidence = {"nans": float(nans), "infs": float(infs), "loss": measurement.loss_value}
    if not bad and math.isfinite(measurement.loss_value):
        return Finding("non-finite", "ok", "NaN 0", None, evidence)
    if not bad:
        return Finding(
            "non-finite",
            "fail",
            f"the loss is {measurement.loss_value}",
            None,
            evidence,
            "All layers are finite: the targets or the loss itself.",
        )

    forward = [layer for layer in measurement.layers if not math.isfinite(layer.pre_var + layer.out_var)]
    where = (bad[0].index, bad[-1].index)
    if forward and forward[0].index == measurement.layers[0].index:
        cause = "The first layer is not finite already: look at the input and at the first weights."
    elif forward:
        below = measurement.layers[measurement.layers.index(forward[0]) - 1]
        cause = f"The forward pass overflows in layer {forward[0].index}; RMS in layer {below.index} "
        cause += f"{scientific(math.hypot(below.out_mean, math.sqrt(below.out_var)))}: weights too large."
    else:
        cause = f"The forward pass is finite; the gradient breaks in layer {bad[-1].index} and spreads below."
    text = f"{nans} NaN and {infs} Inf in {len(bad)} of {len(measurement.layers)} layers"
    return Finding("non-finite", "fail", text, where, evidence, cause, ("fitted-init", "batch-norm", "selu"))


RULE = Rule("non-finite", "NaN or infinity in the network", EXPLAIN, check)
