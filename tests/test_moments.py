"""Reductions: what is counted, and sums in float64."""

from __future__ import annotations

import math
import sys
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from gradiometer import kernels

pytestmark = pytest.mark.usefixtures("isa")

DTYPES = ["float32", "float64"]


def mixture(n: int, dtype: str) -> Any:
    """Normal numbers; among them zeros of both signs, subnormals, the smallest normal, infinities, NaN."""
    rng = np.random.default_rng(n)
    finfo = np.finfo(dtype)
    special = np.array(
        [
            0,
            -0.0,
            finfo.smallest_subnormal,
            -finfo.tiny * 0.75,
            finfo.tiny,
            -finfo.tiny,
            np.inf,
            -np.inf,
            np.nan,
        ],
        dtype,
    )
    x = (rng.normal(size=n) * 10.0 ** rng.uniform(-20, 20, n)).astype(dtype)
    return np.where(rng.random(n) < 0.5, x, rng.choice(special, n))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1000, 4099])
def test_moments(n: int, dtype: str) -> None:
    x = mixture(n, dtype)
    m = kernels.moments(x)
    finite = x[np.isfinite(x)].astype(np.float64)
    assert m.count == n
    assert m.zeros == np.sum(x == 0)
    assert m.subnormals == np.sum((x != 0) & (np.abs(x) < np.finfo(dtype).tiny))
    assert m.nans == np.sum(np.isnan(x))
    assert m.infs == np.sum(np.isinf(x))
    assert m.sum == pytest.approx(math.fsum(finite), rel=1e-14, abs=1e-14 * np.abs(finite).sum())
    assert m.sum_squares == pytest.approx(math.fsum(finite**2), rel=1e-14)
    assert m.max_abs == np.abs(finite).max(initial=0)


@pytest.mark.parametrize("place", range(40))
@pytest.mark.parametrize("value", [0.0, 1e-40, np.nan, -np.inf, 5.0])
def test_one_odd_value_is_found_anywhere(value: float, place: int) -> None:
    x = np.ones(40, np.float32)
    x[place] = value
    m = kernels.moments(x)
    assert (m.zeros, m.subnormals, m.nans, m.infs) == (
        value == 0,
        value == 1e-40,
        np.isnan(value),
        np.isinf(value),
    )
    assert m.max_abs == (5 if value == 5 else 1)


def test_squares_beyond_float32() -> None:
    m = kernels.moments(np.array([3e38, -3e38], np.float32))
    assert m.sum == 0
    assert m.sum_squares == 2 * float(np.float32(3e38)) ** 2
    m = kernels.moments(np.full(1000, 1e-44, np.float32))
    assert m.subnormals == 1000
    assert m.norm == pytest.approx(math.sqrt(1000) * float(np.float32(1e-44)), rel=1e-14)


@pytest.mark.parametrize("n", [1, 2, 7, 100, 1003])
@pytest.mark.parametrize("exponent", [-323, -308, -200, -155, -140, 0, 140, 155, 200, 307])
def test_norms_whose_squares_leave_float64(exponent: int, n: int) -> None:
    """Against exact rational arithmetic."""
    rng = np.random.default_rng(n)
    x = np.where(rng.random(n) < 0.1, 0.0, rng.uniform(1, 9, n)) * 10.0**exponent
    m = kernels.moments(x)
    exact = [Fraction(v) for v in x.tolist()]
    mean = sum(exact) / n
    one = Fraction(10) ** exponent  # keeps the squares in the range of float
    for got, squares in ((m.norm, sum(v**2 for v in exact)), (m.deviation, sum((v - mean) ** 2 for v in exact) / n)):
        root = Fraction(math.sqrt(squares / one**2)) * one
        wanted = float(root) if root < sys.float_info.max else math.inf
        assert got == pytest.approx(wanted, rel=1e-13, abs=1e-323)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mean", [0.0, 1.0, 1e3, -1e6])
def test_a_deviation_small_beside_the_mean(mean: float, dtype: str) -> None:
    x = (mean + np.random.default_rng(0).normal(size=3001)).astype(dtype)
    assert kernels.moments(x).deviation == pytest.approx(float(np.std(x, dtype=np.longdouble)), rel=1e-12)
    assert kernels.moments(np.full(37, 0.1, dtype)).deviation < 1e-16
    assert kernels.moments(np.array([np.inf, 3, np.nan, 5, -np.inf], dtype)).deviation == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_alignment(dtype: str) -> None:
    x = np.random.default_rng(11).normal(size=200).astype(dtype)
    for first in range(17):
        for n in (1, 33, 150):
            part = x[first : first + n]
            assert kernels.moments(part) == kernels.moments(part.copy())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 2, 511, 512, 513, 1300])
@pytest.mark.parametrize("C", [1, 3, 8, 17, 129, 200])
def test_column_sum_is_in_the_order_of_its_contract(C: int, rows: int, dtype: str) -> None:
    """Rows in blocks of 512, each summed from zero in order, the blocks added in order: to the bit."""
    dy = np.random.default_rng((rows, C)).normal(size=(rows, C)).astype(dtype)
    total = np.zeros(C, dtype)
    for first in range(0, rows, 512):
        block = np.zeros(C, dtype)
        for row in dy[first : first + 512]:
            block = block + row
        total = total + block
    dbias = kernels.linear_backward(np.ones((rows, 1), dtype), np.ones((C, 1), dtype), dy)[2]
    assert np.array_equal(dbias, total)
