"""Text, a character a step: what comes next."""

from __future__ import annotations

import importlib.util
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from gradiometer.datasets.memory import count, one_hot, synthetic
from gradiometer.datasets.splits import Samples, Splits

__all__ = ["characters"]

_PARTS = (0.8, 0.9)


def characters(
    path: str | os.PathLike[str] | None = None, *, window: int = 64, limit: int = 100_000, dtype: Any = np.float32
) -> Splits:
    """A text in windows, each character to be foretold from those before it in its window.

    The first 80 % of the windows are for training, 10 % for validation, 10 % for test. The vocabulary is that of all
    characters used. Who knows only how frequent each is in the training part has, on the test part, a cross-entropy
    of `baseline` (with one more of each counted, as one may be missing).

    Parameters
    ----------
    path : path, optional
        UTF-8 text; default: the topics of Python's own help (``pydoc_data/topics.py``), which every Python has.
    window : int
        Steps of a sequence.
    limit : int
        Characters used, from the first; x takes 4 bytes a character and member of the vocabulary.
    dtype : float32 or float64

    Returns
    -------
    Splits
        x (N, window, V), one of its columns 1 at each step; y int64 (N, window). `classes` is the vocabulary.

    Raises
    ------
    ValueError
        For a text shorter than 10 windows.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> data = characters(window=32, limit=5000)
    >>> "".join(data.classes[i] for i in data.train.y[0])
    ' -*- coding: utf-8 -*-\\n# Autogen...'
    """
    count("window", window, 1)
    count("limit", limit, 2)
    file = topics() if path is None else Path(path)
    try:
        text = file.read_text(encoding="utf-8")[:limit]
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    vocabulary, codes = np.unique(np.array(list(text)), return_inverse=True)
    number = (len(codes) - 1) // window if len(codes) else 0
    if number < 10:
        raise ValueError(f"{file} has {len(text)} characters; windows of {window} need {10 * window + 1} or more")
    x = codes[: number * window].reshape(number, window)
    y = codes[1 : number * window + 1].reshape(number, window).astype(np.int64)
    cuts = [int(share * number) for share in _PARTS]
    train, val, test = (
        Samples(one_hot(each, len(vocabulary), dtype), wanted)
        for each, wanted in zip(np.split(x, cuts), np.split(y, cuts), strict=True)
    )
    frequency = np.bincount(train.y.reshape(-1), minlength=len(vocabulary)) + 1.0
    baseline = math.log(frequency.sum()) - float(np.log(frequency)[test.y].mean())
    names = tuple(map(str, vocabulary))
    return synthetic((train, val, test), name=file.name, features=names, classes=names, baseline=baseline)


def topics() -> Path:
    """Where this Python has its help."""
    found = importlib.util.find_spec("pydoc_data.topics")
    if found is None or found.origin is None:
        raise FileNotFoundError("this Python has no pydoc_data/topics.py; give the path of a text")
    return Path(found.origin)
