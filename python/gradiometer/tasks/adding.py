"""The adding problem: the sum of the two numbers that are marked."""

from __future__ import annotations

from typing import Any

from gradiometer.tasks.task import Contestant, Task

__all__ = ["adding"]


def adding(*, length: int = 100, seed: int = 0, train: int = 10_000, **_: Any) -> Task:
    """Over `length` steps; who always answers 1 has an error of 1/6."""
    from gradiometer.datasets import adding as make

    return Task(
        id="adding",
        title=f"Adding problem: two marked numbers among {length}",
        data=make(length, train=train, val=500, test=1000, rng=seed),
        contestants=(
            Contestant("rnn", "rnn", 1e-3),
            Contestant("lstm, bias 1", "lstm", 5e-3, {"forget_bias": 1.0}),
            Contestant("lstm, chrono", "lstm", 5e-3, {"init": "chrono", "T_max": length}),
        ),
        hidden=64,
        steps=2000,
        batch_size=50,
        memory=length // 2,
        baseline="always 1",
        solved=0.5,
    )
