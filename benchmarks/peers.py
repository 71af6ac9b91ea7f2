"""The same work by Gradiometer, NumPy and PyTorch, on this machine, in this run.

    python benchmarks/peers.py [--suite NAME ...] [--threads 1,2] [--match TEXT] [--rounds N] [--json FILE]
                               [--python torch=/path/to/python]

Each library runs in a worker process of its own, and they take turns case by case: thread pools of different
libraries in one process spin against each other. Every result is checked against float64 before a clock starts.
Figures are medians over rounds; `limit` is the share of this machine's own limit (FMA loop or copy bandwidth at the
same footprint), measured in the same run. A library that is not installed is left out and named.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from cases import SUITES, Case, error
from libraries import LIBRARIES, can

_PAUSE = 0.03  # seconds between turns: a pool that has just worked still spins
_SLICE = 0.01  # seconds of work behind one figure


def worker(library: str) -> None:
    """Serve one library: a line of JSON in, a line out."""
    answer = sys.stdout
    sys.stdout = sys.stderr
    make = LIBRARIES[library]()
    cases = {(c.suite, c.name, c.dtype): c for suite in SUITES.values() for c in suite()}
    run: Any = None
    times = 1
    print(json.dumps({"ready": library}), file=answer, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "case" in order:
            case = cases[tuple(order["case"])]
            inputs = case.inputs()
            run, results = make[case.op](inputs, **case.args)
            run()
            reply: Any = {"error": error(results(), case.reference(inputs))}
            began = time.perf_counter()
            run()
            once = max(time.perf_counter() - began, 1e-7)
            times = max(1, min(10000, int(_SLICE / once)))
        else:
            for _ in range(2):
                run()
            began = time.perf_counter()
            for _ in range(times):
                run()
            reply = {"seconds": (time.perf_counter() - began) / times}
        print(json.dumps(reply), file=answer, flush=True)


class Worker:
    """A library in its process."""

    def __init__(self, library: str, python: str, threads: int) -> None:
        environment = dict(os.environ)
        for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
            environment.pop(name, None)
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[name] = str(threads)
        command = [python, __file__, "--worker", library]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self.process.stdout is not None
        self.alive = bool(self.process.stdout.readline())

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
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
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def compare(case: Case, workers: dict[str, Worker], rounds: int) -> dict[str, float]:
    """Median seconds of each library, taking turns; refuses a wrong result."""
    able = {name: w for name, w in workers.items() if can(name, case.op, case.args)}
    for name, w in able.items():
        wrong = w.ask({"case": [case.suite, case.name, case.dtype]})["error"]
        if not wrong <= case.rtol:
            raise SystemExit(f"{name} is wrong on {case.suite} {case.name} {case.dtype}: error {wrong:.1e}")
    seconds: dict[str, list[float]] = {name: [] for name in able}
    for _ in range(rounds):
        for name, w in able.items():
            time.sleep(_PAUSE)
            seconds[name].append(w.ask({"time": 1})["seconds"])
    return {name: statistics.median(figures) for name, figures in seconds.items()}


def report(case: Case, threads: int, seconds: dict[str, float], limits: Any) -> dict[str, Any]:
    """One row: figures, ratios, rate and share of the limit."""
    ours = seconds["ours"]
    peers = {name: s for name, s in seconds.items() if name != "ours"}
    best = min(peers, key=lambda name: peers[name], default=None)
    if case.flops:
        rate, unit, limit = case.flops / ours / 1e9, "GF/s", limits.flops(case.dtype) / 1e9
    else:
        rate, unit, limit = case.bytes / ours / 1e9, "GB/s", limits.bandwidth(case.bytes) / 1e9
    row = {
        "suite": case.suite,
        "case": case.name,
        "dtype": case.dtype,
        "threads": threads,
        "ours_us": ours * 1e6,
        **{f"{name}_us": s * 1e6 for name, s in peers.items()},
        "best_peer": best,
        "ratio": peers[best] / ours if best else None,
        "rate": rate,
        "unit": unit,
        "share_of_limit": rate / limit,
    }
    others = "  ".join(f"{name} {s * 1e6:10.1f}" for name, s in peers.items())
    ratio = f"x{row['ratio']:<6.2f}" if best else " " * 7
    print(
        f"{case.name:38s} {case.dtype} {threads}T  ours {ours * 1e6:10.1f} us  {others:38s}  {ratio}"
        f" {rate:8.1f} {unit}  {rate / limit:4.0%} of limit",
        flush=True,
    )
    return row


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", action="append", choices=tuple(SUITES), help="default: all")
    parser.add_argument("--threads", default="1,2", help="comma separated")
    parser.add_argument("--match", default="", help="only cases whose name or dtype contains this")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument(
        "--python", action="append", default=[], metavar="LIBRARY=PYTHON", help="interpreter of a library"
    )
    parser.add_argument("--worker", choices=tuple(LIBRARIES), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args.worker)
        return

    import gradiometer as gm
    from limits import Limits

    pythons = dict(pair.split("=", 1) for pair in args.python)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, kernels {gm.kernels.isa()}")
    rows = []
    for threads in map(int, args.threads.split(",")):
        limits = Limits(gm.kernels.isa(), threads)
        workers = {name: Worker(name, pythons.get(name, sys.executable), threads) for name in LIBRARIES}
        missing = [name for name, w in workers.items() if not w.alive]
        if missing:
            print(f"not installed, left out: {', '.join(missing)}")
        workers = {name: w for name, w in workers.items() if w.alive}
        for suite in args.suite or SUITES:
            for case in SUITES[suite]():
                if args.match in f"{case.name} {case.dtype}":
                    rows.append(report(case, threads, compare(case, workers, args.rounds), limits))
        for w in workers.values():
            w.close()
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1))
    for suite in {row["suite"] for row in rows}:
        ratios = [row["ratio"] for row in rows if row["suite"] == suite and row["ratio"]]
        if ratios:
            print(
                f"{suite}: geometric mean over the best peer x{statistics.geometric_mean(ratios):.2f},"
                f" least x{min(ratios):.2f}"
            )


if __name__ == "__main__":
    main()
