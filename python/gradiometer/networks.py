"""Networks: layers one after another that train, predict and save; and the plain deep one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from gradiometer import init as initialisers
from gradiometer import train as training
from gradiometer.arguments import positive, real
from gradiometer.layers import Activation, BatchNorm1d, Chain, Linear, Module, Residual
from gradiometer.measurement import measure
from gradiometer.optim import Optimizer
from gradiometer.train import Evaluation, History, Trainer

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["MlpSpec", "Sequential", "mlp"]

Data = tuple["ArrayLike", "ArrayLike"]
"""x (N, in_features) and y."""


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
        `Linear`, `Activation`, `BatchNorm1d`, `Residual`, or other `Sequential`; the first with a width of its own
        fixes the input's.
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

    def __init__(self, *modules: Module, dtype: str | None = None) -> None:
        super().__init__(*modules, dtype=dtype)
        if not modules:
            raise ValueError("the network is empty; expected one layer or more")
        if self.in_features is not None:
            self._compile()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.modules, self.dtype, self.spec)

    @property
    def parameters(self) -> NDArray[Any]:
        """All parameters in one flat vector (padding between tensors is 0): a view, for reading and writing."""
        flat: NDArray[Any] = self._compile().network.parameters
        return flat

    @property
    def gradients(self) -> dict[str, NDArray[Any]]:
        """Gradients by name as the last pass left them: views."""
        return self._compile().gradients()

    def memory(self, batch: int) -> int:
        """Bytes of parameters, gradients and state, and of the arena for a training batch of that many rows."""
        need = self._compile().memory(positive("batch", batch))
        return (2 * need["parameters"] + need["state"]) * np.dtype(self.dtype).itemsize + need["arena"]

    def predict(self, x: ArrayLike) -> NDArray[Any]:
        """Output (N, out_features) in evaluation mode; a row has the same bits in any batch."""
        return training.predict(self._compile(x), x)

    def evaluate(self, data: Data, loss: str = "cross_entropy") -> Evaluation:
        """Loss and metric (accuracy or R²) over ``(x, y)`` in evaluation mode."""
        x, y = _pair("data", data)
        return training.evaluate(self._compile(x), x, y, loss)

    def fit(
        self,
        train: Data,
        val: Data | None = None,
        optimizer: Optimizer | str = "adam",
        *,
        epochs: int | None = None,
        steps: int | None = None,
        batch_size: int = 32,
        loss: str = "cross_entropy",
        monitor: int = 0,
        rng: Any = None,
        progress: Callable[[int, int, float], None] | None = None,
    ) -> History:
        """Train in place; one native call a step.

        Parameters
        ----------
        train, val : (x, y)
            Training data, and data to evaluate after every epoch.
        optimizer : Optimizer or str
        epochs, steps : int
            One of the two.
        batch_size : int
        loss : str
        monitor : int
            Measure the attenuation every so many steps, on the first (up to) 256 training samples; 0 for never.
        rng : None, int, SeedSequence or Generator
            Order of the samples.
        progress : callable, optional
            Called with (step, steps, loss) after every step.

        Returns
        -------
        History

        Raises
        ------
        ValueError, TypeError
            Before anything has changed.
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
        x, y = _pair("train", train)
        compiled = self._compile(x)
        trainer = Trainer(compiled, x, y, optimizer=optimizer, loss=loss, batch_size=batch_size, rng=rng)
        per_epoch = trainer.steps_per_epoch
        total = positive("steps", steps) if steps is not None else positive("epochs", epochs or 0) * per_epoch
        if monitor and len(trainer.x) < 2:
            raise ValueError(f"monitor is {monitor!r} with one sample in train; expected 2 samples or more")
        monitor = positive("monitor", monitor) if monitor != 0 else 0
        if val is not None:
            val = _pair("val", val)
            training.evaluate(compiled, *val, loss)  # refuses bad data before the first step
        history = History()

        def after(step: int) -> None:
            if monitor and step % monitor == 0:
                seen = measure(self, trainer.x[:256], trainer.y[:256], loss=loss)
                history.attenuation.append((step, seen.attenuation))
                history.grad_norms.append((step, tuple(layer.grad_norm for layer in seen.hidden)))
            if progress is not None:
                progress(step, total, history.loss[-1])
            if val is not None and (step % per_epoch == 0 or step == total):
                history.val.append(training.evaluate(compiled, *val, loss))
                history.val_steps.append(step)

        trainer.run(total, history, after)
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
        One of ``gm.kernels.activations()``.
    activation_params : dict, optional
    norm : None or "batch"
        Batch norm before the activation.
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
    if norm not in (None, "batch"):
        raise ValueError(f"norm is {norm!r}; expected None or 'batch'")
    rule = initialisers.by_name(init)
    params = dict(activation_params or {})
    rng = np.random.default_rng(rng)
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
        if norm == "batch":
            branch.append(BatchNorm1d(fan_out, dtype=dtype))
        branch.append(Activation(activation, dtype=dtype, **params))
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


def _residual_scale(residual: bool | float | None, blocks: int) -> float | None:
    if residual is None or residual is False:
        return None
    return 1 / max(1, blocks) ** 0.5 if residual is True else real("residual", residual)


def _pair(name: str, data: Any) -> tuple[Any, Any]:
    try:
        x, y = data
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {type(data).__name__}; expected a pair (x, y)") from None
    return x, y


def _rebuild(cls: type[Sequential], modules: tuple[Module, ...], dtype: str, spec: MlpSpec | None) -> Sequential:
    net = cls(*modules, dtype=dtype)
    net.spec = spec
    return net
