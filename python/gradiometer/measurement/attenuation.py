"""The factor a layer, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from gradiometer import theory
from gradiometer.measurement.result import Attenuation, LayerMeasurement
from gradiometer.measurement.student import student

__all__ = ["attenuation"]

# Of a layer's gradient: this share subnormal, or 0 among numbers near the end of float32, and its norm has lost digits.
_LOST_SHARE = 0.5
_NEAR_THE_END = 1e-33

# The scatter of ln factor over nets, in standard errors of independent increments. Over 400 He-ReLU nets (64-[32]x30,
# batches of 64) it is 1.17, over tanh, ELU and sigmoid nets 0.7 to 1. Around an addition increments of one net share
# what its skip carries: 1.8 for ReLU and GELU, 1 for tanh.
_PLAIN, _RESIDUAL = 1.2, 1.8


def attenuation(hidden: Sequence[LayerMeasurement]) -> Attenuation:
    """Attenuation over the hidden layers, from the end points of the longest span that has digits left (of two as long
    the one nearer to the output; without any, NaN).

    With d_l = ln |dL/dh_{l-1}| / |dL/dh_l| over the span (a, b), ln factor is their mean, and the interval is
    Student's for n = b - a increments with the standard deviation that they have around theory's (around their mean
    where theory is silent), times a constant measured over seeds. The increments of ln norm are nearly independent
    between layers (Hanin & Nica 2018), so that it contains the mean of ln factor over nets of other seeds: in 92 to
    100 % of 100 to 300 nets of each of 11 kinds (plain, batch norm, residual) and 3 sizes (width x depth 32 x 30,
    64 x 15, 128 x 50, batches of 64); He-ReLU is at the low end, tanh at the high one.
    """
    usable = longest_run(hidden)
    # A difference of logarithms: the quotient of two float64 norms may overflow.
    increments = [math.log(below.grad_norm) - math.log(above.grad_norm) for below, above in pairwise(usable)]
    n = len(increments)
    if n == 0:
        span = (usable[0].index, usable[-1].index) if usable else (0, 0)
        return Attenuation(math.nan, (math.nan, math.nan), math.nan, span, math.nan, math.nan)
    mean = math.fsum(increments) / n
    factor = math.exp(mean)
    predicted = [layer.theory for layer in usable[1:]]
    known = all(0 < value < math.inf for value in predicted)
    if n > 1:
        around = [d - math.log(p) for d, p in zip(increments, predicted, strict=True)] if known else increments
        middle = math.fsum(around) / n
        error = math.sqrt(math.fsum((d - middle) ** 2 for d in around) / (n - 1) / n)
        reach = student(n - 1) * error * (_RESIDUAL if any(layer.residual for layer in usable) else _PLAIN)
        ci95 = (math.exp(mean - reach), math.exp(mean + reach))
    else:
        ci95 = (math.nan, math.nan)
    top = usable[-1]
    entries = max(1, top.fan_out)
    entry = top.grad_rms / math.sqrt(entries)
    return Attenuation(
        factor=factor,
        ci95=ci95,
        theory=math.exp(math.fsum(map(math.log, predicted)) / n) if known else math.nan,
        span=(usable[0].index, top.index),
        decay_length=1 / abs(mean) if mean else math.inf,
        float32_zero_depth=theory.float32_zero_depth(factor, entry) if entry > 0 else math.nan,
    )


def has_digits(layer: LayerMeasurement) -> bool:
    """Whether the norm of dL/dh of a layer is a number with the digits that its factor is read from."""
    lost = layer.grad_zeros + layer.grad_subnormals >= _LOST_SHARE and (
        layer.grad_subnormals > 0.0 or layer.grad_rms < _NEAR_THE_END * math.sqrt(layer.fan_out)
    )
    return 0.0 < layer.grad_norm < math.inf and not lost


def longest_run(hidden: Sequence[LayerMeasurement]) -> list[LayerMeasurement]:
    """The most layers one after another that have digits."""
    best: list[LayerMeasurement] = []
    run: list[LayerMeasurement] = []
    for layer in reversed(hidden):
        run = [layer, *run] if has_digits(layer) else []
        if len(run) > len(best):
            best = run
    return best
