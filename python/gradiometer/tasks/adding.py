"""The adding problem: the sum of the two numbers that are marked."""

from __future__ import annotations

from typing import Any

from gradiometer.tasks.task import Contestant, Task

__all__ = ["adding"]


def adding(*, length: int = 100, seed: int = 0, train: int | None = None, **_: Any) -> Task:
    """Over `length` steps; who always answers 1 has an error of 1/6. `train` sequences, or fresh ones at every step."""
    from gradiometer.datasets import adding as make

    return Task(
        id="adding",
        title=f"Adding problem: two marked numbers among {length}",
        data=make(length, train=train or 500, val=500, test=1000, rng=seed),
        contestants=(
            Contestant("rnn", "rnn", 1e-3),
            Contestant("lstm, bias 1", "lstm", 5e-3, {"forget_bias": 1.0}),
            Contestant("lstm, chrono", "lstm", 5e-3, {"init": "chrono", "T_max": max(3, length)}),
        ),
        hidden=64,
        steps=3000,
        batch_size=32,
        memory=length // 2,
        baseline="always 1",
        solved=0.1,
        goal=0.01,
        fresh=None if train else lambda count, rng: make(length, train=count, val=1, test=1, rng=rng).train,
    )
