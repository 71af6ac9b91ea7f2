"""The recurrent layers of a network with what reached them in a pass: a walk over its modules, forward and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradiometer import kernels
from gradiometer.layers import Chain, DenseSkip, Module, Recurrent, Residual
from gradiometer.measurement.time.instrument import Stack
from gradiometer.measurement.time.result import TimeMeasurement
from gradiometer.sequences import Sequences, split

if TYPE_CHECKING:
    from gradiometer.losses import Loss

__all__ = ["through_time"]

Array = Any


def through_time(
    net: Module, x: Any, target: Array, loss: Loss, indices: dict[int, int]
) -> tuple[TimeMeasurement, ...]:
    """Measure every recurrent layer of a network of sequences, from the input.

    Statistics of batch norm are the batch's, as in a training pass. Dropout between the layers of one module is left
    out, that of a `Dropout` is there.

    Parameters
    ----------
    net : Module
    x : ndarray (N, T, in_features) or Sequences
        In the network's dtype.
    target : ndarray
    loss : Loss
    indices : dict from the id of a recurrent module to the index of its first layer
    """
    array, lengths = split(x)
    firsts = iter([indices[id(module)] for module in _recurrent(net)])
    walk = _walk(net.copy(), lengths, firsts)
    y = walk.forward(array)
    walk.backward(_loss_gradient(loss, y, target, lengths))
    return tuple(measured for leaf in walk.leaves() for measured in leaf.found)


@dataclass
class _Leaf:
    """A module that is run whole, and what reached it."""

    module: Module
    lengths: Array | None
    x: Array = None
    dy: Array = None

    def forward(self, x: Array) -> Array:
        self.x = x
        if x.ndim == 2 or self.module.sequences:
            return self.module(self._given(x), training=True)
        return self._placed(self.module(self._rows(x), training=True), x)

    def backward(self, dy: Array) -> Array:
        self.dy = dy
        if self.x.ndim == 2 or self.module.sequences:
            return self.module.backward(self._given(self.x), dy)[0]
        return self._placed(self.module.backward(self._rows(self.x), self._rows(dy))[0], self.x)

    def leaves(self) -> Iterator[_RecurrentLeaf]:
        yield from ()

    def _given(self, x: Array) -> Any:
        return x if x.ndim == 2 or self.lengths is None else Sequences(x, self.lengths)

    def _rows(self, by_step: Array) -> Array:
        return by_step[self._mask(by_step)]

    def _placed(self, rows: Array, like: Array) -> Array:
        """What a layer of rows gives for the steps there are, put back where they were."""
        out = np.zeros((*like.shape[:2], rows.shape[1]), rows.dtype)
        out[self._mask(like)] = rows
        return out

    def _mask(self, by_step: Array) -> Array:
        N, T = by_step.shape[:2]
        return np.ones((N, T), bool) if self.lengths is None else np.arange(T) < self.lengths[:, None]


@dataclass
class _RecurrentLeaf(_Leaf):
    """One that is measured on the way back."""

    first: int = 1
    """Index of its first layer."""
    found: tuple[TimeMeasurement, ...] = ()

    def forward(self, x: Array) -> Array:
        module = self.module
        assert isinstance(module, Recurrent)
        self.x = x
        self.stack = Stack(module.cell, _swapped(x), module._arrays, lengths=self.lengths)
        return _swapped(self.stack.y) if module.output == "all" else self.stack.h_n

    def backward(self, dy: Array) -> Array:
        module = self.module
        assert isinstance(module, Recurrent)
        self.dy = dy
        by_y = by_end = None
        if module.output == "all":
            by_y = _swapped(dy)
        else:
            ways, H = 1 + module.bidirectional, module.out_features // (1 + module.bidirectional)
            by_end = np.zeros((module.num_layers * ways, len(dy), H), dy.dtype)
            for way in range(ways):
                by_end[way - ways] = dy[:, way * H : (way + 1) * H]
        self.found, dx = self.stack.measure(by_y, by_end, first=self.first)
        return _swapped(dx)

    def leaves(self) -> Iterator[_RecurrentLeaf]:
        yield self


def _swapped(by_step: Array) -> Array:
    """Samples first from steps first, and back."""
    return np.ascontiguousarray(np.swapaxes(by_step, 0, 1))


@dataclass
class _Line:
    """Modules one after another, with what goes around them."""

    parts: list[_Line | _Leaf]
    scale: float | None = None
    """Of a residual branch."""
    dense: bool = False

    def forward(self, x: Array) -> Array:
        y = x
        for part in self.parts:
            y = part.forward(y)
        if self.scale is not None:
            return x + self.scale * y
        return np.concatenate([x, y], -1) if self.dense else y

    def backward(self, dy: Array) -> Array:
        around = None
        if self.scale is not None:
            around, dy = dy, self.scale * dy
        elif self.dense:
            width = dy.shape[-1] - self._width
            around, dy = dy[..., :width], np.ascontiguousarray(dy[..., width:])
        for part in reversed(self.parts):
            dy = part.backward(dy)
        return dy if around is None else dy + around

    @property
    def _width(self) -> int:
        leaf = self.parts[-1]
        while isinstance(leaf, _Line):
            leaf = leaf.parts[-1]
        return int(leaf.module.out_features)  # type: ignore[attr-defined]

    def leaves(self) -> Iterator[_RecurrentLeaf]:
        for part in self.parts:
            yield from part.leaves()


def _walk(module: Module, lengths: Array | None, firsts: Iterator[int]) -> _Line | _Leaf:
    """`firsts`: the index of the first layer of each recurrent module, from the input."""
    if isinstance(module, Recurrent):
        return _RecurrentLeaf(module, lengths, first=next(firsts))
    if not (isinstance(module, Chain) and module.sequences):
        return _Leaf(module, lengths)
    parts = [_walk(child, lengths, firsts) for child in module.modules]
    return _Line(parts, module.scale if isinstance(module, Residual) else None, isinstance(module, DenseSkip))


def _recurrent(module: Module) -> Iterator[Recurrent]:
    if isinstance(module, Recurrent):
        yield module
    elif isinstance(module, Chain):
        for child in module.modules:
            yield from _recurrent(child)


def _loss_gradient(loss: Loss, y: Array, target: Array, lengths: Array | None) -> Array:
    """dL/dy; where every step has a target, of the mean over the steps there are."""
    if y.ndim == 2:
        return kernels.loss(loss.name, y, target, loss.class_weights, **loss.params)[1]
    N, T = y.shape[:2]
    mask = np.ones((N, T), bool) if lengths is None else np.arange(T) < lengths[:, None]
    out = np.zeros_like(y)
    out[mask] = kernels.loss(loss.name, y[mask], target[mask], loss.class_weights, **loss.params)[1]
    return out
