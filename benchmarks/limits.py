"""The machine's own limits, measured: FMA peak by dtype, copy bandwidth by size. Needs a C compiler."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

_FLAGS = {
    "avx512": ["-mavx512f", "-mfma", "-mprefer-vector-width=512"],
    "avx2": ["-mavx2", "-mfma"],
    "sse42": ["-msse4.2"],
    "scalar": [],
}
_CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
# Bytes that a thread touches, read and written: what fits each level of most machines.
_LEVELS = {"L1": 16 << 10, "L2": 512 << 10, "L3": 8 << 20, "DRAM": 256 << 20}


class Limits:
    """``flops(dtype)`` and ``bandwidth(bytes)`` on a number of threads; each is measured once."""

    def __init__(self, isa: str, threads: int) -> None:
        compiler = shutil.which(os.environ.get("CC", "cc"))
        if compiler is None:
            raise SystemExit("limits need a C compiler: none found as cc or $CC")
        source = Path(__file__).with_name("limits.c")
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / "limits.so"
            flags = ["-O3", "-fPIC", "-shared", "-ffp-contract=fast", *_FLAGS[isa]]
            subprocess.run([compiler, *flags, str(source), "-o", str(library)], check=True)
            self._lib = ctypes.CDLL(str(library))
        for name in ("fma_f32", "fma_f64", "copy"):
            getattr(self._lib, name).restype = ctypes.c_double
        self._threads = threads
        self._seen: dict[object, float] = {}

    def _together(self, call: Callable[[int], float]) -> float:
        """Sum over threads of what `call(thread)` reaches, best of 3; each on a core of its own, where it can be."""

        def run(thread: int) -> float:
            if hasattr(os, "sched_setaffinity"):
                cores = sorted(_CORES)
                os.sched_setaffinity(0, {cores[thread % len(cores)]})  # of this thread alone
            return call(thread)

        found = []
        for _ in range(3):
            with ThreadPoolExecutor(self._threads) as pool:
                found.append(sum(pool.map(run, range(self._threads))))
        return max(found)

    def flops(self, dtype: str) -> float:
        """Floating point operations a second of the FMA loop."""
        if dtype not in self._seen:
            run = self._lib.fma_f32 if dtype == "float32" else self._lib.fma_f64
            self._seen[dtype] = self._together(lambda _: run(ctypes.c_double(0.03)))
        return self._seen[dtype]

    def bandwidth(self, total: int) -> float:
        """Bytes a second, read and written, of copying so that `total` bytes are touched over all threads."""
        each = max(4096, 1 << (total // 2 // self._threads).bit_length() - 1)
        if each not in self._seen:
            buffers = [np.ones((2, each), np.uint8) for _ in range(self._threads)]

            def run(thread: int) -> float:
                to, source = (ctypes.c_void_p(row.ctypes.data) for row in buffers[thread])
                return float(self._lib.copy(to, source, ctypes.c_size_t(each), ctypes.c_double(0.03)))

            self._seen[each] = self._together(run)
        return self._seen[each]

    def words(self) -> str:
        """The limits of every kind, as a line."""
        f32, f64 = (self.flops(dtype) / 1e9 for dtype in ("float32", "float64"))
        copies = (f"{name} {self.bandwidth(size * self._threads) / 1e9:.0f}" for name, size in _LEVELS.items())
        return f"FMA float32 {f32:.0f}, float64 {f64:.0f} GF/s; copies in {', '.join(copies)} GB/s read and written"
