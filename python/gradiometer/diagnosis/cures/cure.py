from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradiometer.diagnosis.listing import Weights
from gradiometer.optim import Optimizer

if TYPE_CHECKING:
    from gradiometer.diagnosis.cures.recurrent import Remake
    from gradiometer.networks import Sequential

__all__ = ["Cure", "NotApplicable"]

MOMENTUM = 0.9
RATES = {"sgd": (1e-3, 1e-2, 1e-1), "adam": (1e-4, 3e-4, 1e-3)}
RATES_IN_TIME = (1e-3, 3e-3, 1e-2)
"""Of Adam: an LSTM of 32 units on spoken vowels has 0.73 after 105 steps at 0.001."""


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
    remakes : tuple of Remake
        How it makes recurrent layers anew, a way for each kind of cell; what has any is tried on them only.
    clip_norm : float, optional
        The norm that gradients are scaled down to in training.
    in_time : bool
        Whether it is tried on a recurrent network, which takes larger rates.
    """

    id: str
    title: str
    why: str
    apply: Callable[[Sequential, int], Sequential] = keep
    optimizer: str = "adam"
    weights: Callable[[Sequential], Weights] | None = None
    remakes: tuple[Remake, ...] = ()
    clip_norm: float | None = None
    in_time: bool = False

    def build(self, net: Sequential, seed: int, steps: int) -> Sequential:
        """The changed network; `steps` are those of the longest sequences, 0 where samples are single rows."""
        if not self.remakes:
            return self.apply(net, seed)
        reasons = []
        for remake in self.remakes:
            try:
                return remake.applied(net, seed, steps)
            except NotApplicable as reason:
                reasons.append(str(reason))
        raise NotApplicable(reasons[0])

    def remake(self, made: Sequential) -> Remake | None:
        """The way in which a network was made anew, from what came of it."""
        return next((way for way in self.remakes if way.made(made)), None)

    @property
    def rates(self) -> tuple[float, ...]:
        """Learning rates to try."""
        return RATES_IN_TIME if self.in_time else RATES[self.optimizer]

    def trainer(self, rate: float) -> Optimizer:
        """The optimiser at a learning rate."""
        return Optimizer(self.optimizer, rate, **({"momentum": MOMENTUM} if self.optimizer == "sgd" else {}))
