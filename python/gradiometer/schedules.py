"""Learning rates over a run: values that say by what to multiply the optimiser's rate at a step.

A schedule keeps no state: its factor depends on the step, the length of the run and the validation losses so far. The
formulas are those of torch.optim.lr_scheduler, by steps instead of epochs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gradiometer.arguments import positive, real

__all__ = ["Cosine", "MultiStep", "OneCycle", "Plateau", "Schedule", "StepDecay", "WarmUp"]


class Schedule:
    """What all schedules are."""

    def factor(self, step: int, steps: int, val_losses: Sequence[float] = ()) -> float:
        """By what the rate is multiplied at `step` (1, 2, ...) of `steps`, after these validations."""
        raise NotImplementedError


@dataclass(frozen=True)
class StepDecay(Schedule):
    """Multiplied by `gamma` after every `every` steps (StepLR).

    Examples
    --------
    >>> [StepDecay(2, 0.5).factor(step, 6) for step in range(1, 7)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    """

    every: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        positive("every", self.every)
        real("gamma", self.gamma, 0.0, 1.0)

    def factor(self, step: int, steps: int, val_losses: Sequence[float] = ()) -> float:
        return float(self.gamma ** ((step - 1) // self.every))


@dataclass(frozen=True)
class MultiStep(Schedule):
    """Multiplied by `gamma` after each of the steps in `milestones` (MultiStepLR).

    Examples
    --------
    >>> [MultiStep([2, 3], 0.5).factor(step, 4) for step in range(1, 5)]
    [1.0, 1.0, 0.5, 0.25]
    """

    milestones: Sequence[int]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        for i, milestone in enumerate(self.milestones):
            positive(f"milestones[{i}]", milestone)
        real("gamma", self.gamma)

    def factor(self, step: int, steps: int, val_losses: Sequence[float] = ()) -> float:
        return float(self.gamma ** sum(milestone < step for milestone in self.milestones))


@dataclass(frozen=True)
class Cosine(Schedule):
    """From 1 to `floor`, a share of the rate, along half a cosine over the run (CosineAnnealingLR; Loshchilov & Hutter,
    arXiv:1608.03983)."""

    floor: float = 0.0

    def __post_init__(self) -> None:
        real("floor", self.floor, 0.0, 1.0)

    def factor(self, step: int, steps: int, val_losses: Sequence[float] = ()) -> float:
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * (step - 1) / steps)) / 2


@dataclass(frozen=True)
class WarmUp(Schedule):
    """From `start` to 1 along a line over the first `over` steps (LinearLR), then another schedule for the rest.

    Examples
    --------
    >>> [WarmUp(4, start=0.5).factor(step, 8) for step in (1, 3, 5, 8)]
    [0.5, 0.75, 1.0, 1.0]
    """

    over: int
    then: Schedule | None = None
    start: float = 1 / 3

    def __post_init__(self) -> None:
        positive("over", self.over)
        real("start", self.start, 0.0, 1.0)
        if not isinstance(self.then, Schedule | None):
            raise TypeError(f"then is {self.then!r}; expected one of gm.schedules")

    def factor(self, step: int, steps: int, val_losses: Sequence[float] = ()) -> float:
        if step <= self.over:
            return self.start + (1 - self.start) * (step - 1) / self.over
        return self.then.factor(step - self.over, steps - self.over, val_losses) if self.then else 1.0


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up from ``1 / divide`` to 1 over the share `rise` of the run, then down to ``1 / divide / divide_end``.

    Both along half a cosine (OneCycleLR; Smith & Topin, arXiv:1708.07120). The momentum stays as it is.
    """

    rise: float = 0.3
    divide: float = 25.0
    divide_end: float = 1e4

    def __post_init__(self) -> None:
        real("rise", self.rise, 0.0, 1.0)
        real("divide", self.divide, 1.0)
        real("divide_end", self.divide_end, 1.0)

    def factor(self, step: int, steps: int, val_losses: Sequence[float] = ()) -> float:
        low = 1 / self.divide
        top, end = self.rise * steps - 1, steps - 1
        if step - 1 <= top:
            return _cosine(low, 1.0, (step - 1) / top if top > 0 else 1.0)
        return _cosine(1.0, low / self.divide_end, (step - 1 - top) / (end - top) if end > top else 1.0)


@dataclass(frozen=True)
class Plateau(Schedule):
    """Multiplied by `gamma` when the validation loss has not fallen by the share `threshold` for more than `patience`
    epochs (ReduceLROnPlateau)."""

    patience: int = 10
    gamma: float = 0.1
    threshold: float = 1e-4

    def __post_init__(self) -> None:
        if self.patience != 0:
            positive("patience", self.patience)
        real("gamma", self.gamma, 0.0, 1.0)
        real("threshold", self.threshold, 0.0, 1.0)

    def factor(self, step: int, steps: int, val_losses: Sequence[float] = ()) -> float:
        best, bad, factor = math.inf, 0, 1.0
        for loss in val_losses:
            if loss < best * (1 - self.threshold) or (math.isinf(best) and loss < best):
                best, bad = loss, 0
            else:
                bad += 1
            if bad > self.patience:
                factor, bad = factor * self.gamma, 0
        return factor


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
