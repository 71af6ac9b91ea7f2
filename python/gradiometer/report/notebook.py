"""A result inside a notebook: no script, no style sheet, colours that serve a light and a dark page."""

from __future__ import annotations

from collections.abc import Sequence

from gradiometer.report.chart import BarChart, LineChart
from gradiometer.report.escape import escape
from gradiometer.report.heat import HeatMap
from gradiometer.report.page import table_html, variables
from gradiometer.report.text import Table

__all__ = ["fragment"]

WIDTH = 640

# A notebook's theme is not the browser's: every colour has a contrast of 3 or more on white and on #111.
PALETTE = ("#1f87c9", "#d55e00", "#009e73", "#b9659a", "#b07a00", "#6f7fd8")


def fragment(
    title: str,
    lines: Sequence[str],
    charts: Sequence[LineChart | BarChart | HeatMap],
    table: Table,
    caption: str,
    codes: Sequence[tuple[str, str]] = (),
) -> str:
    """A title, lines of text, charts, a table and code with its labels as one ``<div>``.

    Examples
    --------
    >>> from gradiometer.report.text import Column
    >>> shown = fragment("net", ["x0.2 a layer"], [], Table([Column("layer")], [(1,)]), "Layers")
    >>> shown.startswith("<div"), "<td" in shown or "<th" in shown
    (True, True)
    """
    text = "".join(f'<p style="margin:.2em 0">{escape(line)}</p>\n' for line in lines)
    drawn = "".join(f'<div style="margin:1em 0 0">{chart.svg(WIDTH)}</div>\n' for chart in charts)
    pasted = "".join(
        f'<p style="margin:.6em 0 .2em">{escape(label)}</p>\n'
        f'<pre style="margin:0;white-space:pre-wrap;text-align:left">{escape(code, newlines=True)}</pre>\n'
        for label, code in codes
    )
    look = f"max-width:{WIDTH}px;text-align:right;font-variant-numeric:tabular-nums"
    return (
        f'<div class="gradiometer" style="max-width:{WIDTH}px;{variables(PALETTE)}">\n'
        f'<p style="margin:.2em 0"><strong>{escape(title)}</strong></p>\n{text}{drawn}'
        f'<div style="{look}">{table_html(table, caption)}</div>\n{pasted}</div>'
    )
