"""A measurement as a notebook shows it."""

from __future__ import annotations

from gradiometer.measurement.charts import gradient_chart
from gradiometer.measurement.result import Measurement
from gradiometer.measurement.text import factor_in_words, header, layer_table
from gradiometer.report.notebook import fragment
from gradiometer.report.text import Table, fold

__all__ = ["measurement_html"]


def measurement_html(measurement: Measurement) -> str:
    """What was measured, the factor a layer, the curve, and a folded table."""
    table = layer_table(measurement)
    kept = fold([row[0] for row in table.rows])
    folded = len(table.rows) - len(kept)
    caption = f"By layer, {folded} folded" if folded else "By layer"
    return fragment(
        header(measurement),
        [f"|dL/dh| {factor_in_words(measurement.attenuation)}"],
        [gradient_chart({"": measurement})],
        Table(table.columns, [table.rows[i] for i in kept]),
        caption,
    )
