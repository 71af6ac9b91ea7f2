"""Series to forecast: windows of the past, and what came after."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradiometer.datasets.files import read_column
from gradiometer.datasets.memory import count
from gradiometer.datasets.splits import Samples, Splits

__all__ = ["forecast", "sunspots"]

_TRAIN, _VALIDATION = 0.64, 0.16


def forecast(
    values: Any, *, window: int = 24, horizon: int = 1, column: str | int | None = None, name: str = "series"
) -> Splits:
    """A series cut into windows of the past (x) and the values that came after each (y).

    In the order of time: the first 64 % are for training, 16 % for validation, 20 % for test. The past of the first
    windows of a part reaches into the part before, what is to be foretold never does. Standardised by the training
    part. The naive forecast says that everything stays as it is; its mean squared error on the test part is the
    `baseline`.

    Parameters
    ----------
    values : array_like (T) or path
        Or a ``.csv`` file with a header, in the order of time.
    window, horizon : int
        Steps of the past, and steps to foretell.
    column : str or int, optional
        Of a file, by name or number; default: the last.
    name : str
        Of the series; for a file, its own.

    Returns
    -------
    Splits
        x float32 (N, window, 1), y float32 (N, horizon), both by ``(raw - mean) / scale``.

    Raises
    ------
    ValueError
        For a series that is too short, is constant or has missing values, and for a file that cannot be understood.

    Examples
    --------
    >>> data = forecast(np.sin(np.arange(200) / 5), window=10, horizon=3)
    >>> print(data)
    series 184 sequences of 10 steps x1 standardised (116 train, 30 validation, 38 test)
    >>> data.train.y.shape
    (116, 3)
    """
    count("window", window, 1)
    count("horizon", horizon, 1)
    if isinstance(values, str | os.PathLike):
        name = Path(values).name
        series = read_column(Path(values), column)
    else:
        series = np.asarray(values, np.float64)
    if series.ndim != 1:
        raise ValueError(f"values has shape {series.shape}; expected one value a step")
    if not np.isfinite(series).all():
        step = int(np.flatnonzero(~np.isfinite(series))[0])
        raise ValueError(f"values is {series[step]} at step {step}; expected finite numbers, with none missing")
    cuts = [round(_TRAIN * len(series)), round((_TRAIN + _VALIDATION) * len(series)), len(series)]
    if cuts[0] < window + horizon + 1 or min(np.diff(cuts)) < horizon + 1:
        raise ValueError(
            f"values has {len(series)} steps; windows of {window} and {horizon} to foretell need more in each part"
        )
    mean, scale = series[: cuts[0]].mean(), series[: cuts[0]].std()
    if not scale > 0:
        raise ValueError("values is the same in all of the training part; nothing can be foretold")
    train, val, test = (
        windows((series - mean) / scale, max(begin, window), end, window, horizon)
        for begin, end in zip([0, *cuts[:2]], cuts, strict=True)
    )
    return Splits(
        train=train,
        val=val,
        test=test,
        name=name,
        task="regression",
        classes=(),
        features=(str(column) if isinstance(column, str) else "value",),
        mean=np.array([mean]),
        scale=np.array([scale]),
        target_mean=np.full(horizon, mean),
        target_scale=np.full(horizon, scale),
        baseline=float(np.mean((naive(test.x, horizon) - test.y.astype(np.float64)) ** 2)),
    )


def windows(series: NDArray[np.float64], begin: int, end: int, window: int, horizon: int) -> Samples:
    """All windows whose first value to foretell is at `begin` or later, and the last before `end`."""
    first = np.arange(begin, end - horizon + 1)
    past = series[first[:, None] + np.arange(-window, 0)]
    return Samples(past[:, :, None].astype(np.float32), series[first[:, None] + np.arange(horizon)].astype(np.float32))


def naive(x: NDArray[Any], horizon: int) -> NDArray[np.float64]:
    """The forecast that everything stays as it is."""
    return np.repeat(x[:, -1, :1].astype(np.float64), horizon, axis=1)


def sunspots(*, window: int = 24, horizon: int = 1) -> Splits:
    """Sunspots by year, 1700 to 2008, as statsmodels brings them; see `forecast`.

    Raises
    ------
    ImportError
        If statsmodels is not installed; ``forecast("FILE.csv")`` takes any series of your own.
    """
    found = importlib.util.find_spec("statsmodels")
    if found is None or not found.submodule_search_locations:
        raise ImportError(
            'the sunspots are those of statsmodels (pip install statsmodels); gm.datasets.forecast("FILE.csv") '
            "(--series FILE.csv) takes a series of your own"
        )
    file = Path(found.submodule_search_locations[0]) / "datasets" / "sunspots" / "sunspots.csv"
    return forecast(read_column(file, "SUNACTIVITY"), window=window, horizon=horizon, name="sunspots")
