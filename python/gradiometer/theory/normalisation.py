"""Rates of normalised layers: Linear, norm, activation (Yang et al. 2019, arXiv:1902.08129)."""

from __future__ import annotations

import math

from gradiometer.theory.quadrature import moments

__all__ = ["batch_norm_rate", "layer_norm_rate"]


def batch_norm_rate(
    activation: str, batch: int | None = None, *, gamma: float = 1.0, beta: float = 0.0, **params: float
) -> float:
    """Factor of the squared norm of the gradient, a layer of Linear, batch norm, activation deep in a net.

    ``gamma^2 E phi'(x)^2 / Var phi(x)`` over ``x = gamma z + beta``, never below 1 whatever the weights. The
    first normalised layer differs: the variance of its input is not ``Var phi``. The rate of a norm *after*
    the activation is the same formula with the standard deviation of the pre-activations for `gamma`.

    Parameters
    ----------
    activation : str
    batch : int, optional
        Samples in a batch, small beside the width. The correction is known for relu and identity; others, and
        None, give the limit of a large batch (at 64 samples 1 to 4 % too low). A batch of 2 passes no
        gradient, one of 3 has no finite mean.
    gamma, beta : float
        Gain and shift of the norm.

    Examples
    --------
    >>> round(batch_norm_rate("relu"), 6), round(batch_norm_rate("relu", batch=8), 6)
    (1.466942, 1.78819)
    """
    m = moments(activation, gamma**2, shift=beta, **params)
    limit = gamma**2 * m.slope2 / m.variance
    if batch is None:
        return limit
    if batch < 2:
        raise ValueError(f"batch must be at least 2, got {batch!r}")
    if batch == 2:
        return 0.0
    if activation == "identity":
        return (batch - 2) / (batch - 3) if batch > 3 else math.inf
    if activation == "relu" and beta == 0:
        # Two samples of a normalised batch have correlation -1/(B - 1).
        c = -1.0 / (batch - 1)
        k0 = (math.pi - math.acos(c)) / math.pi
        k1 = (math.sqrt(1 - c * c) + (math.pi - math.acos(c)) * c) / math.pi
        return (batch - 2 + k0 + k1) / ((batch - 3) * (1 - k1)) if batch > 3 else math.inf
    return limit


def layer_norm_rate(activation: str, *, gamma: float = 1.0, beta: float = 0.0, **params: float) -> float:
    """Factor of the squared norm of the gradient, a layer of Linear, layer norm, activation.

    ``gamma^2 E phi'(x)^2 / E phi(x)^2`` over ``x = gamma z + beta``, at any batch size. The rate of RMS norm
    after the activation is the same formula with the standard deviation of the pre-activations for `gamma`.

    Examples
    --------
    >>> round(layer_norm_rate("relu"), 12), round(layer_norm_rate("sigmoid"), 6)
    (1.0, 0.152827)
    """
    m = moments(activation, gamma**2, shift=beta, **params)
    return gamma**2 * m.slope2 / m.second
