"""Handwritten digits, 8x8 pixels.

Optical Recognition of Handwritten Digits (the 1797 digits of its test set), E. Alpaydin and C. Kaynak, 1998,
UCI Machine Learning Repository, https://doi.org/10.24432/C50P49, licensed under Creative Commons Attribution
4.0 International (CC BY 4.0), https://creativecommons.org/licenses/by/4.0/. Changes: stored as one byte a
pixel and compressed, with a permutation into training, validation and test part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gradiometer.arguments import generator
from gradiometer.datasets.splits import Samples, Splits, Standard

__all__ = ["digits", "sequential_digits"]

_PARTS = (1150, 287, 360)


def digits() -> Splits:
    """Handwritten digits: 1797 images of 8x8 pixels, classes 0 to 9 (Alpaydin & Kaynak 1998, CC BY 4.0).

    Cut by one fixed stratified permutation into 1150 samples for training, 287 for validation and 360 for
    test (the file's own order is by writer: cut in that order, test accuracy falls by 6 %). Standardised by
    the training part; pixels that are constant there are 0.

    Returns
    -------
    Splits
        x float32 (N, 64), y int64 (N).

    Examples
    --------
    >>> train, val, test = digits()
    >>> train
    Samples(x float32 (1150, 64), y int64 (1150,))
    >>> print(digits())
    digits 1797x64 standardised (1150 train, 287 validation, 360 test)
    """
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as file:
        order = file["order"]
        x, y = file["x"][order].astype(np.float64), file["y"][order].astype(np.int64)
    cuts = np.cumsum(_PARTS)[:-1]
    standard = Standard.of(x[: _PARTS[0]])
    inputs, labels = np.split(standard.apply(x), cuts), np.split(y, cuts)
    train, val, test = (Samples(*part) for part in zip(inputs, labels, strict=True))
    return Splits(
        train=train,
        val=val,
        test=test,
        name="digits",
        task="classification",
        classes=tuple("0123456789"),
        features=tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8)),
        mean=standard.mean,
        scale=standard.scale,
        target_mean=np.empty(0),
        target_scale=np.empty(0),
    )


def sequential_digits(*, rows: bool = False, permuted: bool = False, rng: Any = 0) -> Splits:
    """The digits, seen a pixel a step (64 steps) or a row a step (8 steps of 8), after Le 2015.

    Parameters
    ----------
    rows : bool
    permuted : bool
        One permutation of the steps for all images, so that no neighbours are near: the hard form.
    rng : None, int, SeedSequence or Generator
        Of the permutation.

    Returns
    -------
    Splits
        x float32 (N, 64, 1) or (N, 8, 8), y int64 (N). `mean` and `scale` are those of the 64 pixels, as in `digits`.

    Examples
    --------
    >>> print(sequential_digits())
    digits-by-pixel 1797 sequences of 64 steps x1 standardised (1150 train, 287 validation, 360 test)
    """
    data = digits()
    shape = (8, 8) if rows else (64, 1)
    order = generator("rng", rng).permutation(shape[0]) if permuted else np.arange(shape[0])

    def seen(part: Samples) -> Samples:
        return Samples(np.ascontiguousarray(part.x.reshape(-1, *shape)[:, order]), part.y)

    name = f"digits-by-{'row' if rows else 'pixel'}{'-permuted' if permuted else ''}"
    return replace(data, train=seen(data.train), val=seen(data.val), test=seen(data.test), name=name)
