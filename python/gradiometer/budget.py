"""How a batch is worked through in less memory: in parts whose gradients are added up, in segments of the network that
are run forward again before their backward, or both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradiometer.arguments import positive

if TYPE_CHECKING:
    from gradiometer.layers import Compiled

__all__ = ["divide", "segments"]

_PART = 40.0
"""What a further part of a batch costs, in rows of a forward pass: packing the weights, adding to the gradients.
Measured in float32 on one AVX-512 thread: 14 to 22 in 10 layers of 64, 3 to 22 of 256, 103 to 130 in 4 of 1024."""


def segments(compiled: Compiled, batch: int, recompute: bool | int, steps: int = 0) -> int:
    """Segments of a pass over `batch` rows; True: the number that needs the fewest bytes."""
    if recompute is True:
        return min(_numbers(compiled), key=lambda n: compiled.memory(batch, segments=n, steps=steps))
    return 1 if recompute is False else positive("recompute", recompute)


def divide(
    compiled: Compiled, batch: int, budget: int, besides: int, recompute: bool | int, steps: int = 0
) -> tuple[int, int]:
    """Rows of a part and segments of its pass, so that with `besides` it needs no more than `budget` bytes.

    The cheapest that fits: a step costs three forward passes (forward, and two products backward), segments cost one
    more but for the last of them, and every part costs `_PART` rows. Statistics of a batch do not survive its division:
    then all of it is one part.

    Raises
    ------
    ValueError
        If nothing fits.
    """
    numbers = _numbers(compiled) if isinstance(recompute, bool) else [positive("recompute", recompute)]
    undivided = compiled.network.state.size > 0
    best: tuple[float, int, int] | None = None
    least = min(compiled.memory(batch if undivided else 1, segments=n, steps=steps) for n in numbers) + besides
    for n in numbers:
        rows = _most_rows(compiled, batch, budget - besides, n, undivided, steps)
        if rows:
            cost = batch * (4 - 1 / n) + -(-batch // rows) * _PART
            best = min(best or (cost, rows, n), (cost, rows, n))
    if best is None:
        what = f"a batch of {batch} rows, which batch statistics keep whole," if undivided else "one row at a time"
        raise ValueError(
            f"memory_budget is {budget}; {what} needs {least} bytes, {besides} of them for the optimiser "
            f"(net.memory({batch if undivided else 1}, optimizer=..., recompute=True) says what is needed)"
        )
    return best[1], best[2]


def _most_rows(compiled: Compiled, batch: int, budget: int, n: int, undivided: bool, steps: int) -> int:
    """The most rows, up to a batch, that fit; 0 for none."""
    if compiled.memory(batch, segments=n, steps=steps) <= budget:
        return batch
    low, high = 0, 1 if undivided else batch
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if compiled.memory(middle, segments=n, steps=steps) <= budget else (low, middle)
    return low


def _numbers(compiled: Compiled) -> list[int]:
    """Numbers of segments that are worth a look, each half as much again."""

    def grow() -> Iterator[int]:
        n = 1
        while n <= len(compiled.nodes):
            yield n
            n = max(n + 1, n * 3 // 2)

    return list(grow())
