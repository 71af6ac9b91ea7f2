"""Where mini-batches come from: arrays in random order, or whatever gives (x, y) one after another."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Sized
from typing import TYPE_CHECKING, Any

import numpy as np

from gradiometer.arguments import array, finite
from gradiometer.losses import check_target
from gradiometer.sequences import Sequences, cut

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["ArrayBatches", "GivenBatches", "checked", "checked_samples", "converted"]

_FAULT = 1 << 16
"""Bytes that reading one row of a mapped file makes resident at least: Linux maps 16 pages around a fault."""
_MOST = 1 << 26
"""Bytes of a mapped file that stay resident between batches."""


def checked(network: Any, x: ArrayLike | Sequences, y: ArrayLike, loss: str) -> tuple[Any, NDArray[Any]]:
    """x (N, in_features), or (N, T, in_features) or `Sequences` for a network of those, and its target as arrays; those
    of a mapped file are not read, but for classes."""
    samples = checked_samples(network, x)
    if not network.every_step:
        return samples, check_target(loss, y, len(samples), network.out_features)
    mask = samples.mask if isinstance(samples, Sequences) else None
    return samples, check_target(loss, y, len(samples), network.out_features, samples.shape[1], mask)


def checked_samples(network: Any, x: ArrayLike | Sequences) -> Any:
    """x as an array, or `Sequences` as they are."""
    dimensions, expected = 2, f"(N, {network.in_features})"
    wanted = f"an array {expected}"
    if network.sequences:
        dimensions, expected = 3, f"(N, T, {network.in_features})"
        wanted = f"an array {expected} or gm.Sequences.of(x)"
    samples = x if isinstance(x, Sequences) else array("x", x, wanted)
    if samples.dtype.kind not in "fiub":
        apart = " or gm.Sequences.of(x)" * (network.sequences and samples.dtype.kind == "O")
        raise TypeError(f"x has dtype {samples.dtype}; expected real numbers{apart}")
    if samples.ndim != dimensions or samples.shape[-1] != network.in_features or 0 in samples.shape[1:]:
        raise ValueError(f"x has shape {samples.shape}; expected {expected}")
    return samples


def converted(network: Any, x: Any, y: NDArray[Any]) -> tuple[Any, NDArray[Any]]:
    """In the network's dtype; classes stay int64. ValueError for NaN, infinity, and what is infinite in that dtype."""
    dtype = network.parameters.dtype
    with np.errstate(over="ignore"):
        array = x.x.astype(dtype, copy=False) if isinstance(x, Sequences) else np.ascontiguousarray(x, dtype)
        classes = y.dtype == np.int64 and y.ndim == 1 + network.every_step
        target = y if classes else np.ascontiguousarray(y, dtype)
    finite("x", array)
    if not isinstance(x, Sequences):
        return array, finite("y", target)
    return x if array is x.x else Sequences(array, x.lengths), finite("y", target)


class ArrayBatches:
    """Rows of x and y, in an order drawn anew for every epoch.

    The last batch of an epoch may be smaller; a single sample left over joins no batch. Arrays are converted once; of
    a mapped file (``np.memmap`` open for reading) a batch at a time is, and what was read is given back.
    """

    def __init__(self, network: Any, x: ArrayLike | Sequences, y: ArrayLike, loss: str, batch_size: int) -> None:
        self.network, self.batch_size = network, batch_size
        self.x, self.y = checked(network, x, y, loss)
        arrays = (self.x.x if isinstance(self.x, Sequences) else self.x, self.y)
        self._each = arrays[0].strides[0]
        self._mapped = [m for m in map(_mapping, arrays) if m is not None]
        self._resident = 0
        if not self._mapped:
            self.x, self.y = converted(network, self.x, self.y)

    @property
    def per_epoch(self) -> int:
        """Batches in one pass."""
        whole, rest = divmod(len(self.x), self.batch_size)
        return max(1, whole + (rest > 1 or (rest == 1 and self.batch_size == 1)))

    def epoch(self, rng: np.random.Generator, skip: int = 0) -> Iterator[tuple[Any, NDArray[Any], bool]]:
        """x, y and whether the batch is the last, of all batches of an epoch but the first `skip`.

        Of `Sequences` a batch has the steps of its own longest.
        """
        order = rng.permutation(len(self.x))
        for b in range(skip, self.per_epoch):
            rows = order[b * self.batch_size : (b + 1) * self.batch_size]
            x, y = cut(self.x, rows), self.y[rows]
            batch = converted(self.network, x, y[:, : x.shape[1]] if self.network.every_step else y)
            self._give_back(len(rows))
            yield *batch, b == self.per_epoch - 1

    def _give_back(self, rows: int) -> None:
        self._resident += rows * max(_FAULT, self._each)
        if self._resident > _MOST:
            for mapping in self._mapped:
                mapping.madvise(mmap.MADV_DONTNEED)
            self._resident = 0


class GivenBatches:
    """Batches (x, y) from an iterable; an epoch is one pass. An iterator gives one epoch."""

    def __init__(self, network: Any, batches: Iterable[Any], loss: str) -> None:
        self.network, self.batches, self.loss = network, batches, loss
        self.once = iter(batches) is batches

    @property
    def per_epoch(self) -> int | None:
        """Batches in one pass, where the iterable has a length."""
        return len(self.batches) if isinstance(self.batches, Sized) else None

    def epoch(self, rng: np.random.Generator, skip: int = 0) -> Iterator[tuple[Any, NDArray[Any], bool]]:
        """x, y and whether the batch is the last, of all batches of an epoch but the first `skip`."""
        before = None
        for i, batch in enumerate(self.batches):
            if i < skip:
                continue
            if not isinstance(batch, tuple | list) or len(batch) != 2:
                raise TypeError(f"a batch of train is {type(batch).__name__}; expected a pair (x, y)")
            if before is not None:
                yield *before, False
            before = converted(self.network, *checked(self.network, batch[0], batch[1], self.loss))
        if before is not None:
            yield *before, True


def _mapping(array: NDArray[Any]) -> mmap.mmap | None:
    """The file mapping beneath an array whose pages may be dropped and read again."""
    base: Any = array
    writable = False
    while base is not None and not isinstance(base, mmap.mmap):
        writable = writable or getattr(base, "mode", "r") == "c"  # private pages would be lost
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    return base if base is not None and not writable and hasattr(base, "madvise") else None
