"""Sequences of different lengths in one array."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradiometer.arguments import array

__all__ = ["Sequences", "cut", "split", "within"]


@dataclass(frozen=True, eq=False, repr=False)
class Sequences:
    """Samples of one length each: what is beyond it is 0, is not computed and bears no gradient.

    It goes wherever an x of shape (N, T, C) goes, and is cut like it along the samples.

    Parameters
    ----------
    x : ndarray of float32 or float64 (N, T, C)
    lengths : array_like of int (N)
        From 1 to T.

    Attributes
    ----------
    x : ndarray (N, T, C), C-contiguous
        A copy with zeros beyond the lengths where they were not zeros already.
    lengths : ndarray of int64 (N)

    Raises
    ------
    ValueError, TypeError
        For other shapes, types or lengths.

    Examples
    --------
    >>> both = Sequences.of([np.ones((2, 3)), np.ones((4, 3))])
    >>> both
    Sequences(2 of 2 to 4 steps x 3, float64)
    >>> both[1:].lengths
    array([4])
    >>> both[0].shape  # a sample by itself, as long as it is
    (2, 3)
    """

    x: NDArray[Any]
    lengths: NDArray[np.int64]

    def __init__(self, x: NDArray[Any], lengths: ArrayLike) -> None:
        x = array("x", x, "an array (N, T, C), or gm.Sequences.of(x)")
        if x.ndim != 3 or 0 in x.shape:
            raise ValueError(f"x has shape {x.shape}; expected (N, T, C), each 1 or more")
        if x.dtype not in (np.float32, np.float64):
            raise TypeError(f"x has dtype {x.dtype}; expected float32 or float64")
        found = array("lengths", lengths, "whole numbers (N,)")
        if found.shape != (len(x),):
            raise ValueError(f"lengths has shape {found.shape}; expected ({len(x)},), one a sequence")
        if found.dtype.kind not in "iu":
            raise TypeError(f"lengths has dtype {found.dtype}; expected whole numbers")
        wrong = np.flatnonzero((found < 1) | (found > x.shape[1]))
        if wrong.size:
            raise ValueError(f"lengths[{wrong[0]}] is {found[wrong[0]]}; expected 1 to {x.shape[1]}, the steps of x")
        beyond = np.arange(x.shape[1]) >= found[:, None]
        if x[beyond].any() or np.isnan(x[beyond]).any():
            x = np.where(beyond[:, :, None], x.dtype.type(0), x)
        object.__setattr__(self, "x", np.ascontiguousarray(x))
        object.__setattr__(self, "lengths", found.astype(np.int64))

    @classmethod
    def of(cls, sequences: Sequence[ArrayLike]) -> Sequences:
        """Pad sequences (T_n, C) of float32 or float64 with zeros to the longest of them."""
        if not isinstance(sequences, Iterable):
            raise TypeError(f"sequences is {type(sequences).__name__}; expected arrays (T_n, C)")
        arrays = [array("a sequence", each, "an array (T_n, C)") for each in sequences]
        if not arrays or any(a.ndim != 2 or a.shape[1] != arrays[0].shape[1] for a in arrays):
            shapes = sorted({a.shape for a in arrays})
            raise ValueError(f"sequences has shapes {shapes[:3]}; expected (T_n, C) with the same C, one or more")
        for a in arrays:
            if a.dtype not in (np.float32, np.float64):
                raise TypeError(f"sequences has an array of dtype {a.dtype}; expected float32 or float64")
        empty = next((n for n, a in enumerate(arrays) if not len(a)), None)
        if empty is not None:
            raise ValueError(f"sequences[{empty}] has no steps; expected 1 or more")
        dtype = np.result_type(*arrays)
        x = np.zeros((len(arrays), max(map(len, arrays)), arrays[0].shape[1]), dtype)
        for row, a in zip(x, arrays, strict=True):
            row[: len(a)] = a
        return cls(x, [len(a) for a in arrays])

    @property
    def shape(self) -> tuple[int, int, int]:
        """That of x."""
        return self.x.shape

    @property
    def ndim(self) -> int:
        """3."""
        return 3

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of x."""
        return self.x.dtype

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(N, T), True for the steps within a sample's length."""
        return np.asarray(np.arange(self.x.shape[1]) < self.lengths[:, None])

    def __len__(self) -> int:
        return len(self.x)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        raise TypeError("an array would lose the lengths; expected .x and .lengths")

    @overload
    def __getitem__(self, index: int) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, index: slice | NDArray[Any] | list[int] | list[bool]) -> Sequences: ...
    def __getitem__(self, index: Any) -> Sequences | NDArray[Any]:
        """Some of the samples: by a slice, an array of indices or a mask. By a number one of them, (T_n, C)."""
        if isinstance(index, int | np.integer) and not isinstance(index, bool):
            return np.asarray(self.x[index, : self.lengths[index]])
        if not isinstance(index, slice | np.ndarray | list):
            raise TypeError(f"sequences are cut by a number, a slice, an index array or a mask, got {index!r}")
        return Sequences(self.x[index], self.lengths[index])

    def __repr__(self) -> str:
        low, high = int(self.lengths.min()), int(self.lengths.max())
        steps = f"{low} steps" if low == high else f"{low} to {high} steps"
        return f"Sequences({len(self)} of {steps} x {self.shape[2]}, {self.dtype})"


def split(x: Any) -> tuple[Any, NDArray[np.int64] | None]:
    """The array and the lengths of `Sequences`, None where all are as long as the array; else `x` and None. TypeError
    for lists of unequal lengths."""
    if not isinstance(x, Sequences):
        return array("x", x, "an array, or gm.Sequences.of(x)") if isinstance(x, list | tuple) else x, None
    return x.x, None if (x.lengths == x.shape[1]).all() else x.lengths


def cut(x: Any, rows: NDArray[Any]) -> Any:
    """Those rows of x, and of `Sequences` no more steps than the longest of them has."""
    if not isinstance(x, Sequences):
        return x[rows]
    lengths = x.lengths[rows]
    return Sequences(x.x[rows, : lengths.max()], lengths)


def within(x: Any, by_step: NDArray[Any]) -> NDArray[Any]:
    """What there is for every step of x, (N, T, ...), as rows of the steps within the lengths."""
    if isinstance(x, Sequences):
        return np.asarray(by_step[x.mask])
    return by_step.reshape(-1, *by_step.shape[2:])
