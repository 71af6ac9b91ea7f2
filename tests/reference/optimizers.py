"""The optimisers, an element at a time, in Python's floats: parameter and slots after a step."""

from __future__ import annotations

import math
from collections.abc import Callable

Slots = tuple[float, ...]


def sgd(
    w: float,
    g: float,
    slots: Slots,
    step: int,
    lr: float,
    momentum: float = 0.0,
    nesterov: float = 0.0,
    weight_decay: float = 0.0,
) -> tuple[float, Slots]:
    g += weight_decay * w
    if momentum == 0:
        return w - lr * g, slots
    b = g if step == 1 else momentum * slots[0] + g
    return w - lr * (g + momentum * b if nesterov else b), (b,)


def adam(
    w: float,
    g: float,
    slots: Slots,
    step: int,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> tuple[float, Slots]:
    g += weight_decay * w
    m = beta1 * slots[0] + (1 - beta1) * g
    v = beta2 * slots[1] + (1 - beta2) * g * g
    return w - lr * (m / (1 - beta1**step)) / (math.sqrt(v / (1 - beta2**step)) + eps), (m, v)


def adamw(
    w: float,
    g: float,
    slots: Slots,
    step: int,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> tuple[float, Slots]:
    return adam(w * (1 - lr * weight_decay), g, slots, step, lr, beta1, beta2, eps)


def rmsprop(
    w: float,
    g: float,
    slots: Slots,
    step: int,
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    centered: float = 0.0,
) -> tuple[float, Slots]:
    square, b, mean = slots
    g += weight_decay * w
    square = alpha * square + (1 - alpha) * g * g
    if centered:
        mean = alpha * mean + (1 - alpha) * g
    d = g / (math.sqrt(max(0.0, square - mean * mean)) + eps)
    if momentum:
        d = b = momentum * b + d
    return w - lr * d, (square, b, mean)


def adagrad(
    w: float,
    g: float,
    slots: Slots,
    step: int,
    lr: float,
    lr_decay: float = 0.0,
    weight_decay: float = 0.0,
    initial_accumulator_value: float = 0.0,
    eps: float = 1e-10,
) -> tuple[float, Slots]:
    g += weight_decay * w
    s = (initial_accumulator_value if step == 1 else slots[0]) + g * g
    return w - lr / (1 + (step - 1) * lr_decay) * g / (math.sqrt(s) + eps), (s,)


OPTIMIZERS: dict[str, Callable[..., tuple[float, Slots]]] = {
    "sgd": sgd,
    "adam": adam,
    "adamw": adamw,
    "rmsprop": rmsprop,
    "adagrad": adagrad,
}
