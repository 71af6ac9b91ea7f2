"""Tasks in time: real learning against the baseline on short sequences, and the commands."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import gradiometer as gm
import numpy as np
import pytest
from gradiometer import cli
from gradiometer.tasks.table import result_text
from gradiometer.tasks.task import Fresh


def test_an_lstm_learns_to_add_and_its_gradient_reaches_as_far_as_it_must() -> None:
    """20 steps: half the error of answering 1 within 500 steps, while the RNN's gradient is gone after 20."""
    result = gm.tasks.run("adding", length=20, train=4000, steps=500, hidden=32)
    assert result.task.memory == 10
    for name in ("lstm, bias 1", "lstm, chrono"):
        assert result[name].loss < 0.5 / 6, name
        assert result[name].metric > 0.5
    rnn, chrono = (result[name].before.time[0].horizon.thousandth for name in ("rnn", "lstm, chrono"))
    assert rnn < 20 < chrono
    text = str(result)
    assert "always 1" in text
    assert "0.1667" in text
    assert "a memory of about 10 steps" in text
    assert max(map(len, text.splitlines())) <= 80


def test_copy_memory_is_learned_up_to_when_to_speak() -> None:
    """From ln(9) to within 10 % of the loss of who remembers nothing, 10 ln(8) / 25: 15 of 25 steps are blank."""
    result = gm.tasks.run("copy", length=5, train=1000, steps=250, hidden=64)
    assert result.task.data.baseline == pytest.approx(10 * math.log(8) / 25)
    best = min(result.rows, key=lambda row: row.loss)
    assert best.loss < 1.1 * result.task.data.baseline
    assert best.metric > 0.6
    assert "no memory" in str(result)


def test_the_speakers_are_told_apart() -> None:
    result = gm.tasks.run("vowels")
    lstm = result["lstm, both ways"]
    assert lstm.metric >= 0.95
    assert lstm.metric > result["rnn"].metric > 0.85
    said = lstm.network.predict(result.task.data.test.x).argmax(axis=1)
    assert np.mean(said == result.task.data.test.y) == pytest.approx(lstm.metric)


def test_a_forecast_beats_the_naive_one(tmp_path: Path) -> None:
    """A noisy sine of period 11: what comes is known, but the naive forecast errs by the slope."""
    rng = np.random.default_rng(0)
    file = tmp_path / "waves.csv"
    values = np.sin(np.arange(400) * 2 * math.pi / 11) + 0.1 * rng.standard_normal(400)
    file.write_text("t,height\n" + "\n".join(f"{t},{value}" for t, value in enumerate(values)))
    result = gm.tasks.run("forecast", series=file, horizon=4, steps=200, hidden=16)
    data = result.task.data
    for row in result.rows:
        assert row.loss < 0.5 * data.baseline
        predicted = row.network.predict(data.test.x).astype(float) * data.target_scale + data.target_mean
        wanted = data.test.y.astype(float) * data.target_scale + data.target_mean
        for step in (1, 4):
            error = math.sqrt(np.mean((predicted[:, step - 1] - wanted[:, step - 1]) ** 2))
            assert row.errors[f"rmse step {step}"] == pytest.approx(error)
    naive = str(result).splitlines()
    assert any(line.startswith("naive ") for line in naive)


def test_the_next_character_is_foretold_better_than_by_frequency() -> None:
    result = gm.tasks.run("text", limit=12_000, steps=120, hidden=48)
    lstm = result["lstm, bias 1"]
    assert lstm.loss < 0.9 * result.task.data.baseline
    losses = [seen.loss for seen in lstm.history.val]
    assert losses[-1] < losses[0]
    assert "lstm, bias 1: validation loss by epoch 1: " in " ".join(result_text(result).split())


def test_digits_by_pixel_are_learned() -> None:
    result = gm.tasks.run("digits", steps=120, hidden=32)
    assert [row.contestant.cell for row in result.rows] == ["rnn", "rnn", "lstm"]
    assert max(row.metric for row in result.rows) > 0.2


@pytest.mark.parametrize("sizes", [{"steps": 0}, {"hidden": 0}])
def test_sizes_of_0_are_not_the_usual_ones(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(sizes))} is 0; expected 1 or more"):
        gm.tasks.run("adding", length=6, train=200, **sizes)  # type: ignore[arg-type]


@pytest.mark.parametrize("train", [None, 200])
def test_the_same_seed_gives_the_same_result(train: int | None) -> None:
    def losses(seed: int) -> list[float]:
        result = gm.tasks.run("adding", length=6, train=train, steps=6, hidden=4, seed=seed)
        return [row.loss for row in result.rows]

    assert losses(1) == losses(1) != losses(2)


def test_training_ends_where_the_task_is_solved_and_says_so() -> None:
    said: list[str] = []
    shares: list[float] = []

    def progress(text: str, share: float) -> None:
        said.append(text)
        shares.append(share)

    finished: list[str] = []
    result = gm.tasks.run("adding", length=4, hidden=32, steps=2000, progress=progress, finished=finished.append)
    last = result["lstm, chrono"]
    assert last.history.reached
    assert last.history.steps < 2000
    assert last.history.val[-1].loss <= result.task.data.baseline / 100 < last.history.val[-2].loss
    assert last.loss < 0.02 * result.task.data.baseline
    assert len(said) == sum(row.history.steps for row in result.rows)
    assert said[0].startswith("rnn 1/2000  loss ")
    assert said[0].endswith(" left")
    assert shares[:2] == [1 / 2000, 2 / 2000]
    assert finished[-1].startswith(f"lstm, chrono: {last.history.steps} steps in ")
    assert finished[-1].endswith(" (goal reached)")


def test_fresh_sequences_are_those_of_the_task_and_never_the_same() -> None:
    task = gm.tasks.task("copy", length=3)
    batches = Fresh(task.fresh, 2, seed=4)  # type: ignore[arg-type]
    first, second = ([x.tobytes() for x, _ in batches] for _ in range(2))
    assert len({*first, *second}) == 2 * len(batches) == 200
    assert [x.tobytes() for x, _ in Fresh(task.fresh, 2, seed=4)] == first  # type: ignore[arg-type]
    x, y = next(iter(batches))
    np.testing.assert_array_equal(x[:, :10].argmax(axis=2), y[:, -10:])


# The commands


def test_task_on_the_command_line(capsys: Any) -> None:
    command = ["task", "adding", "--steps-of-time", "8", "--steps", "3", "--hidden", "4"]
    assert cli.main(command) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Adding problem: two marked numbers among 8\n")
    assert "3 steps of 32 fresh sequences or until the validation loss is 0.01 of the baseline" in " ".join(out.split())
    lines = err.splitlines()  # a line that stays for every network, where stderr is no terminal nothing else
    assert [line.partition(":")[0] for line in lines] == ["rnn", "lstm, bias 1", "lstm, chrono"]
    assert all(": 3 steps in " in line for line in lines)
    assert cli.main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found["baseline"] == pytest.approx(1 / 6)
    assert [row["name"] for row in found["rows"]] == ["rnn", "lstm, bias 1", "lstm, chrono"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vowel"], "NAME is 'vowel' (did you mean 'vowels'?); expected one of: vowels, digits, adding"),
        (["vowels", "--steps-of-time", "9"], "--steps-of-time is for adding and copy, not for vowels"),
        (["forecast", "--column", "a"], "--column is one of --series FILE, which is missing"),
        (["forecast", "--series", "none.csv"], "there is no file none.csv"),
        (["text", "--text", "none.txt"], "No such file"),
    ],
)
def test_tasks_that_cannot_be_run(arguments: list[str], message: str, capsys: Any) -> None:
    assert cli.main(["task", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("gradiometer: error: ")
    assert message in err


@pytest.mark.parametrize("model", ["rnn", "lstm", "gru"])
def test_diagnosis_in_time(model: str, capsys: Any) -> None:
    assert cli.main(["diagnose", "--data", "vowels", "--model", model, "--hidden", "16", "--no-cure"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("vowels 640 sequences of 7 to 29 steps x12 standardised (225 train,")
    assert "cross_entropy" in out
    assert "a step" in out
    assert err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "vowels", "--model", "mlp"], "--model mlp does not fit --data vowels; expected rnn, lstm or gru"),
        (["--model", "lstm"], "--model lstm does not fit --data digits; expected mlp; sequences are --data vowels,"),
        (["--data", "vowels", "--depth", "3"], "--depth is not for --model rnn"),
        (["--hidden", "3"], "--hidden is not for --model mlp"),
        (["--data", "vowels", "--model", "gru", "--forget-bias", "1"], "--forget-bias is not for --model gru"),
        (["--data", "vowels", "--steps-of-time", "9"], "--steps-of-time is for --data adding and copy"),
        (["--data", "vowels", "--target", "y"], "--target is for a .csv file, vowels has one target"),
    ],
)
def test_what_does_not_go_together_is_said(arguments: list[str], message: str, capsys: Any) -> None:
    assert cli.main(["diagnose", "--no-cure", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert message in err
