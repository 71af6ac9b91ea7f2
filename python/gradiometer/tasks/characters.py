"""What character comes next, in the text of Python's own help."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gradiometer.tasks.task import Contestant, Task

__all__ = ["text"]


def text(*, file: Path | str | None = None, limit: int = 100_000, **_: Any) -> Task:
    """Windows of 64 characters; who knows frequencies only has the baseline."""
    from gradiometer.datasets import characters

    data = characters(file, limit=limit)
    return Task(
        id="text",
        title=f"Characters of {data.name}: what comes next",
        data=data,
        contestants=(
            Contestant("rnn", "rnn", 1e-3),
            Contestant("lstm, bias 1", "lstm", 3e-3, {"forget_bias": 1.0}),
        ),
        hidden=128,
        steps=10 * (len(data.train) // 32),
        batch_size=32,
        baseline="frequencies",
    )
