"""One forward pass of a PyTorch model, watched: its layers in the order of execution, with what was seen at each end.

Modules show themselves by forward hooks. What happens between modules (a functional activation, an addition) is read
off the graph that autograd has built by then. Gradients come from hooks on tensors and on nodes of the graph: a hook
on a tensor is given the derivative by the value it had when hooked, so in-place modules do no harm (backward hooks of
modules refuse them).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gradiometer import _core, kernels
from gradiometer.torch.activations import Function, of_module, of_node
from gradiometer.torch.arrays import array, joined, moments, tensors_in
from gradiometer.torch.loops import Loop, states_of
from gradiometer.torch.recurrence import Recurrence, draws_masks

__all__ = ["Layer", "Seen", "Trace"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_OTHER_LAYERS = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention, nn.Bilinear)
_FORWARDS = (nn.LSTM.forward, nn.GRU.forward, nn.RNN.forward)  # a class of the user's may return anything
_LAYERS = (nn.Linear, *_CONVOLUTIONS, *_OTHER_LAYERS)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_NORMS: tuple[tuple[Any, str], ...] = (
    (_BATCH_NORMS, "batch"),
    (nn.LayerNorm, "layer"),
    (nn.GroupNorm, "group"),
    ((nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), "instance"),
    *([(nn.RMSNorm, "rms")] if hasattr(nn, "RMSNorm") else []),
)
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)

# Nodes of the graph between a tensor and the layer it may come from: scale, activation, addition, dropout, reshapes.
_REACH = 8


class Seen:
    """A tensor's values, and its gradient once that has come: what `gradiometer.measurement.layer` calls a tap."""

    def __init__(self, values: NDArray[Any], samples: int, rows: bool, axis: int = 0) -> None:
        self.values = _core.moments(values)
        self.spread = _spread(values, self.values["sum_squares"], samples, axis)
        self.samples = samples
        self.by_rows = rows and values.ndim == 2 and len(values) == samples
        self.value_row_norms = _row_norms(values) if self.by_rows else None
        self.gradient_row_norms: NDArray[np.float64] | None = None
        self.differentiable = False
        self.gradient: dict[str, Any] | None = None

    def receive(self, gradient: torch.Tensor) -> None:
        """Take the gradient; of a module with several outputs they come one by one, and make one vector."""
        found = moments(gradient)
        self.gradient = joined([self.gradient, found]) if self.gradient else found
        if self.by_rows:
            self.gradient_row_norms = _row_norms(array(gradient))

    @functools.cached_property
    def tap(self) -> dict[str, Any]:
        """As a mapping, once the pass is over. A tensor that no gradient has reached has one of zeros."""
        nothing = dict.fromkeys(self.values, 0) | {"count": self.values["count"], "zeros": self.values["count"]}
        return {
            "value": self.values,
            "gradient": self.gradient or nothing,
            "rows": self.samples,
            "spread": self.spread,
            "value_row_norms": self.value_row_norms,
            "gradient_row_norms": self.gradient_row_norms,
        }


@dataclass(eq=False)
class Layer:
    """A module with weights, and what follows it as far as the pass has come.

    `x` is what entered (`entry` names that tensor), `dy` the module's own output, `pre` the pre-activation a, `out`
    the output h; `tip` names the tensor that the layer has reached. `plain` holds while the chain is Linear, batch
    norm, activation, addition of the layer's input, each at most once: all that theory knows.
    """

    index: int
    name: str
    kind: str
    call: int
    in_features: int
    fan_in: int
    fan_out: int
    axis: int
    weights: list[torch.Tensor]
    biases: list[torch.Tensor]
    entry: Any
    x: Seen
    dy: Seen
    pre: Seen
    out: Seen
    tip: Any
    tensor: torch.Tensor
    version: int
    plain: bool
    norm: str | None = None
    label: str | None = None
    function: Function | None = None
    act: dict[str, Any] | None = None
    residual: float | None = None
    parts: list[str] = field(default_factory=list)


class Trace:
    """Watches a pass; a context manager whose hooks are gone when it is left, however that happens.

    Parameters
    ----------
    module : nn.Module
    shape : tuple of int
        Of the first input. Samples are counted along axis 0; where a recurrent module is given time first, along 1.
    rows : bool
        Also the norms of single samples.
    """

    def __init__(self, module: nn.Module, shape: tuple[int, ...], rows: bool) -> None:
        self.module = module
        self.shape = shape
        self.samples_axis = 0
        self.rows = rows
        self.layers: list[Layer] = []
        self.recurrences: list[Recurrence | Loop] = []
        self._loops: dict[int, tuple[Loop, Layer]] = {}
        self._tips: dict[Any, Layer] = {}
        self._past: set[Any] = set()
        self._looked: set[Any] = set()
        self._seen: dict[Any, Seen] = {}
        self._kept: list[torch.Tensor] = []  # an id names a tensor only while the tensor lives
        self._entered: dict[int, list[Any]] = {}
        self._calls: dict[int, int] = {}
        self._module_handles: list[Any] = []
        self._handles: list[Any] = []

    @property
    def samples(self) -> int:
        """Rows of the batch."""
        return self.shape[self.samples_axis]

    def __enter__(self) -> Trace:
        for name, module in self.module.named_modules():
            leave = functools.partial(self._leave_layer, name) if isinstance(module, _LAYERS) else self._leave
            if isinstance(module, nn.RNNCellBase):
                leave = functools.partial(self._leave_cell, name)
                self._module_handles.append(module.register_forward_pre_hook(self._chain, with_kwargs=True))
            self._module_handles.append(module.register_forward_pre_hook(self._enter, with_kwargs=True))
            self._module_handles.append(module.register_forward_hook(leave, with_kwargs=True))
        return self

    def __exit__(self, *error: object) -> None:
        for handle in [*self._module_handles, *self._handles]:
            handle.remove()

    def finish(self, output: Any) -> None:
        """The forward pass is over and returned `output`; modules that checkpointing runs again are not seen again."""
        for handle in self._module_handles:
            handle.remove()
        for t in tensors_in(output):
            self._look(t)

    def settle(self) -> None:
        """The gradients have come: what a cell has done in all its calls is one layer's."""
        for loop, layer in self._loops.values():
            same = len({call.x.shape for call in loop.calls}) == 1
            put = np.stack if same else np.concatenate
            axis = 1 if same else 0
            layer.x = Seen(put([call.x for call in loop.calls]), self.samples, self.rows, axis)
            out = Seen(put([call.h for call in loop.calls]), self.samples, self.rows, axis)
            for which in range(len(loop.calls[0].gradients)):
                out.receive(torch.from_numpy(put([call.gradient(which) for call in loop.calls])))
            out.differentiable = loop.differentiable
            layer.dy = layer.pre = layer.out = out

    # ---- modules

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        given = next(tensors_in([args, kwargs]), None)
        note = None
        if given is not None:
            self._time_first(module, given)
            self._look(given)
            layer, function = self._feeding(given), of_module(module)
            act = _slopes(function, array(given), layer.axis) if function and layer else None
            wanted = isinstance(module, _LAYERS) or _is_activation(module)
            drawn_from = torch.get_rng_state() if draws_masks(module) else None
            note = self._key(given), layer, function, act, self._see(given) if wanted else None, drawn_from
        self._entered.setdefault(id(module), []).append(note)

    def _time_first(self, module: nn.Module, given: torch.Tensor) -> None:
        if not isinstance(module, nn.RNNBase) or module.batch_first or given.ndim != 3:
            return
        if given.shape[:2] == self.shape[:2] and self.shape[1] > 1 and not self.samples_axis:
            self.samples_axis = 1
            for seen in self._seen.values():
                seen.samples = self.samples

    def _leave_layer(self, name: str, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        note = self._entered[id(module)].pop()
        outputs = list(tensors_in(output))
        if note is None or not outputs:
            return
        key, _, _, _, x, drawn_from = note
        out, seen = outputs[0], self._see(outputs[0])
        for other in outputs[1:]:
            self._await(other, seen)
        layer = self._new(name, module, key, x, out, seen)
        if isinstance(module, nn.RNNBase) and type(module).forward in _FORWARDS:
            recurrence = Recurrence(name, layer.call, module, args, kwargs, output, drawn_from)
            self.recurrences.append(recurrence)
            self._handles.extend(recurrence.handles)
        self._reach(layer, self._key(out), out)

    def _new(self, name: str, module: Any, key: Any, x: Seen, out: torch.Tensor, seen: Seen) -> Layer:
        """The layer that a call of a module makes."""
        fed = self._tips.get(key)
        call = self._calls[id(module)] = self._calls.get(id(module), 0) + 1
        in_features, fan_in, fan_out = _widths(module, out)
        weights, biases = _parameters(module)
        layer = Layer(
            index=len(self.layers),
            name=name,
            kind=type(module).__name__.removeprefix("Parametrized"),
            call=call,
            in_features=in_features,
            fan_in=fan_in,
            fan_out=fan_out,
            axis=1 if isinstance(module, _CONVOLUTIONS) else -1,
            weights=weights,
            biases=biases,
            entry=key,
            x=x,
            dy=seen,
            pre=seen,
            out=seen,
            tip=None,
            tensor=out,
            version=0,
            plain=isinstance(module, nn.Linear) and out.ndim == 2 and (not self.layers or fed is self.layers[-1]),
        )
        self._shared(key, layer)
        self.layers.append(layer)
        return layer

    def _chain(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        """Put the states that a cell returned in the place of the copies that the model has."""
        if id(module) not in self._loops:
            return None
        names = dict(zip(("input", "hx"), args, strict=False)) | kwargs
        states = states_of(names.get("hx"))
        originals = self._loops[id(module)][0].originals(states)
        if originals is states:
            return None
        names["hx"] = originals if isinstance(names["hx"], tuple | list) else originals[0]
        return (names.pop("input"),), names

    def _leave_cell(self, name: str, module: Any, args: Any, kwargs: Any, output: Any) -> Any:
        note = self._entered[id(module)].pop()
        if note is None:
            return None
        key, x, out = note[0], note[4], states_of(output)
        if id(module) not in self._loops:
            layer = self._new(name, module, key, x, out[0], x)
            self._loops[id(module)] = Loop(name, module), layer
            self.recurrences.append(self._loops[id(module)][0])
        loop, layer = self._loops[id(module)]
        self._shared(key, layer)
        given = dict(zip(("input", "hx"), args, strict=False)) | kwargs
        copies = loop.add(given["input"], states_of(given.get("hx")), out)
        self._past.update(map(self._key, copies))
        return copies if isinstance(output, tuple) else copies[0]

    def _leave(self, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        note = self._entered[id(module)].pop()
        if note is None or not isinstance(output, torch.Tensor) or not output.is_floating_point():
            return
        key, layer, function, act, given, _ = note
        norm = next((name for kinds, name in _NORMS if isinstance(module, kinds)), None)
        dropout = isinstance(module, _DROPOUTS)
        follows = norm or dropout or _is_activation(module) or isinstance(module, nn.Identity)
        if layer is None or not follows or output.shape != layer.tensor.shape:
            return
        unbroken = self._tips.get(key) is layer
        if norm:
            layer.plain &= (module.training or norm != "batch") and not {"norm", "add"} & set(layer.parts)
            layer.norm = layer.norm or norm
            layer.parts.append("norm")
        elif _is_activation(module):
            layer.plain &= function is not None and not {"activation", "add"} & set(layer.parts)
            if "activation" not in layer.parts:
                layer.function, layer.act, layer.pre = function, act, given
                layer.label = function[0] if function else type(module).__name__
            layer.parts.append("activation")
        elif dropout and module.training and module.p > 0:
            layer.plain = False
        layer.plain &= unbroken
        seen = self._see(output)
        if "add" not in layer.parts:
            layer.out = seen
        if "activation" not in layer.parts:
            layer.pre = seen
        self._reach(layer, self._key(output), output)

    def _feeding(self, t: torch.Tensor) -> Layer | None:
        """The layer that a tensor belongs to: the one that has reached it, or the last if nobody knows the tensor."""
        key = self._key(t)
        if key in self._tips or key in self._past or not self.layers:
            return self._tips.get(key)
        return self.layers[-1] if t.shape == self.layers[-1].tensor.shape else None

    # ---- between modules

    def _look(self, t: torch.Tensor) -> None:
        """Find out whether `t` came from a layer by functions that are no modules."""
        key = self._key(t)
        if t.grad_fn is None or key in self._looked:
            return
        self._looked.add(key)
        found = self._climb(t.grad_fn, t.output_nr, _REACH)
        if found is None:
            return
        layer, steps = found
        scale, added = 1.0, False
        for i, step in enumerate(steps):
            if isinstance(step, float) and not added:
                scale *= step
            elif isinstance(step, _Added):
                if t.numel() != layer.tensor.numel():
                    return
                layer.plain &= step.other == layer.entry and "add" not in layer.parts
                self._shared(step.other, layer)
                layer.residual, added = scale * step.alpha, True
                layer.parts.append("add")
            elif isinstance(step, _Applied) and i == 0 and not {"activation", "add"} & set(layer.parts):
                self._apply(layer, step)
            else:
                layer.plain = False
        if added:
            layer.out = self._see(t)
            if "activation" not in layer.parts:
                layer.pre = layer.out
            self._reach(layer, key, t)

    def _apply(self, layer: Layer, step: _Applied) -> None:
        """A functional activation on what the layer has reached: its output is computed again, by our kernel."""
        name, params = step.function
        values = array(layer.tensor)
        changed = layer.tensor._version != layer.version
        if changed and name != "relu":  # in place: a is gone, but relu has the same slopes at its own output
            layer.plain = False
            return
        layer.label, layer.function = name, step.function
        layer.act = _slopes(step.function, values, layer.axis)
        layer.out = Seen(
            values if changed else kernels.forward(name, values, **params), self.samples, self.rows, self.samples_axis
        )
        layer.out.differentiable = True
        receive = layer.out.receive
        self._handles.append(step.node.register_prehook(lambda gradients: receive(gradients[0])))
        layer.parts.append("activation")
        self._reach(layer, (step.node, 0), layer.tensor)

    def _climb(self, node: Any, number: int, reach: int) -> tuple[Layer, list[Any]] | None:
        """The layer whose tip lies below output `number` of a node, and the steps from there up to it."""
        if (node, number) in self._tips:
            return self._tips[node, number], []
        operands = [below for below in node.next_functions if below[0] is not None]
        if reach == 0 or not 1 <= len(operands) <= 2:
            return None
        if len(operands) == 2:
            if node.name() != "AddBackward0":
                return None
            found = [
                (self._climb(one[0], one[1], reach - 1), other)
                for one, other in (operands, operands[::-1])
                if not other[0].name().endswith("AccumulateGrad")  # a parameter, such as a bias
            ]
            branches = [(branch, other) for branch, other in found if branch is not None]
            if not branches:
                return None
            (layer, steps), other = max(branches, key=lambda branch: branch[0][0].index)
            return layer, [*steps, _Added(other, float(node._saved_alpha))]
        below = self._climb(operands[0][0], operands[0][1], reach - 1)
        if below is None:
            return None
        function = of_node(node)
        return below[0], [*below[1], _Applied(function, node) if function else _scale(node)]

    def _shared(self, key: Any, user: Layer) -> None:
        """A tensor goes elsewhere too: theory knows nothing of the gradient that other layers send to it."""
        for layer in self.layers:
            if layer.entry == key and layer is not user:
                layer.plain = False

    # ---- tensors

    def _key(self, t: torch.Tensor) -> Any:
        """What names the value of a tensor: its place in the graph, or the object and how often it was written to."""
        if t.grad_fn is not None:
            return t.grad_fn, t.output_nr
        self._kept.append(t)
        return id(t), 0 if t.is_inference() else t._version

    def _see(self, t: torch.Tensor) -> Seen:
        key = self._key(t)
        if key not in self._seen:
            self._seen[key] = Seen(array(t), self.samples, self.rows, self.samples_axis)
            self._await(t, self._seen[key])
        return self._seen[key]

    def _await(self, t: torch.Tensor, seen: Seen) -> None:
        if t.requires_grad:
            seen.differentiable = True
            self._handles.append(t.register_hook(seen.receive))

    def _reach(self, layer: Layer, key: Any, t: torch.Tensor) -> None:
        self._tips.pop(layer.tip, None)
        self._past.add(layer.tip)
        self._tips[key] = layer
        layer.tip, layer.tensor = key, t
        layer.version = 0 if t.is_inference() else t._version


@dataclass(frozen=True)
class _Added:
    other: tuple[Any, int]
    alpha: float


@dataclass(frozen=True)
class _Applied:
    function: Function
    node: Any


def _scale(node: Any) -> float | None:
    """The number by which a node multiplies; None if it does anything else."""
    if node.name() == "MulBackward0":
        factor = node._saved_other if node._saved_other is not None else node._saved_self
        if factor is not None and factor.numel() == 1:
            return float(factor)
    return None


def _is_activation(module: nn.Module) -> bool:
    return type(module).__module__ == "torch.nn.modules.activation" and not isinstance(module, nn.MultiheadAttention)


def _widths(module: Any, out: torch.Tensor) -> tuple[int, int, int]:
    """Features of the input, fan-in and fan-out."""
    if isinstance(module, _CONVOLUTIONS):
        window = math.prod(module.kernel_size)
        return module.in_channels, module.in_channels // module.groups * window, module.out_channels
    names = ("in_features", "in1_features", "input_size", "embed_dim")
    width = next(int(getattr(module, name)) for name in names if hasattr(module, name))
    return width, width, out.shape[-1]


def _parameters(module: Any) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Weights and biases as this pass used them."""
    if isinstance(module, _OTHER_LAYERS):
        every = list(module.parameters())
        return [p for p in every if p.ndim > 1], [p for p in every if p.ndim == 1]
    return [module.weight], [module.bias] if module.bias is not None else []


def _row_norms(values: NDArray[Any]) -> NDArray[np.float64]:
    wide = values.astype(np.float64)
    norms: NDArray[np.float64] = np.linalg.norm(wide, axis=1)
    return norms


def _spread(values: NDArray[Any], sum_squares: float, samples: int, axis: int) -> float:
    """sqrt(mean_j Var_n / mean square), j over all places of a sample."""
    along = values.ndim > axis + 1 and values.shape[axis] == samples
    rows = np.moveaxis(values, axis, 0) if along else values.reshape(-1, values.shape[-1])
    square = sum_squares / len(rows)
    with np.errstate(invalid="ignore", over="ignore"):
        between = float(rows.var(axis=0, dtype=np.float64).sum())
    return math.sqrt(between / square) if square > 0 else 0.0


def _slopes(function: Function, values: NDArray[Any], axis: int) -> dict[str, Any]:
    """Saturated share, and units that are active for no sample (and place)."""
    name, params = function
    slope = np.abs(kernels.backward(name, values, np.ones_like(values), **params))
    most, flat = _steepest(name, tuple(params.items()))
    units = np.moveaxis(slope, axis, -1).reshape(-1, slope.shape[axis])
    return {
        "saturated": 1 - np.count_nonzero(units > np.float64(0.05 * most)) / units.size if flat else math.nan,
        "dead": int(np.count_nonzero(~(units > 0).any(axis=0))),
    }


@functools.cache
def _steepest(name: str, params: tuple[tuple[str, float], ...]) -> tuple[float, bool]:
    """Largest |f'| on [-8, 8], and whether f' falls below 5 % of it far out on both sides."""
    x = np.append(np.arange(-128, 129) / 16, (-50.0, 50.0))
    slope = np.abs(kernels.backward(name, x, np.ones_like(x), **dict(params)))
    most = float(slope[:-2].max())
    return most, bool((slope[-2:] < 0.05 * most).all())
