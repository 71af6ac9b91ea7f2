"""The layers of a compiled network as a person counts them: a Linear with the norm, the activation and the addition
that follow it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from gradiometer.layers import Activation, PReLU

if TYPE_CHECKING:
    from gradiometer.layers import Node

__all__ = ["Block", "blocks", "shape_text"]

_ACTIVATIONS = ("activation", "prelu")


@dataclass(frozen=True)
class Block:
    """One layer. `output` is the node of h, `pre` that of the pre-activation a (what enters the activation, or h
    where there is none)."""

    linear: Node
    norm: Node | None
    activation: Node | None
    add: Node | None
    pre: int
    output: int
    # A dropout, a concatenation or a softmax stands in it, two parts of a kind, or a skip not around this layer alone.
    beyond_theory: bool

    @property
    def norm_name(self) -> str | None:
        """``"batch"``, ``"layer"``, ``"rms"``, ``"group"`` or None."""
        return self.norm.type.removesuffix("_norm") if self.norm else None

    @property
    def function(self) -> tuple[str, dict[str, float]] | None:
        """Kernel and parameters of the activation."""
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
    starts = [i for i, node in enumerate(nodes) if node.type == "linear"]
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
        made.append(Block(group[0], norm, activation, add, pre, output, beyond))
    return tuple(made)


def shape_text(in_features: int, widths: list[int]) -> str:
    """``64-[128]x50-10``: widths in order, runs folded.

    Examples
    --------
    >>> shape_text(64, [128, 128, 128, 10])
    '64-[128]x3-10'
    """
    parts = [str(in_features)]
    hidden, out = widths[:-1], widths[-1]
    i = 0
    while i < len(hidden):
        run = next((j for j in range(i, len(hidden)) if hidden[j] != hidden[i]), len(hidden)) - i
        parts.append(f"[{hidden[i]}]x{run}" if run > 1 else str(hidden[i]))
        i += run
    return "-".join([*parts, str(out)])
