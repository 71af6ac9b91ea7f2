"""One pass over a network that sees every layer."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gradiometer import _core, kernels, theory
from gradiometer.arguments import positive
from gradiometer.batches import checked, checked_samples, converted
from gradiometer.layers import Module
from gradiometer.losses import Loss, as_loss
from gradiometer.measurement.attenuation import attenuation
from gradiometer.measurement.blocks import Block, blocks, shape_text
from gradiometer.measurement.layer import even_slope, layer_measurement, norm_of
from gradiometer.measurement.result import LayerMeasurement, Measurement
from gradiometer.measurement.time import TimeMeasurement
from gradiometer.measurement.time.replay import through_time
from gradiometer.optim import Optimizer, as_optimizer
from gradiometer.sequences import Sequences, split

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from gradiometer.layers import Compiled

__all__ = ["measure"]

TAPS = _core.TAP_MOMENTS | _core.TAP_COLUMNS
"""What a measurement looks at; `_look` says in which node."""


def measure(
    net: Module,
    x: ArrayLike | Sequences,
    y: ArrayLike,
    *,
    loss: Loss | str = "cross_entropy",
    per_sample: bool = False,
    optimizer: Optimizer | str | None = None,
    memory: int | None = None,
) -> Measurement:
    """Measure signal and gradient in every layer, in one native pass.

    Batch norm uses the batch's statistics, as in training; parameters and running statistics stay as they are. The
    gradients buffer of the network holds the gradient of this batch afterwards.

    Parameters
    ----------
    net : Module
        A network of `Linear` and recurrent layers with what may stand between them. Recurrent layers are also measured
        step by step (``Measurement.time``), in a second pass of their own.
    x : array_like (N, in_features), or (N, T, in_features) or Sequences
        The samples; "dead" is judged over all of them.
    y : array_like
        int (N) classes, or values (N, out_features) for ``mse``; for each step where the network answers each.
    loss : Loss or str
        One of ``gm.losses``; norms are of the gradients of this loss, a mean over the batch.
    per_sample : bool
        Also the signal to noise of the weights' gradients; not of a network of sequences, whose samples have more than
        one row.
    optimizer : Optimizer or str, optional
        Also the size of the first step it would make, relative to the weights.
    memory : int, optional
        Steps that the task asks to be bridged; the rule ``short-memory`` compares them with the horizon.

    Returns
    -------
    Measurement

    Raises
    ------
    ValueError, TypeError, IndexError
        For arrays that do not fit the network or the loss or are not finite, or fewer than 2 samples.

    Examples
    --------
    >>> import gradiometer as gm
    >>> train, _, _ = gm.datasets.digits()
    >>> net = gm.mlp(64, [32] * 8, 10, activation="relu", init="xavier_normal", rng=0)
    >>> m = gm.measure(net, *train[:128])
    >>> 0.6 < m.attenuation.factor < 0.9, len(m.layers)
    (True, 9)
    """
    began = time.perf_counter()
    if not isinstance(net, Module):
        raise TypeError(f"net is {type(net).__name__}; expected a network (a PyTorch one goes to gm.torch.measure)")
    kind = as_loss(loss)
    compiled = net._compile(x)
    network = compiled.network
    if memory is not None:
        memory = positive("memory", memory)
    given = checked_samples(network, x)
    if len(given) < 2:
        expected = f"(N, {'T, ' if network.sequences else ''}{network.in_features})"
        raise ValueError(f"x has shape {given.shape}; expected {expected} with N of 2 or more")
    samples, target = converted(network, *checked(network, given, y, kind.name))
    layers = compiled.once(_layers)
    if not layers:
        raise ValueError(f"net has no Linear layer: {net!r}; expected one or more, or a recurrent one")

    taps = TAPS | (_core.TAP_ROWS if per_sample and not network.sequences else 0)
    array, lengths = split(samples)
    with compiled.lock:  # another thread's pass would put its own gradients and taps in the place of these
        value, _ = network.gradient(array, kind.native, target, taps=taps, lengths=lengths)
        seen = network.taps()
        for node, tap in enumerate(seen) if taps & _core.TAP_ROWS else ():
            tap.update(network.tap(node))
        input_norm = norm_of(seen[0]["gradient"])
        updates = _updates(compiled, as_optimizer(optimizer)) if optimizer is not None else {}
        parameters = _parameters(compiled, layers)
        predictions = _predict(layers, parameters, seen[0], len(samples))
        measured: list[LayerMeasurement] = []
        below = input_norm
        for i, block in enumerate(layers):
            update = math.hypot(*(updates[node.id] for node in block.nodes)) if updates else None
            layer = _layer(i, block, len(layers), seen, parameters[i], below, predictions[i], update)
            below = layer.grad_norm
            measured.append(layer)
        time_of = _through_time(net, samples, target, kind, layers) if network.sequences else ()
    hidden = [layer for layer in measured if layer.role == "hidden"]
    return Measurement(
        layers=tuple(measured),
        attenuation=attenuation(hidden),
        network=compiled.once(_shape),
        loss=kind.name,
        loss_value=value,
        input_grad_norm=input_norm,
        samples=len(samples),
        parameters=compiled.parameter_count,
        dtype=net.dtype,
        isa=kernels.isa(),
        flushes_subnormals=_core.flushes_subnormals(),
        seconds=time.perf_counter() - began,
        ends_in=last if (last := compiled.nodes[-1].type) in ("softmax", "log_softmax") else None,
        time=time_of,
        memory=memory,
    )


def _layers(compiled: Compiled) -> tuple[Block, ...]:
    """The layers of a network, whose nodes are looked at from now on as far as `measure` reads what is seen."""
    layers = blocks(compiled.nodes)
    values, gradients = [0] * (len(compiled.nodes) + 1), [0] * (len(compiled.nodes) + 1)
    values[0], gradients[0] = _core.TAP_MOMENTS | _core.TAP_COLUMNS, _core.TAP_NORMS
    for block in layers:
        for node in block.nodes:
            values[node.inputs[0]] |= _core.TAP_ROWS
            gradients[node.id] |= _core.TAP_ROWS
        values[block.pre] |= _core.TAP_MOMENTS | _core.TAP_COLUMNS
        values[block.output] |= _core.TAP_MOMENTS
        gradients[block.output] |= _core.TAP_NORMS
        if block.activation:
            values[block.activation.id] |= _core.TAP_SLOPE
    for place, seen in enumerate(zip(values, gradients, strict=True)):
        compiled.network.set_taps(place, *seen)
    return layers


def _shape(compiled: Compiled) -> str:
    shapes = [block.shape for block in compiled.once(_layers)]
    return shape_text(compiled.network.in_features, [int(shape) if shape.isdigit() else shape for shape in shapes])


class _Parameters(NamedTuple):
    """Moments of a layer's weights and biases, and of the gradients by them."""

    weight: dict[str, Any]
    weight_grad: dict[str, Any]
    bias: dict[str, Any] | None
    bias_grad: dict[str, Any] | None


def _parameters(compiled: Compiled, layers: tuple[Block, ...]) -> list[_Parameters]:
    arrays: list[NDArray[Any]] = []
    for block in layers:
        values, gradients = block.module._arrays, compiled.gradients_of(block.module)
        for names in (block.weights, block.biases):
            if names:
                arrays += (_joined(values, names), _joined(gradients, names))
    found = iter(_core.moments_of_each(arrays))
    return [
        _Parameters(next(found), next(found), *((next(found), next(found)) if block.biases else (None, None)))
        for block in layers
    ]


def _joined(arrays: dict[str, NDArray[Any]], names: tuple[str, ...]) -> NDArray[Any]:
    return arrays[names[0]] if len(names) == 1 else np.concatenate([arrays[name].ravel() for name in names])


def _layer(
    i: int,
    block: Block,
    count: int,
    seen: list[dict[str, Any]],
    parameters: _Parameters,
    below: float,
    predicted: float,
    update: float | None,
) -> LayerMeasurement:
    linear, activation = block.linear, block.activation_name
    return layer_measurement(
        index=i + 1,
        name=block.name,
        role="output" if i == count - 1 and activation is None else "hidden",
        fan_in=block.fan_in,
        fan_out=block.fan_out,
        activation=activation,
        norm=block.norm_name,
        residual=block.add is not None,
        x=seen[linear.inputs[0]],
        dy=seen[linear.id],
        pre=seen[block.pre],
        out=seen[block.output],
        act=seen[block.activation.id] if block.activation else None,
        weight=parameters.weight,
        weight_grad=parameters.weight_grad,
        bias_grad=parameters.bias_grad,
        update=update,
        below=below,
        theory=predicted,
        frozen=block.frozen,
    )


def _updates(compiled: Compiled, optimizer: Optimizer) -> dict[int, float]:
    """Norm of the optimiser's first step for every layer's weights, by node; made on copies."""
    network = compiled.network
    stepped = network.parameters.copy()
    slots = np.zeros((optimizer.slots, stepped.size), stepped.dtype)
    kernels.optimizer_step(
        optimizer.name, stepped, network.gradients, slots, optimizer.learning_rate, 1, **optimizer.params
    )
    change: NDArray[Any] = stepped.astype(np.float64) - network.parameters
    norms: dict[int, float] = {}
    for node, name, shape, offset in network.tensors(False):
        if name.startswith("weight") and len(shape) == 2:
            norm = float(np.linalg.norm(change[offset : offset + int(np.prod(shape))]))
            norms[node] = math.hypot(norms.get(node, 0.0), norm)
    return norms


def _through_time(
    net: Module, samples: Any, target: NDArray[Any], loss: Loss, layers: Sequence[Block]
) -> tuple[TimeMeasurement, ...]:
    first: dict[int, int] = {}
    for i, block in enumerate(layers):
        if block.recurrent:
            first.setdefault(id(block.linear.module), i + 1)
    return through_time(net, samples, target, loss, first)


def _predict(layers: tuple[Block, ...], parameters: list[_Parameters], x: dict[str, Any], batch: int) -> list[float]:
    """Theory's factor for every layer, iterated from the real input with the real weights' variances."""
    described = []
    for block, seen in zip(layers, parameters, strict=True):
        function = block.function
        described.append(
            theory.LayerTheory(
                block.fan_in,
                block.fan_out,
                weight_variance=seen.weight["sum_squares"] / block.fan_out,
                bias_variance=seen.bias["sum_squares"] / seen.bias["count"] if seen.bias else 0.0,
                activation=function[0] if function else None,
                params=function[1] if function else {},
                norm="unknown" if block.beyond_theory else block.norm_name,
                residual=float(block.add.attributes["scale"]) if block.add else None,
                norm_last=block.norm is not None
                and block.activation is not None
                and block.activation.id < block.norm.id,
            )
        )
    value = x["value"]
    if value["nans"] or value["infs"]:
        return [math.nan] * len(described)
    mean_square = value["sum_squares"] / value["count"]
    predicted = theory.predict(described, mean_square, batch, input_spread=x["spread"])
    return [p.factor if _described(block) else math.nan for block, p in zip(layers, predicted, strict=True)]


def _described(block: Block) -> bool:
    """Whether theory describes the layer: its activation comes before h, and its branch is orthogonal to the skip."""
    activation, function = block.activation, block.function
    if block.recurrent:
        return False
    if activation is None or function is None or activation.id > block.output:
        return activation is None
    skipped = block.add is not None and block.norm is None
    return not skipped or even_slope(*function)
