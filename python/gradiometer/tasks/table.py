"""A task's result in words."""

from __future__ import annotations

import math

import numpy as np

from gradiometer.datasets.series import naive
from gradiometer.measurement.result import Measurement
from gradiometer.measurement.time.text import reach
from gradiometer.report.text import PLAIN, Column, Style, Table, score, wrap
from gradiometer.tasks.task import Row, TaskResult

__all__ = ["result_text"]


def result_text(result: TaskResult, style: Style = PLAIN) -> str:
    """Title, data, a row a contestant, and how the validation loss went."""
    task = result.task
    every = f"{result.hidden} units, Adam, clipped at norm 1, seed {result.seed}"
    stop = "" if task.patience is None else f" or until {task.patience} epochs brought nothing"
    stop += f" or until the validation loss is {task.goal:g} of the baseline" if task.goal else ""
    what = f"{task.batch_size} fresh sequences" if task.fresh else f"{task.batch_size}"
    made = f"{every}, {result.steps} steps of {what}{stop}"
    head = "\n".join([task.title, wrap(str(task.data), hanging="  "), wrap(made, hanging="  ")])
    classes = task.data.task == "classification"
    columns = [
        Column("", align="left"),
        Column("cross-entropy" if classes else "mse", number),
        Column("accuracy" if classes else "R^2", lambda value: score(value)),
        *(Column(name, number) for name in task.errors),
        Column("horizon", align="right"),
        Column("trained", align="right"),
        Column("steps"),
        Column("seconds", lambda value: f"{value:.1f}"),
    ]
    rows = [
        (
            row.contestant.name,
            row.loss,
            row.metric,
            *row.errors.values(),
            horizon_of(row.before),
            horizon_of(row.after),
            row.history.steps,
            row.seconds,
        )
        for row in result.rows
    ]
    return "\n\n".join(
        [head, Table(columns, [*rows, *baseline_row(result)]).text(style=style), "\n".join(map(wrap, remarks(result)))]
    )


def number(value: float) -> str:
    return f"{value:.4g}"


def horizon_of(measurement: Measurement) -> str:
    """Steps until 1/1000 of the gradient is left, of the layer that reaches furthest."""
    seen = [each.horizon for each in measurement.time if not math.isnan(each.horizon.thousandth)]
    if not seen:
        return ""
    far = max(seen, key=lambda each: each.thousandth)
    return reach(far.thousandth, far.thousandth_measured)


def baseline_row(result: TaskResult) -> list[tuple[str | float | None, ...]]:
    data = result.task.data
    if math.isnan(data.baseline):
        return []
    errors: list[float | None] = [None] * len(result.task.errors)
    if result.task.id == "forecast":
        predicted = naive(data.test.x, data.outputs)
        errors = [error(predicted, data) for error in result.task.errors.values()]
    return [(result.task.baseline, data.baseline, None, *errors, None, None, None, None)]


def remarks(result: TaskResult) -> list[str]:
    data = result.task.data
    said = ["On the test part. Horizon: steps over which the gradient by the state falls to 1/1000, before and after "
            "training (~: beyond the sequences, by the factor a step)."]  # fmt: skip
    if not math.isnan(data.baseline):
        task = result.task
        better = [row.contestant.name for row in result.rows if row.loss < task.solved * data.baseline]
        share = "Less than" if task.solved == 1 else f"Less than {task.solved:g} of"
        said.append(f"{share} the loss of {task.baseline!r}: {', '.join(better) or 'none'}.")
    if result.task.memory:
        said.append(f"The task asks for a memory of about {result.task.memory} steps.")
    return [*said, *(curve(row) for row in result.rows if len(row.history.val) > 1)]


def curve(row: Row, points: int = 8) -> str:
    """Validation loss after some of the epochs."""
    losses = [seen.loss for seen in row.history.val]
    chosen = np.unique(np.linspace(0, len(losses) - 1, min(points, len(losses))).round().astype(int))
    return f"{row.contestant.name}: validation loss by epoch " + ", ".join(f"{i + 1}: {losses[i]:.3g}" for i in chosen)
