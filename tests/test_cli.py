"""The command line: what it prints, where, and with which exit status."""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradiometer import cli, kernels
from gradiometer.diagnosis import rule_ids
from gradiometer.selftest import checks

SICK = ["diagnose", "--depth", "12", "--width", "32", "--activation", "sigmoid"]
WELL = ["diagnose", "--depth", "6", "--width", "32", "--activation", "tanh"]


def test_a_sick_network_without_cures(capsys: Any) -> None:
    assert cli.main([*SICK, "--no-cure"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "digits 1797x64 standardised (1150 train, 287 validation, 360 test)"
    assert lines[1].startswith("64-[32]x12-10, sigmoid, xavier_normal, cross_entropy, float32, 256 samples")
    assert any(line.split()[:2] == ["FAIL", "vanishing-gradient"] for line in lines)
    assert "why: gradiometer explain vanishing-gradient" in out
    assert "\x1b" not in out
    assert err == ""


def test_check_tells_by_the_status(capsys: Any) -> None:
    assert cli.main([*SICK, "--no-cure", "--check"]) == 3
    assert cli.main([*WELL, "--no-cure", "--check"]) == 0
    assert "healthy" in capsys.readouterr().out


def test_all_shows_every_layer(capsys: Any) -> None:
    cli.main([*SICK, "--no-cure", "--all"])
    assert "folded" not in capsys.readouterr().out


def test_json_is_one_standard_document(capsys: Any) -> None:
    assert cli.main([*SICK, "--budget", "0.5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found["findings"][0]["id"] == "vanishing-gradient"
    assert len(found["measurement"]["layers"]) == 13
    assert {row["id"] for row in found["cure"]["rows"]} >= {"as-given", "batch-norm"}


def test_cures_and_report(capsys: Any, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert cli.main([*SICK, "--budget", "1", "--html", str(page)]) == 0
    out = capsys.readouterr().out
    assert out.count("as given") >= 1
    assert f"{page} written" in out
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_report_that_cannot_be_written_is_refused_before_the_work(
    capsys: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    def work(*_: Any) -> None:
        raise AssertionError("it began")

    monkeypatch.setattr(cli, "load", work)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    for target in (tmp_path, tmp_path / "no" / "page.html", tmp_path / "page.html"):
        assert cli.main([*SICK, "--html", str(target)]) == 2
        assert capsys.readouterr().err.startswith(f"gradiometer: error: --html {target}")


def test_help_says_defaults_that_are_values(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        cli.main(["diagnose", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert "None" not in out
    assert "False" not in out
    assert "order of samples (default: 0)" in out


def test_gain_is_that_of_the_initialiser(capsys: Any) -> None:
    factors = []
    for gain in ("1", "0.5"):
        assert cli.main([*WELL, "--no-cure", "--json", "--gain", gain]) == 0
        found = json.loads(capsys.readouterr().out)
        factors.append(found["measurement"]["attenuation"]["factor"])
    assert "gain 0.5" in found["setting"]
    assert factors[1] < 0.6 * factors[0]


def test_one_hidden_layer_has_no_factor(capsys: Any) -> None:
    assert cli.main(["diagnose", "--depth", "1", "--width", "16", "--steps", "1"]) == 0
    out = capsys.readouterr().out
    assert "nan" not in out.lower().replace("nan 0", "")
    assert "x0 " not in out


@pytest.mark.parametrize("loss", [None, "bce_with_logits"])
def test_what_is_printed_to_be_pasted_runs(loss: str | None, capsys: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).standard_normal((120, 3))
    rows = [f"{a},{b},{c},{'yes' if a > 0 else 'no'}" for a, b, c in x]
    Path("mine.csv").write_text("\n".join(["a,b,c,sign", *rows]))
    options = [] if loss is None else ["--loss", loss]
    data = ["--data", "mine.csv", "--target", "sign", *options]
    command = ["diagnose", *data, "--depth", "12", "--width", "16", "--activation", "sigmoid", "--steps", "60"]
    assert cli.main(command) == 0
    out = capsys.readouterr().out
    pasted = out.partition("\npaste\n")[2].partition("\ntorch\n")[0]
    assert pasted
    scope: dict[str, Any] = {}
    exec(textwrap.dedent(pasted), scope)
    result = scope["net"].evaluate(scope["test"], loss or "cross_entropy")
    assert result.metric > 0.7


def test_the_same_words_in_colour_on_a_terminal(capsys: Any, monkeypatch: Any) -> None:
    assert cli.main([*SICK, "--no-cure"]) == 0
    plain = capsys.readouterr().out
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert cli.main([*SICK, "--no-cure"]) == 0
    coloured = capsys.readouterr().out
    assert "\x1b[1;31mFAIL" in coloured
    bare = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert bare.replace("─", "").split() == plain.split()
    assert max(map(len, bare.splitlines())) <= 80


def test_the_seed_decides(capsys: Any) -> None:
    outputs = []
    for seed in ("1", "1", "2"):
        cli.main([*WELL, "--no-cure", "--seed", seed])
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] != outputs[2]


def test_data_of_ones_own(capsys: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 3))
    table = tmp_path / "mine.csv"
    rows = [f"{a},{b},{c},{a + b:.4f},{'yes' if a > 0 else 'no'}" for a, b, c in x]
    table.write_text("\n".join(["a,b,c,sum,sign", *rows]))
    assert cli.main(["diagnose", "--data", str(table), "--target", "sign", "--no-cure", "--depth", "3"]) == 0
    assert "4-[128]x3-2" in capsys.readouterr().out
    table.write_text("\n".join(["a,b,c,sum", *(row.rpartition(",")[0] for row in rows)]))
    assert cli.main(["diagnose", "--data", str(table), "--budget", "0.5", "--depth", "3"]) == 0
    assert "mse" in capsys.readouterr().out
    np.savez(tmp_path / "mine.npz", x=x, y=(x[:, 0] > 0).astype(int))
    assert cli.main(["diagnose", "--data", str(tmp_path / "mine.npz"), "--no-cure", "--dtype", "float64"]) == 0
    assert "float64" in capsys.readouterr().out


def test_the_header_says_what_became_of_target_and_columns(capsys: Any, tmp_path: Path) -> None:
    table = tmp_path / "house.csv"
    table.write_text("\n".join(["a,e,age", *(f"{i % 13},7,{i % 20}" for i in range(100))]))
    command = ["diagnose", "--data", str(table), "--no-cure", "--depth", "3", "--width", "8"]
    assert cli.main(command) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "target age: 20 classes, column 'e' is constant: carried as 0" in out
    assert cli.main([*command, "--loss", "mse", "--samples", "99999"]) == 0
    out, err = capsys.readouterr()
    assert "target age: regression" in " ".join(out.split())
    assert "x3-1" in out
    assert err == "gradiometer: --samples is 99999: all 64 for training are used\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere.csv"], "nowhere.csv"),
        (["--data", "digits.txt"], "must end in .csv, .tsv or .npz"),
        (["--target", "y"], "--target is for a .csv file"),
        (["--activation", "sigmoyd"], "--activation is 'sigmoyd' (did you mean 'sigmoid'?); expected one of: identity"),
        (["--loss", "l1"], "--loss is 'l1'; expected one of: cross_entropy, bce_with_logits, mse, huber"),
        (["--loss", "huber"], "--loss huber does not fit the target"),
        (["--html", "."], "--html . is a directory; expected the name of a file"),
        (["--init", "zeros"], "--init is 'zeros'; expected one of: xavier_uniform"),
        (["--loss", "mse"], "--loss mse does not fit the target"),
        (["--html", "no/such/place.html"], "there is no directory"),
        (["--samples", "1"], "--samples is 1; expected 2 or more"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(arguments: list[str], message: str, capsys: Any) -> None:
    assert cli.main(["diagnose", "--no-cure", "--depth", "2", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("gradiometer: error: ")
    assert err.count("\n") == 1
    assert message in err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["heal"],
        ["diagnose", "--depth", "0"],
        ["diagnose", "--depth", "2.5"],
        ["diagnose", "--budget", "nan"],
        ["diagnose", "--budget", "-1"],
        ["diagnose", "--norm", "instance"],
        ["diagnose", "--seed", "-1"],
    ],
)
def test_wrong_use_is_status_2(arguments: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    assert left.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("gradiometer")
    assert err.count("\n") == 1
    assert "--help" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["diagnose", "digits"], "digits is not known (did you mean --data digits?); see gradiometer diagnose --help"),
        (["diagnose", "--dta", "digits"], "--dta is not known (did you mean '--data'?)"),
        (["diagnose", "--activatoin=relu"], "--activatoin is not known (did you mean '--activation'?)"),
        (["selftest", "all"], "all is not known; see gradiometer selftest --help"),
    ],
)
def test_what_was_meant_is_offered(arguments: list[str], message: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    assert left.value.code == 2
    assert message in capsys.readouterr().err


def test_explain(capsys: Any) -> None:
    assert cli.main(["explain", "input-lost"]) == 0
    assert capsys.readouterr().out.startswith("input-lost: the network forgets its input")
    assert cli.main(["explain"]) == 0
    listed = capsys.readouterr().out
    assert all(id in listed for id in rule_ids())
    assert cli.main(["explain", "vanishing"]) == 2
    assert "rule is 'vanishing' (did you mean 'vanishing-gradient'?)" in capsys.readouterr().err


def test_info(capsys: Any) -> None:
    assert cli.main(["info"]) == 0
    assert "instruction sets" in capsys.readouterr().out
    assert cli.main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["chosen"] == kernels.isa()
    assert facts["activations"] == list(kernels.activations())


def test_version(capsys: Any) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith("gradiometer ")


def test_selftest_passes_and_leaves_the_settings(capsys: Any) -> None:
    chosen, threads = kernels.isa(), kernels.threads()
    assert cli.main(["selftest"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("ok: ")
    assert max(map(len, lines)) <= 80
    [gelu] = [line.split() for line in lines if line.startswith("gelu  ")]
    assert (gelu[2], gelu[4:]) == ("4", ["3.5", "ulp"])
    assert float(gelu[1]) <= 4
    assert (kernels.isa(), kernels.threads()) == (chosen, threads)


KERNELS = [
    "forward", "backward", "gemm", "pack", "linear_forward", "linear_backward", "batch_norm_forward",
    "batch_norm_backward", "group_norm_forward", "group_norm_backward", "softmax_forward", "softmax_backward",
    "log_softmax_forward", "log_softmax_backward", "prelu_forward", "prelu_backward", "loss", "optimizer_step",
    "lstm_forward", "lstm_backward", "lstm_cell_forward", "lstm_cell_backward", "gru_forward", "gru_backward",
    "gru_cell_forward", "gru_cell_backward", "rnn_forward", "rnn_backward", "rnn_cell_forward",
    "rnn_cell_backward", "lstm_gates", "gru_gates",
]  # fmt: skip


def test_selftest_checks_every_kernel() -> None:
    from gradiometer import definitions

    assert definitions.LOSSES.keys() >= set(kernels.losses())
    assert definitions.OPTIMIZERS.keys() >= set(kernels.optimizers())
    plain = {
        "activations",
        "losses",
        "optimizers",
        "isas",
        "isa",
        "set_isa",
        "threads",
        "set_threads",
        "Moments",
        "Packed",
    }
    assert set(KERNELS) == {
        name
        for name in kernels.__all__
        if name not in plain | {"moments"} and not name.endswith(("parameters", "slots"))
    }
    seen = list(checks())
    assert all(check.passed for check in seen)
    assert {check.isa for check in seen} == set(kernels.isas())
    names = {check.name for check in seen if (check.isa, check.dtype) == (kernels.isas()[-1], "float64")}
    assert {"moments, norm", "dropout, share", *kernels.activations()} <= names


@pytest.mark.parametrize("broken", KERNELS)
def test_selftest_finds_a_wrong_kernel(broken: str, monkeypatch: Any, capsys: Any) -> None:
    right, best = getattr(kernels, broken), kernels.isa()

    def wrong(*arguments: Any, **more: Any) -> Any:
        if broken == "pack":  # gives no array
            return right(arguments[0] * arguments[0].dtype.type(1 + 1e-5))
        result = right(*arguments, **more)
        if isinstance(result, dict):  # seen along one direction, where much cancels
            for array in (a for a in result.values() if isinstance(a, np.ndarray)):
                array *= array.dtype.type(1.01 if array.dtype == np.float32 else 1)
            return result
        arrays = [*result, *arguments] if isinstance(result, tuple) else [*arguments] if result is None else [result]
        array = next(a for a in arrays if isinstance(a, np.ndarray))
        if array.dtype == np.float32:
            array *= np.float32(1 + 1e-5)
        return result

    monkeypatch.setattr(kernels, broken, wrong)
    monkeypatch.setattr(kernels, "isas", lambda: (best,))
    assert cli.main(["selftest"]) == 3
    assert "FAIL" in capsys.readouterr().out


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gradiometer.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})


def test_progress_is_silent_where_stderr_is_no_terminal() -> None:
    done = run(*SICK, "--budget", "0.3", NO_COLOR="")
    assert done.returncode == 0
    assert done.stderr == ""
    assert "\x1b" not in done.stdout


def test_colour_where_asked_for_and_not_under_no_color() -> None:
    assert "\x1b[1;31mFAIL" in run(*SICK, "--no-cure", FORCE_COLOR="1").stdout
    assert "\x1b" not in run(*SICK, "--no-cure", FORCE_COLOR="1", NO_COLOR="1").stdout


def test_steps_in_place_of_a_budget_give_the_same_table_again() -> None:
    def rows() -> list[Any]:
        told = json.loads(run(*SICK, "--steps", "4", "--json").stdout)["cure"]["rows"]
        return [(row["title"], row["val"], row["test"], row["steps"]) for row in told]

    first = rows()
    assert rows() == first
    assert {steps for *_, steps in first} == {12, 28}


def test_an_interrupt_ends_it_at_once() -> None:
    command = [sys.executable, "-m", "gradiometer.cli", *SICK, "--budget", "40"]
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a background job inherits it as ignored
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("digits")  # the diagnosis is out, the cures are being tried
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_a_reader_that_leaves_is_no_error() -> None:
    command = [sys.executable, "-m", "gradiometer.cli", "explain", "input-lost"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == b""
    process.stderr.close()
