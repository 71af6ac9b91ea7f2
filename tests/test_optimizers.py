"""Optimisers: torch.optim's steps, and gradients at the ends of the range."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gradiometer import kernels
from reference.optimizers import OPTIMIZERS

pytestmark = pytest.mark.usefixtures("isa")

DTYPES = ["float32", "float64"]
NAMES = list(kernels.optimizers())
SETTINGS: list[tuple[str, dict[str, float]]] = [
    ("sgd", {}),
    ("sgd", {"weight_decay": 0.01}),
    ("sgd", {"momentum": 0.9}),
    ("sgd", {"momentum": 0.9, "nesterov": 1, "weight_decay": 0.01}),
    ("adam", {}),
    ("adam", {"beta1": 0.8, "beta2": 0.99, "eps": 1e-6, "weight_decay": 0.1}),
    ("adam", {"beta1": 0, "beta2": 0}),
    ("adamw", {}),
    ("adamw", {"beta1": 0.5, "beta2": 0.9, "weight_decay": 0.2}),
    ("rmsprop", {}),
    ("rmsprop", {"alpha": 0.9, "momentum": 0.8, "weight_decay": 0.1}),
    ("rmsprop", {"alpha": 0.9, "centered": 1, "eps": 1e-3}),
    ("adagrad", {}),
    ("adagrad", {"lr_decay": 0.1, "weight_decay": 0.01, "initial_accumulator_value": 0.5, "eps": 1e-6}),
]


def slots_for(name: str, w: Any) -> Any:
    return np.zeros((kernels.optimizer_slots(name), w.size), w.dtype)


def test_all_optimizers_have_a_reference() -> None:
    assert set(NAMES) == set(OPTIMIZERS) == {name for name, _ in SETTINGS}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 3, 15, 16, 17, 100])
@pytest.mark.parametrize(("name", "params"), SETTINGS)
def test_steps(name: str, params: dict[str, float], n: int, dtype: str) -> None:
    rng = np.random.default_rng(n)
    w = rng.normal(size=n).astype(dtype)
    slots = slots_for(name, w)
    want = [(float(v), (0.0,) * len(slots)) for v in w]
    learning_rate = 0.01
    for step in range(1, 6):
        g = (rng.normal(size=n) * 10.0 ** rng.uniform(-6, 1, n)).astype(dtype)
        kernels.optimizer_step(name, w, g, slots, learning_rate, step, **params)
        want = [
            OPTIMIZERS[name](v, float(d), s, step, learning_rate, **params) for (v, s), d in zip(want, g, strict=True)
        ]
    tolerance = 20 * np.finfo(dtype).eps
    np.testing.assert_allclose(w, [v for v, _ in want], rtol=tolerance, atol=tolerance)
    if slots.any():
        np.testing.assert_allclose(slots, np.array([s for _, s in want]).T, rtol=tolerance, atol=tolerance)


# Computed with PyTorch 2.13 in float64: parameters [1, -2, 0.5, 0], at step k the gradients
# (-1)^(k+1) k [0.5, -0.25, 1e-9, 2]; the parameters after steps 1 and 4.
TORCH = [
    ("sgd", 0.1, {}, [0.95, -1.975, 0.4999999999, -0.2], [1.1, -2.05, 0.5000000002, 0.4]),
    (
        "sgd",
        0.1,
        {"weight_decay": 0.01},
        [0.949, -1.973, 0.4994999999, -0.2],
        [1.096105946051, -2.042061967027, 0.4980029982006999, 0.4003998002],
    ),
    (
        "sgd",
        0.1,
        {"momentum": 0.9},
        [0.95, -1.975, 0.4999999999, -0.2],
        [1.01405, -2.007025, 0.5000000000281, 0.05620000000000004],
    ),
    (
        "sgd",
        0.1,
        {"momentum": 0.9, "nesterov": 1, "weight_decay": 0.01},
        [0.9031, -1.9487, 0.49904999981, -0.38],
        [1.101066718191337, -2.032368635252767, 0.4939450922787191, 0.4527061363464202],
    ),
    (
        "adam",
        0.01,
        {},
        [0.9900000002, -1.9900000004, 0.4990909090909091, -0.009999999950000001],
        [0.9925540295424429, -1.9925540297109343, 0.4994809901829938, -0.007445970583925982],
    ),
    (
        "adam",
        0.01,
        {"beta1": 0.8, "beta2": 0.99, "eps": 1e-6, "weight_decay": 0.1},
        [0.9900000166666388, -1.9900000222221728, 0.4900001999959961, -0.009999995000002499],
        [0.9906449602185836, -1.982713750251138, 0.4600988425920879, -0.006728903410074976],
    ),
    (
        "adamw",
        0.01,
        {},
        [0.9899000002, -1.9898000004, 0.4990409090909091, -0.009999999950000001],
        [0.9921567003090356, -1.9917567604734734, 0.4992812538974828, -0.007443359813292888],
    ),
    (
        "adamw",
        0.01,
        {"beta1": 0.5, "beta2": 0.9, "weight_decay": 0.2},
        [0.9880000002, -1.9860000004, 0.4980909090909091, -0.009999999950000001],
        [0.9878847917113726, -1.9799087598632228, 0.49610948761647444, -0.00413917640651506],
    ),
    (
        "rmsprop",
        0.01,
        {},
        [0.900000019999996, -1.9000000399999841, 0.499009900990099, -0.0999999950000002],
        [0.9824553315951776, -1.9824553451987643, 0.5018671215597399, -0.017544678607516823],
    ),
    (
        "rmsprop",
        0.01,
        {"alpha": 0.9, "momentum": 0.8, "weight_decay": 0.1},
        [0.9683772250649828, -1.9683772256205383, 0.46837724339830317, -0.031622776101683805],
        [0.9468816089578934, -1.9206251278354354, 0.30660212977763357, -0.046357517376223074],
    ),
    (
        "rmsprop",
        0.01,
        {"alpha": 0.9, "centered": 1, "eps": 0.001},
        [0.9668874172185431, -1.9671052631578947, 0.499999990000003, -0.03327787021630616],
        [0.9935282280235318, -1.9936800942277866, 0.5000000199999569, -0.006587319691041402],
    ),
    (
        "adagrad",
        0.1,
        {},
        [0.90000000002, -1.90000000004, 0.40909090909090906, -0.099999999995],
        [0.9822940208739055, -1.9822940208875244, 0.4883338089075806, -0.017705979136308836],
    ),
    (
        "adagrad",
        0.1,
        {"lr_decay": 0.1, "weight_decay": 0.01, "initial_accumulator_value": 0.5, "eps": 1e-06},
        [0.9415029033303937, -1.9643283022729705, 0.49929291175435814, -0.09428085971378285],
        [1.0011846563649134, -2.0078507496392506, 0.4975216418404272, -0.024415609523565356],
    ),
]


@pytest.mark.parametrize(("name", "learning_rate", "params", "first", "fourth"), TORCH)
def test_torch(
    name: str, learning_rate: float, params: dict[str, float], first: list[float], fourth: list[float]
) -> None:
    w = np.array([1.0, -2.0, 0.5, 0.0])
    slots = slots_for(name, w)
    for step in range(1, 5):
        g = np.array([0.5, -0.25, 1e-9, 2.0]) * step * (-1) ** (step - 1)
        kernels.optimizer_step(name, w, g, slots, learning_rate, step, **params)
        if step == 1:
            np.testing.assert_allclose(w, first, rtol=1e-13)
    np.testing.assert_allclose(w, fourth, rtol=1e-11)


@pytest.mark.parametrize("dtype", DTYPES)
def test_plain_sgd_leaves_its_slot(dtype: str) -> None:
    w, slots = np.ones(19, dtype), np.full((1, 19), np.nan, dtype)
    kernels.optimizer_step("sgd", w, np.ones(19, dtype), slots, 0.5, 7)
    assert np.array_equal(w, np.full(19, 0.5, dtype))
    assert np.all(np.isnan(slots))


@pytest.mark.parametrize("dtype", DTYPES)
def test_first_step_of_momentum_is_the_gradient(dtype: str) -> None:
    w, slots = np.zeros(19, dtype), np.full((1, 19), 7, dtype)
    kernels.optimizer_step("sgd", w, np.ones(19, dtype), slots, 1.0, 1, momentum=0.9)
    assert np.array_equal(slots[0], np.ones(19, dtype))


def test_weight_decay_of_zero_does_not_touch_infinity() -> None:
    for name in NAMES:
        w = np.array([np.inf, 1.0])
        kernels.optimizer_step(name, w, np.array([1.0, 1.0]), slots_for(name, w), 0.1, 1, weight_decay=0)
        assert w[0] == np.inf


# ---- gradients at the ends of the range


@pytest.mark.parametrize("params", [{}, {"momentum": 0.9}, {"momentum": 0.5, "nesterov": 1}])
def test_sgd_of_subnormal_gradients(params: dict[str, float]) -> None:
    w, g = np.zeros(19, np.float32), np.linspace(1e-41, 1e-40, 19).astype(np.float32)
    kernels.optimizer_step("sgd", w, g, np.zeros((1, 19), np.float32), 0.25, 1, **params)
    want = -0.25 * g.astype(np.float64) * (1.5 if "nesterov" in params else 1)
    assert np.all(np.abs(w - want) <= np.finfo(np.float32).smallest_subnormal)
    assert np.all(w != 0)


# lr g / (|g| + eps) at eps = 1e-8.
@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("g", "share"), [(1e-7, 0.909091), (1e-8, 0.5), (1e-9, 0.0909091), (1e-10, 0.00990099), (1e-12, 9.999e-5)]
)
def test_adam_step_of_constant_gradient(g: float, share: float, dtype: str, name: str) -> None:
    w = np.zeros(3, dtype)
    slots = slots_for(name, w)
    for step in range(1, 50):
        before = w.copy()
        kernels.optimizer_step(name, w, np.full(3, g, dtype), slots, 1e-3, step, weight_decay=0)
        np.testing.assert_allclose(before - w, 1e-3 * share, rtol=1e-3)


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("g", [1e-15, 1e-20, 1e-25, 1e-35, 1e-40])
def test_adam_of_tiny_float32_gradients(g: float, name: str) -> None:
    """g² is gone in float32 below 1e-23; eps hides that."""
    w, gradient = np.zeros(3, np.float32), np.full(3, g, np.float32)
    slots = slots_for(name, w)
    kernels.optimizer_step(name, w, gradient, slots, 1.0, 1)
    # The share 1 - beta1 of a subnormal gradient is rounded to 1.4e-45: 7e-6 of 1e-40 / 10.
    np.testing.assert_allclose(-w, np.float64(gradient) / 1e-8, rtol=1e-4 if g < 1e-37 else 1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_gradient_stays_in_its_element(name: str, bad: float) -> None:
    w = np.ones(19)
    g = np.ones(19)
    g[4] = bad
    kernels.optimizer_step(name, w, g, slots_for(name, w), 0.1, 1)
    assert not np.isfinite(w[4])
    assert np.all(np.delete(w, 4) == w[0])
    assert np.isfinite(w[0])


# ---- what is refused


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("adam", {"beta1": 1}),
        ("adam", {"beta2": -0.1}),
        ("adam", {"eps": -1e-8}),
        ("sgd", {"momentum": np.nan}),
        ("sgd", {"beta1": 0.9}),
    ],
)
def test_bad_hyperparameter(name: str, params: dict[str, float]) -> None:
    w = np.ones(2)
    with pytest.raises((ValueError, TypeError), match=next(iter(params))):
        kernels.optimizer_step(name, w, np.ones(2), slots_for(name, w), 0.1, 1, **params)
    assert np.array_equal(w, np.ones(2))


# ---- same input, same bits


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "params"), SETTINGS)
def test_bits_do_not_depend_on_threads_or_place(
    name: str, params: dict[str, float], dtype: str, thread_counts: Iterator[int]
) -> None:
    rng = np.random.default_rng(10)
    start, g = rng.normal(size=(2, 70001)).astype(dtype)
    results = []
    for _ in thread_counts:
        w, slots = start.copy(), slots_for(name, start)
        for step in (1, 2):
            kernels.optimizer_step(name, w, g, slots, 0.01, step, **params)
        results.append(np.vstack([w, slots]))
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])
    for first, n in ((0, 1), (1, 16), (5, 33), (69990, 11)):
        part = slice(first, first + n)
        w, slots = start[part].copy(), slots_for(name, start[part])
        for step in (1, 2):
            kernels.optimizer_step(name, w, g[part], slots, 0.01, step, **params)
        assert np.array_equal(np.vstack([w, slots]), results[0][:, part])
