"""What finite width and finite precision add: log-normal scatter of gradients (Hanin & Nica 2018,
arXiv:1812.05994) and the depth at which float32 reaches zero."""

from __future__ import annotations

import math

from gradiometer.theory.quadrature import moments

__all__ = ["float32_zero_depth", "rate_interval", "width_constant"]


def width_constant(activation: str, q: float = 1.0, **params: float) -> float:
    """``c = 3 E phi'^4 / (E phi'^2)^2 - 1``: over L layers of width N the logarithm of the squared gradient
    norm of one sample scatters with variance ``L c / N``, and its mean lies ``L c / 2N`` below theory's.

    Examples
    --------
    >>> round(width_constant("relu"), 9)
    5.0
    """
    m = moments(activation, q, **params)
    return 3.0 * m.slope4 / m.slope2**2 - 1.0


def rate_interval(
    ratio: float, layers: int, width: float, constant: float, *, seeds: int = 1
) -> tuple[float, float, float]:
    """Rate and its 95 % interval from the end points of a net.

    For the gradient of one sample. Over a batch gradients average, scatter less, and the correction of the
    mean overshoots: use the scatter between layers there.

    Parameters
    ----------
    ratio : float
        Squared norm of ``dL/dh`` at the layer nearest to the input over that at the farthest one; with
        several seeds their geometric mean.
    layers : int
        Layers between the two.
    width : float
        Units of a layer.
    constant : float
        `width_constant` of the activation.
    seeds : int
        Independent nets behind `ratio`.

    Returns
    -------
    rate, low, high : float

    Examples
    --------
    >>> rate, low, high = rate_interval(1.0, layers=50, width=128, constant=5.0)
    >>> round(math.log(high / rate), 4)
    0.0548
    """
    for name, value in (("ratio", ratio), ("layers", layers), ("width", width), ("seeds", seeds)):
        if not value > 0:
            raise ValueError(f"{name} must be > 0, got {value!r}")
    middle = math.log(ratio) / layers + constant / (2 * width)
    half = 1.96 * math.sqrt(constant / (width * layers * seeds))
    return math.exp(middle), math.exp(middle - half), math.exp(middle + half)


def float32_zero_depth(factor: float, entry: float = 1.0) -> float:
    """Layers after which a gradient entry of size `entry`, multiplied by `factor` a layer, rounds to 0 in
    float32.

    ``(150 ln 2 + ln entry) / -ln factor``, since 2**-150 rounds to 0; inf if `factor` is not below 1, 0 if
    the entry is 0 already.

    Examples
    --------
    >>> round(float32_zero_depth(0.0557207 ** 0.5), 1)
    72.0
    """
    if not (factor >= 0 and entry >= 0):
        raise ValueError(f"factor and entry must be >= 0, got {factor!r} and {entry!r}")
    if entry <= 2.0**-150:
        return 0.0
    if factor >= 1:
        return math.inf
    return (150 * math.log(2) + math.log(entry)) / -math.log(factor) if factor else 1.0
