"""A task in time: data, the networks that are compared on it, and what came of each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from gradiometer import optim
from gradiometer.arguments import positive
from gradiometer.datasets.splits import Samples, Splits
from gradiometer.measurement import Measurement, measure
from gradiometer.progress import clock
from gradiometer.report.numbers import AsJson
from gradiometer.tasks.networks import recurrent

if TYPE_CHECKING:
    from gradiometer.networks import Sequential
    from gradiometer.schedules import Schedule
    from gradiometer.train import History

__all__ = ["Contestant", "Row", "Task", "TaskResult"]

MEASURED = 64
EPOCH = 100
"""Batches between two looks at the validation part, where all are fresh."""


@dataclass(frozen=True)
class Contestant:
    """A network on a task: a recurrent layer with its options, and a linear layer behind it.

    Attributes
    ----------
    name : str
        As the table has it.
    cell : str
        ``"rnn"``, ``"lstm"`` or ``"gru"``.
    rate : float
        Adam's.
    options : mapping
        Of the layer.
    """

    name: str
    cell: str
    rate: float
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """What is trained, on what, and for how long, where nothing else is asked for.

    Attributes
    ----------
    id, title : str
    data : Splits
    contestants : tuple of Contestant
    hidden, steps, batch_size : int
        Units, training steps, and sequences a step.
    memory : int or None
        Steps that the task asks to be bridged.
    errors : mapping of str to callable
        More columns: a number of a network's predictions for ``data.test.x``.
    patience : int or None
        Epochs without a smaller validation loss after which training ends, and the best parameters are taken back.
    baseline : str
        What ``data.baseline`` is the loss of.
    solved : float
        Times the baseline: a smaller loss is said to be reached.
    goal : float
        Times the baseline: training ends where the validation loss is no more.
    schedule : callable or None
        ``schedule(steps)`` is the rate's over that many steps.
    fresh : callable or None
        ``fresh(count, rng)`` makes that many sequences; training sees none of them twice. None: `data.train`, again and
        again.
    """

    id: str
    title: str
    data: Splits
    contestants: tuple[Contestant, ...]
    hidden: int
    steps: int
    batch_size: int
    memory: int | None = None
    errors: Mapping[str, Callable[[Any, Splits], float]] = field(default_factory=dict)
    patience: int | None = None
    baseline: str = ""
    solved: float = 1.0
    goal: float = 0.0
    schedule: Callable[[int], Schedule] | None = None
    fresh: Callable[[int, Any], Samples] | None = None

    @property
    def loss(self) -> str:
        """Name of the loss."""
        return "cross_entropy" if self.data.task == "classification" else "mse"

    def run(
        self,
        *,
        hidden: int | None = None,
        steps: int | None = None,
        seed: int = 0,
        progress: Callable[[str, float], None] | None = None,
        finished: Callable[[str], None] | None = None,
    ) -> TaskResult:
        """Measure, train and measure again each contestant; other sizes where they are given."""
        steps = self.steps if steps is None else positive("steps", steps)
        hidden = self.hidden if hidden is None else positive("hidden", hidden)
        rows = []
        for each in self.contestants:
            rows.append(self._row(each, hidden, steps, seed, progress))
            if finished is not None:
                finished(finished_line(rows[-1]))
        return TaskResult(self, tuple(rows), hidden, steps, seed)

    def _row(
        self, each: Contestant, hidden: int, steps: int, seed: int, progress: Callable[[str, float], None] | None
    ) -> Row:
        data = self.data
        net = recurrent(each.cell, data, hidden, seed=seed, **each.options)
        some = data.train[:MEASURED]
        before = measure(net, *some, loss=self.loss)
        batch_size = self.batch_size if self.fresh else min(self.batch_size, len(data.train))
        began = time.perf_counter()

        def show(step: int, of: int, loss: float) -> None:
            if progress is not None:
                left = clock((time.perf_counter() - began) * (of - step) / step)
                progress(f"{each.name} {step}/{of}  loss {loss:.3g}  {left} left", step / of)

        history = net.fit(
            Fresh(self.fresh, batch_size, seed) if self.fresh else (data.train.x, data.train.y),
            (data.val.x, data.val.y),
            optim.Adam(each.rate),
            steps=steps,
            batch_size=batch_size,
            loss=self.loss,
            clip_norm=1.0,
            patience=self.patience,
            goal=self.goal * data.baseline if self.goal else None,
            schedule=self.schedule(steps) if self.schedule else None,
            rng=seed,
            progress=show,
        )
        seconds = time.perf_counter() - began
        seen = net.evaluate((data.test.x, data.test.y), self.loss)
        return Row(
            each,
            net,
            before,
            measure(net, *some, loss=self.loss),
            seen.loss,
            seen.metric,
            {name: error(net.predict(data.test.x), data) for name, error in self.errors.items()},
            seconds,
            history,
        )


class Fresh:
    """Batches that are made when they are asked for, others in every epoch, the same ones for the same seed.

    >>> batches = Fresh(lambda count, rng: Samples(np.zeros((count, 3)), rng.random(count)), batch_size=2, seed=0)
    >>> first, second = ([y[0] for _, y in batches] for _ in range(2))
    >>> len(batches) == len(first) == len(second) == EPOCH, len({*first, *second}) == 2 * EPOCH
    (True, True)
    """

    def __init__(self, make: Callable[[int, Any], Samples], batch_size: int, seed: int) -> None:
        self.make, self.batch_size = make, batch_size
        self.seeds = np.random.SeedSequence(seed)

    def __len__(self) -> int:
        return EPOCH

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        made = self.make(self.batch_size * EPOCH, np.random.default_rng(self.seeds.spawn(1)[0]))
        for i in range(0, len(made), self.batch_size):
            part = made[i : i + self.batch_size]
            yield part.x, part.y


@dataclass(frozen=True)
class Row:
    """One contestant, trained.

    Attributes
    ----------
    contestant : Contestant
    network : Sequential
    before, after : Measurement
        At initialisation and after training, on training sequences.
    loss, metric : float
        On the test part; the metric is accuracy or R^2.
    errors : dict
        The task's own columns.
    seconds : float
        Of training.
    history : History
    """

    contestant: Contestant
    network: Sequential
    before: Measurement
    after: Measurement
    loss: float
    metric: float
    errors: dict[str, float]
    seconds: float
    history: History


@dataclass(frozen=True)
class TaskResult(AsJson):
    """What came of a task; prints itself.

    Attributes
    ----------
    task : Task
    rows : tuple of Row
    hidden, steps, seed : int
    """

    task: Task
    rows: tuple[Row, ...]
    hidden: int
    steps: int
    seed: int

    def __getitem__(self, name: str) -> Row:
        """The row of a contestant."""
        return next(row for row in self.rows if row.contestant.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "task": self.task.id,
            "data": str(self.task.data),
            "loss": self.task.loss,
            "baseline": self.task.data.baseline,
            **{name: getattr(self, name) for name in ("hidden", "steps", "seed")},
            "rows": [
                {
                    "name": row.contestant.name,
                    "loss": row.loss,
                    "metric": row.metric,
                    **row.errors,
                    "horizon_before": horizon(row.before),
                    "horizon_after": horizon(row.after),
                    "val_loss": [seen.loss for seen in row.history.val],
                    "steps": row.history.steps,
                    "seconds": row.seconds,
                }
                for row in self.rows
            ],
        }

    def __str__(self) -> str:
        from gradiometer.tasks.table import result_text

        return result_text(self)


def finished_line(row: Row) -> str:
    """One trained network in a line.

    For example ``"lstm, chrono: 900 steps in 12.3 s, validation loss 0.0016 (goal reached)"``.
    """
    last = f", validation loss {row.history.val[-1].loss:.3g}" if row.history.val else ""
    why = " (goal reached)" if row.history.reached else " (diverged)" if row.history.diverged else ""
    return f"{row.contestant.name}: {row.history.steps} steps in {row.seconds:.1f} s{last}{why}"


def horizon(measurement: Measurement) -> float:
    """Steps over which the gradient falls to 1/1000, of the layer that reaches furthest; NaN where none was seen."""
    known = [each.horizon.thousandth for each in measurement.time if not math.isnan(each.horizon.thousandth)]
    return max(known, default=math.nan)
