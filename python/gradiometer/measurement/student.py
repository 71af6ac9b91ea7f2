"""Student's t."""

from __future__ import annotations

import math

__all__ = ["student"]


def student(freedom: int) -> float:
    """97.5 % point of Student's t, within 0.3 % (exact for 1 and 2; else the expansion of Fisher, 1925, in 1/freedom).

    Examples
    --------
    >>> round(student(2), 3), round(student(10), 2), round(student(1000), 2)
    (4.303, 2.23, 1.96)
    """
    if freedom < 3:
        return (12.7062, 4.30265)[freedom - 1]
    z = 1.959964
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / freedom**power for power, term in enumerate(terms, start=1))
