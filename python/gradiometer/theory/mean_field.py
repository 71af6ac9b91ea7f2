"""Mean field theory of wide dense nets: how the length of a signal, the angle between two signals and the
gradient change from layer to layer (Poole et al. 2016, arXiv:1606.05340; Schoenholz et al. 2017,
arXiv:1611.01232).

Letters: ``h = W x + b`` with ``Var W = weight_variance / fan_in``, ``Var b = bias_variance``; ``q = E h^2``;
phi the activation. A *rate* is the factor of the squared norm of ``dL/dh`` a layer toward the input, a
*factor* its root."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from gradiometer.theory.quadrature import freeze, moments, pair_difference, pair_slopes

__all__ = [
    "FixedPoint",
    "c_map",
    "c_slope",
    "chi",
    "chi_parallel",
    "correlation_length",
    "decay_length",
    "fixed_correlation",
    "fixed_point",
    "length_scale",
    "q_map",
    "root",
]

_NEUTRAL = 1e-12  # a relative change of q a layer that quadrature cannot tell from none


def q_map(activation: str, q: float, weight_variance: float, bias_variance: float = 0.0, **params: float) -> float:
    """Variance of the next pre-activation, ``weight_variance E phi(sqrt(q) z)^2 + bias_variance``.

    Examples
    --------
    >>> round(q_map("relu", 3.0, weight_variance=2.0), 12)
    3.0
    """
    return weight_variance * moments(activation, q, **params).second + bias_variance


def chi(activation: str, q: float, weight_variance: float, **params: float) -> float:
    """The rate, ``weight_variance E phi'(sqrt(q) z)^2``: above 1 gradients explode, below 1 they vanish.

    Examples
    --------
    >>> round(chi("sigmoid", 0.264687, weight_variance=1.0), 7)
    0.0557207
    """
    return weight_variance * moments(activation, q, **params).slope2


def chi_parallel(activation: str, q: float, weight_variance: float, **params: float) -> float:
    """Derivative of `q_map` by q: below 1 a fixed point is stable."""
    return weight_variance * moments(activation, q, **params).cross / (q if q > 0 else 1e-200)


def decay_length(factor: float) -> float:
    """Layers over which something multiplied by `factor` a layer changes e-fold, ``1 / |ln factor|``.

    Examples
    --------
    >>> round(decay_length(0.5), 4), decay_length(1.0), decay_length(0.0)
    (1.4427, inf, 0.0)
    """
    if not factor >= 0:
        raise ValueError(f"factor must be >= 0, got {factor!r}")
    if factor == 1:
        return math.inf
    return 0.0 if factor in (0.0, math.inf) else 1.0 / abs(math.log(factor))


@dataclass(frozen=True)
class FixedPoint:
    """Where the variance of the pre-activations settles.

    Attributes
    ----------
    q : float
        The fixed point; 0 or inf where q falls to 0 or grows without end.
    behaviour : str
        ``"finite"``, ``"0+"`` or ``"inf"``.
    chi, chi_parallel : float
        Rate and stability there (their limits for ``"0+"`` and ``"inf"``).
    """

    q: float
    behaviour: str
    chi: float
    chi_parallel: float


def fixed_point(
    activation: str,
    weight_variance: float,
    bias_variance: float = 0.0,
    *,
    start: float = 1.0,
    **params: float,
) -> FixedPoint:
    """The fixed point of `q_map` that iteration from `start` reaches.

    Solved by bracketing, not iterated: at a critical point q approaches its limit only as a power law.

    Examples
    --------
    >>> fixed_point("tanh", 1.0).behaviour, round(fixed_point("tanh", 2.0).q, 6)
    ('0+', 0.617965)
    """
    _check_variances(weight_variance, bias_variance)
    if not (math.isfinite(start) and start > 0):
        raise ValueError(f"start must be finite and > 0, got {start!r}")

    def growth(q: float) -> float:
        """Relative change of q in one layer, 0 where it cannot be told from none."""
        change = q_map(activation, q, weight_variance, bias_variance, **params) / q - 1.0
        return change if abs(change) > _NEUTRAL else 0.0

    q = far = start
    direction = growth(start)
    least = max(bias_variance, 1e-10)
    while direction:
        far = 2 * q if direction > 0 else q / 2
        if direction > 0 and far > 1e8:
            q = math.inf
            break
        if direction < 0 and far < least and not bias_variance:
            q = 0.0
            break
        if growth(far) * direction < 0:
            q = root(growth, min(q, far), max(q, far))
            break
        q = far
    at = min(max(q, 1e-16), 1e16)
    return FixedPoint(
        q=q,
        behaviour="0+" if q == 0 else "inf" if math.isinf(q) else "finite",
        chi=chi(activation, at, weight_variance, **params),
        chi_parallel=chi_parallel(activation, at, weight_variance, **params),
    )


def c_map(
    activation: str,
    c: float,
    q: float,
    weight_variance: float,
    bias_variance: float = 0.0,
    **params: float,
) -> float:
    """Correlation of two pre-activations one layer on, when they have variance `q` and correlation `c`.

    Examples
    --------
    >>> round(c_map("relu", 0.0, 1.0, weight_variance=2.0), 6)
    0.31831
    """
    _check_correlation(c)
    difference = weight_variance * pair_difference(activation, q, 1.0 - c, freeze(params))
    return 1.0 - difference / q_map(activation, q, weight_variance, bias_variance, **params)


def c_slope(activation: str, c: float, q: float, weight_variance: float, **params: float) -> float:
    """``weight_variance E phi'(u1) phi'(u2)``: the slope of `c_map` at a fixed point of q, and the factor by
    which the product of two inputs' gradients changes a layer."""
    _check_correlation(c)
    return weight_variance * pair_slopes(activation, q, 1.0 - c, freeze(params))


def fixed_correlation(
    activation: str, q: float, weight_variance: float, bias_variance: float = 0.0, **params: float
) -> float:
    """Correlation c* that any two inputs approach: 1 if the net is ordered or critical, below 1 if it is
    chaotic.

    `q` is the fixed point of `q_map`.
    """
    if chi(activation, q, weight_variance, **params) <= 1:
        return 1.0

    def change(c: float) -> float:
        return c_map(activation, c, q, weight_variance, bias_variance, **params) - c

    # The map is a power series in c with no negative coefficient: at most one root below 1.
    return 0.0 if change(0.0) <= _NEUTRAL else root(change, 0.0, 1.0 - 1e-9)


def correlation_length(
    activation: str, q: float, weight_variance: float, bias_variance: float = 0.0, **params: float
) -> float:
    """xi_c: layers over which two inputs' correlation approaches c* e-fold, ``-1 / ln c_slope(c*)``."""
    c = fixed_correlation(activation, q, weight_variance, bias_variance, **params)
    return decay_length(c_slope(activation, c, q, weight_variance, **params))


def length_scale(activation: str, q: float, weight_variance: float, **params: float) -> float:
    """xi_q: layers over which q approaches its fixed point e-fold; NaN if the fixed point is not stable."""
    slope = chi_parallel(activation, q, weight_variance, **params)
    return decay_length(slope) if slope < 1 else math.nan


def root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where `function` changes sign between `low` and `high`, by bisection to the last bits."""
    rising = function(high) > 0
    while high - low > 4e-16 * max(abs(low), abs(high)):
        middle = 0.5 * (low + high)
        value = function(middle)
        if value == 0 or middle in (low, high):
            return middle
        if (value > 0) == rising:
            high = middle
        else:
            low = middle
    return 0.5 * (low + high)


def _check_variances(weight_variance: float, bias_variance: float) -> None:
    if not (math.isfinite(weight_variance) and weight_variance > 0):
        raise ValueError(f"weight_variance must be finite and > 0, got {weight_variance!r}")
    if not (math.isfinite(bias_variance) and bias_variance >= 0):
        raise ValueError(f"bias_variance must be finite and >= 0, got {bias_variance!r}")


def _check_correlation(c: float) -> None:
    if not -1 <= c <= 1:
        raise ValueError(f"c must be a correlation between -1 and 1, got {c!r}")
