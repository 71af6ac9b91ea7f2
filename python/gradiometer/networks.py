"""Networks: layers one after another that train, predict and save; and the plain deep one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from gradiometer import _core, budget, kernels
from gradiometer import init as initialisers
from gradiometer import train as training
from gradiometer.arguments import choice, generator, near, positive, real
from gradiometer.batches import ArrayBatches, checked, converted
from gradiometer.checkpoints import check_writable
from gradiometer.inference import Inference, Stream
from gradiometer.layers import Activation, BatchNorm1d, Chain, LayerNorm, Linear, Module, PReLU, Residual, RMSNorm
from gradiometer.layers.recurrent import Recurrent
from gradiometer.losses import Loss, as_loss
from gradiometer.measurement import measure
from gradiometer.measurement.instrument import TAPS
from gradiometer.measurement.time.text import furthest
from gradiometer.optim import Optimizer, as_optimizer
from gradiometer.progress import Bar, bar
from gradiometer.recurrent import Stepper
from gradiometer.schedules import Schedule
from gradiometer.sequences import Sequences
from gradiometer.train import Evaluation, History, Trainer

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["MlpSpec", "Sequential", "mlp"]

Data = tuple["ArrayLike | Sequences", "ArrayLike"]
"""x (N, in_features), or (N, T, in_features) or Sequences, and y."""


_NORMS: dict[str, Callable[..., Module]] = {"batch": BatchNorm1d, "layer": LayerNorm, "rms": RMSNorm}


@dataclass(frozen=True)
class MlpSpec:
    """What `mlp` was asked for: enough to build the same network with one thing changed."""

    in_features: int
    hidden: tuple[int, ...]
    out_features: int
    activation: str
    activation_params: dict[str, float] = field(default_factory=dict)
    norm: str | None = None
    residual: float | None = None
    init: str = "xavier_normal"
    gain: float = 1.0
    bias: bool = True
    dtype: str = "float32"

    def build(self, rng: Any = None) -> Sequential:
        """The network."""
        return mlp(
            self.in_features,
            self.hidden,
            self.out_features,
            activation=self.activation,
            activation_params=self.activation_params,
            norm=self.norm,
            residual=self.residual,
            init=self.init,
            gain=self.gain,
            bias=self.bias,
            rng=rng,
            dtype=self.dtype,
        )


class Sequential(Chain):
    """Layers one after another, compiled into one native graph.

    Parameters
    ----------
    *modules : Module
        Any of ``gm``'s layers, or other `Sequential`; the first with a width of its own fixes the input's.
    dtype : "float32" or "float64", optional
        That of the layers.

    Raises
    ------
    ValueError
        If widths do not fit, a layer appears twice or is part of another network.

    Examples
    --------
    >>> import gradiometer as gm
    >>> net = gm.Sequential(gm.Linear(4, 8, rng=0), gm.Activation("tanh"), gm.Linear(8, 2, rng=1))
    >>> net([[0.0, 1.0, 2.0, 3.0]]).shape
    (1, 2)
    """

    spec: MlpSpec | None = None
    loss: Loss | None = None  # of the last fit

    def __init__(self, *modules: Module, dtype: str | None = None) -> None:
        super().__init__(*modules, dtype=dtype)
        if not modules:
            raise ValueError("the network is empty; expected one layer or more")
        if self.in_features is not None:
            self._compile()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.modules, self.dtype, self.spec, self.loss)

    @overload
    def __getitem__(self, i: int) -> Module: ...

    @overload
    def __getitem__(self, i: slice) -> Sequential: ...

    def __getitem__(self, i: int | slice) -> Module:
        """A layer; of a slice a network of its own with copies of these layers: a network's parameters are one vector,
        so no two networks share a layer.

        Examples
        --------
        >>> import gradiometer as gm
        >>> net = gm.mlp(4, [8, 8], 2, rng=0)
        >>> body = net[:-1]
        >>> gm.Sequential(body.requires_grad_(False), gm.Linear(8, 3, rng=1))([[0.0, 1.0, 2.0, 3.0]]).shape
        (1, 3)
        """
        return super().__getitem__(i)

    def _of(self, modules: tuple[Module, ...]) -> Sequential:
        return Sequential(*modules, dtype=self.dtype)

    @property
    def parameters(self) -> NDArray[Any]:
        """All parameters in one flat vector (padding between tensors is 0): a view, for reading and writing."""
        flat: NDArray[Any] = self._compile().network.parameters
        return flat

    @property
    def gradients(self) -> dict[str, NDArray[Any]]:
        """Gradients by name as the last pass left them: views. Frozen parameters (`requires_grad_`) are left out."""
        return self._compile().gradients()

    def memory(
        self,
        batch: int,
        *,
        steps: int | None = None,
        optimizer: Optimizer | str | None = None,
        recompute: bool | int = False,
    ) -> int:
        """Bytes of parameters, gradients and state, of the optimiser's slots, and of the arena for a training batch of
        that many rows: what `fit` takes as `memory_budget`. The data are not in it.

        Parameters
        ----------
        batch : int
        steps : int
            Of a sample, for a network of sequences; else None.
        optimizer : Optimizer or str, optional
            As in `fit`; None counts no slots, as for plain SGD (adam has two values a parameter).
        recompute : bool or int
            As in `fit`.

        Examples
        --------
        >>> import gradiometer as gm
        >>> net = gm.mlp(64, [64] * 50, 10, rng=0)
        >>> net.memory(1024, recompute=True) < net.memory(1024) / 3
        True
        >>> net.memory(64, optimizer="adam") - net.memory(64) == 2 * net.parameters.nbytes
        True
        """
        compiled = self._compile()
        batch = positive("batch", batch)
        if (steps is not None) != self.sequences:
            expected = "the steps of a sample" if self.sequences else "None for a network of single rows"
            raise ValueError(f"steps is {steps!r}; expected {expected}")
        T = positive("steps", steps) if steps is not None else 0
        slots = as_optimizer(optimizer).slots if optimizer is not None else 0
        besides = slots * int(compiled.network.parameters.nbytes)
        return besides + compiled.memory(batch, segments=budget.segments(compiled, batch, recompute, T), steps=T)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write structure and weights, running statistics and what is frozen to a file; `gm.load` reads it.

        The layout is that of safetensors, arrays by the names of ``state_dict``; no pickle. Written beside, then put in
        place.

        Parameters
        ----------
        path : path

        Raises
        ------
        gm.checkpoints.CheckpointError
            If nothing can be written there.
        TypeError
            For a layer that is not one of gradiometer's.
        """
        from gradiometer.saving import save

        save(self, path)

    def predict(self, x: ArrayLike | Sequences) -> NDArray[Any]:
        """Output in evaluation mode, (N, out_features) or of every step (N, T, out_features) with 0 beyond the lengths.

        A row has the same bits in any batch.

        After cross-entropy these are logits: ``argmax(axis=1)`` is the class, `predict_proba` what is probable.

        Parameters
        ----------
        x : array_like (N, in_features); of a network of sequences (N, T, in_features) or Sequences

        Raises
        ------
        ValueError, TypeError
            For another shape, or a pair (x, y).
        """
        return training.predict(self._compile(x), x)

    def predict_proba(self, x: ArrayLike | Sequences) -> NDArray[Any]:
        """Probabilities (N, out_features): softmax of `predict`; its logistic function, label by label, after a `fit`
        with bce_with_logits.

        Raises
        ------
        ValueError, TypeError
            As `predict`; after a `fit` with a loss of values, mse or huber.

        Examples
        --------
        >>> import gradiometer as gm
        >>> net = gm.mlp(4, [8], 3, rng=0)
        >>> net.predict_proba([[0.0, 1.0, 2.0, 3.0]]).sum().round(6)
        np.float32(1.0)
        """
        name = self.loss.name if self.loss is not None else "cross_entropy"
        if name not in ("cross_entropy", "bce_with_logits"):
            raise ValueError(f"the network was trained with {name}; expected a loss of classes, or predict")
        out = self.predict(x)
        if name == "bce_with_logits":
            out[...] = kernels.forward("sigmoid", out)
        else:
            rows = out.reshape(-1, out.shape[-1])
            rows[...] = kernels.softmax_forward(rows)
        if out.ndim == 3 and isinstance(x, Sequences):
            out[~x.mask] = 0
        return out

    def inference(self) -> Inference:
        """The network as it is now, packed once for calls of a few samples that must answer at once.

        Returns
        -------
        Inference
            Independent: training or writing to this network later does not reach it.

        Raises
        ------
        ValueError
            For a network of sequences: `predict` evaluates it, `stream` a step at a time.

        Examples
        --------
        >>> import gradiometer as gm
        >>> net = gm.mlp(4, [8, 8], 2, rng=0)
        >>> x = [1.0, 2.0, 3.0, 4.0]
        >>> bool((net.inference()(x) == net.predict([x])).all())
        True
        """
        if self.sequences:
            raise ValueError(
                "the network takes sequences, an inference single rows; expected net.predict(x), or net.stream() for a "
                "step at a time"
            )
        compiled = self._compile()
        with compiled.lock:
            return Inference(_core.Inference(compiled.network))

    def stream(self, batch: int = 1) -> Stream:
        """The network of sequences as it is now, packed once to answer at every step as data come.

        Parameters
        ----------
        batch : int
            Samples N that run side by side.

        Returns
        -------
        Stream
            Independent: training or writing to this network later does not reach it. It begins with states of 0.

        Raises
        ------
        ValueError
            For a network of rows, for layers that run backwards too, whose first step is the last, and for a recurrent
            layer within a residual block.

        Examples
        --------
        >>> import gradiometer as gm
        >>> stream = gm.Sequential(gm.GRU(3, 8, rng=0), gm.Linear(8, 2, rng=1)).stream()
        >>> stream.step([1.0, 2.0, 3.0]).shape
        (1, 2)
        """
        if not self.sequences:
            raise ValueError("the network takes rows; expected net.inference()")
        compiled, features = self._compile(), self.in_features
        stages: list[Stepper | Inference] = []
        with compiled.lock:
            for modules in _stretches(self):
                first = modules[0]
                if isinstance(first, Recurrent):
                    stages.append(Stepper(first.cell, first.state_dict(), batch))
                    features = first.out_features
                else:
                    rows = Sequential(*(module.copy() for module in modules), dtype=self.dtype)
                    native = _core.Inference(rows._compile(np.zeros((1, features or 1), self.dtype)).network)
                    stages.append(Inference(native))
                    features = native.out_features
        return Stream(stages, positive("batch", batch), compiled.network.in_features, features or 0, self.dtype)

    def evaluate(self, data: Data, loss: Loss | str | None = None) -> Evaluation:
        """Loss and metric (accuracy or R²) over ``(x, y)`` in evaluation mode.

        Parameters
        ----------
        data : (x, y)
            Finite numbers: `predict` passes NaN on, a loss of NaN says nothing.
        loss : Loss or str, optional
            Default: that of the last `fit`, cross_entropy before.
        """
        x, y = _pair("data", data)
        return training.evaluate(self._compile(x), x, y, loss if loss is not None else self.loss or "cross_entropy")

    def fit(
        self,
        train: Data | Iterable[Data],
        val: Data | None = None,
        optimizer: Optimizer | str = "adam",
        *,
        epochs: int | None = None,
        steps: int | None = None,
        batch_size: int = 32,
        loss: Loss | str = "cross_entropy",
        monitor: int = 0,
        rng: Any = None,
        progress: Callable[[int, int, float], None] | bool | None = None,
        schedule: Schedule | None = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        decay_matrices_only: bool = False,
        patience: int | None = None,
        goal: float | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int | None = None,
        resume: bool = False,
        memory_budget: int | None = None,
        recompute: bool | int = False,
    ) -> History:
        """Train in place; one native call a step.

        Parameters
        ----------
        train : (x, y), or an iterable of batches (x, y)
            x (N, in_features); of a network of sequences (N, T, in_features) or Sequences. y (N), or (N, out_features)
            for a loss of values; (N, T), or (N, T, out_features), where the network answers every step.
            An ``np.memmap`` is read a batch at a time: what is resident is the net, the batch, 64 MB of the file at
            most, and 8 bytes a sample for the order. An iterable is gone through once an epoch; an iterator ends the
            run where it ends.
        val : (x, y), optional
            Data to evaluate after every epoch.
        optimizer : Optimizer or str
        epochs, steps : int
            One of the two.
        batch_size : int
        loss : Loss or str
        monitor : int
            Measure the attenuation every so many steps, on the first (up to) 256 training samples; 0 for never. Of a
            network of sequences the factor a step through time too.
        rng : None, int, SeedSequence or Generator
            Order of the samples, and dropout's masks.
        progress : callable or bool, optional
            Called with (step, steps, loss) after every step, 0 steps where the number is not known. True: a bar with
            the time left on stderr, where that is a terminal.
        schedule : Schedule, optional
            One of ``gm.schedules``.
        clip_norm, clip_value : float, optional
            Gradients are cut off at `clip_value`; then, if their norm is above `clip_norm`, scaled down to it.
        decay_matrices_only : bool
            Weight decay leaves biases and the parameters of norms alone (torch.optim decays all).
        patience : int, optional
            Stop when the validation loss has not fallen for so many epochs, and take back the best parameters.
        goal : float, optional
            Stop when the validation loss is that or less.
        checkpoint : path, optional
            Where to save the run, after every `checkpoint_every` steps (default: every epoch) and at the end. Written
            beside, then put in place: whatever kills the process leaves a whole file.
        resume : bool
            Go on from `checkpoint` if the file exists, bit for bit as if the run had not stopped (network and call must
            be the same, the seed in `rng`, too; an iterable must give the same batches; `attenuation`, `grad_norms` and
            `decay` start anew).
        memory_budget : int, optional
            Bytes for parameters, gradients, optimiser and the arena of a pass, validation and monitor included. A batch
            that does not fit is cut into parts whose gradients are added up, or the network is run in segments as
            with `recompute`, whichever costs less; a network with batch statistics keeps its batches whole.
        recompute : bool or int
            Segments: a pass keeps the values between them and runs each forward again before its backward. At most a
            third more work, gradients with the same bits, about ``2 / sqrt(layers)`` of the memory (Chen et al. 2016,
            arXiv:1604.06174). True: as many as need the least; `memory` says the bytes.

        Returns
        -------
        History

        Raises
        ------
        ValueError, TypeError
            Before anything has changed, but for a bad batch of an iterable or of a mapped file. NaN and infinity in x
            and y are refused, with how many there are and where the first is.
        gm.checkpoints.CheckpointError
            If `checkpoint` cannot be written, or is damaged or of another run.
        KeyboardInterrupt
            Parameters are those after the last whole step.

        Examples
        --------
        >>> import gradiometer as gm
        >>> train, val, _ = gm.datasets.digits()
        >>> net = gm.mlp(64, [32], 10, activation="relu", init="he_normal", rng=0)
        >>> history = net.fit(train, val, gm.optim.Adam(1e-2), epochs=3, rng=0)
        >>> history.val[-1].metric > 0.8
        True
        """
        if (epochs is None) == (steps is None):
            raise ValueError(f"epochs is {epochs!r} and steps is {steps!r}; expected one of the two")
        x, y = _source(train)
        compiled = self._compile(x if y is not None else None)
        if compiled.parameter_count and not compiled.gradients():
            raise ValueError("every parameter of the network is frozen; expected one that requires_grad_(True)")
        kind = as_loss(loss)
        best: tuple[Any, ...] = ()
        trainer = Trainer(
            compiled,
            x,
            y,
            optimizer=optimizer,
            loss=kind,
            batch_size=batch_size,
            rng=rng,
            schedule=schedule,
            clip_norm=clip_norm,
            clip_value=clip_value,
            decay_matrices_only=decay_matrices_only,
        )
        per_epoch = trainer.steps_per_epoch
        total = positive("steps", steps) if steps is not None else positive("epochs", epochs or 0) * per_epoch
        if not total and schedule is not None:
            raise ValueError("train does not say how many batches it has; a schedule expects steps")
        if epochs is not None and epochs > 1 and getattr(trainer.batches, "once", False):
            raise ValueError(
                f"train is an iterator and epochs is {epochs!r}; expected 1, or what can be iterated again"
            )
        trainer.steps = total
        arena = 0  # bytes it may take; 0: any
        T = 0
        if self.sequences and (memory_budget is not None or recompute):
            if not isinstance(trainer.batches, ArrayBatches):
                raise ValueError(
                    "train is batches, whose steps are not known; expected Sequences or an array (N, T, C)"
                )
            T = np.shape(trainer.batches.x)[1]
        if memory_budget is not None:
            besides = trainer.slots.nbytes
            positive("memory_budget", memory_budget)
            rows, trainer.segments = budget.divide(compiled, trainer.batch_size, memory_budget, besides, recompute, T)
            trainer.micro_batch = None if compiled.network.state.size else rows
            arena = min(memory_budget - besides - compiled.buffers, 2**63 - 1)
        else:
            trainer.segments = budget.segments(compiled, trainer.batch_size, recompute, T)
        first = trainer.batches if isinstance(trainer.batches, ArrayBatches) else None
        if monitor and first is None:
            raise ValueError(f"monitor is {monitor!r} with batches; expected arrays (x, y) in train")
        if monitor and first is not None and len(first.x) < 2:
            raise ValueError(f"monitor is {monitor!r} with one sample in train; expected 2 samples or more")
        monitor = positive("monitor", monitor) if monitor != 0 else 0
        if monitor and arena and first is not None:
            needed = compiled.network.arena(min(256, len(first.x)), TAPS, steps=T)
            if needed > arena:
                raise ValueError(
                    f"memory_budget is {memory_budget}; a measurement, as monitor wants, needs {needed - arena} more"
                )
        every = positive("checkpoint_every", checkpoint_every) if checkpoint_every is not None else None
        if checkpoint is None and (resume or every):
            raise ValueError("checkpoint is None; expected a path with resume or checkpoint_every")
        if checkpoint is not None:
            check_writable(checkpoint)
        if patience is not None:
            patience = positive("patience", patience)
            if val is None:
                raise ValueError(f"patience is {patience!r} without val; expected validation data")
        if goal is not None:
            goal = real("goal", goal)
            if val is None:
                raise ValueError(f"goal is {goal!r} without val; expected validation data")
        if val is not None:
            val = _pair("val", val)
            converted(
                compiled.network, *checked(compiled.network, *val, kind.name)
            )  # refuses bad data before the first step
        self.loss = kind
        show = bar() if progress is True else progress or None
        history = History()
        if checkpoint is not None and resume and os.path.exists(checkpoint):
            best = trainer.resume(checkpoint, history)
        epochs_left = epochs if epochs is not None and not total else None

        def enough() -> bool:
            """Whether the best validation loss is `patience` epochs ago."""
            losses = [seen.loss for seen in history.val]
            return patience is not None and bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= patience

        def reached() -> bool:
            return goal is not None and bool(history.val) and history.val[-1].loss <= goal

        def after(step: int) -> bool:
            nonlocal best, epochs_left
            if monitor and step % monitor == 0 and first is not None:
                seen = measure(self, first.x[:256], first.y[:256], loss=kind)
                history.attenuation.append((step, seen.attenuation))
                history.grad_norms.append((step, tuple(layer.grad_norm for layer in seen.hidden)))
                if seen.time:
                    history.decay.append((step, furthest(seen.time).decay))
            if show is not None:
                show(step, total, history.loss[-1])
            if val is not None and (trainer.epoch_ended or step == total):
                history.val.append(training.evaluate(compiled, *val, kind))
                history.val_steps.append(step)
                if patience is not None and history.val[-1].loss <= min(seen.loss for seen in history.val):
                    best = (compiled.network.parameters.copy(), compiled.network.state.copy())
            if epochs_left is not None and trainer.epoch_ended:
                epochs_left -= 1
            history.stopped_early, history.reached = enough(), reached()
            done = step == total or history.stopped_early or history.reached or epochs_left == 0
            if checkpoint is not None and (done or (step % every == 0 if every else trainer.epoch_ended)):
                trainer.save(checkpoint, history, best)
            return done

        if not (trainer.step and (trainer.step >= total > 0 or enough() or reached())):
            compiled.network.limit_arena(arena)
            try:
                trainer.run(total - trainer.step if total else sys.maxsize, history, after)
            finally:
                compiled.network.limit_arena(0)
                if isinstance(show, Bar):
                    show.close()
        if best:
            compiled.network.parameters[...], compiled.network.state[...] = best
        return history


def mlp(
    in_features: int,
    hidden: Sequence[int],
    out_features: int,
    *,
    activation: str = "relu",
    activation_params: dict[str, float] | None = None,
    norm: str | None = None,
    residual: bool | float | None = None,
    init: str = "xavier_normal",
    gain: float = 1.0,
    bias: bool = True,
    rng: Any = None,
    dtype: str = "float32",
) -> Sequential:
    """A plain deep network: Linear, norm, activation for every hidden width, and a Linear to the output.

    Parameters
    ----------
    in_features, out_features : int
    hidden : sequence of int
        Widths, nearest to the input first.
    activation : str
        One of ``gm.kernels.activations()``; "prelu" is a `PReLU` with one slope, which is learned.
    activation_params : dict, optional
        Of "prelu": where the slope begins.
    norm : None, "batch", "layer" or "rms"
        Batch norm, layer norm or RMS norm before the activation.
    residual : None, bool or float
        ``h + scale * f(...)`` wherever a hidden layer keeps the width; True is a scale of ``1 / sqrt(blocks)``.
    init : str
        One of ``gm.init.names()``; biases start at 0.
    gain : float
        Multiplies the initialiser's standard deviation in hidden layers (see ``gm.init.gain``).
    bias : bool
    rng : None, int, SeedSequence or Generator
    dtype : "float32" or "float64"

    Returns
    -------
    Sequential
        With ``spec``, what was asked for.

    Examples
    --------
    >>> import gradiometer as gm
    >>> net = gm.mlp(4, [8, 8], 2, activation="elu", norm="batch", init="lecun_normal", rng=0)
    >>> [type(module).__name__ for module in net.modules][:3]
    ['Linear', 'BatchNorm1d', 'Activation']
    """
    if not isinstance(hidden, Iterable):
        raise TypeError(f"hidden is {hidden!r}; expected a sequence of integers")
    gain = real("gain", gain, 0.0)
    widths = [positive(f"hidden[{i}]", width) for i, width in enumerate(hidden)]
    if norm is not None and norm not in _NORMS:
        hint = near(norm, _NORMS) if isinstance(norm, str) else ""
        raise ValueError(f"norm is {norm!r}{hint}; expected None or one of: {', '.join(map(repr, _NORMS))}")
    choice("activation", activation, kernels.activations())
    rule = initialisers.by_name(init)
    params = dict(activation_params or {})
    rng = generator("rng", rng)
    ins = [positive("in_features", in_features), *widths]
    blocks = sum(a == b for a, b in pairwise(ins))
    scale = _residual_scale(residual, blocks)

    def linear(fan_in: int, fan_out: int, gain: float) -> Linear:
        layer = Linear(fan_in, fan_out, bias, rng=0, dtype=dtype)
        layer.weight[...] = rule(layer.weight.shape, gain=gain, rng=rng, dtype=dtype)
        if layer.bias is not None:
            layer.bias[...] = 0
        return layer

    modules: list[Module] = []
    for fan_in, fan_out in zip(ins[:-1], widths, strict=True):
        branch: list[Module] = [linear(fan_in, fan_out, gain)]
        if norm is not None:
            branch.append(_NORMS[norm](fan_out, dtype=dtype))
        branch.append(_activation(activation, params, dtype))
        modules += [Residual(*branch, scale=scale)] if scale is not None and fan_in == fan_out else branch
    modules.append(linear(ins[-1], positive("out_features", out_features), 1.0))
    net = Sequential(*modules, dtype=dtype)
    net.spec = MlpSpec(
        in_features,
        tuple(widths),
        out_features,
        activation,
        params,
        norm,
        scale,
        init,
        gain,
        bias,
        dtype,
    )
    return net


def _activation(name: str, params: dict[str, float], dtype: str) -> Module:
    fixed = Activation(name, dtype=dtype, **params)  # refuses bad parameters
    if name != "prelu":
        return fixed
    return PReLU(init=fixed.params.get("negative_slope", 0.25), dtype=dtype)


def _residual_scale(residual: bool | float | None, blocks: int) -> float | None:
    if residual is None or residual is False:
        return None
    return 1 / max(1, blocks) ** 0.5 if residual is True else real("residual", residual)


def _source(train: Any) -> tuple[Any, Any]:
    """x and y, or an iterable of batches and None. `Samples` are a pair, a list of two unless it holds pairs."""
    pair = isinstance(train, tuple) or (isinstance(train, list) and len(train) == 2 and not isinstance(train[0], tuple))
    pair = pair or (hasattr(train, "x") and hasattr(train, "y"))
    if pair or isinstance(train, str) or hasattr(train, "__array__") or not isinstance(train, Iterable):
        return _pair("train", train)
    return train, None


def _pair(name: str, data: Any) -> tuple[Any, Any]:
    try:
        x, y = data
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {type(data).__name__}; expected a pair (x, y)") from None
    return x, y


def _rebuild(
    cls: type[Sequential], modules: tuple[Module, ...], dtype: str, spec: MlpSpec | None, loss: Loss | None
) -> Sequential:
    net = cls(*modules, dtype=dtype)
    net.spec, net.loss = spec, loss
    return net


def _stretches(chain: Chain) -> list[list[Module]]:
    """The layers in order: a recurrent one alone, those of rows between two of them together."""
    found: list[list[Module]] = []
    for module in chain.modules:
        if isinstance(module, Recurrent):
            if module.bidirectional:
                raise ValueError(f"{module!r} runs backwards too; expected layers of one direction")
            found.append([module])
        elif isinstance(module, Chain) and type(module)._emit is Chain._emit:
            for inner in _stretches(module):
                _append(found, inner)
        elif module.sequences:
            raise ValueError(f"{type(module).__name__} has a recurrent layer within; expected them one after another")
        else:
            _append(found, [module])
    return found


def _append(found: list[list[Module]], modules: list[Module]) -> None:
    if found and not isinstance(found[-1][0], Recurrent) and not isinstance(modules[0], Recurrent):
        found[-1] += modules
    else:
        found.append(modules)
