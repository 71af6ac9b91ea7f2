"""A library in a process of its own: it makes a case, checks itself against float64, and times itself when asked."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# A figure is the median of 3 to 9 samples, each of a call or 1 ms of them: a time slice lost to another process, 4 ms,
# spoils a sample and not the figure. Calls of more than 10 ms are sampled once.
_SAMPLE, _SAMPLES, _FIGURE = 0.001, 9, 0.03
_CALLS = 20_000  # behind a latency
# Seconds of runs before the clock starts where there are several threads. One that wakes on its caller's core waits
# there for a time slice of 4 or 8 ms, ours and the peers' alike, until the scheduler has spread them.
_WARM = 0.03


class Worker:
    """The near end: ``ask`` sends a line of JSON and waits for one."""

    def __init__(
        self, library: str, python: str, threads: int, isa: str | None = None, path: str | None = None
    ) -> None:
        self._made_of = (library, python, threads, isa, path)
        environment = dict(os.environ)
        for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "GRADIOMETER_ISA"):
            environment.pop(name, None)
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[name] = str(threads)
        if library != "numpy":
            # the check against NumPy would leave threads that spin for 20 to 105 ms beside whoever is timed
            environment["OPENBLAS_NUM_THREADS"] = "1"
        if isa:
            environment["GRADIOMETER_ISA"] = isa
        self.process = subprocess.Popen(
            [python, __file__, library, *([path] if path else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.version: str | None = json.loads(line)["version"] if line else None

    def another(self) -> Worker:
        """A new process of the same library."""
        return Worker(*self._made_of)

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """The answer to an order; RuntimeError with the process's last words if it died."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(order), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            assert self.process.stderr is not None
            raise RuntimeError(f"a worker died on {order}: {self.process.stderr.read()[-2000:]}")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def _resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def _serve(library: str, path: str | None = None) -> None:
    """The far end; `path`: where Gradiometer is, before any other that is installed."""
    sys.path.insert(0, str(Path(__file__).parent))
    if path:
        sys.path.insert(0, path)
        # an editable installation finds its own before sys.path is looked at
        sys.meta_path[:] = [f for f in sys.meta_path if type(f).__name__ != "ScikitBuildRedirectingFinder"]
    import numpy as np
    from suites import SUITES, VARIANTS
    from suites.case import error, wide

    answer = sys.stdout
    sys.stdout = sys.stderr
    package = {"ours": "gradiometer", "compiled": "torch", **dict.fromkeys(VARIANTS, "gradiometer")}.get(
        library, library
    )
    module = __import__(package)
    version = getattr(module, "__version__", "")
    assert path is None or str(module.__file__).startswith(path), module.__file__
    print(json.dumps({"version": version}), file=answer, flush=True)
    cases = {(suite, c.name, c.dtype): c for suite, module in SUITES.items() for c in module.cases()}
    run: Any = None
    times, samples, latency = 1, 1, False
    several = os.environ.get("OMP_NUM_THREADS") != "1"
    for line in sys.stdin:
        order = json.loads(line)
        if "case" in order:
            run = None  # the arrays of the case before go first
            suite, case = SUITES[order["case"][0]], cases[tuple(order["case"])]
            make = getattr(suite, library, None)
            inputs = suite.inputs(np.random.default_rng(0), case.dtype, **case.args) if make else {}
            made = make(inputs, **case.args) if make else None
            if made is None:
                reply: Any = {"absent": True}
            else:
                run, results = made
                run()
                reference = {k: wide(v) for k, v in inputs.items()}
                reply = {"error": error(results(), suite.reference(reference, **case.args)) if results else 0.0}
                began = time.perf_counter()
                run()
                once = max(time.perf_counter() - began, 1e-7)
                times, latency = max(1, min(20_000, int(_SAMPLE / once))), case.latency
                samples = max(1, min(_SAMPLES, int(_FIGURE / (times * once))) - 1 | 1)
        elif "memory" in order:
            suite, case = SUITES[order["memory"][0]], cases[tuple(order["memory"])]
            make, made = getattr(suite, library, None), None
            for args in (case.memory, case.args) if make else ():
                made = make(suite.inputs(np.random.default_rng(0), case.dtype, **args), **args)
                if made and args is case.memory:
                    made[0]()
            if made is None:
                reply = {"absent": True}
            else:
                before = _resident("VmRSS")
                Path("/proc/self/clear_refs").write_text("5")  # the peak is now what there is
                made[0]()
                made[0]()
                reply = {"bytes": _resident("VmHWM") - before}
        elif latency:
            each = []
            for _ in range(_CALLS):
                began = time.perf_counter()
                run()
                each.append(time.perf_counter() - began)
            each.sort()
            reply = {"seconds": each[len(each) // 2], "tail": each[len(each) * 999 // 1000]}
        else:
            run()
            began = time.perf_counter()
            while several and time.perf_counter() - began < _WARM:
                run()
            spent, worked = [], time.process_time()
            for _ in range(samples):
                began = time.perf_counter()
                for _ in range(times):
                    run()
                spent.append(time.perf_counter() - began)
            share = (time.process_time() - worked) / sum(spent)
            seconds = statistics.median(spent) / times
            reply = {"seconds": seconds, "worked": share * seconds}
        print(json.dumps(reply), file=answer, flush=True)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
