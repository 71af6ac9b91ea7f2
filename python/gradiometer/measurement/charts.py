"""What one measurement, or several over one another, look like: plain charts for a page, a notebook, matplotlib."""

from __future__ import annotations

import math
from collections.abc import Mapping

from gradiometer.measurement.result import LayerMeasurement, Measurement
from gradiometer.report.chart import INK, Level, LineChart, Series

__all__ = ["gradient_chart", "predicted_norms", "spread_chart"]

X_LABEL = "layer (1 next to the input)"
FLOAT32_NORMAL = 2.0**-126


def gradient_chart(measurements: Mapping[str, Measurement]) -> LineChart:
    """|dL/dh| by layer, and over every line theory's, dashed, from the norm of the top layer.

    Parameters
    ----------
    measurements : mapping from name to Measurement
        A single one is labelled "measured".
    """
    single = len(measurements) == 1
    series = [
        Series("measured" if single else name, _index(m), [layer.grad_norm for layer in _layers(m)])
        for name, m in measurements.items()
    ]
    for measurement in measurements.values():
        index, norms = _index(measurement), predicted_norms(measurement)
        if len(index) > 1 and not all(math.isnan(norm) for norm in norms[:-1]):
            name = "theory" if all(line.style == "solid" for line in series) else ""
            series.append(Series(name, index, norms, "dashed", colour=INK))
    return LineChart(
        "Norm of the gradient dL/dh by layer, from the input to the output",
        series,
        x_label=X_LABEL,
        y_label="|dL/dh|",
        levels=_levels(measurements),
    )


def spread_chart(measurements: Mapping[str, Measurement]) -> LineChart:
    """Spread between samples by layer: 1 when they are unrelated, 0 when the input is lost."""
    single = len(measurements) == 1
    return LineChart(
        "Spread between samples by layer",
        [
            Series("spread" if single else name, _index(m), [layer.sample_spread for layer in _layers(m)])
            for name, m in measurements.items()
        ],
        x_label=X_LABEL,
        y_label="sample spread",
    )


def predicted_norms(measurement: Measurement) -> list[float]:
    """Theory's factors multiplied down from the measured norm of the top layer."""
    layers = _layers(measurement)
    norms = [layers[-1].grad_norm]
    for layer in reversed(layers[1:]):
        norms.append(norms[-1] * layer.theory)
    return norms[::-1]


def _layers(measurement: Measurement) -> tuple[LayerMeasurement, ...]:
    return measurement.hidden or measurement.layers


def _index(measurement: Measurement) -> list[float]:
    return [float(layer.index) for layer in _layers(measurement)]


def _levels(measurements: Mapping[str, Measurement]) -> list[Level]:
    """Where entries of a float32 gradient begin to lose digits, if one comes near."""
    sizes = {m.samples * _layers(m)[0].fan_out for m in measurements.values()}
    norms = [layer.grad_norm for m in measurements.values() for layer in _layers(m) if layer.grad_norm > 0.0]
    if len(sizes) > 1 or any(m.dtype != "float32" for m in measurements.values()) or min(norms, default=1.0) >= 1e-25:
        return []
    return [Level(FLOAT32_NORMAL * math.sqrt(sizes.pop()), "entries below float32's smallest normal number")]
