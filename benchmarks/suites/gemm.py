"""C = A B in the three forms of a dense layer, squares and the shapes it has; `packed`: B, as NT, packed before."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from suites.case import Arrays, Case, Made

_SQUARES = (32, 33, 48, 64, 96, 100, 128, 192, 256, 512, 1024, 2048)


def cases() -> Iterator[Case]:
    for dtype in ("float32", "float64"):
        for form in ("NN", "NT", "TN", "packed"):
            shapes = [(n, n, n) for n in _SQUARES]
            shapes += [(M, N, K) for M, K, N in product((1, 8, 32, 64, 128), (64, 256, 1024), (64, 256, 1024))]
            for M, N, K in dict.fromkeys(shapes):
                args = {"form": form, "M": M, "N": N, "K": K}
                yield Case(f"{form} {M}x{N}x{K}", dtype, args, flops=2.0 * M * N * K, rtol=1e-4)


def inputs(rng: Any, dtype: str, form: str, M: int, N: int, K: int) -> Arrays:
    a, b = rng.standard_normal((M, K)), rng.standard_normal((K, N))
    return {
        "a": np.ascontiguousarray(a.T if form == "TN" else a, dtype),
        "b": np.ascontiguousarray(b.T if form in ("NT", "packed") else b, dtype),
    }


def _plain(a: Any, b: Any, form: str) -> tuple[Any, Any]:
    return (a.T if form == "TN" else a), (b.T if form in ("NT", "packed") else b)


def reference(v: Arrays, form: str, M: int, N: int, K: int) -> list[Any]:
    a, b = _plain(v["a"], v["b"], form)
    return [a @ b]


def ours(v: Arrays, form: Any, M: int, N: int, K: int) -> Made | None:
    import gradiometer as gm

    a, b, out = v["a"], v["b"], np.empty((M, N), v["a"].dtype)
    if form == "packed":
        if not hasattr(gm.kernels, "pack"):
            return None
        packed = gm.kernels.pack(b, "NT")
        return lambda: gm.kernels.gemm(a, packed, out=out), lambda: [out]
    return lambda: gm.kernels.gemm(a, b, form, out), lambda: [out]


def numpy(v: Arrays, form: str, M: int, N: int, K: int) -> Made:
    a, b = _plain(v["a"], v["b"], form)
    out = np.empty((M, N), v["a"].dtype)
    return lambda: np.matmul(a, b, out=out), lambda: [out]


def torch(v: Arrays, form: str, M: int, N: int, K: int) -> Made:
    import torch as t

    a, b = _plain(t.from_numpy(v["a"]), t.from_numpy(v["b"]), form)
    out = t.empty((M, N), dtype=a.dtype)
    return lambda: t.mm(a, b, out=out), lambda: [out.numpy()]
