"""Batch norm: values, derivatives, the cases in which others go wrong."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from gradiometer import kernels
from reference import batch_norm as reference

pytestmark = pytest.mark.usefixtures("isa")

EPS = 1e-5
DTYPES = ["float32", "float64"]
SIZES = [(n, c) for n in (2, 3, 7, 31) for c in (1, 3, 15, 16, 17, 33)] + [(512, 17), (513, 3)]


@lru_cache(maxsize=1)
def case(N: int, C: int, dtype: str) -> tuple[Any, ...]:
    """Data with means and deviations of many sizes, and what must come of it."""
    rng = np.random.default_rng((N, C))
    x = rng.normal(size=(N, C)) * 10.0 ** rng.uniform(-3, 3, C) + rng.normal(size=C) * 30
    x, dy, gamma, beta = (a.astype(dtype) for a in (x, rng.normal(size=(N, C)), rng.normal(size=C), rng.normal(size=C)))
    return x, dy, gamma, beta, reference.forward(x, gamma, beta, EPS), reference.backward(x, dy, gamma, EPS)


def assert_close(got: Any, want: Any, absolute: Any) -> None:
    """One rounding to the dtype of `got`, and what float64 loses on the way to it."""
    one_ulp = np.finfo(got.dtype).eps * np.abs(want)
    subnormal = np.finfo(got.dtype).smallest_subnormal
    assert np.all(np.abs(got - want) <= one_ulp + absolute + subnormal)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("N", "C"), SIZES)
def test_training(N: int, C: int, dtype: str) -> None:
    x, dy, gamma, beta, (y, mean, var), (dx, dgamma, dbeta) = case(N, C, dtype)
    got, cache = kernels.batch_norm_forward(x, gamma, beta)
    assert got.dtype == dtype
    # The mean is a float64: its rounding is worth |mean| / std of y's own.
    far = 4e-15 * (1 + np.abs(mean) / np.sqrt(var + EPS))
    assert_close(cache[0], mean, 1e-15 * np.sqrt(var))
    assert_close(cache[1], var, 1e-14 * var)
    assert_close(got, y, far * np.abs(gamma) * (1 + np.abs(y - beta)))

    got_dx, got_dgamma, got_dbeta = kernels.batch_norm_backward(x, dy, cache, gamma)
    assert got_dx.dtype == got_dgamma.dtype == got_dbeta.dtype == dtype
    scale = np.abs(gamma) / np.sqrt(var + EPS) * (1 + np.abs(dy).max(0)) * np.sqrt(N)
    assert_close(got_dx, dx, far * scale)
    assert_close(got_dgamma, dgamma, far * np.abs(dy).sum(0))
    assert_close(got_dbeta, dbeta, 1e-15 * np.abs(dy).sum(0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("N", "C"), [(1, 5), (2, 1), (7, 33), (513, 17)])
def test_evaluation(N: int, C: int, dtype: str) -> None:
    x, dy, gamma, beta, *_ = case(N, C, dtype)
    rng = np.random.default_rng(1)
    mean, var = rng.normal(size=C).astype(dtype), rng.uniform(0.1, 3, C).astype(dtype)
    kept = mean.copy(), var.copy()
    y, cache = kernels.batch_norm_forward(x, gamma, beta, mean, var, training=False)
    far = 1e-14 * (1 + np.abs(x).max(0))
    assert_close(y, reference.evaluate(x, gamma, beta, mean, var, EPS), far)
    assert np.array_equal(mean, kept[0])
    assert np.array_equal(var, kept[1])

    dx, dgamma, dbeta = kernels.batch_norm_backward(x, dy, cache, gamma, training=False)
    normalised = reference.evaluate(x, np.ones(C), np.zeros(C), mean, var, EPS)
    assert_close(dx, dy * gamma / np.sqrt(var.astype(np.longdouble) + EPS), far * np.abs(dy))
    assert_close(dgamma, (dy * normalised).sum(0), far * np.abs(dy).sum(0))
    assert_close(dbeta, dy.astype(np.longdouble).sum(0), far * np.abs(dy).sum(0))


def test_central_differences() -> None:
    rng = np.random.default_rng(2)
    x, weights = rng.normal(size=(2, 7, 5))
    gamma, beta = rng.normal(size=(2, 5))
    h = 1e-5

    def slope(which: int, index: tuple[int, ...]) -> float:
        sides = []
        for sign in (1, -1):
            arguments = [x.copy(), gamma.copy(), beta.copy()]
            arguments[which][index] += sign * h
            sides.append(np.sum(weights * kernels.batch_norm_forward(*arguments)[0]))
        return float(sides[0] - sides[1]) / (2 * h)

    _, cache = kernels.batch_norm_forward(x, gamma, beta)
    for which, got in enumerate(kernels.batch_norm_backward(x, weights, cache, gamma)):
        numeric = np.array([slope(which, i) for i in np.ndindex(got.shape)]).reshape(got.shape)
        np.testing.assert_allclose(got, numeric, rtol=1e-6, atol=1e-8)


# ---- what a batch norm must survive


def test_one_row_has_no_variance() -> None:
    with pytest.raises(ValueError, match="more than 1 value"):
        kernels.batch_norm_forward(np.ones((1, 3)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("N", [2, 7, 513])
@pytest.mark.parametrize("value", [0.0, 5.0, 0.1, -1e30, 1e-40])
def test_constant_column_is_exactly_beta(value: float, N: int, dtype: str) -> None:
    rng = np.random.default_rng(3)
    x = np.full((N, 3), value, dtype)
    dy, gamma, beta = (rng.normal(size=s).astype(dtype) for s in ((N, 3), 3, 3))
    y, cache = kernels.batch_norm_forward(x, gamma, beta)
    assert np.array_equal(y, np.broadcast_to(beta, y.shape))
    dx, dgamma, _ = kernels.batch_norm_backward(x, dy, cache, gamma)
    assert np.array_equal(dgamma, np.zeros(3))
    wide = dy.astype(np.longdouble)
    assert_close(dx, (wide - wide.mean(0)) * gamma / np.sqrt(np.longdouble(EPS)), 1e-11)


@pytest.mark.parametrize("mean", [1e4, 1e6, -1e7])
def test_mean_far_from_zero(mean: float) -> None:
    x = np.random.default_rng(4).normal(mean, 1, (1000, 17)).astype(np.float32)
    want, *_ = reference.forward(x, np.ones(17), np.zeros(17), EPS)
    assert_close(kernels.batch_norm_forward(x)[0], want, 1e-9)


def test_outlier_in_the_first_row() -> None:
    x = np.random.default_rng(5).normal(size=(8192, 3)).astype(np.float32)
    x[0] = 1e6, -1e4, 3e38
    want, *_ = reference.forward(x, np.ones(3), np.zeros(3), EPS)
    assert_close(kernels.batch_norm_forward(x)[0], want, 1e-9)


@pytest.mark.parametrize(("dtype", "huge"), [("float32", 3e38), ("float64", 1e150)])
def test_variance_beyond_the_dtype(dtype: str, huge: float) -> None:
    x = np.array([[huge, huge, 1], [-huge, -huge, 2], [huge, -huge, 3], [-huge, -huge, 4]], dtype)
    gamma = np.array([1, 1e-30, 1], dtype)
    running = np.zeros(3, dtype), np.ones(3, dtype)
    y, cache = kernels.batch_norm_forward(x, gamma, np.zeros(3, dtype), *running)
    want, *_ = reference.forward(x, gamma, np.zeros(3), EPS)
    assert_close(y, want, 4e-16 * np.abs(want))
    assert np.all(np.abs(np.abs(y[:, 0]) - 1) <= np.finfo(dtype).eps)
    assert np.isinf(running[1][0]) == (dtype == "float32")
    dy = np.random.default_rng(6).normal(size=x.shape).astype(dtype)
    want_dx = reference.backward(x, dy, gamma, EPS)[0]
    assert_close(kernels.batch_norm_backward(x, dy, cache, gamma)[0], want_dx, 1e-14 * np.abs(want_dx).max(0))


@pytest.mark.parametrize(("dtype", "tiny"), [("float32", 1e-42), ("float32", 1e-30), ("float64", 1e-310)])
def test_tiny_columns_keep_their_digits(dtype: str, tiny: float) -> None:
    rng = np.random.default_rng(7)
    x = (rng.normal(size=(31, 17)) * tiny).astype(dtype)
    want, *_ = reference.forward(x, np.ones(17), np.zeros(17), EPS)
    y, cache = kernels.batch_norm_forward(x)
    assert np.count_nonzero(y) == np.count_nonzero(x)
    # float64 cannot resolve a mean of subnormals any finer; float32's can be.
    coarse = 316.3 * np.finfo(np.float64).smallest_subnormal if dtype == "float64" else 0
    assert_close(y, want, coarse + 1e-14 * np.abs(want))
    dy = (rng.normal(size=x.shape) * tiny).astype(dtype)
    dx, _, dbeta = kernels.batch_norm_backward(x, dy, cache)
    want_dx, _, want_dbeta = reference.backward(x, dy, np.ones(17), EPS)
    assert_close(dx, want_dx, 2 * coarse + 1e-14 * np.abs(want_dx).max(0))
    assert_close(dbeta, want_dbeta, 1e-14 * np.abs(dy).sum(0))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 5, 30])
@pytest.mark.parametrize("dtype", DTYPES)
def test_bad_value_stays_in_its_column(dtype: str, row: int, bad: float) -> None:
    x, dy, gamma, beta, *_ = case(31, 17, dtype)
    clean_y, clean_cache = kernels.batch_norm_forward(x, gamma, beta)
    clean = kernels.batch_norm_backward(x, dy, clean_cache, gamma)
    spoilt = x.copy()
    spoilt[row, 9] = bad
    running = np.zeros(17, dtype), np.ones(17, dtype)
    y, cache = kernels.batch_norm_forward(spoilt, gamma, beta, *running)
    dx, dgamma, _ = kernels.batch_norm_backward(spoilt, dy, cache, gamma)
    others = np.arange(17) != 9
    assert np.all(np.isnan(y[:, 9]))
    assert np.array_equal(cache[0, 9], bad, equal_nan=True)
    assert np.array_equal(running[0][9], bad, equal_nan=True)
    assert np.isnan(running[1][9])
    assert np.all(np.isnan(dx[:, 9]))
    assert np.array_equal(y[:, others], clean_y[:, others])
    assert np.all(np.isfinite(running[1][others]))
    assert np.array_equal(dx[:, others], clean[0][:, others])
    assert np.array_equal(dgamma[others], clean[1][others])


def test_running_statistics() -> None:
    running = np.zeros(1), np.ones(1)
    kernels.batch_norm_forward(np.array([[1.0], [2.0], [3.0], [4.0]]), None, None, *running)
    assert running[0][0] == pytest.approx(0.25, rel=1e-15)
    assert running[1][0] == pytest.approx(0.9 + 0.1 * 5 / 3, rel=1e-15)  # unbiased: 1.0667
    kernels.batch_norm_forward(np.array([[1.0], [3.0]]), None, None, *running, momentum=1.0)
    assert (running[0][0], running[1][0]) == (2.0, 2.0)


def test_negative_running_variance_is_nan() -> None:
    y, _ = kernels.batch_norm_forward(np.ones((2, 2)), None, None, np.zeros(2), np.array([1.0, -1.0]), training=False)
    assert np.isfinite(y[:, 0]).all()
    assert np.isnan(y[:, 1]).all()


@pytest.mark.parametrize("eps", [0.0, -1e-5, np.nan, np.inf])
def test_eps_must_be_positive(eps: float) -> None:
    with pytest.raises(ValueError, match="eps"):
        kernels.batch_norm_forward(np.ones((2, 2)), eps=eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_empty_batch(dtype: str) -> None:
    x = np.empty((0, 5), dtype)
    running = np.zeros(5, dtype), np.ones(5, dtype)
    y, cache = kernels.batch_norm_forward(x, None, None, *running)
    dx, dgamma, dbeta = kernels.batch_norm_backward(x, x, cache)
    assert y.shape == dx.shape == (0, 5)
    assert np.array_equal(np.stack([dgamma, dbeta, running[0], running[1] - 1]), np.zeros((4, 5)))


# ---- same input, same bits


def plain_case(N: int, C: int, dtype: str) -> tuple[Any, ...]:
    rng = np.random.default_rng(8)
    return tuple(rng.normal(1, 2, s).astype(dtype) for s in ((N, C), (N, C), C, C))


def everything(x: Any, dy: Any, gamma: Any, beta: Any) -> Any:
    y, cache = kernels.batch_norm_forward(x, gamma, beta)
    dx, dgamma, dbeta = kernels.batch_norm_backward(x, dy, cache, gamma)
    return np.vstack([y, dx, dgamma, dbeta, cache])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("N", "C"), [(513, 139), (67, 1100)])
def test_bits_do_not_depend_on_threads(N: int, C: int, dtype: str, thread_counts: Iterator[int]) -> None:
    arguments = plain_case(N, C, dtype)
    one, two, three = (everything(*arguments) for _ in thread_counts)
    assert np.array_equal(one, two)
    assert np.array_equal(one, three)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_the_column(dtype: str) -> None:
    x, dy, gamma, beta = plain_case(37, 1043, dtype)
    whole = everything(x, dy, gamma, beta)
    p = np.random.default_rng(9).permutation(1043)
    assert np.array_equal(everything(x[:, p], dy[:, p], gamma[p], beta[p]), whole[:, p])
    for c in (0, 511, 512, 1024, 1042):
        alone = everything(x[:, [c]], dy[:, [c]], gamma[[c]], beta[[c]])
        assert np.array_equal(alone, whole[:, [c]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_evaluation_does_not_depend_on_the_batch(dtype: str) -> None:
    x, _, gamma, beta = plain_case(13, 33, dtype)
    running = beta.copy(), np.abs(gamma) + np.ones(33, dtype)
    whole = kernels.batch_norm_forward(x, gamma, beta, *running, training=False)[0]
    for r in range(13):
        alone = kernels.batch_norm_forward(x[[r]], gamma, beta, *running, training=False)[0]
        assert np.array_equal(alone[0], whole[r])


def test_instruction_sets_agree(isa: str) -> None:
    x, dy, gamma, beta, *_ = case(31, 33, "float64")
    got = everything(x, dy, gamma, beta)
    kernels.set_isa("scalar")
    np.testing.assert_allclose(got, everything(x, dy, gamma, beta), rtol=1e-11, atol=1e-12)
