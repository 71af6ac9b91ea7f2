from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gradiometer import init, theory
from gradiometer.diagnosis.cures.cure import NotApplicable, keep
from gradiometer.diagnosis.listing import Weights
from gradiometer.layers import Activation, BatchNorm1d, Chain, Linear, PReLU

if TYPE_CHECKING:
    from gradiometer.layers import Module
    from gradiometer.networks import Sequential

__all__ = ["fitted_gain", "refit", "refitted"]


def fitted_gain(activation: str, **params: float) -> float:
    """``sqrt(fan_in Var W)`` at which the squared norm of the gradient changes by 1 a layer.

    At the critical point without biases where there is one (1.414 for ReLU, 1 for tanh, 10.15 for sigmoid); else
    ``1 / sqrt(E f'(z)^2)`` at unit variance, which holds for the first layers.
    """
    point = theory.critical_initialisation(activation, **params)
    if point is not None:
        return math.sqrt(point.weight_variance)
    return init.gain(activation, preserve="backward", **params)


def refit(net: Sequential, seed: int) -> Sequential:
    """The same network with new weights: LeCun's rule times the gain fitted to the activation that follows. Frozen ones
    stay as they are."""
    if net.spec is not None and all(net.requires_grad.values()):
        if net.spec.norm is not None:
            raise NotApplicable("a norm undoes the scale of the weights")
        gain = fitted_gain(net.spec.activation, **net.spec.activation_params)
        return replace(net.spec, init="lecun_normal", gain=gain).build(rng=seed)

    made = keep(net, seed)
    rng = np.random.default_rng(seed)
    _, gains = refitted(made)
    fitted = False
    for (linear, _), gain in zip(linear_layers(made), gains, strict=True):
        if linear.requires_grad["weight"]:
            linear.weight[...] = init.lecun_normal(linear.weight.shape, gain=gain, rng=rng, dtype=linear.dtype)
            fitted = True
        if linear.requires_grad.get("bias"):
            linear.bias[...] = 0  # type: ignore[index]
    if not fitted:
        raise NotApplicable("all weights are frozen")
    made.spec = None
    return made


def refitted(net: Sequential) -> Weights:
    """LeCun's rule with the gain of the activation that follows each Linear, 1 where none does."""
    followers = (follower for _, follower in linear_layers(net))
    return "lecun_normal", [fitted_gain(f.name, **f.params) if f is not None else 1.0 for f in followers]


def linear_layers(net: Module) -> Iterator[tuple[Linear, Activation | PReLU | None]]:
    """Each Linear with the activation that comes next, None if another Linear or the end comes first."""
    waiting: Linear | None = None
    for module in leaves(net):
        if isinstance(module, Linear):
            if waiting is not None:
                yield waiting, None
            waiting = module
        elif isinstance(module, Activation | PReLU) and waiting is not None:
            yield waiting, module
            waiting = None
    if waiting is not None:
        yield waiting, None


def leaves(module: Module) -> Iterator[Module]:
    if isinstance(module, Chain):
        for child in module.modules:
            yield from leaves(child)
    elif isinstance(module, Linear | Activation | PReLU | BatchNorm1d):
        yield module
