"""Optimisers: a name, a learning rate and parameters; the step runs in the core."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec

from gradiometer import _core, kernels
from gradiometer.arguments import choice, near, real

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "as_optimizer"]


_TORCH = {"lr": "learning_rate", "betas": "beta1 and beta2"}
"""What torch.optim calls what has another name here."""

P = ParamSpec("P")


def _named(maker: Callable[P, Optimizer]) -> Callable[P, Optimizer]:
    """`maker`, whose error for an unknown keyword says the one that is meant."""
    known = list(inspect.signature(maker).parameters)

    @functools.wraps(maker)
    def make(*args: P.args, **kwargs: P.kwargs) -> Optimizer:
        for name in kwargs:
            if name not in known:
                hint = f" (here it is {_TORCH[name]})" if name in _TORCH else near(name, known)
                raise TypeError(
                    f"{maker.__name__} has no parameter {name!r}{hint}; expected one of: {', '.join(known)}"
                )
        return maker(*args, **kwargs)

    return make


class Optimizer:
    """An optimiser by the name of its kernel.

    Parameters
    ----------
    name : str
        One of ``gm.kernels.optimizers()``.
    learning_rate : float
        Finite, 0 or more.
    **params : float
        See ``gm.kernels.optimizer_parameters(name)``; formulas and defaults are torch.optim's.

    Examples
    --------
    >>> Optimizer("sgd", 0.1, momentum=0.9)
    Optimizer('sgd', 0.1, momentum=0.9)
    """

    def __init__(self, name: str, learning_rate: float, **params: float) -> None:
        self.learning_rate = real("learning_rate", learning_rate, 0.0)
        self.native = _core.Optimizer(name, **params)
        self.name = name
        self.params = {key: float(value) for key, value in params.items()}

    @property
    def slots(self) -> int:
        """State vectors kept for each parameter."""
        return kernels.optimizer_slots(self.name)

    def with_rate(self, learning_rate: float) -> Optimizer:
        """The same with another learning rate."""
        return Optimizer(self.name, learning_rate, **self.params)

    def __reduce__(self) -> tuple[object, ...]:
        return _remake, (self.name, self.learning_rate, self.params)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Optimizer) and self.__reduce__() == other.__reduce__()

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        params = "".join(f", {key}={value:g}" for key, value in self.params.items())
        return f"Optimizer({self.name!r}, {self.learning_rate:g}{params})"


def _remake(name: str, learning_rate: float, params: dict[str, float]) -> Optimizer:
    return Optimizer(name, learning_rate, **params)


@_named
def SGD(learning_rate: float, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0) -> Optimizer:
    """Stochastic gradient descent, torch.optim.SGD's formulas.

    Examples
    --------
    >>> SGD(0.1).name
    'sgd'
    """
    return Optimizer("sgd", learning_rate, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)


@_named
def Adam(
    learning_rate: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Adam (Kingma & Ba 2014, arXiv:1412.6980); weight decay is added to the gradient.

    Examples
    --------
    >>> Adam().learning_rate
    0.001
    """
    return Optimizer("adam", learning_rate, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay)


@_named
def AdamW(
    learning_rate: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2017, arXiv:1711.05101).

    Examples
    --------
    >>> AdamW(1e-4).params["weight_decay"]
    0.01
    """
    return Optimizer("adamw", learning_rate, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay)


@_named
def RMSprop(
    learning_rate: float = 0.01,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    centered: bool = False,
) -> Optimizer:
    """RMSprop (Tieleman & Hinton 2012), torch.optim.RMSprop's formulas; centered: Graves 2013, arXiv:1308.0850.

    Examples
    --------
    >>> RMSprop(momentum=0.9).slots
    3
    """
    return Optimizer(
        "rmsprop",
        learning_rate,
        alpha=alpha,
        eps=eps,
        weight_decay=weight_decay,
        momentum=momentum,
        centered=centered,
    )


@_named
def Adagrad(
    learning_rate: float = 0.01,
    lr_decay: float = 0.0,
    weight_decay: float = 0.0,
    initial_accumulator_value: float = 0.0,
    eps: float = 1e-10,
) -> Optimizer:
    """Adagrad (Duchi, Hazan & Singer 2011), torch.optim.Adagrad's formulas.

    Examples
    --------
    >>> Adagrad().learning_rate
    0.01
    """
    return Optimizer(
        "adagrad",
        learning_rate,
        lr_decay=lr_decay,
        weight_decay=weight_decay,
        initial_accumulator_value=initial_accumulator_value,
        eps=eps,
    )


def as_optimizer(optimizer: Any) -> Optimizer:
    """`optimizer` itself, or one by name with a usual learning rate (1e-3 for adam and adamw, 0.01 for the others)."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    if not isinstance(optimizer, str):
        made = getattr(optimizer, "__name__", "Adam")
        raise TypeError(
            f"optimizer is {optimizer!r}; expected a name or an optimiser that is made, as gm.optim.{made}(0.001)"
        )
    choice("optimizer", optimizer, kernels.optimizers())
    return Optimizer(optimizer, 1e-3 if optimizer in ("adam", "adamw") else 0.01)
