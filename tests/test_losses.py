"""Losses: values and derivatives, and rows at the ends of the range."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gradiometer import kernels
from reference.losses import LOSSES, cross_entropy

pytestmark = pytest.mark.usefixtures("isa")

DTYPES = ["float32", "float64"]
NAMES = list(kernels.losses())


def case(name: str, N: int, C: int, dtype: str, spread: float = 3.0) -> tuple[Any, Any]:
    rng = np.random.default_rng((N, C))
    y = (rng.normal(size=(N, C)) * spread).astype(dtype)
    if name == "bce_with_logits":
        return y, rng.integers(0, 2, (N, C)).astype(dtype)
    if kernels.losses()[name] == "classes":
        return y, rng.integers(0, C, N)
    return y, rng.normal(size=(N, C)).astype(dtype)


def assert_close(got: Any, want: Any, ulps: float = 1) -> None:
    """So many roundings to the dtype of `got`, and 20 of float64; or one subnormal number."""
    finfo = np.finfo(got.dtype)
    tolerance = (ulps * finfo.eps + 20 * np.finfo(np.float64).eps) * np.abs(want) + finfo.smallest_subnormal
    assert np.all(np.abs(got - want) <= tolerance)


def test_all_losses_have_a_reference() -> None:
    assert set(NAMES) == set(LOSSES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("C", [1, 2, 3, 7, 8, 15, 16, 17, 33, 100, 1000])
@pytest.mark.parametrize("N", [1, 2, 7, 31])
def test_value_and_derivative(name: str, N: int, C: int, dtype: str) -> None:
    y, target = case(name, N, C, dtype)
    value, dy = kernels.loss(name, y, target)
    want, want_dy = LOSSES[name](y, target)
    assert dy.dtype == dtype
    # The sum of `dot` cancels: its error is relative to the sum of magnitudes.
    size = np.abs(y.astype(np.float64) * target).sum() if name == "dot" else want
    assert abs(value - want) <= 1e-14 * size
    assert_close(dy, want_dy)


@pytest.mark.parametrize("name", NAMES)
def test_central_differences(name: str) -> None:
    y, target = case(name, 5, 7, "float64", spread=1)
    _, dy = kernels.loss(name, y, target)
    h = 1e-5
    numeric = np.empty_like(y)
    for i in np.ndindex(y.shape):
        sides = [y.copy(), y.copy()]
        sides[0][i] += h
        sides[1][i] -= h
        numeric[i] = (kernels.loss(name, sides[0], target)[0] - kernels.loss(name, sides[1], target)[0]) / (2 * h)
    np.testing.assert_allclose(dy, numeric, rtol=1e-6, atol=1e-9)


# ---- parameters and weights


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("C", [2, 3, 8, 33])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_weights_and_smoothing(smoothing: float, weighted: bool, C: int, dtype: str) -> None:
    y, target = case("cross_entropy", 31, C, dtype)
    weights = np.random.default_rng(C).uniform(0, 3, C) if weighted else None
    value, dy = kernels.loss("cross_entropy", y, target, weights, label_smoothing=smoothing)
    want, want_dy = cross_entropy(y, target, weights, smoothing)
    assert abs(value - want) <= 1e-14 * want
    # dy has roots under smoothing: errors relative to the terms that cancel.
    size = np.abs(want_dy) + (smoothing * 3 / 31 if smoothing else 0)
    assert np.all(np.abs(dy - want_dy) <= (np.finfo(dtype).eps + 50 * np.finfo(float).eps) * size)


# Computed with PyTorch 2.13 in float64: y = [[1, -2, 0.5], [0, 3, -1]], classes [2, 0].
def test_torch() -> None:
    y, classes = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]]), np.array([2, 0])
    for weights, smoothing, want in TORCH_CROSS_ENTROPY:
        assert kernels.loss("cross_entropy", y, classes, weights, label_smoothing=smoothing)[0] == pytest.approx(
            want, rel=1e-13
        )
    t = np.array([[0.0, 1.0, 0.25], [1.0, 0.5, 0.0]])
    for delta, want in TORCH_HUBER:
        assert kernels.loss("huber", y, t, delta=delta)[0] == pytest.approx(want, rel=1e-13)
    assert kernels.loss("bce_with_logits", y, t)[0] == pytest.approx(TORCH_BCE, rel=1e-13)


TORCH_CROSS_ENTROPY: list[tuple[Any, float, float]] = [
    (None, 0.1, 2.0352404030498565),
    ([1.0, 2.0, 3.0], 0.0, 1.5199186526960697),
    ([1.0, 2.0, 3.0], 0.2, 1.6479830027668272),
    ([1.0, 2.0, 0.0], 0.0, 3.0658839037574293),
]
TORCH_HUBER = [(1.0, 1.0052083333333333), (0.3, 0.39270833333333327)]
TORCH_BCE = 1.140710483732202


@pytest.mark.parametrize("dtype", DTYPES)
def test_huber_beyond_delta(dtype: str) -> None:
    y, target = case("huber", 31, 17, dtype)
    for delta in (0.01, 0.5, 4.0):
        value, dy = kernels.loss("huber", y, target, delta=delta)
        want, want_dy = LOSSES["huber"](y, target, delta)
        assert abs(value - want) <= 1e-14 * want
        assert_close(dy, want_dy)


@pytest.mark.parametrize("dtype", DTYPES)
def test_soft_labels(dtype: str) -> None:
    """The derivative has a root where s(y) = t: errors relative to the sizes of its two terms, below 1."""
    y, _ = case("bce_with_logits", 31, 17, dtype)
    target = np.random.default_rng(0).uniform(0, 1, y.shape).astype(dtype)
    value, dy = kernels.loss("bce_with_logits", y, target)
    want, want_dy = LOSSES["bce_with_logits"](y, target)
    assert abs(value - want) <= 1e-14 * want
    assert np.all(np.abs(dy - want_dy) <= (np.finfo(dtype).eps + 20 * np.finfo(float).eps) / y.size)


@pytest.mark.parametrize("dtype", DTYPES)
def test_confident_labels(dtype: str) -> None:
    """1 - s(50) is 2e-22: not 0, in the loss and in the derivative. Infinite logits that are right cost nothing."""
    y, t = np.array([[50.0, -50.0]], dtype), np.array([[1.0, 0.0]], dtype)
    value, dy = kernels.loss("bce_with_logits", y, t)
    assert value == pytest.approx(np.exp(-50), rel=1e-6, abs=0)
    np.testing.assert_allclose(dy, [[-np.exp(-50) / 2, np.exp(-50) / 2]], rtol=1e-6, atol=0)
    value, dy = kernels.loss("bce_with_logits", y * np.asarray(np.inf, dtype), t)
    assert value == 0
    assert not dy.any()
    assert kernels.loss("bce_with_logits", y * np.asarray(np.inf, dtype), 1 - t)[0] == np.inf


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": "cross_entropy", "label_smoothing": 1.5}, ValueError, "label_smoothing of cross_entropy is 1.5"),
        ({"name": "cross_entropy", "label_smoothing": np.nan}, ValueError, "label_smoothing"),
        ({"name": "huber", "delta": 0.0}, ValueError, "delta of huber is 0"),
        ({"name": "mse", "delta": 1.0}, TypeError, "mse has no parameter 'delta'"),
        ({"name": "cross_entropy", "class_weights": [1.0, 2.0]}, ValueError, "has 2 numbers; expected 3"),
        ({"name": "cross_entropy", "class_weights": [1.0, -1.0, 1.0]}, ValueError, r"class_weights\[1\] is -1"),
        ({"name": "cross_entropy", "class_weights": [1.0, np.inf, 1.0]}, ValueError, r"class_weights\[1\] is inf"),
        ({"name": "mse", "class_weights": [1.0] * 3}, TypeError, "mse takes no class_weights"),
    ],
)
def test_bad_parameters(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    y, target = case(arguments["name"], 2, 3, "float64")
    with pytest.raises(error, match=message):
        kernels.loss(y=y, target=target, **arguments)


# ---- cross-entropy at the ends of the range


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spread", [30, 100, 300, 1e4, 1e30])
@pytest.mark.parametrize("C", [2, 10, 33])
def test_huge_logits(C: int, spread: float, dtype: str) -> None:
    y, target = case("cross_entropy", 64, C, dtype, spread)
    value, dy = kernels.loss("cross_entropy", y, target)
    want, want_dy = cross_entropy(y, target)
    assert abs(value - want) <= 1e-14 * want
    # y - max y is rounded to float64 before exp, which makes a relative error of it.
    assert_close(dy, want_dy, 1 if dtype == "float32" else 800)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("margin", [10, 37, 50, 87, 95, 100])
def test_confident_row(margin: float, dtype: str) -> None:
    """1 - p of the target is 1e-22 at a margin of 50: not 0, in the loss and in the derivative."""
    y = np.array([[margin, 0, -1], [1, margin + 1, 0]], dtype)
    value, dy = kernels.loss("cross_entropy", y, np.array([0, 1]))
    want, want_dy = cross_entropy(y, np.array([0, 1]))
    assert value > 0
    assert abs(value - want) <= 1e-13 * want
    assert np.all(dy != 0)
    assert_close(dy, want_dy, 1 if dtype == "float32" else 50)


@pytest.mark.parametrize(("dtype", "first", "last"), [("float32", 88, 102), ("float64", 720, 743)])
def test_subnormal_derivatives_are_rounded_once(dtype: str, first: int, last: int) -> None:
    """Dividing a rounded subnormal exp by the two rows would make errors of 3/4 of the smallest number."""
    y = np.zeros((2, last - first + 2), dtype)
    y[:, 1:] = -np.arange(first, last + 1)
    _, dy = kernels.loss("cross_entropy", y, np.zeros(2, np.int64))
    _, want = cross_entropy(y, np.zeros(2, np.int64))
    smallest = np.finfo(dtype).smallest_subnormal
    assert np.all(dy != 0)
    assert np.all(np.abs(dy) < np.finfo(dtype).tiny)
    # The target's is a sum of them, of which each is rounded.
    error = np.abs(dy.astype(np.longdouble) - want) / smallest
    assert np.all(error[:, 1:] <= 0.51)
    assert np.all(error[:, 0] <= 2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("C", [3, 20])
@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_row_is_nan_and_alone(bad: float, at: int, target: int, C: int, dtype: str) -> None:
    y, _ = case("cross_entropy", 3, C, dtype)
    targets = np.full(3, target)
    clean = kernels.loss("cross_entropy", y, targets)[1]
    y[1, at] = bad
    value, dy = kernels.loss("cross_entropy", y, targets)
    assert np.isnan(value)
    assert np.all(np.isnan(dy[1]))
    assert np.array_equal(dy[[0, 2]], clean[[0, 2]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_minus_infinity_is_probability_zero(dtype: str) -> None:
    y = np.array([[1, -np.inf, 1]], dtype)
    value, dy = kernels.loss("cross_entropy", y, np.array([0]))
    assert value == pytest.approx(np.log(2), rel=1e-15)
    assert dy.tolist() == [[-0.5, 0.0, 0.5]]
    value, dy = kernels.loss("cross_entropy", y, np.array([1]))
    assert value == np.inf
    assert dy.tolist() == [[0.5, -1.0, 0.5]]
    value, dy = kernels.loss("cross_entropy", np.full((1, 3), -np.inf, dtype), np.array([1]))
    assert np.isnan(value)
    assert np.all(np.isnan(dy))


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_class_is_certain(dtype: str) -> None:
    value, dy = kernels.loss("cross_entropy", np.array([[-3.0], [1e30]], dtype), np.array([0, 0]))
    assert value == 0
    assert dy.tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_mse_of_float32_does_not_overflow(dtype: str) -> None:
    huge = 1e30 if dtype == "float32" else 1e140
    value, dy = kernels.loss("mse", np.array([[huge, 0.0]], dtype), np.array([[-huge, 0.0]], dtype))
    assert value == pytest.approx(2 * huge**2, rel=1e-6)
    assert dy[0, 0] == pytest.approx(2 * huge, rel=1e-6)


@pytest.mark.parametrize("name", ["mse", "dot"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormal_values_pass(name: str, dtype: str) -> None:
    tiny = 100 * np.finfo(dtype).smallest_subnormal
    dy = kernels.loss(name, np.zeros((1, 1), dtype), np.full((1, 1), tiny, dtype))[1]
    assert dy[0, 0] == (-2 * tiny if name == "mse" else tiny)


# ---- what is refused


@pytest.mark.parametrize("target", [-1, 3, 2**40])
def test_class_out_of_range(target: int) -> None:
    with pytest.raises(IndexError, match="target"):
        kernels.loss("cross_entropy", np.zeros((2, 3)), np.array([0, target]))


def test_float_classes() -> None:
    with pytest.raises((TypeError, ValueError), match="target"):
        kernels.loss("cross_entropy", np.zeros((2, 3)), np.zeros(2))


@pytest.mark.parametrize("name", ["mse", "dot"])
def test_shapes_do_not_broadcast(name: str) -> None:
    with pytest.raises(ValueError, match="target"):
        kernels.loss(name, np.zeros((3, 1)), np.zeros(3))


@pytest.mark.parametrize("name", NAMES)
def test_empty_batch(name: str) -> None:
    y, target = case(name, 0, 3, "float64")
    value, dy = kernels.loss(name, y, target)
    assert dy.shape == (0, 3)
    assert value == 0 if name == "dot" else np.isnan(value)


# ---- same input, same bits


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_threads(name: str, dtype: str, thread_counts: Iterator[int]) -> None:
    y, target = case(name, 1024, 67, dtype)
    one, two, three = (kernels.loss(name, y, target) for _ in thread_counts)
    assert one[0] == two[0] == three[0]
    assert np.array_equal(one[1], two[1])
    assert np.array_equal(one[1], three[1])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_the_row(name: str, dtype: str) -> None:
    y, target = case(name, 8, 13, dtype)
    scale = 1 if name == "dot" else 8  # a power of two: no rounding
    whole = kernels.loss(name, y, target)[1]
    for r in range(8):
        alone = kernels.loss(name, y[[r]], target[[r]])[1]
        assert np.array_equal(alone[0], whole[r] * np.asarray(scale, dtype))
