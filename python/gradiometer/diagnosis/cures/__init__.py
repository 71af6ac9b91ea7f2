"""The cures: what each changes in the description of a network, and how it is trained.

To add one: a row in `CURES`. Fields of ``MlpSpec`` named in `changes` replace those of the network given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["AS_GIVEN", "CURES", "Cure", "cure_ids"]

SGD_RATES = (1e-3, 1e-2, 1e-1)
ADAM_RATES = (1e-4, 3e-4, 1e-3)


@dataclass(frozen=True)
class Cure:
    """One way to change a network or its training.

    Attributes
    ----------
    id : str
    title : str
        For a table; ``{activation}`` stands for the activation of the network given.
    changes : mapping
        Fields of the description that it replaces; empty where only the training changes.
    optimizer : str
    rates : tuple of float
        Learning rates to try.
    why : str
        What it does to the gradient, in a sentence.
    """

    id: str
    title: str
    why: str
    optimizer: str = "adam"
    rates: tuple[float, ...] = ADAM_RATES
    changes: Mapping[str, Any] = field(default_factory=dict)


AS_GIVEN = Cure(
    "as-given",
    "as given",
    "The network untouched, trained by stochastic gradient descent with momentum.",
    optimizer="sgd",
    rates=SGD_RATES,
)

CURES: tuple[Cure, ...] = (
    AS_GIVEN,
    Cure(
        "adam",
        "adam alone",
        "Divides each gradient by its own size: it undoes the scale of a small gradient, not the loss of the input.",
    ),
    Cure(
        "batch-norm",
        "{activation} + batch norm",
        "Divides pre-activations by their spread over the batch, so that neither the input is lost nor the slope.",
        changes={"norm": "batch"},
    ),
    Cure(
        "fitted-init",
        "{activation} + fitted init",
        "Weights at the critical point of the activation, where the squared norm changes by 1 a layer.",
        changes={"init": "fitted"},
    ),
    Cure(
        "relu-he",
        "relu + he",
        "Slope 1 or 0, half of the time each, and weights that make up for the half.",
        changes={"activation": "relu", "activation_params": {}, "init": "he_normal"},
    ),
    Cure(
        "elu-lecun",
        "elu + lecun",
        "Slope 1 above 0 and near 1 just below: with unit weights the gradient falls only as a power of the depth.",
        changes={"activation": "elu", "activation_params": {}, "init": "lecun_normal"},
    ),
    Cure(
        "selu",
        "selu + lecun",
        "Mean 0 and variance 1 are its fixed point: pre-activations keep their size without a norm.",
        changes={"activation": "selu", "activation_params": {}, "init": "lecun_normal"},
    ),
    Cure(
        "scaled-residual",
        "{activation} + scaled residual",
        "Each layer adds to its input a branch scaled by 1/sqrt(depth): most of the gradient goes by the skip.",
        changes={"residual": True},
    ),
)


def cure_ids() -> tuple[str, ...]:
    """Ids of all cures."""
    return tuple(cure.id for cure in CURES)
