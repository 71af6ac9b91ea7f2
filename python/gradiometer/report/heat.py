"""A heat map as inline SVG, for light and dark: one of two colours over the page, the stronger the further from 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gradiometer.report.chart import log_ticks, whole_ticks
from gradiometer.report.escape import escape, printable
from gradiometer.report.marks import LINE, SMALL, fixed, rule, svg_element, tick_words, words, words_width
from gradiometer.report.text import scientific

__all__ = ["HeatMap"]

MOST_COLUMNS = 120
BLUE, RED = "var(--series-1, #0072B2)", "var(--series-2, #D55E00)"
ODD = "var(--series-5, #E69F00)"
STRONGEST = 0.92
"""Opacity at the end of the scale: numbers on paper stay legible over it."""


@dataclass(frozen=True)
class HeatMap:
    """Positive numbers over two axes, on a log scale of colour: 1 is white, less is blue, more is red.

    Attributes
    ----------
    title : str
    x, y : sequence of float
        Ascending centres of the columns and rows.
    values : sequence of sequences
        A row for each `y`. Zeros, and what is not finite, have colours of their own.
    x_label, y_label, label : str
    names : sequence of str
        Of the rows, in place of numbers.
    """

    title: str
    x: Sequence[float]
    y: Sequence[float]
    values: Sequence[Sequence[float]]
    x_label: str = ""
    y_label: str = ""
    label: str = ""
    names: Sequence[str] = ()

    @property
    def reach(self) -> float:
        """Decades from 1 to the end of the scale of colour, 1 or more."""
        logs = [abs(math.log10(v)) for row in self.values for v in row if 0.0 < v < math.inf]
        return max(1.0, *logs, 0.0) if logs else 1.0

    def describe(self) -> str:
        """The alternative text."""
        said = []
        for place, row in zip(self.y, self.values, strict=True):
            name = self.names[list(self.y).index(place)] if self.names else f"row {place:g}"
            known = [v for v in row if not math.isnan(v)]
            ends = f"{scientific(known[0])} first, {scientific(known[-1])} last" if known else "no values"
            said.append(f"{name}: {ends}.")
        return " ".join(said) or "No rows."

    def svg(self, width: int = 720) -> str:
        """One ``<svg>`` element, `width` units wide; it scales with the page. The first row is at the bottom."""
        names = [printable(name) for name in self.names] or [f"{place:g}" for place in self.y]
        widest = max(map(words_width, names), default=0.0)
        beside = widest < 0.3 * width
        left = widest + 12 if beside else 0.0
        columns = _binned(self.values, MOST_COLUMNS if width > 500 else MOST_COLUMNS // 2)
        count = len(columns[0]) if columns else 0
        cell = (width - left - 2) / max(1, count)
        tall = max(12.0, min(34.0, 340.0 / max(1, len(names))))
        pitch = tall if beside else tall + LINE
        top = 26.0 if self.y_label else 6.0
        out = [words(0, 12, self.y_label, faint=True)]
        for number, (name, row) in enumerate(zip(names, columns, strict=True)):
            y = top + pitch * (len(names) - 1 - number)
            if beside:
                out.append(words(left - 8, y + tall / 2 + 4, name, "end", SMALL))
            else:
                out.append(words(0, y + 12, name, size=SMALL))
                y += LINE
            cells = [self._cell(left + cell * k, y, cell, tall, value) for k, value in enumerate(row)]
            out.append(f'<g shape-rendering="crispEdges">{"".join(cells)}</g>')
        bottom = top + pitch * len(names)
        out.append(rule(left, bottom, width - 2, bottom, strong=True))
        if len(self.x):
            first, last = float(self.x[0]), float(self.x[-1])
            for tick in whole_ticks(first, last, 10 if width > 500 else 5):
                share = (tick.at - first) / (last - first) if last > first else 0.5
                x = left + cell / 2 + (width - 2 - left - cell) * share
                out.append(rule(x, bottom, x, bottom + 4, strong=True))
                anchor = "end" if x > width - 14 else "middle"
                out.append(tick_words(min(x, width - 2.0), bottom + 18, tick.label, anchor))
        middle = min((left + width) / 2, width - 2 - words_width(self.x_label) / 2)  # a long one ends with the page
        out.append(words(middle, bottom + 37, self.x_label, "middle", faint=True))
        scale, height = self._scale(left, bottom + (64 if self.x_label else 40), width)
        return svg_element(self.title, self.describe(), width, height, "".join([*out, scale]))

    def _cell(self, x: float, y: float, width: float, height: float, value: float) -> str:
        if math.isnan(value):
            return ""
        fill, opacity = self._colour(value)
        size = f'width="{width:.2f}" height="{fixed(height - 1)}"'
        return f'<rect x="{x:.2f}" y="{fixed(y)}" {size} style="fill:{fill}" fill-opacity="{opacity:.2f}"/>'

    def _colour(self, value: float) -> tuple[str, float]:
        if value == 0.0:
            return "currentColor", 1.0
        if not math.isfinite(value):
            return ODD, 1.0
        log = math.log10(value)
        return BLUE if log < 0 else RED, STRONGEST * min(1.0, abs(log) / self.reach)

    def _scale(self, left: float, y: float, width: int) -> tuple[str, float]:
        """The scale of colour with its ticks, over what the values reach, and the marks of what has no logarithm."""
        flat = [v for row in self.values for v in row]
        logs = [math.log10(v) for v in flat if 0.0 < v < math.inf]
        low, high = min([0.0, *logs]), max([0.0, *logs])
        if high - low < 1.0:
            low, high = (low - 1.0, high) if -low >= high else (low, high + 1.0)
        right, parts = min(width - 20.0, left + 330.0), 48
        step = (right - left) / parts
        ats = [10.0 ** (low + (high - low) * (k + 0.5) / parts) for k in range(parts)]
        cells = [self._cell(left + step * k, y, step, 11, at) for k, at in enumerate(ats)]
        out = [f'<g shape-rendering="crispEdges">{"".join(cells)}</g>']
        out.append(rule(left, y + 10, right, y + 10))
        for tick in log_ticks(low, high, 5):
            x = left + (right - left) * (tick.at - low) / (high - low)
            out.append(rule(x, y + 10, x, y + 14, strong=True))
            out.append(tick_words(x, y + 27, tick.label, "middle"))
        out.append(words(left, y + 46, self.label, size=SMALL, faint=True))
        bottom = y + (54 if self.label else 34)
        odd = [("exactly 0", "currentColor")] * (0.0 in flat)
        odd += [("infinite", ODD)] * any(math.isinf(v) for v in flat)
        x = left
        for name, fill in odd:
            out.append(f'<rect x="{fixed(x)}" y="{fixed(bottom)}" width="11" height="11" style="fill:{fill}"/>')
            out.append(f'<text x="{fixed(x + 16)}" y="{fixed(bottom + 10)}" font-size="{SMALL}">{escape(name)}</text>')
            x += 100
        return "".join(out), bottom + (18 if odd else 0)


def _binned(rows: Sequence[Sequence[float]], most: int) -> list[list[float]]:
    """Neighbouring columns put together where there are more than can be told apart: by the mean of the logarithm."""
    made = []
    for row in rows:
        size = -(-len(row) // most) if row else 1
        made.append([_middle(row[k : k + size]) for k in range(0, len(row), size)])
    return made


def _middle(values: Sequence[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    odd = [v for v in known if not 0.0 < v < math.inf]
    if odd or not known:
        return odd[0] if odd else math.nan
    return math.exp(math.fsum(map(math.log, known)) / len(known))
