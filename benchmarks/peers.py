"""The same work by Gradiometer, NumPy, PyTorch and onnxruntime, on this machine, in this run.

    python benchmarks/peers.py [--suite NAME ...] [--threads 1,2] [--isa avx512,avx2] [--match TEXT] [--rounds N]
                               [--json FILE] [--markdown FILE] [--python torch=/path/to/python]

Each library runs in a worker process of its own, and they take turns case by case: thread pools of different
libraries in one process spin against each other. Every result is checked against float64 before a clock starts.
Figures are medians over rounds; the ratio is that of the best peer; `limit` is the share of this machine's own limit
(FMA loop, or copy bandwidth at the same footprint), measured in the same run. A library that is not installed is left
out and named.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from results import markdown
from suites import PEERS, SUITES, VARIANTS
from suites.case import Case
from workers import Worker

# Seconds between turns: a pool that has just worked still spins, OpenBLAS's for 15 to 105 ms, on a core of ours.
_PAUSE = {1: 0.012, 2: 0.12}
_OF = {"compiled": "torch"}  # whose interpreter a library runs in


def compare(
    suite: str, case: Case, workers: dict[str, Worker], rounds: int, pause: float
) -> dict[str, dict[str, float]]:
    """Median seconds of each library that has the work, taking turns; refuses a wrong result."""
    if case.memory:
        return memory(suite, case, workers)
    able = {}
    for name, worker in workers.items():
        if hasattr(SUITES[suite], name):
            reply = worker.ask({"case": [suite, case.name, case.dtype]})
            if "absent" in reply:
                continue
            if not reply["error"] <= case.rtol:
                raise SystemExit(f"{name} is wrong on {suite} {case.name} {case.dtype}: error {reply['error']:.1e}")
            able[name] = worker
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in able}
    for _ in range(rounds):
        for name, worker in able.items():
            time.sleep(pause)
            figures[name].append(worker.ask({"time": 1}))
    return {
        name: {key: statistics.median(f[key] for f in found) for key in found[0]} for name, found in figures.items()
    }


def memory(suite: str, case: Case, workers: dict[str, Worker]) -> dict[str, dict[str, float]]:
    """Bytes that the work adds to a process of its own. The results are those of another case."""
    found = {}
    for name, worker in workers.items():
        if hasattr(SUITES[suite], name):
            alone = worker.another()
            reply = alone.ask({"memory": [suite, case.name, case.dtype]})
            alone.close()
            if "absent" not in reply:
                found[name] = reply
    return found


def row(
    suite: str, case: Case, threads: int, isa: str, found: dict[str, dict[str, float]], limits: Any
) -> dict[str, Any]:
    """What one case gave, as plain data."""
    figure = "bytes" if case.memory else "seconds"
    ours = found["ours"][figure]
    peers = {name: found[name][figure] for name in PEERS if name in found}
    best = min(peers, key=lambda name: peers[name], default=None)
    share = None
    if case.flops and not case.latency:
        share = case.flops / ours / limits.flops(case.dtype)
    elif case.bytes:
        share = case.bytes / ours / limits.bandwidth(case.bytes)
    return {
        "suite": suite,
        "case": case.name,
        "dtype": case.dtype,
        "threads": threads,
        "isa": isa,
        "us": {name: f["seconds"] * 1e6 for name, f in found.items() if "seconds" in f},
        "mb": {name: f["bytes"] / 1e6 for name, f in found.items() if "bytes" in f},
        "tail_us": {name: f["tail"] * 1e6 for name, f in found.items() if "tail" in f},
        "best": best,
        "ratio": peers[best] / ours if best else None,
        "share": share,
    }


def line(r: dict[str, Any]) -> str:
    """The row on the screen."""
    words = [f"{r['case']:44s} {r['dtype']} {r['threads']}T {r['isa']} "]
    figures = r["mb"] or r["us"]
    words += [f"{name} {figure:.4g}" for name, figure in figures.items()]
    words.append("MB" if r["mb"] else "us")
    if r["tail_us"]:
        words.append("(99.9 %: " + " ".join(f"{name} {us:.4g}" for name, us in r["tail_us"].items()) + ")")
    if r["best"]:
        words.append(f" x{r['ratio']:.2f} {r['best']}")
    words += [f" x{figures[name] / figures['ours']:.2f} {name}" for name in VARIANTS if name in figures]
    if r["share"] is not None:
        words.append(f" {r['share']:.0%} of limit")
    return " ".join(words)


def machine() -> str:
    """The processor: its name, and its family and model, since cores of very different width share a name."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    lines = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    fields = {name.strip(): value.strip() for name, _, value in lines}
    if "model name" not in fields:
        return platform.processor() or platform.machine()
    return f"{fields['model name']} (family {fields.get('cpu family', '?')}, model {fields.get('model', '?')})"


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", action="append", choices=tuple(SUITES), help="default: all")
    parser.add_argument("--threads", default="1,2", help="comma separated")
    parser.add_argument("--isa", default="", help="comma separated; the best of this machine if not given")
    parser.add_argument("--match", default="", help="only cases whose name or dtype contains this")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--markdown", metavar="FILE", help="the tables, as RESULTS.md has them")
    parser.add_argument(
        "--python", action="append", default=[], metavar="LIBRARY=PYTHON", help="interpreter of a library"
    )
    args = parser.parse_args()

    import gradiometer as gm
    from limits import Limits

    pythons = dict(pair.split("=", 1) for pair in args.python)
    about = {
        "machine": f"{machine()}, {os.cpu_count()} cores",
        "date": datetime.date.today().isoformat(),
        "system": f"{platform.system()}, Python {platform.python_version()}, {gm.kernels.isa()} is the best here",
    }
    print(*about.values(), sep=" · ")
    rows = []
    for isa in args.isa.split(",") if args.isa else [gm.kernels.isa()]:
        for threads in map(int, args.threads.split(",")):
            limits = Limits(isa, threads)
            about[f"limits, {isa}, {threads}T"] = limits.words()
            workers = {}
            for name in ("ours", *PEERS, *VARIANTS):
                python = pythons.get(_OF.get(name, name), sys.executable)
                workers[name] = Worker(name, python, threads, isa if name in ("ours", *VARIANTS) else None)
            about["versions"] = ", ".join(
                f"{name} {w.version}" for name, w in workers.items() if w.version and name not in VARIANTS
            )
            missing = [name for name, w in workers.items() if w.version is None]
            if missing:
                print(f"not installed, left out: {', '.join(missing)}")
            workers = {name: w for name, w in workers.items() if w.version is not None}
            for suite in args.suite or SUITES:
                for case in SUITES[suite].cases():
                    if args.match in f"{case.name} {case.dtype}":
                        found = compare(suite, case, workers, args.rounds, _PAUSE[min(threads, 2)])
                        if "ours" not in found:
                            continue
                        rows.append(row(suite, case, threads, isa, found, limits))
                        print(line(rows[-1]), flush=True)
                        if args.json:
                            Path(args.json).write_text(json.dumps({"about": about, "rows": rows}, indent=1))
            for w in workers.values():
                w.close()
    for suite in dict.fromkeys(r["suite"] for r in rows):
        ratios = [r["ratio"] for r in rows if r["suite"] == suite and r["ratio"]]
        if ratios:
            mean = statistics.geometric_mean(ratios)
            print(f"{suite}: geometric mean over the best peer x{mean:.2f}, least x{min(ratios):.2f}")
    if args.markdown:
        Path(args.markdown).write_text(markdown(about, rows))


if __name__ == "__main__":
    main()
