"""What a training run looks like: loss, validation, attenuation over the steps, and the film of the gradient."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gradiometer.plotting import HeatMap, draw
from gradiometer.report.chart import INK, Level, LineChart, Series
from gradiometer.report.notebook import fragment
from gradiometer.report.text import Column, Table, interval, score, times

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gradiometer.train import History

__all__ = ["attenuation_chart", "film", "history_html", "loss_chart", "metric_chart", "plot_history"]

STEP = "step"
INLINE_POINTS = 300


def loss_chart(history: History, most: int | None = None) -> LineChart:
    """Training loss of every step, or of runs of steps such that there are at most `most`, and validation loss."""
    steps, loss, run = _runs(history.loss, most or max(1, len(history.loss)))
    series = [Series("training" if run == 1 else f"training, mean of {run} steps", steps, loss)]
    if history.val:
        series.append(Series("validation", history.val_steps, [seen.loss for seen in history.val]))
    return LineChart("Loss over training", series, x_label=STEP, y_label="loss", log=False)


def metric_chart(history: History) -> LineChart:
    """Validation metric, in the steps after which it was taken."""
    metric = Series("validation", history.val_steps, [seen.metric for seen in history.val])
    title = "Validation: accuracy for classes, R² for values"
    return LineChart(title, [metric], x_label=STEP, y_label="metric", log=False)


def attenuation_chart(history: History, most: int | None = None) -> LineChart:
    """The factor a layer with its 95 % interval over the steps, and theory's from the weights' variances then.

    Of more than `most` measurements every second, third ... is shown.
    """
    shown = history.attenuation[:: math.ceil(len(history.attenuation) / most) if most else 1]
    steps = [step for step, _ in shown]
    seen = [attenuation for _, attenuation in shown]
    series = [
        Series(
            "measured",
            steps,
            [each.factor for each in seen],
            low=[each.ci95[0] for each in seen],
            high=[each.ci95[1] for each in seen],
        )
    ]
    theory = [each.theory for each in seen]
    if not all(map(math.isnan, theory)):
        series.append(Series("theory", steps, theory, "dashed", colour=INK))
    return LineChart(
        "Factor of |dL/dh| a layer toward the input, over training",
        series,
        x_label=STEP,
        y_label="factor",
        levels=[Level(1.0, "1: neither vanishes nor explodes")],
    )


def film(history: History) -> HeatMap:
    """|dL/dh| of every hidden layer relative to the last, step by step."""
    norms = [of_layers for _, of_layers in history.grad_norms]
    values = [[each[layer] / each[-1] if each[-1] else math.nan for each in norms] for layer in range(len(norms[0]))]
    return HeatMap(
        "Film: |dL/dh| by layer over training",
        [float(step) for step, _ in history.grad_norms],
        [float(layer) for layer in range(1, len(values) + 1)],
        values,
        x_label=STEP,
        y_label="layer (1 next to the input)",
        label="|dL/dh|, last hidden layer = 1",
    )


def plot_history(history: History, path: str | os.PathLike[str] | None = None, *, ax: Axes | None = None) -> Axes:
    """All there is to see of a run; into a given `ax` the loss only."""
    charts: list[LineChart | HeatMap] = [loss_chart(history)]
    if history.val:
        charts.append(metric_chart(history))
    if history.attenuation:
        charts.append(attenuation_chart(history))
    if history.grad_norms:
        charts.append(film(history))
    return draw(charts, path, ax=ax)


def history_html(history: History) -> str:
    """The run as a notebook shows it: loss and attenuation, and a line for every validation, folded."""
    charts = [loss_chart(history, INLINE_POINTS)]
    if history.attenuation:
        charts.append(attenuation_chart(history, INLINE_POINTS))
    said = f"{history.steps} steps in {history.seconds:.2f} s"
    lines = ["the loss was not finite: training stopped there"] if history.diverged else []
    if history.attenuation:
        step, last = history.attenuation[-1]
        lines.append(f"|dL/dh| {times(last.factor)} a layer (95 % {interval(*last.ci95)}) at step {step}")
    return fragment(said, lines, charts, _table(history), "Validation" if history.val else "Training")


def _table(history: History) -> Table:
    plain = "{:.4g}".format
    if not history.val:
        ends = sorted({1, len(history.loss)}) if history.loss else []
        return Table([Column(STEP), Column("loss", plain)], [(step, history.loss[step - 1]) for step in ends])
    rows: list[tuple[Any, ...]] = [
        (step, seen.loss, seen.metric) for step, seen in zip(history.val_steps, history.val, strict=True)
    ]
    most = 8
    kept = rows if len(rows) <= most else [rows[round(i * (len(rows) - 1) / (most - 1))] for i in range(most)]
    return Table([Column(STEP), Column("loss", plain), Column("metric", score)], kept)


def _runs(values: Sequence[float], most: int) -> tuple[list[float], list[float], int]:
    """Last steps, means and length of runs of equal length, `most` at the most; the last one may be shorter."""
    run = max(1, math.ceil(len(values) / most))
    starts = range(0, len(values), run)
    means = [math.fsum(part) / len(part) for part in (values[i : i + run] for i in starts)]
    return [float(min(i + run, len(values))) for i in starts], means, run
