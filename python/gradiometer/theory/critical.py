"""The line of critical initialisations, on which gradients neither vanish nor explode, in closed form.

At a fixed point q the rate is 1 if ``weight_variance = 1 / E phi'^2``; then
``bias_variance = q - E phi^2 / E phi'^2``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from gradiometer.theory.mean_field import root
from gradiometer.theory.quadrature import moments

__all__ = ["CriticalPoint", "critical_initialisation", "critical_line", "critical_point"]


@dataclass(frozen=True)
class CriticalPoint:
    """Variances of weights (times fan_in) and biases that make the rate 1 at the fixed point q.

    Attributes
    ----------
    q, weight_variance, bias_variance : float
    chi_parallel : float
        Stability of the fixed point.
    usable : bool
        Whether `bias_variance` is not negative and the fixed point is not unstable.
    """

    q: float
    weight_variance: float
    bias_variance: float
    chi_parallel: float

    @property
    def usable(self) -> bool:
        return self.bias_variance >= -1e-12 * max(self.q, 1.0) and self.chi_parallel <= 1 + 1e-9


def critical_point(activation: str, q: float, **params: float) -> CriticalPoint:
    """The point of the critical line whose pre-activations have variance `q`.

    Examples
    --------
    >>> point = critical_point("tanh", 1.0)
    >>> round(point.weight_variance, 6), round(point.bias_variance, 6), point.usable
    (2.153303, 0.150965, True)
    """
    if not (math.isfinite(q) and q > 0):
        raise ValueError(f"q must be finite and > 0, got {q!r}")
    m = moments(activation, q, **params)
    return CriticalPoint(q, 1.0 / m.slope2, q - m.second / m.slope2, m.cross / (q * m.slope2))


def critical_line(activation: str, qs: Iterable[float], **params: float) -> tuple[CriticalPoint, ...]:
    """The whole line, a point for each variance in `qs`; look at `CriticalPoint.usable`."""
    return tuple(critical_point(activation, q, **params) for q in qs)


def critical_initialisation(activation: str, bias_variance: float = 0.0, **params: float) -> CriticalPoint | None:
    """The usable critical point of a given bias variance, or None if the activation has none.

    A point with ``q = 0`` means that pre-activations shrink, and gradients with them, only as a power of
    depth.

    Examples
    --------
    >>> round(critical_initialisation("relu").weight_variance, 12)
    2.0
    >>> round(critical_initialisation("sigmoid").weight_variance, 4)
    103.0076
    >>> critical_initialisation("gelu") is None
    True
    """
    if not (math.isfinite(bias_variance) and bias_variance >= 0):
        raise ValueError(f"bias_variance must be finite and >= 0, got {bias_variance!r}")

    def excess(q: float) -> float:
        value = critical_point(activation, q, **params).bias_variance - bias_variance
        return value if abs(value) > 1e-12 * q else 0.0

    grid = [float(q) for q in np.geomspace(1e-6, 1e4, 81)]
    values = [(q, excess(q)) for q in grid]
    if not any(value for _, value in values):
        # Homogeneous: critical at every q.
        return replace(critical_point(activation, 1.0, **params), bias_variance=bias_variance)
    signed = [(q, value) for q, value in values if value]
    for (low, below), (high, above) in pairwise(signed):
        if below * above < 0:
            point = critical_point(activation, root(excess, low, high), **params)
            if point.usable:
                return replace(point, bias_variance=bias_variance)
    if bias_variance == 0:
        limit, near = moments(activation, 0.0, **params), moments(activation, 1e-3, **params)
        # 1e-3 shrinks under the weights that are critical at 0: the limit attracts.
        if limit.second < 1e-100 and near.second <= 1e-3 * limit.slope2 * (1 + 1e-9):
            return CriticalPoint(0.0, 1.0 / limit.slope2, 0.0, 1.0)
    return None
