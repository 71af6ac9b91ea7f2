"""Line and bar charts as inline SVG: no script, no font, no network; for light and dark, paper and ear."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from gradiometer.report.escape import printable
from gradiometer.report.marks import (
    INK,
    LINE,
    SMALL,
    colour_of,
    fixed,
    leader,
    rule,
    stroke,
    svg_element,
    swatch,
    tick_width,
    tick_words,
    words,
    words_width,
)
from gradiometer.report.text import scientific, score

__all__ = ["INK", "Bar", "BarChart", "Level", "LineChart", "Series", "linear_ticks", "log_ticks", "whole_ticks"]

HUGE = 4e307  # beyond it, a linear axis cannot form the difference of its ends
TINY = 1e-290  # closer together than this, the ends of a linear axis leave no room for a step


# Ticks


class Tick(NamedTuple):
    """A place on an axis and its label; on a log axis `at` is log10 of the value."""

    at: float
    label: str


def nice_step(span: float, most: int) -> float:
    """The smallest 1, 2 or 5 times a power of ten of which at most `most` intervals cover `span` > 0."""
    power = 10.0 ** math.floor(math.log10(span / most))
    # the last factor catches the quotient that rounding pushed just above 10
    return next(f * power for f in (1, 2, 5, 10, 20) if f * power * most >= span * (1 - 1e-9))


def linear_ticks(low: float, high: float, most: int = 6) -> list[Tick]:
    """All multiples of a 1-2-5 step within [low, high], with labels of equal precision.

    >>> [tick.label for tick in linear_ticks(0.0, 1.0)], [tick.label for tick in linear_ticks(1, 50)]
    (['0.0', '0.2', '0.4', '0.6', '0.8', '1.0'], ['10', '20', '30', '40', '50'])
    """
    if not low < high:
        return [Tick(low, f"{low:g}")]
    step = nice_step(high - low, most)
    counts = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    size = max((abs(n * step) for n in counts), default=0.0)
    if size >= 1e6 or places > 4:
        digits = math.floor(math.log10(size or step) + 1e-9) - math.floor(math.log10(step) + 1e-9) + 1
        return [Tick(n * step, f"{n * step:.{digits}g}") for n in counts]
    return [Tick(n * step, f"{n * step:.{places}f}") for n in counts]


def log_ticks(low: float, high: float, most: int = 7) -> list[Tick]:
    """Ticks of a log axis within [low, high], exponents of ten: decades, thinned by a 1-2-5 step when many.

    Where less than two decades are spanned, 2 and 5 times a power of ten are ticks too.

    >>> [tick.label for tick in log_ticks(-33, 0)], [tick.label for tick in log_ticks(-1, 0)]
    (['1e-30', '1e-25', '1e-20', '1e-15', '1e-10', '1e-5', '1'], ['0.1', '0.2', '0.5', '1'])
    """
    first, last = math.ceil(low - 1e-9), math.floor(high + 1e-9)
    if high - low < 2:
        fine = [
            Tick(power + math.log10(factor), _decade(power, factor))
            for power in range(first - 1, last + 1)
            for factor in (1, 2, 5)
        ]
        return [tick for tick in fine if low - 1e-9 <= tick.at <= high + 1e-9]
    step = max(1, round(nice_step(high - low, most)))
    powers = range(-(-first // step) * step, last + 1, step)
    plain = not powers or max(-powers[0], powers[-1]) <= 4
    return [Tick(power, _decade(power) if plain or power == 0 else f"1e{power}") for power in powers]


def whole_ticks(low: float, high: float, most: int = 10) -> list[Tick]:
    """Ticks at whole numbers, the two ends always among them; what would touch an end gives way.

    >>> [tick.label for tick in whole_ticks(1, 50, 8)]
    ['1', '10', '20', '30', '40', '50']
    >>> [tick.label for tick in whole_ticks(1, 20)][:3]
    ['1', '4', '6']
    """
    ticks = [Tick(t.at, f"{t.at:.10g}") for t in linear_ticks(low, high, most) if t.at == round(t.at)]
    for end in {low, high}:
        if abs(end) < 1e6:
            ticks = [tick for tick in ticks if abs(tick.at - end) > 0.06 * (high - low)]
            ticks.append(Tick(end, f"{end:.10g}"))
    return sorted(ticks)


def _decade(power: int, factor: int = 1) -> str:
    """The value factor * 10**power, written out where that is short."""
    if abs(power) > 4:
        return f"{factor}e{power}"
    return f"{factor * 10**power}" if power >= 0 else f"{factor * 10.0**power:.{-power}f}"


def _widen(low: float, high: float) -> tuple[float, float]:
    """Limits far enough apart for a linear axis."""
    size = max(abs(low), abs(high))
    if high - low > max(1e-9 * size, TINY):
        return low, high
    pad = size / 2 if size > TINY else 0.5
    return low - pad, high + pad


def _axis(low: float, high: float, log: bool, most: int) -> tuple[float, float, list[Tick]]:
    """Limits and ticks of a value axis that shows [low, high] (exponents of ten if `log`)."""
    if log:
        if low == high:
            low, high = low - 0.1, high + 0.1
        if high - low < 0.5 and low > -300:  # less than a factor of 3: even steps, as in a linear axis
            bottom, top, ticks = _axis(10.0**low, 10.0**high, log=False, most=5)
            if bottom > 0:
                return math.log10(bottom), math.log10(top), [Tick(math.log10(t.at), t.label) for t in ticks]
        if high - low < 1:
            powers = range(math.floor(low) - 1, math.ceil(high) + 2)
            edges = [power + math.log10(factor) for power in powers for factor in (1, 2, 5)]
            bottom = max(edge for edge in edges if edge <= low + 1e-9)
            top = min(edge for edge in edges if edge >= high - 1e-9)
        else:
            bottom, top = math.floor(low + 1e-9), math.ceil(high - 1e-9)
        return bottom, top, log_ticks(bottom, top, most)
    low, high = _widen(low, high)
    step = nice_step(high - low, most)
    bottom, top = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return bottom, top, linear_ticks(bottom, top, most + 2)


# Line charts


@dataclass(frozen=True)
class Series:
    """A named line, dashed line or cloud of points.

    Attributes
    ----------
    name : str
        Empty for a line that goes without a label, as a companion of another in the same colour.
    x, y : sequence of float
        Equally long. Where `y` is NaN the line has a gap.
    style : {"solid", "dashed", "points"}
    colour : int, optional
        Place in the palette, or `INK`; that of the series in the chart if not given.
    low, high : sequence of float
        Ends of an interval around every `y`, drawn as a band; empty for none.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: Literal["solid", "dashed", "points"] = "solid"
    colour: int | None = None
    low: Sequence[float] = ()
    high: Sequence[float] = ()

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high) or len(self.low) not in (0, len(self.x)):
            counts = f"low of {self.name!r} has {len(self.low)} values and high {len(self.high)}"
            raise ValueError(f"{counts}, expected {len(self.x)} each or none")
        if len(self.x) != len(self.y):
            raise ValueError(f"x of {self.name!r} has {len(self.x)} values and y {len(self.y)}, expected equally many")
        if self.style not in ("solid", "dashed", "points"):
            raise ValueError(f"style is {self.style!r}, expected solid, dashed or points")


@dataclass(frozen=True)
class Level:
    """A horizontal line of reference at `value`, with its name."""

    value: float
    label: str


@dataclass(frozen=True)
class LineChart:
    """Several series over one x axis.

    On a log axis zeros lie on a track of their own below the scale, marked 0, and infinities on one above
    it; NaN and (on a log axis) negative numbers are gaps, counted in the description.

    Attributes
    ----------
    title : str
        What the chart shows: its name for a screen reader, and the caption on a page.
    series : sequence of Series
    x_label, y_label : str
    log : bool
        Log scale of y.
    levels : sequence of Level
    description : str
        Text for those who do not see the chart; made from the series if empty.
    """

    title: str
    series: Sequence[Series]
    x_label: str = ""
    y_label: str = ""
    log: bool = True
    levels: Sequence[Level] = ()
    description: str = ""

    def svg(self, width: int = 720, height: int | None = None) -> str:
        """One ``<svg>`` element, `width` units wide; it scales with the page."""
        return _LineDrawing(self, width, height or round(min(320, width * 0.72)) + 40).svg()

    def describe(self) -> str:
        """The alternative text."""
        if self.description:
            return self.description
        return " ".join(
            [
                *map(self._describe, self.series),
                *(f"{level.label}: {level.value:g}." for level in self.levels),
            ]
        )

    def _describe(self, series: Series) -> str:
        pairs = sorted(
            (float(x), float(y)) for x, y in zip(series.x, series.y, strict=True) if _drawable(x, y, self.log)
        )
        if not pairs:
            return f"{series.name or 'beside it'}: no values."
        (x0, y0), (x1, y1) = pairs[0], pairs[-1]
        lost = len(series.x) - len(pairs)
        said = f"{series.name or 'beside it'}: {scientific(y0)} at {x0:g}"
        said += f", {scientific(y1)} at {x1:g}" if len(pairs) > 1 else ""
        zeros = sum(y == 0 for _, y in pairs) if self.log else 0
        said += f"; exactly 0 in {zeros} of {len(pairs)}" if zeros else ""
        said += f"; {lost} that cannot be drawn" if lost else ""
        return said + "."


def _drawable(x: float, y: float, log: bool) -> bool:
    return abs(x) <= HUGE and not math.isnan(y) and not (log and y < 0)


class _LineDrawing:
    """Where everything of one `LineChart` goes, for one width."""

    def __init__(self, chart: LineChart, width: int, height: int) -> None:
        self.chart, self.width = chart, width
        self.points = [
            [
                (float(x), float(y)) if _drawable(float(x), float(y), chart.log) else None
                for x, y in zip(s.x, s.y, strict=True)
            ]
            for s in chart.series
        ]
        drawn = [point for line in self.points for point in line if point]
        self.has_zero = chart.log and 0 in [*(y for _, y in drawn), *(level.value for level in chart.levels)]
        self.has_inf = any(self._infinite(y) for _, y in drawn)
        bands = [float(y) for s in chart.series for ends in (s.low, s.high) for y in ends]
        self._scale_y([y for _, y in drawn] + [level.value for level in chart.levels] + bands)
        self._scale_x([x for x, _ in drawn])
        self._place(height)

    def _infinite(self, y: float) -> bool:
        return math.isinf(y) or (not self.chart.log and abs(y) > HUGE)

    def _scale_y(self, values: list[float]) -> None:
        log = self.chart.log
        finite = [y for y in values if not math.isnan(y) and not self._infinite(y) and (y > 0 or not log)]
        on_axis = [math.log10(y) for y in finite] if log else finite
        self.y0, self.y1, self.y_ticks = _axis(min(on_axis, default=0.0), max(on_axis, default=1.0), log, 7)

    def _scale_x(self, values: list[float]) -> None:
        low, high = min(values, default=0.0), max(values, default=1.0)
        self.x0, self.x1 = low, high = _widen(low, high)
        if not values:
            self.x_ticks, self.y_ticks = [], []
            return
        whole = all(x == int(x) for x in values)
        self.x_ticks = (whole_ticks if whole else linear_ticks)(low, high, 10 if self.width > 500 else 5)

    def _place(self, height: int) -> None:
        self.named = [number for number, series in enumerate(self.chart.series) if series.name]
        self.names = [printable(self.chart.series[number].name) for number in self.named]
        self.colours = [number if s.colour is None else s.colour for number, s in enumerate(self.chart.series)]
        widest = max(map(words_width, self.names), default=0.0)
        labels = [tick.label for tick in self.y_ticks] + ["inf"] * self.has_inf + ["0"] * self.has_zero
        self.left = 12 + max(map(tick_width, labels), default=0.0)
        self.right = self.width - (widest + 40)
        ends = [self._end(self.points[number]) for number in self.named]
        reach = [end is not None and self.x(end[0]) > self.right - 30 for end in ends]
        self.direct = self.width > 500 and len(self.names) <= 5 and widest <= 170 and all(reach)
        self.head = 30.0 if self.chart.y_label else 8.0
        self.legend: list[tuple[int, float]] = []
        self.top = self.head + (26 if self.has_inf else 0)
        if not self.direct:
            self.right = self.width - 10
            self.legend = _flow(self.names, self.width, 30)
            self.top += LINE * (max((row for row, _ in self.legend), default=-1) + 1) + 8
        self.bottom = self.top + height - 70
        self.zero = self.bottom + 20
        self.floor = self.zero + 6 if self.has_zero else self.bottom
        self.height = self.floor + (44 if self.chart.x_label else 26)

    def _end(self, line: list[tuple[float, float] | None]) -> tuple[float, float] | None:
        return max((point for point in line if point), key=lambda point: point[0], default=None)

    def x(self, value: float) -> float:
        return self.left + (self.right - self.left) * ((value - self.x0) / (self.x1 - self.x0))

    def y(self, value: float) -> float:
        """Where a value lies, those off the scale on tracks beside it."""
        if self._infinite(value):
            return self.top - 16 if value > 0 else self.bottom
        if self.chart.log and value == 0:
            return self.zero
        return self._height(math.log10(value) if self.chart.log else value)

    def _height(self, at: float) -> float:
        return self.bottom - (self.bottom - self.top) * ((at - self.y0) / (self.y1 - self.y0))

    def svg(self) -> str:
        rules, names = self._levels()
        marks = [self._grid(), rules]
        for number, (series, line) in enumerate(zip(self.chart.series, self.points, strict=True)):
            marks.append(f'<g class="series">{self._line(series, line, self.colours[number])}</g>')
        if not any(point for line in self.points for point in line):
            middle = (self.left + self.right) / 2
            marks.append(words(middle, (self.top + self.bottom) / 2, "no values", "middle", faint=True))
        marks += [names, self._names()]
        return svg_element(self.chart.title, self.chart.describe(), self.width, self.height, "".join(marks))

    def _grid(self) -> str:
        out = []
        for tick in self.y_ticks:
            y = self._height(tick.at)
            out.append(rule(self.left, y, self.right, y))
            out.append(tick_words(self.left - 8, y + 4, tick.label, "end"))
        if self.has_zero:
            out.append(rule(self.left, self.zero, self.right, self.zero, "1 3"))
            out.append(tick_words(self.left - 8, self.zero + 4, "0", "end"))
        if self.has_inf:
            out.append(rule(self.left, self.top - 16, self.right, self.top - 16, "1 3"))
            out.append(tick_words(self.left - 8, self.top - 12, "inf", "end"))
        out.append(rule(self.left, self.floor, self.right, self.floor, strong=True))
        for tick in self.x_ticks:
            out.append(rule(self.x(tick.at), self.floor, self.x(tick.at), self.floor + 4, strong=True))
            out.append(tick_words(self.x(tick.at), self.floor + 18, tick.label, "middle"))
        middle = (self.left + self.right) / 2
        out.append(words(middle, self.floor + 37, self.chart.x_label, "middle", faint=True))
        out.append(words(0, 12, self.chart.y_label, faint=True))
        return "".join(out)

    def _levels(self) -> tuple[str, str]:
        """The lines of reference, to lie under the series, and their names, to lie above."""
        rules, names = [], []
        for level in self.chart.levels:
            if _drawable(0.0, level.value, self.chart.log):
                y = self.y(level.value)
                rules.append(rule(self.left, y, self.right, y, "2 3", strong=True))
                x, base, anchor = self._free(y, words_width(level.label))
                names.append(words(x, base, level.label, anchor, SMALL, faint=True, halo=True))
        return "".join(rules), "".join(names)

    def _free(self, y: float, width: float) -> tuple[float, float, str]:
        """Where the name of a level at `y` meets the fewest lines: right or left end, above or below."""
        path = [(self.x(p[0]), self.y(p[1])) for line in self.points for p in line if p]
        middles = [((a + c) / 2, (b + d) / 2) for (a, b), (c, d) in itertools.pairwise(path)]

        def met(place: tuple[float, float, str]) -> int:
            left = place[0] - width if place[2] == "end" else place[0]
            inside = [left < a < left + width and place[1] - 16 < b < place[1] + 6 for a, b in path + middles]
            outside = place[1] - 10 < self.top or place[1] > self.bottom
            return sum(inside) + 1000 * outside

        ends = ((self.right - 2, "end"), (self.left + 4, "start"))
        return min([(x, base, anchor) for x, anchor in ends for base in (y - 6, y + 15)], key=met)

    def _line(self, series: Series, line: list[tuple[float, float] | None], number: int) -> str:
        """The unbroken pieces as paths, lone points and those off the scale as marks."""
        out, piece, colour = [self._band(series, number)], list[str](), colour_of(number)

        def finish() -> None:
            if len(piece) > 1:
                path = "M" + "L".join(piece)
                out.append(f'<path d="{path}" {stroke(series.style, number)} stroke-linejoin="round"/>')
            elif piece:
                x, y = piece[0].split(" ")
                out.append(f'<circle cx="{x}" cy="{y}" r="3" style="fill:{colour}"/>')
            piece.clear()

        for point in line:
            if point is None:
                finish()
                continue
            x, y = self.x(point[0]), self.y(point[1])
            if self._infinite(point[1]):
                finish()
                tip = 7 if point[1] < 0 else -7
                path = f"M{fixed(x - 4)} {fixed(y - tip / 2)}h8l-4 {tip}z"
                out.append(f'<path class="inf" d="{path}" style="fill:{colour}"/>')
            elif self.chart.log and point[1] == 0:
                finish()
                out.append(
                    f'<circle class="zero" cx="{fixed(x)}" cy="{fixed(y)}" r="3" fill="none"'
                    f' style="stroke:{colour}" stroke-width="1.5"/>'
                )
            else:
                piece.append(f"{fixed(x)} {fixed(y)}")
                if series.style == "points":
                    finish()
        finish()
        return "".join(out)

    def _band(self, series: Series, number: int) -> str:
        """The interval of every run of places where it has two ends on the scale."""
        out, run = [], list[tuple[float, float, float]]()

        def finish() -> None:
            if len(run) > 1:
                edge = [(x, high) for x, _, high in run] + [(x, low) for x, low, _ in reversed(run)]
                path = "L".join(f"{fixed(self.x(x))} {fixed(self.y(y))}" for x, y in edge)
                out.append(f'<path class="band" d="M{path}Z" style="fill:{colour_of(number)}" fill-opacity="0.18"/>')
            run.clear()

        for x, low, high in zip(series.x, series.low, series.high, strict=False):
            ends = (float(low), float(high))
            if all(_drawable(x, y, self.chart.log) and not self._infinite(y) for y in ends):
                run.append((float(x), *ends))
            else:
                finish()
        finish()
        return "".join(out)

    def _names(self) -> str:
        styles = [self.chart.series[number].style for number in self.named]
        colours = [self.colours[number] for number in self.named]
        out = []
        if not self.direct:
            for (row, x), name, style, colour in zip(self.legend, self.names, styles, colours, strict=True):
                y = self.head + LINE * row + 5
                out.append(swatch(x, y - 4, 22, style, colour))
                out.append(words(x + 28, y, name))
            return "".join(out)
        ends = [end for number in self.named if (end := self._end(self.points[number]))]
        places = _spread([self.y(y) for _, y in ends], LINE, self.top, self.floor)
        for (x, y), place, name, style, colour in zip(ends, places, self.names, styles, colours, strict=True):
            if abs(place - self.y(y)) > 3 or self.right - self.x(x) > 3:
                out.append(leader(self.x(x) + 3, self.y(y), self.right + 10, place, colour))
            out.append(swatch(self.right + 12, place, 16, style, colour))
            out.append(words(self.right + 34, place + 4, name, colour=colour_of(colour)))
        return "".join(out)


def _spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places near the wanted ones, `gap` apart and within [low, high] if there is room, in the same order."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    places = [0.0] * len(wanted)
    free = low
    for i in order:
        places[i] = max(wanted[i], free)
        free = places[i] + gap
    limit = high
    for i in reversed(order):
        places[i] = min(places[i], limit)
        limit = places[i] - gap
    return places


def _flow(names: Sequence[str], width: float, swatch: float) -> list[tuple[int, float]]:
    """Row and x of each entry of a legend that runs on like text."""
    places, row, x = [], 0, 0.0
    for name in names:
        need = swatch + words_width(name) + 18
        if x > 0 and x + need - 18 > width:
            row, x = row + 1, 0.0
        places.append((row, x))
        x += need
    return places


# Bar charts


@dataclass(frozen=True)
class Bar:
    """A named value with its interval.

    Attributes
    ----------
    name : str
    value : float
        NaN is said, not drawn.
    low, high : float
        Ends of the interval; NaN for none.
    note : str
        A few words behind the value.
    emphasis : bool
        Drawn in the first colour, the others in grey.
    """

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    note: str = ""
    emphasis: bool = False


@dataclass(frozen=True)
class BarChart:
    """Horizontal bars with whiskers, on a linear axis that begins at ``limits[0]``.

    Attributes
    ----------
    title : str
    bars : sequence of Bar
    label : str
        Of the axis.
    limits : tuple of float, optional
        Of the axis; from 0 to the largest value if not given.
    levels : sequence of Level
        Vertical lines of reference.
    format : callable
        From a value to its text.
    description : str
        Made from the bars if empty.
    """

    title: str
    bars: Sequence[Bar]
    label: str = ""
    limits: tuple[float, float] | None = None
    levels: Sequence[Level] = ()
    format: Callable[[float], str] = score
    description: str = ""

    def __post_init__(self) -> None:
        if self.limits and not self.limits[0] < self.limits[1]:
            raise ValueError(f"limits are {self.limits}, expected the lower one first")

    def describe(self) -> str:
        """The alternative text."""
        if self.description:
            return self.description
        said = []
        for bar in self.bars:
            known = math.isfinite(bar.low) and math.isfinite(bar.high)
            within = f" ({self.format(bar.low)} to {self.format(bar.high)})" if known else ""
            said.append(f"{bar.name}: {self.format(bar.value)}{within}{', ' + bar.note if bar.note else ''}.")
        return " ".join(said) or "No bars."

    def svg(self, width: int = 720) -> str:
        """One ``<svg>`` element, `width` units wide; it scales with the page."""
        low, high = self.limits or self._limits()
        names = [printable(bar.name) for bar in self.bars]
        values = [printable(self.format(bar.value)) for bar in self.bars]
        notes = [printable(bar.note) for bar in self.bars]
        widest = max(map(words_width, names), default=0.0)
        beside = width > 500 and widest < 0.4 * width
        left = widest + 12 if beside else 0.0
        column = max(map(words_width, values), default=0.0) * 1.1
        aside = max(map(words_width, notes), default=0.0) + 12
        if width - column - aside - 28 - left < 0.4 * width:  # a chart too narrow for its notes goes without
            notes, aside = [""] * len(notes), 0.0
        right = max(width - column - aside - 16, left + 0.2 * width)
        pitch, shift = (28, 0) if beside else (44, 18)
        top = 22.0 if self.levels else 6.0
        bottom = top + pitch * len(self.bars) + 4

        def place(value: float) -> float:
            share = (min(max(value, low), high) - low) / (high - low)
            return left + (right - left) * share

        out = []
        for tick in linear_ticks(low, high, 5):
            out.append(rule(place(tick.at), top, place(tick.at), bottom))
            out.append(tick_words(place(tick.at), bottom + 16, tick.label, "middle" if tick.at > low else "start"))
        for level in self.levels:
            x = place(level.value)
            side = "start" if x < (left + right) / 2 else "end"
            out.append(rule(x, top - 4, x, bottom, "2 3", strong=True))
            out.append(words(x, top - 9, level.label, side, SMALL, faint=True))
        y = top + shift + 14
        for bar, name, value, note in zip(self.bars, names, values, notes, strict=True):
            out.append(words(left - 12, y + 4, name, "end") if beside else words(0, y - 12, name, halo=True))
            out.append(self._bar(bar, y, place))
            out.append(words(right + 14, y + 4, value, strong=bar.emphasis))
            out.append(words(right + column + 26, y + 4, note, faint=True))
            y += pitch
        if not self.bars:
            out.append(words(width / 2, top + 4, "no values", "middle", faint=True))
        out.append(rule(place(0.0), top, place(0.0), bottom, strong=True))
        out.append(words((left + right) / 2, bottom + 35, self.label, "middle", faint=True))
        return svg_element(self.title, self.describe(), width, bottom + (44 if self.label else 26), "".join(out))

    def _limits(self) -> tuple[float, float]:
        ends = [v for bar in self.bars for v in (bar.value, bar.high, bar.low) if abs(v) < HUGE]
        low, high, _ = _axis(min([0.0, *ends]), max([0.0, *ends]) or 1.0, log=False, most=6)
        return low, high

    def _bar(self, bar: Bar, y: float, place: Callable[[float], float]) -> str:
        if math.isnan(bar.value):
            return ""
        colour = colour_of(0) if bar.emphasis else "var(--bar, #9aa3ad)"
        start, end = sorted((place(0.0), place(bar.value)))
        size = f'width="{fixed(end - start)}" height="14"'
        out = f'<rect x="{fixed(start)}" y="{fixed(y - 7)}" {size} style="fill:{colour}"/>'
        if bar.low <= bar.high:
            a, b = place(bar.low), place(bar.high)
            path = f"M{fixed(a)} {fixed(y)}H{fixed(b)}M{fixed(a)} {fixed(y - 4)}v8M{fixed(b)} {fixed(y - 4)}v8"
            pen = 'fill="none" stroke="currentColor" stroke-width="1.5"'
            out += f'<path class="whisker" d="{path}" {pen}/>'
        return out
