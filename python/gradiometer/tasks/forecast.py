"""Forecast of a series: one step and several, against the forecast that nothing changes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradiometer.tasks.task import Contestant, Task

if TYPE_CHECKING:
    from gradiometer.datasets import Splits

__all__ = ["error_at", "forecast"]


def error_at(step: int) -> Any:
    """Root mean square error of the forecast of that step, in the units of the series."""

    def error(predicted: Any, data: Splits) -> float:
        difference = predicted[:, step - 1].astype(np.float64) - data.test.y[:, step - 1]
        return float(data.scale[0] * math.sqrt(np.mean(difference**2)))

    return error


def forecast(*, series: Path | str | None = None, column: str | None = None, horizon: int = 6, **_: Any) -> Task:
    """Of the sunspots, or of a file's column."""
    from gradiometer import datasets

    if series is None:
        data = datasets.sunspots(window=33, horizon=horizon)
    else:
        data = datasets.forecast(series, window=24, horizon=horizon, column=column)
    steps = dict.fromkeys((1, horizon))
    return Task(
        id="forecast",
        title=f"Forecast of {data.name}: the next {horizon} from the last {data.train.x.shape[1]}",
        data=data,
        contestants=(
            Contestant("rnn", "rnn", 1e-3),
            Contestant("gru", "gru", 2e-3),
            Contestant("lstm, bias 1", "lstm", 2e-3, {"forget_bias": 1.0}),
        ),
        hidden=32,
        steps=600,
        patience=25,
        baseline="naive",
        batch_size=32,
        errors={f"rmse step {step}": error_at(step) for step in steps},
    )
