"""The cures. To add one: a row in `CURES`, and what it does to a network in a file beside this one."""

from __future__ import annotations

from gradiometer.diagnosis.cures.cure import Cure, NotApplicable
from gradiometer.diagnosis.cures.rebuild import even, respecified
from gradiometer.diagnosis.cures.refit import refit, refitted

__all__ = ["AS_GIVEN", "CURES", "Cure", "NotApplicable", "by_ids", "cure_ids"]

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
)


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
