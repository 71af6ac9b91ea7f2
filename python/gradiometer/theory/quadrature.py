"""Gaussian averages of any activation: Gauss-Legendre in pieces that end where the activation is not
smooth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from gradiometer import kernels

__all__ = [
    "Array",
    "Moments",
    "Parameters",
    "freeze",
    "homogeneous",
    "kinks",
    "moments",
    "moments_of",
    "pair_difference",
    "pair_slopes",
]

Array = NDArray[np.float64]
Parameters = tuple[tuple[str, float], ...]

# Pieces in z (the standard normal variable) follow the weight exp(-z²/2); pieces in x follow the activation,
# whose features have size 1 around 0 whatever q is: with q = 808 tanh is a step in z. The nearest poles
# (tanh, ±iπ/2) leave 20 nodes in a piece of half-width 1 an error of 3.4**-40.
_REACH = 12.0
_Z_BREAKS = np.arange(-_REACH, _REACH + 1, 2.0)
_X_BREAKS = np.array([0.0, 1.0, 2.0, 4.0, 6.0, 9.0, 13.0, 20.0, 40.0])
_TINY_Q = 1e-200

_PAIR_REACH = 9.0
_PAIR_Z_BREAKS = np.array([-9.0, -6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0, 9.0])
_PAIR_X_BREAKS = np.array([0.0, 1.5, 4.0, 10.0])


@dataclass(frozen=True)
class Moments:
    """Averages of an activation phi over ``x = sqrt(q) z + shift``, ``z`` standard normal.

    Attributes
    ----------
    mean, second : float
        ``E phi(x)`` and ``E phi(x)^2``.
    slope2, slope4 : float
        ``E phi'(x)^2`` and ``E phi'(x)^4``.
    cross : float
        ``E phi(x) phi'(x) (x - shift)``, which is ``q`` times the derivative of `second` by ``q``.
    curvature : float
        ``E phi''(x)``, a kink counted by its jump: ``E z phi'(x) / sqrt(q)``.
    pull2 : float
        ``E (phi'(x) (x - shift))^2``.
    """

    mean: float
    second: float
    slope2: float
    slope4: float
    cross: float
    curvature: float
    pull2: float

    @property
    def variance(self) -> float:
        """``Var phi(x)``."""
        return self.second - self.mean**2


def freeze(params: Mapping[str, float]) -> Parameters:
    """Parameters of an activation as a key of a cache."""
    if not params:
        return ()
    return tuple(sorted((name, float(value)) for name, value in params.items()))


def moments(activation: str, q: float = 1.0, *, shift: float = 0.0, **params: float) -> Moments:
    """Averages of an activation over a Gaussian pre-activation, good to 1e-9.

    Parameters
    ----------
    activation : str
        Name of a kernel.
    q : float
        Variance of the pre-activation, not negative; 0 means the limit from above.
    shift : float
        Mean of the pre-activation.
    **params : float
        Parameters of the activation.

    Returns
    -------
    Moments

    Raises
    ------
    ValueError
        If `q` is negative or not finite, `shift` is not finite, or the kernel does not exist.

    Examples
    --------
    >>> round(moments("relu").slope2, 12), round(moments("tanh").second, 6)
    (0.5, 0.394294)
    """
    if not (math.isfinite(q) and q >= 0):
        raise ValueError(f"q must be a finite variance >= 0, got {q!r}")
    if not math.isfinite(shift):
        raise ValueError(f"shift must be finite, got {shift!r}")
    return _moments(activation, float(q), float(shift), freeze(params))


def moments_of(activation: str, q: float, params: Parameters) -> Moments:
    """`moments` for parameters that are a key already."""
    if not (math.isfinite(q) and q >= 0):
        raise ValueError(f"q must be a finite variance >= 0, got {q!r}")
    return _moments(activation, q, 0.0, params)


@lru_cache(maxsize=4096)
def _moments(activation: str, q: float, shift: float, params: Parameters) -> Moments:
    sd = math.sqrt(max(q, _TINY_Q))
    edges = (_both_signs(_X_BREAKS, kinks(activation, params)) - shift) / sd
    z, weight = _rule(np.union1d(_Z_BREAKS, edges[np.abs(edges) < _REACH]), 20)
    x = sd * z + shift
    value, slope = _value(activation, x, params), _slope(activation, x, params)
    return Moments(
        mean=float(weight @ value),
        second=float(weight @ value**2),
        slope2=float(weight @ slope**2),
        slope4=float(weight @ slope**4),
        cross=float(weight @ (value * slope * (x - shift))),
        curvature=float(weight @ (slope * z)) / sd,
        pull2=float(weight @ (slope * (x - shift)) ** 2),
    )


@cache
def kinks(activation: str, params: Parameters = ()) -> tuple[float, ...]:
    """Where the activation, its slope or its curvature jumps.

    The places tried are 0, 1, 2, 3, 6 and the values of the parameters, of both signs: one-sided differences
    that do not agree there mean a jump."""
    defaults = [default for default, _, _ in kernels.activation_parameters(activation).values()]
    tried = np.array([0.0, 1.0, 2.0, 3.0, 6.0, *defaults, *(value for _, value in params)])
    step = 1e-4
    found = []
    for place in _both_signs(tried[tried < 1e3]):
        x = place + step * np.array([-2.0, -1.0, 1.0, 2.0])
        value, slope = _value(activation, x, params), _slope(activation, x, params)
        jump = abs(value[2] - value[1] - step * (slope[1] + slope[2]))
        bend = abs((slope[3] - slope[2]) - (slope[1] - slope[0])) / step
        if jump > 1e-6 or abs(slope[2] - slope[1]) > 1e-2 or bend > 1e-2:
            found.append(float(place))
    return tuple(found)


@cache
def homogeneous(activation: str, params: Parameters = ()) -> bool:
    """Whether ``phi(k x) = k phi(x)`` for k > 0, as of identity, relu and leaky relu."""
    x = np.outer([-1.0, 1.0], [1e-3, 0.4, 1.0, 7.0, 300.0])
    slope = _value(activation, x, params) / x
    return bool(np.all(np.abs(slope - slope[:, :1]) <= 1e-12 * np.abs(slope)))


def pair_difference(activation: str, q: float, distance: float, params: Parameters = ()) -> float:
    """``E (phi(u1) - phi(u2))^2 / 2`` for Gaussian u1, u2 of variance `q` and correlation ``1 - distance``.

    This form does not cancel: it keeps its relative accuracy when two inputs have become almost the same
    (``E phi(u1) phi(u2)`` would lose all of it from a distance of 1e-16).
    """
    if distance < 1e-15:
        # First order, (u1 - u2)^2 phi'^2 / 2; with a kink the next term is smaller by sqrt(distance).
        return q * distance * _moments(activation, q, 0.0, params).slope2
    if homogeneous(activation, params):
        return q * _pair_difference(activation, 1.0, float(distance), params)
    return _pair_difference(activation, float(q), float(distance), params)


@lru_cache(maxsize=4096)
def _pair_difference(activation: str, q: float, distance: float, params: Parameters) -> float:
    u1, u2, weight = _pair_rule(activation, q, distance, params)
    difference = _value(activation, u2, params) - _value(activation, u1, params)
    return 0.5 * float(np.sum(weight * difference**2))


@lru_cache(maxsize=4096)
def pair_slopes(activation: str, q: float, distance: float, params: Parameters = ()) -> float:
    """``E phi'(u1) phi'(u2)`` for Gaussian u1, u2 of variance `q` and correlation ``1 - distance``."""
    if distance < 1e-15:
        return _moments(activation, q, 0.0, params).slope2
    u1, u2, weight = _pair_rule(activation, q, distance, params)
    return float(np.sum(weight * _slope(activation, u1, params) * _slope(activation, u2, params)))


def _pair_rule(activation: str, q: float, distance: float, params: Parameters) -> tuple[Array, Array, Array]:
    """Nodes u1 (n, 1), u2 (n, m) and weights (n, m).

    ``u2 = u1 - distance u1 + across t``: the inner rule over t is cut anew for each u1, where u2 meets a
    kink. The outer integrand has a boundary layer as wide as `across` at each kink, cut too."""
    sd = math.sqrt(max(q, _TINY_Q))
    across = math.sqrt(distance * (2.0 - distance))
    kink = np.array(kinks(activation, params))
    layers = np.add.outer(kink, sd * across * np.array([-9.0, -5.0, -2.5, -1.0, 1.0, 2.5, 5.0, 9.0])).ravel()
    edges = np.concatenate([_pair_places(kink, sd), layers]) / sd
    z, outer = _rule(np.union1d(_PAIR_Z_BREAKS, edges[np.abs(edges) < _PAIR_REACH]), 12)
    u1 = (sd * z)[:, None]
    if across < 1e-12:  # opposite inputs: u2 = -u1
        return u1, (1.0 - distance) * u1, outer[:, None]
    places = _pair_places(kink, sd * across)
    cuts = np.clip((places / sd - (1.0 - distance) * z[:, None]) / across, -_PAIR_REACH, _PAIR_REACH)
    base = np.broadcast_to(_PAIR_Z_BREAKS, (z.size, _PAIR_Z_BREAKS.size))
    t, inner = _rule(np.sort(np.concatenate([base, cuts], axis=1), axis=1), 12)
    return u1, u1 + sd * (across * t - distance * z[:, None]), outer[:, None] * inner


def _pair_places(kink: Array, width: float) -> Array:
    """Where a rule over a Gaussian of this width is cut: pieces in z alone are narrow enough up to a width of
    1.5."""
    return _both_signs(kink, _PAIR_X_BREAKS) if width > 1.5 else kink


def _rule(edges: Array, order: int) -> tuple[Array, Array]:
    """Nodes and weights of ``E f(z)`` between consecutive `edges` (along the last axis)."""
    node, weight = _legendre(order)
    middle, half = (edges[..., 1:] + edges[..., :-1]) / 2, (edges[..., 1:] - edges[..., :-1]) / 2
    shape = (*edges.shape[:-1], -1)
    z = (middle[..., None] + half[..., None] * node).reshape(shape)
    return z, (half[..., None] * weight).reshape(shape) * np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)


@cache
def _legendre(order: int) -> tuple[Array, Array]:
    node, weight = np.polynomial.legendre.leggauss(order)
    return node, weight


def _both_signs(*places: Array | tuple[float, ...]) -> Array:
    positive = np.abs(np.concatenate([np.asarray(p, dtype=np.float64) for p in places]))
    return np.union1d(positive, -positive)


def _value(activation: str, x: Array, params: Parameters) -> Array:
    value: Array = kernels.forward(activation, x, **dict(params))
    return value


def _slope(activation: str, x: Array, params: Parameters) -> Array:
    slope: Array = kernels.backward(activation, x, np.ones_like(x), **dict(params))
    return slope
