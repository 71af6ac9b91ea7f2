"""Whole networks and their gradients by backpropagation, a sample set at a time, in long double.

`Reference(net, x)` walks the modules of a network, reads their arrays and keeps what every node saw. Nothing of the
network's plan, kernels or graph is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradiometer as gm
import numpy as np
from spec.activations import ACTIVATIONS

from reference import batch_norm, group_norm, philox
from reference.losses import LOSSES

Array = Any
Gradients = tuple[Array, dict[str, Array], dict[str, Array]]  # dx, by name, magnitudes of their terms
Back = Callable[[Array], Gradients]
WIDE = np.longdouble


def activation(module: Any) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """Value and derivative of an activation of the table, element by element."""
    row = next(row for row in ACTIVATIONS if row.name == module.name)
    params = {**row.params[0], **module.params}

    def over(f: Callable[..., Any]) -> Callable[[Array], Array]:
        return lambda x: np.array([f(math, float(v), **params) for v in x.ravel()], WIDE).reshape(x.shape)

    return over(row.value), over(row.derivative)


@dataclass
class Seen:
    """A module at work: its input and output, and after the backward pass the derivatives of the loss by both."""

    module: Any
    x: Array
    y: Array
    dx: Array = None
    dy: Array = None


class Reference:
    """A network applied to x.

    Attributes
    ----------
    y : (N, out)
    seen : list of Seen
        Leaf modules and residual additions in the order of the forward pass; of an addition, x is the skip.
    statistics : dict of dotted name to (mean, biased variance)
        Of every batch norm in training.
    gradients : dict of dotted name to array
        After `backward`.
    scales : dict of dotted name to number
        What a gradient's rounding errors are relative to: the largest sum of the magnitudes of its terms, times the
        digits that batch norms nearer to the output have lost to cancellation.
    """

    def __init__(self, net: Any, x: Array, training: bool = True) -> None:
        self.training = training
        self.seen: list[Seen] = []
        self.statistics: dict[str, tuple[Array, Array]] = {}
        self.gradients: dict[str, Array] = {}
        self.scales: dict[str, float] = {}
        self._lost = 1.0
        self._nodes = 0
        self.y, self._chain = self._forward(net, np.asarray(x, WIDE), "")

    def backward(self, loss: str, target: Array) -> tuple[Any, Array]:
        """Value of the loss and its derivative by x."""
        self._lost = 1.0
        value, dy = LOSSES[loss](self.y, target)
        dx = self._chain(np.asarray(dy, WIDE))
        self.scales["value"] = float(abs(value))
        self.scales["dx"] = self._lost * float(abs(dx).max())
        return value, dx

    def _forward(self, module: Any, x: Array, name: str) -> tuple[Array, Callable[[Array], Array]]:
        if isinstance(module, gm.Residual):
            return self._residual(module, x, name)
        if isinstance(module, gm.DenseSkip):
            return self._dense_skip(module, x, name)
        if isinstance(module, gm.Sequential):
            return self._chained(module, x, name)
        arrays = {key: np.asarray(value, WIDE) for key, value in module._arrays.items()}
        back: Back
        self._nodes += 1
        if isinstance(module, gm.Linear):
            y = x @ arrays["weight"].T + arrays.get("bias", WIDE(0))

            def back(dy: Array) -> Gradients:
                terms = {"weight": abs(dy).T @ abs(x), "bias": abs(dy).sum(0)}
                return dy @ arrays["weight"], {"weight": dy.T @ x, "bias": dy.sum(0)}, terms

        elif isinstance(module, gm.Activation):
            f, slope = activation(module)
            y = f(x)

            def back(dy: Array) -> Gradients:
                return dy * slope(x), {}, {}

        elif isinstance(module, gm.PReLU):
            w = arrays["weight"]
            y = np.where(x > 0, x, w * x)

            def back(dy: Array) -> Gradients:
                terms = np.where(x > 0, 0, x * dy)
                per_slope = (lambda a: a.sum(0)) if w.size > 1 else (lambda a: a.sum(keepdims=True).ravel())
                return dy * np.where(x > 0, 1, w), {"weight": per_slope(terms)}, {"weight": per_slope(abs(terms))}

        elif isinstance(module, gm.Softmax | gm.LogSoftmax):
            e = np.exp(x - x.max(1, keepdims=True))
            p = e / e.sum(1, keepdims=True)
            log = isinstance(module, gm.LogSoftmax)
            y = np.log(p) if log else p

            def back(dy: Array) -> Gradients:
                if log:
                    return dy - p * dy.sum(1, keepdims=True), {}, {}
                return p * (dy - (p * dy).sum(1, keepdims=True)), {}, {}

        elif isinstance(module, gm.Dropout):
            m = philox.mask(*x.shape, module.p, 0, 1, self._nodes) if self.training else np.ones(x.shape)
            y = x * m

            def back(dy: Array) -> Gradients:
                return dy * m, {}, {}

        elif isinstance(module, gm.LayerNorm | gm.RMSNorm | gm.GroupNorm):
            y, back = self._row_norm(module, arrays, x)
        else:
            assert isinstance(module, gm.BatchNorm1d)
            y, back = self._batch_norm(module, arrays, x, name)
        seen = Seen(module, x, y)
        self.seen.append(seen)

        def chain(dy: Array) -> Array:
            seen.dy = dy
            lost = self._lost
            seen.dx, gradients, terms = back(dy)
            for key, value in gradients.items():
                if key in arrays:
                    self.gradients[f"{name}.{key}" if name else key] = value
                    self.scales[f"{name}.{key}" if name else key] = lost * float(terms[key].max())
            return seen.dx

        return y, chain

    def _batch_norm(self, module: Any, arrays: dict[str, Array], x: Array, name: str) -> tuple[Array, Back]:
        one, zero = np.ones(x.shape[1], WIDE), np.zeros(x.shape[1], WIDE)
        gamma, beta = arrays.get("weight", one), arrays.get("bias", zero)
        if self.training:
            y, mean, var = batch_norm.forward(x, gamma, beta, module.eps)
            self.statistics[name] = mean, var

            def back(dy: Array) -> Gradients:
                dx, dgamma, dbeta = batch_norm.backward(x, dy, gamma, module.eps)
                inverse = 1 / np.sqrt(var + WIDE(module.eps))
                h = abs(x - mean) * inverse
                self._lost *= max(1.0, float(abs(gamma * inverse * dy).max() / abs(dx).max()))
                terms = {"weight": (abs(dy) * h).sum(0), "bias": abs(dy).sum(0)}
                return dx, {"weight": dgamma, "bias": dbeta}, terms

            return y, back
        mean, var = arrays["running_mean"], arrays["running_var"]
        inverse = 1 / np.sqrt(var + WIDE(module.eps))

        def back_evaluated(dy: Array) -> Gradients:
            h = (x - mean) * inverse
            terms = {"weight": (abs(dy) * abs(h)).sum(0), "bias": abs(dy).sum(0)}
            return dy * gamma * inverse, {"weight": (dy * h).sum(0), "bias": dy.sum(0)}, terms

        return (x - mean) * inverse * gamma + beta, back_evaluated

    def _row_norm(self, module: Any, arrays: dict[str, Array], x: Array) -> tuple[Array, Back]:
        one, zero = np.ones(x.shape[1], WIDE), np.zeros(x.shape[1], WIDE)
        gamma, beta = arrays.get("weight", one), arrays.get("bias", zero)
        how = getattr(module, "num_groups", 1), not isinstance(module, gm.RMSNorm), module.eps
        h, inverse = group_norm.normalised(x, *how)

        def back(dy: Array) -> Gradients:
            dx, dgamma, dbeta = group_norm.backward(x, dy, gamma, *how)
            self._lost *= max(1.0, float(abs(gamma * inverse * dy).max() / (abs(dx).max() or 1)))
            terms = {"weight": (abs(dy) * abs(h)).sum(0), "bias": abs(dy).sum(0)}
            return dx, {"weight": dgamma, "bias": dbeta}, terms

        return group_norm.forward(x, gamma, beta, *how), back

    def _chained(self, chain: Any, x: Array, name: str) -> tuple[Array, Callable[[Array], Array]]:
        backs = []
        for i, module in enumerate(chain.modules):
            x, back = self._forward(module, x, f"{name}.{i}" if name else str(i))
            backs.append(back)

        def all_back(dy: Array) -> Array:
            for back in reversed(backs):
                dy = back(dy)
            return dy

        return x, all_back

    def _residual(self, module: Any, x: Array, name: str) -> tuple[Array, Callable[[Array], Array]]:
        branch, back = self._chained(module, x, name)
        self._nodes += 1
        seen = Seen(module, x, x + WIDE(module.scale) * branch)
        self.seen.append(seen)

        def around(dy: Array) -> Array:
            seen.dy = dy
            return dy + back(dy * WIDE(module.scale))

        return seen.y, around

    def _dense_skip(self, module: Any, x: Array, name: str) -> tuple[Array, Callable[[Array], Array]]:
        branch, back = self._chained(module, x, name)
        self._nodes += 1
        seen = Seen(module, x, np.concatenate([x, branch], 1))
        self.seen.append(seen)

        def around(dy: Array) -> Array:
            seen.dy = dy
            return dy[:, : x.shape[1]] + back(dy[:, x.shape[1] :])

        return seen.y, around
