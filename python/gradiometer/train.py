"""Training: mini-batches from arrays through native steps, and what happened on the way."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from gradiometer.arguments import positive
from gradiometer.losses import check_loss, check_target, metric
from gradiometer.optim import Optimizer, as_optimizer

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from gradiometer.layers import Compiled

__all__ = ["Evaluation", "History", "Trainer", "evaluate", "predict"]

_ROWS = 1024  # rows of a native forward call: Ctrl-C and progress between them


@dataclass(frozen=True)
class Evaluation:
    """Loss and metric (accuracy for classes, R² for values) over a data set, in evaluation mode."""

    loss: float
    metric: float
    samples: int


@dataclass
class History:
    """What a call of ``fit`` saw.

    Attributes
    ----------
    loss : list of float
        Training loss of every step, before its update.
    val : list of Evaluation
        After every epoch, where validation data were given.
    val_steps : list of int
        The steps after which that was.
    attenuation : list of (int, Attenuation)
        Step and what was measured there, every `monitor` steps.
    grad_norms : list of (int, tuple of float)
        Step and the norm of ``dL/dh`` of every hidden layer, the one next to the input first, at the same steps.
    steps : int
    seconds : float
        Time in steps, measurement and validation left out.
    diverged : bool
        The loss was not finite: training stopped there. The parameters are those after that step's update.
    """

    loss: list[float] = field(default_factory=list)
    val: list[Evaluation] = field(default_factory=list)
    val_steps: list[int] = field(default_factory=list)
    attenuation: list[tuple[int, Any]] = field(default_factory=list)
    grad_norms: list[tuple[int, tuple[float, ...]]] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    diverged: bool = False

    def plot(self, path: str | os.PathLike[str] | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw loss, validation metric, factor a layer with its interval, and the film of |dL/dh|, one under another.

        What was not recorded is left out.

        Parameters
        ----------
        path : path, optional
            Where to save the figure: ``.png``, ``.svg`` or ``.pdf``.
        ax : matplotlib.axes.Axes, optional
            Axes to draw the loss into, and nothing else; default: a new figure, no state of pyplot.

        Returns
        -------
        matplotlib.axes.Axes
            Of the loss; the others are in ``ax.figure.axes``.

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError, TypeError
            For a path with another ending, or an `ax` that is none.
        """
        from gradiometer.history import plot_history

        return plot_history(self, path, ax=ax)

    def _repr_html_(self) -> str:
        from gradiometer.history import history_html

        return history_html(self)


class Trainer:
    """A training run: optimiser slots, step number, order of samples. ``run`` may be called again to go on.

    Parameters
    ----------
    compiled : Compiled
    x, y : array_like
        Training data; converted once.
    optimizer : Optimizer or str
    loss : str
    batch_size : int
        The last batch of an epoch may be smaller; a single sample left over joins no batch.
    rng : None, int, SeedSequence or Generator
        Order of the samples.
    """

    def __init__(
        self,
        compiled: Compiled,
        x: ArrayLike,
        y: ArrayLike,
        *,
        optimizer: Optimizer | str,
        loss: str,
        batch_size: int,
        rng: Any = None,
    ) -> None:
        self.network = compiled.network
        self.optimizer = as_optimizer(optimizer)
        self.loss = check_loss(loss)
        self.x, self.y = _data(compiled, x, y, loss)
        if len(self.x) == 0:
            raise ValueError("train has no samples; expected one or more")
        self.batch_size = positive("batch_size", batch_size)
        self.rng = np.random.default_rng(rng)
        self.slots = np.zeros((self.optimizer.slots, self.network.parameters.size), self.network.parameters.dtype)
        self.step = 0
        self._order = self._batches()

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the data."""
        whole, rest = divmod(len(self.x), self.batch_size)
        return max(1, whole + (rest > 1 or (rest == 1 and self.batch_size == 1)))

    def _batches(self) -> Iterator[NDArray[np.int64]]:
        while True:
            order = self.rng.permutation(len(self.x))
            for b in range(self.steps_per_epoch):
                yield order[b * self.batch_size : (b + 1) * self.batch_size]

    def run(self, steps: int, history: History, after: Callable[[int], None] | None = None) -> bool:
        """Make `steps` steps; False if the loss stopped being finite."""
        for _ in range(steps):
            rows = next(self._order)
            began = time.perf_counter()
            value = self.network.step(
                self.x[rows],
                self.loss,
                self.y[rows],
                self.optimizer.native,
                self.slots,
                self.optimizer.learning_rate,
                self.step + 1,
            )
            self.step += 1
            history.seconds += time.perf_counter() - began
            history.steps += 1
            history.loss.append(value)
            if not math.isfinite(value):
                history.diverged = True
                return False
            if after is not None:
                after(self.step)
        return True


def predict(compiled: Compiled, x: ArrayLike) -> NDArray[Any]:
    """Output in evaluation mode (N, out_features), some rows at a time."""
    samples = np.asarray(x)
    network = compiled.network
    if samples.ndim != 2 or samples.shape[1] != network.in_features:
        raise ValueError(f"x has shape {samples.shape}; expected (N, {network.in_features})")
    out = np.empty((len(samples), network.out_features), network.parameters.dtype)
    for start in range(0, len(samples), _ROWS):
        network.forward(samples[start : start + _ROWS], out=out[start : start + _ROWS])
    return out


def evaluate(compiled: Compiled, x: ArrayLike, y: ArrayLike, loss: str) -> Evaluation:
    """Loss and metric in evaluation mode."""
    from gradiometer import kernels

    samples, target = _data(compiled, x, y, check_loss(loss))
    out = predict(compiled, samples)
    value, _ = kernels.loss(loss, out, target)
    return Evaluation(value, metric(loss, out, target), len(samples))


def _data(compiled: Compiled, x: ArrayLike, y: ArrayLike, loss: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """x (N, in) in the network's dtype, and its target."""
    network = compiled.network
    samples = np.asarray(x)
    if samples.dtype.kind not in "fiub":
        raise TypeError(f"x has dtype {samples.dtype}; expected real numbers")
    if samples.ndim != 2 or samples.shape[1] != network.in_features:
        raise ValueError(f"x has shape {samples.shape}; expected (N, {network.in_features})")
    target = check_target(loss, y, len(samples), network.out_features)
    if target.dtype.kind == "f" or loss != "cross_entropy":
        target = np.ascontiguousarray(target, network.parameters.dtype)
    return np.ascontiguousarray(samples, network.parameters.dtype), target
