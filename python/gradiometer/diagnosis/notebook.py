"""A diagnosis and the cures as a notebook shows them: the heart of the page, without its folds."""

from __future__ import annotations

from gradiometer.diagnosis.charts import metric_chart, through_chart
from gradiometer.diagnosis.findings import Diagnosis
from gradiometer.diagnosis.result import CureResult
from gradiometer.diagnosis.text import advice, as_verdicts, causes, code_of, cure_remarks, cure_table, how_to_test
from gradiometer.measurement.notebook import charts_of, folded_table
from gradiometer.measurement.text import frozen_in_words, header
from gradiometer.report.chart import BarChart, LineChart
from gradiometer.report.notebook import fragment

__all__ = ["cures_html", "diagnosis_html"]


def diagnosis_html(diagnosis: Diagnosis) -> str:
    """The verdicts, the causes, what to try, the curve, and a folded table."""
    measurement = diagnosis.measurement
    lines = [
        " ".join(filter(None, [verdict.status, verdict.headline, verdict.where, *verdict.evidence]))
        for verdict in as_verdicts(diagnosis)
    ]
    lines += [*frozen_in_words(measurement), *(f"Likely cause: {cause}" for cause in causes(diagnosis))]
    if untested := advice(diagnosis):
        lines += [f"To try: {', '.join(id for id, _ in untested)}. {how_to_test(measurement)}"]
    return fragment(header(measurement), lines, charts_of(measurement), *folded_table(measurement))


def cures_html(cures: CureResult) -> str:
    """The remarks, metric and gradients of every cure, the table, and the code of the first that helps."""
    charts: list[LineChart | BarChart] = [metric_chart(cures), through_chart(cures)]
    return fragment(
        f"Cures of {cures.network}",
        cure_remarks(cures),
        charts,
        cure_table(cures),
        "Ranked by validation; each at the best of its learning rates",
        code_of(cures),
    )
