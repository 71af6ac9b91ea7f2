"""The activations and their derivatives as plain formulas over one number.

Each takes `m`, the mathematics to use: Python's `math` (float64, what float32 results are judged by) or
`mpmath.mp` with many digits (what float64 results are judged by). None subtracts nearly equal numbers except
at a root, so that float64 is enough for float32; exponents are never positive, so that nothing overflows.
"""

from __future__ import annotations

from typing import Any

SELU_LAMBDA = "1.0507009873554804934193349852946"
SELU_ALPHA = "1.6732632423543772848170429916717"


def exp(m: Any, x: Any) -> Any:
    """exp(x) for x <= 0; 0 from where no float64 is left (mpmath would go on for ever)."""
    return m.exp(x) if x > -2000 else x * 0


def phi_cdf(m: Any, x: Any) -> Any:
    """The normal distribution. erfc loses no digit of its left tail."""
    return m.erfc(-x / m.sqrt(2)) / 2 if abs(x) < 60 else (1 if x > 0 else 0) + x * 0


def phi_density(m: Any, x: Any) -> Any:
    return exp(m, -x * x / 2) / m.sqrt(2 * m.pi)


def identity(m: Any, x: Any) -> Any:
    return x


def identity_derivative(m: Any, x: Any) -> Any:
    return x * 0 + 1


def relu(m: Any, x: Any) -> Any:
    return x if x > 0 else x * 0


def relu_derivative(m: Any, x: Any) -> Any:
    return x * 0 + (1 if x > 0 else 0)


def leaky_relu(m: Any, x: Any, negative_slope: Any) -> Any:
    return x if x > 0 else negative_slope * x


def leaky_relu_derivative(m: Any, x: Any, negative_slope: Any) -> Any:
    return x * 0 + (1 if x > 0 else negative_slope)


prelu, prelu_derivative = leaky_relu, leaky_relu_derivative


def elu(m: Any, x: Any, alpha: Any) -> Any:
    return x if x > 0 else alpha * (m.expm1(x) if x > -2000 else x * 0 - 1)


def elu_derivative(m: Any, x: Any, alpha: Any) -> Any:
    return x * 0 + 1 if x > 0 else alpha * exp(m, x)


def constant(m: Any, digits: str) -> Any:
    return m.mpf(digits) if hasattr(m, "mpf") else float(digits)


def selu(m: Any, x: Any) -> Any:
    return constant(m, SELU_LAMBDA) * elu(m, x, constant(m, SELU_ALPHA))


def selu_derivative(m: Any, x: Any) -> Any:
    return constant(m, SELU_LAMBDA) * elu_derivative(m, x, constant(m, SELU_ALPHA))


def gelu(m: Any, x: Any) -> Any:
    return x * phi_cdf(m, x)


def gelu_derivative(m: Any, x: Any) -> Any:
    return phi_cdf(m, x) + x * phi_density(m, x)


def gelu_derivative_terms(m: Any, x: Any) -> Any:
    return phi_cdf(m, x) + abs(x) * phi_density(m, x)


def sigmoid(m: Any, x: Any) -> Any:
    e = exp(m, -abs(x))
    return 1 / (1 + e) if x > 0 else e / (1 + e)


def sigmoid_derivative(m: Any, x: Any) -> Any:
    return sigmoid(m, x) * sigmoid(m, -x)


def silu(m: Any, x: Any) -> Any:
    return x * sigmoid(m, x)


def silu_derivative(m: Any, x: Any) -> Any:
    return sigmoid(m, x) * (1 + x * sigmoid(m, -x))


def silu_derivative_terms(m: Any, x: Any) -> Any:
    return sigmoid(m, x) * (1 + abs(x) * sigmoid(m, -x))


def tanh(m: Any, x: Any) -> Any:
    return m.tanh(x) if abs(x) < 2000 else x * 0 + (1 if x > 0 else -1)


def tanh_derivative(m: Any, x: Any) -> Any:
    return 4 * sigmoid_derivative(m, 2 * x)


def celu(m: Any, x: Any, alpha: Any) -> Any:
    return elu(m, x / alpha, 1) * alpha


def celu_derivative(m: Any, x: Any, alpha: Any) -> Any:
    return elu_derivative(m, x / alpha, 1)


def gelu_tanh_slope(m: Any, x: Any) -> Any:
    return 2 * m.sqrt(2 / m.pi) * (1 + 3 * constant(m, "0.044715") * x * x)


def gelu_tanh_argument(m: Any, x: Any) -> Any:
    return 2 * m.sqrt(2 / m.pi) * x * (1 + constant(m, "0.044715") * x * x)


def gelu_tanh(m: Any, x: Any) -> Any:
    return x * sigmoid(m, gelu_tanh_argument(m, x))


def gelu_tanh_derivative(m: Any, x: Any) -> Any:
    w = gelu_tanh_argument(m, x)
    return sigmoid(m, w) * (1 + x * gelu_tanh_slope(m, x) * sigmoid(m, -w))


def gelu_tanh_derivative_terms(m: Any, x: Any) -> Any:
    w = gelu_tanh_argument(m, x)
    return sigmoid(m, w) * (1 + abs(x) * gelu_tanh_slope(m, x) * sigmoid(m, -w))


def softplus(m: Any, x: Any) -> Any:
    return relu(m, x) + m.log1p(exp(m, -abs(x)))


def softplus_derivative(m: Any, x: Any) -> Any:
    return sigmoid(m, x)


def logsigmoid(m: Any, x: Any) -> Any:
    return -softplus(m, -x)


def logsigmoid_derivative(m: Any, x: Any) -> Any:
    return sigmoid(m, -x)


def mish(m: Any, x: Any) -> Any:
    return x * tanh(m, softplus(m, x))


def mish_derivative(m: Any, x: Any) -> Any:
    s = softplus(m, x)
    return tanh(m, s) + x * sigmoid(m, x) * tanh_derivative(m, s)


def mish_derivative_terms(m: Any, x: Any) -> Any:
    s = softplus(m, x)
    return tanh(m, s) + abs(x) * sigmoid(m, x) * tanh_derivative(m, s)


def tanhshrink(m: Any, x: Any) -> Any:
    """Near 0 from tanh(x) = x / (1 + k), Lambert's fraction k = x² / (3 + x² / (5 + ...))."""
    if abs(x) > 1:
        return x - tanh(m, x)
    k = x * 0
    for odd in range(81, 1, -2):
        k = x * x / (odd + k)
    return x * k / (1 + k)


def tanhshrink_derivative(m: Any, x: Any) -> Any:
    return tanh(m, x) ** 2


def erf(m: Any, x: Any) -> Any:
    return m.erf(x) if abs(x) < 60 else x * 0 + (1 if x > 0 else -1)


def erf_derivative(m: Any, x: Any) -> Any:
    return 2 / m.sqrt(m.pi) * exp(m, -x * x)


def softsign(m: Any, x: Any) -> Any:
    return x / (1 + abs(x))


def softsign_derivative(m: Any, x: Any) -> Any:
    return 1 / (1 + abs(x)) ** 2


def hardtanh(m: Any, x: Any, min_val: Any, max_val: Any) -> Any:
    return min_val if x < min_val else max_val if x > max_val else x


def hardtanh_derivative(m: Any, x: Any, min_val: Any, max_val: Any) -> Any:
    return x * 0 + (1 if min_val < x < max_val else 0)


def relu6(m: Any, x: Any) -> Any:
    return hardtanh(m, x, x * 0, x * 0 + 6)


def relu6_derivative(m: Any, x: Any) -> Any:
    return hardtanh_derivative(m, x, 0, 6)


def hardsigmoid(m: Any, x: Any) -> Any:
    return relu6(m, x + 3) / 6


def hardsigmoid_derivative(m: Any, x: Any) -> Any:
    return relu6_derivative(m, x + 3) / 6


def hardswish(m: Any, x: Any) -> Any:
    return x * hardsigmoid(m, x)


def hardswish_derivative(m: Any, x: Any) -> Any:
    return (2 * x + 3) / 6 if abs(x) < 3 else relu_derivative(m, x)
