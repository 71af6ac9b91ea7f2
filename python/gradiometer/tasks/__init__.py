"""Tasks for memory, each reproducible by one call: networks trained on it, their errors beside the baseline, and how
far back their gradients reach."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradiometer.arguments import choice
from gradiometer.tasks.adding import adding
from gradiometer.tasks.characters import text
from gradiometer.tasks.copy import copy
from gradiometer.tasks.digits import digits
from gradiometer.tasks.forecast import forecast
from gradiometer.tasks.networks import recurrent
from gradiometer.tasks.task import Contestant, Row, Task, TaskResult
from gradiometer.tasks.vowels import vowels

__all__ = ["Contestant", "Row", "Task", "TaskResult", "names", "recurrent", "run", "task"]

_TASKS: dict[str, Callable[..., Task]] = {
    "vowels": vowels,
    "digits": digits,
    "adding": adding,
    "copy": copy,
    "forecast": forecast,
    "text": text,
}


def names() -> tuple[str, ...]:
    """The tasks.

    >>> names()
    ('vowels', 'digits', 'adding', 'copy', 'forecast', 'text')
    """
    return tuple(_TASKS)


def task(name: str, **options: Any) -> Task:
    """A task with its data, ready to `run`.

    Parameters
    ----------
    name : str
        One of `names`.
    **options
        `length`, `seed` and `train` of adding and copy (sequences to train on; default: none is seen twice), `series`
        (a CSV file), `column` and `horizon` of forecast, `file` and `limit` of text.
    """
    return _TASKS[choice("name", name, names())](**options)


def run(
    name: str,
    *,
    hidden: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    progress: Callable[[str, float], None] | None = None,
    finished: Callable[[str], None] | None = None,
    **options: Any,
) -> TaskResult:
    """Train the task's networks, and measure them before and after.

    Parameters
    ----------
    name : str
        One of `names`.
    hidden, steps : int, optional
        Units and training steps; default: the task's.
    seed : int
        Of weights, order and made data.
    progress : callable, optional
        Called with a line of text after every step, and the share of the network's steps that are done.
    finished : callable, optional
        Called with a line of text after every network.
    **options
        As for `task`.

    Returns
    -------
    TaskResult

    Examples
    --------
    >>> import gradiometer as gm
    >>> result = gm.tasks.run("adding", length=6, train=500, steps=4, hidden=4)
    >>> [row.contestant.name for row in result.rows]
    ['rnn', 'lstm, bias 1', 'lstm, chrono']
    """
    return task(name, seed=seed, **options).run(
        hidden=hidden, steps=steps, seed=seed, progress=progress, finished=finished
    )
