"""Layers made of layers: one after another, and around a skip connection."""

from __future__ import annotations

from typing import Any

from gradiometer.arguments import real
from gradiometer.layers.module import Builder, Module

__all__ = ["Chain", "DenseSkip", "Residual"]


class Chain(Module):
    """Modules one after another; names of children are their positions, as in torch.nn.Sequential."""

    def __init__(self, *modules: Module, dtype: str | None = None) -> None:
        for i, module in enumerate(modules):
            if not isinstance(module, Module):
                raise TypeError(f"module {i} is {module!r}; expected a layer")
        with_arrays = [m.dtype for top in modules for _, m in top.named_modules() if m._arrays]
        super().__init__(dtype or (with_arrays[0] if with_arrays else "float32"))
        self.modules = modules

    @property
    def in_features(self) -> int | None:
        """Features that the first layer with a width of its own wants."""
        return next((m.in_features for m in self.modules if m.in_features is not None), None)

    def __len__(self) -> int:
        return len(self.modules)

    def __getitem__(self, i: int) -> Module:
        return self.modules[i]

    def _config(self) -> dict[str, Any]:
        return {"modules": self.modules, "dtype": self.dtype}

    def _children(self) -> tuple[tuple[str, Module], ...]:
        return tuple((str(i), module) for i, module in enumerate(self.modules))

    def _emit(self, builder: Builder, x: int) -> int:
        for module in self.modules:
            x = module._emit(builder, x)
        return x

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_chain, (type(self), self.modules, self.dtype)

    def __repr__(self) -> str:
        lines = "".join(f"  ({i}) {module!r}\n" for i, module in enumerate(self.modules))
        return f"{type(self).__name__}(\n{lines})" if lines else f"{type(self).__name__}()"


def _rebuild_chain(cls: type[Chain], modules: tuple[Module, ...], dtype: str) -> Chain:
    return cls(*modules, dtype=dtype)


class DenseSkip(Chain):
    """``y = [x, branch(x)]``, features side by side (Huang et al. 2016, arXiv:1608.06993).

    Parameters
    ----------
    *modules : Module
        The branch, modules one after another.

    Examples
    --------
    >>> import gradiometer as gm
    >>> gm.DenseSkip(gm.Activation("relu"))([[-1.0, 2.0]])
    array([[-1.,  2.,  0.,  2.]], dtype=float32)
    """

    def __init__(self, *modules: Module, dtype: str | None = None) -> None:
        super().__init__(*modules, dtype=dtype)
        if not modules:
            raise ValueError("the branch is empty; expected one layer or more")

    def _emit(self, builder: Builder, x: int) -> int:
        return builder.add(self, "concat", (x, super()._emit(builder, x)))


class Residual(Chain):
    """``y = x + scale * branch(x)``, the branch being modules one after another (He et al. 2015, arXiv:1512.03385).

    Parameters
    ----------
    *modules : Module
        The branch; its output has the width of its input.
    scale : float
        ``1 / sqrt(L)`` for L blocks keeps the growth of signal and gradient over all of them below e.

    Examples
    --------
    >>> import gradiometer as gm
    >>> gm.Residual(gm.Activation("relu"), scale=0.5)([[-1.0, 2.0]])
    array([[-1.,  3.]], dtype=float32)
    """

    def __init__(self, *modules: Module, scale: float = 1.0, dtype: str | None = None) -> None:
        super().__init__(*modules, dtype=dtype)
        if not modules:
            raise ValueError("the branch is empty; expected one layer or more")
        self.scale = real("scale", scale)
        if self.in_features is not None:
            builder = Builder(self.in_features)
            width = builder.graph.features(super()._emit(builder, 0))
            if width != self.in_features:
                raise ValueError(
                    f"the branch takes {self.in_features} features and gives {width}: (N, {self.in_features}) and "
                    f"(N, {width}) do not add up; expected equal widths"
                )

    def _emit(self, builder: Builder, x: int) -> int:
        return builder.add(self, "add", (x, super()._emit(builder, x)), scale=self.scale)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_residual, (type(self), self.modules, self.scale, self.dtype)


def _rebuild_residual(cls: type[Residual], modules: tuple[Module, ...], scale: float, dtype: str) -> Residual:
    return cls(*modules, scale=scale, dtype=dtype)
