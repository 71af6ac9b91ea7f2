"""Digits, a pixel a step."""

from __future__ import annotations

from typing import Any

from gradiometer.tasks.task import Contestant, Task

__all__ = ["digits"]


def digits(**_: Any) -> Task:
    """64 steps of one pixel (Le et al. 2015 with their 784)."""
    from gradiometer.datasets import sequential_digits

    return Task(
        id="digits",
        title="Digits by pixel: which digit, 64 steps of one pixel",
        data=sequential_digits(),
        contestants=(
            Contestant("rnn", "rnn", 1e-3),
            Contestant("irnn (relu, identity)", "rnn", 1e-3, {"nonlinearity": "relu", "init": "irnn"}),
            Contestant("lstm, bias 1", "lstm", 3e-3, {"forget_bias": 1.0}),
        ),
        hidden=64,
        steps=1500,
        batch_size=64,
    )
