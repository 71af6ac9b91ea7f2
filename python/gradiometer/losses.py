"""Losses: a name, parameters, class weights; and what goes with each: its target and its metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gradiometer import _core, kernels
from gradiometer.arguments import choice

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "BceWithLogits",
    "CrossEntropy",
    "Huber",
    "Loss",
    "Mse",
    "as_loss",
    "check_target",
    "hits",
    "metric",
    "metric_name",
]


class Loss:
    """A loss by the name of its kernel.

    Parameters
    ----------
    name : str
        One of ``gm.kernels.losses()``.
    class_weights : (C), optional
        For a loss of classes; finite, 0 or more. The mean divides by the sum of the targets' weights.
    **params : float
        See ``gm.kernels.loss_parameters(name)``; formulas and defaults are torch.nn's.

    Examples
    --------
    >>> Loss("huber", delta=0.5)
    Loss('huber', delta=0.5)
    """

    def __init__(self, name: str, class_weights: ArrayLike | None = None, **params: float) -> None:
        self.native = _core.Loss(name, class_weights, **params)
        self.name = name
        self.class_weights = None if class_weights is None else tuple(np.asarray(class_weights, float).tolist())
        self.params = {key: float(value) for key, value in params.items()}

    def __call__(self, y: ArrayLike, target: ArrayLike) -> tuple[float, NDArray[Any]]:
        """Value, and derivative by y (N, C)."""
        return kernels.loss(self.name, y, target, self.class_weights, **self.params)

    def weight(self, target: NDArray[Any]) -> float:
        """What the mean over these targets divides by: their number, or the sum of their classes' weights."""
        return float(len(target)) if self.class_weights is None else float(np.sum(np.take(self.class_weights, target)))

    def __reduce__(self) -> tuple[object, ...]:
        return _remake, (self.name, self.class_weights, self.params)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Loss) and self.__reduce__() == other.__reduce__()

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        weights = "" if self.class_weights is None else f", {list(self.class_weights)}"
        return f"Loss({self.name!r}{weights}{''.join(f', {key}={value:g}' for key, value in self.params.items())})"


def _remake(name: str, class_weights: tuple[float, ...] | None, params: dict[str, float]) -> Loss:
    return Loss(name, class_weights, **params)


def CrossEntropy(class_weights: ArrayLike | None = None, label_smoothing: float = 0.0) -> Loss:
    """-log softmax(y) at the target; class weights and label smoothing as in torch.nn.CrossEntropyLoss.

    Examples
    --------
    >>> CrossEntropy(label_smoothing=0.1).name
    'cross_entropy'
    """
    return Loss("cross_entropy", class_weights, label_smoothing=label_smoothing)


def Mse() -> Loss:
    """Mean squared error."""
    return Loss("mse")


def Huber(delta: float = 1.0) -> Loss:
    """Squared up to `delta`, linear beyond (Huber 1964), as torch.nn.HuberLoss."""
    return Loss("huber", delta=delta)


def BceWithLogits() -> Loss:
    """Binary cross-entropy of the logistic function of y, for targets from 0 to 1: one label a column."""
    return Loss("bce_with_logits")


def as_loss(loss: Any) -> Loss:
    """`loss` itself, or the one of that name; ValueError that lists those which can train a network."""
    known = [name for name in kernels.losses() if name != "dot"]
    if not isinstance(loss, Loss | str):
        made = getattr(loss, "__name__", "CrossEntropy")
        raise TypeError(f"loss is {loss!r}; expected a name or a loss that is made, as gm.losses.{made}()")
    choice("loss", loss.name if isinstance(loss, Loss) else loss, known)
    return loss if isinstance(loss, Loss) else Loss(loss)


def check_target(
    loss: str,
    y: ArrayLike,
    rows: int,
    features: int,
    steps: int | None = None,
    mask: NDArray[np.bool_] | None = None,
) -> NDArray[Any]:
    """`y` as the array that the loss takes: int64 (rows,) classes below `features`, or values (rows, features).

    A vector of values is taken as one column where the network has one output. With `steps` there is a target for
    every step, (rows, steps) or (rows, steps, features), and what lies outside of `mask` (rows, steps) becomes 0.
    """
    if steps is not None:
        return _check_steps(loss, np.asarray(y), rows, features, steps, mask)
    target = np.asarray(y)
    if kernels.losses()[loss] == "classes":
        if target.dtype.kind not in "iu":
            raise TypeError(
                f"y has dtype {target.dtype}; expected integer classes for {loss} (loss='mse' takes values)"
            )
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
    if loss == "bce_with_logits" and rows and not (target.min() >= 0 and target.max() <= 1):
        raise ValueError(f"y has values {target.min()} to {target.max()}; expected 0 to 1 for {loss}")
    return target


def _check_steps(
    loss: str, y: NDArray[Any], rows: int, features: int, steps: int, mask: NDArray[np.bool_] | None
) -> NDArray[Any]:
    """The same for every step: as rows of the steps within the mask, put back where they were."""
    classes = kernels.losses()[loss] == "classes"
    if not classes and features == 1 and y.ndim == 2:
        y = y[:, :, None]
    expected = (rows, steps) if classes else (rows, steps, features)
    if y.shape != expected:
        what = "classes" if classes else "values"
        raise ValueError(f"y has shape {y.shape}; expected {expected}, {what} of every step, for {loss}")
    flat = y.reshape(rows * steps, *y.shape[2:])
    if mask is None:
        return check_target(loss, flat, rows * steps, features).reshape(expected)
    seen = check_target(loss, flat[mask.ravel()], int(mask.sum()), features)
    target = np.zeros(expected, seen.dtype)
    target[mask] = seen
    return target


def metric_name(loss: str) -> str:
    """``accuracy`` for classes and labels, ``r2`` for values."""
    return "accuracy" if loss == "bce_with_logits" or kernels.losses()[loss] == "classes" else "r2"


def hits(loss: str, y: NDArray[Any], target: NDArray[Any]) -> NDArray[np.float64]:
    """1 for a row (N) whose largest output is the class, else 0; the share of right labels for bce_with_logits."""
    if loss == "bce_with_logits":
        right = (y > 0) == (np.asarray(target).reshape(y.shape) > 0.5)
        return np.asarray(right.mean(axis=1), np.float64)
    return np.asarray(np.argmax(y, axis=1) == target, np.float64)


def metric(loss: str, y: NDArray[Any], target: NDArray[Any]) -> float:
    """Mean of `hits`, or ``1 - residual / total sum of squares``; NaN for no rows."""
    if len(y) == 0:
        return float("nan")
    if metric_name(loss) == "accuracy":
        return float(np.mean(hits(loss, y, target)))
    residual = np.sum((y - target) ** 2, dtype=np.float64)
    total = np.sum((target - target.mean(axis=0)) ** 2, dtype=np.float64)
    return float(1 - residual / total) if total > 0 else float("nan")
