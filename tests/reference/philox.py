"""Philox4x32-10 (Salmon et al. 2011) with Python's integers, and the dropout mask made of it."""

from __future__ import annotations

from typing import Any

import numpy as np

WORD = 2**32 - 1


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Four words of 32 bits."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        left, right = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (right >> 32) ^ c1 ^ k0, right & WORD, (left >> 32) ^ c3 ^ k1, left & WORD
        k0, k1 = (k0 + 0x9E3779B9) & WORD, (k1 + 0xBB67AE85) & WORD
    return c0, c1, c2, c3


def mask(rows: int, features: int, p: float, seed: int, step: int, node: int, first_row: int = 0) -> Any:
    """0 or 1 / (1 - p), (rows, features)."""
    words = []
    for e in range(first_row * features, (first_row + rows) * features):
        block = philox((e // 4 & WORD, e // 4 >> 32, step, node), (seed & WORD, seed >> 32))
        words.append(block[e % 4])
    kept = np.array(words).reshape(rows, features) >= np.floor(p * 2**32)
    return np.where(kept, 1 / (1 - p), 0.0) if p < 1 else np.zeros((rows, features))
