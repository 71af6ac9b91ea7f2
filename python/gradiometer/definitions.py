"""What the kernels compute, written plainly: NumPy's longdouble, Python's math, nothing of the C++ core.

The self-test compares every kernel with these. An activation is a value, a derivative, and the sum of the magnitudes of
the terms of a derivative that has a root (there an error in ulp means nothing).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ACTIVATIONS", "LOSSES", "OPTIMIZERS", "RECURRENT", "Definition"]

Real = Any
"""An array of longdouble: NumPy's functions say float64 of some."""
L = np.longdouble
PI = L("3.14159265358979323846264338327950288")
SELU_SCALE, SELU_ALPHA = L("1.0507009873554804934193349852946"), L("1.6732632423543772848170429916717")


@dataclass(frozen=True)
class Definition:
    """`value_ulp`: promised for float32 and float64; `derivative_ulp` for both. tanh keeps 1.5 with AVX-512."""

    value: Callable[[Real], Real]
    derivative: Callable[[Real], Real]
    value_ulp: tuple[float, float] = (3.0, 2.5)
    derivative_ulp: float = 6.0
    terms: Callable[[Real], Real] | None = None
    most: float = 80.0
    """Up to which |x| the definition holds all digits of float64."""


def sigmoid(x: Real) -> Real:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def softplus(x: Real) -> Real:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def erf(x: Real) -> Real:
    """By math.erf, with the first order of what x loses as a float64."""
    near = x.astype(np.float64)
    values = np.fromiter(map(math.erf, near.tolist()), L, len(x))
    return values + (x - near) * erf_slope(x)


def erf_slope(x: Real) -> Real:
    return 2 / np.sqrt(PI) * np.exp(-x * x)


def normal(x: Real) -> Real:
    """The normal distribution's cumulative function."""
    z = -x / np.sqrt(L(2))
    near = z.astype(np.float64)
    return (np.fromiter(map(math.erfc, near.tolist()), L, len(x)) - (z - near) * erf_slope(z)) / 2


def density(x: Real) -> Real:
    return np.exp(-x * x / 2) / np.sqrt(2 * PI)


def tanhshrink(x: Real) -> Real:
    """x - tanh(x), near 0 by its series."""
    odd = (L(1) / 3, L(-2) / 15, L(17) / 315, L(-62) / 2835, L(1382) / 155925, L(-21844) / 6081075)
    series = sum((c * x ** (2 * k + 3) for k, c in enumerate(odd)), np.zeros_like(x))
    return np.where(np.abs(x) < 0.04, series, x - np.tanh(x))


def gelu_tanh_inner(x: Real) -> tuple[Real, Real]:
    """2u and its slope, for u = sqrt(2 / pi) (x + 0.044715 x³)."""
    c, a = 2 * np.sqrt(2 / PI), L("0.044715")
    return c * (x + a * x**3), c * (1 + 3 * a * x * x)


def gelu_tanh_slope(x: Real, magnitude: bool = False) -> Real:
    inner, slope = gelu_tanh_inner(x)
    parts = sigmoid(inner), x * sigmoid(inner) * sigmoid(-inner) * slope
    return np.abs(parts[0]) + np.abs(parts[1]) if magnitude else parts[0] + parts[1]


def mish_parts(x: Real) -> tuple[Real, Real]:
    t = np.tanh(softplus(x))
    return t, x * sigmoid(x) / np.cosh(softplus(x)) ** 2


def slope_below(x: Real, low: Any, one: Any = 1.0) -> Real:
    return np.where(x > 0, L(one), low)


ACTIVATIONS: dict[str, Definition] = {
    "identity": Definition(lambda x: x, np.ones_like, (0, 0), 0),
    "relu": Definition(lambda x: np.maximum(x, 0), lambda x: slope_below(x, L(0)), (0, 0), 0),
    "leaky_relu": Definition(
        lambda x: np.where(x > 0, x, L(0.01) * x), lambda x: slope_below(x, L(0.01)), (1.0, 0.5), 0.5
    ),
    "elu": Definition(lambda x: np.where(x > 0, x, np.expm1(x)), lambda x: slope_below(x, np.exp(x))),
    "celu": Definition(lambda x: np.where(x > 0, x, np.expm1(x)), lambda x: slope_below(x, np.exp(x))),
    "selu": Definition(
        lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(x)),
        lambda x: SELU_SCALE * slope_below(x, SELU_ALPHA * np.exp(x)),
    ),
    "gelu": Definition(
        lambda x: x * normal(x),
        lambda x: normal(x) + x * density(x),
        (4.0, 2.5),
        terms=lambda x: normal(x) + np.abs(x) * density(x),
        most=36.0,
    ),
    "gelu_tanh": Definition(
        lambda x: x * sigmoid(gelu_tanh_inner(x)[0]),
        gelu_tanh_slope,
        (4.0, 2.5),
        terms=lambda x: gelu_tanh_slope(x, True),
    ),
    "silu": Definition(
        lambda x: x * sigmoid(x),
        lambda x: sigmoid(x) + x * sigmoid(x) * sigmoid(-x),
        terms=lambda x: sigmoid(x) + np.abs(x) * sigmoid(x) * sigmoid(-x),
    ),
    "mish": Definition(
        lambda x: x * mish_parts(x)[0],
        lambda x: sum(mish_parts(x), np.zeros_like(x)),
        value_ulp=(3.0, 3.0),  # float64: 2.585 at -6.078
        terms=lambda x: sum(map(np.abs, mish_parts(x)), np.zeros_like(x)),
    ),
    "sigmoid": Definition(sigmoid, lambda x: sigmoid(x) * sigmoid(-x), (2.5, 2.5)),
    "tanh": Definition(np.tanh, lambda x: 1 / np.cosh(x) ** 2, (2.5, 2.5)),
    "softplus": Definition(softplus, sigmoid),
    "logsigmoid": Definition(lambda x: -softplus(-x), lambda x: sigmoid(-x)),
    "tanhshrink": Definition(tanhshrink, lambda x: np.tanh(x) ** 2),
    "erf": Definition(erf, erf_slope, (1.5, 2.5)),
    "softsign": Definition(lambda x: x / (1 + np.abs(x)), lambda x: 1 / (1 + np.abs(x)) ** 2, (2.0, 2.0)),
    "hardtanh": Definition(lambda x: np.clip(x, -1, 1), lambda x: (np.abs(x) < 1).astype(L), (0, 0), 0),
    "relu6": Definition(lambda x: np.clip(x, 0, 6), lambda x: ((x > 0) & (x < 6)).astype(L), (0, 0), 0),
    "hardsigmoid": Definition(lambda x: np.clip((x + 3) / 6, 0, 1), lambda x: (np.abs(x) < 3) / L(6), (1.5, 1.5), 0.5),
    "hardswish": Definition(
        lambda x: x * np.clip((x + 3) / 6, 0, 1),
        lambda x: np.where(x >= 3, L(1), np.where(x <= -3, L(0), (2 * x + 3) / 6)),
        derivative_ulp=1.5,
    ),
    "prelu": Definition(lambda x: np.where(x > 0, x, L(0.25) * x), lambda x: slope_below(x, L(0.25)), (0.5, 0.5), 0.5),
}


def log_softmax(y: Real) -> Real:
    shifted = y - y.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def cross_entropy(y: Real, target: NDArray[Any]) -> tuple[Any, Real]:
    log_p, rows = log_softmax(y), np.arange(len(y))
    dy = np.exp(log_p)
    dy[rows, target] -= 1
    return -log_p[rows, target].mean(), dy / len(y)


def mse(y: Real, t: NDArray[Any]) -> tuple[Any, Real]:
    return ((y - t) ** 2).mean(), 2 * (y - t) / y.size


def huber(y: Real, t: NDArray[Any]) -> tuple[Any, Real]:
    d = y - t
    return np.where(np.abs(d) <= 1, d * d / 2, np.abs(d) - 0.5).mean(), np.clip(d, -1, 1) / y.size


def bce_with_logits(y: Real, t: NDArray[Any]) -> tuple[Any, Real]:
    return (softplus(y) - y * t).mean(), (sigmoid(y) - t) / y.size


def dot(y: Real, t: NDArray[Any]) -> tuple[Any, Real]:
    return (y * t).sum(), t.astype(L)


LOSSES: dict[str, Callable[[Real, NDArray[Any]], tuple[Any, Real]]] = {
    "cross_entropy": cross_entropy,
    "mse": mse,
    "huber": huber,
    "bce_with_logits": bce_with_logits,
    "dot": dot,
}


def sgd(w: Real, gradients: list[Real], rate: float) -> Real:
    """With momentum 0.9 and weight decay 0.01."""
    b = np.zeros_like(w)
    for g in gradients:
        b = L(0.9) * b + g + L(0.01) * w
        w = w - rate * b
    return w


def adam(w: Real, gradients: list[Real], rate: float, decay: float = 0.0) -> Real:
    m, v, b1, b2 = np.zeros_like(w), np.zeros_like(w), L(0.9), L(0.999)
    for t, g in enumerate(gradients, 1):
        w = w * (1 - rate * L(decay))
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        w = w - rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + L(1e-8))
    return w


def rmsprop(w: Real, gradients: list[Real], rate: float) -> Real:
    v = np.zeros_like(w)
    for g in gradients:
        v = L(0.99) * v + (1 - L(0.99)) * g * g
        w = w - rate * g / (np.sqrt(v) + L(1e-8))
    return w


def adagrad(w: Real, gradients: list[Real], rate: float) -> Real:
    v = np.zeros_like(w)
    for g in gradients:
        v = v + g * g
        w = w - rate * g / (np.sqrt(v) + L(1e-10))
    return w


OPTIMIZERS: dict[str, tuple[Callable[[Real, list[Real], float], Real], dict[str, float]]] = {
    "sgd": (sgd, {"momentum": 0.9, "weight_decay": 0.01}),
    "adam": (adam, {}),
    "adamw": (lambda w, g, rate: adam(w, g, rate, 0.01), {"weight_decay": 0.01}),
    "rmsprop": (rmsprop, {}),
    "adagrad": (adagrad, {}),
}


def lstm_step(x: Real, h: Real, c: Real, weights: list[Real]) -> tuple[Real, Real]:
    i, f, g, o = np.split(weights[0] @ x + weights[2] + weights[1] @ h + weights[3], 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def layer_norm(a: Real) -> Real:
    return (a - a.mean()) / np.sqrt(a.var() + L(1e-5))


def lstm_norm_step(x: Real, h: Real, c: Real, weights: list[Real]) -> tuple[Real, Real]:
    by_x, by_h, bias, more, gain_x, gain_h, gain_c, shift = weights
    i, f, g, o = np.split(gain_x * layer_norm(by_x @ x) + gain_h * layer_norm(by_h @ h) + bias + more, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(gain_c * layer_norm(c) + shift), c


def gru_step(x: Real, h: Real, c: Real, weights: list[Real]) -> tuple[Real, Real]:
    (r, z, n), (r_h, z_h, n_h) = (np.split(weights[k] @ v + weights[k + 2], 3) for k, v in ((0, x), (1, h)))
    z = sigmoid(z + z_h)
    return (1 - z) * np.tanh(n + sigmoid(r + r_h) * n_h) + z * h, c


def gru_reset_before_step(x: Real, h: Real, c: Real, weights: list[Real]) -> tuple[Real, Real]:
    by_x, (u_r, u_z, u_n), bias = weights[0] @ x + weights[2], np.split(weights[1], 3), np.split(weights[3], 3)
    r, z, n = np.split(by_x, 3)
    r, z = sigmoid(r + u_r @ h + bias[0]), sigmoid(z + u_z @ h + bias[1])
    return (1 - z) * np.tanh(n + u_n @ (r * h) + bias[2]) + z * h, c


def rnn_step(x: Real, h: Real, c: Real, weights: list[Real]) -> tuple[Real, Real]:
    return np.tanh(weights[0] @ x + weights[2] + weights[1] @ h + weights[3]), c


RECURRENT: dict[str, tuple[int, Callable[[Real, Real, Real, list[Real]], tuple[Real, Real]]]] = {
    "lstm": (4, lstm_step),
    "lstm_norm": (4, lstm_norm_step),
    "gru": (3, gru_step),
    "gru_reset_before": (3, gru_reset_before_step),
    "rnn": (1, rnn_step),
}
"""Gates, and one step of one sample: the new h and c of x, h, c and weight_ih, weight_hh, bias_ih, bias_hh, and of
"lstm_norm" norm_weight_ih, norm_weight_hh, norm_weight_c, norm_bias_c."""
