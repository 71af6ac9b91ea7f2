"""Is anything slower than in another commit?

    python benchmarks/gate.py BASE [--suite NAME ...] [--match TEXT] [--threshold 1.05] [--rounds N] [--threads N]

Builds BASE and the commit checked out (what is not committed does not count) side by side in temporary folders, and
lets them take turns on every case of the suites. A sample in which the process did not have its cores is discarded; a
case is slower where the minimum of what is left exceeds BASE's by the threshold, twice: such cases are measured again
with three times the rounds. Leaves with 1 if any is.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from suites import SUITES
from suites.case import Case
from workers import Worker

_ROOT = Path(__file__).parent.parent
_UNDISTURBED = 0.95  # processor time over time: below, others had the core
_PAUSE = 0.01
_SUITES = ("activations", "gemm", "linear", "batch_norm", "rows", "mlp", "measuring")


def build(commit: str, folder: Path) -> str:
    """Install a commit into a folder of its own; the path to import it from."""
    tree, package = folder / "tree", folder / "package"
    subprocess.run(["git", "worktree", "add", "-q", "--detach", tree, commit], cwd=_ROOT, check=True)
    try:
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", package, tree]
        subprocess.run(command, check=True)
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=_ROOT, check=True)
    return str(package)


def minima(suite: str, case: Case, workers: dict[str, Worker], rounds: int, threads: int) -> dict[str, float] | None:
    """The best undisturbed time of each build; None where one of them has no such work or never was undisturbed."""
    for name, worker in workers.items():
        try:
            reply = worker.ask({"case": [suite, case.name, case.dtype]})
        except RuntimeError as died:
            raise SystemExit(f"{name}: {died}") from None
        if "absent" in reply:
            return None
        if not reply["error"] <= case.rtol:
            raise SystemExit(f"{name} is wrong on {suite} {case.name} {case.dtype}: error {reply['error']:.1e}")
    found: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(rounds):
        for name, worker in workers.items():
            time.sleep(_PAUSE)
            sample: dict[str, Any] = worker.ask({"time": 1})
            if sample["worked"] >= _UNDISTURBED * sample["seconds"] or threads > 1:
                found[name].append(sample["seconds"])
    return {name: min(times) for name, times in found.items()} if all(found.values()) else None


def main() -> None:
    """Build, compare, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", metavar="BASE", help="a commit")
    parser.add_argument("--suite", action="append", choices=_SUITES, help="default: all of these")
    parser.add_argument("--match", default="", help="only cases whose name or dtype contains this")
    parser.add_argument("--threshold", type=float, default=1.05)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    slower = []
    with tempfile.TemporaryDirectory() as temporary:
        paths = {
            name: build(commit, Path(temporary) / name) for name, commit in (("base", args.base), ("head", "HEAD"))
        }
        workers = {name: Worker("ours", sys.executable, args.threads, path=path) for name, path in paths.items()}
        for suite in args.suite or _SUITES:
            for case in SUITES[suite].cases():
                if args.match not in f"{case.name} {case.dtype}":
                    continue
                best = minima(suite, case, workers, args.rounds, args.threads)
                if best and best["head"] > args.threshold * best["base"]:
                    best = minima(suite, case, workers, 3 * args.rounds, args.threads)
                if best is None:
                    print(f"{suite:12s} {case.name:40s} {case.dtype}  not in both, or never undisturbed")
                    continue
                ratio = best["head"] / best["base"]
                word = "SLOWER" if ratio > args.threshold else "faster" if ratio < 1 / args.threshold else ""
                print(
                    f"{suite:12s} {case.name:40s} {case.dtype}  {best['base'] * 1e6:10.2f} -> "
                    f"{best['head'] * 1e6:10.2f} us  x{ratio:.3f} {word}",
                    flush=True,
                )
                slower += [case.name] if ratio > args.threshold else []
        for worker in workers.values():
            worker.close()
    print(f"{len(slower)} slower than {args.base} by more than {args.threshold - 1:.0%}")
    raise SystemExit(bool(slower))


if __name__ == "__main__":
    main()
