"""Every activation of spec/activations.py: accuracy, tails, special values, the same bits anywhere."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import mpmath
import numpy as np
import pytest
from gradiometer import kernels
from spec.activations import ACTIVATIONS, EXACT, Activation

ROWS = [pytest.param(row, id=row.name) for row in ACTIVATIONS]
DTYPES = ["float32", "float64"]
LANES = (1, 2, 4, 8, 16)
SIZES = sorted({n for W in LANES for n in (0, 1, W - 1, W, W + 1, 2 * W + 1)} | {1000})

Array = Any


def samples(dtype: str, roots: tuple[float, ...]) -> Array:
    """Finite x: bit patterns of all sizes and both signs, where exponentials live, subnormals, near roots."""
    rng = np.random.default_rng(1)
    many = dtype == "float32"
    bits = np.uint32 if many else np.uint64
    top = int(np.array(np.inf, dtype).view(bits))
    pattern = np.linspace(0, top * 0.9999, 6000 if many else 60).astype(bits).view(dtype)
    tail = rng.uniform(-110, 20, 6000) if many else rng.uniform(-760, 40, 100)
    middle = rng.normal(0, 3, 6000 if many else 150)
    small = 2.0 ** -rng.uniform(0, 30, 1000 if many else 50)
    near = [root * (1 + d * 2.0**-k) for root in roots for d in (-1, 0, 1) for k in range(1, 22)]
    tiny = np.finfo(dtype).smallest_subnormal * np.array([1, 2, 3, 5, 1000], dtype)
    x = np.concatenate([pattern, small, middle, tiny]).astype(dtype)
    return np.concatenate([x, -x, tail.astype(dtype), np.array(near, dtype)])


@dataclasses.dataclass(frozen=True)
class Exact:
    """Results to judge by, in units in their last place: high + low, exponent of the unit."""

    high: Array
    low: Array
    unit: Array
    infinite: Array  # sign where the result rounds to infinity, else 0

    def error(self, y: Array) -> Array:
        """Of y, in units in the last place; infinite where only one of the two is."""
        scaled = np.ldexp(np.where(np.isfinite(y), y, 0).astype(np.float64), -self.unit)
        error = np.abs((scaled - self.high) - self.low)
        return np.where(
            self.infinite != 0,
            np.where(y == self.infinite, 0, np.inf),
            np.where(np.isfinite(y), error, np.inf),
        )


def units(dtype: str, exact: list[Any]) -> Exact:
    """Splits numbers of math or mpmath as `Exact` holds them."""
    m, digits, lowest, highest = (math, 24, -149, 128) if dtype == "float32" else (mpmath, 53, -1074, 1024)
    high, low, unit, infinite = [], [], [], []
    for v in exact:
        exponent = lowest if v == 0 else max(int(m.frexp(v)[1]) - digits, lowest)
        scaled = m.ldexp(v, -exponent)
        head = float(scaled)
        overflow = exponent + digits > highest or (exponent + digits == highest and abs(scaled) >= 2**digits - 0.5)
        high.append(head)
        low.append(float(scaled - head))
        unit.append(exponent)
        infinite.append(math.copysign(math.inf, head) if overflow else 0.0)
    return Exact(np.array(high), np.array(low), np.array(unit), np.array(infinite))


@dataclasses.dataclass(frozen=True)
class Judgement:
    x: Array
    value: Exact
    derivative: Exact
    derivative_slack: Array  # in units in the last place, 0 where the row allows none


@functools.cache
def judgement(value: Any, derivative: Any, terms: Any, roots: Any, dtype: str, params: Any) -> Judgement:
    """Exact results at `samples`, computed once for all ISAs."""
    x = samples(dtype, roots)
    with mpmath.workprec(200):
        m, number = (math, float) if dtype == "float32" else (mpmath.mp, mpmath.mpf)
        given = {k: number(float(np.dtype(dtype).type(v))) for k, v in params}
        points = [number(float(v)) for v in x]
        values = units(dtype, [value(m, v, **given) for v in points])
        derivatives = units(dtype, [derivative(m, v, **given) for v in points])
        slack = np.zeros(len(x))
        if terms:
            rounding = -24 if dtype == "float32" else -53
            sums = np.array(
                [
                    float(m.ldexp(terms(m, v, **given), int(2 - u + rounding)))
                    for v, u in zip(points, derivatives.unit, strict=True)
                ]
            )
            slack = sums
    return Judgement(x, values, derivatives, slack)


def assert_accurate(row: Activation, dtype: str, isa: str) -> None:
    """The promise of the row, at all `samples`."""
    for params in row.params:
        j = judgement(row.value, row.derivative, row.derivative_terms, row.roots, dtype, tuple(params.items()))
        y = kernels.forward(row.name, j.x, **params)
        dx = kernels.backward(row.name, j.x, np.ones_like(j.x), **params)
        for what, got, exact, allowed in (
            ("value", y, j.value, row.value_ulp.of(dtype, isa)),
            (
                "derivative",
                dx,
                j.derivative,
                np.maximum(row.derivative_ulp.of(dtype, isa), j.derivative_slack),
            ),
        ):
            error = exact.error(got)
            excess = error - allowed
            worst = int(np.argmax(excess))
            assert excess[worst] <= 0, (
                f"{what} of {row.name} {dict(params)} at {j.x[worst]!r} is {got[worst]!r}, {error[worst]:.2f} ulp off"
            )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ROWS)
def test_accuracy(row: Activation, dtype: str, isa: str) -> None:
    assert_accurate(row, dtype, isa)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("part", ["value", "derivative"])
def test_a_wrong_reference_fails(row: Activation, dtype: str, part: str) -> None:
    """The check above sees a relative error of 8 ulp, even one only below -3."""
    right = getattr(row, part)
    step = 2.0**-20 if dtype == "float32" else 2.0**-49

    def wrong(m: Any, x: Any, **params: Any) -> Any:
        y = right(m, x, **params)
        return y * (1 + step) if x < -3 else y

    def wrong_at_right(m: Any, x: Any, **params: Any) -> Any:
        y = right(m, x, **params)
        return y * (1 + step) if 0.01 < x < 8 else y

    bad = wrong if right(math, -4.0, **row.params[0]) else wrong_at_right
    with pytest.raises(AssertionError, match=part):
        assert_accurate(dataclasses.replace(row, **{part: bad}), dtype, kernels.isa())


@pytest.mark.parametrize("row", ROWS)
def test_derivative_is_that_of_the_value(row: Activation) -> None:
    """The two references of a row agree, by central differences in 60 digits."""
    with mpmath.workdps(60):
        for params in row.params:
            given = {k: mpmath.mpf(v) for k, v in params.items()}
            for x in map(mpmath.mpf, (-40, -5, -1.3, -0.75, -0.01, 0.01, 0.5, 2.5, 30)):
                h = mpmath.mpf(10) ** -20
                slope = (row.value(mpmath.mp, x + h, **given) - row.value(mpmath.mp, x - h, **given)) / (2 * h)
                assert mpmath.almosteq(slope, row.derivative(mpmath.mp, x, **given), 1e-18, 1e-30)


def assert_special(row: Activation, dtype: str) -> None:
    """The row's special values; their decimals rounded to the type."""
    for x, value, derivative in row.special:
        x_array = np.array([x], dtype)
        y = kernels.forward(row.name, x_array)
        dx = kernels.backward(row.name, x_array, np.ones_like(x_array))
        ulp = 0 if row.value_ulp is EXACT or abs(value) in (0, 0.5, 1, math.inf) else 3
        assert_near(y[0], value, ulp, f"{row.name}({x})")
        assert_near(dx[0], derivative, 1, f"{row.name}'({x})")
        if x == 0 and value == 0:
            assert np.signbit(y[0]) == np.signbit(value), f"{row.name}({x}) is {y[0]}"


def assert_near(got: Any, want: float, ulp: float, what: str) -> None:
    exact = got.dtype.type(want)
    slack = 0 if not np.isfinite(exact) else ulp * np.spacing(np.abs(exact))
    assert got == exact or abs(got - exact) <= slack, f"{what} is {got}, expected {exact}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ROWS)
def test_special_values(row: Activation, dtype: str, isa: str) -> None:
    assert_special(row, dtype)


@pytest.mark.parametrize("row", ROWS)
def test_a_wrong_special_value_fails(row: Activation) -> None:
    x, value, derivative = row.special[-1]
    wrong = [(x, value * 1.01 + 0.1, derivative), (x, value, derivative + 0.01)]
    if value == x == 0:
        wrong.append((x, -value, derivative))
    for special in wrong:
        with pytest.raises(AssertionError):
            assert_special(dataclasses.replace(row, special=(special,)), "float32")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ROWS)
def test_nan_is_never_lost(row: Activation, dtype: str, isa: str) -> None:
    """In whole vectors and in the rest; and no neighbour is touched."""
    for n in (1, 17, 40):
        for i in range(n):
            x = np.full(n, 0.5, dtype)
            x[i] = np.nan
            for got in (kernels.forward(row.name, x), kernels.backward(row.name, x, np.ones_like(x))):
                assert np.array_equal(np.isnan(got), np.isnan(x))


@pytest.mark.parametrize("row", ROWS)
def test_subnormals_are_not_flushed(row: Activation, isa: str) -> None:
    """float32 results below 1.2e-38 exist, where the reference has one."""
    x = np.float32(1e-40) * np.arange(-50, 51, dtype=np.float32)
    y = kernels.forward(row.name, x)
    want = np.array([row.value(math, float(v), **row.params[0]) for v in x])
    assert np.all(np.abs(y - want) <= 1e-45 + 3e-7 * np.abs(want))


def same_bits(a: Array, b: Array) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def both(row: Activation, x: Array, dy: Array) -> list[Array]:
    return [kernels.forward(row.name, x), kernels.backward(row.name, x, dy)]


def data(dtype: str, n: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(n)
    return rng.normal(0, 4, n).astype(dtype), rng.normal(size=n).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ROWS)
def test_same_bits_at_any_index_length_and_alignment(row: Activation, dtype: str, isa: str) -> None:
    x, dy = data(dtype, 2048)
    whole = both(row, x, dy)
    for n in SIZES:
        for start in (0, 1, 3, 16):
            part = slice(start, start + n)
            # Bytes shifted by one: no element is aligned.
            raw = np.zeros(n * x.itemsize + 1, np.uint8)
            misaligned = raw[1:].view(dtype)
            misaligned[:] = x[part]
            for got in (both(row, x[part], dy[part]), both(row, misaligned, dy[part])):
                assert all(same_bits(g, w[part]) for g, w in zip(got, whole, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [0, 3])
def test_same_bits_past_the_caches(dtype: str, offset: int, isa: str, thread_counts: Any) -> None:
    """Beyond 20 MiB in all, outputs are written by other instructions, from their first cache line on."""
    n = (10 << 20) // np.dtype(dtype).itemsize + 21
    row = next(row for row in ACTIVATIONS if row.name == "leaky_relu")
    x, dy = (np.resize(a, n) for a in data(dtype, 1009))
    assert next(thread_counts) == 1
    y, dx = (np.full(n + offset, 7, dtype)[offset:] for _ in range(2))
    kernels.forward(row.name, x, out=y)
    kernels.backward(row.name, x, dy, out=dx)
    for got, part in zip((y, dx), both(row, x[:1009], dy[:1009]), strict=True):
        assert same_bits(got, np.resize(part, n))
        assert np.all(got.base[:offset] == 7)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ROWS)
def test_same_bits_for_any_layout(row: Activation, dtype: str, isa: str) -> None:
    x, dy = data(dtype, 7 * 24)
    y, dx = both(row, x, dy)
    for view in (np.s_[::2], np.s_[::-1], np.s_[5:90:3], np.s_[::-4]):
        assert all(same_bits(g, w[view].copy()) for g, w in zip(both(row, x[view], dy[view]), (y, dx), strict=True))
    for shape in ((7, 24), (2, 3, 28)):
        got = both(row, np.asfortranarray(x.reshape(shape)), np.asfortranarray(dy.reshape(shape)))
        assert same_bits(got[0], y.reshape(shape))
        assert same_bits(got[1], dx.reshape(shape))
        assert got[0].flags.c_contiguous
    broadcast = np.broadcast_to(x[:5], (3, 5))
    assert same_bits(kernels.forward(row.name, broadcast), np.tile(y[:5], (3, 1)))
    assert kernels.forward(row.name, np.array(x[0])).shape == ()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ROWS)
def test_in_place(row: Activation, dtype: str, isa: str) -> None:
    x, dy = data(dtype, 1001)
    y, dx = both(row, x, dy)
    a = x.copy()
    assert kernels.forward(row.name, a, out=a) is a
    assert same_bits(a, y)
    a = dy.copy()
    assert kernels.backward(row.name, x, a, out=a) is a
    assert same_bits(a, dx)
    a = x.copy()
    assert kernels.backward(row.name, a, dy, out=a) is a
    assert same_bits(a, dx)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ROWS)
def test_same_bits_for_any_number_of_threads(row: Activation, dtype: str, isa: str, thread_counts: Any) -> None:
    x, dy = data(dtype, 100_003)
    results = [both(row, x, dy) for _ in thread_counts]
    assert all(same_bits(g, w) for got in results for g, w in zip(got, results[0], strict=True))
    assert same_bits(results[0][0][:1000], kernels.forward(row.name, x[:1000]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ROWS)
def test_backward_is_one_product(row: Activation, dtype: str, isa: str) -> None:
    x, dy = data(dtype, 1000)
    derivative = kernels.backward(row.name, x, np.ones_like(x))
    assert same_bits(kernels.backward(row.name, x, dy), dy * derivative)


def test_every_kernel_has_a_row_and_every_row_a_kernel() -> None:
    assert sorted(row.name for row in ACTIVATIONS) == sorted(kernels.activations())


@pytest.mark.parametrize("row", ROWS)
def test_parameters_and_defaults(row: Activation) -> None:
    declared = kernels.activation_parameters(row.name)
    assert {name: default for name, (default, _, _) in declared.items()} == dict(row.params[0])
    x, _ = data("float32", 100)
    assert same_bits(kernels.forward(row.name, x), kernels.forward(row.name, x, **row.params[0]))
    for name, (_, low, high) in declared.items():
        assert low < high
        for bad in (math.nan, math.inf, low - 1, high + 1):
            with pytest.raises(ValueError, match=name):
                kernels.forward(row.name, x, **{name: bad})
    with pytest.raises((TypeError, ValueError), match="slop"):
        kernels.forward(row.name, x, slop=1.0)
