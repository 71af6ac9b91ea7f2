"""The main job as a whole process; for scale, what it takes `torch` to be imported and NumPy alone (`numpy`)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from suites.case import Arrays, Case, Made


def cases() -> Iterator[Case]:
    for name, options in (("measured", ["--no-cure"]), ("with its cures trained", [])):
        yield Case(f"diagnose digits, 50 layers, {name}", "float32", {"options": options})


def inputs(rng: Any, dtype: str, options: list[str]) -> Arrays:
    return {}


def reference(v: Arrays, options: list[str]) -> list[Any]:
    return [0, True]


def _process(arguments: list[str], says: bytes = b"") -> Made:
    ended: list[Any] = []

    def run() -> None:
        done = subprocess.run([sys.executable, *arguments], capture_output=True)
        ended[:] = [done.returncode, says in done.stdout]

    return run, lambda: ended


def ours(v: Arrays, options: list[str]) -> Made:
    command = "import sys, gradiometer.cli as cli; cli.main(sys.argv[1:])"
    arguments = ["diagnose", "--data", "digits", "--depth", "50", "--activation", "sigmoid", *options]
    return _process(["-c", command, *arguments], b"vanish")


def numpy(v: Arrays, options: list[str]) -> Made:
    return _process(["-c", "import numpy"])


def torch(v: Arrays, options: list[str]) -> Made:
    return _process(["-c", "import torch"])
