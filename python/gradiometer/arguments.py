"""Checks of arguments: each returns the value as what it must be, or says which argument it is, what came and what was
expected."""

from __future__ import annotations

import math
import operator
from typing import Any

__all__ = ["positive", "real"]


def positive(name: str, value: Any) -> int:
    """`value` as a positive int."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}; expected an integer") from None
    if isinstance(value, bool) or number < 1:
        raise ValueError(f"{name} is {value!r}; expected 1 or more")
    return number


def real(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """`value` as a finite float of the closed range `low` to `high`."""
    try:
        number = float(value) if not isinstance(value, str | bytes) else None
    except (TypeError, ValueError):
        number = None
    if number is None:
        raise TypeError(f"{name} is {value!r}; expected a number")
    if not (math.isfinite(number) and low <= number <= high):
        if math.isinf(low) and math.isinf(high):
            wanted = "a finite number"
        else:
            wanted = f"a finite number, {low:g} or more" if math.isinf(high) else f"{low:g} to {high:g}"
        raise ValueError(f"{name} is {value!r}; expected {wanted}")
    return number
