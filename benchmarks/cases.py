"""The work that is compared: one row a case, for peers.py and for the pytest-benchmark files alike.

A case makes its inputs, says what it costs, and computes its answer in NumPy float64: the check of everybody's result
before any clock starts. Who does the work, and how, is in libraries.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Arrays = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One piece of work. `op` names the function of libraries.py that does it, `args` are its constants."""

    suite: str
    name: str
    op: str
    dtype: str
    args: dict[str, Any] = field(default_factory=dict)
    flops: float = 0.0
    bytes: int = 0
    rtol: float = 1e-5

    def inputs(self) -> Arrays:
        """Arrays of the case, the same in every process."""
        return _INPUTS[self.op](np.random.default_rng(0), self.dtype, **self.args)

    def reference(self, inputs: Arrays) -> Any:
        """The answer in float64."""
        return _REFERENCES[self.op]({k: _wide(v) for k, v in inputs.items()}, **self.args)


def _wide(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return value.astype(np.float64)
    return [_wide(v) for v in value] if isinstance(value, list) else value


def _erf(x: Any) -> Any:
    from math import erf

    return np.vectorize(erf, otypes=[np.float64])(x)


def _sigmoid(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1.0) / (1.0 + e)


def _softplus(x: Any) -> Any:
    return np.logaddexp(x, 0)


def _gelu_tanh_argument(x: Any) -> Any:
    return np.sqrt(8 / np.pi) * (x + 0.044715 * x**3)


_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
_VALUES: dict[str, Callable[[Any], Any]] = {
    "identity": lambda x: x,
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
_SLOPES: dict[str, Callable[[Any], Any]] = {
    "identity": np.ones_like,
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
ACTIVATIONS = tuple(_VALUES)


def _map_inputs(rng: Any, dtype: str, name: str, n: int) -> Arrays:
    return {"x": (2 * rng.standard_normal(n)).astype(dtype), "dy": rng.standard_normal(n).astype(dtype)}


def _gemm_inputs(rng: Any, dtype: str, form: str, M: int, N: int, K: int) -> Arrays:
    a, b = rng.standard_normal((M, K)), rng.standard_normal((K, N))
    return {
        "a": np.ascontiguousarray(a.T if form == "TN" else a, dtype),
        "b": np.ascontiguousarray(b.T if form == "NT" else b, dtype),
    }


def _norm_inputs(rng: Any, dtype: str, N: int, C: int) -> Arrays:
    return {
        "x": (3 + rng.standard_normal((N, C))).astype(dtype),
        "dy": rng.standard_normal((N, C)).astype(dtype),
        "gamma": (1 + 0.1 * rng.standard_normal(C)).astype(dtype),
        "beta": (0.1 * rng.standard_normal(C)).astype(dtype),
    }


def _norm_reference(v: Arrays, N: int, C: int) -> Any:
    x, dy = v["x"], v["dy"]
    inverse = 1 / np.sqrt(x.var(axis=0) + 1e-5)
    h = (x - x.mean(axis=0)) * inverse
    dx = v["gamma"] * inverse * (dy - dy.mean(axis=0) - h * (dy * h).mean(axis=0))
    return [h * v["gamma"] + v["beta"], dx]


def _mlp_inputs(rng: Any, dtype: str, depth: int, width: int, batch: int, activation: str, norm: bool) -> Arrays:
    weights = [
        (rng.standard_normal((width, width)) * np.sqrt((2 if activation == "relu" else 1) / width)).astype(dtype)
        for _ in range(depth)
    ]
    return {
        "x": rng.standard_normal((batch, width)).astype(dtype),
        "y": rng.integers(0, width, batch),
        "weights": weights,
    }


def _mlp_reference(v: Arrays, depth: int, width: int, batch: int, activation: str, norm: bool) -> Any:
    """Loss and the gradients of the first and the last weight."""
    h, saved = v["x"], []
    for w in v["weights"]:
        a = h @ w.T
        inverse = 1 / np.sqrt(a.var(axis=0) + 1e-5) if norm else 1.0
        n = (a - a.mean(axis=0)) * inverse if norm else a
        saved.append((h, n, inverse))
        h = _VALUES[activation](n)
    z = h - h.max(axis=1, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    loss = -np.mean(np.log(p[np.arange(batch), v["y"]]))
    d = p
    d[np.arange(batch), v["y"]] -= 1
    d /= batch
    gradients = []
    for w, (x, n, inverse) in zip(reversed(v["weights"]), reversed(saved), strict=True):
        d = d * _SLOPES[activation](n)
        if norm:
            d = inverse * (d - d.mean(axis=0) - n * (d * n).mean(axis=0))
        gradients.append(d.T @ x)
        d = d @ w
    return [np.array([loss]), gradients[-1], gradients[0]]


_INPUTS: dict[str, Callable[..., Arrays]] = {
    "forward": _map_inputs,
    "backward": _map_inputs,
    "gemm": _gemm_inputs,
    "batch_norm": _norm_inputs,
    "mlp": _mlp_inputs,
}
_REFERENCES: dict[str, Callable[..., Any]] = {
    "forward": lambda v, name, n: [_VALUES[name](v["x"])],
    "backward": lambda v, name, n: [v["dy"] * _SLOPES[name](v["x"])],
    "gemm": lambda v, form, M, N, K: [(v["a"].T if form == "TN" else v["a"]) @ (v["b"].T if form == "NT" else v["b"])],
    "batch_norm": _norm_reference,
    "mlp": _mlp_reference,
}

_SIZE = {"float32": 4, "float64": 8}


def activation_cases() -> Iterator[Case]:
    """Every activation, forward and backward, from a cache to memory."""
    for dtype in ("float32", "float64"):
        for op, streams in (("forward", 2), ("backward", 3)):
            for name in ACTIVATIONS:
                for power in (14, 20):
                    n = 1 << power
                    args = {"name": name, "n": n}
                    yield Case(
                        "activations",
                        f"{name} {op} 2^{power}",
                        op,
                        dtype,
                        args,
                        bytes=streams * n * _SIZE[dtype],
                    )


def gemm_cases() -> Iterator[Case]:
    """Squares, and the shapes of a dense layer."""
    shapes = [(n, n, n) for n in (32, 64, 100, 128, 256, 512, 1024)]
    shapes += [(1, 256, 256), (32, 256, 256), (64, 1024, 256), (128, 1024, 1024)]
    for dtype in ("float32", "float64"):
        for form in ("NN", "NT", "TN"):
            for M, N, K in shapes:
                args = {"form": form, "M": M, "N": N, "K": K}
                yield Case("gemm", f"{form} {M}x{N}x{K}", "gemm", dtype, args, flops=2.0 * M * N * K, rtol=1e-4)


def batch_norm_cases() -> Iterator[Case]:
    """Training, forward and backward."""
    for dtype in ("float32", "float64"):
        for N, C in ((128, 256), (1024, 1024), (8192, 1024), (65536, 64)):
            # forward: x twice, y; backward: x and dy twice, dx
            yield Case(
                "batch_norm",
                f"{N}x{C}",
                "batch_norm",
                dtype,
                {"N": N, "C": C},
                bytes=8 * N * C * _SIZE[dtype],
                rtol=1e-4,
            )


def mlp_cases() -> Iterator[Case]:
    """Forward, loss and backward of a deep net without biases."""
    rows = [(64, 64, 32, "tanh", False), (64, 64, 32, "relu", False), (64, 64, 32, "tanh", True)]
    rows += [
        (64, 256, 128, "tanh", False),
        (64, 256, 128, "tanh", True),
        (32, 1024, 128, "relu", False),
        (16, 64, 8, "tanh", False),
    ]
    for dtype in ("float32", "float64"):
        for depth, width, batch, activation, norm in rows:
            args = {"depth": depth, "width": width, "batch": batch, "activation": activation, "norm": norm}
            name = f"{depth} x {width}, batch {batch}, {activation}{' + batch norm' if norm else ''}"
            # A float32 gradient loses digits on its way through 64 layers (torch's alike: 4e-3 at 32 x 1024).
            rtol = 2e-2 if dtype == "float32" else 1e-10
            yield Case("mlp", name, "mlp", dtype, args, flops=6.0 * depth * width * width * batch, rtol=rtol)


SUITES: dict[str, Callable[[], Iterator[Case]]] = {
    "activations": activation_cases,
    "gemm": gemm_cases,
    "batch_norm": batch_norm_cases,
    "mlp": mlp_cases,
}


def error(result: list[Any], reference: list[Any]) -> float:
    """Largest difference, relative to the largest entry of each array: a check that both did the same work."""
    worst = 0.0
    for got, wanted in zip(result, reference, strict=True):
        got = np.asarray(got, np.float64)
        if got.shape != np.shape(wanted):
            return float("inf")
        worst = max(worst, float(np.max(np.abs(got - wanted)) / max(float(np.max(np.abs(wanted))), 1e-300)))
    return worst
