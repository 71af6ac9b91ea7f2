"""Batch norm: values, derivatives, the cases in which others go wrong."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import gradiometer as gm
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


def rows_of(x: Any) -> Any:
    """(N, C, L) as the matrix (N L, C) whose columns are the channels."""
    return np.moveaxis(x, 1, 2).reshape(-1, x.shape[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 2), (2, 3, 1), (3, 9, 5), (2, 17, 31), (5, 2, 32), (3, 5, 67), (1, 4, 1030), (1100, 2, 3), (7, 1030, 2)],
)
def test_channels_of_lines(shape: tuple[int, int, int], dtype: str) -> None:
    """Statistics over N and L: those of the matrix of all values of each channel."""
    N, C, L = shape
    x, dy, gamma, beta, (y, mean, var), (dx, dgamma, dbeta) = case(N * L, C, dtype)
    x3, dy3 = (np.ascontiguousarray(np.moveaxis(a.reshape(N, L, C), 2, 1)) for a in (x, dy))
    got, cache = kernels.batch_norm_forward(x3, gamma, beta)
    assert got.shape == shape
    far = 4e-15 * (1 + np.abs(mean) / np.sqrt(var + EPS))
    assert_close(cache[0], mean, 1e-15 * np.sqrt(var))
    assert_close(cache[1], var, 1e-14 * var)
    assert_close(rows_of(got), y, far * np.abs(gamma) * (1 + np.abs(y - beta)))
    got_dx, got_dgamma, got_dbeta = kernels.batch_norm_backward(x3, dy3, cache, gamma)
    assert got_dx.shape == shape
    scale = np.abs(gamma) / np.sqrt(var + EPS) * (1 + np.abs(dy).max(0)) * np.sqrt(N * L)
    assert_close(rows_of(got_dx), dx, far * scale)
    assert_close(got_dgamma, dgamma, far * np.abs(dy).sum(0))
    assert_close(got_dbeta, dbeta, 1e-15 * np.abs(dy).sum(0))

    running = beta.copy(), np.abs(gamma) + np.ones(C, dtype)
    evaluated, kept = kernels.batch_norm_forward(x3, gamma, beta, *running, training=False)
    flat, flat_kept = kernels.batch_norm_forward(x, gamma, beta, *running, training=False)
    np.testing.assert_array_equal(rows_of(evaluated), flat)
    slopes = kernels.batch_norm_backward(x3, dy3, kept, gamma, training=False)
    flat_slopes = kernels.batch_norm_backward(x, dy, flat_kept, gamma, training=False)
    np.testing.assert_array_equal(rows_of(slopes[0]), flat_slopes[0])
    assert_close(slopes[1], flat_slopes[1], 1e-14 * np.abs(dy).sum(0) * (1 + np.abs(x).max(0)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_value_stays_in_its_channel(bad: float) -> None:
    x, dy = (np.random.default_rng(s).normal(size=(4, 9, 21)).astype(np.float32) for s in (10, 11))
    clean, _ = kernels.batch_norm_forward(x)
    x[2, 5, 20] = bad
    y, cache = kernels.batch_norm_forward(x)
    dx, dgamma, dbeta = kernels.batch_norm_backward(x, dy, cache)
    others = np.arange(9) != 5
    assert np.isnan(y[:, 5]).all()
    assert np.isnan(dx[:, 5]).all()
    assert np.array_equal(cache[0, 5], bad, equal_nan=True)
    np.testing.assert_array_equal(y[:, others], clean[:, others])
    assert np.isfinite(dx[:, others]).all()
    assert np.isfinite(dgamma[others]).all()
    assert np.isfinite(dbeta).all()


@pytest.mark.parametrize("value", [5.0, 0.1, -1e30])
def test_constant_channel_of_lines_is_exactly_beta(value: float) -> None:
    x, beta = np.full((3, 2, 77), value, np.float32), np.array([0.25, -3], np.float32)
    y, cache = kernels.batch_norm_forward(x, None, beta)
    np.testing.assert_array_equal(y, np.broadcast_to(beta[:, None], y.shape))
    dy = np.random.default_rng(12).normal(size=x.shape).astype(np.float32)
    np.testing.assert_array_equal(kernels.batch_norm_backward(x, dy, cache)[1], [0, 0])


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


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1)])
def test_one_value_has_no_variance(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="more than 1 value"):
        kernels.batch_norm_forward(np.ones(shape))


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4, 5)])
def test_other_dimensions_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"x has shape .*; expected \(N, C\) or \(N, C, L\)"):
        kernels.batch_norm_forward(np.ones(shape))


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


def test_running_statistics_are_arrays() -> None:
    with pytest.raises(TypeError, match="running_mean is list; expected an ndarray"):
        kernels.batch_norm_forward(np.ones((2, 1)), None, None, [0.0], [1.0])  # type: ignore[arg-type,unused-ignore]


@pytest.mark.parametrize("dtype", ["complex64", "object", "U1"])
def test_a_layer_wants_real_numbers(dtype: str) -> None:
    layer, x = gm.BatchNorm1d(3), np.ones((2, 3, 4))
    with pytest.raises(TypeError, match=r"x has dtype .*; expected real numbers"):
        layer(x.astype(dtype))
    with pytest.raises(TypeError, match=r"dy has dtype .*; expected real numbers"):
        layer.backward(x, x.astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0, 5), (0, 5, 3), (4, 5, 0)])
def test_empty_batch(shape: tuple[int, ...], dtype: str) -> None:
    x = np.empty(shape, dtype)
    running = np.zeros(5, dtype), np.ones(5, dtype)
    y, cache = kernels.batch_norm_forward(x, None, None, *running)
    dx, dgamma, dbeta = kernels.batch_norm_backward(x, x, cache)
    assert y.shape == dx.shape == shape
    assert np.array_equal(np.stack([dgamma, dbeta, running[0], running[1] - 1]), np.zeros((4, 5)))


# ---- same input, same bits


def plain_case(N: int, C: int, dtype: str) -> tuple[Any, ...]:
    rng = np.random.default_rng(8)
    return tuple(rng.normal(1, 2, s).astype(dtype) for s in ((N, C), (N, C), C, C))


def everything(x: Any, dy: Any, gamma: Any, beta: Any) -> Any:
    y, cache = kernels.batch_norm_forward(x, gamma, beta)
    dx, dgamma, dbeta = kernels.batch_norm_backward(x, dy, cache, gamma)
    return np.vstack([y.reshape(-1, y.shape[1]), dx.reshape(-1, y.shape[1]), dgamma, dbeta, cache])


def lines_case(shape: tuple[int, ...], dtype: str) -> tuple[Any, ...]:
    rng = np.random.default_rng(8)
    return tuple(rng.normal(1, 2, s).astype(dtype) for s in (shape, shape, shape[1], shape[1]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5000, 9), (37, 3, 700), (3000, 2, 9), (16, 33, 70)])
@pytest.mark.parametrize("training", [True, False])
def test_bits_do_not_depend_on_who_takes_which_samples(
    shape: tuple[int, ...], dtype: str, training: bool, thread_counts: Iterator[int]
) -> None:
    x, dy, gamma, beta = lines_case(shape, dtype)
    results = []
    for _ in thread_counts:
        running = beta.copy(), np.abs(gamma)
        y, cache = kernels.batch_norm_forward(x, gamma, beta, *running, training=training)
        results.append((y, cache, *running, *kernels.batch_norm_backward(x, dy, cache, gamma, training)))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert np.array_equal(a, b)


def test_arrays_beyond_the_caches(thread_counts: Iterator[int]) -> None:
    """Past 16 MiB lines are written in another way: the bits are those of a smaller array, and nothing is missed."""
    x, dy, gamma, beta = lines_case((70001, 61), "float32")
    x[512:], dy[512:] = x[:512][np.arange(69489) % 512], dy[:512][np.arange(69489) % 512]
    running = beta.copy(), np.abs(gamma)
    small, cache = kernels.batch_norm_forward(x[:512], gamma, beta, *running, training=False)
    slopes = kernels.batch_norm_backward(x[:512], dy[:512], cache, gamma, training=False)[0]
    rows = np.arange(70001) % 512
    trained = []
    for _ in thread_counts:
        y, _ = kernels.batch_norm_forward(x, gamma, beta, *running, training=False)
        assert np.array_equal(y, small[rows])
        assert np.array_equal(kernels.batch_norm_backward(x, dy, cache, gamma, training=False)[0], slopes[rows])
        trained.append(everything(x, dy, gamma, beta))
    assert np.array_equal(trained[0], trained[1])
    assert np.array_equal(trained[0], trained[2])


@pytest.mark.parametrize("shape", [(31, 17), (4, 9, 21)])
def test_out(shape: tuple[int, ...]) -> None:
    x, dy, gamma, beta = lines_case(shape, "float32")
    y, cache = kernels.batch_norm_forward(x, gamma, beta)
    dx = kernels.batch_norm_backward(x, dy, cache, gamma)[0]
    out = np.empty_like(x)
    assert kernels.batch_norm_forward(x, gamma, beta, out=out)[0] is out
    np.testing.assert_array_equal(out, y)
    assert kernels.batch_norm_backward(x, dy, cache, gamma, out=out)[0] is out
    np.testing.assert_array_equal(out, dx)
    kept = x.copy()
    np.testing.assert_array_equal(kernels.batch_norm_forward(kept, gamma, beta, out=kept)[0], y)
    for one in (x.copy(), dy.copy()):
        arrays = (one, dy) if np.array_equal(one, x) else (x, one)
        np.testing.assert_array_equal(kernels.batch_norm_backward(*arrays, cache, gamma, out=one)[0], dx)
    with pytest.raises(ValueError, match="out has shape"):
        kernels.batch_norm_forward(x, out=np.empty((2, 2), np.float32))
    with pytest.raises(TypeError, match="out has dtype"):
        kernels.batch_norm_backward(x, dy, cache, out=np.empty(shape))


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


# ---- the layer


def fitted(momentum: float | None) -> tuple[Any, Any]:
    """A network that has seen three batches, and what its norm saw."""
    net = gm.Sequential(gm.BatchNorm1d(5, momentum=momentum, dtype="float64"), gm.Linear(5, 2, rng=0, dtype="float64"))
    x = np.random.default_rng(13).normal(3, 2, (24, 5))
    batches = [(rows, np.arange(8) % 2) for rows in x.reshape(3, 8, 5)]
    net.fit(batches, optimizer=gm.optim.SGD(0.01), steps=3)
    return net, x


def test_no_momentum_is_the_mean_over_all_batches() -> None:
    net, x = fitted(None)
    batches = x.reshape(3, 8, 5)
    norm = net[0]
    assert norm.num_batches_tracked == 3
    np.testing.assert_allclose(norm.running_mean, batches.mean(1).mean(0), rtol=1e-13)
    np.testing.assert_allclose(norm.running_var, batches.var(1, ddof=1).mean(0), rtol=1e-13)
    assert norm.copy().num_batches_tracked == 3
    assert norm.copy().momentum is None
    other = gm.Sequential(gm.BatchNorm1d(5, momentum=None, dtype="float64"), gm.Linear(5, 2, rng=1, dtype="float64"))
    other.load_state_dict(net.state_dict())
    assert other[0].num_batches_tracked == 3
    np.testing.assert_array_equal(other(x), net(x))


def test_batches_are_counted_with_a_momentum_too() -> None:
    net, x = fitted(0.5)
    assert net[0].num_batches_tracked == 3
    mean = np.zeros(5)
    for batch in x.reshape(3, 8, 5):
        mean = 0.5 * mean + 0.5 * batch.mean(0)
    np.testing.assert_allclose(net[0].running_mean, mean, rtol=1e-13)
    net(x, training=True)
    assert net[0].num_batches_tracked == 3
    state = net.state_dict()
    state.pop("0.num_batches_tracked")  # as written before batches were counted
    net.load_state_dict(state)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_layer_on_lines(training: bool, affine: bool) -> None:
    norm = gm.BatchNorm1d(4, affine=affine, dtype="float64")
    if affine:
        norm.weight[...] = [1, -2, 3, 0.5]
        norm.bias[...] = [0, 1, -1, 2]
    norm.running_mean[...] = [0.5, 0, -1, 2]
    x, dy, *_ = lines_case((3, 4, 7), "float64")
    flat = norm(rows_of(x), training=training)
    flat_dx, flat_gradients = norm.backward(rows_of(x), rows_of(dy), training=training)
    np.testing.assert_allclose(rows_of(norm(x, training=training)), flat, rtol=1e-12, atol=1e-13)
    dx, gradients = norm.backward(x, dy, training=training)
    np.testing.assert_allclose(rows_of(dx), flat_dx, rtol=1e-12, atol=1e-13)
    assert gradients.keys() == flat_gradients.keys() == ({"weight", "bias"} if affine else set())
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, flat_gradients[name], rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(norm.running_mean, [0.5, 0, -1, 2])
    if affine:
        assert norm.requires_grad_(False, "weight").backward(x, dy, training=training)[1].keys() == {"bias"}
    with pytest.raises(ValueError, match=r"x has shape \(3, 5, 7\); expected \(N, 4, L\)"):
        norm(np.ones((3, 5, 7)))
