"""The charts of `gradiometer.report` drawn by matplotlib, which is imported only here and only when something is drawn.

No state of pyplot is touched: a figure is made with `matplotlib.figure.Figure`, and nothing has to be closed.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradiometer.report.chart import INK, BarChart, LineChart, Series, whole_ticks
from gradiometer.report.escape import printable
from gradiometer.report.heat import HeatMap
from gradiometer.report.marks import PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FORMATS", "draw"]

FORMATS = (".png", ".svg", ".pdf")
TEXT, SOFT, AXIS, GRID, BAR = "#1c2024", "#5a6169", "#9aa1a8", "#e4e6e4", "#b4bac0"


Drawable = LineChart | BarChart | HeatMap


def draw(
    charts: Sequence[Drawable], path: str | os.PathLike[str] | None = None, *, ax: Axes | None = None, title: str = ""
) -> Axes:
    """Draw the first chart into `ax`, or all of them under one another into a new figure.

    Parameters
    ----------
    charts : sequence of LineChart, BarChart or HeatMap
    path : path, optional
        Where to save the figure: ``.png``, ``.svg`` or ``.pdf``.
    ax : matplotlib.axes.Axes, optional
    title : str
        Of a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        Of the first chart; the others are in ``ax.figure.axes``.

    Raises
    ------
    ValueError
        If `path` ends in anything else.
    ImportError
        If matplotlib is missing.
    TypeError
        If `ax` is not an Axes.
    """
    target = None if path is None else _checked(path)
    try:
        from matplotlib.axes import Axes
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError as error:
        raise ImportError('plot needs matplotlib: pip install "gradiometer[plot]"') from error
    if ax is not None and not isinstance(ax, Axes):
        raise TypeError(f"ax is {type(ax).__name__}; expected a matplotlib Axes")
    if ax is None:
        heights = [_height(chart, first=number == 0) for number, chart in enumerate(charts)]
        layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
        figure = Figure(figsize=(7.2, sum(heights) + (0.4 if title else 0.0)), layout=layout, facecolor="white")
        same_x = len({chart.x_label for chart in charts if not isinstance(chart, BarChart)}) == 1
        shared = same_x and not any(isinstance(chart, BarChart) for chart in charts)
        grid = figure.subplots(len(charts), 1, squeeze=False, height_ratios=heights, sharex="col" if shared else "none")
        panels = list(grid[:, 0])
        for panel, chart in zip(panels, charts, strict=True):
            _draw(panel, chart)
            _dress(panel, chart)
        _tidy(panels, charts)
        if title:
            figure.suptitle(title, x=0.015, ha="left", fontsize=11, fontweight="bold", color=TEXT)
        if shared:
            figure.align_ylabels()
        ax = panels[0]
    else:
        _draw(ax, charts[0])
    if target is not None:
        home: Any = ax.get_figure(root=True)
        _save(home, target)
    return ax


def _checked(path: str | os.PathLike[str]) -> Path:
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        raise ValueError(f"path is {os.fspath(path)!r}; expected a name that ends in {', '.join(FORMATS)}")
    return target


def _save(figure: Figure, path: Path) -> None:
    # without a date, the same figure makes the same file, but for the ids of its clip paths
    dated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix.lower(), {})
    figure.savefig(path, dpi=160, metadata=dated)


def _height(chart: Drawable, first: bool) -> float:
    """Inches."""
    if isinstance(chart, BarChart):
        return 0.9 + 0.34 * max(1, len(chart.bars))
    if isinstance(chart, HeatMap) and chart.names:
        return max(1.5, 0.9 + 0.3 * len(chart.names))
    return 3.8 if first else 2.4


def _draw(ax: Axes, chart: Drawable) -> None:
    match chart:
        case LineChart():
            _lines(ax, chart)
        case BarChart():
            _bars(ax, chart)
        case HeatMap():
            _heat(ax, chart)


def _dress(ax: Axes, chart: Drawable) -> None:
    """The look of our own figures; a caller's axes keep theirs."""
    ax.set_title(chart.title, loc="left", fontsize=10, color=TEXT, pad=9)
    for side in ("top", "right", *(("left",) if isinstance(chart, BarChart) else ())):
        ax.spines[side].set_visible(False)
    for spine in ax.spines.values():
        spine.set_color(AXIS)
    ax.tick_params(which="both", colors=SOFT, labelsize=9)
    ax.tick_params(which="minor", length=0)
    ax.xaxis.label.set(color=SOFT, fontsize=9.5)
    ax.yaxis.label.set(color=SOFT, fontsize=9.5)
    if not isinstance(chart, HeatMap):
        ax.grid(axis="x" if isinstance(chart, BarChart) else "y", color=GRID, linewidth=0.8)
        ax.set_axisbelow(True)


def _tidy(panels: Sequence[Axes], charts: Sequence[Drawable]) -> None:
    """What panels under one another share is said once; an axis of whole numbers names its ends."""
    for upper, lower in itertools.pairwise(panels):
        if upper.get_xlabel() == lower.get_xlabel():
            upper.set_xlabel("")
    places = [x for chart in charts for x in _places(chart)]
    if places and all(x.is_integer() for x in places):
        ticks = whole_ticks(min(places), max(places), 8)
        # the last is never bars, and its axis is everyone's where it is shared
        panels[-1].set_xticks([tick.at for tick in ticks], [tick.label for tick in ticks])
    known = set(panels[0].get_legend_handles_labels()[1])
    for panel in panels[1:]:
        legend = panel.get_legend()
        if legend is not None and {text.get_text() for text in legend.get_texts()} <= known:
            legend.remove()


def _places(chart: Drawable) -> list[float]:
    match chart:
        case LineChart():
            return [float(x) for series in chart.series for x in series.x]
        case HeatMap():
            return [float(x) for x in chart.x]
        case BarChart():
            return []


# Lines

# What a log axis cannot hold lies on its edge: where, and which mark.
OFF_SCALE = {"exactly 0": (0.0, "o"), "infinite": (1.0, "^"), "not a number": (1.0, "x")}


def _lines(ax: Axes, chart: LineChart) -> None:
    from matplotlib.ticker import MaxNLocator

    if chart.log:
        ax.set_yscale("log", nonpositive="mask")
        if not ax.lines and not any(0 < y < math.inf for series in chart.series for y in series.y):
            ax.set_ylim(0.1, 1.0)  # matplotlib would warn that there is nothing to scale
        ax.yaxis.set_major_formatter(_plain_numbers(ax))
        ax.yaxis.set_minor_formatter(_plain_numbers(ax))
    for level in chart.levels:
        ax.axhline(level.value, color=AXIS, linewidth=1, linestyle=(0, (2, 2)), zorder=1, label=f"_{level.label}")
    off: dict[str, Any] = {}
    for number, series in enumerate(chart.series):
        place = number if series.colour is None else series.colour
        colour = _colour(place)
        _line(ax, series, colour, second=place >= len(PALETTE))
        if series.style != "dashed":
            off |= _off_scale(ax, series, colour, chart.log)
    for level in chart.levels:
        _level_name(ax, level.value, level.label)
    if all(x.is_integer() for x in _places(chart)):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel(chart.x_label)
    ax.set_ylabel(chart.y_label)
    handles, labels = ax.get_legend_handles_labels()
    if len(labels) + len(off) > 1:
        crowded = len(labels) + len(off) > 5
        beside: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.02)} if crowded else {"loc": "best"}
        names = ax.legend([*handles, *off.values()], [*labels, *off], frameon=False, fontsize=9, **beside)
        for text in names.get_texts():
            text.set_parse_math(False)


def _plain_numbers(ax: Axes) -> Any:
    """Powers of ten, but 0.1, 0.2, 1 on an axis of less than four decades."""
    from matplotlib.ticker import LogFormatterMathtext

    class Plain(LogFormatterMathtext):
        def __call__(self, x: float, pos: int | None = None) -> str:
            label: str = super().__call__(x, pos)
            low, high = ax.yaxis.get_view_interval()
            return f"{x:g}" if label and 1e-4 < x < 1e5 and high < 1e4 * low else label

    return Plain(labelOnlyBase=False, minor_thresholds=(1.2, 0.4))


def _label(name: str) -> str:
    """A name that matplotlib shows: it leaves out those that begin with an underscore."""
    return printable(" " + name if name.startswith("_") else name)


def _colour(number: int) -> str:
    return TEXT if number == INK else PALETTE[number % len(PALETTE)]


CROWDED = 200  # points of a noisy line: a thick one would be a solid band


def _line(ax: Axes, series: Series, colour: str, second: bool) -> None:
    """A line; dotted in the `second` round through the palette."""
    looks: dict[str, Any] = {"solid": (0, (1, 1.6)) if second else "-", "dashed": (0, (4, 2.5)), "points": "none"}
    marker = "o" if series.style == "points" or len(series.x) == 1 else ""
    ax.plot(
        list(series.x),
        list(series.y),
        color=colour,
        linestyle=looks[series.style],
        marker=marker,
        markersize=4,
        linewidth=1.1 if series.colour == INK or len(series.x) > CROWDED else 2.2,
        solid_capstyle="round",
        label=_label(series.name) if series.name else "_unnamed",
    )
    if series.low:
        ax.fill_between(list(series.x), list(series.low), list(series.high), color=colour, alpha=0.18, linewidth=0)


def _off_scale(ax: Axes, series: Series, colour: str, log: bool) -> dict[str, Any]:
    """Marks on the edge of the axes for what the scale cannot show, by what they mean."""
    kinds = {
        "exactly 0": [x for x, y in zip(series.x, series.y, strict=True) if log and y == 0],
        "infinite": [x for x, y in zip(series.x, series.y, strict=True) if math.isinf(y)],
        "not a number": [x for x, y in zip(series.x, series.y, strict=True) if math.isnan(y)],
    }
    made: dict[str, Any] = {}
    for kind, places in kinds.items():
        if places:
            edge, marker = OFF_SCALE[kind]
            (made[kind],) = ax.plot(
                places,
                [edge] * len(places),
                transform=ax.get_xaxis_transform(),
                color=colour,
                linestyle="none",
                marker=marker,
                markersize=5,
                markerfacecolor="white",
                clip_on=False,
                zorder=5,
                label=f"_{kind}",
            )
    return made


def _level_name(ax: Axes, value: float, name: str) -> None:
    from matplotlib.patheffects import withStroke

    at = float(ax.transAxes.inverted().transform(ax.transData.transform((0.0, value)))[1])
    side = -1 if at > 0.9 else 1  # above the line, but within the axes
    ax.annotate(
        name,
        (1.0, value),
        xycoords=ax.get_yaxis_transform(),
        xytext=(0, 3 * side),
        textcoords="offset points",
        ha="right",
        va="bottom" if side > 0 else "top",
        fontsize=8.5,
        color=SOFT,
        path_effects=[withStroke(linewidth=3, foreground=ax.get_facecolor())],
    )


# Bars


def _bars(ax: Axes, chart: BarChart) -> None:
    places = list(range(len(chart.bars)))
    for place, bar in zip(places, chart.bars, strict=True):
        if math.isfinite(bar.value):
            ax.barh(place, bar.value, height=0.55, color=PALETTE[0] if bar.emphasis else BAR)
        if bar.low <= bar.high and math.isfinite(bar.value):
            ax.errorbar(
                bar.value,
                place,
                xerr=[[max(0.0, bar.value - bar.low)], [max(0.0, bar.high - bar.value)]],
                color=TEXT,
                linewidth=1.2,
                capsize=3,
            )
        said = "  ".join(filter(None, (chart.format(bar.value), bar.note)))
        ax.annotate(
            said,
            (1.0, place),
            xycoords=ax.get_yaxis_transform(),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            fontweight="bold" if bar.emphasis else "normal",
            color=TEXT,
        )
    ax.set_yticks(places, [bar.name for bar in chart.bars])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(max(1, len(chart.bars)) - 0.5, -0.5)
    if chart.limits:
        ax.set_xlim(*chart.limits)
    for level in chart.levels:
        ax.axvline(level.value, color=AXIS, linewidth=1, linestyle=(0, (2, 2)), label=f"_{level.label}")
    ax.set_xlabel(chart.label)


# Heat maps


def _heat(ax: Axes, chart: HeatMap) -> None:
    import matplotlib
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import MaxNLocator

    values = np.asarray(chart.values, float)
    finite = np.isfinite(values)
    positive = values[finite & (values > 0)]
    low, high = (max(float(positive.min()), 1e-150), float(positive.max())) if positive.size else (1.0, 1.0)
    reach = min(max(10.0, high, 1 / low), 1e150)  # a colour bar's ticks overflow beyond
    zeros = np.any(values == 0)
    # 0 has no logarithm: it is drawn as a number below the scale
    shown = np.ma.masked_where(~finite, np.where(values == 0, 0.5 / reach, values.clip(1 / reach, reach)))
    mesh = ax.pcolormesh(
        _edges(chart.x),
        _edges(chart.y),
        shown,
        cmap=matplotlib.colormaps["RdBu_r"].with_extremes(under=TEXT, bad="#f0e442"),
        norm=LogNorm(1 / reach, reach),
        rasterized=True,
    )
    bar = ax.figure.colorbar(mesh, ax=ax, extend="min" if zeros else "neither", pad=0.02)
    notes = ["black: exactly 0"] * bool(zeros) + ["yellow: not finite"] * bool(not finite.all())
    bar.set_label("\n".join([chart.label, *notes]), color=SOFT, fontsize=9)
    bar.ax.tick_params(colors=SOFT, labelsize=9, which="major")
    bar.ax.tick_params(which="minor", length=0)
    bar.outline.set_visible(False)
    if chart.names:
        ax.set_yticks(list(chart.y), [printable(name) for name in chart.names])
    else:
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel(chart.x_label)
    ax.set_ylabel(chart.y_label)


def _edges(centres: Sequence[float]) -> list[float]:
    """Borders halfway between ascending centres."""
    middles = [(a + b) / 2 for a, b in itertools.pairwise(centres)]
    if not middles:
        return [centres[0] - 0.5, centres[0] + 0.5]
    return [2 * centres[0] - middles[0], *middles, 2 * centres[-1] - middles[-1]]
