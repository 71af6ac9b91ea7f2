"""Data in time: sequences of different lengths, the vowels, tasks of memory, windows of a series and of a text."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from typing import Any

import gradiometer as gm
import numpy as np
import pytest
from gradiometer import datasets
from gradiometer.datasets.series import naive


def test_sequences() -> None:
    rng = np.random.default_rng(0)
    each = [rng.standard_normal((length, 3)).astype(np.float32) for length in (4, 1, 6)]
    made = gm.Sequences.of(each)
    assert (made.shape, len(made), made.ndim, made.dtype) == ((3, 6, 3), 3, 3, np.float32)
    assert made.lengths.tolist() == [4, 1, 6]
    for row, length, wanted in zip(made.x, made.lengths, each, strict=True):
        assert np.array_equal(row[:length], wanted)
        assert not row[length:].any()
    for index in (slice(1, 3), np.array([1, 2]), [False, True, True]):
        assert np.array_equal(made[index].x, made.x[1:])
        assert made[index].lengths.tolist() == [1, 6]


def test_one_of_the_sequences_is_as_long_as_it_is() -> None:
    arrays = [np.full((n, 2), n, np.float32) for n in (3, 1, 4)]
    sequences = gm.Sequences.of(arrays)
    for got, expected in zip(sequences, arrays, strict=True):
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(sequences[np.int64(-1)], arrays[-1])
    with pytest.raises(IndexError):
        sequences[3]
    with pytest.raises(TypeError, match="a number, a slice, an index array or a mask"):
        sequences[True]  # type: ignore[index]


def test_what_is_beyond_a_length_is_zero_and_the_array_given_is_kept() -> None:
    x = np.full((2, 3, 1), math.nan)
    x[:, 0] = 7
    made = gm.Sequences(x, [1, 1])
    assert made.x[:, 0].tolist() == [[7], [7]]
    assert not made.x[:, 1:].any()
    assert np.isnan(x[0, 1, 0])


@pytest.mark.parametrize(
    ("x", "lengths", "error", "message"),
    [
        (np.ones((2, 3)), [1, 1], ValueError, "x has shape (2, 3); expected (N, T, C)"),
        (np.ones((2, 3, 1), int), [1, 1], TypeError, "x has dtype int64; expected float32 or float64"),
        (np.ones((2, 3, 1)), [1], ValueError, "lengths has shape (1,); expected (2,)"),
        (np.ones((2, 3, 1)), [1, 4], ValueError, "lengths[1] is 4; expected 1 to 3"),
        (np.ones((2, 3, 1)), [0, 1], ValueError, "lengths[0] is 0; expected 1 to 3"),
        (np.ones((2, 3, 1)), [1.0, 2.0], TypeError, "lengths has dtype float64; expected whole numbers"),
    ],
)
def test_bad_sequences(x: Any, lengths: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        gm.Sequences(x, lengths)


def test_sequences_of_other_widths() -> None:
    with pytest.raises(ValueError, match="expected \\(T_n, C\\) with the same C"):
        gm.Sequences.of([np.ones((2, 3)), np.ones((2, 4))])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: gm.Sequences(x, [1, 2]), TypeError, "x is list of unequal parts; expected an array (N, T, C)"),
        (
            lambda x: net().fit((x, [0, 1]), epochs=1),
            TypeError,
            "x is list of unequal parts; expected an array (N, T, 2)",
        ),
        (lambda x: net().predict(x), TypeError, "or gm.Sequences.of(x)"),
        (lambda x: net()(x), TypeError, "or gm.Sequences.of(x)"),
        (lambda x: net()[0](x), TypeError, "or gm.Sequences.of(x)"),
        (lambda x: gm.LSTM(2, 3, batch_first=False)(x), TypeError, "or gm.Sequences.of(x)"),
        (lambda x: net().fit((np.array(x, object), [0, 1]), steps=1), TypeError, "or gm.Sequences.of(x)"),
        (lambda x: gm.Sequences.of([[[1.0], [2.0, 3.0]]]), TypeError, "a sequence is list of unequal parts"),
        (lambda x: gm.Sequences.of([np.ones((2, 3), int)]), TypeError, "sequences has an array of dtype int64"),
        (lambda x: gm.Sequences.of([x[0], x[0][:0]]), ValueError, "sequences[1] has no steps"),
        (lambda x: gm.Sequences.of(None), TypeError, "sequences is NoneType"),
    ],
)
def test_lists_that_are_no_sequences(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call([np.ones((1, 2)), np.ones((2, 2))])


def net() -> gm.Sequential:
    return gm.Sequential(gm.LSTM(2, 3, rng=0), gm.Linear(3, 2, rng=0))


# Vowels


def test_vowels_are_the_published_ones() -> None:
    """270 and 370 utterances, the latter 24 to 88 a speaker, of 7 to 29 frames of 12; first and last values by the file
    of the archive."""
    data = datasets.vowels()
    assert [len(part) for part in data] == [225, 45, 370]
    assert np.bincount(data.test.y).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    assert np.bincount(data.train.y).tolist() == [25] * 9
    assert np.bincount(data.val.y).tolist() == [5] * 9
    lengths = np.concatenate([part.x.lengths for part in data])
    assert (lengths.min(), lengths.max(), lengths.sum()) == (7, 29, 9961)
    assert (data.outputs, data.task, len(data.features)) == (9, "classification", 12)
    first = data.train.x.x[0].astype(float) * data.scale + data.mean
    assert data.train.x.lengths[0] == 20
    assert first[0] == pytest.approx(
        [1.860936, -0.207383, 0.261557, -0.214562, -0.171253, -0.118167, -0.277557, 0.025668, 0.126701, -0.306756,
         -0.213076, 0.088728], abs=1e-6,
    )  # fmt: skip
    assert first[1, 0] == pytest.approx(1.891651, abs=1e-6)
    assert first[19, :2] == pytest.approx([1.261441, -0.638350], abs=1e-6)


def test_vowels_are_standardised_by_the_frames_of_the_training_part() -> None:
    data = datasets.vowels()
    x = data.train.x
    frames = np.concatenate([row[:n] for row, n in zip(x.x.astype(float), x.lengths, strict=True)])
    assert frames.mean(axis=0) == pytest.approx(np.zeros(12), abs=1e-6)
    assert frames.std(axis=0) == pytest.approx(np.ones(12), abs=1e-6)


# Memory


@pytest.mark.parametrize("steps", [2, 3, 100])
def test_adding(steps: int) -> None:
    data = datasets.adding(steps, train=4000, val=3, test=5, rng=1)
    assert [len(part) for part in data] == [4000, 3, 5]
    x, y = data.train
    assert (x.shape, x.dtype, y.shape) == ((4000, steps, 2), np.float32, (4000, 1))
    assert set(np.unique(x[..., 1])) <= {0.0, 1.0}
    assert (x[:, : steps // 2, 1].sum(axis=1) == 1).all()
    assert (x[:, steps // 2 :, 1].sum(axis=1) == 1).all()
    assert y[:, 0] == pytest.approx((x[..., 0] * x[..., 1]).sum(axis=1), abs=1e-6)
    # Var(u + v) = 1/6; the error of answering 1 has a standard deviation of sqrt(7/180) a sample.
    assert data.baseline == 1 / 6
    assert abs(np.mean((y - 1.0) ** 2) - data.baseline) < 4 * math.sqrt(7 / 180 / len(y))
    again = datasets.adding(steps, train=4000, val=3, test=5, rng=1)
    assert np.array_equal(again.test.x, data.test.x)
    assert not np.array_equal(data.test.x[:3], data.val.x)


@pytest.mark.parametrize(("steps", "baseline"), [(100, 0.173287), (200, 0.094520), (500, 0.039989), (1000, 0.020387)])
def test_copy_memory(steps: int, baseline: float) -> None:
    data = datasets.copy_memory(steps, train=7, val=1, test=2, dtype=np.float64)
    x, y = data.train
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((7, steps + 20, 10), np.float64, (7, steps + 20), np.int64)
    assert (x.sum(axis=2) == 1).all()
    said = x.argmax(axis=2)
    assert (said[:, :10] < 8).all()
    assert np.array_equal(said[:, :10], y[:, -10:])
    assert (np.delete(said[:, 10:], steps - 1, axis=1) == 8).all()
    assert (said[:, 10 + steps - 1] == 9).all()
    assert (y[:, :-10] == 8).all()
    assert data.outputs == 9
    # Sure of the blanks and even among the eight symbols at the last ten steps.
    q = np.where(np.arange(steps + 20) < steps + 10, 1.0, 1 / 8)
    assert data.baseline == pytest.approx(-np.log(q).mean())
    assert data.baseline == pytest.approx(baseline, abs=1e-6)


def test_numbers_that_make_no_task() -> None:
    with pytest.raises(ValueError, match="steps is 1; expected 2 or more"):
        datasets.adding(1)
    with pytest.raises(TypeError, match=r"steps is 2\.5; expected a whole number"):
        datasets.copy_memory(2.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="val is 0"):
        datasets.copy_memory(3, val=0)


def test_digits_in_time() -> None:
    plain = datasets.digits()
    pixels, rows = datasets.sequential_digits(), datasets.sequential_digits(rows=True)
    assert (pixels.train.x.shape, rows.train.x.shape) == ((1150, 64, 1), (1150, 8, 8))
    assert np.array_equal(pixels.test.x.reshape(-1, 64), plain.test.x)
    assert np.array_equal(rows.test.x.reshape(-1, 64), plain.test.x)
    mixed = datasets.sequential_digits(permuted=True, rng=3)
    order = np.random.default_rng(3).permutation(64)
    for one, other in zip(mixed, plain, strict=True):
        assert np.array_equal(one.x[:, :, 0], other.x[:, order])
        assert np.array_equal(one.y, other.y)
    assert "1797 sequences of 64 steps x1" in str(pixels)


# Series and text


def test_windows_of_a_series() -> None:
    """Of 0, 1, 2, ...: each window ends just before what it foretells, and no part sees another's targets."""
    data = datasets.forecast(np.arange(100.0), window=5, horizon=3)
    past = [part.x[..., 0].astype(float) * data.scale + data.mean for part in data]
    then = [part.y.astype(float) * data.target_scale + data.target_mean for part in data]
    for x, y in zip(past, then, strict=True):
        assert np.diff(np.hstack([x, y])) == pytest.approx(np.ones((len(x), 7)), abs=1e-4)
    assert [(y.min().round(), y.max().round()) for y in then] == [(5, 63), (64, 79), (80, 99)]
    assert data.mean == pytest.approx([31.5])
    # What stays as it is errs by 1, 2 and 3.
    assert data.baseline * data.scale[0] ** 2 == pytest.approx((1 + 4 + 9) / 3, rel=1e-5)
    assert np.array_equal(naive(data.test.x, 2)[:, 1], data.test.x[:, -1, 0].astype(float))


def test_a_series_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "beer.csv"
    file.write_text("month,litres\n" + "\n".join(f"{i},{i % 12}" for i in range(120)))
    data = datasets.forecast(file, window=12)
    assert (data.name, data.train.x.shape[1:]) == ("beer.csv", (12, 1))
    assert np.array_equal(datasets.forecast(file, window=12, column="litres").test.x, data.test.x)
    alone = tmp_path / "alone.csv"
    alone.write_text("litres\n" + "\n".join(str(i % 12) for i in range(120)))
    assert np.array_equal(datasets.forecast(alone, window=12).test.x, data.test.x)


@pytest.mark.parametrize(
    ("values", "more", "message"),
    [
        (np.ones(100), {}, "values is the same in all of the training part"),
        (np.arange(20.0), {}, "values has 20 steps; windows of 24 and 1 to foretell need more"),
        (np.arange(100.0), {"horizon": 20}, "values has 100 steps; windows of 24 and 20"),
        (np.ones((9, 9)), {}, "values has shape (9, 9)"),
        (np.array([1.0, math.nan] * 50), {}, "values is nan at step 1; expected finite"),
        (np.arange(100.0), {"window": 0}, "window is 0; expected 1 or more"),
    ],
)
def test_series_that_cannot_be_cut(values: Any, more: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        datasets.forecast(values, **more)


def test_files_without_a_series(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("a,b\n1,2\n2,\n3,x\n")
    with pytest.raises(ValueError, match=r"t.csv, line 3, column 'b': missing value: a series has a number"):
        datasets.forecast(file)
    with pytest.raises(ValueError, match="target is 'c'; columns of"):
        datasets.forecast(file, column="c")
    with pytest.raises(FileNotFoundError):
        datasets.forecast(tmp_path / "none.csv")


def test_sunspots_come_from_statsmodels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of that name with a file of that form, never imported."""
    place = tmp_path / "statsmodels" / "datasets" / "sunspots"
    place.mkdir(parents=True)
    (tmp_path / "statsmodels" / "__init__.py").write_text("raise AssertionError('imported')")
    rows = [f"{year},{50 + 40 * math.sin(year * 2 * math.pi / 11):.1f}" for year in range(1700, 2009)]
    (place / "sunspots.csv").write_text('"YEAR","SUNACTIVITY"\n' + "\n".join(rows))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    data = datasets.sunspots(window=22, horizon=2)
    assert str(data).startswith("sunspots 28")
    assert data.train.x.shape == (175, 22, 1)


def test_without_statsmodels_the_way_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=re.escape('gm.datasets.forecast("FILE.csv")')):
        datasets.sunspots()


def test_characters(tmp_path: Path) -> None:
    file = tmp_path / "t.txt"
    file.write_text("abca" * 100, encoding="utf-8")
    data = datasets.characters(file, window=8)
    assert data.classes == ("a", "b", "c")
    assert [len(part) for part in data] == [39, 5, 5]
    text = "".join(data.classes[i] for part in data for i in part.x.argmax(axis=2).reshape(-1))
    after = "".join(data.classes[i] for part in data for i in part.y.reshape(-1))
    assert text == ("abca" * 100)[:392]
    assert after == ("abca" * 100)[1:393]
    # Half of all are a, a quarter each b and c: 1.5 bits.
    assert data.baseline == pytest.approx(1.5 * math.log(2), abs=0.02)


def test_every_python_has_a_text() -> None:
    data = datasets.characters(window=50, limit=20_001)
    assert sum(map(len, data)) == 400
    assert data.train.x.shape == (320, 50, data.outputs)
    with pytest.raises(ValueError, match="has 100 characters; windows of 64 need 641 or more"):
        datasets.characters(limit=100)
