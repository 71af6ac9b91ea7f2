"""A module's own forward as a chain of layers, if torch.fx can read it and it is one; nothing is guessed."""

from __future__ import annotations

import operator
from collections.abc import Collection
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

__all__ = ["Part", "Unreadable", "read"]

Part = tuple[str, nn.Module, str | None]
"""Name in the module, layer, and of a recurrent one what it gives: "last" or "all"."""

_FUNCTIONS: dict[Any, type[nn.Module]] = {
    torch.relu: nn.ReLU,
    functional.relu: nn.ReLU,
    torch.tanh: nn.Tanh,
    functional.tanh: nn.Tanh,
    torch.sigmoid: nn.Sigmoid,
    functional.sigmoid: nn.Sigmoid,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
_ALL = slice(None)
_AT_THE_END = ((_ALL, -1), (_ALL, -1, _ALL))


class Unreadable(Exception):
    """Says what is no chain of layers."""


class _Tracer(fx.Tracer):  # type: ignore[misc,unused-ignore]
    def __init__(self, leaves: Collection[type]) -> None:
        super().__init__()
        self.leaves = leaves

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Inside of which forward() is not looked."""
        return type(m) in self.leaves or bool(super().is_leaf_module(m, module_qualified_name))


def read(module: nn.Module, recurrent: Collection[type], leaves: Collection[type] = ()) -> list[Part]:
    """The layers of `module` in order, each fed by the one before.

    Of a recurrent module, with batch_first and a state of 0 to begin with, the chain goes on from y, from its last step
    as ``y[:, -1]`` or, of one layer in one direction and of the last, ``h_n[-1]``, or from both directions as
    ``torch.cat((h_n[-2], h_n[-1]), 1)``.

    Raises
    ------
    Unreadable
        For anything else.
    """
    try:
        graph = _Tracer(leaves).trace(module)
    except Exception as error:  # whatever forward() does with what is no tensor
        raise Unreadable(f"torch.fx does not read its forward ({error})") from error
    parts: list[Part] = []
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    if len(inputs) != 1:
        raise Unreadable(f"its forward takes {len(inputs)} arguments; expected one")
    tip = inputs[0]
    pending: fx.Node | None = None  # a recurrent module of which it is not yet known what goes on
    for node in graph.nodes:
        if node.op in ("placeholder", "get_attr") or _is_aside(node):
            continue
        if pending is not None:
            output = _output(node, pending, module.get_submodule(str(pending.target)))
            if output == "part":
                continue
            if output == "last":
                parts[-1] = (*parts[-1][:2], "last")
                tip, pending = node, None
                continue
            parts[-1] = (*parts[-1][:2], "all")
            tip, pending = _item(pending, 0), None
        if node.op == "output":
            if node.args[0] is not tip:
                raise Unreadable("it returns something else than what its last layer gives")
            return parts
        if not node.args or node.args[0] is not tip:
            raise Unreadable(f"{node.name} does not take what the layer before it gives")
        if node.op == "call_module":
            layer = module.get_submodule(str(node.target))
            if type(layer) in recurrent:
                _check_states(node)
                if not layer.batch_first:
                    raise Unreadable(f"{node.target} has batch_first=False; expected True")
                pending = node
            elif len(node.args) > 1 or node.kwargs:
                raise Unreadable(f"{node.target} takes {len(node.args)} arguments; expected one")
            parts.append((str(node.target), layer, None))
        elif node.op in ("call_function", "call_method") and node.target in _FUNCTIONS:
            parts.append((node.name, _FUNCTIONS[node.target](), None))
        else:
            raise Unreadable(f"{node.name} is no layer of gradiometer")
        tip = node
    raise Unreadable("it returns nothing")


def _item(node: fx.Node, index: int) -> fx.Node | None:
    found = (user for user in node.users if user.target is operator.getitem and user.args[1] == index)
    return next(found, None)


def _output(node: fx.Node, rnn: fx.Node, layer: Any) -> str:
    """What `node` makes of what a recurrent module returns: a "part" of it on the way, h of the "last" step, or, as it
    takes y, "all"."""
    y, states = _item(rnn, 0), _item(rnn, 1)
    h_n = _item(states, 0) if isinstance(layer, nn.LSTM) and states is not None else states
    both, count = layer.bidirectional, layer.num_layers * (1 + layer.bidirectional)
    if node in (y, states, h_n):
        return "part"
    if node.target is operator.getitem:
        of, index = node.args
        if of is y and index in _AT_THE_END:
            if both:
                raise Unreadable(f"{node.name} is the reverse direction's first step; expected h_n[-2] and h_n[-1]")
            return "last"
        if of is h_n and isinstance(index, int):
            if index % count < count - 1 - both:
                raise Unreadable(f"{node.name} is h_n[{index}]; expected what the last layer gives")
            return "part" if both else "last"
        if not node.users:  # such as c_n, by its name
            return "part"
    if node.target == "squeeze" and node.args == (h_n, 0) and count == 1:
        return "last"
    if node.target is torch.cat and both:
        parts, dim = node.args[0], node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
        if dim in (1, -1) and [_place(part, h_n, count) for part in parts] == [count - 2, count - 1]:
            return "last"
    return "all"


def _place(node: Any, h_n: fx.Node | None, count: int) -> int | None:
    """k for ``h_n[k]``."""
    found = isinstance(node, fx.Node) and node.target is operator.getitem and node.args[0] is h_n
    return node.args[1] % count if found else None


def _is_aside(node: Any) -> bool:
    """Sizes and zeros, of which states are made."""
    if not isinstance(node, fx.Node):
        return False
    if node.target is getattr:
        return node.args[1] in ("shape", "device", "dtype")
    if node.target is operator.getitem or node.target == "to":
        return _is_aside(node.args[0])
    return node.target == "size" or node.target is torch.zeros


def _check_states(node: fx.Node) -> None:
    """A recurrent module begins with 0."""
    given = node.kwargs.get("hx", node.args[1] if len(node.args) > 1 else None)
    every = given if isinstance(given, tuple | list) else (given,)
    if any(state is not None and not _is_aside(state) for state in every):
        raise Unreadable(f"{node.target} is given states; expected none, or torch.zeros")
