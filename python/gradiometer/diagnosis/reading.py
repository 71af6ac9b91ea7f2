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
    "mean_square_slope",
    "span_layers",
    "steepest_slope",
    "total",
    "weight_gain",
]


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
