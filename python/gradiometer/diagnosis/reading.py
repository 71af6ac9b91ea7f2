"""What several rules read off a measurement in the same way."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

import numpy as np

from gradiometer.measurement.result import LayerMeasurement, Measurement

__all__ = [
    "activation_of",
    "bare",
    "finite",
    "forward_underflow",
    "mean_square_slope",
    "span_layers",
    "steepest_slope",
    "total",
    "weight_gain",
    "with_digits",
]

SMALLEST = {"float32": 2.0**-126, "float64": 2.0**-1022}
"""The smallest normal number."""


def span_layers(measurement: Measurement) -> tuple[LayerMeasurement, ...]:
    """The layers whose factors make up the attenuation: those above the first of the span, up to its last."""
    first, last = measurement.attenuation.span
    return tuple(layer for layer in measurement.layers if first < layer.index <= last)


def total(measurement: Measurement) -> float:
    """Norm of ``dL/dh`` at the low end of the span over that at its high end."""
    first, last = measurement.attenuation.span
    factor = measurement.attenuation.factor
    if not factor > 0.0:
        return factor
    exponent = (last - first) * math.log(factor)
    return math.exp(exponent) if exponent < 700.0 else math.inf


def finite(layers: Iterable[LayerMeasurement]) -> tuple[LayerMeasurement, ...]:
    """The layers without NaN and infinity: of the others only their being so can be said."""
    return tuple(layer for layer in layers if not (layer.nans or layer.infs))


def rms(mean: float, variance: float) -> float:
    """Root mean square of numbers of this mean and variance."""
    return math.hypot(mean, math.sqrt(variance))


def forward_underflow(measurement: Measurement) -> LayerMeasurement | None:
    """The lowest layer whose pre-activations have shrunk out of the range of the dtype: subnormal, or 0.

    Not where they are 0 for another reason: weights of 0, an input of 0, or no unit of the layer below on.
    """
    fed = 0.0
    for layer in finite(measurement.layers):
        size = rms(layer.pre_mean, layer.pre_var)
        if size < SMALLEST[measurement.dtype]:
            return layer if layer.weight_norm > 0.0 and (size > 0.0 or fed > 0.0) else None
        fed = rms(layer.out_mean, layer.out_var)
    return None


def with_digits(measurement: Measurement) -> tuple[LayerMeasurement, ...]:
    """The hidden layers with finite numbers, below those whose pre-activations have underflown."""
    layers = finite(measurement.hidden)
    lost = forward_underflow(measurement)
    return layers if lost is None else tuple(layer for layer in layers if layer.index < lost.index)


def bare(layers: Iterable[LayerMeasurement]) -> tuple[LayerMeasurement, ...]:
    """The layers with neither norm nor skip: only there is ``factor**2 = gain * mean square slope``."""
    return tuple(layer for layer in layers if layer.norm is None and not layer.residual)


def weight_gain(layer: LayerMeasurement) -> float:
    """``fan_in Var W``, the sw2 of mean field theory: square Xavier has 1, He 2, torch's Linear 1/3."""
    return layer.weight_norm**2 / layer.fan_out


def mean_square_slope(layer: LayerMeasurement) -> float:
    """``E f'(a)^2`` as the gradient met it: its squared norm changes by sw2 ``E f'^2`` a layer."""
    gain = weight_gain(layer)
    return layer.factor**2 / gain if gain > 0.0 else math.nan


def activation_of(layers: Iterable[LayerMeasurement]) -> str | None:
    """The activation that most of these layers have."""
    names = Counter(layer.activation for layer in layers if layer.activation is not None)
    return names.most_common(1)[0][0] if names else None


def steepest_slope(activation: str | None) -> float:
    """``max |f'|`` of one of our activations with its default parameters; NaN for an unknown name."""
    from gradiometer import kernels

    if activation not in kernels.activations():
        return math.nan
    x = np.linspace(-20.0, 20.0, 4001)
    return float(np.abs(kernels.backward(activation, x, np.ones_like(x))).max())
