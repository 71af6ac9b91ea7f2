"""An activation as a layer."""

from __future__ import annotations

from typing import Any

from gradiometer import kernels
from gradiometer.arguments import real
from gradiometer.layers.module import Builder, Module

__all__ = ["Activation"]


class Activation(Module):
    """``y = f(x)``, element by element; f by the name of its kernel.

    Parameters
    ----------
    name : str
        One of ``gm.kernels.activations()``.
    **params : float
        Its parameters (``gm.kernels.activation_parameters(name)``).

    Raises
    ------
    ValueError, TypeError
        For an unknown name or parameter, or a value out of range.

    Examples
    --------
    >>> import gradiometer as gm
    >>> gm.Activation("relu")([[-1.0, 2.0]])
    array([[0., 2.]], dtype=float32)
    """

    def __init__(self, name: str, *, dtype: str = "float32", **params: float) -> None:
        super().__init__(dtype)
        known = kernels.activation_parameters(name)
        for key, value in params.items():
            if key not in known:
                raise TypeError(f"{name} has no parameter {key!r}; expected one of: {', '.join(known) or 'none'}")
            _, low, high = known[key]
            real(f"{key} of {name}", value, low, high)
        self.name = name
        self.params = {key: float(value) for key, value in params.items()}

    def _config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, **self.params}

    def _emit(self, builder: Builder, x: int) -> int:
        return builder.add(self, "activation", (x,), function=self.name, **self.params)
