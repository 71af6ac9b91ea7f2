"""A bar of steps done, loss and time left: on stderr, where that is a terminal; nothing elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

__all__ = ["bar", "line"]

_EVERY = 0.1  # seconds
_WIDTH = 30


def line(step: int, steps: int, loss: float, seconds: float, first: int = 1) -> str:
    """What the bar shows that many seconds after `first` began; 0 steps: their number is not known.

    Examples
    --------
    >>> line(15, 30, 0.5, 60.0)
    '[###############---------------] 15/30  loss 0.5  1:00 left'
    """
    if not steps:
        return f"step {step}  loss {loss:.4g}  {_clock(seconds)}"
    done = _WIDTH * step // steps
    left = seconds * (steps - step) / (step - first + 1)
    return f"[{'#' * done}{'-' * (_WIDTH - done)}] {step}/{steps}  loss {loss:.4g}  {_clock(left)} left"


def bar() -> Callable[[int, int, float], None] | None:
    """A callback for ``fit``, or None where stderr is no terminal."""
    out = sys.stderr
    if out is None or not out.isatty():
        return None
    began = time.monotonic()
    shown, first = 0.0, 0

    def show(step: int, steps: int, loss: float) -> None:
        nonlocal shown, first
        now, first = time.monotonic(), first or step
        if now - shown < _EVERY and step != steps:
            return
        shown = now
        out.write("\r" + line(step, steps, loss, now - began, first).ljust(79)[:79] + ("\n" if step == steps else ""))
        out.flush()

    return show


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"
