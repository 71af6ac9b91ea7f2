"""What a training run looks like: loss, validation, attenuation over the steps, and the film of the gradient."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gradiometer.measurement.text import factor_in_words, known_interval
from gradiometer.measurement.time.text import decay_in_words
from gradiometer.plotting import draw
from gradiometer.report.chart import INK, Level, LineChart, Series
from gradiometer.report.heat import HeatMap
from gradiometer.report.notebook import fragment
from gradiometer.report.text import Column, Table, score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gradiometer.train import History

__all__ = [
    "attenuation_chart",
    "decay_chart",
    "factor_charts",
    "film",
    "history_html",
    "history_line",
    "history_text",
    "loss_chart",
    "metric_chart",
    "plot_history",
]

STEP = "step"
INLINE_POINTS = 300
MOST_ROWS = 10
MOST_RUNS = 8


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


def factor_charts(history: History, most: int | None = None) -> list[LineChart]:
    """The factor a layer over training, and of recurrent networks the factor a step; one without any value, of a single
    layer, is left out beside the other."""
    over_time = [decay_chart(history, most)] if history.decay else []
    has_depth = any(not math.isnan(each.factor) for _, each in history.attenuation)
    return [*([attenuation_chart(history, most)] if has_depth or not over_time else []), *over_time]


def decay_chart(history: History, most: int | None = None) -> LineChart:
    """The factor a step back through time with its 95 % interval, over training; thinned as `attenuation_chart` is."""
    shown = history.decay[:: math.ceil(len(history.decay) / most) if most else 1]
    seen = [decay for _, decay in shown]
    measured = Series(
        "measured",
        [step for step, _ in shown],
        [each.factor for each in seen],
        low=[each.ci95[0] for each in seen],
        high=[each.ci95[1] for each in seen],
    )
    return LineChart(
        "Factor of the last step's gradient a step back in time, over training",
        [measured],
        x_label=STEP,
        y_label="factor",
        levels=[Level(1.0, "1: neither vanishes nor explodes")],
    )


def attenuation_chart(history: History, most: int | None = None) -> LineChart:
    """The factor a layer with its 95 % interval over the steps, and theory's from the weights' variances then.

    Of more than `most` measurements every second, third ... is shown.
    """
    shown = history.attenuation[:: math.ceil(len(history.attenuation) / most) if most else 1]
    steps = [step for step, _ in shown]
    seen = [attenuation for _, attenuation in shown]
    ends = [known_interval(each) or (math.nan, math.nan) for each in seen]
    series = [
        Series(
            "measured",
            steps,
            [each.factor for each in seen],
            low=[low for low, _ in ends],
            high=[high for _, high in ends],
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
        charts += factor_charts(history)
    if history.grad_norms:
        charts.append(film(history))
    return draw(charts, path, ax=ax)


def history_html(history: History) -> str:
    """The run as a notebook shows it: loss and attenuation, and a line for every validation, folded."""
    charts = [loss_chart(history, INLINE_POINTS)]
    if history.attenuation:
        charts += factor_charts(history, INLINE_POINTS)
    table = _table(history)
    table = Table(table.columns, [table.rows[i] for i in _kept(table)])
    return fragment(_took(history), _remarks(history), charts, table, _runs_of(history))


def history_text(history: History) -> str:
    """The run as ``print`` shows it: how long, what became of it, and a line an epoch, folded."""
    table = _table(history)
    lines = [_took(history), *_remarks(history)]
    if table.rows:
        lines += ["", table.text(keep=_kept(table), noun=_runs_of(history))]
    return "\n".join(lines)


def history_line(history: History) -> str:
    """The run in one line, as ``repr`` shows it."""
    last = [f"loss {history.loss[-1]:.4g}"] if history.loss else []
    if history.val:
        last += [f"validation loss {history.val[-1].loss:.4g}, metric {score(history.val[-1].metric)}"]
    last += ["diverged"] * history.diverged + ["stopped early"] * history.stopped_early
    last += ["goal reached"] * history.reached
    return f"<History: {', '.join([_took(history), *last])}>"


def _took(history: History) -> str:
    return f"{history.steps} step{'s' * (history.steps != 1)} in {seconds(history.seconds)}"


def seconds(value: float) -> str:
    """A time, short ones in milliseconds."""
    return f"{value:.2f} s" if value >= 0.1 else f"{value * 1e3:.3g} ms"


def _remarks(history: History) -> list[str]:
    """What a table does not say."""
    said = ["the loss was not finite: training stopped there"] if history.diverged else []
    if history.stopped_early:
        said.append("stopped early: the validation loss fell no further")
    if history.reached:
        said.append("stopped: the validation loss reached the goal")
    if history.attenuation:
        step, last = history.attenuation[-1]
        hidden = len(history.grad_norms[-1][1]) if history.grad_norms else 2
        if not (history.decay and math.isnan(last.factor)):
            said.append(f"|dL/dh| {factor_in_words(last, hidden)} at step {step}")
    if history.decay:
        step, decay = history.decay[-1]
        said.append(f"through time {decay_in_words(decay)} at step {step}")
    return said


def _runs_of(history: History) -> str:
    return "epochs" if history.val else "runs of steps"


def _table(history: History) -> Table:
    """A row a validation, which is an epoch: the mean of the training loss since the one before, and what was
    validated; without validation a row for each of some runs of steps."""
    plain = "{:.4g}".format
    if not history.val:
        steps, loss, _ = _runs(history.loss, MOST_RUNS)
        return Table([Column(STEP), Column("training loss", plain)], list(zip(map(int, steps), loss, strict=True)))
    rows: list[tuple[Any, ...]] = []
    before = 0
    for number, (step, seen) in enumerate(zip(history.val_steps, history.val, strict=True), 1):
        since = history.loss[before:step]
        rows.append((number, step, math.fsum(since) / len(since) if since else None, seen.loss, seen.metric))
        before = step
    columns = [Column("epoch"), Column(STEP), Column("training loss", plain), Column("validation loss", plain)]
    return Table([*columns, Column("metric", score)], rows)


def _kept(table: Table) -> list[int]:
    """Rows to show: all of a few, else evenly spaced ones, the last among them."""
    last = len(table.rows) - 1
    return list(range(last + 1)) if last < MOST_ROWS else [round(i * last / (MOST_ROWS - 1)) for i in range(MOST_ROWS)]


def _runs(values: Sequence[float], most: int) -> tuple[list[float], list[float], int]:
    """Last steps, means and length of runs of equal length, `most` at the most; the last one may be shorter."""
    run = max(1, math.ceil(len(values) / most))
    starts = range(0, len(values), run)
    means = [math.fsum(part) / len(part) for part in (values[i : i + run] for i in starts)]
    return [float(min(i + run, len(values))) for i in starts], means, run
