"""The cures. To add one: a row in `CURES`, and what it does to a network in a file beside this one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from gradiometer.diagnosis.cures import recurrent
from gradiometer.diagnosis.cures.cure import Cure, NotApplicable
from gradiometer.diagnosis.cures.rebuild import even, respecified
from gradiometer.diagnosis.cures.refit import refit, refitted
from gradiometer.layers import Activation, Recurrent

if TYPE_CHECKING:
    from gradiometer.networks import Sequential

__all__ = ["AS_GIVEN", "CURES", "Cure", "NotApplicable", "at_rates_of", "by_ids", "cure_ids", "fitting"]

AS_GIVEN = Cure(
    "as-given",
    "as given",
    "The network untouched, by stochastic gradient descent with momentum.",
    optimizer="sgd",
)

CURES: tuple[Cure, ...] = (
    AS_GIVEN,
    Cure(
        "adam",
        "adam alone",
        "Divides each gradient by its own size: undoes the scale of a small gradient, not the loss of the input.",
    ),
    Cure(
        "batch-norm",
        "{activation} + batch norm",
        "Divides pre-activations by their spread over the batch: neither the input nor the slope is lost.",
        respecified(norm="batch"),
    ),
    Cure(
        "fitted-init",
        "{activation} + fitted init",
        "Weights at the activation's critical point, where the squared norm changes by 1 a layer.",
        refit,
        weights=refitted,
    ),
    Cure(
        "relu-he",
        "relu + he",
        "Slope 1 or 0, each for half of the inputs, and weights that make up for the half.",
        respecified(activation="relu", activation_params={}, init="he_normal", gain=1.0),
        weights=even("he_normal"),
    ),
    Cure(
        "elu-lecun",
        "elu + lecun",
        "Slope 1 above 0 and near 1 just below: at unit weights the gradient falls only as a power of the depth.",
        respecified(activation="elu", activation_params={}, init="lecun_normal", gain=1.0),
        weights=even("lecun_normal"),
    ),
    Cure(
        "selu",
        "selu + lecun",
        "Mean 0 and variance 1 are its fixed point: pre-activations keep their size without a norm.",
        respecified(activation="selu", activation_params={}, init="lecun_normal", gain=1.0),
        weights=even("lecun_normal"),
    ),
    Cure(
        "scaled-residual",
        "{activation} + scaled residual",
        "Each layer adds a branch scaled by 1/sqrt(depth) to its input: most of the gradient goes by the skip.",
        respecified(residual=True),
    ),
    Cure(
        "lstm",
        "lstm, forget bias 1",
        "A memory that is multiplied by nothing but its forget gate, 0.73 in the beginning.",
        remakes=(recurrent.LSTM_ANEW,),
    ),
    Cure(
        "gru",
        "gru",
        "A state that is carried on by the gate z, with three quarters of an LSTM's weights.",
        remakes=(recurrent.GRU_ANEW,),
    ),
    Cure(
        "forget-bias",
        "forget bias 1",
        "The forget gate begins at 0.73 instead of 0.5: a half-life of 2.2 steps instead of 1, more through h.",
        remakes=(recurrent.FORGET_BIAS,),
    ),
    Cure(
        "chrono",
        "chrono biases",
        "Forget gates (z in a GRU) whose memories last from 1 step to the whole sequence; an RNN becomes an LSTM.",
        remakes=(recurrent.CHRONO, recurrent.CHRONO_Z, recurrent.CHRONO_ANEW),
    ),
    Cure(
        "orthogonal",
        "orthogonal",
        "All singular values 1: nothing shrinks or grows but by the slope of the activation and the gates.",
        remakes=(recurrent.ORTHOGONAL_ANEW,),
    ),
    Cure(
        "layer-norm",
        "lstm + layer norm",
        "What comes by x, by h and from the memory is divided by its spread over the units: no gate stands at an end.",
        remakes=(recurrent.LAYER_NORM,),
    ),
    Cure(
        "irnn",
        "irnn",
        "The identity as recurrent weights, and ReLU: in the beginning each step passes the state as it is.",
        remakes=(recurrent.IDENTITY,),
    ),
    Cure(
        "clip",
        "adam, clipped",
        "Scales a gradient whose norm exceeds 1 down to 1: a step that does not tear the weights.",
        clip_norm=1.0,
    ),
)

IN_TIME = ("clip", *(cure.id for cure in CURES if cure.remakes))
"""Cures of networks with recurrent layers."""
IN_DEPTH = tuple(cure.id for cure in CURES if cure.id not in IN_TIME and cure.id not in ("as-given", "adam"))
"""Cures of networks with activations."""


def fitting(net: Sequential) -> tuple[Cure, ...]:
    """The cures that are made for such a network."""
    modules = [module for _, module in net.named_modules()]
    in_time = any(isinstance(module, Recurrent) for module in modules)
    in_depth = not in_time or any(isinstance(module, Activation) for module in modules)
    left = (() if in_time else IN_TIME) + (() if in_depth else IN_DEPTH)
    return tuple(cure for cure in CURES if cure.id not in left)


def at_rates_of(net: Sequential, cures: Iterable[Cure]) -> tuple[Cure, ...]:
    """The cures with the learning rates to be tried on such a network."""
    in_time = any(isinstance(module, Recurrent) for _, module in net.named_modules())
    return tuple(replace(cure, in_time=True) if in_time and cure.optimizer == "adam" else cure for cure in cures)


def cure_ids() -> tuple[str, ...]:
    """Ids of all cures."""
    return tuple(cure.id for cure in CURES)


def by_ids(ids: object) -> tuple[Cure, ...]:
    """The cures of these ids, in the order of the table; the network as given always among them.

    Raises
    ------
    ValueError
        For an unknown id; the message lists the known ones.
    TypeError
        If `ids` is a single string or holds anything but strings.
    """
    if isinstance(ids, str) or not hasattr(ids, "__iter__"):
        raise TypeError(f"candidates is {ids!r}; expected a sequence of ids of cures")
    wanted = list(ids)
    for id in wanted:
        if id not in cure_ids():
            raise ValueError(f"candidates has {id!r}; expected ids among: {', '.join(cure_ids())}")
    return tuple(cure for cure in CURES if cure.id in wanted or cure is AS_GIVEN)
