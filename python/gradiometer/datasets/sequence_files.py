"""Sequences of your own: an .npz file of arrays."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradiometer.arguments import choice, generator
from gradiometer.datasets.files import Table, checked_pair, encode_target, parts_of, read_arrays
from gradiometer.datasets.splits import Samples, Splits, Standard
from gradiometer.sequences import Sequences

__all__ = ["load_sequences"]

_LEAST = 10
_PARTS = ("train", "val", "test")


def load_sequences(
    path: str | os.PathLike[str], *, task: Literal["classification", "regression"] | None = None, rng: Any = 0
) -> Splits:
    """Read sequences, cut them 64 : 16 : 20 into training, validation and test part, and standardise them.

    Classes of whole sequences keep their shares in each part. Every channel is standardised by the steps of the
    training part within the lengths, and so are values to regress on.

    Parameters
    ----------
    path : path
        ``.npz`` with the arrays

        - ``x`` (N, T, C): samples, steps, channels; numbers;
        - ``lengths`` (N): whole numbers, 1 to T, of sequences that are padded to T; without it all have T steps;
        - ``y``: (N) whole numbers or words, a class a sequence; (N, K) numbers that are not whole or, for
          ``task="regression"``, any, K values a sequence; (N, T) whole numbers or words, a class a step; (N, T, K),
          K values a step. What is beyond a length is not read.

        Or the same for each part, x_train, y_train, lengths_train and so on with val and test; val may be missing.
    task : "classification" or "regression", optional
        By default whole numbers and words are classes, other numbers values to regress on.
    rng : None, int, SeedSequence or Generator
        Decides the cut; the same seed gives the same parts.

    Returns
    -------
    Splits
        x float32 (N, T, C), or Sequences where there are lengths; a channel that is constant is carried as 0.

    Raises
    ------
    ValueError
        For anything in the file that is not as stated; the message names the file and the array.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "walks.npz"
    >>> steps = np.random.default_rng(0).normal(size=(50, 9, 2))
    >>> np.savez(file, x=steps, y=steps.sum(axis=(1, 2)) > 0, lengths=np.arange(50) % 5 + 5)
    >>> data = load_sequences(file)
    >>> print(data)
    walks.npz 50 sequences of 5 to 9 steps x2 standardised (32 train, 8 validation, 10 test)
    >>> data.train.x
    Sequences(32 of 5 to 9 steps x 2, float32)
    """
    path = Path(path)
    if task is not None:
        choice("task", task, ("classification", "regression"))
    if path.suffix.lower() != ".npz":
        raise ValueError(f"path must end in .npz, got {path}")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    x, y, lengths, part = _arrays(path)
    if len(x) < _LEAST:
        raise ValueError(f"{path} has {len(x)} sequences, expected at least {_LEAST}")
    N, T, _ = x.shape
    within = np.arange(T) < lengths[:, None]
    each_step = y.ndim == 3 or (y.ndim == 2 and task != "regression" and _labels(y))
    if y.ndim > 3 or (each_step and y.shape[1] != T):
        hint = '; choose task="regression" (--loss mse) for values a sequence' if y.ndim == 2 else ""
        raise ValueError(f"{path}: array y has shape {y.shape}, expected ({N}) or ({N}, {T}) and what each has{hint}")
    rows = y[within] if each_step else y
    classes, coded = encode_target(Table(path, (), np.empty((len(rows), 0)), rows, "y"), task)
    if each_step:
        target = np.zeros((N, T, *coded.shape[1:]), coded.dtype)
        target[within] = coded
    else:
        target = coded
    train, val, test = parts_of(
        part, target if classes and not each_step else np.zeros(N, np.int64), generator("rng", rng)
    )
    standard = Standard.of(x[train][within[train]])
    target_standard = Standard(np.empty(0), np.empty(0))
    if not classes:
        target_standard = Standard.of(target[train][within[train]] if each_step else target[train])
        target = target_standard.apply(target)
        if each_step:
            target[~within] = 0
    made = standard.apply(x)
    made[~within] = 0

    def of(chosen: NDArray[np.int64]) -> Samples:
        some = made[chosen]
        return Samples(some if (lengths == T).all() else Sequences(some, lengths[chosen]), target[chosen])

    return Splits(
        train=of(train),
        val=of(val),
        test=of(test),
        name=path.name,
        task="classification" if classes else "regression",
        classes=classes,
        features=(),
        mean=standard.mean,
        scale=standard.scale,
        target_mean=target_standard.mean,
        target_scale=target_standard.scale,
        target="y",
    )


def _labels(y: NDArray[Any]) -> bool:
    """Whole numbers or words."""
    return y.dtype.kind in "biuU" or bool((y == np.round(y)).all())


def _arrays(path: Path) -> tuple[NDArray[np.float64], NDArray[Any], NDArray[np.int64], NDArray[np.str_] | None]:
    """x (N, T, C), y, lengths, and the part of every sequence where the file says it."""
    arrays = read_arrays(path)
    for name in arrays:
        meant, part = get_close_matches(name.partition("_")[0], ("x", "y", "lengths"), 1), name.partition("_")[2]
        if meant == ["lengths"] and not name.startswith("lengths"):
            raise ValueError(f"{path} has an array {name}; expected lengths{'_' * bool(part)}{part}")
    if {"x", "y"} <= arrays.keys():
        return (*_part(path, arrays, ""), None)
    if not {"x_train", "y_train", "x_test", "y_test"} <= arrays.keys():
        raise ValueError(
            f"{path} must hold arrays x and y (and lengths), or x_train, y_train, x_test, y_test (and lengths_train, "
            f"lengths_test, and all of val); it holds {', '.join(sorted(arrays)) or 'none'}"
        )
    names = [name for name in _PARTS if f"x_{name}" in arrays]
    parts = [_part(path, arrays, f"_{name}") for name in names]
    shapes = sorted({(x.shape[2], y.ndim) for x, y, _ in parts})
    steps = {x.shape[1] for x, _, _ in parts}
    if len(shapes) > 1 or len({y.shape[2:] for _, y, _ in parts}) > 1:
        raise ValueError(f"{path}: the parts differ in channels of x or dimensions of y: {shapes}")
    if len(steps) > 1:
        raise ValueError(
            f"{path}: the parts have {sorted(steps)} steps; expected the same, padded, and lengths of each"
        )
    x, y, lengths = (np.concatenate(each) for each in zip(*parts, strict=True))
    return x, y, lengths, np.repeat(names, [len(part[0]) for part in parts])


def _part(
    path: Path, arrays: dict[str, NDArray[Any]], suffix: str
) -> tuple[NDArray[np.float64], NDArray[Any], NDArray[np.int64]]:
    x, y = arrays[f"x{suffix}"], arrays.get(f"y{suffix}")
    if x.ndim != 3 or 0 in x.shape:
        raise ValueError(f"{path}: array x{suffix} has shape {x.shape}, expected (N, T, C): samples, steps, channels")
    lengths = arrays.get(f"lengths{suffix}", np.full(len(x), x.shape[1]))
    if lengths.shape != (len(x),) or lengths.dtype.kind not in "iu":
        raise ValueError(
            f"{path}: array lengths{suffix} is {lengths.dtype} {lengths.shape}, expected whole numbers ({len(x)},)"
        )
    wrong = np.flatnonzero((lengths < 1) | (lengths > x.shape[1]))
    if wrong.size:
        raise ValueError(
            f"{path}: lengths{suffix}[{wrong[0]}] is {lengths[wrong[0]]}, expected 1 to {x.shape[1]}, the steps of x"
        )
    beyond = np.arange(x.shape[1]) >= lengths[:, None]
    known = {f"x{suffix}": _without(x, beyond)}
    if y is not None:
        known[f"y{suffix}"] = _without(y, beyond) if y.shape[:2] == x.shape[:2] else y
    x, y = checked_pair(path, known, f"x{suffix}", f"y{suffix}")
    return x.astype(np.float64), y, lengths.astype(np.int64)


def _without(array: NDArray[Any], beyond: NDArray[np.bool_]) -> NDArray[Any]:
    """With 0 where a step is not read: padding may be NaN."""
    if array.dtype.kind not in "f" or not beyond.any():
        return array
    array = array.copy()
    array[beyond] = 0
    return array
