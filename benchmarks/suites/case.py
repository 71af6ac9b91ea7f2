"""One piece of work that is compared, and how a result is checked before any clock starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Arrays = dict[str, Any]
Made = tuple[Callable[[], Any], Callable[[], list[Any]] | None]
"""What a library makes of a case: ``run()`` does the work once, ``results()`` are its arrays (None: other work than the
case's, for scale, which a case of its own checks)."""


@dataclass(frozen=True)
class Case:
    """One piece of work: `args` go to the functions of its suite, `flops` or `bytes` say what it costs."""

    name: str
    dtype: str
    args: dict[str, Any] = field(default_factory=dict)
    flops: float = 0.0
    bytes: int = 0
    rtol: float = 1e-5
    latency: bool = False  # each call is timed: median and 99.9th percentile
    memory: dict[str, Any] | None = None
    """Args of a small run first; then the most bytes that two calls add to a new process, instead of time."""


SIZE = {"float32": 4, "float64": 8}


def wide(value: Any) -> Any:
    """The same numbers in float64."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return value.astype(np.float64)
    return [wide(v) for v in value] if isinstance(value, list) else value


def error(result: list[Any], reference: list[Any]) -> float:
    """Largest difference, relative to the largest entry of each array: a check that all did the same work."""
    worst = 0.0
    for got, wanted in zip(result, reference, strict=True):
        got = np.asarray(got, np.float64)
        if got.shape != np.shape(wanted):
            return float("inf")
        worst = max(worst, float(np.max(np.abs(got - wanted)) / max(float(np.max(np.abs(wanted))), 1e-300)))
    return worst
