"""Epochs of native steps over rows that may have weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gradiometer import _core, kernels
from gradiometer.losses import Loss
from gradiometer.networks import Sequential

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Descent"]

_DOT = _core.Loss("dot")


class Descent:
    """A network and the state of its optimiser, between epochs.

    The penalty of a batch is ``alpha / 2 |W|^2`` over the number (sum of weights) of its rows, for matrices only, as in
    scikit-learn; the losses returned are without it.

    Parameters
    ----------
    net : Sequential
    solver : str
        One of ``gm.kernels.optimizers()``.
    params : mapping
        Its parameters, but weight decay.
    loss : Loss
    alpha : float
    seed : int
        Of random masks.
    """

    def __init__(
        self, net: Sequential, solver: str, params: Mapping[str, float], loss: Loss, alpha: float, seed: int
    ) -> None:
        self.net, self.solver, self.params, self.loss = net, solver, dict(params), loss
        self.alpha, self.seed = alpha, seed
        self.slots = np.zeros((kernels.optimizer_slots(solver), net.parameters.size), net.dtype)
        self.steps = 0

    def epoch(
        self,
        x: NDArray[Any],
        target: NDArray[Any],
        weight: NDArray[Any] | None,
        order: NDArray[Any],
        batch_size: int,
        rate: float,
    ) -> float:
        """A step for every batch of the rows `order`; a single row left over joins the last. Returns the mean loss over
        all rows, each before its step."""
        network = self.net._compile().network
        total = share = 0.0
        starts = list(range(0, len(order), batch_size))
        if len(order) - starts[-1] == 1 < batch_size and len(starts) > 1:
            starts.pop()
        for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
            rows = order[start:end]
            value, loss, y, of_batch = 0.0, self.loss.native, target[rows], float(len(rows))
            if weight is not None:
                of_batch = float(weight[rows].sum())
                if of_batch == 0:
                    continue
                value, y = self._weighted(network, x[rows], y, weight[rows])
                loss = _DOT
            self.steps += 1
            seen = network.step(
                x[rows],
                loss,
                y,
                _core.Optimizer(self.solver, **self.params, weight_decay=self.alpha / of_batch),
                self.slots,
                rate,
                self.steps,
                decay_matrices_only=True,
                seed=self.seed,
            )
            total += (seen if weight is None else value) * of_batch
            share += of_batch
        return total / share if share else math.nan

    def _weighted(
        self, network: Any, x: NDArray[Any], target: NDArray[Any], weight: NDArray[Any]
    ) -> tuple[float, NDArray[Any]]:
        """Mean of the loss over weighted rows, and its derivative by the output. Rows of one weight go together: of
        those the loss knows the mean."""
        out = network.forward(x, training=True, seed=self.seed, step=self.steps + 1)
        dy = np.zeros_like(out)
        total = share = 0.0
        for w in np.unique(weight[weight > 0]):
            rows = weight == w
            part = float(w) * self.loss.weight(target[rows])
            if part > 0:
                value, derivative = self.loss(out[rows], target[rows])
                total += part * value
                share += part
                dy[rows] = part * derivative
        return (total / share, dy / share) if share else (0.0, dy)
