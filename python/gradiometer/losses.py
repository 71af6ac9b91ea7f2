"""Losses by name, and what goes with each: its target and its metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gradiometer import kernels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["check_loss", "check_target", "metric", "metric_name"]


def check_loss(loss: str) -> str:
    """`loss` if it can train a network; ValueError that lists those which can."""
    known = [name for name in kernels.losses() if name != "dot"]
    if loss not in known:
        raise ValueError(f"loss is {loss!r}; expected one of: {', '.join(known)}")
    return loss


def check_target(loss: str, y: ArrayLike, rows: int, features: int) -> NDArray[Any]:
    """`y` as the array that the loss takes: int64 (rows,) classes below `features`, or values (rows, features).

    A vector of values is taken as one column where the network has one output.
    """
    target = np.asarray(y)
    if kernels.losses()[loss] == "classes":
        if target.dtype.kind not in "iu":
            raise TypeError(f"y has dtype {target.dtype}; expected integer classes for {loss}")
        if target.shape != (rows,):
            raise ValueError(f"y has shape {target.shape}; expected ({rows},) classes for x with {rows} rows")
        if rows and not (target.min() >= 0 and target.max() < features):
            raise IndexError(f"y has classes {target.min()} to {target.max()}; expected 0 to {features - 1}")
        return target.astype(np.int64, copy=False)
    if target.dtype.kind not in "fiub":
        raise TypeError(f"y has dtype {target.dtype}; expected numbers for {loss}")
    if target.ndim == 1 and features == 1:
        target = target[:, None]
    if target.shape != (rows, features):
        raise ValueError(f"y has shape {target.shape}; expected ({rows}, {features}) for {loss}")
    return target


def metric_name(loss: str) -> str:
    """``accuracy`` for classes, ``r2`` for values."""
    return "accuracy" if kernels.losses()[loss] == "classes" else "r2"


def metric(loss: str, y: NDArray[Any], target: NDArray[Any]) -> float:
    """Share of rows whose largest output is the class, or ``1 - residual / total sum of squares``; NaN for no rows."""
    if len(y) == 0:
        return float("nan")
    if metric_name(loss) == "accuracy":
        return float(np.mean(np.argmax(y, axis=1) == target))
    residual = np.sum((y - target) ** 2, dtype=np.float64)
    total = np.sum((target - target.mean(axis=0)) ** 2, dtype=np.float64)
    return float(1 - residual / total) if total > 0 else float("nan")
