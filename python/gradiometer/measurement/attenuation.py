"""The factor a layer, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from gradiometer import theory
from gradiometer.measurement.result import Attenuation, LayerMeasurement

__all__ = ["attenuation"]

# A layer whose gradient is mostly subnormal or zero has lost digits: the span ends above it.
_LOST_SHARE = 0.5


def attenuation(hidden: Sequence[LayerMeasurement]) -> Attenuation:
    """Attenuation over the hidden layers, from the end points of the longest span that has digits left.

    With d_l = ln |dL/dh_{l-1}| / |dL/dh_l| over the span (a, b), ln factor is their mean, and the interval is
    Student's for n = b - a increments with their own standard deviation. It contains the seed-to-seed scatter of a
    single net at that depth because the increments of ln norm are independent between layers (Hanin & Nica 2018).
    """
    usable = list(hidden)
    while usable and not (usable[0].grad_norm > 0 and usable[0].grad_zeros + usable[0].grad_subnormals < _LOST_SHARE):
        usable.pop(0)
    increments = [
        math.log(below.grad_norm / above.grad_norm)
        for below, above in pairwise(usable)
        if 0 < below.grad_norm < math.inf and 0 < above.grad_norm < math.inf
    ]
    n = len(increments)
    if n == 0 or n != len(usable) - 1:
        span = (usable[0].index, usable[-1].index) if usable else (0, 0)
        return Attenuation(math.nan, (math.nan, math.nan), math.nan, span, math.nan, math.nan)
    mean = math.fsum(increments) / n
    factor = math.exp(mean)
    if n > 1:
        error = math.sqrt(math.fsum((d - mean) ** 2 for d in increments) / (n - 1) / n)
        reach = student(n - 1) * error
        ci95 = (math.exp(mean - reach), math.exp(mean + reach))
    else:
        ci95 = (math.nan, math.nan)
    predicted = [layer.theory for layer in usable[1:]]
    known = all(value > 0 for value in predicted)
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


def student(freedom: int) -> float:
    """97.5 % point of Student's t, within 0.3 % (exact for 1 and 2; else the expansion of Fisher, 1925, in 1/freedom).

    Examples
    --------
    >>> round(student(2), 3), round(student(10), 2), round(student(1000), 2)
    (4.303, 2.23, 1.96)
    """
    if freedom < 3:
        return (12.7062, 4.30265)[freedom - 1]
    z = 1.959964
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / freedom**power for power, term in enumerate(terms, start=1))
