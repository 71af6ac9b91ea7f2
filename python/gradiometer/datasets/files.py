"""Data of your own: a CSV file with a header, or an .npz file of arrays."""

from __future__ import annotations

import csv
import math
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradiometer.datasets.splits import Samples, Splits, Standard, stratified_parts

__all__ = ["load"]

_TEST, _VALIDATION = 0.2, 0.16
_LEAST = 10
_MISSING = {"", "?", "na", "n/a", "nan", "null"}

Task = Literal["classification", "regression"]


@dataclass(frozen=True)
class _Table:
    """What a file holds, before it is cut: values, and for each row its target and its part, if the file says
    it."""

    path: Path
    features: tuple[str, ...]
    x: NDArray[np.float64]
    target: NDArray[Any]
    target_name: str
    part: NDArray[np.str_] | None = None

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
        By default whole numbers and words are classes, other numbers values to regress on.
    constant : "error" or "zero"
        What to do with a feature that has one value only; zero suits images.
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
    if task not in (None, "classification", "regression"):
        raise ValueError(f"task is {task!r}; expected one of: classification, regression")
    if constant not in ("error", "zero"):
        raise ValueError(f"constant is {constant!r}; expected one of: error, zero")
    if path.suffix.lower() in (".csv", ".tsv"):
        table = _read_csv(path, target)
    elif path.suffix.lower() == ".npz":
        if target is not None:
            raise ValueError(f"target is for a CSV file; {path} is .npz, whose target is its array y")
        table = _read_npz(path)
    else:
        raise ValueError(f"path must end in .csv, .tsv or .npz, got {path}")
    return _split(table, task, constant, np.random.default_rng(rng))


def _split(table: _Table, task: Task | None, constant: str, rng: np.random.Generator) -> Splits:
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
    classes, y = _encode_target(table, task)
    train, val, test = _parts(table.part, y if classes else np.zeros(len(y), np.int64), rng)
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
    )


def _parts(
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


def _encode_target(table: _Table, task: Task | None) -> tuple[tuple[str, ...], NDArray[Any]]:
    """Labels and class indices, or no labels and float64 values (N, K)."""
    where = f"{table.path}: {table.target_place}"
    target = table.target
    numeric = target.dtype.kind in "biuf"
    whole = numeric and target.ndim == 1 and bool(np.all((target == np.round(target)) & (abs(target) < 2**53)))
    if task is None:
        task = "regression" if numeric and not whole else "classification"
    if task == "regression":
        if not numeric:
            raise ValueError(f"{where} holds words ({str(target[0])!r}, ...), regression needs numbers")
        values = target.astype(np.float64).reshape(len(target), -1)
        if np.any(values.max(axis=0) == values.min(axis=0)):
            raise ValueError(f"{where} has the same value in every sample")
        return (), values
    if numeric and not whole:
        raise ValueError(f"{where} is not one whole number a sample, which classification needs")
    found, codes = np.unique(target.astype(np.int64) if numeric else target, return_inverse=True)
    if found.size < 2:
        raise ValueError(f"{where} has the same value {found[0]} in every sample")
    if 2 * found.size > len(target):
        hint = '; choose task="regression" if it is a quantity' if numeric else ""
        raise ValueError(f"{where} has {found.size} different values in {len(target)} samples: no classes{hint}")
    return tuple(str(label) for label in found), codes.reshape(-1).astype(np.int64)


def _read_csv(path: Path, target: str | int | None) -> _Table:
    rows, targets, line = [], [], 1
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(",;\t", key=first.count), strict=True)
            header = [cell.strip() for cell in next(reader, [])]
            column = _target_column(path, header, target)
            features = header[:column] + header[column + 1 :]
            for row in reader:
                line = reader.line_num
                if not row:
                    continue
                if len(row) != len(header):
                    raise ValueError(f"{path}, line {line}: {len(row)} cells, expected {len(header)} as in the header")
                cell = row.pop(column).strip()
                if cell.lower() in _MISSING:
                    raise ValueError(f"{path}, line {line}, column {header[column]!r}: missing value")
                targets.append(cell)
                rows.append(_numbers(path, line, features, row))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except csv.Error as error:
        raise ValueError(f"{path}, after line {line}: {error}") from None
    if not rows:
        raise ValueError(f"{path} has a header but no data")
    return _Table(
        path=path,
        features=tuple(features),
        x=np.stack(rows),
        target=_numbers_or_words(targets),
        target_name=header[column],
    )


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


def _numbers(path: Path, line: int, names: list[str], row: list[str]) -> NDArray[np.float64]:
    try:
        values = np.array([float(cell) for cell in row])
        if np.isfinite(values).all() and "_" not in "".join(row):
            return values
    except ValueError:
        pass
    for name, cell in zip(names, row, strict=True):
        place = f"{path}, line {line}, column {name!r}"
        if cell.strip().lower() in _MISSING:
            raise ValueError(f"{place}: missing value") from None
        if not _is_number(cell):
            raise ValueError(f"{place}: {cell!r} is not a finite number") from None
    raise AssertionError("a row that does not convert has a cell that does not")


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell)) and "_" not in cell
    except ValueError:
        return False


def _numbers_or_words(cells: list[str]) -> NDArray[Any]:
    numeric = all(_is_number(cell) for cell in cells)
    return np.array([float(cell) for cell in cells]) if numeric else np.array(cells)


def _read_npz(path: Path) -> _Table:
    try:
        # A stream of our own: np.load leaves the one it opens to the garbage collector when the file is
        # damaged.
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array")
            with file:
                arrays = {name.lower(): np.asarray(file[name]) for name in file.files}
    except (zipfile.BadZipFile, EOFError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is no readable .npz of plain arrays: {error}") from None
    if {"x", "y"} <= arrays.keys():
        x, y = _pair(path, arrays, "x", "y")
        return _Table(path, (), x, y, "y")
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
    return _Table(
        path=path,
        features=(),
        x=np.concatenate([x for x, _ in pairs]),
        target=np.concatenate([y for _, y in pairs]),
        target_name="y",
        part=np.repeat(names, [len(x) for x, _ in pairs]),
    )


def _pair(path: Path, arrays: dict[str, NDArray[Any]], x_name: str, y_name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """x as float64 (N, C) and y of as many samples, checked."""
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
    return x.reshape(len(x), -1).astype(np.float64), y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
