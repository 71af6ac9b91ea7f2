"""Tasks made to ask for memory: what must be known at the end was seen long before."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradiometer.arguments import generator
from gradiometer.datasets.splits import Samples, Splits

__all__ = ["adding", "copy_memory"]

SYMBOLS, RECALLED = 8, 10
BLANK, DELIMITER = SYMBOLS, SYMBOLS + 1


def adding(
    steps: int = 100, *, train: int = 10_000, val: int = 1_000, test: int = 1_000, rng: Any = 0, dtype: Any = np.float32
) -> Splits:
    """The adding problem: add the two numbers of a sequence that are marked (Hochreiter & Schmidhuber 1997).

    Every step has a number from U(0, 1) and a mark; two steps are marked by 1, one in each half. The target is the sum
    of their numbers. Who always answers 1 has a mean squared error of 1/6: that is the `baseline`.

    Parameters
    ----------
    steps : int
        2 or more.
    train, val, test : int
        Sequences in each part.
    rng : None, int, SeedSequence or Generator
    dtype : float32 or float64

    Returns
    -------
    Splits
        x (N, steps, 2), y (N, 1), neither standardised.

    Examples
    --------
    >>> data = adding(steps=6, train=4, val=2, test=2)
    >>> x, y = data.train
    >>> float((x[0, :, 0] * x[0, :, 1]).sum() - y[0, 0])
    0.0
    >>> print(f"{data.baseline:.6f}")
    0.166667
    """
    count("steps", steps, 2)
    random = generator("rng", rng)

    def some(name: str, size: int) -> Samples:
        count(name, size, 1)
        numbers = random.random((size, steps)).astype(dtype)
        rows = np.arange(size)
        first = random.integers(0, steps // 2, size)
        second = random.integers(steps // 2, steps, size)
        marks = np.zeros_like(numbers)
        marks[rows, first] = marks[rows, second] = 1
        y = numbers[rows, first] + numbers[rows, second]
        return Samples(np.stack([numbers, marks], axis=2), y[:, None])

    return synthetic(
        (some("train", train), some("val", val), some("test", test)),
        name=f"adding-{steps}",
        features=("number", "mark"),
        baseline=1 / 6,
    )


def copy_memory(
    steps: int = 100, *, train: int = 10_000, val: int = 500, test: int = 500, rng: Any = 0, dtype: Any = np.float32
) -> Splits:
    """The copy memory problem: ten symbols, a long wait, then say them again (Arjovsky 2016, after Hochreiter 1997).

    Ten symbols of eight kinds, ``steps - 1`` blanks, a delimiter, ten blanks; at each of the last ten steps the target
    is a symbol in the order in which they came, before it is blank. Who remembers nothing has a cross-entropy of
    ``10 ln(8) / (steps + 20)``, averaged over all steps: that is the `baseline`.

    Parameters
    ----------
    steps : int
        1 or more; a sequence has 20 more.
    train, val, test : int
        Sequences in each part.
    rng : None, int, SeedSequence or Generator
    dtype : float32 or float64

    Returns
    -------
    Splits
        x (N, steps + 20, 10), one of its columns 1 at each step (symbols, blank, delimiter); y int64 (N, steps + 20),
        of 9 classes (symbols, blank).

    Examples
    --------
    >>> data = copy_memory(steps=2, train=1, val=1, test=1)
    >>> data.train.x[0].argmax(axis=1)
    array([6, 5, 4, 2, 2, 0, 0, 0, 1, 6, 8, 9, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8])
    >>> data.train.y[0]
    array([8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 6, 5, 4, 2, 2, 0, 0, 0, 1, 6])
    """
    count("steps", steps, 1)
    random = generator("rng", rng)
    length = steps + 2 * RECALLED

    def some(name: str, size: int) -> Samples:
        count(name, size, 1)
        symbols = random.integers(0, SYMBOLS, (size, RECALLED))
        said = np.full((size, length), BLANK)
        said[:, :RECALLED] = symbols
        said[:, RECALLED + steps - 1] = DELIMITER
        y = np.full((size, length), BLANK)
        y[:, -RECALLED:] = symbols
        return Samples(one_hot(said, DELIMITER + 1, dtype), y)

    kinds = (*(f"symbol {i}" for i in range(SYMBOLS)), "blank")
    return synthetic(
        (some("train", train), some("val", val), some("test", test)),
        name=f"copy-{steps}",
        features=(*kinds, "delimiter"),
        classes=kinds,
        baseline=RECALLED * math.log(SYMBOLS) / length,
    )


def one_hot(codes: NDArray[np.int64], kinds: int, dtype: Any) -> NDArray[Any]:
    """A column a kind, 1 in that of the code and 0 in the others."""
    x: NDArray[Any] = np.zeros((*codes.shape, kinds), dtype)
    np.put_along_axis(x, codes[..., None], 1, axis=-1)
    return x


def count(name: str, value: Any, least: int) -> None:
    """Refuses what is no whole number of `least` or more."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} is {value!r}; expected a whole number")
    if value < least:
        raise ValueError(f"{name} is {value}; expected {least} or more")


def synthetic(
    parts: tuple[Samples, Samples, Samples],
    *,
    name: str,
    features: tuple[str, ...],
    baseline: float,
    classes: tuple[str, ...] = (),
) -> Splits:
    """Parts whose numbers stay as they are."""
    train, val, test = parts
    values = 0 if classes else train.y.shape[-1]
    return Splits(
        train=train,
        val=val,
        test=test,
        name=name,
        task="classification" if classes else "regression",
        classes=classes,
        features=features,
        mean=np.zeros(len(features)),
        scale=np.ones(len(features)),
        target_mean=np.zeros(values),
        target_scale=np.ones(values),
        baseline=baseline,
    )
