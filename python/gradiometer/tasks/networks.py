"""The networks of the tasks: recurrent layers, and a linear layer for the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradiometer.layers import GRU, LSTM, RNN, Linear
from gradiometer.networks import Sequential

if TYPE_CHECKING:
    from gradiometer.datasets import Splits

__all__ = ["CELLS", "answers_every_step", "recurrent"]

CELLS = {"rnn": RNN, "lstm": LSTM, "gru": GRU}


def answers_every_step(data: Splits) -> bool:
    """Whether the target is one a step."""
    return data.train.y.ndim > (1 if data.classes else 2)


def recurrent(
    cell: str,
    data: Splits,
    hidden: int,
    layers: int = 1,
    *,
    seed: int = 0,
    dtype: str = "float32",
    **options: Any,
) -> Sequential:
    """Recurrent layers of a cell, and a linear layer, for data of sequences."""
    layer = CELLS[cell](
        data.train.x.shape[2],
        hidden,
        layers,
        output="all" if answers_every_step(data) else "last",
        rng=seed,
        dtype=dtype,
        **options,
    )
    return Sequential(layer, Linear(layer.out_features, data.outputs, rng=seed + 1, dtype=dtype))
