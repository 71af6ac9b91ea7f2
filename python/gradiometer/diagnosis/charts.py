"""What the cures look like: their metric, and gradient and spread by layer before and after each."""

from __future__ import annotations

import math
from collections.abc import Callable

from gradiometer.diagnosis.result import CureResult
from gradiometer.diagnosis.text import metric_word
from gradiometer.measurement.result import LayerMeasurement
from gradiometer.measurement.time.charts import reach_chart
from gradiometer.report.chart import Bar, BarChart, LineChart, Series

__all__ = ["gradients_chart", "metric_chart", "reaches_chart", "spreads_chart", "through_chart"]

SAME = ("adam", "clip")
"""Cures that leave the network as it is."""
X_LABEL = "layer (1 next to the input)"


def metric_chart(cures: CureResult) -> BarChart:
    """The metric that counts, a bar a cure with its 95 % interval; what beats the network as given stands out."""
    decided = "test" if cures.samples[2] else "validation"
    bars = []
    for row in cures.rows:
        value = row.test if cures.samples[2] else row.val
        low, high = row.test_interval if cures.samples[2] else row.val_interval
        note = "" if math.isfinite(value) else "diverged"
        bars.append(Bar(row.title, value if not note else math.nan, low, high, note=note, emphasis=row.cured))
    limits = (0.0, 1.0) if cures.metric == "accuracy" else None
    word = metric_word(cures).replace("^2", "²")
    return BarChart(f"{word[:1].upper()}{word[1:]} on {decided} by cure, with 95 % intervals", bars, limits=limits)


def through_chart(cures: CureResult) -> LineChart:
    """What the gradient does on its way, before and after: through time where there is a recurrent layer."""
    return reaches_chart(cures) if cures.as_given.furthest is not None else gradients_chart(cures)


def reaches_chart(cures: CureResult) -> LineChart:
    """What is left of the last step's gradient by steps back, at initialisation; of each network's layer that reaches
    furthest."""
    rows = [cures.as_given, *(row for row in cures.rows if row.id not in ("as-given", *SAME))]
    found = {row.title: far for row in rows if (far := row.furthest) is not None}
    return reach_chart(found, ", before and after each cure")


def gradients_chart(cures: CureResult) -> LineChart:
    """|dL/dh| by layer at initialisation."""
    return LineChart(
        "Gradient by layer at initialisation, before and after each cure",
        _by_layer(cures, lambda layer: layer.grad_norm),
        x_label=X_LABEL,
        y_label="|dL/dh|",
    )


def spreads_chart(cures: CureResult) -> LineChart:
    """Spread between samples by layer at initialisation."""
    return LineChart(
        "Spread between samples by layer, before and after each cure",
        _by_layer(cures, lambda layer: layer.sample_spread),
        x_label=X_LABEL,
        y_label="spread",
    )


def _by_layer(cures: CureResult, of: Callable[[LayerMeasurement], float]) -> list[Series]:
    lines: list[Series] = []
    for row in [cures.as_given, *(row for row in cures.rows if row.id != "as-given")]:
        layers = row.measurement.hidden
        if row.id not in SAME:
            index = [float(layer.index) for layer in layers]
            values = [of(layer) for layer in layers]
            lines.append(Series(row.title, index, values, "dashed" if row.id == "as-given" else "solid"))
    return lines
