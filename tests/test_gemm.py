"""Matrix products: rounding errors, the promised order of summation, and bits that depend on nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pytest
from gradiometer import kernels

Array = Any
Dtype = Any
Form = Literal["NN", "NT", "TN"]
FORMS: tuple[Form, ...] = ("NN", "NT", "TN")
# At the edges of the tiles (14, 9, 6 and 4 rows; 16, 8 and 4 lanes) and of the blocks of K and of M.
SIZES = [
    (1, 1, 1), (1, 17, 5), (1, 300, 40), (2, 33, 65), (3, 16, 31), (4, 129, 9), (5, 3, 1600), (7, 24, 511),
    (13, 47, 64), (14, 32, 512), (15, 65, 513), (29, 48, 100), (43, 9, 1025), (70, 70, 70), (200, 5, 3),
    (341, 21, 8), (70, 1024, 260),
]  # fmt: skip


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> Dtype:
    return request.param


def operands(m: int, n: int, k: int, dtype: Dtype, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng([seed, m, n, k])
    return rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)


def stored(a: Array, b: Array, form: Form) -> tuple[Array, Array]:
    """A and B as `form` wants them."""
    if form == "TN":
        a = np.ascontiguousarray(a.T)
    if form == "NT":
        b = np.ascontiguousarray(b.T)
    return a, b


def product(a: Array, b: Array, form: Form = "NN", **kwargs: Any) -> Array:
    return kernels.gemm(*stored(a, b, form), form, **kwargs)


def exact(a: Array, b: Array) -> Array:
    return a.astype(np.longdouble) @ b.astype(np.longdouble)


def bound(a: Array, b: Array, extra: int = 0) -> Array:
    """Higham 2002, section 3.1, for sums of blocks of 512: each term passes at most so many roundings."""
    depth = a.shape[1]
    roundings = min(depth, 512) + -(-depth // 512) + 1 + extra
    return roundings * np.finfo(a.dtype).eps / 2 * (np.abs(a).astype(np.longdouble) @ np.abs(b))


def same_bits(x: Array, y: Array) -> bool:
    return bool(x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes())


def fused(dtype: Dtype) -> bool:
    """Whether this ISA multiplies and adds with one rounding: x x - round(x x) is then not 0."""
    x = dtype(1) + np.finfo(dtype).eps
    return bool(product(np.array([[-1, x]], dtype), np.array([[x * x], [x]], dtype))[0, 0] != 0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", SIZES)
def test_error_is_within_the_bound(isa: str, dtype: Dtype, form: Form, size: tuple[int, int, int]) -> None:
    a, b = operands(*size, dtype)
    assert np.all(np.abs(product(a, b, form) - exact(a, b)) <= bound(a, b))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(1, 40, 700), (33, 47, 20), (15, 33, 1100)])
def test_accumulate_adds_to_out(isa: str, dtype: Dtype, form: Form, size: tuple[int, int, int]) -> None:
    a, b = operands(*size, dtype)
    old = np.random.default_rng(1).standard_normal(size[:2]).astype(dtype)
    out = old.copy()
    assert product(a, b, form, out=out, accumulate=True) is out
    limit = bound(a, b, 1) + (2 + size[2] // 512) * np.finfo(dtype).eps / 2 * np.abs(old)
    assert np.all(np.abs(out - (exact(a, b) + old)) <= limit)
    if size[2] <= 512:
        assert same_bits(out, old + product(a, b, form))


def chain(a: Array, b: Array, one_rounding: bool) -> Array:
    """The order of summation of the contract, a term at a time.

    A product of float32 numbers is exact in float64; the sum is then rounded twice, unlike fma once in 2^29.
    """
    total = None
    for start in range(0, a.shape[1], 512):
        block = np.zeros((a.shape[0], b.shape[1]), a.dtype)
        for k in range(start, min(start + 512, a.shape[1])):
            if one_rounding:
                block = (block + np.multiply.outer(a[:, k].astype(np.float64), b[k])).astype(a.dtype)
            else:
                block = block + np.multiply.outer(a[:, k], b[k])
        total = block if total is None else total + block
    return total


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", SIZES)
def test_order_of_summation(isa: str, dtype: Dtype, form: Form, size: tuple[int, int, int]) -> None:
    # float64 gets numbers of 24 bits: their products are exact, with fma or without.
    a, b = (x.astype(dtype) for x in operands(*size, np.float32))
    assert same_bits(product(a, b, form), chain(a, b, fused(dtype)))


def test_blocks_keep_long_sums_exact(isa: str, dtype: Dtype) -> None:
    # Equal terms round the same way each time: one chain of 2^18 errs by 34 to 40 times this bound.
    a, b = np.full((1, 1 << 18), 0.1, dtype), np.ones((1 << 18, 1), dtype)
    assert np.all(np.abs(product(a, b) - exact(a, b)) <= bound(a, b))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(64, 70, 70), (31, 33, 600)])
def test_element_depends_on_its_row_and_column_only(
    isa: str, dtype: Dtype, form: Form, size: tuple[int, int, int]
) -> None:
    a, b = operands(*size, dtype)
    whole = product(a, b, form)
    for rows in (slice(0, 1), slice(5, 7), slice(3, 17), slice(None, None, 3), slice(None, None, -1)):
        assert same_bits(product(a[rows], b, form), whole[rows])
    for columns in (slice(0, 1), slice(1, 18), slice(16, None), slice(None, None, 5)):
        assert same_bits(product(a, b[:, columns], form), whole[:, columns])


# Rows of 4 KiB: where there are many, B is packed and A copied on the way.
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(1024, 1024, 140), (1, 70, 1024), (5, 50, 1024), (300, 40, 1024), (20, 140, 1024)])
def test_rows_that_collide_in_the_cache(isa: str, dtype: Dtype, form: Form, size: tuple[int, int, int]) -> None:
    a, b = operands(*size, dtype)
    whole = product(a, b, form)
    assert same_bits(whole[:3], product(a[:3], np.ascontiguousarray(b), "NN"))
    assert same_bits(whole[-1:, -30:], product(a[-1:], b[:, -30:], form))
    assert np.all(np.abs(whole[-20:] - exact(a[-20:], b)) <= bound(a[-20:], b))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [*SIZES, (3, 0, 4), (0, 5, 3), (4, 21, 0)])
def test_packed(isa: str, dtype: Dtype, form: Form, size: tuple[int, int, int]) -> None:
    a, b = operands(*size, dtype)
    a_stored, b_stored = stored(a, b, form)
    packed = kernels.pack(b_stored, form)
    assert packed.shape == b.shape
    assert packed.dtype == b.dtype
    assert same_bits(kernels.gemm(a_stored, packed, form), product(a, b))
    out = np.ones(size[:2], dtype)
    assert kernels.gemm(a_stored, packed, form, out=out, accumulate=True) is out
    assert same_bits(out, product(a, b, out=np.ones(size[:2], dtype), accumulate=True))


def test_packed_keeps_its_own_copy_and_instruction_set(dtype: Dtype, thread_counts: Iterator[int]) -> None:
    a, b = operands(150, 90, 70, dtype)
    first = kernels.isa()
    expected, kept = product(a, b), b.copy()
    packed = kernels.pack(b)
    b[:] = np.nan
    for _ in thread_counts:
        for name in kernels.isas():
            kernels.set_isa(name)
            try:
                assert same_bits(kernels.gemm(a, packed), expected)
                assert same_bits(kernels.gemm(a, kernels.pack(kept.T, "NT")), product(a, kept))
            finally:
                kernels.set_isa(first)


def test_packed_misfits_are_named() -> None:
    packed = kernels.pack(np.ones((3, 5)))
    with pytest.raises(ValueError, match=r"b has shape \(3, 5\); expected 4 rows"):
        kernels.gemm(np.ones((2, 4)), packed)
    with pytest.raises(TypeError, match="b was packed as float64; expected float32"):
        kernels.gemm(np.ones((2, 3), np.float32), packed)
    with pytest.raises(ValueError, match=r"\bb\b"):
        kernels.pack(np.ones(3))
    with pytest.raises(ValueError, match="form"):
        kernels.pack(np.ones((3, 5)), "XY")  # type: ignore[arg-type]


def test_forms_agree_to_the_bit(isa: str, dtype: Dtype) -> None:
    a, b = operands(45, 50, 530, dtype)
    results = [product(a, b, form) for form in FORMS]
    assert same_bits(results[0], results[1])
    assert same_bits(results[0], results[2])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(100, 101, 102), (70, 1024, 260), (500, 10, 600), (1, 1500, 700), (13, 700, 200)])
def test_threads_do_not_change_a_bit(
    isa: str, dtype: Dtype, form: Form, size: tuple[int, int, int], thread_counts: Iterator[int]
) -> None:
    a, b = operands(*size, dtype)
    old = np.ones(size[:2], dtype)
    results = []
    for _ in thread_counts:
        results.append((product(a, b, form), product(a, b, form, out=old.copy(), accumulate=True)))
    assert len(results) == 3
    for plain, added in results[1:]:
        assert same_bits(plain, results[0][0])
        assert same_bits(added, results[0][1])


def layouts(x: Array) -> Iterator[Array]:
    yield np.asfortranarray(x)
    yield x[::-1].copy()[::-1]
    wide = np.full((2 * x.shape[0], 3 * x.shape[1]), np.nan, x.dtype)
    wide[::2, 1::3] = x
    yield wide[::2, 1::3]
    wide[: x.shape[0], 2 : 2 + x.shape[1]] = x
    yield wide[: x.shape[0], 2 : 2 + x.shape[1]]
    raw = np.zeros(x.nbytes + 1, np.uint8)
    raw[1:] = np.frombuffer(x.tobytes(), np.uint8)
    yield raw[1:].view(x.dtype).reshape(x.shape)
    frozen = x.copy()
    frozen.flags.writeable = False
    yield frozen


@pytest.mark.parametrize("form", FORMS)
def test_layout_does_not_change_a_bit(isa: str, dtype: Dtype, form: Form) -> None:
    a, b = stored(*operands(21, 35, 50, dtype), form)
    expected = kernels.gemm(a, b, form)
    for view in layouts(a):
        assert same_bits(kernels.gemm(view, b, form), expected)
    for view in layouts(b):
        assert same_bits(kernels.gemm(a, view, form), expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_zero_times_nan_and_inf_is_nan(isa: str, dtype: Dtype, form: Form, bad: float) -> None:
    a, b = operands(20, 37, 30, dtype)
    a[:, 11] = 0
    b[11, 5] = bad
    nan = np.isnan(product(a, b, form))
    assert nan[:, 5].all()
    assert np.count_nonzero(nan) == 20
    a, b = operands(20, 37, 30, dtype)
    b[7] = 0
    a[3, 7] = bad
    nan = np.isnan(product(a, b, form))
    assert nan[3].all()
    assert np.count_nonzero(nan) == 37


@pytest.mark.parametrize("form", FORMS)
def test_out_is_overwritten_unless_accumulated(isa: str, dtype: Dtype, form: Form) -> None:
    a, b = operands(5, 19, 600, dtype)
    out = np.full((5, 19), np.nan, dtype)
    assert same_bits(product(a, b, form, out=out), product(a, b, form))
    out[2, 3] = np.nan
    nan = np.isnan(product(a, b, form, out=out, accumulate=True))
    assert nan[2, 3]
    assert np.count_nonzero(nan) == 1


@pytest.mark.parametrize("form", FORMS)
def test_empty_sides(isa: str, dtype: Dtype, form: Form) -> None:
    for size in ((0, 5, 3), (5, 0, 3), (0, 0, 0), (0, 0, 4)):
        assert product(*operands(*size, dtype), form).shape == size[:2]
    a, b = operands(4, 21, 0, dtype)
    assert same_bits(product(a, b, form, out=np.full((4, 21), np.nan, dtype)), np.zeros((4, 21), dtype))
    assert np.all(product(a, b, form, out=np.full((4, 21), 7, dtype), accumulate=True) == 7)


@pytest.mark.parametrize("size", [(1, 3, 2), (1, 128, 64), (33, 50, 20), (64, 33, 600), (700, 9, 17)])
def test_linear_forward(isa: str, dtype: Dtype, size: tuple[int, int, int]) -> None:
    x, w = operands(*size, dtype)
    bias = np.random.default_rng(2).standard_normal(size[1]).astype(dtype)
    y = kernels.linear_forward(x, w.T, bias)
    limit = bound(x, w, 1) + np.finfo(dtype).eps * np.abs(bias)
    assert np.all(np.abs(y - (exact(x, w) + bias)) <= limit)
    assert same_bits(y, product(x, w) + bias)
    assert same_bits(kernels.linear_forward(x, w.T), product(x, w))
    for i in range(0, len(x), 9):
        assert same_bits(kernels.linear_forward(x[i : i + 1], w.T, bias), y[i : i + 1])


def test_linear_forward_of_no_features_is_the_bias(isa: str, dtype: Dtype) -> None:
    bias = np.arange(5, dtype=dtype)
    y = kernels.linear_forward(np.zeros((3, 0), dtype), np.zeros((5, 0), dtype), bias)
    assert same_bits(y, np.tile(bias, (3, 1)))


@pytest.mark.parametrize("size", [(1, 3, 2), (33, 50, 20), (600, 33, 40), (1100, 7, 70)])
def test_linear_backward(isa: str, dtype: Dtype, size: tuple[int, int, int]) -> None:
    rows, outputs, inputs = size
    x, w = operands(rows, outputs, inputs, dtype)
    dy = np.random.default_rng(3).standard_normal((rows, outputs)).astype(dtype)
    dx, dweight, dbias = kernels.linear_backward(x, w.T, dy)
    assert np.all(np.abs(dx - exact(dy, w.T)) <= bound(dy, w.T))
    assert np.all(np.abs(dweight - exact(dy.T, x)) <= bound(dy.T, x))
    ones = np.ones((1, rows), dtype)
    assert np.all(np.abs(dbias - exact(ones, dy)[0]) <= bound(ones, dy)[0])
    assert same_bits(dx, product(dy, w.T))
    assert same_bits(dweight, product(dy.T, x))


@pytest.mark.parametrize(
    ("a", "b", "error", "match"),
    [
        (np.ones((2, 3)), np.ones((4, 5)), ValueError, "b"),
        (np.ones(3), np.ones((3, 5)), ValueError, "a"),
        (np.ones((2, 3)), np.ones((3, 5), np.float32), TypeError, "b"),
        (np.ones((2, 3), int), np.ones((3, 5)), TypeError, "a"),
    ],
)
def test_misfits_are_named(a: Array, b: Array, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=rf"\b{match}\b"):
        kernels.gemm(a, b)
