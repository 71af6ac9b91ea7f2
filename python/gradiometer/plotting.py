"""The charts of `gradiometer.report` drawn by matplotlib, which is imported only here and only when something is drawn.

No state of pyplot is touched: a figure is made with `matplotlib.figure.Figure`, and nothing has to be closed.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradiometer.report.chart import INK, PALETTE, BarChart, LineChart, Series, whole_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FORMATS", "HeatMap", "draw"]

FORMATS = (".png", ".svg", ".pdf")
TEXT, SOFT, AXIS, GRID, BAR = "#1c2024", "#5a6169", "#9aa1a8", "#e4e6e4", "#b4bac0"


@dataclass(frozen=True)
class HeatMap:
    """Positive numbers over two axes, on a log scale of colour.

    Attributes
    ----------
    title : str
    x, y : sequence of float
        Ascending centres of the columns and rows.
    values : sequence of sequences
        A row for each `y`. Zeros have a colour of their own, NaN is left blank.
    x_label, y_label, label : str
    """

    title: str
    x: Sequence[float]
    y: Sequence[float]
    values: Sequence[Sequence[float]]
    x_label: str = ""
    y_label: str = ""
    label: str = ""


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
        panels = list(figure.subplots(len(charts), 1, squeeze=False, height_ratios=heights)[:, 0])
        for panel, chart in zip(panels, charts, strict=True):
            _draw(panel, chart)
            _dress(panel, chart)
        _tidy(panels, charts)
        if title:
            figure.suptitle(title, x=0.015, ha="left", fontsize=11, fontweight="bold", color=TEXT)
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
    places = [float(x) for series in chart.series for x in series.x] if isinstance(chart, LineChart) else []
    if places and all(x.is_integer() for x in places):
        ticks = whole_ticks(min(places), max(places), 8)
        ax.set_xticks([tick.at for tick in ticks], [tick.label for tick in ticks])


def _tidy(panels: Sequence[Axes], charts: Sequence[Drawable]) -> None:
    """What panels under one another share is said once."""
    for upper, lower in itertools.pairwise(panels):
        if upper.get_xlabel() == lower.get_xlabel():
            upper.set_xlabel("")
    known = set(panels[0].get_legend_handles_labels()[1])
    for panel in panels[1:]:
        legend = panel.get_legend()
        if legend is not None and {text.get_text() for text in legend.get_texts()} <= known:
            legend.remove()


# Lines

# What a log axis cannot hold lies on its edge: where, and which mark.
OFF_SCALE = {"exactly 0": (0.0, "o"), "infinite": (1.0, "^"), "not a number": (1.0, "x")}


def _lines(ax: Axes, chart: LineChart) -> None:
    from matplotlib.ticker import MaxNLocator

    if chart.log:
        ax.set_yscale("log", nonpositive="mask")
    for level in chart.levels:
        ax.axhline(level.value, color=AXIS, linewidth=1, linestyle=(0, (2, 2)), zorder=1, label=f"_{level.label}")
    off: dict[str, Any] = {}
    for number, series in enumerate(chart.series):
        colour = _colour(number if series.colour is None else series.colour)
        _line(ax, series, colour)
        if series.style != "dashed":
            off |= _off_scale(ax, series, colour, chart.log)
    for level in chart.levels:
        _level_name(ax, level.value, level.label)
    if all(float(x).is_integer() for series in chart.series for x in series.x):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel(chart.x_label)
    ax.set_ylabel(chart.y_label)
    handles, labels = ax.get_legend_handles_labels()
    if len(labels) + len(off) > 1:
        ax.legend([*handles, *off.values()], [*labels, *off], frameon=False, fontsize=9, loc="best")


def _colour(number: int) -> str:
    return TEXT if number == INK else PALETTE[number % len(PALETTE)]


def _line(ax: Axes, series: Series, colour: str) -> None:
    look: Any = {"solid": "-", "dashed": (0, (4, 2.5)), "points": "none"}[series.style]
    marker = "o" if series.style == "points" or len(series.x) == 1 else ""
    ax.plot(
        list(series.x),
        list(series.y),
        color=colour,
        linestyle=look,
        marker=marker,
        markersize=4,
        linewidth=1.1 if series.colour == INK else 2.2,
        solid_capstyle="round",
        label=series.name or "_unnamed",
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
    ax.annotate(
        name,
        (1.0, value),
        xycoords=ax.get_yaxis_transform(),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=8.5,
        color=SOFT,
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
    ax.set_ylim(len(chart.bars) - 0.5, -0.5)
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
    positive = values[np.isfinite(values) & (values > 0)]
    low, high = (float(positive.min()), float(positive.max())) if positive.size else (0.1, 1.0)
    colours = matplotlib.colormaps["cividis"].with_extremes(under="#c9ced3", bad="white")
    # 0 has no logarithm: it is drawn as the number below the scale that every positive one is above
    shown = np.ma.masked_invalid(np.where(values == 0, low / 2, values))
    mesh = ax.pcolormesh(
        _edges(chart.x),
        _edges(chart.y),
        shown,
        cmap=colours,
        norm=LogNorm(low, high if high > low else low * 1.01),
        rasterized=True,
    )
    zeros = bool(np.any(values == 0))
    bar = ax.figure.colorbar(mesh, ax=ax, extend="min" if zeros else "neither", pad=0.02)
    bar.set_label(chart.label + (" (grey: exactly 0)" if zeros else ""), color=SOFT, fontsize=9.5)
    bar.ax.tick_params(colors=SOFT, labelsize=9, which="major")
    bar.ax.tick_params(which="minor", length=0)
    bar.outline.set_visible(False)
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
