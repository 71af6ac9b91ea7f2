"""Training: mini-batches from arrays through native steps, and what happened on the way."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from gradiometer.arguments import generator, positive, real
from gradiometer.batches import ArrayBatches, GivenBatches, checked, checked_samples, converted
from gradiometer.checkpoints import CheckpointError, read, write
from gradiometer.losses import Loss, as_loss, metric
from gradiometer.optim import Optimizer, as_optimizer
from gradiometer.schedules import Schedule
from gradiometer.sequences import split, within

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from gradiometer.layers import Compiled, Module
    from gradiometer.sequences import Sequences

__all__ = ["Evaluation", "History", "Trainer", "evaluate", "predict"]

_ROWS = 1024  # rows of a native forward call: Ctrl-C and progress between them


@dataclass(frozen=True)
class Evaluation:
    """Loss and metric (accuracy for classes, R² for values) over a data set, in evaluation mode."""

    loss: float
    metric: float
    samples: int


@dataclass(repr=False)
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
    stopped_early : bool
        The validation loss had not fallen for `patience` epochs.
    diverged : bool
        The loss was not finite: training stopped there. The parameters are those after that step's update.
    decay : list of (int, Decay)
        Step and how the last step's gradient falls through time, in the recurrent layer by which it reaches furthest,
        at the same steps; empty for a network of single rows.
    reached : bool
        The validation loss fell to `goal`: training stopped there.
    """

    loss: list[float] = field(default_factory=list)
    val: list[Evaluation] = field(default_factory=list)
    val_steps: list[int] = field(default_factory=list)
    attenuation: list[tuple[int, Any]] = field(default_factory=list)
    grad_norms: list[tuple[int, tuple[float, ...]]] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    stopped_early: bool = False
    diverged: bool = False
    decay: list[tuple[int, Any]] = field(default_factory=list)
    reached: bool = False

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

    def __repr__(self) -> str:
        from gradiometer.history import history_line

        return history_line(self)

    def __str__(self) -> str:
        from gradiometer.history import history_text

        return history_text(self)

    def _repr_html_(self) -> str:
        from gradiometer.history import history_html

        return history_html(self)


class Trainer:
    """A training run: optimiser slots, step number, order of samples. ``run`` may be called again to go on.

    Parameters
    ----------
    compiled : Compiled
    x, y : array_like
        Training data; an ``np.memmap`` is read a batch at a time. `y` None: `x` is an iterable of batches (x, y).
    optimizer : Optimizer or str
    loss : Loss or str
    batch_size : int
        The last batch of an epoch may be smaller; a single sample left over joins no batch.
    rng : None, int, SeedSequence or Generator
        Order of the samples.
    schedule : Schedule, optional
    clip_norm, clip_value : float, optional
        Before every step gradients are cut off at `clip_value`; then, if their norm is above `clip_norm`, multiplied by
        ``clip_norm / (norm + 1e-6)``.
    decay_matrices_only : bool
        Weight decay leaves biases and the parameters of norms alone.
    micro_batch : int, optional
        Rows of a native pass; gradients of a batch's parts are added up.
    segments : int
        Of a native pass; what only one of them reads is made again for its backward.
    """

    def __init__(
        self,
        compiled: Compiled,
        x: Any,
        y: ArrayLike | None,
        *,
        optimizer: Optimizer | str,
        loss: Loss | str,
        batch_size: int,
        rng: Any = None,
        schedule: Schedule | None = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        decay_matrices_only: bool = False,
        micro_batch: int | None = None,
        segments: int = 1,
    ) -> None:
        self.compiled = compiled
        self.network = compiled.network
        self.optimizer = as_optimizer(optimizer)
        self.loss = as_loss(loss)
        self.batch_size = positive("batch_size", batch_size)
        self.batches: ArrayBatches | GivenBatches
        if y is None:
            self.batches = GivenBatches(self.network, x, self.loss.name)
        else:
            self.batches = ArrayBatches(self.network, x, y, self.loss.name, self.batch_size)
            if len(self.batches.x) == 0:
                raise ValueError("train has no samples; expected one or more")
        if not isinstance(schedule, Schedule | None):
            raise TypeError(f"schedule is {schedule!r}; expected one of gm.schedules")
        self.schedule = schedule
        self.options: dict[str, Any] = {
            "clip_norm": 0.0 if clip_norm is None else real("clip_norm", clip_norm, 1e-300),
            "clip_value": 0.0 if clip_value is None else real("clip_value", clip_value, 1e-300),
            "decay_matrices_only": bool(decay_matrices_only),
        }
        self.micro_batch = micro_batch
        self.segments = segments
        self._asked_rng = _asked(rng)
        self.rng = generator("rng", rng)
        self.seed = int(self.rng.spawn(1)[0].integers(2**63))  # of dropout's masks; the order of samples is untouched
        self.slots = np.zeros((self.optimizer.slots, self.network.parameters.size), self.network.parameters.dtype)
        self.step = 0
        self.steps = 0  # of the whole run, for the schedule
        self.epoch_ended = False
        self._place = 0
        self._began = self.rng.bit_generator.state
        self._epoch: Iterator[tuple[Any, NDArray[Any], bool]] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the data; 0 if the iterable does not say."""
        return self.batches.per_epoch or 0

    def next_batch(self) -> tuple[Any, NDArray[Any]] | None:
        """x and y of the next step; None at the end of an iterator."""
        if self._epoch is None:
            self._began = self.rng.bit_generator.state
            self._epoch = self.batches.epoch(self.rng)
            self._place = 0
        batch = next(self._epoch, None)
        if batch is None:
            return None
        self._place += 1
        self.epoch_ended = batch[2]
        if self.epoch_ended and not getattr(self.batches, "once", False):
            self._epoch = None
        return batch[:2]

    def run(self, steps: int, history: History, after: Callable[[int], bool | None] | None = None) -> bool:
        """Make `steps` steps, fewer where the batches end or `after` says True; False if the loss is not finite."""
        for _ in range(steps):
            batch = self.next_batch()
            if batch is None:
                return True
            began = time.perf_counter()
            value = self._step(*batch, self._rate(history))
            self.step += 1
            history.seconds += time.perf_counter() - began
            history.steps += 1
            history.loss.append(value)
            if not math.isfinite(value):
                history.diverged = True
                return False
            if after is not None and after(self.step):
                return True
        return True

    def _rate(self, history: History) -> float:
        if self.schedule is None:
            return self.optimizer.learning_rate
        losses = [seen.loss for seen in history.val]
        return self.optimizer.learning_rate * self.schedule.factor(self.step + 1, self.steps, losses)

    def _step(self, samples: Any, y: NDArray[Any], rate: float) -> float:
        x, lengths = split(samples)
        loss, micro, value = self.loss.native, self.micro_batch or max(1, len(x)), 0.0
        last = max(0, (len(x) - 1) // micro * micro)
        seen = within(samples, y) if self.network.every_step else y
        mean_over = self.loss.weight(seen) if last else 0.0
        for r in range(0, last, micro):
            part = slice(r, r + micro)
            value += self.network.gradient(
                x[part],
                loss,
                y[part],
                accumulate=r > 0,
                mean_over=mean_over,
                seed=self.seed,
                first_row=r,
                step=self.step + 1,
                segments=self.segments,
                lengths=None if lengths is None else lengths[part],
            )[0]
        value += self.network.step(
            x[last:],
            loss,
            y[last:],
            self.optimizer.native,
            self.slots,
            rate,
            self.step + 1,
            accumulate=last > 0,
            mean_over=mean_over,
            seed=self.seed,
            first_row=last,
            segments=self.segments,
            lengths=None if lengths is None else lengths[last:],
            **self.options,
        )
        return value

    # ---- checkpoints

    def save(self, path: str | os.PathLike[str], history: History, best: tuple[Any, ...] = ()) -> None:
        """Write all that the run needs to go on as if it had not stopped: whole or not at all."""
        network = self.network
        tensors = {"parameters": network.parameters, "state": network.state, "slots": self.slots}
        tensors["loss"] = np.asarray(history.loss, np.float64)
        tensors["val"] = np.asarray([(v.loss, v.metric, v.samples) for v in history.val], np.float64).reshape(-1, 3)
        tensors["val_steps"] = np.asarray(history.val_steps, np.int64)
        if best:
            tensors |= {"best.parameters": best[0], "best.state": best[1]}
        place = {"step": self.step, "place": self._place, "ended": self._epoch is None, "seconds": history.seconds}
        place["seed"] = self.seed
        rng = {"began": self._began, "now": self.rng.bit_generator.state}
        write(
            path,
            tensors,
            {
                "run": json.dumps(self._identity()),
                "place": json.dumps(place),
                "rng": json.dumps(rng, default=list),
            },
        )

    def resume(self, path: str | os.PathLike[str], history: History) -> tuple[NDArray[Any], ...]:
        """Go on from a checkpoint of the same run; returns the best parameters and state, if there were any yet.

        Raises
        ------
        CheckpointError
            If the file is damaged or of another run; nothing has changed then.
        """
        tensors, metadata = read(path)
        network = self.network
        try:
            if "run" not in metadata:
                raise ValueError("it is no checkpoint of a run")
            different = _differences(json.loads(metadata["run"]), self._identity())
            if different:
                raise ValueError(different)
            targets = {"parameters": network.parameters, "state": network.state, "slots": self.slots}
            for name, target in targets.items():
                if tensors[name].shape != target.shape or tensors[name].dtype != target.dtype:
                    raise ValueError(f"{name} has shape {tensors[name].shape}; expected {target.shape}")
                if not np.isfinite(tensors[name]).all():
                    raise ValueError(f"{name} holds numbers that are not finite")
            place, rng = json.loads(metadata["place"]), json.loads(metadata["rng"])
            val = [Evaluation(loss, metric, int(samples)) for loss, metric, samples in tensors["val"].tolist()]
            best = tuple(
                tensors[f"best.{name}"].copy() for name in ("parameters", "state") if f"best.{name}" in tensors
            )
            if any(
                kept.shape != targets[name].shape for name, kept in zip(("parameters", "state"), best, strict=False)
            ):
                raise ValueError("the best parameters have another shape")
            known = {*targets, "loss", "val", "val_steps", "best.parameters", "best.state"}
            if tensors.keys() - known:
                raise ValueError(f"it holds {sorted(tensors.keys() - known)} besides what is expected")
            losses, val_steps = tensors["loss"].tolist(), tensors["val_steps"].tolist()
            seed = int(place["seed"])
            step, seconds, at, ended = int(place["step"]), float(place["seconds"]), int(place["place"]), place["ended"]
            self.rng.bit_generator.state = rng["now"] if ended else rng["began"]
        except (ValueError, KeyError, TypeError) as e:
            raise CheckpointError(f"{path} does not fit this run: {e}") from e
        for name, target in targets.items():
            target[...] = tensors[name]
        self.step, self.seed, self._place, self._began = step, seed, at, rng["began"]
        self._epoch = None if ended else self.batches.epoch(self.rng, at)
        history.loss[:], history.val[:], history.val_steps[:] = losses, val, val_steps
        history.steps, history.seconds = step, seconds
        return best

    def _identity(self) -> dict[str, Any]:
        """What a run that goes on has in common with the one that stopped, as JSON keeps it."""
        said = {
            "optimizer": repr(self.optimizer),
            "loss": repr(self.loss),
            "schedule": repr(self.schedule),
            **self.options,
            "batch_size": self.batch_size,
            "rows at a time": self.micro_batch,
            "samples": len(self.batches.x) if isinstance(self.batches, ArrayBatches) else None,
            "steps": self.steps,
            "rng": self._asked_rng,
            "dtype": str(self.network.parameters.dtype),
            "frozen parameters": list(self.compiled.frozen),
            "layers": [_outline(module) for _, module in self.compiled.root.named_modules()][1:]
            or [repr(self.compiled.root)],
        }
        made: dict[str, Any] = json.loads(json.dumps(said))
        return made


def _outline(module: Module) -> str:
    """A layer as it shows itself; of one that is made of layers its own arguments."""
    if not module._children():
        return repr(module)
    own = {key: value for key, value in module._config().items() if key not in ("modules", "dtype")}
    return f"{type(module).__name__}({len(module._children())} layers{''.join(f', {k}={own[k]!r}' for k in own)})"


def _asked(rng: Any) -> str:
    """What tells one `rng` from another: the seed; a Generator has none, and goes on from where the file says."""
    if isinstance(rng, np.random.SeedSequence):
        return f"SeedSequence({rng.entropy}, spawn_key={rng.spawn_key})"
    if isinstance(rng, int | np.integer):
        return str(int(rng))
    return repr(rng) if rng is None or isinstance(rng, list | tuple) else type(rng).__name__


def _differences(kept: Any, asked: dict[str, Any]) -> str:
    """What the file and the call do not have in common, in words."""
    if not isinstance(kept, dict):
        raise ValueError("it does not say of which run it is")
    said = []
    for name, wanted in asked.items():
        found = kept.get(name)
        if name == "layers" and isinstance(found, list):
            pairs = list(zip_longest(wanted, found, fillvalue="none"))
            different = [pair for pair in pairs if pair[0] != pair[1]]
            if different:
                more = f" (and {len(different) - 1} more)" if len(different) > 1 else ""
                said.append(f"layers: {different[0][0]} in the network, {different[0][1]} in the file{more}")
        elif found != wanted:
            said.append(f"{name}: {found} in the file, {wanted} asked")
    return "; ".join(said)


def predict(compiled: Compiled, x: ArrayLike | Sequences) -> NDArray[Any]:
    """Output in evaluation mode (N, out_features), or (N, T, out_features), some samples at a time."""
    network = compiled.network
    if hasattr(x, "x") and hasattr(x, "y"):
        what = f"an array (N, {'T, ' if network.sequences else ''}{network.in_features})"
        raise TypeError(f"x is {type(x).__name__}, a pair; expected its x, {what}")
    samples, lengths = split(checked_samples(network, x))
    steps = samples.shape[1:2] if network.every_step else ()
    out = np.empty((len(samples), *steps, network.out_features), network.parameters.dtype)
    for start in range(0, len(samples), _ROWS):
        part = slice(start, start + _ROWS)
        network.forward(samples[part], out=out[part], lengths=None if lengths is None else lengths[part])
    return out


def evaluate(compiled: Compiled, x: ArrayLike | Sequences, y: ArrayLike, loss: Loss | str) -> Evaluation:
    """Loss and metric in evaluation mode."""
    kind = as_loss(loss)
    samples, target = converted(compiled.network, *checked(compiled.network, x, y, kind.name))
    out = predict(compiled, samples)
    if compiled.network.every_step:
        out, target = within(samples, out), within(samples, target)
    value, _ = kind(out, target)
    return Evaluation(value, metric(kind.name, out, target), len(samples))
