"""The layers of a compiled network as a person counts them: a Linear with the norm, the activation and the addition
that follow it, or a recurrent layer with both its directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

from gradiometer.layers import Activation, PReLU
from gradiometer.measurement.layer import layer_name

if TYPE_CHECKING:
    from gradiometer.layers import Module, Node

__all__ = ["Block", "blocks", "shape_text"]

_ACTIVATIONS = ("activation", "prelu")
RECURRENT = ("lstm", "gru", "rnn")


@dataclass(frozen=True)
class Block:
    """One layer. `output` is the node of h, `pre` that of the pre-activation a (what enters the activation, or h
    where there is none)."""

    nodes: tuple[Node, ...]
    """The Linear; or a recurrent layer, forwards and reverse."""
    norm: Node | None
    activation: Node | None
    add: Node | None
    pre: int
    output: int
    # A dropout, a concatenation or a softmax stands in it, two parts of a kind, or a skip not around this layer alone.
    beyond_theory: bool

    @cached_property
    def linear(self) -> Node:
        """The first of `nodes`."""
        return self.nodes[0]

    @property
    def module(self) -> Module:
        """The layer's own."""
        return self.linear.module

    @cached_property
    def recurrent(self) -> bool:
        """Whether it is a recurrent layer."""
        return self.linear.type in RECURRENT

    @cached_property
    def weights(self) -> tuple[str, ...]:
        """Names in the module of the layer's own weights."""
        return self._named("weight")

    @cached_property
    def biases(self) -> tuple[str, ...]:
        """And of its biases."""
        return self._named("bias")

    def _named(self, beginning: str) -> tuple[str, ...]:
        ends = tuple(node.suffix for node in self.nodes)
        return tuple(
            name
            for name in self.module._arrays
            if name.startswith(beginning) and (not self.recurrent or f"_{name.split('_', 2)[2]}" in ends)
        )

    @property
    def frozen(self) -> tuple[str, ...]:
        """Of ``"weight"`` and ``"bias"`` those that are not trained."""
        off = self.module._frozen
        if not off:
            return ()
        return tuple(
            part for part, own in (("weight", self.weights), ("bias", self.biases)) if own and off.issuperset(own)
        )

    @cached_property
    def fan_in(self) -> int:
        """Features it reads."""
        return int(self.module._arrays[self.weights[0]].shape[1])

    @cached_property
    def fan_out(self) -> int:
        """Features it gives: of a recurrent layer those of both directions."""
        if not self.recurrent:
            return int(self.module._arrays[self.weights[0]].shape[0])
        return sum(int(node.attributes["hidden"]) for node in self.nodes)

    @cached_property
    def title(self) -> str:
        """``"Linear 128"``, ``"LSTM 64 bidirectional"``."""
        if not self.recurrent:
            return f"Linear {self.fan_out}"
        hidden = int(self.linear.attributes["hidden"])
        return f"{self.linear.type.upper()} {hidden}{' bidirectional' * (len(self.nodes) > 1)}"

    @cached_property
    def shape(self) -> str:
        """In the shape of a network: ``"128"``, ``"lstm 64"``."""
        if not self.recurrent:
            return str(self.fan_out)
        return f"{'bi' * (len(self.nodes) > 1)}{self.linear.type} {int(self.linear.attributes['hidden'])}"

    @cached_property
    def name(self) -> str:
        """As `LayerMeasurement` has it."""
        return layer_name(self.title, f"{self.norm_name} norm" if self.norm else None, self.activation_name)

    @cached_property
    def activation_name(self) -> str | None:
        """Its kernel."""
        return self.function[0] if self.function else None

    @cached_property
    def norm_name(self) -> str | None:
        """``"batch"``, ``"layer"``, ``"rms"``, ``"group"`` or None."""
        return self.norm.type.removesuffix("_norm") if self.norm else None

    @property
    def function(self) -> tuple[str, dict[str, float]] | None:
        """Kernel and parameters of the activation, as its module has them now."""
        module = self.activation.module if self.activation else None
        return (module.name, module.params) if isinstance(module, Activation | PReLU) else None


def blocks(nodes: list[Node]) -> tuple[Block, ...]:
    """Group the nodes of a network, in order.

    h is where the whole signal passes: the addition, or the last node that no connection goes around (inside a branch
    of several layers there is none: then the group's last). So a residual block that opens with its activation closes
    with the addition, and the activation that follows belongs to it as to any layer.
    """
    read_last = [0] * (len(nodes) + 1)
    for node in nodes:
        for source in node.inputs:
            read_last[source] = max(read_last[source], node.id)
    furthest = list(accumulate(read_last, max))  # the last node that reads one of these
    starts = [
        i
        for i, node in enumerate(nodes)
        if node.type == "linear" or (node.type in RECURRENT and not node.attributes["reverse"])
    ]
    skips = {node.inputs[0]: node for node in nodes if node.type == "add"}
    made = []
    for start, end in zip(starts, [*starts[1:], len(nodes)], strict=True):
        group = nodes[start:end]
        of_type = {node.type: node for node in reversed(group)}
        activation = next((node for node in group if node.type in _ACTIVATIONS), None)
        add = of_type.get("add")
        norm = next((node for node in group if node.type.endswith("_norm")), None)
        pre = activation.inputs[0] if activation else group[-1].id
        passed = [node.id for node in group if furthest[node.id - 1] <= node.id]
        output = add.id if add and add.id in passed else (passed or [group[-1].id])[-1]
        parts = ["norm" if node.type.endswith("_norm") else node.type for node in group]
        beyond = len(set(parts)) < len(parts) or not {"dropout", "concat", "softmax", "log_softmax"}.isdisjoint(parts)
        beyond |= skips.get(group[0].inputs[0]) is not add
        own = tuple(node for node in group if node.type in RECURRENT) or (group[0],)
        made.append(Block(own, norm, activation, add, pre, output, beyond or own[0].type in RECURRENT))
    return tuple(made)


def shape_text(in_features: int, widths: Sequence[int | str]) -> str:
    """``64-[128]x50-10``: widths in order, runs folded.

    Examples
    --------
    >>> shape_text(64, [128, 128, 128, 10]), shape_text(12, ["lstm 64", 9])
    ('64-[128]x3-10', '12-[lstm 64]-9')
    """
    parts = [str(in_features)]
    hidden, out = widths[:-1], widths[-1]
    i = 0
    while i < len(hidden):
        run = next((j for j in range(i, len(hidden)) if hidden[j] != hidden[i]), len(hidden)) - i
        parts.append(
            f"[{hidden[i]}]x{run}" if run > 1 else f"[{hidden[i]}]" if isinstance(hidden[i], str) else str(hidden[i])
        )
        i += run
    return "-".join([*parts, str(out)])
