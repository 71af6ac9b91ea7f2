"""The digits, and reading files: cuts, standardisation, and every error that a file can cause."""

from __future__ import annotations

import re

import numpy as np
import pytest
from gradiometer import datasets


def test_digits():
    data = datasets.digits()
    train, val, test = data
    assert [len(part) for part in data] == [1150, 287, 360]
    assert (data.task, data.outputs, data.classes) == ("classification", 10, tuple("0123456789"))
    assert str(data) == "digits 1797x64 standardised (1150 train, 287 validation, 360 test)"
    for part in data:
        assert part.x.dtype == np.float32
        assert part.x.shape == (len(part), 64)
        assert part.x.flags.c_contiguous
        assert part.y.dtype == np.int64
        assert part.y.shape == (len(part),)
    constant = np.isinf(data.scale)
    assert np.flatnonzero(constant).tolist() == [0, 32, 39]
    assert not train.x[:, constant].any()
    assert train.x.astype(np.float64).mean(axis=0) == pytest.approx(np.zeros(64), abs=1e-6)
    assert train.x[:, ~constant].astype(np.float64).std(axis=0) == pytest.approx(np.ones(61), abs=1e-6)
    assert np.isfinite(val.x).all()
    assert np.isfinite(test.x).all()


def test_digits_are_the_published_ones():
    """Class counts and the sum of all pixels of the 1797 digits, and whole grey values from 0 to 16."""
    data = datasets.digits()
    x = np.concatenate([part.x for part in data])
    raw = np.where(np.isinf(data.scale), data.mean, x * np.where(np.isinf(data.scale), 1, data.scale) + data.mean)
    assert np.abs(raw - np.round(raw)).max() < 1e-4
    assert (raw.round().min(), raw.round().max()) == (0, 16)
    assert raw.round().sum() == 561718
    counts = np.bincount(np.concatenate([part.y for part in data]))
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_digits_are_stratified_and_every_digit_is_in_one_part():
    data = datasets.digits()
    shares = np.array([np.bincount(part.y) / len(part) for part in data])
    assert np.abs(shares - shares.mean(axis=0)).max() < 0.005
    rows = np.concatenate([part.x for part in data])
    assert len(np.unique(rows, axis=0)) == 1797


def test_digits_are_shuffled():
    """A simple classifier has what a random cut gives; in the order of the file, by writer, it would lose."""
    train, val, test = datasets.digits()
    assert len(set(train.y[:20].tolist())) > 5
    means = np.stack([train.x[train.y == k].mean(axis=0) for k in range(10)])
    for part in (val, test):
        nearest = ((part.x[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
        assert 0.86 < np.mean(nearest == part.y) < 0.96


def test_digits_are_the_callers_own():
    first = datasets.digits()
    first.train.x[:] = 0
    assert datasets.digits().train.x.any()


def test_samples_are_cut_like_an_array():
    train, _, _ = datasets.digits()
    x, y = train[:256]
    assert x.shape == (256, 64)
    assert np.array_equal(y, train.y[:256])
    threes = train[train.y == 3]
    assert len(threes) == (train.y == 3).sum()
    assert set(threes.y) == {3}
    with pytest.raises(FileNotFoundError, match=r"^there is no file nope\.csv$"):
        datasets.load("nope.csv")
    assert train[0] is train.x
    assert train[1] is train.y
    with pytest.raises(IndexError, match=r"\[0\] is x and \[1\] is y; expected a slice"):
        train[2]
    with pytest.raises(TypeError, match="slice, an index array or a mask, got 'x'"):
        train["x"]


def table(path, rows, header="a,b,label"):
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def example_rows(n=100, labels=("red", "green", "blue")):
    rng = np.random.default_rng(0)
    return [f"{rng.normal():.3f},{rng.integers(100)},{labels[i * i % len(labels)]}" for i in range(n)]


def test_csv(tmp_path):
    rows = example_rows()
    data = datasets.load(table(tmp_path / "colours.csv", rows))
    assert [len(part) for part in data] == [64, 16, 20]
    assert str(data) == "colours.csv 100x2 standardised (64 train, 16 validation, 20 test)"
    assert data.classes == ("green", "red")  # squares mod 3 are 0 and 1
    assert data.features == ("a", "b")
    # Undone, the parts hold the file's rows, each once; 4 digits, since x is float32.
    found = sorted(
        (f"{a:.4f}", round(b), data.classes[k])
        for part in data
        for (a, b), k in zip(part.x * data.scale + data.mean, part.y, strict=True)
    )
    raw = [row.split(",") for row in rows]
    assert found == sorted((f"{float(a):.4f}", int(b), label) for a, b, label in raw)
    assert data.train.x.dtype == np.float32
    assert data.train.y.dtype == np.int64
    assert data.train.x.mean(axis=0) == pytest.approx(np.zeros(2), abs=1e-6)
    assert data.train.x.std(axis=0) == pytest.approx(np.ones(2), abs=1e-6)


@pytest.mark.parametrize("target", ["a", 0, -3, "0"])
def test_target_by_name_or_number(tmp_path, target):
    path = table(tmp_path / "t.csv", [f"{i % 4},{i * 0.5},{i}" for i in range(40)], "a,b,c")
    data = datasets.load(path, target)
    assert data.features == ("b", "c")
    assert data.classes == ("0", "1", "2", "3")


def test_numbers_are_classes_in_numerical_order(tmp_path):
    path = table(tmp_path / "t.csv", [f"{i},{i},{(10, 9, -1)[i % 3]}" for i in range(30)])
    assert datasets.load(path).classes == ("-1", "9", "10")


def test_the_cut_depends_on_rng_only(tmp_path):
    path = table(tmp_path / "t.csv", example_rows())
    first, again, other = datasets.load(path), datasets.load(path), datasets.load(path, rng=1)
    assert np.array_equal(first.train.x, again.train.x)
    assert not np.array_equal(first.train.x, other.train.x)


@pytest.mark.parametrize("counts", [(50, 30, 20), (900, 90, 10), (7, 2, 1)])
def test_stratified(tmp_path, counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    rows = [f"{i},{i * i},{label}" for i, label in enumerate(labels)]
    data = datasets.load(table(tmp_path / "t.csv", rows))
    for part, share in zip(data, (0.64, 0.16, 0.2), strict=True):
        got = np.bincount(part.y, minlength=len(counts))
        assert np.abs(got - share * np.array(counts)).max() <= 1.0
    assert set(data.train.y) >= {k for k, n in enumerate(counts) if n in (1, max(counts))}


def test_regression(tmp_path):
    path = table(tmp_path / "t.csv", [f"{i},{i % 7},{1000 + i * 0.5}" for i in range(50)])
    data = datasets.load(path)
    assert (data.task, data.outputs, data.classes) == ("regression", 1, ())
    assert data.train.y.shape == (32, 1)
    assert data.train.y.dtype == np.float32
    assert data.train.y.mean() == pytest.approx(0, abs=1e-6)
    raw = data.test.y * data.target_scale + data.target_mean
    first_feature = data.test.x[:, :1] * data.scale[0] + data.mean[0]
    assert raw == pytest.approx(1000 + first_feature * 0.5, rel=1e-5)


def test_whole_numbers_can_be_regressed_on(tmp_path):
    path = table(tmp_path / "t.csv", [f"{i},{i % 7},{i}" for i in range(50)])
    assert datasets.load(path, task="regression").task == "regression"
    halves = table(tmp_path / "h.csv", [f"{i},{i / 2},{i}" for i in range(50)])
    with pytest.raises(ValueError, match="column 'b' is not one whole number a sample"):
        datasets.load(halves, "b", task="classification")
    assert datasets.load(path, task="regression").outputs == 1
    with pytest.raises(ValueError, match=r'50 different values in 50 samples: .*task="regression"'):
        datasets.load(path, task="classification")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiter_quotes_blank_lines_and_byte_order_mark(tmp_path, delimiter):
    lines = ['"a"' + delimiter + "b" + delimiter + "label", ""]
    for i in range(20):
        lines.append(delimiter.join([str(i), f' "{i * i}"'.strip(), '"x,y;z"' if i % 2 else "w"]))
    path = tmp_path / "t.csv"
    path.write_text("\r\n".join(lines), encoding="utf-8-sig")
    data = datasets.load(path)
    assert data.features == ("a", "b")
    assert data.classes == ("w", "x,y;z")


def broken(line, text):
    rows = example_rows(20)
    rows[line - 2] = text
    return rows


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (broken(7, "0.5,,red"), "t.csv, line 7, column 'b': missing value"),
        (broken(7, "NaN,1,red"), "t.csv, line 7, column 'a': missing value"),
        (broken(21, "0.5,1,?"), "t.csv, line 21, column 'label': missing value"),
        (broken(3, "0.5,high,red"), "t.csv, line 3, column 'b': 'high' is not a finite number"),
        (broken(3, "inf,1,red"), "t.csv, line 3, column 'a': 'inf' is not a finite number"),
        (broken(3, "1_000,1,red"), "t.csv, line 3, column 'a': '1_000' is not a finite number"),
        (broken(4, "0.5,red"), "t.csv, line 4: 2 cells, expected 3 as in the header"),
        (broken(4, "0.5,1,red,1"), "t.csv, line 4: 4 cells, expected 3 as in the header"),
        (broken(4, '0.5,1,"red'), "t.csv, after line 3: unexpected end of data"),
        (example_rows(9), "t.csv has 9 samples, expected at least 10"),
        ([], "t.csv has a header but no data"),
        ([f"{i},5,{i % 2}" for i in range(20)], "t.csv: column 'b' is 5 in every sample"),
        ([f"{i},{i * i},red" for i in range(20)], "column 'label' has the same value red in every sample"),
        ([f"{i},{i * i},id{i}" for i in range(20)], "20 different values in 20 samples: no classes"),
    ],
)
def test_csv_errors(tmp_path, rows, message):
    path = table(tmp_path / "t.csv", rows)
    with pytest.raises(ValueError, match=re.escape(message)):
        datasets.load(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("1.5,2,red", "line 1: expected a header with names of columns, got ['1.5', '2', 'red']"),
        ("1.5,2,3", "line 1: expected a header with names of columns, got ['1.5', '2', '3']"),
        ("a,a,label", "line 1: column 'a' occurs twice"),
        ("alone", "needs a header of at least two columns, got ['alone']"),
        ("", "needs a header of at least two columns, got []"),
    ],
)
def test_header_errors(tmp_path, header, message):
    path = table(tmp_path / "t.csv", [f"{i},{i * i},{i}" for i in range(20)], header)
    with pytest.raises(ValueError, match=re.escape(message)):
        datasets.load(path)


def test_numbered_columns_are_a_header(tmp_path):
    path = table(tmp_path / "t.csv", [f"{i},{i * i},{i % 2}" for i in range(20)], "0,1,2")
    data = datasets.load(path, "2")
    assert data.features == ("0", "1")
    assert data.target == "2"
    with pytest.raises(ValueError, match="expected a header with names"):
        datasets.load(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "colour"}, "target is 'colour'; columns of"),
        ({"target": 3}, "target is column 3, but"),
        ({"target": -4}, "target is column -4, but"),
        ({"task": "ranking"}, "task is 'ranking'; expected one of: classification, regression"),
        ({"task": "regression"}, "holds words ('red', ...), regression needs numbers"),
        ({"constant": "drop"}, "constant is 'drop'; expected one of: error, zero"),
    ],
)
def test_argument_errors(tmp_path, arguments, message):
    path = table(tmp_path / "t.csv", example_rows())
    with pytest.raises(ValueError, match=re.escape(message)):
        datasets.load(path, **arguments)


def test_constant_columns_on_request(tmp_path):
    path = table(tmp_path / "t.csv", [f"{i},0.1,{i % 2}" for i in range(20)])
    data = datasets.load(path, constant="zero")
    assert not any(part.x[:, 1].any() for part in data)
    hopeless = table(tmp_path / "u.csv", [f"1,0.1,{i % 2}" for i in range(20)])
    with pytest.raises(ValueError, match=re.escape("column 'a' (and 1 more) is 1 in every sample")):
        datasets.load(hopeless, constant="zero")


def test_other_files(tmp_path):
    with pytest.raises(FileNotFoundError):
        datasets.load(tmp_path / "nosuch.csv")
    with pytest.raises(ValueError, match=re.escape("path must end in .csv, .tsv or .npz, got")):
        datasets.load(tmp_path / "data.parquet")
    (tmp_path / "latin.csv").write_bytes("größe,b,c\n1,2,3\n".encode("latin-1"))
    with pytest.raises(ValueError, match=re.escape("latin.csv is not UTF-8 text")):
        datasets.load(tmp_path / "latin.csv")


def arrays(n=60, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(3.0, 2.0, (n, 2, 2)), np.arange(n) % 3


def test_npz(tmp_path):
    x, y = arrays()
    np.savez(tmp_path / "d.npz", X=x, y=y)
    data = datasets.load(tmp_path / "d.npz")
    assert [part.x.shape for part in data] == [(38, 4), (10, 4), (12, 4)]
    assert data.classes == ("0", "1", "2")
    np.savez(tmp_path / "r.npz", x=x, y=x.reshape(60, 4)[:, :2])
    data = datasets.load(tmp_path / "r.npz")
    assert (data.task, data.outputs) == ("regression", 2)
    np.savez(tmp_path / "s.npz", x=x, y=np.array(["no", "yes", "no"])[y])
    assert datasets.load(tmp_path / "s.npz").classes == ("no", "yes")


@pytest.mark.parametrize("with_validation", [True, False])
def test_npz_keeps_its_parts(tmp_path, with_validation):
    parts = {"train": arrays(50, 1), "test": arrays(20, 2)}
    if with_validation:
        parts["val"] = arrays(10, 3)
    named = {f"{a}_{name}": value for name, pair in parts.items() for a, value in zip("xy", pair, strict=True)}
    np.savez(tmp_path / "d.npz", **named)
    data = datasets.load(tmp_path / "d.npz")
    assert [len(part) for part in data] == ([50, 10, 20] if with_validation else [40, 10, 20])
    raw = data.test.x * data.scale + data.mean
    assert raw == pytest.approx(parts["test"][0].reshape(20, 4), abs=1e-5)
    assert np.array_equal(data.test.y, parts["test"][1])
    if with_validation:
        assert data.mean == pytest.approx(parts["train"][0].reshape(50, 4).mean(axis=0))


X, Y = arrays()


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (
            {"x": X},
            "must hold arrays x and y, or x_train, y_train, x_test, y_test (and x_val, y_val); it holds x",
        ),
        ({"x": X, "y": Y[:-1]}, "x has 60 samples, y 59"),
        ({"x": X.astype(str), "y": Y}, "array x has dtype <U"),
        ({"x": X + 0j, "y": Y}, "array x has dtype complex128, expected numbers"),
        ({"x": X.astype(object), "y": Y}, "no readable .npz of plain arrays"),
        ({"x": np.float64(1), "y": Y}, "array x has shape (), expected at least one sample"),
        ({"x": np.where(X[4, 1, 0] == X, np.nan, X), "y": Y}, "array x is nan at (4, 1, 0), expected finite"),
        ({"x": X * [1, 1e300], "y": Y}, "feature 1 of x is too large: its variance overflows float64"),
        ({"x": X * [1, 0], "y": Y}, "feature 1 of x (and 1 more) is 0 in every sample"),
        ({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y, "x_val": X}, "holds x_val but not y_val"),
        (
            {"x_train": X, "y_train": Y, "x_test": X[:, :1], "y_test": Y},
            "parts differ in the shape of a sample",
        ),
    ],
)
def test_npz_errors(tmp_path, named, message):
    np.savez(tmp_path / "d.npz", **named)
    with pytest.raises(ValueError, match=re.escape(message)):
        datasets.load(tmp_path / "d.npz")


def test_npz_that_is_none(tmp_path):
    np.savez(tmp_path / "d.npz", x=X, y=Y)
    whole = (tmp_path / "d.npz").read_bytes()
    np.save(tmp_path / "single.npy", X)
    for content in (whole[: len(whole) // 2], b"", b"x", (tmp_path / "single.npy").read_bytes()):
        (tmp_path / "d.npz").write_bytes(content)
        with pytest.raises(ValueError, match=re.escape("d.npz is no readable .npz of plain arrays")):
            datasets.load(tmp_path / "d.npz")
    with pytest.raises(ValueError, match="target is for a CSV file"):
        datasets.load(tmp_path / "d.npz", "y")


def test_bad_cells_are_told_at_once(tmp_path):
    rows = [f"{i},{i * i % 7},{'ab'[i % 2]}" for i in range(40)]
    rows[3], rows[5], rows[9], rows[11] = "?,1,a", "5,red,b", ",2,a", "1,2,NA"
    path = table(tmp_path / "t.csv", rows)
    with pytest.raises(ValueError, match="line 5, column 'a': missing value; line 7, column 'b': 'red' is not") as told:
        datasets.load(path)
    assert "; and 1 more (3 missing, 1 no numbers): missing=" in str(told.value)
    assert "--drop-missing" in str(told.value)
    assert "--one-hot" in str(told.value)
    with pytest.raises(ValueError, match="'red' is not a finite number"):
        datasets.load(path, missing="drop")
    rows[5] = "5,1,b"
    data = datasets.load(table(path, rows), missing="drop")
    assert (sum(map(len, data)), data.dropped) == (37, 3)
    raw = np.concatenate([part.x for part in data]) * data.scale + data.mean
    assert sorted(raw[:, 0].round().astype(int)) == [i for i in range(40) if i not in (3, 9, 11)]


def test_words_become_features(tmp_path):
    words = ("red", "green", "blue")
    rows = [f"{i},{words[i * i % 7 % 3]},{i % 5},{'ab'[i % 2]}" for i in range(60)]
    data = datasets.load(table(tmp_path / "t.csv", rows, "a,colour,b,label"), text="one-hot")
    assert data.features == ("a", "b", "colour=blue", "colour=green", "colour=red")
    for part in data:
        raw = (part.x * data.scale + data.mean).round().astype(int)
        for a, b, *hot in raw:
            assert b == a % 5
            assert hot == [int(words[a * a % 7 % 3] == word) for word in ("blue", "green", "red")]
    names = [f"{i},name{i},{'ab'[i % 2]}" for i in range(60)]
    with pytest.raises(ValueError, match="column 'b' has 60 different words in 60 rows: no categories; remove it"):
        datasets.load(table(tmp_path / "t.csv", names), text="one-hot")


def test_many_whole_numbers_are_values(tmp_path):
    path = table(tmp_path / "t.csv", [f"{i},{i * i % 11},{i % 56}" for i in range(500)])
    with pytest.warns(UserWarning, match="56 whole numbers in 500 samples: taken as values"):
        assert datasets.load(path).task == "regression"
    assert datasets.load(path, task="classification").outputs == 56
    many = table(tmp_path / "t.csv", [f"{i},{i * i % 11},{i % 56}" for i in range(1200)])
    assert datasets.load(many).task == "classification"
