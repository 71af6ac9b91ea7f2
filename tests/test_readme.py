"""The README's Python: every block runs as it stands, one after another, and its words about networks hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gradiometer as gm
import numpy as np
import pytest

README = Path(__file__).parent.parent / "README.md"


def blocks(heading: str) -> list[str]:
    """The Python blocks of a section."""
    section = README.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def test_the_words_about_networks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in backticks between the blocks, on the network of the first block."""
    monkeypatch.chdir(tmp_path)
    train, val, _ = gm.datasets.digits()
    net = gm.mlp(64, [128] * 3, 10, activation="sigmoid", init="xavier_normal", rng=0)
    scope: dict[str, Any] = {"gm": gm, "net": net, "train": train, "val": val, "x": val.x}
    text = README.read_text(encoding="utf-8")
    for code in (
        "gm.Sequential(net[:-1].requires_grad_(False), gm.Linear(128, 10))",
        "net.fit(train, val, gm.optim.Adam(1e-3), epochs=10)",
        "net[0].requires_grad_(False)",
        "net.predict(x)",
        "net.predict_proba(x)",
        'net.save("net.safetensors")',
        'gm.load("net.safetensors")',
        'net.memory(batch, optimizer="adam")',
    ):
        assert f"`{code}`" in " ".join(text.split()), code
        scope["made"] = eval(code.replace("batch,", "64,").replace("epochs=10", "epochs=1"), scope)
        if code.startswith("gm.Sequential"):
            before = net.state_dict()
            new: gm.Sequential = scope["made"]
            new.fit(train, epochs=1, rng=0)
            assert [name for name, trained in new.requires_grad.items() if trained] == ["1.weight", "1.bias"]
            assert all(np.array_equal(before[name], value) for name, value in net.state_dict().items())


def test_the_first_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [code, *_] = blocks("In Python")
    scope: dict[str, Any] = {}
    exec(code.replace("budget=5.0", "steps=2").replace("[128] * 50", "[128] * 12"), scope)
    assert (tmp_path / "report.html").exists()


def test_the_recurrent_block_runs_and_its_numbers_hold() -> None:
    [code] = [block for block in blocks("In Python") if "gm.RNN" in block]
    scope: dict[str, Any] = {"gm": gm}
    exec(code.replace("test=test, ", "test=test, steps=1, "), scope)
    assert [round(scope["m"].time[0].decay.factor, 2), round(scope["m"].time[0].horizon.thousandth)] == [0.51, 10]
    assert {"lstm", "gru", "chrono", "orthogonal", "irnn", "clip"} <= {row.id for row in scope["c"].rows}
