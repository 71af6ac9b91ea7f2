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
