"""Attenuation over training: for a plain loop, and for Lightning."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

from torch import nn

from gradiometer.measurement.result import Attenuation, Measurement
from gradiometer.measurement.text import factor_in_words
from gradiometer.measurement.time.text import decay_in_words, furthest
from gradiometer.torch.instrument import Loss, measure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gradiometer.measurement.time import Decay, TimeMeasurement

__all__ = ["GradientMonitor", "Monitor"]


class _Recorder:
    """What both keep, and how it is shown."""

    steps: int
    every: int
    attenuation: list[tuple[int, Attenuation]]
    decay: list[tuple[int, Decay]]

    def __repr__(self) -> str:
        seen = ""
        if self.attenuation:
            step, last = self.attenuation[-1]
            in_time = self.decay and math.isnan(last.factor)
            seen = f", {decay_in_words(self.decay[-1][1]) if in_time else factor_in_words(last)} at step {step}"
        return f"<{type(self).__name__}: {len(self.attenuation)} measurements in {self.steps} steps{seen}>"

    def plot(self, path: str | os.PathLike[str] | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw the factor a layer with its interval over the steps, as ``History.plot`` does, and of recurrent models
        the factor a step through time; one of them into a given `ax`.

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError, TypeError
            Before the first measurement; for a path with another ending, or an `ax` that is none.
        """
        from gradiometer.history import factor_charts
        from gradiometer.plotting import draw
        from gradiometer.train import History

        if not self.attenuation:
            raise ValueError(f"nothing is measured yet: {self.steps} steps of {self.every}")
        return draw(factor_charts(History(attenuation=self.attenuation, decay=self.decay)), path, ax=ax)

    def _keep(self, measured: Measurement) -> None:
        self.attenuation.append((self.steps, measured.attenuation))
        if measured.time:
            self.decay.append((self.steps, furthest(measured.time).decay))


class Monitor(_Recorder):
    """Measures a model every so many steps of a training loop.

    Parameters
    ----------
    module : nn.Module
    every : int
        Steps between two measurements.
    x, y, loss
        As `measure` takes them: the same samples each time.
    time : bool
        Also keep what is measured inside recurrent modules, step by step.

    Attributes
    ----------
    steps : int
        Calls of `step` so far.
    attenuation : list of (int, Attenuation)
        Step and what was measured after it.
    decay : list of (int, Decay)
        How the last step's gradient falls through time, in the recurrent layer by which it reaches furthest.
    time : list of (int, tuple of TimeMeasurement)
        The same of ``Measurement.time``; empty unless asked for.

    Examples
    --------
    >>> import gradiometer as gm
    >>> import torch
    >>> from torch import nn
    >>> train, _, _ = gm.datasets.digits()
    >>> model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 10))
    >>> optimizer = torch.optim.SGD(model.parameters(), 0.1)
    >>> x, y = torch.from_numpy(train.x), torch.from_numpy(train.y)
    >>> monitor = gm.torch.Monitor(model, every=2, x=x[:64], y=y[:64])
    >>> for _ in range(4):
    ...     optimizer.zero_grad()
    ...     nn.functional.cross_entropy(model(x), y).backward()
    ...     _ = optimizer.step()
    ...     _ = monitor.step()
    >>> [step for step, _ in monitor.attenuation]
    [2, 4]
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        every: int = 100,
        x: Any,
        y: Any,
        loss: Loss = "cross_entropy",
        time: bool = False,
    ) -> None:
        self.module = module
        self.every = _steps(every)
        self.x, self.y, self.loss = x, y, loss
        self.steps = 0
        self.attenuation: list[tuple[int, Attenuation]] = []
        self.decay: list[tuple[int, Decay]] = []
        self.time: list[tuple[int, tuple[TimeMeasurement, ...]]] = []
        self._through_time = bool(time)

    def step(self) -> Attenuation | None:
        """Count a step, after the optimiser's; measure when its turn has come, and return what was measured."""
        self.steps += 1
        if self.steps % self.every:
            return None
        measured = measure(self.module, self.x, self.y, self.loss)
        self._keep(measured)
        if self._through_time:
            self.time.append((self.steps, measured.time))
        return measured.attenuation


class GradientMonitor(_Recorder):
    """A callback for Lightning's trainer that logs the attenuation every so many batches.

    It has the names that Lightning calls and needs none of its classes.

    Parameters
    ----------
    every : int
    x, y : optional
        Samples to measure on; else each time the batch at hand, a pair (x, y).
    loss : str or callable
    name : str
        Under which ``pl_module.log`` gets the factor a layer, or where there is none a recurrent layer's a step.

    Attributes
    ----------
    attenuation : list of (int, Attenuation)
        Batches so far and what was measured after them.
    decay : list of (int, Decay)
        As in `Monitor`.
    """

    def __init__(
        self,
        every: int = 100,
        *,
        x: Any = None,
        y: Any = None,
        loss: Loss = "cross_entropy",
        name: str = "gradient_factor",
    ) -> None:
        if (x is None) != (y is None):
            raise ValueError("x and y: one is None; expected both or neither")
        self.every = _steps(every)
        self.x, self.y, self.loss, self.name = x, y, loss, name
        self.steps = 0
        self.attenuation: list[tuple[int, Attenuation]] = []
        self.decay: list[tuple[int, Decay]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count a batch; measure and log when its turn has come."""
        self.steps += 1
        if self.steps % self.every:
            return
        x, y = batch if self.x is None else (self.x, self.y)
        self._keep(measure(pl_module, x, y, self.loss))
        factor = self.attenuation[-1][1].factor
        if math.isnan(factor) and self.decay:
            factor = self.decay[-1][1].factor
        log = getattr(pl_module, "log", None)
        if callable(log):
            log(self.name, factor)

    @property
    def state_key(self) -> str:
        """Under which a checkpoint keeps the state."""
        return type(self).__name__

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint: the count of batches."""
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.steps = state["steps"]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("on_") or name in ("setup", "teardown"):
            return _nothing  # the other moments that a trainer announces
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def _nothing(*args: Any, **kwargs: Any) -> None:
    pass


def _steps(every: int) -> int:
    if isinstance(every, bool) or not isinstance(every, int):
        raise TypeError(f"every is {every!r}; expected an integer")
    if every < 1:
        raise ValueError(f"every is {every}; expected 1 step or more")
    return every
