"""What peers.py found, as tables: ``python benchmarks/results.py RUN.json ... > benchmarks/RESULTS.md``."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any


def _us(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _cell(r: dict[str, Any] | None) -> str:
    """Ours in us, the ratio over the best peer, the variants of ours, the share of the machine's limit."""
    if r is None:
        return ""
    figures = r.get("mb") or r["us"]
    words = [_us(figures["ours"]) + " MB" * (figures is not r["us"])]
    if r["tail_us"]:
        words[0] += f" (99.9 %: {_us(r['tail_us']['ours'])})"
    if r["ratio"]:
        bold = "**" if r["ratio"] < 1 else ""
        words.append(f"{bold}x{r['ratio']:.2f}{bold} {r['best']}")
    others = [name for name in figures if name in ("numpy", "torch", "compiled", "onnxruntime") and name != r["best"]]
    words += [f"x{figures[name] / figures['ours']:.2f} {name}" for name in others]
    variants = [name for name in figures if name not in ("ours", "numpy", "torch", "compiled", "onnxruntime")]
    words += [f"{name} {_us(figures[name])}" for name in variants]
    if r["share"] is not None:
        words.append(f"{r['share']:.0%}")
    return " · ".join(words)


def markdown(about: dict[str, str], rows: list[dict[str, Any]]) -> str:
    """The tables of a run: a suite and type each, columns by instruction set and threads."""
    lines = ["# Results", ""]
    lines += [f"- {key}: {value}" for key, value in about.items()]
    lines += [
        "",
        "Each cell: microseconds of ours, or MB · times as much as the best peer (bold: we lose), then the others ·",
        "variants of ours in microseconds (`fresh`: outputs in new memory; `bare`, `apart`, `plain`, `shallow`: see",
        "suites/) · share of this machine's limit in the same run (FMA loop, or copy bandwidth at the same footprint).",
        "PyTorch's MKL may not take its best path on this processor.",
        "",
    ]
    keys = list(dict.fromkeys((r["isa"], r["threads"]) for r in rows))
    lines += ["| suite | type | " + " | ".join(f"{isa}, {t} thread{'s' * (t > 1)}" for isa, t in keys) + " |"]
    lines += ["|---" * (2 + len(keys)) + "|"]
    groups = list(dict.fromkeys((r["suite"], r["dtype"]) for r in rows))
    for suite, dtype in groups:
        cells = []
        for key in keys:
            ratios = [
                r["ratio"]
                for r in rows
                if (r["suite"], r["dtype"], r["isa"], r["threads"]) == (suite, dtype, *key) and r["ratio"]
            ]
            cells.append(f"x{statistics.geometric_mean(ratios):.2f} (least x{min(ratios):.2f})" if ratios else "")
        lines.append(f"| {suite} | {dtype} | " + " | ".join(cells) + " |")
    lines += ["", "Geometric means over the best peer of each case.", ""]
    for suite, dtype in groups:
        lines += [f"## {suite}, {dtype}", ""]
        lines += ["| case | " + " | ".join(f"{isa}, {t}T" for isa, t in keys) + " |", "|---" * (1 + len(keys)) + "|"]
        found = {(r["case"], r["isa"], r["threads"]): r for r in rows if (r["suite"], r["dtype"]) == (suite, dtype)}
        for case in dict.fromkeys(name for name, _, _ in found):
            lines.append(f"| {case} | " + " | ".join(_cell(found.get((case, *key))) for key in keys) + " |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    runs = [json.loads(Path(name).read_text()) for name in sys.argv[1:]]
    about = {key: value for run in runs for key, value in run["about"].items()}
    # where a case was measured again, the later run's figures stand
    rows = {tuple(r[k] for k in ("suite", "case", "dtype", "threads", "isa")): r for run in runs for r in run["rows"]}
    print(markdown(about, list(rows.values())))
