"""Checks of arguments: each returns the value as what it must be, or says which argument it is, what came and what was
expected."""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["array", "choice", "finite", "generator", "near", "positive", "real", "reals"]


def array(name: str, value: Any, expected: str) -> NDArray[Any]:
    """`value` as an array, unless it is lists of unequal lengths."""
    try:
        return np.asarray(value)
    except ValueError:
        raise TypeError(f"{name} is {type(value).__name__} of unequal parts; expected {expected}") from None


def finite(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """`array` if it holds no NaN and no infinity; the error says how many there are and where the first is."""
    if array.dtype.kind != "f":
        return array
    bad, first = 0, None
    rows = max(1, (1 << 20) // max(1, array[:1].size))  # at a time: no second array as large as the first
    for begin in range(0, len(array), rows):
        good = np.isfinite(array[begin : begin + rows])
        if good.all():
            continue
        bad += int(good.size - np.count_nonzero(good))
        if first is None:
            row, *rest = map(int, np.unravel_index(int(np.argmin(good)), good.shape))
            first = (begin + row, *rest)
    if first is not None:
        place = ", ".join(map(str, first))
        numbers = f"{bad} numbers that are" if bad > 1 else "a number that is"
        raise ValueError(
            f"{name} has {numbers} not finite as {array.dtype}, first {name}[{place}] = {array[first]}; expected none"
        )
    return array


def reals(name: str, values: Any, dtype: str) -> NDArray[Any]:
    """An array of real numbers (integers and bools, too) as one of `dtype`."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} has dtype {array.dtype}; expected real numbers")
    return array.astype(dtype, copy=False)


def choice(name: str, value: Any, known: Iterable[str]) -> str:
    """`value` if it is one of the names `known`; the error offers the one that it looks like.

    Examples
    --------
    >>> choice("activation", "sigmoyd", ["relu", "sigmoid"])
    Traceback (most recent call last):
    ValueError: activation is 'sigmoyd' (did you mean 'sigmoid'?); expected one of: relu, sigmoid
    """
    known = list(known)
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}; expected a string, one of: {', '.join(known)}")
    if value not in known:
        raise ValueError(f"{name} is {value!r}{near(value, known)}; expected one of: {', '.join(known)}")
    return value


def near(value: str, known: Iterable[str]) -> str:
    """The hint for an error: what of `known` looks like `value` or begins with it; nothing, if nothing does.

    Examples
    --------
    >>> near("he", ["lecun_normal", "he_normal"]), near("swish", ["relu"])
    (" (did you mean 'he_normal'?)", '')
    """
    by_case = {name.lower(): name for name in known}
    begun = [name for name in by_case if name.startswith(value.lower())] if value else []
    found = begun or difflib.get_close_matches(value.lower(), by_case, 1)
    return f" (did you mean {by_case[found[0]]!r}?)" if found else ""


def generator(name: str, value: Any) -> np.random.Generator:
    """What ``numpy.random.default_rng`` makes of `value`."""
    try:
        return np.random.default_rng(value)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"{name} is {value!r}; expected None, an integer of 0 or more, a SeedSequence or a Generator"
        ) from None


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
