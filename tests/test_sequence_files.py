"""Sequences of your own from an .npz file: what each array means, and what is wrong with one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import gradiometer as gm
import numpy as np
import pytest
from gradiometer import cli

N, T, C = 40, 6, 3
LENGTHS = np.arange(N) % 4 + 3


def made(**more: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(2.0, 3.0, size=(N, T, C))
    x[np.arange(T) >= LENGTHS[:, None]] = np.nan
    return {"x": x, "y": rng.integers(0, 2, N), "lengths": LENGTHS, **more}


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path / "mine.npz", **arrays)
    return path / "mine.npz"


def test_steps_within_the_lengths_are_standardised_by_the_training_part(tmp_path: Path) -> None:
    arrays = made()
    data = gm.datasets.load_sequences(saved(tmp_path, **arrays))
    assert [len(part) for part in data] == [26, 6, 8]
    assert data.task == "classification"
    assert data.classes == ("0", "1")
    seen = []
    for part in data:
        for row, length, label in zip(part.x.x, part.x.lengths, part.y, strict=True):
            raw = row[:length] * data.scale + data.mean
            found = [
                n
                for n in range(N)
                if LENGTHS[n] == length and np.allclose(arrays["x"][n, :length], raw, rtol=1e-5, atol=1e-5)
            ]
            assert len(found) == 1
            assert arrays["y"][found[0]] == label
            assert not row[length:].any()
            seen += found
    assert sorted(seen) == list(range(N))
    steps = np.concatenate([row[:n] for row, n in zip(data.train.x.x, data.train.x.lengths, strict=True)])
    np.testing.assert_allclose(steps.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(steps.std(axis=0), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("y", "task", "shape", "outputs"),
    [
        (np.arange(N) % 3, "classification", (), 3),
        (np.array(["no", "yes"])[np.arange(N) % 2], "classification", (), 2),
        (np.linspace(0.1, 1, N), "regression", (1,), 1),
        (np.random.default_rng(1).normal(size=(N, T)), "regression", (T,), T),
        (np.arange(N * T).reshape(N, T) % 4, "classification", (T,), 4),
        (np.random.default_rng(1).normal(size=(N, T, 2)), "regression", (T, 2), 2),
    ],
)
def test_what_y_means(tmp_path: Path, y: Any, task: str, shape: tuple[int, ...], outputs: int) -> None:
    data = gm.datasets.load_sequences(saved(tmp_path, **made(y=y)))
    assert (data.task, data.train.y.shape[1:], data.outputs) == (task, shape, outputs)
    if shape[:1] == (T,) and len(shape) == (1 if data.classes else 2):
        assert not data.train.y[~data.train.x.mask].any()
    net = gm.tasks.recurrent("gru", data, 4, seed=0)
    loss = "cross_entropy" if data.classes else "mse"
    assert np.isfinite(net.fit(data.train, data.val, steps=2, loss=loss, rng=0).loss).all()


def test_whole_numbers_are_values_where_that_is_asked_for(tmp_path: Path) -> None:
    path = saved(tmp_path, **made(y=np.arange(N * 2).reshape(N, 2)))
    assert gm.datasets.load_sequences(path, task="regression").train.y.shape == (26, 2)
    with pytest.raises(ValueError, match=re.escape('choose task="regression" (--loss mse) for values a sequence')):
        gm.datasets.load_sequences(path)


@pytest.mark.parametrize("with_validation", [False, True])
def test_parts_are_kept(tmp_path: Path, with_validation: bool) -> None:
    arrays = made()
    cut = {"train": slice(0, 24), "val": slice(24, 30), "test": slice(30, N)}
    names = [name for name in cut if with_validation or name != "val"]
    named = {f"{key}_{name}": value[cut[name]] for name in names for key, value in arrays.items()}
    data = gm.datasets.load_sequences(saved(tmp_path, **named))
    assert [len(part) for part in data] == ([24, 6, 10] if with_validation else [19, 5, 10])
    np.testing.assert_array_equal(data.test.y, arrays["y"][30:])
    np.testing.assert_array_equal(data.test.x.lengths, LENGTHS[30:])


def test_without_lengths_x_is_an_array(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(N, T, C))
    data = gm.datasets.load_sequences(saved(tmp_path, x=x, y=np.arange(N) % 2))
    assert isinstance(data.train.x, np.ndarray)
    assert data.train.x.shape == (26, T, C)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"x": np.ones((N, C))}, "array x has shape (40, 3), expected (N, T, C): samples, steps, channels"),
        ({"lengths": LENGTHS[1:]}, "array lengths is int64 (39,), expected whole numbers (40,)"),
        ({"lengths": LENGTHS * 1.0}, "array lengths is float64 (40,), expected whole numbers (40,)"),
        ({"lengths": LENGTHS - 3}, "lengths[0] is 0, expected 1 to 6, the steps of x"),
        ({"lengths": LENGTHS + 3}, "lengths[1] is 7, expected 1 to 6, the steps of x"),
        ({"lengths": np.full(N, T)}, "array x is nan at (0, 3, 0), expected finite numbers"),
        ({"y": np.arange(N - 1)}, "x has 40 samples, y 39"),
        ({"y": np.zeros(N, int)}, "array y has the same value 0 in every sample"),
        ({"y": np.zeros((N, T + 1), int)}, "array y has shape (40, 7), expected (40) or (40, 6) and what each has"),
        ({"y": np.zeros((N, T, 2, 2))}, "array y has shape (40, 6, 2, 2), expected (40) or (40, 6) and what each has"),
    ],
)
def test_what_is_wrong_with_an_array_is_said(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    path = saved(tmp_path, **made(**more))
    with pytest.raises(ValueError, match=re.escape(f"{path}: {message}")):
        gm.datasets.load_sequences(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    for arrays, message in [
        ({"z": np.ones(3)}, "must hold arrays x and y (and lengths), or x_train"),
        ({**made(), "length": LENGTHS}, "has an array length; expected lengths"),
        ({"x": np.ones((3, 2, 2)), "y": np.arange(3)}, "has 3 sequences, expected at least 10"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            gm.datasets.load_sequences(saved(tmp_path, **arrays))
    with pytest.raises(FileNotFoundError, match="there is no file"):
        gm.datasets.load_sequences(tmp_path / "none.npz")
    with pytest.raises(ValueError, match=re.escape("path must end in .npz")):
        gm.datasets.load_sequences("mine.csv")
    with pytest.raises(ValueError, match=re.escape("it is of sequences, for gm.datasets.load_sequences")):
        gm.datasets.load(saved(tmp_path, **made()))


# The command


@pytest.mark.parametrize("model", ["rnn", "lstm", "gru"])
def test_diagnosis_of_a_file(tmp_path: Path, model: str, capsys: Any) -> None:
    path = saved(tmp_path, **made())
    command = ["diagnose", "--data", str(path), "--model", model, "--hidden", "5"]
    assert cli.main([*command, "--no-cure"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("mine.npz 40 sequences of 3 to 6 steps x3 standardised (26 train,")
    assert "a step" in out
    assert err == ""
    assert cli.main([*command, "--steps", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cure"]["rows"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "lstm", "--target", "y"], "--target is for a .csv file"),
        (["--model", "lstm", "--one-hot"], "--one-hot is for a .csv file"),
        (["--model", "lstm", "--drop-missing"], "--drop-missing is for a .csv file"),
        (["--model", "lstm", "--depth", "3"], "--depth is not for --model lstm"),
        (["--model", "lstm", "--loss", "bce_with_logits"], "--loss bce_with_logits is not for sequences"),
        (["--model", "mlp"], "it is of sequences, for gm.datasets.load_sequences (--model rnn, lstm or gru)"),
        ([], "it is of sequences, for gm.datasets.load_sequences (--model rnn, lstm or gru)"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, options: list[str], message: str, capsys: Any) -> None:
    assert cli.main(["diagnose", "--no-cure", "--data", str(saved(tmp_path, **made())), *options]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert message in err


def test_the_code_that_is_printed_makes_the_very_data(tmp_path: Path) -> None:
    path = saved(tmp_path, **made())
    arguments = cli.parser().parse_args(["diagnose", "--data", str(path), "--model", "gru", "--seed", "3"])
    data = cli.load(arguments)
    space: dict[str, Any] = {"gm": gm}
    exec(cli.data_code(arguments, data, "cross_entropy"), space)
    np.testing.assert_array_equal(space["train"].x.x, data.train.x.x)
    np.testing.assert_array_equal(space["test"].y, data.test.y)
