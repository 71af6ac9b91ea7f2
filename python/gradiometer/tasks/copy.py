"""Copy memory: ten symbols, a long wait, then say them again."""

from __future__ import annotations

from typing import Any

from gradiometer.tasks.task import Contestant, Task

__all__ = ["copy"]


def copy(*, length: int = 100, seed: int = 0, train: int = 5000, **_: Any) -> Task:
    """With a wait of `length` steps; who remembers nothing has a loss of 10 ln(8) / (length + 20)."""
    from gradiometer.datasets import copy_memory

    return Task(
        id="copy",
        title=f"Copy memory: ten symbols over {length} steps",
        data=copy_memory(length, train=train, val=200, test=200, rng=seed),
        contestants=(
            Contestant("rnn", "rnn", 1e-3),
            Contestant("lstm, bias 1", "lstm", 2e-3, {"forget_bias": 1.0}),
            Contestant("lstm, chrono", "lstm", 2e-3, {"init": "chrono", "T_max": 3 * length // 2}),
        ),
        hidden=128,
        steps=4000,
        batch_size=50,
        memory=length,
        baseline="no memory",
        solved=0.5,
    )
