"""The table of activations: what each is, how exact it is promised to be, what it does at the ends.

A row is an `Activation`. Adding one here and its struct to cpp/src/ops/activations.hpp is all:
tests/test_activations.py runs every check on every row, with every instruction set and both types.

name              as in `gradiometer.kernels.activations()`
value,            the reference, of reference/activations.py: f(m, x, **params)
derivative
params            sets of parameters to try; the first names all parameters with their defaults
value_ulp,        promised largest error over all finite x, tails and subnormals included, in units in the
derivative_ulp    last place of the exact result: `Ulp(float32, float64)`; `by_isa` is for float32
derivative_terms  near a root of the derivative an error in ulp means nothing: it may instead be as large as 4
                  rounding units (2^-24, 2^-53) of this, the sum of the magnitudes of the terms it is made of
roots             x where the derivative vanishes, to be looked at closely
special           (x, value, derivative), with the default parameters; decimals are rounded to the type.
                  The sign of a zero value counts where x is 0, and nowhere else

NaN is in no row: it gives NaN as value and as derivative for every activation, identity and relu included, so
that a NaN can never be lost on its way back through a network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reference import activations as reference

INF = float("inf")
BIG = 3e38  # the square and the double of it overflow float32


@dataclass(frozen=True)
class Ulp:
    """Units in the last place for each type."""

    float32: float
    float64: float
    by_isa: Mapping[str, float] = field(default_factory=dict)

    def of(self, dtype: str, isa: str) -> float:
        return self.by_isa.get(isa, self.float32) if dtype == "float32" else self.float64


EXACT = Ulp(0, 0)
ONE_ROUNDING = Ulp(0.5, 0.5)
DERIVATIVE = Ulp(6, 6)


@dataclass(frozen=True)
class Activation:
    """A row; the module's docstring explains the columns."""

    name: str
    value: Callable[..., Any]
    derivative: Callable[..., Any]
    value_ulp: Ulp
    derivative_ulp: Ulp
    special: tuple[tuple[float, float, float], ...]
    params: tuple[Mapping[str, float], ...] = ({},)
    derivative_terms: Callable[..., Any] | None = None
    roots: tuple[float, ...] = ()


ACTIVATIONS = (
    Activation(
        "identity",
        reference.identity,
        reference.identity_derivative,
        value_ulp=EXACT,
        derivative_ulp=EXACT,
        special=(
            (INF, INF, 1),
            (-INF, -INF, 1),
            (0.0, 0.0, 1),
            (-0.0, -0.0, 1),
            (BIG, BIG, 1),
            (-BIG, -BIG, 1),
        ),
    ),
    Activation(
        "relu",
        reference.relu,
        reference.relu_derivative,
        value_ulp=EXACT,
        derivative_ulp=EXACT,
        special=((INF, INF, 1), (-INF, 0, 0), (0.0, 0.0, 0), (-0.0, -0.0, 0), (BIG, BIG, 1), (-BIG, 0, 0)),
    ),
    Activation(
        "leaky_relu",
        reference.leaky_relu,
        reference.leaky_relu_derivative,
        params=({"negative_slope": 0.01}, {"negative_slope": 0.3}, {"negative_slope": -2.5}),
        value_ulp=ONE_ROUNDING,
        derivative_ulp=EXACT,
        special=((INF, INF, 1), (-INF, -INF, 0.01), (0.0, 0.0, 0.01), (-0.0, -0.0, 0.01), (BIG, BIG, 1)),
    ),
    Activation(
        "elu",
        reference.elu,
        reference.elu_derivative,
        params=({"alpha": 1.0}, {"alpha": 0.3}, {"alpha": 1.7}, {"alpha": 900.0}),
        value_ulp=Ulp(3, 2.5),
        derivative_ulp=DERIVATIVE,
        special=((INF, INF, 1), (-INF, -1, 0), (0.0, 0.0, 1), (-0.0, -0.0, 1), (BIG, BIG, 1), (-BIG, -1, 0)),
    ),
    Activation(
        "selu",
        reference.selu,
        reference.selu_derivative,
        value_ulp=Ulp(3, 2.5),
        derivative_ulp=DERIVATIVE,
        special=(
            (INF, INF, 1.0507009873554805),
            (-INF, -1.7580993408473769, 0),
            (0.0, 0.0, 1.7580993408473769),
            (-0.0, -0.0, 1.7580993408473769),
            (1e38, 1.0507009873554805e38, 1.0507009873554805),
            (-BIG, -1.7580993408473769, 0),
        ),
    ),
    Activation(
        "gelu",
        reference.gelu,
        reference.gelu_derivative,
        value_ulp=Ulp(4, 2.5),
        derivative_ulp=DERIVATIVE,
        derivative_terms=reference.gelu_derivative_terms,
        roots=(-0.7517915246935645,),
        special=(
            (INF, INF, 1),
            (-INF, 0, 0),
            (0.0, 0.0, 0.5),
            (-0.0, -0.0, 0.5),
            (BIG, BIG, 1),
            (-BIG, 0, 0),
        ),
    ),
    Activation(
        "silu",
        reference.silu,
        reference.silu_derivative,
        value_ulp=Ulp(3, 2.5),
        derivative_ulp=DERIVATIVE,
        derivative_terms=reference.silu_derivative_terms,
        roots=(-1.2784645427610738,),
        special=(
            (INF, INF, 1),
            (-INF, 0, 0),
            (0.0, 0.0, 0.5),
            (-0.0, -0.0, 0.5),
            (BIG, BIG, 1),
            (-BIG, 0, 0),
        ),
    ),
    Activation(
        "sigmoid",
        reference.sigmoid,
        reference.sigmoid_derivative,
        value_ulp=Ulp(2.5, 2.5),
        derivative_ulp=DERIVATIVE,
        special=((INF, 1, 0), (-INF, 0, 0), (0.0, 0.5, 0.25), (-0.0, 0.5, 0.25), (BIG, 1, 0), (-BIG, 0, 0)),
    ),
    Activation(
        "tanh",
        reference.tanh,
        reference.tanh_derivative,
        value_ulp=Ulp(2.5, 2.5, by_isa={"avx512": 1.5}),
        derivative_ulp=DERIVATIVE,
        special=((INF, 1, 0), (-INF, -1, 0), (0.0, 0.0, 1), (-0.0, -0.0, 1), (BIG, 1, 0), (-BIG, -1, 0)),
    ),
    Activation(
        "celu",
        reference.celu,
        reference.celu_derivative,
        params=({"alpha": 1.0}, {"alpha": 0.3}, {"alpha": 1.7}, {"alpha": 900.0}, {"alpha": 0.001}),
        value_ulp=Ulp(3, 2.5),
        derivative_ulp=DERIVATIVE,
        special=((INF, INF, 1), (-INF, -1, 0), (0.0, 0.0, 1), (-0.0, -0.0, 1), (BIG, BIG, 1), (-BIG, -1, 0)),
    ),
    Activation(
        "gelu_tanh",
        reference.gelu_tanh,
        reference.gelu_tanh_derivative,
        value_ulp=Ulp(4, 2.5),
        derivative_ulp=DERIVATIVE,
        derivative_terms=reference.gelu_tanh_derivative_terms,
        roots=(-0.7524614220710163,),
        special=(
            (INF, INF, 1),
            (-INF, 0, 0),
            (0.0, 0.0, 0.5),
            (-0.0, -0.0, 0.5),
            (BIG, BIG, 1),
            (-BIG, 0, 0),
        ),
    ),
    Activation(
        "mish",
        reference.mish,
        reference.mish_derivative,
        value_ulp=Ulp(3, 2.5),
        derivative_ulp=DERIVATIVE,
        derivative_terms=reference.mish_derivative_terms,
        roots=(-1.1924312145210953,),
        special=(
            (INF, INF, 1),
            (-INF, 0, 0),
            (0.0, 0.0, 0.6),
            (-0.0, -0.0, 0.6),
            (BIG, BIG, 1),
            (-BIG, 0, 0),
        ),
    ),
    Activation(
        "softplus",
        reference.softplus,
        reference.softplus_derivative,
        value_ulp=Ulp(3, 2.5),
        derivative_ulp=DERIVATIVE,
        special=(
            (INF, INF, 1),
            (-INF, 0, 0),
            (0.0, 0.6931471805599453, 0.5),
            (-0.0, 0.6931471805599453, 0.5),
            (BIG, BIG, 1),
            (-BIG, 0, 0),
        ),
    ),
    Activation(
        "logsigmoid",
        reference.logsigmoid,
        reference.logsigmoid_derivative,
        value_ulp=Ulp(3, 2.5),
        derivative_ulp=DERIVATIVE,
        special=(
            (INF, 0, 0),
            (-INF, -INF, 1),
            (0.0, -0.6931471805599453, 0.5),
            (-0.0, -0.6931471805599453, 0.5),
            (BIG, 0, 0),
            (-BIG, -BIG, 1),
        ),
    ),
    Activation(
        "tanhshrink",
        reference.tanhshrink,
        reference.tanhshrink_derivative,
        value_ulp=Ulp(3, 2.5),
        derivative_ulp=DERIVATIVE,
        special=(
            (INF, INF, 1),
            (-INF, -INF, 1),
            (0.0, 0.0, 0),
            (-0.0, -0.0, 0),
            (BIG, BIG, 1),
            (-BIG, -BIG, 1),
        ),
    ),
    Activation(
        "erf",
        reference.erf,
        reference.erf_derivative,
        value_ulp=Ulp(1.5, 2.5),
        derivative_ulp=DERIVATIVE,
        special=(
            (INF, 1, 0),
            (-INF, -1, 0),
            (0.0, 0.0, 1.1283791670955126),
            (-0.0, -0.0, 1.1283791670955126),
            (BIG, 1, 0),
            (-BIG, -1, 0),
        ),
    ),
    Activation(
        "softsign",
        reference.softsign,
        reference.softsign_derivative,
        value_ulp=Ulp(2, 2),
        derivative_ulp=DERIVATIVE,
        special=(
            (INF, 1, 0),
            (-INF, -1, 0),
            (0.0, 0.0, 1),
            (-0.0, -0.0, 1),
            (BIG, 1, 1.1111111111111111e-77),
            (-BIG, -1, 1.1111111111111111e-77),
        ),
    ),
    Activation(
        "hardtanh",
        reference.hardtanh,
        reference.hardtanh_derivative,
        params=({"min_val": -1.0, "max_val": 1.0}, {"min_val": -0.3, "max_val": 500.0}),
        value_ulp=EXACT,
        derivative_ulp=EXACT,
        special=(
            (INF, 1, 0),
            (-INF, -1, 0),
            (0.0, 0.0, 1),
            (-0.0, -0.0, 1),
            (1.0, 1, 0),
            (-1.0, -1, 0),
            (BIG, 1, 0),
        ),
    ),
    Activation(
        "relu6",
        reference.relu6,
        reference.relu6_derivative,
        value_ulp=EXACT,
        derivative_ulp=EXACT,
        special=(
            (INF, 6, 0),
            (-INF, 0, 0),
            (0.0, 0.0, 0),
            (-0.0, -0.0, 0),
            (6.0, 6, 0),
            (5.5, 5.5, 1),
            (BIG, 6, 0),
        ),
    ),
    Activation(
        "hardsigmoid",
        reference.hardsigmoid,
        reference.hardsigmoid_derivative,
        value_ulp=Ulp(1.5, 1.5),
        derivative_ulp=ONE_ROUNDING,
        special=(
            (INF, 1, 0),
            (-INF, 0, 0),
            (0.0, 0.5, 1 / 6),
            (-0.0, 0.5, 1 / 6),
            (3.0, 1, 0),
            (-3.0, 0, 0),
            (BIG, 1, 0),
        ),
    ),
    Activation(
        "hardswish",
        reference.hardswish,
        reference.hardswish_derivative,
        value_ulp=Ulp(3, 2.5),
        derivative_ulp=Ulp(1.5, 1.5),
        roots=(-1.5,),
        special=(
            (INF, INF, 1),
            (-INF, 0, 0),
            (0.0, 0.0, 0.5),
            (-0.0, -0.0, 0.5),
            (3.0, 3, 1),
            (-3.0, 0, 0),
            (BIG, BIG, 1),
        ),
    ),
    Activation(
        "prelu",
        reference.prelu,
        reference.prelu_derivative,
        params=({"negative_slope": 0.25}, {"negative_slope": 0.01}, {"negative_slope": -2.5}),
        value_ulp=ONE_ROUNDING,
        derivative_ulp=EXACT,
        special=((INF, INF, 1), (-INF, -INF, 0.25), (0.0, 0.0, 0.25), (-0.0, -0.0, 0.25), (BIG, BIG, 1)),
    ),
)
