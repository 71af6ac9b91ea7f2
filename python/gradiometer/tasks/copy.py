"""Copy memory: ten symbols, a long wait, then say them again."""

from __future__ import annotations

from typing import Any

from gradiometer.schedules import MultiStep
from gradiometer.tasks.task import Contestant, Task

__all__ = ["copy"]


def copy(*, length: int = 100, seed: int = 0, train: int | None = None, **_: Any) -> Task:
    """With a wait of `length` steps; who remembers nothing has a loss of 10 ln(8) / (length + 20). `train` sequences,
    or fresh ones at every step."""
    from gradiometer.datasets import copy_memory as make

    chrono = {"init": "chrono", "T_max": max(3, 3 * length // 2)}
    return Task(
        id="copy",
        title=f"Copy memory: ten symbols over {length} steps",
        data=make(length, train=train or 200, val=200, test=200, rng=seed),
        contestants=(
            Contestant("rnn", "rnn", 1e-3),
            Contestant("lstm, chrono", "lstm", 1e-2, chrono),
            Contestant("gru, chrono, orth.", "gru", 5e-3, {**chrono, "recurrent_init": "orthogonal"}),
        ),
        hidden=128,
        steps=10_000,
        batch_size=20,
        memory=length,
        baseline="no memory",
        solved=0.1,
        goal=0.03,
        schedule=lambda steps: MultiStep([max(1, steps * 7 // 10), max(1, steps * 9 // 10)], 0.3),
        fresh=None if train else lambda count, rng: make(length, train=count, val=1, test=1, rng=rng).train,
    )
