"""One pass over a PyTorch model that sees every layer and leaves no trace."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize
from torch.nn.utils.rnn import PackedSequence

from gradiometer import _core, arguments, losses, theory
from gradiometer.measurement.attenuation import attenuation
from gradiometer.measurement.blocks import shape_text
from gradiometer.measurement.layer import even_slope, layer_measurement, layer_name, norm_of
from gradiometer.measurement.result import LayerMeasurement, Measurement
from gradiometer.measurement.time import TimeMeasurement
from gradiometer.torch.arrays import array, joined, moments, tensors_in
from gradiometer.torch.loops import Loop
from gradiometer.torch.recurrence import Recurrence
from gradiometer.torch.tracer import Layer, Trace

__all__ = ["measure"]

Loss = str | losses.Loss | Callable[[Any, Any], torch.Tensor]


def measure(
    module: nn.Module,
    x: Any,
    y: Any,
    loss: Loss = "cross_entropy",
    *,
    per_sample: bool = False,
    memory: int | None = None,
) -> Measurement:
    """Measure signal and gradient in every layer of any PyTorch model, in one pass.

    The model stays as it was: parameters, buffers, running statistics, ``.grad``, modes, torch's random state. It is
    measured in the mode that it is in: call ``module.train()`` first to see batch norm and dropout as in training.

    A layer is a Linear, a convolution, a recurrent or an attention module, with the norms and activations that follow
    it, modules or functions, and the addition that closes a residual branch; layers come in the order of execution, a
    module used twice gives two. Where the pass has lost sight of an activation it is None. Of convolutions and
    sequences every place counts: a unit is a channel, except in ``sample_spread``, which compares samples place by
    place. The gradient of weights that are used more than once is that of all uses.

    An nn.LSTM, nn.GRU or nn.RNN is also seen inside, in ``Measurement.time``: step by step, all layers and directions,
    initial states, packed sequences, and dropout as it was drawn. Hooks cannot look there: the module is run again by
    our kernels, with the gradients that reached its outputs. So is a cell (nn.LSTMCell ...) that the model calls step
    by step with the states it returned: all its calls are one layer. One that cannot be is named in a warning.

    Theory speaks for what comes first of the model: a chain of Linear layers on (N, features), each with a norm in
    training or none, an activation of ``gm.kernels.activations()`` and the addition of its own input, at most once.
    From the first layer that is something else, or whose output goes elsewhere too, its factors are NaN.

    Parameters
    ----------
    module : nn.Module
    x : tensor or array_like (N, ...), or a tuple or dict of them
        A tuple is passed as positional arguments, a dict as keywords. Floating-point numbers are converted to the
        dtype of the model's parameters.
    y : tensor or array_like
        For ``cross_entropy`` int classes (N, ...), for ``mse`` values of the shape of the output; a callable
        gets tensors as they are and arrays as tensors, integers as int64, other numbers in the output's dtype.
    loss : str, Loss or callable
        ``cross_entropy``, ``mse`` (means over the batch), one of ``gm.losses`` with its parameters, or
        ``loss(output, y)`` that returns a scalar tensor.
    per_sample : bool
        Also the signal to noise of the weights' gradients, for Linear on (N, features).
    memory : int, optional
        Steps that the task asks to be bridged; the rule ``short-memory`` compares them with the horizon.

    Returns
    -------
    Measurement
        `isa` names PyTorch's version. Norms are summed in float64, as everywhere. A layer that no gradient can reach
        is named so, and its gradient is NaN.

    Raises
    ------
    ValueError, TypeError, IndexError
        For arrays that do not fit, NaN or infinity in `x` (but -inf beside others, for a mask) or in the `y` of a named
        loss, a model without layers or without gradient.

    Examples
    --------
    >>> import gradiometer as gm
    >>> import torch
    >>> from torch import nn
    >>> _ = torch.manual_seed(0)
    >>> hidden = [layer for _ in range(20) for layer in (nn.Linear(64, 64), nn.Sigmoid())]
    >>> model = nn.Sequential(*hidden, nn.Linear(64, 10))
    >>> train, _, _ = gm.datasets.digits()
    >>> m = gm.torch.measure(model, *train[:256])
    >>> 0.1 < m.attenuation.factor < 0.2, [finding.id for finding in gm.diagnose(m).failed]
    (True, ['vanishing-gradient', 'input-lost'])
    """
    began = time.perf_counter()
    if not isinstance(module, nn.Module):
        raise TypeError(f"module is {type(module).__name__}; expected a torch.nn.Module")
    if memory is not None:
        memory = arguments.positive("memory", memory)
    module = getattr(module, "_orig_mod", module)  # what torch.compile wraps
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        raise TypeError("module is compiled by torch.jit, which takes no hooks; expected the module it was made from")
    if any(isinstance(p, nn.parameter.UninitializedTensorMixin) for p in module.parameters()):
        raise ValueError("module has lazy parameters; expected one that has run once")
    home = next((p for p in module.parameters() if p.is_floating_point()), None)
    if home is None:
        raise ValueError("module has no parameters; expected one layer or more")
    args, kwargs, leaves = _inputs(x, home)
    shape = _shape(args, kwargs)

    with _untouched(module), Trace(module, shape, per_sample) as trace, parametrize.cached():
        buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
        # A clone of the leaf enters: a model may write into its input, which a leaf forbids.
        args, kwargs = _map(args, torch.clone), _map(kwargs, torch.clone)
        output = torch.func.functional_call(module, buffers, args, kwargs)
        trace.finish(output)
        value = _loss_value(loss, output, y)
        if not trace.layers:
            raise ValueError(f"module ran no layer that can be measured: {type(module).__name__}; expected a Linear")
        weights = {id(t): t for layer in trace.layers for t in [*layer.weights, *layer.biases] if t.requires_grad}
        targets = [*leaves, *weights.values()]
        if not (value.requires_grad and targets):
            raise ValueError("the loss depends on nothing that requires grad; expected a model with a gradient")
        found = torch.autograd.grad(value, targets, allow_unused=True)
        trace.settle()

    gradients = {id(t): moments(torch.zeros_like(t) if g is None else g) for t, g in zip(targets, found, strict=True)}
    input_norm = norm_of(joined([gradients[id(t)] for t in leaves])) if leaves else math.nan
    predictions = _predict(trace.layers, trace.samples)
    measured: list[LayerMeasurement] = []
    below = input_norm
    for layer, predicted in zip(trace.layers, predictions, strict=True):
        measured.append(_row(layer, len(trace.layers), gradients, below, predicted))
        below = measured[-1].grad_norm
    return Measurement(
        layers=tuple(measured),
        attenuation=attenuation([layer for layer in measured if layer.role == "hidden"]),
        network=shape_text(trace.layers[0].in_features, [layer.fan_out for layer in measured]),
        loss=loss
        if isinstance(loss, str)
        else loss.name
        if isinstance(loss, losses.Loss)
        else getattr(loss, "__name__", type(loss).__name__),
        loss_value=float(value.detach()),
        input_grad_norm=input_norm,
        samples=trace.samples,
        parameters=sum(p.numel() for p in module.parameters()),
        dtype=str(home.dtype).removeprefix("torch."),
        isa=f"torch {torch.__version__}",
        flushes_subnormals=_core.flushes_subnormals(),
        seconds=time.perf_counter() - began,
        ends_in=_ends_in(output),
        time=_through_time(trace.recurrences),
        memory=memory,
    )


@contextlib.contextmanager
def _untouched(module: nn.Module) -> Iterator[None]:
    """Gradients on (`inference_mode(False)` sees to it under ``no_grad`` too), and torch's random state put back."""
    devices = {p.device.index for p in module.parameters() if p.device.type == "cuda"}
    with torch.inference_mode(False), torch.random.fork_rng(devices=sorted(devices)):
        yield


def _map(value: Any, change: Callable[[torch.Tensor], Any]) -> Any:
    """`value` with every floating-point tensor in it changed."""
    if isinstance(value, torch.Tensor):
        return change(value) if value.is_floating_point() else value
    if isinstance(value, dict):
        return {key: _map(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        changed = [_map(item, change) for item in value]
        return value._make(changed) if hasattr(value, "_make") else type(value)(changed)
    return value


def _inputs(x: Any, home: torch.Tensor) -> tuple[tuple[Any, ...], dict[str, Any], list[torch.Tensor]]:
    """Positional and keyword arguments of the model, and the leaves among them that take the input's gradient. -inf may
    be a mask where there are several."""
    alone = not isinstance(x, dict | tuple) or isinstance(x, PackedSequence)
    leaves: list[torch.Tensor] = []

    def leaf(t: torch.Tensor) -> torch.Tensor:
        t = t.detach().to(device=home.device, dtype=home.dtype).clone().requires_grad_()
        bad = ~torch.isfinite(t) if alone else t.isnan() | t.isposinf()
        if bad.any():
            arguments.finite("x", array(t.masked_fill(t.isneginf() & ~bad, 0)))
        leaves.append(t)
        return t

    def given(value: Any) -> Any:
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, PackedSequence):
            return value._replace(data=given(value.data))
        try:
            t = torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"x holds {type(value).__name__}; expected tensors or arrays of numbers") from error
        return leaf(t) if t.is_floating_point() else t.to(home.device)

    with torch.inference_mode(False):
        if isinstance(x, dict):
            return (), {key: given(value) for key, value in x.items()}, leaves
        return tuple(given(value) for value in ((x,) if alone else x)), {}, leaves


def _shape(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, ...]:
    """Of the first input, whose axis 0 counts the samples."""
    first = next((t for t in [*args, *kwargs.values()] if isinstance(t, torch.Tensor | PackedSequence)), None)
    shape: tuple[int, ...] = ()
    if isinstance(first, PackedSequence):
        shape = (int(first.batch_sizes[0]), *first.data.shape[1:])
    elif first is not None:
        shape = tuple(first.shape)
    if len(shape) < 1 or shape[0] < 2:
        raise ValueError(f"x has shape {shape}; expected (N, ...) with N of 2 or more")
    return shape


def _target(y: Any, output: Any) -> Any:
    """`y` for a callable: an array as a tensor, its classes int64, its values in the dtype of the output."""
    if not isinstance(y, np.ndarray):
        return y
    out = next(tensors_in(output), None)
    if out is None or y.dtype.kind not in "fiu":
        return torch.as_tensor(y)
    return torch.as_tensor(y).to(device=out.device, dtype=out.dtype if y.dtype.kind == "f" else torch.int64)


def _loss_value(loss: Loss, output: Any, y: Any) -> torch.Tensor:
    if callable(loss) and not isinstance(loss, losses.Loss):
        value = loss(output, _target(y, output))
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            shape = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
            raise ValueError(f"loss returned {shape}; expected a scalar tensor")
        return value
    out = next(tensors_in(output), None)
    if out is None:
        raise ValueError(f"module returned {type(output).__name__}; expected a tensor of floating-point numbers")
    target = torch.as_tensor(y, device=out.device)
    kind = losses.as_loss(loss)
    loss = kind.name
    if target.is_floating_point():
        arguments.finite("y", array(target))
    if loss == "cross_entropy":
        if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
            raise TypeError(f"y has dtype {target.dtype}; expected integer classes for {loss}")
        expected = (out.shape[0], *out.shape[2:])
        if out.ndim < 2 or tuple(target.shape) != expected:
            raise ValueError(f"y has shape {tuple(target.shape)}; expected {expected} for output {tuple(out.shape)}")
        if target.numel() and not (target.min() >= 0 and target.max() < out.shape[1]):
            raise IndexError(f"y has classes {target.min()} to {target.max()}; expected 0 to {out.shape[1] - 1}")
        weights = None if kind.class_weights is None else torch.tensor(kind.class_weights).to(out)
        params: dict[str, Any] = dict(kind.params)
        return functional.cross_entropy(out, target.long(), weights, **params)
    if target.ndim == 1 and out.ndim == 2 and out.shape[1] == 1:
        target = target[:, None]
    if target.shape != out.shape:
        raise ValueError(f"y has shape {tuple(target.shape)}; expected {tuple(out.shape)} for {loss}")
    function: Any = {
        "mse": functional.mse_loss,
        "huber": functional.huber_loss,
        "bce_with_logits": functional.binary_cross_entropy_with_logits,
    }[loss]
    return function(out, target.to(out.dtype), **kind.params)


def _through_time(recurrences: list[Recurrence | Loop]) -> tuple[TimeMeasurement, ...]:
    found: list[TimeMeasurement] = []
    for recurrence in recurrences:
        found += recurrence.measured(first=found[-1].index + 1 if found else 1)
    return tuple(found)


def _ends_in(output: Any) -> str | None:
    """Whether the model's output is a softmax, as a module or as a function: the graph of autograd says it."""
    made_by = type(getattr(next(tensors_in(output), None), "grad_fn", None)).__name__
    return {"SoftmaxBackward0": "softmax", "LogSoftmaxBackward0": "log_softmax"}.get(made_by)


def _row(layer: Layer, count: int, gradients: dict[int, Any], below: float, predicted: float) -> LayerMeasurement:
    differentiable = layer.out.differentiable
    weights = [gradients[id(t)] for t in layer.weights if id(t) in gradients]
    biases = [gradients[id(t)] for t in layer.biases if id(t) in gradients]
    weight = joined([moments(t) for t in layer.weights])
    row = layer_measurement(
        index=layer.index + 1,
        name=layer_name(
            layer.name,
            layer.kind,
            str(layer.fan_out),
            f"{layer.norm} norm" if layer.norm else None,
            layer.label,
            f"(call {layer.call})" if layer.call > 1 else None,
            None if differentiable else "(no gradient)",
        ),
        role="output" if layer.index == count - 1 and "activation" not in layer.parts else "hidden",
        fan_in=layer.fan_in,
        fan_out=layer.fan_out,
        activation=layer.function[0] if layer.function else None,
        norm=layer.norm,
        residual=layer.residual is not None,
        x=layer.x.tap,
        dy=layer.dy.tap,
        pre=layer.pre.tap,
        out=layer.out.tap,
        act=layer.act,
        weight=weight,
        weight_grad=joined(weights) if weights else weight,
        bias_grad=joined(biases) if biases else None,
        update=None,
        below=below,
        theory=predicted,
        frozen=tuple(
            name
            for name, tensors in (("weight", layer.weights), ("bias", layer.biases))
            if tensors and not any(t.requires_grad for t in tensors)
        ),
    )
    nan = math.nan
    if not weights:
        row = dataclasses.replace(row, weight_grad_norm=nan, gradient_to_weight=nan, snr=nan)
    if not differentiable:
        row = dataclasses.replace(row, grad_rms=nan, grad_norm=nan, grad_zeros=nan, grad_subnormals=nan, factor=nan)
    return row


def _predict(layers: list[Layer], batch: int) -> list[float]:
    """Theory's factor for every layer, iterated from the real input; silent from the first layer it does not know."""
    described = []
    for layer in layers:
        name, params = layer.function or (None, {})
        described.append(
            theory.LayerTheory(
                fan_in=layer.fan_in,
                fan_out=layer.fan_out,
                weight_variance=sum(moments(t)["sum_squares"] for t in layer.weights) / layer.fan_out,
                bias_variance=sum(moments(t)["sum_squares"] / t.numel() for t in layer.biases),
                activation=name,
                params=params,
                norm=layer.norm if layer.plain else "unknown",
                residual=layer.residual,
                norm_last=layer.parts.index("norm") > layer.parts.index("activation")
                if {"norm", "activation"} <= set(layer.parts)
                else False,
            )
        )
    value = layers[0].x.values
    if value["nans"] or value["infs"]:
        return [math.nan] * len(layers)
    mean_square = value["sum_squares"] / value["count"]
    predicted = theory.predict(described, mean_square, batch, input_spread=layers[0].x.spread)
    return [p.factor if _described(layer) else math.nan for layer, p in zip(layers, predicted, strict=True)]


def _described(layer: Layer) -> bool:
    """Whether the layer's branch, if it has one, is orthogonal to the skip."""
    skipped = layer.residual is not None and layer.norm is None
    return not (skipped and layer.function) or even_slope(*layer.function)
