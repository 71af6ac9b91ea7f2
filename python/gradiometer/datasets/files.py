"""Data of your own: a CSV file with a header, or an .npz file of arrays."""

from __future__ import annotations

import csv
import math
import os
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradiometer.arguments import generator
from gradiometer.datasets.splits import Samples, Splits, Standard, stratified_parts

__all__ = ["load"]

_TEST, _VALIDATION = 0.2, 0.16
_LEAST = 10
_SHOWN = 3
_MOST_CLASSES, _FEW = 20, 20
"""Whole numbers of more values than that, with fewer samples a value than that, are values."""
_MISSING = {"", "?", "na", "n/a", "nan", "null"}

Task = Literal["classification", "regression"]


@dataclass(frozen=True)
class Table:
    """What a file holds, before it is cut: values, and for each row its target and its part, if the file says
    it."""

    path: Path
    features: tuple[str, ...]
    x: NDArray[np.float64]
    target: NDArray[Any]
    target_name: str
    part: NDArray[np.str_] | None = None
    dropped: int = 0

    def feature(self, column: int) -> str:
        return f"column {self.features[column]!r}" if self.features else f"feature {column} of x"

    @property
    def target_place(self) -> str:
        return f"column {self.target_name!r}" if self.features else f"array {self.target_name}"


def load(
    path: str | os.PathLike[str],
    target: str | int | None = None,
    *,
    task: Task | None = None,
    constant: Literal["error", "zero"] = "error",
    missing: Literal["error", "drop"] = "error",
    text: Literal["error", "one-hot"] = "error",
    rng: Any = 0,
) -> Splits:
    """Read a data set, cut it 64 : 16 : 20 into training, validation and test part, and standardise it.

    Classes keep their shares in each part. Everything is standardised by the statistics of the training part.

    Parameters
    ----------
    path : path
        ``.csv`` (or ``.tsv``): a header, then numbers, separated by comma, semicolon or tab; a number in the
        header passes for a name only where `target` names a column. ``.npz``: arrays
        x and y, or x_train, y_train, x_test, y_test and, if there, x_val, y_val (then these parts are kept);
        x is flattened to two dimensions.
    target : str or int, optional
        Column of a CSV file, by name or by number from 0 (negative from the end); None is the last.
    task : "classification" or "regression", optional
        By default whole numbers and words are classes, other numbers values to regress on. Whole numbers of a CSV
        file with more than 20 values and fewer than 20 samples a value are regressed on, with a warning.
    constant : "error" or "zero"
        What to do with a feature that has one value only; zero suits images.
    missing : "error" or "drop"
        What to do with rows of a CSV file in which a cell is empty, ``?``, ``NA``, ``NaN`` or ``null``.
    text : "error" or "one-hot"
        What to do with features of a CSV file that are words: a feature ``column=word`` for every word, after the
        others.
    rng : None, int, SeedSequence or Generator
        Decides the cut; the same seed gives the same parts.

    Returns
    -------
    Splits
        Classes are numbered in their order (as numbers, or as words); regression targets are standardised.

    Raises
    ------
    ValueError
        For anything in the file that is not as stated; the message names file, line and column.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "iris.csv"
    >>> lines = [f"{i},{i % 7},{'setosa' if i % 3 else 'virginica'}" for i in range(50)]
    >>> _ = file.write_text("\\n".join(["length,width,species", *lines]))
    >>> data = load(file, target="species")
    >>> print(data)
    iris.csv 50x2 standardised (32 train, 8 validation, 10 test)
    >>> data.classes
    ('setosa', 'virginica')
    """
    path = Path(path)
    if path.suffix.lower() in (".csv", ".tsv", ".npz") and not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if task not in (None, "classification", "regression"):
        raise ValueError(f"task is {task!r}; expected one of: classification, regression")
    if constant not in ("error", "zero"):
        raise ValueError(f"constant is {constant!r}; expected one of: error, zero")
    if missing not in ("error", "drop"):
        raise ValueError(f"missing is {missing!r}; expected one of: error, drop")
    if text not in ("error", "one-hot"):
        raise ValueError(f"text is {text!r}; expected one of: error, one-hot")
    if path.suffix.lower() in (".csv", ".tsv"):
        table = _read_csv(path, target, missing, text)
    elif path.suffix.lower() == ".npz":
        if missing == "drop" or text == "one-hot":
            raise ValueError(f"missing and text are for a CSV file, got {path}")
        if target is not None:
            raise ValueError(f"target is for a CSV file; {path} is .npz, whose target is its array y")
        table = _read_npz(path)
    else:
        raise ValueError(f"path must end in .csv, .tsv or .npz, got {path}")
    return _split(table, task, constant, generator("rng", rng))


def _split(table: Table, task: Task | None, constant: str, rng: np.random.Generator) -> Splits:
    if len(table.x) < _LEAST:
        raise ValueError(f"{table.path} has {len(table.x)} samples, expected at least {_LEAST}")
    same = np.flatnonzero(table.x.max(axis=0) == table.x.min(axis=0))
    if same.size and (constant == "error" or same.size == table.x.shape[1]):
        column = int(same[0])
        others = f" (and {same.size - 1} more)" if same.size > 1 else ""
        raise ValueError(
            f"{table.path}: {table.feature(column)}{others} is {table.x[0, column]:g} in every sample and "
            'says nothing; remove it, or choose constant="zero" to carry it as 0'
        )
    with np.errstate(over="ignore"):
        huge = np.flatnonzero(~np.isfinite(table.x.std(axis=0)))
    if huge.size:
        raise ValueError(f"{table.path}: {table.feature(int(huge[0]))} is too large: its variance overflows float64")
    classes, y = encode_target(table, task)
    train, val, test = parts_of(table.part, y if classes else np.zeros(len(y), np.int64), rng)
    standard = Standard.of(table.x[train])
    target_standard = Standard(np.empty(0), np.empty(0))
    if not classes:
        target_standard = Standard.of(y[train])
        y = target_standard.apply(y)
    return Splits(
        train=Samples(standard.apply(table.x[train]), y[train]),
        val=Samples(standard.apply(table.x[val]), y[val]),
        test=Samples(standard.apply(table.x[test]), y[test]),
        name=table.path.name,
        task="classification" if classes else "regression",
        classes=classes,
        features=table.features,
        mean=standard.mean,
        scale=standard.scale,
        target_mean=target_standard.mean,
        target_scale=target_standard.scale,
        target=table.target_name,
        dropped=table.dropped,
    )


def parts_of(
    part: NDArray[np.str_] | None, labels: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Indices of training, validation and test samples."""
    if part is None:
        test, val, train = stratified_parts(labels, (_TEST, _VALIDATION), rng)
        return train, val, test
    train, val, test = (np.flatnonzero(part == name) for name in ("train", "val", "test"))
    if not val.size:
        chosen, rest = stratified_parts(labels[train], (_VALIDATION / (1 - _TEST),), rng)
        train, val = train[rest], train[chosen]
    return train, val, test


def encode_target(table: Table, task: Task | None) -> tuple[tuple[str, ...], NDArray[Any]]:
    """Labels and class indices, or no labels and float64 values (N, K)."""
    where = f"{table.path}: {table.target_place}"
    target = table.target
    numeric = target.dtype.kind in "biuf"
    whole = numeric and target.ndim == 1 and bool(np.all((target == np.round(target)) & (abs(target) < 2**53)))
    if task is None:
        task = "regression" if numeric and not whole else "classification"
        values = np.unique(target).size if whole and table.features else 0
        if values > _MOST_CLASSES and len(target) < _FEW * values:
            task = "regression"
            warnings.warn(
                f"{where} holds {values} whole numbers in {len(target)} samples: taken as values to regress on; "
                'task="classification" (--loss cross_entropy) makes classes of them, task="regression" (--loss mse) '
                "says so without this warning",
                stacklevel=4,
            )
    if task == "regression":
        if not numeric:
            raise ValueError(f"{where} holds words ({str(target[0])!r}, ...), regression needs numbers")
        wanted = target.astype(np.float64).reshape(len(target), -1)
        if np.any(wanted.max(axis=0) == wanted.min(axis=0)):
            raise ValueError(f"{where} has the same value in every sample")
        return (), wanted
    if numeric and not whole:
        raise ValueError(f"{where} is not one whole number a sample, which classification needs")
    found, codes = np.unique(target.astype(np.int64) if numeric else target, return_inverse=True)
    if found.size < 2:
        raise ValueError(f"{where} has the same value {found[0]} in every sample")
    if 2 * found.size > len(target):
        hint = '; choose task="regression" if it is a quantity' if numeric else ""
        raise ValueError(f"{where} has {found.size} different values in {len(target)} samples: no classes{hint}")
    return tuple(str(label) for label in found), codes.reshape(-1).astype(np.int64)


def _read_csv(path: Path, target: str | int | None, missing: str, text: str) -> Table:
    """The file's numbers; every cell that is none is seen before any is complained of."""
    words = _word_columns(path, target) if text == "one-hot" else {}
    rows, targets, codes = [], [], []
    bad, dropped = _BadCells(path), 0
    header, column, lines = _cells(path, target)
    features = header[:column] + header[column + 1 :]
    plain = [i for i in range(len(features)) if features[i] not in words]
    names = [features[i] for i in plain]
    for line, row in lines:
        cell = row.pop(column)
        numbers = _numbers([row[i] for i in plain])
        absent = [header[column]] if cell.lower() in _MISSING else []
        if numbers is None or words:
            absent = [name for name, each in zip(features, row, strict=True) if each.lower() in _MISSING] + absent
        if absent and missing == "drop":
            dropped += 1
            continue
        if absent or numbers is None:
            bad.note(line, absent, [(name, row[i]) for name, i in zip(names, plain, strict=True)])
            continue
        targets.append(cell)
        rows.append(numbers)
        codes.append([words[features[i]][row[i]] for i in range(len(features)) if features[i] in words])
    bad.refuse()
    if not rows:
        every = f": all {dropped} rows have missing values" if dropped else ""
        raise ValueError(f"{path} has a header but no data{every}")
    x = np.stack(rows)
    for j, (name, known) in enumerate(words.items()):
        hot = np.array([row[j] for row in codes])[:, None] == np.arange(len(known))
        x = np.hstack([x, hot])
        names += [f"{name}={word}" for word in known]
    if words:  # a word that stood in dropped rows only
        kept = [i for i in range(x.shape[1]) if i < len(plain) or x[:, i].any()]
        x, names = x[:, kept], [names[i] for i in kept]
    return Table(
        path=path,
        features=tuple(names),
        x=x,
        target=_numbers_or_words(targets),
        target_name=header[column],
        dropped=dropped,
    )


def read_column(path: Path, column: str | int | None) -> NDArray[np.float64]:
    """The numbers of one column of a CSV file; of a file of one column, those."""
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    lines = _lines(path)
    _, header = next(lines, (1, []))
    place = 0 if len(header) == 1 and column in (None, 0, *header) else _target_column(path, header, column)
    values, bad = [], _BadCells(path)
    for line, row in lines:
        cell = row[place] if place < len(row) else ""
        number = _numbers([cell])
        if number is None:
            bad.note(line, [header[place]] if cell.lower() in _MISSING else [], [(header[place], cell)])
        else:
            values.append(float(number[0]))
    if bad.first:
        raise ValueError(f"{path}, {bad.first[0]}: a series has a number at every step")
    return np.array(values)


def _cells(path: Path, target: str | int | None) -> tuple[list[str], int, Iterator[tuple[int, list[str]]]]:
    """The header, the target's column in it, and the lines after it: number and stripped cells."""
    lines = _lines(path)
    _, header = next(lines, (1, []))
    column = _target_column(path, header, target)

    def whole() -> Iterator[tuple[int, list[str]]]:
        for line, row in lines:
            if len(row) != len(header):
                raise ValueError(f"{path}, line {line}: {len(row)} cells, expected {len(header)} as in the header")
            yield line, row

    return header, column, whole()


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    line = 1
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(",;\t", key=first.count), strict=True)
            for row in reader:
                line = reader.line_num
                if row or line == 1:
                    yield line, [cell.strip() for cell in row]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except csv.Error as error:
        raise ValueError(f"{path}, after line {line}: {error}") from None


def _word_columns(path: Path, target: str | int | None) -> dict[str, dict[str, int]]:
    """Features in which a cell is neither a number nor missing, with their words in order."""
    header, column, lines = _cells(path, target)
    seen: list[set[str]] = [set() for _ in header]
    count = 0
    for _, row in lines:
        count += 1
        for known, cell in zip(seen, row, strict=True):
            known.add(cell)
    found = {}
    for i, (name, known) in enumerate(zip(header, seen, strict=True)):
        words = sorted(word for word in known if word.lower() not in _MISSING)
        if i == column or all(map(_is_number, words)):
            continue
        if 2 * len(words) > count:
            raise ValueError(
                f"{path}: column {name!r} has {len(words)} different words in {count} rows: no categories; remove it"
            )
        found[name] = {word: code for code, word in enumerate(words)}
    return found


class _BadCells:
    """Cells that are missing or no numbers: how many of each, and where the first ones are."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.missing, self.words = 0, 0
        self.first: list[str] = []

    def note(self, line: int, absent: list[str], row: list[tuple[str, str]]) -> None:
        wrong = [(name, cell) for name, cell in row if cell.lower() not in _MISSING and not _is_number(cell)]
        self.missing += len(absent)
        self.words += len(wrong)
        said = [(name, "missing value") for name in absent]
        said += [(name, f"{cell!r} is not a finite number") for name, cell in wrong]
        for name, what in said[: _SHOWN - len(self.first)]:
            self.first.append(f"line {line}, column {name!r}: {what}")

    def refuse(self) -> None:
        """Raise if there were any."""
        rest = self.missing + self.words - len(self.first)
        if not self.first:
            return
        ways = ['missing="drop" (--drop-missing) leaves such rows out'] if self.missing else []
        ways += ['text="one-hot" (--one-hot) makes a feature of every word'] if self.words else []
        more = f"; and {rest} more ({self.missing} missing, {self.words} no numbers)" if rest else ""
        raise ValueError(f"{self.path}, {'; '.join(self.first)}{more}: {', '.join(ways)}")


def _target_column(path: Path, header: list[str], target: str | int | None) -> int:
    if len(header) < 2:
        raise ValueError(f"{path} needs a header of at least two columns, got {header!r}")
    named = target in header and len(set(header)) == len(header)
    if not named and any(_is_number(name) for name in header):
        hint = "; if these are names, choose the target by its own"
        raise ValueError(f"{path}, line 1: expected a header with names of columns, got {header[:5]!r}{hint}")
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise ValueError(f"{path}, line 1: column {twice!r} occurs twice")
    if target is None:
        return len(header) - 1
    if isinstance(target, str):
        if target in header:
            return header.index(target)
        try:
            target = int(target)
        except ValueError:
            raise ValueError(f"target is {target!r}; columns of {path}: {', '.join(header)}") from None
    if not -len(header) <= target < len(header):
        raise ValueError(f"target is column {target}, but {path} has {len(header)} columns")
    return target % len(header)


def _numbers(row: list[str]) -> NDArray[np.float64] | None:
    """A row as numbers; None if a cell is no finite one."""
    try:
        values = np.array([float(cell) for cell in row], np.float64)
    except ValueError:
        return None
    return values if np.isfinite(values).all() and "_" not in "".join(row) else None


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell)) and "_" not in cell
    except ValueError:
        return False


def _numbers_or_words(cells: list[str]) -> NDArray[Any]:
    numeric = all(_is_number(cell) for cell in cells)
    return np.array([float(cell) for cell in cells]) if numeric else np.array(cells)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an .npz file by name, in small letters; ValueError for what is no such file."""
    try:
        # A stream of our own: np.load leaves the one it opens to the garbage collector when the file is
        # damaged.
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array")
            with file:
                return {name.lower(): np.asarray(file[name]) for name in file.files}
    except (zipfile.BadZipFile, EOFError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is no readable .npz of plain arrays: {error}") from None


def _read_npz(path: Path) -> Table:
    arrays = read_arrays(path)
    if any(name.partition("_")[0] == "lengths" for name in arrays):
        raise ValueError(
            f"{path} holds lengths: it is of sequences, for gm.datasets.load_sequences (--model rnn, lstm or gru)"
        )
    if {"x", "y"} <= arrays.keys():
        x, y = _pair(path, arrays, "x", "y")
        return Table(path, (), x, y, "y")
    if not {"x_train", "y_train", "x_test", "y_test"} <= arrays.keys():
        raise ValueError(
            f"{path} must hold arrays x and y, or x_train, y_train, x_test, y_test (and x_val, y_val); "
            f"it holds {', '.join(sorted(arrays)) or 'none'}"
        )
    names = [name for name in ("train", "val", "test") if f"x_{name}" in arrays]
    pairs = [_pair(path, arrays, f"x_{name}", f"y_{name}") for name in names]
    for values in zip(*pairs, strict=True):
        shapes = {array.shape[1:] for array in values}
        if len(shapes) > 1:
            raise ValueError(f"{path}: the parts differ in the shape of a sample: {sorted(shapes)}")
    return Table(
        path=path,
        features=(),
        x=np.concatenate([x for x, _ in pairs]),
        target=np.concatenate([y for _, y in pairs]),
        target_name="y",
        part=np.repeat(names, [len(x) for x, _ in pairs]),
    )


def _pair(path: Path, arrays: dict[str, NDArray[Any]], x_name: str, y_name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """x as float64 (N, C) and y of as many samples, checked."""
    x, y = checked_pair(path, arrays, x_name, y_name)
    return x.reshape(len(x), -1).astype(np.float64), y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def checked_pair(
    path: Path, arrays: dict[str, NDArray[Any]], x_name: str, y_name: str
) -> tuple[NDArray[Any], NDArray[Any]]:
    """x and y of as many samples, with finite numbers, y with words perhaps."""
    if y_name not in arrays:
        raise ValueError(f"{path} holds {x_name} but not {y_name}")
    x, y = arrays[x_name], arrays[y_name]
    for name, array, kinds in ((x_name, x, "biuf"), (y_name, y, "biufU")):
        if array.dtype.kind not in kinds:
            raise ValueError(f"{path}: array {name} has dtype {array.dtype}, expected numbers")
        if array.ndim == 0 or not array.size:
            raise ValueError(f"{path}: array {name} has shape {array.shape}, expected at least one sample")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise ValueError(f"{path}: array {name} is {array[place]} at {place}, expected finite numbers")
    if len(x) != len(y):
        raise ValueError(f"{path}: {x_name} has {len(x)} samples, {y_name} {len(y)}")
    return x, y
