"""Softmax and log-softmax: against long double and mpmath, at the ends of the range, and the same bits anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradiometer as gm
import mpmath
import numpy as np
import pytest
from gradiometer import kernels
from reference import softmax as reference

pytestmark = pytest.mark.usefixtures("isa")

Array = Any
DTYPES = ["float32", "float64"]
FORWARD = {"softmax": kernels.softmax_forward, "log_softmax": kernels.log_softmax_forward}
BACKWARD = {"softmax": kernels.softmax_backward, "log_softmax": kernels.log_softmax_backward}


def promised(name: str, dtype: str, C: int) -> float:
    """In ulp, each up to two roundings. softmax: exp 0.9, the reciprocal of the sum and the product half a rounding
    each. log_softmax: log s has the relative error of s, and x - max x and the difference half each. Sums of float32
    add vectors in pairs, the rest is float64; those of float64 add up to 40 roundings, of which a few stay (7.5 ulp
    seen at 1000 terms)."""
    if name == "softmax":
        return 3 if dtype == "float32" else 6 if C < 100 else 8
    return 2.5 if dtype == "float32" else 3.5


def logits(shape: tuple[int, ...], dtype: str, spread: float = 3.0) -> Array:
    return (np.random.default_rng(shape).normal(size=shape) * spread).astype(dtype)


def ulps(got: Array, want: Array) -> float:
    """The largest error in units in the last place of what is wanted."""
    unit = np.spacing(np.abs(want).astype(got.dtype))
    return float(np.max(np.abs(got - want) / unit, initial=0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORWARD)
@pytest.mark.parametrize("spread", [1e-3, 3.0, 30.0, 1e4, 1e30])
@pytest.mark.parametrize("C", [1, 2, 3, 7, 8, 10, 15, 16, 17, 33, 64, 100, 1000, 3001])
def test_forward(C: int, spread: float, name: str, dtype: str) -> None:
    x = logits((9, C), dtype, spread)
    y = FORWARD[name](x)
    assert y.dtype == dtype
    assert y.shape == x.shape
    want = getattr(reference, name)(x)
    if dtype == "float64" and spread > 3:
        # long double has 11 digits more than the 53 for x - max x of up to 745, whose error exp multiplies.
        keep = np.abs(want) > 1e-300
        assert np.all(np.abs(y - want)[keep] <= 8 * np.finfo(float).eps * np.abs(want)[keep])
    else:
        assert ulps(y, want) <= promised(name, dtype, C)


@pytest.mark.parametrize("dtype", DTYPES)
def test_against_mpmath(dtype: str) -> None:
    """Digits that long double does not have either: log-softmax of confident rows, subnormal probabilities."""
    for row in (
        [50.0, 0.0, -1.0],
        [0.0, 100.0],
        [-95.0, 3.0, -101.5, 3.0],
        [0.0, -87.5, -88.0, -103.0, -708.0, -740.0],
    ):
        x = np.array(row, dtype)
        with mpmath.workdps(60):
            e = [mpmath.exp(mpmath.mpf(float(v))) for v in x]
            exact = {
                "softmax": [v / mpmath.fsum(e) for v in e],
                "log_softmax": [mpmath.mpf(float(v)) - mpmath.log(mpmath.fsum(e)) for v in x],
            }
            for name, want in exact.items():
                for got, w in zip(FORWARD[name](x), want, strict=True):
                    unit = mpmath.mpf(float(np.spacing(np.asarray(abs(float(w)), dtype))))
                    assert abs(mpmath.mpf(float(got)) - w) <= promised(name, dtype, 3) * unit, (name, row, got, w)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORWARD)
@pytest.mark.parametrize("C", [1, 3, 8, 17, 100, 1025])
def test_backward(C: int, name: str, dtype: str) -> None:
    """Both cancel: errors are relative to the magnitudes of the terms."""
    y, dy = FORWARD[name](logits((7, C), dtype)), logits((7, C), dtype, 1.0)
    dx = BACKWARD[name](y, dy)
    want = getattr(reference, f"{name}_backward")(y, dy)
    total = np.abs(dy).sum(-1, keepdims=True, dtype=float)
    if name == "softmax":
        terms = y * (np.abs(dy) + (y * np.abs(dy)).sum(-1, keepdims=True, dtype=float))
    else:
        terms = np.abs(dy) + np.exp(y.astype(float)) * total
    tiny = np.finfo(dtype).smallest_subnormal
    roundings = 4 if dtype == "float32" else 4 + min(C, 100) / 10  # sums are float64
    assert np.all(np.abs(dx - want) <= roundings * np.finfo(dtype).epsneg * terms + 4 * tiny)


@pytest.mark.parametrize("name", FORWARD)
def test_backward_is_the_derivative(name: str) -> None:
    x, dy, h = logits((3, 5), "float64", 1.0), logits((3, 5), "float64", 2.0), 1e-6
    dx = BACKWARD[name](FORWARD[name](x), dy)
    for i in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[i] += h
        down[i] -= h
        rise = ((FORWARD[name](up) - FORWARD[name](down)) * dy).sum() / (2 * h)
        assert dx[i] == pytest.approx(rise, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("C", [1, 3, 20])
@pytest.mark.parametrize("name", FORWARD)
def test_rows_that_are_nan(name: str, C: int, dtype: str) -> None:
    x = logits((4, C), dtype)
    clean = FORWARD[name](x)
    x[0] = -np.inf
    x[1, -1] = np.inf
    x[2, 0] = np.nan
    y = FORWARD[name](x)
    assert np.isnan(y[:3]).all()
    np.testing.assert_array_equal(y[3], clean[3])
    dx = BACKWARD[name](y, np.ones_like(y))
    assert np.isnan(dx[:3]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_minus_infinity_has_probability_zero(dtype: str) -> None:
    x = np.array([1.0, -np.inf, 1.0], dtype)
    assert kernels.softmax_forward(x).tolist() == [0.5, 0.0, 0.5]
    y = kernels.log_softmax_forward(x)
    assert y[1] == -np.inf
    assert y[0] == y[2] == -np.asarray(np.log(2), dtype)
    assert kernels.log_softmax_backward(y, np.array([1, 1, 0], dtype)).tolist() == [0.0, 1.0, -1.0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_logits_share_and_huge_ones_do_not_overflow(dtype: str) -> None:
    big = 3e38 if dtype == "float32" else 1e308
    for value in (0.0, big, -big, np.finfo(dtype).smallest_subnormal):
        assert kernels.softmax_forward(np.full((2, 64), value, dtype)).tolist() == [[1 / 64] * 64] * 2
    assert kernels.softmax_forward(np.array([big, -big], dtype)).tolist() == [1.0, 0.0]
    assert kernels.log_softmax_forward(np.array([1e30, 0], dtype)).tolist() == [0.0, float(-np.asarray(1e30, dtype))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORWARD)
def test_any_axes_and_layouts(name: str, dtype: str) -> None:
    x, dy = logits((3, 4, 21), dtype), logits((3, 4, 21), dtype, 1.0)
    y = FORWARD[name](x)
    dx = BACKWARD[name](y, dy)
    for i in np.ndindex(3, 4):
        np.testing.assert_array_equal(FORWARD[name](x[i]), y[i])
        np.testing.assert_array_equal(BACKWARD[name](y[i], dy[i]), dx[i])
    wide = np.repeat(x, 2, -1)[..., ::2]
    np.testing.assert_array_equal(FORWARD[name](wide), y)
    np.testing.assert_array_equal(FORWARD[name](x[::-1])[::-1], y)
    for shape in ((0, 5), (5, 0), (0,)):
        assert FORWARD[name](np.ones(shape, dtype)).shape == shape
        assert BACKWARD[name](np.ones(shape, dtype), np.ones(shape, dtype)).shape == shape


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORWARD)
def test_in_place(name: str, dtype: str) -> None:
    x, dy = logits((5, 37), dtype), logits((5, 37), dtype, 1.0)
    y = FORWARD[name](x)
    dx = BACKWARD[name](y, dy)
    same = x.copy()
    assert FORWARD[name](same, out=same) is same
    np.testing.assert_array_equal(same, y)
    for of in (y, dy):
        target = of.copy()
        pair = (target, dy) if of is y else (y, target)
        np.testing.assert_array_equal(BACKWARD[name](*pair, out=target), dx)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORWARD)
def test_bits_do_not_depend_on_threads(name: str, dtype: str, thread_counts: Iterator[int]) -> None:
    x, dy = logits((700, 83), dtype), logits((700, 83), dtype, 1.0)
    seen = []
    for _ in thread_counts:
        y = FORWARD[name](x)
        seen.append((y.tobytes(), BACKWARD[name](y, dy).tobytes()))
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: kernels.softmax_forward(np.float64(1.0)), ValueError, "x has no axis"),
        (lambda: kernels.softmax_forward(np.ones(3, int)), TypeError, "x"),
        (lambda: kernels.softmax_forward(np.ones(3), out=np.ones(4)), ValueError, "out"),
        (lambda: kernels.log_softmax_backward(np.ones((2, 3)), np.ones((3, 2))), ValueError, "dy has shape"),
        (lambda: kernels.log_softmax_backward(np.ones(3), np.ones(3, "float32")), TypeError, "dy"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("dtype", DTYPES)
def test_layers_are_the_kernels(dtype: str) -> None:
    x = logits((6, 11), dtype)
    np.testing.assert_array_equal(gm.Softmax(dtype=dtype)(x), kernels.softmax_forward(x))
    np.testing.assert_array_equal(gm.LogSoftmax(dtype=dtype)(x), kernels.log_softmax_forward(x))
