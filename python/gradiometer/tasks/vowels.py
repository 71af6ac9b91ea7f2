"""Who speaks: nine speakers by utterances of 7 to 29 frames."""

from __future__ import annotations

from typing import Any

from gradiometer.tasks.task import Contestant, Task

__all__ = ["vowels"]


def vowels(**_: Any) -> Task:
    """The published 370 utterances decide."""
    from gradiometer.datasets import vowels as load

    return Task(
        id="vowels",
        title="Japanese vowels: who speaks",
        data=load(),
        contestants=(
            Contestant("rnn", "rnn", 1e-3),
            Contestant("gru", "gru", 2e-3),
            Contestant("lstm, bias 1", "lstm", 2e-3, {"forget_bias": 1.0}),
            Contestant("lstm, both ways", "lstm", 2e-3, {"forget_bias": 1.0, "bidirectional": True}),
        ),
        hidden=100,
        steps=400,
        batch_size=32,
    )
