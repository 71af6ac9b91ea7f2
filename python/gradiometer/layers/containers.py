"""Layers made of layers: one after another, and around a skip connection."""

from __future__ import annotations

from typing import Any, overload

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

    @overload
    def __getitem__(self, i: int) -> Module: ...

    @overload
    def __getitem__(self, i: slice) -> Chain: ...

    def __getitem__(self, i: int | slice) -> Module:
        """A layer; of a slice a network of its own with copies of these layers: a network's parameters are one vector,
        so no two networks share a layer."""
        if isinstance(i, slice):
            return self._of(tuple(module.copy() for module in self.modules[i]))
        try:
            return self.modules[i]
        except IndexError:
            raise IndexError(
                f"layer {i} of a {type(self).__name__} of {len(self)}; expected 0 to {len(self) - 1}"
            ) from None

    def _of(self, modules: tuple[Module, ...]) -> Chain:
        return Chain(*modules, dtype=self.dtype)

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
        own = [f"{key}={value!r}" for key, value in self._config().items() if key not in ("modules", "dtype")]
        lines = "".join(f"  {line}\n" for line in [*_folded([repr(module) for module in self.modules]), *own])
        return f"{type(self).__name__}(\n{lines})" if lines else f"{type(self).__name__}()"


def _folded(shown: list[str]) -> list[str]:
    """Lines of modules one after another: a run of equal modules, or of equal blocks of up to four, once.

    Of the lengths that a block may have the one that spares the most lines is taken, the shortest of those.
    """
    lines: list[str] = []
    i = 0
    while i < len(shown):
        times = {n: _repeats(shown, i, n) for n in range(1, _LONGEST + 1)}
        n = max(times, key=lambda n: ((times[n] - 1) * n, -n))
        if times[n] < _FOLD:
            lines += f"({i}) {shown[i]}".split("\n")
            i += 1
        else:
            lines += f"({i}-{i + times[n] * n - 1}) {times[n]} x {', '.join(shown[i : i + n])}".split("\n")
            i += times[n] * n
    return lines


_LONGEST = 4
"""Modules of a block that is folded: linear, norm, activation, dropout."""
_FOLD = 3
"""Repetitions from which on a block is folded."""


def _repeats(shown: list[str], start: int, n: int) -> int:
    """How often the `n` modules from `start` on come one after another."""
    times = 1
    while shown[start + times * n : start + (times + 1) * n] == shown[start : start + n]:
        times += 1
    return times if start + n <= len(shown) else 0


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
            builder = Builder(self.in_features, self.sequences)
            width = builder.graph.features(super()._emit(builder, 0))
            if width != self.in_features:
                raise ValueError(
                    f"the branch takes {self.in_features} features and gives {width}: (N, {self.in_features}) and "
                    f"(N, {width}) do not add up; expected equal widths"
                )

    def _emit(self, builder: Builder, x: int) -> int:
        return builder.add(self, "add", (x, super()._emit(builder, x)), scale=self.scale)

    def _config(self) -> dict[str, Any]:
        return {**super()._config(), "scale": self.scale}

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_residual, (type(self), self.modules, self.scale, self.dtype)


def _rebuild_residual(cls: type[Residual], modules: tuple[Module, ...], scale: float, dtype: str) -> Residual:
    return cls(*modules, scale=scale, dtype=dtype)
