"""Initial weights: their statistics, gains in closed form, reproducibility, bad arguments."""

from __future__ import annotations

import math

import numpy as np
import pytest
from gradiometer import init, kernels

OUT, IN = 300, 200

# Variance of a rule with gain 1.
VARIANCE = {
    "xavier": 2 / (OUT + IN),
    "he": 2 / IN,
    "lecun": 1 / IN,
    "torch_default": 1 / (3 * IN),
}


@pytest.mark.parametrize("name", [name for name in init.names() if name != "orthogonal"])
@pytest.mark.parametrize("gain", [1.0, 0.3])
def test_variance_and_shape(name, gain):
    rule = name if name in VARIANCE else name.partition("_")[0]
    weight = init.by_name(name)((OUT, IN), gain=gain, rng=7, dtype="float64")
    assert weight.shape == (OUT, IN)
    assert weight.flags.c_contiguous
    sd = gain * math.sqrt(VARIANCE[rule])
    # Standard errors over n numbers: of the mean sd/sqrt(n), of the standard deviation at most sd/sqrt(2n).
    n = OUT * IN
    assert abs(weight.mean()) < 5 * sd / math.sqrt(n)
    assert weight.std() == pytest.approx(sd, rel=5 / math.sqrt(2 * n))
    kurtosis = np.mean(weight**4) / sd**4
    if name.endswith("_normal"):
        assert kurtosis == pytest.approx(3.0, abs=0.15)
    else:
        assert kurtosis == pytest.approx(1.8, abs=0.05)
        bound = math.sqrt(3) * sd
        assert 0.99 * bound < np.abs(weight).max() <= bound


def test_torch_default_bound():
    assert np.abs(init.torch_default((50, 64), rng=0)).max() <= 1 / math.sqrt(64)


@pytest.mark.parametrize("shape", [(5, 5), (3, 8), (8, 3), (1, 4), (1, 1)])
def test_orthogonal(shape):
    weight = init.orthogonal(shape, gain=1.5, rng=3, dtype="float64")
    assert weight.shape == shape
    assert weight.flags.c_contiguous
    gram = weight @ weight.T if shape[0] <= shape[1] else weight.T @ weight
    assert gram == pytest.approx(1.5**2 * np.eye(min(shape)), abs=1e-12)


def test_orthogonal_is_uniform():
    """Without the signs of R's diagonal, QR leaves the first entry negative always and the trace's mean off
    zero."""
    draws = np.array([init.orthogonal((3, 3), rng=seed, dtype="float64") for seed in range(2000)])
    # E Q = 0, E Q_ij^2 = 1/3, E tr Q^2 = 1 and E (tr Q)^2 = 1 for Haar measure on O(3).
    assert np.abs(draws.mean(axis=0)).max() < 5 * math.sqrt(1 / 3 / 2000)
    assert (draws**2).mean(axis=0) == pytest.approx(np.full((3, 3), 1 / 3), abs=0.035)
    trace = np.trace(draws, axis1=1, axis2=2)
    assert np.mean(trace**2) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("name", init.names())
def test_reproducible_and_of_either_dtype(name):
    rule = init.by_name(name)
    single, double = rule((4, 6), rng=11), rule((4, 6), rng=11, dtype="float64")
    assert single.dtype == np.float32
    assert double.dtype == np.float64
    assert np.array_equal(single, double.astype(np.float32))
    assert not np.array_equal(double, rule((4, 6), rng=12, dtype=np.float64))
    stream = np.random.default_rng(11)
    assert np.array_equal(double, rule((4, 6), rng=stream, dtype="float64"))
    assert not np.array_equal(double, rule((4, 6), rng=stream, dtype="float64"))


def test_global_random_state_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    init.he_normal((3, 3))
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("preserve", ["forward", "backward"])
def test_gain_in_closed_form(preserve):
    assert init.gain("identity", preserve=preserve) == pytest.approx(1.0, rel=1e-12)
    assert init.gain("relu", preserve=preserve) == pytest.approx(math.sqrt(2), rel=1e-12)
    (slope,) = kernels.activation_parameters("leaky_relu")
    for a in (0.01, 0.25, 0.9):
        expected = math.sqrt(2 / (1 + a * a))
        assert init.gain("leaky_relu", preserve=preserve, **{slope: a}) == pytest.approx(expected, rel=1e-12)


def test_gain_of_selu():
    assert init.gain("selu") == pytest.approx(1.0, abs=1e-12)
    assert init.gain("selu", preserve="backward") == pytest.approx(1 / math.sqrt(1.07157499), rel=1e-8)


@pytest.mark.parametrize("activation", ["tanh", "gelu", "relu", "sigmoid"])
def test_gain_does_what_it_says(activation):
    rng = np.random.default_rng(0)
    z = rng.normal(size=400_000)
    h = kernels.forward(activation, z)
    slope = kernels.backward(activation, z, np.ones_like(z))
    assert init.gain(activation) ** 2 * np.mean(h**2) == pytest.approx(1.0, rel=0.01)
    backward = init.gain(activation, preserve="backward")
    assert backward**2 * np.mean(slope**2) == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: init.by_name("glorot"), ValueError, "init is 'glorot'; expected one of: xavier_uniform, "),
        (lambda: init.he_normal((3,)), ValueError, r"shape must be \(out, in\), got \(3,\)"),
        (lambda: init.he_normal(3), ValueError, r"shape must be \(out, in\), got 3"),
        (lambda: init.he_normal((3, 0)), ValueError, r"two sizes >= 1, got \(3, 0\)"),
        (lambda: init.orthogonal((-1, 2)), ValueError, r"two sizes >= 1, got \(-1, 2\)"),
        (lambda: init.lecun_uniform((3, 2.0)), TypeError, r"two integers \(out, in\), got \(3, 2.0\)"),
        (lambda: init.xavier_normal((True, 2)), TypeError, "two integers"),
        (lambda: init.xavier_normal((2, 2), dtype="float16"), TypeError, "float32 or float64, got float16"),
        (lambda: init.orthogonal((2, 2), dtype=int), TypeError, "float32 or float64, got int64"),
        (lambda: init.xavier_normal((2, 2), gain=math.nan), ValueError, "gain is nan; expected a finite number"),
        (lambda: init.orthogonal((2, 2), gain=math.inf), ValueError, "gain is inf; expected a finite number"),
        (lambda: init.gain("relu", preserve="both"), ValueError, "preserve is 'both'; expected one of: "),
        (lambda: init.gain("nosuch"), ValueError, "nosuch"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
