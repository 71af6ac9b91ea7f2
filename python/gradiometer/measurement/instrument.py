"""One pass over a network that sees every layer."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from gradiometer import _core, kernels, theory
from gradiometer.batches import checked, converted
from gradiometer.layers import Module
from gradiometer.losses import Loss, as_loss
from gradiometer.measurement.attenuation import attenuation
from gradiometer.measurement.blocks import Block, blocks, shape_text
from gradiometer.measurement.layer import even_slope, layer_measurement, layer_name, norm_of
from gradiometer.measurement.result import LayerMeasurement, Measurement
from gradiometer.optim import Optimizer, as_optimizer

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from gradiometer.layers import Compiled

__all__ = ["measure"]

TAPS = _core.TAP_MOMENTS | _core.TAP_COLUMNS
"""What a measurement looks at in every node."""


def measure(
    net: Module,
    x: ArrayLike,
    y: ArrayLike,
    *,
    loss: Loss | str = "cross_entropy",
    per_sample: bool = False,
    optimizer: Optimizer | str | None = None,
) -> Measurement:
    """Measure signal and gradient in every layer, in one native pass.

    Batch norm uses the batch's statistics, as in training; parameters and running statistics stay as they are. The
    gradients buffer of the network holds the gradient of this batch afterwards.

    Parameters
    ----------
    net : Module
        A network of `Linear` layers with what may stand between them.
    x : array_like (N, in_features)
        The samples; "dead" is judged over all of them.
    y : array_like
        int (N) classes, or values (N, out_features) for ``mse``.
    loss : Loss or str
        One of ``gm.losses``; norms are of the gradients of this loss, a mean over the batch.
    per_sample : bool
        Also the signal to noise of the weights' gradients.
    optimizer : Optimizer or str, optional
        Also the size of the first step it would make, relative to the weights.

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
    samples = np.asarray(x)
    if samples.ndim != 2 or len(samples) < 2:
        raise ValueError(f"x has shape {samples.shape}; expected (N, {network.in_features}) with N of 2 or more")
    samples, target = converted(network, *checked(network, samples, y, kind.name))
    layers = blocks(compiled.nodes)
    if not layers:
        raise ValueError(f"net has no Linear layer: {net!r}; expected one or more")

    taps = TAPS | (_core.TAP_ROWS if per_sample else 0)
    with compiled.lock:  # another thread's pass would put its own gradients and taps in the place of these
        value, _ = network.gradient(samples, kind.native, target, taps=taps)
        seen = [network.tap(node) for node in range(len(compiled.nodes) + 1)]
        input_norm = norm_of(seen[0]["gradient"])
        updates = _updates(compiled, as_optimizer(optimizer)) if optimizer is not None else {}
        weights = [_core.moments(block.linear.module._arrays["weight"]) for block in layers]
        predictions = _predict(layers, weights, seen[0], len(samples))
        measured: list[LayerMeasurement] = []
        below = input_norm
        for i, block in enumerate(layers):
            update = updates.get(id(block.linear.module))
            layer = _layer(i, block, len(layers), seen, weights[i], below, predictions[i], update)
            below = layer.grad_norm
            measured.append(layer)
    hidden = [layer for layer in measured if layer.role == "hidden"]
    return Measurement(
        layers=tuple(measured),
        attenuation=attenuation(hidden),
        network=shape_text(network.in_features, [layer.fan_out for layer in measured]),
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
    )


def _layer(
    i: int,
    block: Block,
    count: int,
    seen: list[dict[str, Any]],
    weight: dict[str, Any],
    below: float,
    predicted: float,
    update: float | None,
) -> LayerMeasurement:
    linear, module = block.linear, block.linear.module
    fan_out, fan_in = module._arrays["weight"].shape
    weight_grad, bias_grad = _parameter_gradients(block)
    activation = block.function[0] if block.function else None
    return layer_measurement(
        index=i + 1,
        name=layer_name("Linear", str(fan_out), f"{block.norm_name} norm" if block.norm else None, activation),
        role="output" if i == count - 1 and activation is None else "hidden",
        fan_in=fan_in,
        fan_out=fan_out,
        activation=activation,
        norm=block.norm_name,
        residual=block.add is not None,
        x=seen[linear.inputs[0]],
        dy=seen[linear.id],
        pre=seen[block.pre],
        out=seen[block.output],
        act=seen[block.activation.id] if block.activation else None,
        weight=weight,
        weight_grad=weight_grad,
        bias_grad=bias_grad,
        update=update,
        below=below,
        theory=predicted,
        frozen=tuple(name for name in ("weight", "bias") if name in module._frozen),
    )


def _parameter_gradients(block: Block) -> tuple[dict[str, Any], dict[str, Any] | None]:
    home = block.linear.module._home
    assert home is not None
    gradients = home.gradients_of(block.linear.module)
    bias = gradients.get("bias")
    return _core.moments(gradients["weight"]), None if bias is None else _core.moments(bias)


def _updates(compiled: Compiled, optimizer: Optimizer) -> dict[int, float]:
    """Norm of the optimiser's first step for every module's weight, by id; made on copies."""
    network = compiled.network
    stepped = network.parameters.copy()
    slots = np.zeros((optimizer.slots, stepped.size), stepped.dtype)
    kernels.optimizer_step(
        optimizer.name, stepped, network.gradients, slots, optimizer.learning_rate, 1, **optimizer.params
    )
    change: NDArray[Any] = stepped.astype(np.float64) - network.parameters
    modules = {node.id: node.module for node in compiled.nodes}
    return {
        id(modules[node]): float(np.linalg.norm(change[offset : offset + int(np.prod(shape))]))
        for node, name, shape, offset in network.tensors(False)
        if name == "weight" and modules[node]._arrays["weight"].ndim == 2
    }


def _predict(layers: tuple[Block, ...], weights: list[dict[str, Any]], x: dict[str, Any], batch: int) -> list[float]:
    """Theory's factor for every layer, iterated from the real input with the real weights' variances."""
    described = []
    for block, seen in zip(layers, weights, strict=True):
        arrays = block.linear.module._arrays
        weight, bias = arrays["weight"], arrays.get("bias")
        function = block.function
        described.append(
            theory.LayerTheory(
                fan_in=weight.shape[1],
                fan_out=weight.shape[0],
                weight_variance=seen["sum_squares"] / weight.shape[0],
                bias_variance=_core.moments(bias)["sum_squares"] / bias.size if bias is not None else 0.0,
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
    if activation is None or function is None or activation.id > block.output:
        return activation is None
    skipped = block.add is not None and block.norm is None
    return not skipped or even_slope(*function)
