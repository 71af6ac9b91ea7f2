"""A chart as one SVG file: its own background, title and colours, for a README or a slide, in light and dark."""

from __future__ import annotations

import re

from gradiometer.report.chart import BarChart, LineChart
from gradiometer.report.escape import escape
from gradiometer.report.heat import HeatMap
from gradiometer.report.page import DARK, LIGHT

__all__ = ["picture"]

PAD, HEAD = 24, 44


def picture(chart: LineChart | BarChart | HeatMap, note: str = "", width: int = 760) -> str:
    """`chart` on a card that follows the reader's light or dark setting, with its title above and a `note` below.

    Returns
    -------
    str
        An SVG document, `width` units wide, that needs nothing else.

    Examples
    --------
    >>> from gradiometer.report.chart import Series
    >>> shown = picture(LineChart("Gradient", [Series("measured", [1, 2], [1e-3, 1e-2])]))
    >>> shown.startswith("<svg"), "prefers-color-scheme:dark" in shown
    (True, True)
    """
    inner = chart.svg(width - 2 * PAD)
    height = float(re.findall(r'viewBox="0 0 [\d.]+ ([\d.]+)"', inner)[0])
    foot = 28 if note else 0
    total = height + 2 * PAD + HEAD + foot
    # a title of its own would be a second name beside the chart's
    placed = inner.replace("<svg ", f'<svg x="{PAD}" y="{PAD + HEAD}" width="{width - 2 * PAD}" height="{height}" ', 1)
    style = f":root{{{LIGHT}}}@media (prefers-color-scheme:dark){{:root{{{DARK}}}}}svg{{color:var(--ink)}}"
    bold = 'font-size="17" font-weight="600" aria-hidden="true"'
    words = f'<text x="{PAD}" y="{PAD + 16}" {bold}>{escape(chart.title)}</text>'
    if note:
        words += f'<text x="{PAD}" y="{total - PAD + 2}" font-size="13" style="fill:var(--soft)">{escape(note)}</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {total:g}" width="{width}" height="{total:g}"'
        ' font-family="system-ui, sans-serif" fill="currentColor">'
        f"<style>{style}</style>"
        f'<rect x=".5" y=".5" width="{width - 1}" height="{total - 1:g}" rx="8"'
        ' style="fill:var(--page);stroke:var(--line)"/>'
        f"{words}{placed}</svg>\n"
    )
