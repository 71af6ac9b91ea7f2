"""Train, validation and test part: how they are cut and standardised."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

__all__ = ["Samples", "Splits", "Standard", "stratified_parts"]


@dataclass(frozen=True, eq=False, repr=False)
class Samples:
    """Inputs and targets of some samples: a pair ``x, y``, also as ``[0], [1]``, that is cut like an array.

    Attributes
    ----------
    x : ndarray of float32 (N, C) or (N, T, C), C-contiguous, or Sequences
    y : ndarray
        int64 (N) class indices, or (N, T) of every step, or float32 (N, K) values.

    Examples
    --------
    >>> samples = Samples(np.zeros((5, 2), np.float32), np.arange(5))
    >>> x, y = samples[1:3]
    >>> x.shape, y
    ((2, 2), array([1, 2]))
    >>> samples[0] is samples.x, samples[1] is samples.y
    (True, True)
    """

    x: Any
    y: NDArray[Any]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.x, self.y))

    def __len__(self) -> int:
        return len(self.x)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice | NDArray[Any] | list[int] | list[bool]) -> Samples: ...

    def __getitem__(self, index: int | slice | NDArray[Any] | list[int] | list[bool]) -> Any:
        """The samples of a slice, of an array of indices or of a mask; of 0 and 1 the pair's x and y."""
        if isinstance(index, int | np.integer):
            if 0 <= index <= 1:
                return self.y if index else self.x
            raise IndexError(f"samples[{index}]: samples are a pair, [0] is x and [1] is y; expected a slice")
        if not isinstance(index, slice | np.ndarray | list):
            raise TypeError(f"samples are cut by a slice, an index array or a mask, got {index!r}")
        return Samples(self.x[index], self.y[index])

    def __repr__(self) -> str:
        lengths = "" if isinstance(self.x, np.ndarray) else " of lengths"
        return f"Samples(x {self.x.dtype} {self.x.shape}{lengths}, y {self.y.dtype} {self.y.shape})"


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set in three parts; unpacks as ``train, val, test``.

    Attributes
    ----------
    train, val, test : Samples
        Inputs standardised by the statistics of `train`.
    name : str
    task : str
        ``"classification"`` (y int64 class indices) or ``"regression"`` (y float32 (N, K), standardised too).
    classes : tuple of str
        Label of each class index; empty for regression.
    features : tuple of str
        Name of each column of x; empty if they have none.
    mean, scale : ndarray of float64 (C)
        ``x = (raw - mean) / scale``; scale is inf for a feature that is constant in `train`, which so becomes
        0.
    target_mean, target_scale : ndarray of float64 (K)
        The same for the targets of regression; empty for classification.
    target : str
        Name of what is predicted; empty if it has none.
    dropped : int
        Rows with missing values that were left out.
    baseline : float
        Loss on `test` of who sees nothing but what the data set's description says; NaN where it says nothing.
    """

    train: Samples
    val: Samples
    test: Samples
    name: str
    task: str
    classes: tuple[str, ...]
    features: tuple[str, ...]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    target_mean: NDArray[np.float64]
    target_scale: NDArray[np.float64]
    target: str = ""
    dropped: int = 0
    baseline: float = math.nan

    @property
    def outputs(self) -> int:
        """Outputs that a network for this data needs: classes, or values a sample."""
        return len(self.classes) or int(self.train.y.shape[-1])

    def __iter__(self) -> Iterator[Samples]:
        return iter((self.train, self.val, self.test))

    def __str__(self) -> str:
        sizes = [len(part) for part in self]
        what = f"{sum(sizes)}x{self.train.x.shape[1]}"
        if self.train.x.ndim == 3:
            low, high = zip(*(steps(part.x) for part in self), strict=True)
            span = f"{min(low)} to {max(high)}" if min(low) < max(high) else f"{max(high)}"
            what = f"{sum(sizes)} sequences of {span} steps x{self.train.x.shape[2]}"
        standardised = " standardised" if np.any(self.mean) or np.any(self.scale != 1.0) else ""
        return f"{self.name} {what}{standardised} ({sizes[0]} train, {sizes[1]} validation, {sizes[2]} test)"

    __repr__ = __str__


def steps(x: Any) -> tuple[int, int]:
    """Steps of the shortest and of the longest sequence."""
    lengths = getattr(x, "lengths", None)
    return (x.shape[1], x.shape[1]) if lengths is None else (int(lengths.min()), int(lengths.max()))


@dataclass(frozen=True, eq=False)
class Standard:
    """Mean and standard deviation of columns, those of a constant column replaced by inf."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Standard:
        # Not `std == 0`: the standard deviation of a column of 0.1 is 1.4e-17.
        constant = values.max(axis=0) == values.min(axis=0)
        return cls(values.mean(axis=0), np.where(constant, math.inf, values.std(axis=0)))

    def apply(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        return np.ascontiguousarray((values - self.mean) / self.scale, dtype=np.float32)


def stratified_parts(
    labels: NDArray[np.int64], fractions: tuple[float, ...], rng: np.random.Generator
) -> tuple[NDArray[np.int64], ...]:
    """Indices of random parts in which every class has its share to within one sample.

    Parameters
    ----------
    labels : ndarray of int64 (N)
    fractions : tuple of float
        The first part gets ``ceil(f N)`` samples, the others their fraction of all, rounded; the last part,
        which is not named, gets the rest.
    rng : Generator

    Returns
    -------
    tuple of ndarray
        One more than there are fractions, each in random order.
    """
    shuffled = rng.permutation(labels.size)
    place = np.empty(labels.size)
    for label in np.unique(labels):
        members = np.flatnonzero(labels[shuffled] == label)
        place[members] = (np.arange(members.size) + 0.5) / members.size
    # Sorted by place, each class is spread evenly: any stretch holds its share. A lone sample has place 1/2.
    spread = shuffled[np.argsort(place, kind="stable")]
    sizes = [math.ceil(fractions[0] * labels.size), *(round(f * labels.size) for f in fractions[1:])]
    return tuple(rng.permutation(part) for part in np.split(spread, np.cumsum(sizes)))
