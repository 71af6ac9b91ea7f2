"""A measurement as a notebook shows it."""

from __future__ import annotations

from gradiometer.measurement.charts import gradient_chart
from gradiometer.measurement.result import Measurement
from gradiometer.measurement.text import factor_in_words, frozen_in_words, header, layer_table
from gradiometer.measurement.time.charts import time_charts
from gradiometer.measurement.time.text import time_lines
from gradiometer.report.chart import LineChart
from gradiometer.report.heat import HeatMap
from gradiometer.report.notebook import fragment
from gradiometer.report.text import Table, fold

__all__ = ["charts_of", "folded_table", "measurement_html"]


def measurement_html(measurement: Measurement) -> str:
    """What was measured, the factor a layer, the curve, and a folded table."""
    return fragment(
        header(measurement),
        [
            f"|dL/dh| {factor_in_words(measurement.attenuation, len(measurement.hidden))}",
            *frozen_in_words(measurement),
            *(line.strip() for each in measurement.time for line in time_lines(each)),
        ],
        charts_of(measurement),
        *folded_table(measurement),
    )


def charts_of(measurement: Measurement) -> list[LineChart | HeatMap]:
    """The gradient by layer, or of a recurrent network through time."""
    return list(time_charts(measurement.time)) if measurement.time else [gradient_chart({"": measurement})]


def folded_table(measurement: Measurement) -> tuple[Table, str]:
    """The table of the layers, long networks folded, and its caption."""
    table = layer_table(measurement)
    kept = fold([row[0] for row in table.rows])
    folded = len(table.rows) - len(kept)
    return Table(table.columns, [table.rows[i] for i in kept]), f"By layer, {folded} folded" if folded else "By layer"
