"""PReLU: its kernels against the definition, and the layer in networks, training, measurement and cures."""

from __future__ import annotations

from typing import Any

import gradiometer as gm
import numpy as np
import pytest
from gradiometer import kernels

Array = Any
DTYPES = ["float32", "float64"]


def case(N: int, C: int, weights: int, dtype: str) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng((N, C))
    return tuple(rng.normal(size=shape).astype(dtype) for shape in ((N, C), weights, (N, C)))  # type: ignore[return-value]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("N", "C"), [(1, 1), (3, 5), (7, 16), (513, 33), (2, 1100)])
def test_kernels(N: int, C: int, shared: bool, dtype: str, isa: str) -> None:
    x, weight, dy = case(N, C, 1 if shared else C, dtype)
    x[0, 0] = -0.0
    y = kernels.prelu_forward(x, weight)
    np.testing.assert_array_equal(y, np.where(x > 0, x, weight * x))
    assert np.signbit(y[0, 0]) == (weight[0] > 0)
    dx, dweight = kernels.prelu_backward(x, weight, dy)
    np.testing.assert_array_equal(dx, dy * np.where(x > 0, np.ones(1, dtype), weight))
    terms = np.where(x > 0, 0, x.astype(np.longdouble) * dy)
    want, size = (a.sum(0) for a in (terms, np.abs(terms)))
    if shared and C > 1:
        want, size = want.sum(keepdims=True), size.sum(keepdims=True)
    # Sums are float64, rounded once.
    assert dweight.shape == weight.shape
    bound = 0.51 * np.finfo(dtype).eps * np.abs(want) + N * C * np.finfo(float).eps * size
    assert np.all(np.abs(dweight - want) <= bound)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_slope_is_the_activation(dtype: str, isa: str) -> None:
    x = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(dtype)
    slope = np.array([0.3], dtype)
    fixed = kernels.forward("prelu", x, negative_slope=0.3)
    np.testing.assert_array_equal(kernels.prelu_forward(x, slope), fixed)
    dx, _ = kernels.prelu_backward(x, slope, x)
    np.testing.assert_array_equal(dx, kernels.backward("prelu", x, x, negative_slope=0.3))
    same = x.copy()
    assert kernels.prelu_forward(same, slope, out=same) is same
    np.testing.assert_array_equal(same, fixed)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite(bad: float, isa: str) -> None:
    x = np.array([[bad, 1.0], [-1.0, -2.0]])
    y = kernels.prelu_forward(x, np.array([0.5, 0.5]))
    np.testing.assert_array_equal(y, [[bad if bad > 0 else bad * 0.5, 1.0], [-0.5, -1.0]])
    dx, dweight = kernels.prelu_backward(x, np.array([0.5, 0.5]), np.ones((2, 2)))
    np.testing.assert_array_equal(dx, [[bad if np.isnan(bad) else 1 if bad > 0 else 0.5, 1], [0.5, 0.5]])
    np.testing.assert_array_equal(dweight, [-1.0 if bad == np.inf else bad, -2.0])


@pytest.mark.parametrize("weights", [1, 210])
def test_same_bits_for_any_number_of_threads(weights: int, thread_counts: Any) -> None:
    x, weight, dy = case(300, 210, weights, "float32")
    seen = [
        b"".join(a.tobytes() for a in (kernels.prelu_forward(x, weight), *kernels.prelu_backward(x, weight, dy)))
        for _ in thread_counts
    ]
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: kernels.prelu_forward(np.ones((2, 3)), np.ones(2)), ValueError, "weight has shape"),
        (lambda: kernels.prelu_forward(np.ones((2, 3, 4)), np.ones(4)), ValueError, "x has"),
        (lambda: kernels.prelu_forward(np.ones((2, 3)), np.ones(3, "float32")), TypeError, "weight"),
        (lambda: kernels.prelu_backward(np.ones((2, 3)), np.ones(3), np.ones((3, 2))), ValueError, "dy has shape"),
        (lambda: gm.PReLU(0), ValueError, "num_parameters is 0"),
        (lambda: gm.PReLU(2.0), TypeError, "num_parameters is 2.0"),
        (lambda: gm.PReLU(init=np.nan), ValueError, "init is nan"),
        (lambda: gm.Sequential(gm.Linear(3, 4), gm.PReLU(5)), ValueError, "gets 4 features; expected 5"),
        (lambda: gm.mlp(2, [2], 2, activation="prelu", activation_params={"init": 0.1}), TypeError, "no parameter"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_the_class_has_torchs_names_and_defaults() -> None:
    layer = gm.PReLU()
    assert repr(layer) == "PReLU()"
    np.testing.assert_array_equal(layer.state_dict()["weight"], np.array([0.25], "float32"))
    assert gm.PReLU(7, 0.1).weight.shape == (7,)


def net(**params: Any) -> gm.Sequential:
    return gm.mlp(6, [16] * 3, 3, activation="prelu", init="he_normal", rng=0, **params)


def data() -> tuple[Array, Array]:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 6))
    return x, (np.abs(x).sum(1) > 5).astype(int) + (x[:, 0] > 0)


def test_slopes_are_learned_and_not_decayed(tmp_path: Any) -> None:
    made = net(activation_params={"negative_slope": 0.1})
    slopes = [module.weight for module in made.modules if isinstance(module, gm.PReLU)]
    assert [float(w[0]) for w in slopes] == [np.float32(0.1)] * 3
    made.fit(data(), optimizer=gm.optim.Adam(1e-2), epochs=3, rng=0)
    assert all(w[0] != np.float32(0.1) for w in slopes)

    decayed = {}
    for matrices_only in (True, False):
        kept = net()
        kept.fit(
            data(),
            optimizer=gm.optim.SGD(1e-30, weight_decay=1e29),
            steps=1,
            decay_matrices_only=matrices_only,
            rng=0,
        )
        decayed[matrices_only] = [float(m.weight[0]) for m in kept.modules if isinstance(m, gm.PReLU)]
    assert decayed[True] == [0.25] * 3
    assert max(decayed[False]) < 0.24

    trained = net()
    trained.fit(data(), steps=8, rng=3, checkpoint=tmp_path / "run")
    again = net()
    again.fit(data(), steps=8, rng=3, checkpoint=tmp_path / "run", resume=True)
    np.testing.assert_array_equal(trained.parameters, again.parameters)


def test_measured_as_leaky_relu_of_its_slope() -> None:
    x, y = np.random.default_rng(2).normal(size=(64, 200)), np.arange(64) % 10
    seen = {}
    for name in ("prelu", "leaky_relu"):
        params = {"negative_slope": 0.4}
        made = gm.mlp(200, [200] * 8, 10, activation=name, activation_params=params, init="he_normal", rng=0)
        seen[name] = gm.measure(made, x, y)
    for ours, fixed in zip(seen["prelu"].layers, seen["leaky_relu"].layers, strict=True):
        assert ours.activation == (fixed.activation and "prelu")
        assert (ours.role, ours.grad_norm, ours.out_var) == (fixed.role, fixed.grad_norm, fixed.out_var)
        assert ours.theory == pytest.approx(fixed.theory, rel=1e-6)
    assert seen["prelu"].hidden[0].theory == pytest.approx(np.sqrt(1 + 0.4**2), rel=0.01)
    assert all(layer.dead == 0 for layer in seen["prelu"].layers)


def test_slopes_that_differ_enter_theory_by_their_mean_square() -> None:
    layer = gm.PReLU(2)
    layer.weight[...] = 0.6, -0.2
    assert layer.params == {"negative_slope": pytest.approx(np.sqrt(0.2))}
    layer.weight[...] = 1e6, 1e6
    assert layer.params == {"negative_slope": 1000.0}


def test_refit_fits_the_gain_to_the_slope() -> None:
    from gradiometer.diagnosis.cures.refit import fitted_gain, refit

    plain = gm.Sequential(gm.Linear(300, 300, rng=0), gm.PReLU(init=0.5), gm.Linear(300, 2, rng=0))
    made = refit(plain, 1)
    first = made.modules[0]
    assert isinstance(first, gm.Linear)
    assert fitted_gain("prelu", negative_slope=0.5) == pytest.approx(np.sqrt(2 / 1.25), rel=1e-6)
    assert float(np.std(first.weight)) * np.sqrt(300) == pytest.approx(np.sqrt(2 / 1.25), rel=0.02)
