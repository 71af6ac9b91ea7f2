"""How well predictions fit: the metric of a loss, its interval, and whether two networks can be told apart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradiometer.losses import hits, metric_name
from gradiometer.measurement.student import student

__all__ = ["interval", "merits", "metric", "tied"]

Z = 1.959963984540054
"""Two-sided 95 % of a normal distribution."""


def merits(loss: str, y: NDArray[Any], target: NDArray[Any]) -> NDArray[np.float64]:
    """What each sample adds to the metric, (N): 1 or 0 for a class hit or missed, else its share of R^2.

    The metric is the mean over samples. R^2 = 1 - sum (y - t)^2 / sum (t - mean t)^2.
    """
    if metric_name(loss) == "accuracy":
        return hits(loss, y, target)
    t = np.asarray(target, np.float64).reshape(len(target), -1)
    spread = np.sum((t - t.mean(axis=0)) ** 2) / len(t)
    errors = np.sum((np.asarray(y, np.float64) - t) ** 2, axis=1)
    return 1.0 - errors / spread if spread > 0.0 else np.full(len(t), math.nan)


def metric(merit: NDArray[np.float64]) -> float:
    """Mean over samples; minus infinity where it is not finite, so that a diverged network ranks last."""
    value = float(merit.mean())
    return value if math.isfinite(value) else -math.inf


def interval(loss: str, merit: NDArray[np.float64], target: NDArray[Any]) -> tuple[float, float]:
    """95 % interval of the metric from the number of samples: Wilson's for an accuracy; of R^2 one that ends below 1.

    1 - R^2 = mean e / mean s is a ratio of means, of squared errors e and squared distances s of the target from its
    mean. Its logarithm is nearly normal with the variance of (e / mean e - s / mean s) / sqrt(n) (delta method), and
    the interval is symmetric there, with Student's t.
    """
    n, p = len(merit), metric(merit)
    if not math.isfinite(p):
        return (-math.inf, math.inf)
    if metric_name(loss) == "accuracy":
        centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
        half = Z / (1 + Z**2 / n) * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
        return (centre - half, centre + half)
    t = np.asarray(target, np.float64).reshape(n, -1)
    spread, error = np.sum((t - t.mean(axis=0)) ** 2, axis=1), 1.0 - merit
    if n < 2 or not error.mean() > 0.0:
        return (p, p) if n > 1 else (-math.inf, 1.0)
    deviation = float(np.std(error / error.mean() - spread / spread.mean(), ddof=1)) / math.sqrt(n)
    reach = math.exp(min(student(n - 1) * deviation, 700.0))
    return (1.0 - (1.0 - p) * reach, 1.0 - (1.0 - p) / reach)


def tied(loss: str, first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    """Whether the 95 % interval of the paired difference on the same samples holds 0.

    For an accuracy by Agresti & Min (2005): half a sample is added to each cell of the table of hits and misses, so
    that few disagreements do not pass for certainty.
    """
    n = len(first)
    if not (math.isfinite(metric(first)) and math.isfinite(metric(second))):
        return metric(first) == metric(second)
    if metric_name(loss) == "accuracy":
        won, lost = float(np.sum(first > second)), float(np.sum(first < second))
        difference = (won - lost) / (n + 2)
        variance = ((won + lost + 1) / (n + 2) - difference**2) / (n + 2)
    else:
        difference = float(np.mean(first - second))
        variance = float(np.var(first - second, ddof=1)) / n if n > 1 else math.inf
    return abs(difference) <= Z * math.sqrt(variance)
