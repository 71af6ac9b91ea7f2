"""Layer norm, RMS norm and group norm over (N, C): against long double, at the edges, and the classes."""

from __future__ import annotations

from typing import Any

import gradiometer as gm
import numpy as np
import pytest
from gradiometer import kernels
from reference import group_norm

Array = Any
DTYPES = ["float32", "float64"]


def case(N: int, C: int, dtype: str, mean: float = 0.3) -> tuple[Array, ...]:
    rng = np.random.default_rng(N + C)
    x, dy = rng.normal(mean, 1.5, (N, C)), rng.normal(0, 1, (N, C))
    return tuple(a.astype(dtype) for a in (x, dy, rng.normal(0.5, 1, C), rng.normal(0, 1, C)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("centred", [True, False], ids=["mean taken out", "rms"])
@pytest.mark.parametrize(
    ("N", "C", "groups"), [(1, 1, 1), (3, 5, 1), (7, 24, 3), (2, 1100, 1), (5, 1030, 2), (4, 6, 6), (70, 33, 3)]
)
def test_forward_and_backward(N: int, C: int, groups: int, centred: bool, dtype: str, isa: str) -> None:
    x, dy, gamma, beta = case(N, C, dtype)
    y, cache = kernels.group_norm_forward(x, groups, gamma, beta, centred)
    got = y, *kernels.group_norm_backward(x, dy, cache, gamma, centred)
    wanted = (
        group_norm.forward(x, gamma, beta, groups, centred, 1e-5),
        *group_norm.backward(x, dy, gamma, groups, centred, 1e-5),
    )
    _, inverse = group_norm.normalised(x, groups, centred, 1e-5)
    scales = 4.0, float(abs(inverse * dy * gamma).max()), 4 * np.sqrt(N), 4 * np.sqrt(N)
    for a, b, scale in zip(got, wanted, scales, strict=True):
        assert a.dtype == dtype
        assert np.max(np.abs(a - b)) <= 4 * np.finfo(dtype).eps * max(scale, float(abs(b).max()))


@pytest.mark.parametrize("mean", [0.0, 1e4, 1e6])
def test_digits_stay_at_any_mean(mean: float) -> None:
    x, _, gamma, beta = case(9, 50, "float32", mean)
    y, _ = kernels.group_norm_forward(x, 1, gamma, beta)
    wanted = group_norm.forward(x, gamma, beta, 1, True, 1e-5)
    assert np.max(np.abs(y - wanted)) < 1e-6


@pytest.mark.parametrize("first", [1e6, -1e4, 3e38])
def test_outlier_in_the_first_feature(first: float, isa: str) -> None:
    x = np.random.default_rng(5).normal(size=(3, 8192)).astype(np.float32)
    x[:, 0] = first
    wanted = group_norm.forward(x, np.ones(8192), np.zeros(8192), 1, True, 1e-5)
    y, _ = kernels.group_norm_forward(x)
    assert np.all(np.abs(y - wanted) <= np.finfo(np.float32).eps * np.abs(wanted) + 1e-9)


def test_a_constant_row_is_beta() -> None:
    x, dy = np.full((2, 7), 0.1, np.float32), np.arange(14, dtype=np.float32).reshape(2, 7)
    beta = np.arange(7, dtype=np.float32)
    y, cache = kernels.group_norm_forward(x, 1, None, beta)
    np.testing.assert_array_equal(y, np.tile(beta, (2, 1)))
    dx, dgamma, dbeta = kernels.group_norm_backward(x, dy, cache)
    np.testing.assert_array_equal(dgamma, np.zeros(7))
    np.testing.assert_array_equal(dbeta, dy.sum(0))
    np.testing.assert_allclose(dx, (dy - dy.mean(1, keepdims=True)) / np.sqrt(1e-5), rtol=1e-6)


def test_no_rows_have_gradients_of_zero() -> None:
    x = np.ones((3, 4))
    kernels.group_norm_backward(x, x, kernels.group_norm_forward(x, 1)[1])  # leaves sums in memory that is used again
    none = np.empty((0, 4))
    _, cache = kernels.group_norm_forward(none, 1)
    for gradient in kernels.group_norm_backward(none, none, cache)[1:]:
        np.testing.assert_array_equal(gradient, np.zeros(4))


def test_squares_do_not_overflow() -> None:
    y, _ = kernels.group_norm_forward(np.array([[3e38, -3e38]], np.float32))
    np.testing.assert_array_equal(y, [[1, -1]])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_group(bad: float) -> None:
    x, dy, gamma, beta = case(5, 12, "float32")
    clean, _ = kernels.group_norm_forward(x, 3, gamma, beta)
    x[2, 5] = bad
    y, cache = kernels.group_norm_forward(x, 3, gamma, beta)
    dx = kernels.group_norm_backward(x, dy, cache, gamma)[0]
    spoilt = np.zeros((5, 12), bool)
    spoilt[2, 4:8] = True
    assert np.isnan(y[spoilt]).all()
    assert np.isnan(dx[spoilt]).all()
    np.testing.assert_array_equal(y[~spoilt], clean[~spoilt])
    assert np.isfinite(dx[~spoilt]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_for_any_batch_and_threads(dtype: str, thread_counts: Any) -> None:
    x, dy, gamma, beta = case(300, 210, dtype)
    results = []
    for _ in thread_counts:
        y, cache = kernels.group_norm_forward(x, 3, gamma, beta)
        results.append((y, *kernels.group_norm_backward(x, dy, cache, gamma)))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(kernels.group_norm_forward(x[7:9], 3, gamma, beta)[0], results[0][0][7:9])


@pytest.mark.parametrize("groups", [1, 7])
def test_rows_beyond_the_caches(groups: int, isa: str, thread_counts: Any) -> None:
    """Past 8 MiB lines are written in another way: the bits are those of a few rows, wherever `out` begins."""
    N, C = 2400, 910
    x, dy, gamma, beta = case(N, C, "float32")
    few = np.r_[0:5, 1198:1202, N - 3 : N]
    wanted, some = kernels.group_norm_forward(x[few], groups, gamma, beta)
    slopes = kernels.group_norm_backward(x[few], dy[few], some, gamma)[0]
    for _, first in zip(thread_counts, (0, 3, 8), strict=True):
        y, dx = (np.full(N * C + 16, np.nan, np.float32) for _ in range(2))
        out, dout = (a[first : first + N * C].reshape(N, C) for a in (y, dx))
        _, cache = kernels.group_norm_forward(x, groups, gamma, beta, out=out)
        kernels.group_norm_backward(x, dy, cache, gamma, out=dout)
        np.testing.assert_array_equal(out[few], wanted)
        np.testing.assert_array_equal(dout[few], slopes)
        for a in (y, dx):
            assert np.isnan(a[:first]).all()
            assert np.isnan(a[first + N * C :]).all()
            assert np.isfinite(a[first : first + N * C]).all()


def test_classes_have_torch_names_and_defaults() -> None:
    assert repr(gm.LayerNorm(3)) == "LayerNorm((3,))"
    assert gm.LayerNorm(3).eps == 1e-5
    assert sorted(gm.LayerNorm((3,)).state_dict()) == ["bias", "weight"]
    assert sorted(gm.LayerNorm(3, bias=False).state_dict()) == ["weight"]
    assert gm.LayerNorm(3, elementwise_affine=False).state_dict() == {}
    assert sorted(gm.RMSNorm([3]).state_dict()) == ["weight"]
    assert gm.RMSNorm(3).eps == np.finfo(np.float32).eps
    assert gm.RMSNorm(3, dtype="float64").eps == np.finfo(np.float64).eps
    group = gm.GroupNorm(2, 6)
    assert (group.num_groups, group.num_channels, group.eps, sorted(group.state_dict())) == (
        2,
        6,
        1e-5,
        ["bias", "weight"],
    )
    for layer in (gm.LayerNorm(3, 0.1, bias=False), gm.RMSNorm(3, elementwise_affine=False), group):
        assert repr(layer.copy()) == repr(layer)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: gm.LayerNorm((2, 3)), ValueError, r"normalized_shape is \(2, 3\)"),
        (lambda: gm.LayerNorm(0), ValueError, "normalized_shape is 0"),
        (lambda: gm.LayerNorm(2.5), TypeError, "normalized_shape is 2.5"),
        (lambda: gm.LayerNorm(3, 0.0), ValueError, "eps is 0.0"),
        (lambda: gm.RMSNorm(3, dtype="float16"), ValueError, "float16"),
        (lambda: gm.GroupNorm(4, 6), ValueError, "num_groups is 4; expected a divisor"),
        (lambda: gm.GroupNorm(0, 6), ValueError, "num_groups is 0"),
        (lambda: gm.Sequential(gm.Linear(3, 4), gm.LayerNorm(5)), ValueError, "gets 4 features; expected 5"),
        (lambda: kernels.group_norm_forward(np.ones((2, 6)), 4), ValueError, "groups is 4; expected a divisor of 6"),
        (lambda: kernels.group_norm_forward(np.ones((2, 6)), 0), ValueError, "groups is 0"),
        (lambda: kernels.group_norm_forward(np.ones((2, 6)), eps=-1.0), ValueError, "eps is -1"),
        (lambda: kernels.group_norm_forward(np.ones((2, 6)), gamma=np.ones(5)), ValueError, "gamma has shape"),
        (lambda: gm.mlp(2, [2], 2, norm="instance"), ValueError, "norm is 'instance'; expected None or one of"),
    ],
)
def test_bad_arguments(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(("norm", "name"), [("layer", "layer norm"), ("rms", "rms norm")])
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_measured_factor_is_theorys(activation: str, norm: str, name: str) -> None:
    """Rate E phi'^2 / E phi^2 at any batch: ReLU exactly 1, sigmoid .1528: this norm does not cure it."""
    net = gm.mlp(200, [200] * 12, 10, activation=activation, norm=norm, init="he_normal", rng=0)
    x = np.random.default_rng(1).normal(size=(40, 200))
    m = gm.measure(net, x, np.arange(40) % 10)
    assert name in m.layers[3].name
    assert m.layers[3].norm == norm
    rate = gm.theory.layer_norm_rate(activation)
    for layer in m.hidden[1:]:
        assert layer.theory**2 == pytest.approx(rate, rel=1e-6)
    assert m.attenuation.factor == pytest.approx(np.sqrt(rate), rel=0.04)


def test_theory_is_silent_behind_dropout_and_dense_skips() -> None:
    x, y = np.random.default_rng(1).normal(size=(20, 8)), np.arange(20) % 3
    for extra, width in ((gm.Dropout(0.2), 8), (gm.DenseSkip(gm.Activation("relu")), 16)):
        net = gm.Sequential(
            gm.Linear(8, 8, rng=0),
            gm.Activation("tanh"),
            gm.Linear(8, 8, rng=0),
            extra,
            gm.Linear(width, 8, rng=0),
            gm.Activation("tanh"),
            gm.Linear(8, 3, rng=0),
        )
        m = gm.measure(net, x, y)
        assert [bool(np.isfinite(layer.theory)) for layer in m.layers] == [True, False, False, False]
        assert all(layer.grad_norm > 0 for layer in m.layers)


@pytest.mark.parametrize("dtype", DTYPES)
def test_out(dtype: str) -> None:
    x, dy, gamma, beta = case(5, 24, dtype)
    y, cache = kernels.group_norm_forward(x, 3, gamma, beta)
    wanted = kernels.group_norm_backward(x, dy, cache, gamma)
    for out in (np.empty_like(x), x.copy()):
        assert kernels.group_norm_forward(x, 3, gamma, beta, out=out)[0] is out
        np.testing.assert_array_equal(out, y)
    here = x.copy()
    np.testing.assert_array_equal(kernels.group_norm_forward(here, 3, gamma, beta, out=here)[0], y)
    for taken in ("none", "x", "dy"):
        a, b = x.copy(), dy.copy()
        out = {"none": np.empty_like(x), "x": a, "dy": b}[taken]
        got = kernels.group_norm_backward(a, b, cache, gamma, out=out)
        assert got[0] is out
        for one, other in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="out has shape"):
        kernels.group_norm_forward(x, 3, out=np.empty((5, 23), dtype))
