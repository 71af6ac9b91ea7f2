from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradiometer.diagnosis.listing import Weights
from gradiometer.optim import Optimizer

if TYPE_CHECKING:
    from gradiometer.networks import Sequential

__all__ = ["Cure", "NotApplicable"]

MOMENTUM = 0.9
RATES = {"sgd": (1e-3, 1e-2, 1e-1), "adam": (1e-4, 3e-4, 1e-3)}


class NotApplicable(Exception):
    """A cure cannot be tried on a network; the text says why."""


def keep(net: Sequential, seed: int) -> Sequential:
    """The network itself, weights and all, as a copy."""
    copy: Sequential = net.copy()  # type: ignore[assignment]
    return copy


@dataclass(frozen=True)
class Cure:
    """One way to change a network or its training.

    Attributes
    ----------
    id : str
    title : str
        For a table; ``{activation}`` stands for the activation of the network given.
    why : str
        What it does to the gradient, in a sentence.
    apply : callable
        ``apply(net, seed)`` makes the changed network and leaves `net` alone; raises `NotApplicable`.
    optimizer : str
    weights : callable, optional
        ``weights(net)``: how `apply` initialises the Linear layers of a network that ``gm.mlp`` did not build; None
        where it keeps their weights.
    """

    id: str
    title: str
    why: str
    apply: Callable[[Sequential, int], Sequential] = keep
    optimizer: str = "adam"
    weights: Callable[[Sequential], Weights] | None = None

    @property
    def rates(self) -> tuple[float, ...]:
        """Learning rates to try."""
        return RATES[self.optimizer]

    def trainer(self, rate: float) -> Optimizer:
        """The optimiser at a learning rate."""
        return Optimizer(self.optimizer, rate, **({"momentum": MOMENTUM} if self.optimizer == "sgd" else {}))
