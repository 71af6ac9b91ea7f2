"""A bar of steps done, loss and time left: on stderr, where that is a terminal; nothing elsewhere."""

from __future__ import annotations

import os
import sys
import time

from gradiometer.report.text import Style, is_terminal

__all__ = ["Bar", "Meter", "bar", "clock", "line"]

_EVERY = 0.1  # seconds
_WIDTH = 30


class Meter:
    """One line on stderr that is written over: a bar where the share is known, and words. Nothing where stderr is no
    terminal; the bar is rich's where rich is installed."""

    def __init__(self) -> None:
        self.shown = is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"
        self.rich = self.shown and Style.for_stream(sys.stderr).rich
        self.written = False

    def show(self, share: float | None, words: str) -> None:
        """Write over what was there."""
        if self.shown:
            beside = _WIDTH + 3 if share is not None else 0
            drawn = "" if share is None else _drawn(share, self.rich) + " "
            sys.stderr.write(f"\r\x1b[K{drawn}{words[: 79 - beside]}")
            sys.stderr.flush()
            self.written = True

    def clear(self) -> None:
        """Take the line away."""
        self._end("\r\x1b[K")

    def close(self) -> None:
        """Leave the line as it is, and go to the next."""
        self._end("\n")

    def _end(self, ending: str) -> None:
        if self.written:
            sys.stderr.write(ending)
            sys.stderr.flush()
            self.written = False


class Bar:
    """What ``fit`` calls after every step; ``close`` when it leaves, for whatever reason."""

    def __init__(self) -> None:
        self.meter = Meter()
        self.began = time.monotonic()
        self.last, self.first = 0.0, 0

    def __call__(self, step: int, steps: int, loss: float) -> None:
        now, self.first = time.monotonic(), self.first or step
        if now - self.last < _EVERY and step != steps:
            return
        self.last = now
        self.meter.show(step / steps if steps else None, _words(step, steps, loss, now - self.began, self.first))

    def close(self) -> None:
        """Leave the last line standing."""
        self.meter.close()


def bar() -> Bar | None:
    """A callback for ``fit``, or None where stderr is no terminal."""
    return Bar() if Meter().shown else None


def line(step: int, steps: int, loss: float, seconds: float, first: int = 1) -> str:
    """What the bar shows that many seconds after `first` began; 0 steps: their number is not known.

    Examples
    --------
    >>> line(15, 30, 0.5, 60.0)
    '[###############---------------] 15/30  loss 0.5  1:00 left'
    """
    words = _words(step, steps, loss, seconds, first)
    return f"{_drawn(step / steps, rich=False)} {words}" if steps else words


def clock(seconds: float) -> str:
    """Minutes and seconds.

    >>> clock(61.2)
    '1:01'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"


def _words(step: int, steps: int, loss: float, seconds: float, first: int) -> str:
    if not steps:
        return f"step {step}  loss {loss:.4g}  {clock(seconds)}"
    return f"{step}/{steps}  loss {loss:.4g}  {clock(seconds * (steps - step) / (step - first + 1))} left"


def _drawn(share: float, rich: bool) -> str:
    if rich:
        from gradiometer.report.terminal import progress_bar

        return progress_bar(share, _WIDTH + 2)
    done = int(_WIDTH * min(max(share, 0.0), 1.0) + 1e-9)
    return f"[{'#' * done}{'-' * (_WIDTH - done)}]"
