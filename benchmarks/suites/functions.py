"""Activations and their slopes in NumPy float64: the reference of the suites."""

from __future__ import annotations

from collections.abc import Callable
from math import erf
from typing import Any

import numpy as np


def _erf(x: Any) -> Any:
    return np.vectorize(erf, otypes=[np.float64])(x)


def _sigmoid(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1.0) / (1.0 + e)


def _softplus(x: Any) -> Any:
    return np.logaddexp(x, 0)


def _gelu_tanh_argument(x: Any) -> Any:
    return np.sqrt(8 / np.pi) * (x + 0.044715 * x**3)


_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
VALUES: dict[str, Callable[[Any], Any]] = {
    "identity": lambda x: x,
    "prelu": lambda x: np.where(x > 0, x, 0.25 * x),
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "selu": lambda x: _SELU_SCALE * np.where(x > 0, x, _SELU_ALPHA * np.expm1(np.minimum(x, 0))),
    "gelu": lambda x: 0.5 * x * (1 + _erf(x / np.sqrt(2))),
    "silu": lambda x: x * _sigmoid(x),
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "celu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "gelu_tanh": lambda x: x * _sigmoid(_gelu_tanh_argument(x)),
    "mish": lambda x: x * np.tanh(_softplus(x)),
    "softplus": _softplus,
    "logsigmoid": lambda x: -_softplus(-x),
    "tanhshrink": lambda x: x - np.tanh(x),
    "erf": _erf,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "hardtanh": lambda x: np.clip(x, -1, 1),
    "relu6": lambda x: np.clip(x, 0, 6),
    "hardsigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
}
SLOPES: dict[str, Callable[[Any], Any]] = {
    "identity": np.ones_like,
    "prelu": lambda x: np.where(x > 0, 1, 0.25),
    "relu": lambda x: 1.0 * (x > 0),
    "leaky_relu": lambda x: np.where(x > 0, 1, 0.01),
    "elu": lambda x: np.where(x > 0, 1, np.exp(np.minimum(x, 0))),
    "selu": lambda x: _SELU_SCALE * np.where(x > 0, 1, _SELU_ALPHA * np.exp(np.minimum(x, 0))),
    "gelu": lambda x: 0.5 * (1 + _erf(x / np.sqrt(2))) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi),
    "silu": lambda x: _sigmoid(x) * (1 + x * _sigmoid(-x)),
    "sigmoid": lambda x: _sigmoid(x) * _sigmoid(-x),
    "tanh": lambda x: 1 / np.cosh(x) ** 2,
    "celu": lambda x: np.where(x > 0, 1, np.exp(np.minimum(x, 0))),
    "gelu_tanh": lambda x: (
        _sigmoid(_gelu_tanh_argument(x))
        * (1 + x * np.sqrt(8 / np.pi) * (1 + 3 * 0.044715 * x * x) * _sigmoid(-_gelu_tanh_argument(x)))
    ),
    "mish": lambda x: np.tanh(_softplus(x)) + x * _sigmoid(x) / np.cosh(_softplus(x)) ** 2,
    "softplus": _sigmoid,
    "logsigmoid": lambda x: _sigmoid(-x),
    "tanhshrink": lambda x: np.tanh(x) ** 2,
    "erf": lambda x: 2 / np.sqrt(np.pi) * np.exp(-x * x),
    "softsign": lambda x: 1 / (1 + np.abs(x)) ** 2,
    "hardtanh": lambda x: 1.0 * (np.abs(x) < 1),
    "relu6": lambda x: 1.0 * ((x > 0) & (x < 6)),
    "hardsigmoid": lambda x: (np.abs(x) < 3) / 6,
    "hardswish": lambda x: np.where(np.abs(x) < 3, (2 * x + 3) / 6, 1.0 * (x > 0)),
}
