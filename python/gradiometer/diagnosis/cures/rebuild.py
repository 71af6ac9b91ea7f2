from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gradiometer import init
from gradiometer.diagnosis.cures.cure import NotApplicable
from gradiometer.diagnosis.listing import Weights
from gradiometer.layers import Activation, BatchNorm1d, Chain, DenseSkip, Linear, Module, Residual

if TYPE_CHECKING:
    from gradiometer.networks import Sequential

__all__ = ["even", "respecified"]


def respecified(**changes: Any) -> Callable[[Sequential, int], Sequential]:
    """Builds the network anew from its description with some fields replaced; one without a description (not from
    ``gm.mlp``), or with frozen parameters, which stay as they are, layer by layer from copies."""

    def apply(net: Sequential, seed: int) -> Sequential:
        if net.spec is None or not all(net.requires_grad.values()):
            return remade(net, seed, **changes)
        given = net.spec
        built = replace(given, **changes).build(rng=seed)
        if built.spec == given:
            raise NotApplicable("the network is so already")
        if changes.get("residual") and given.residual is not None:
            raise NotApplicable("the network has skips already")
        return built

    return apply


def remade(net: Sequential, seed: int, **changes: Any) -> Sequential:
    """A network of other making with the changes that `respecified` knows: a norm before every activation, skips
    around [Linear, norm, activation] that keeps its width, or another activation with weights initialised for it."""
    modules = [module for _, module in net.named_modules()]
    activations = [module for module in modules if isinstance(module, Activation)]
    if not activations:
        raise NotApplicable("the network has no activation")
    if changes.get("norm"):
        if any(is_norm(module) for module in modules):
            raise NotApplicable("the network has norms already")
        made = edited(net, normalised)
    elif changes.get("residual"):
        if any(isinstance(module, Residual | DenseSkip) for module in modules):
            raise NotApplicable("the network has skips already")
        blocks = sum(len(group) > 1 for chain in modules if isinstance(chain, Chain) for group in groups(chain.modules))
        if not blocks:
            raise NotApplicable("no hidden layer keeps its width")
        made = edited(net, lambda children: skipping(children, blocks**-0.5))
    else:
        name = changes["activation"]
        made = edited(net, lambda children: [other(child, name) for child in children])
        initialise(made, changes["init"], seed)
    made.spec = None  # type: ignore[attr-defined]
    return made  # type: ignore[return-value]


def is_norm(module: Module) -> bool:
    return type(module).__name__.endswith(("Norm", "Norm1d"))


def edited(module: Module, edit: Callable[[Sequence[Module]], Sequence[Module]]) -> Module:
    """A copy of a chain with its children, and theirs, edited."""
    if not isinstance(module, Chain):
        return module.copy()
    rebuild, (kind, children, *more) = module.__reduce__()
    made: Module = rebuild(kind, tuple(edit([edited(child, edit) for child in children])), *more)
    return made


def normalised(children: Sequence[Module]) -> list[Module]:
    """Batch norm between every Linear and the activation that follows it."""
    made: list[Module] = []
    for child in children:
        if made and isinstance(child, Activation) and isinstance(made[-1], Linear):
            made.append(BatchNorm1d(made[-1].out_features, dtype=made[-1].dtype))
        made.append(child)
    return made


def groups(children: Sequence[Module]) -> list[list[Module]]:
    """Runs of [Linear that keeps its width, norm, activation]; all else alone."""
    found: list[list[Module]] = []
    for child in children:
        last = found[-1] if found else []
        opened = bool(last) and isinstance(last[0], Linear) and last[0].in_features == last[0].out_features
        if opened and not isinstance(last[-1], Activation) and (is_norm(child) or isinstance(child, Activation)):
            last.append(child)
        else:
            found.append([child])
    return [
        part for group in found for part in ([group] if isinstance(group[-1], Activation) else [[g] for g in group])
    ]


def skipping(children: Sequence[Module], scale: float) -> list[Module]:
    return [Residual(*group, scale=scale) if len(group) > 1 else group[0] for group in groups(children)]


def other(child: Module, activation: str) -> Module:
    return Activation(activation, dtype=child.dtype) if isinstance(child, Activation) else child


def even(rule: str) -> Callable[[Sequential], Weights]:
    """The same initialiser for every Linear."""
    return lambda net: (rule, [1.0 for _, module in net.named_modules() if isinstance(module, Linear)])


def initialise(net: Module, rule: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _, module in net.named_modules():
        if isinstance(module, Linear):
            if module.requires_grad["weight"]:
                module.weight[...] = init.by_name(rule)(module.weight.shape, gain=1.0, rng=rng, dtype=module.dtype)
            if module.requires_grad.get("bias"):
                module.bias[...] = 0  # type: ignore[index]
