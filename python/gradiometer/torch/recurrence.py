"""What goes on inside a recurrent module. Its hooks see the ends only, so it is run again by our kernels: from what
entered, its weights, and the gradients that reached what it returned.
"""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from gradiometer import recurrent
from gradiometer.measurement.layer import layer_name
from gradiometer.measurement.time import measure_stack
from gradiometer.torch.arrays import array
from gradiometer.torch.loops import states_of

if TYPE_CHECKING:
    from gradiometer.measurement.time import TimeMeasurement

__all__ = ["Recurrence"]

# Relative to the output: another mask than the pass had changes it by more, rounding that the steps amplify by less.
_ANOTHER_PASS = 0.05


def draws_masks(module: nn.Module) -> bool:
    """Whether a call of a module puts dropout's masks between recurrent layers."""
    return isinstance(module, nn.RNNBase) and module.training and module.dropout > 0 and module.num_layers > 1


class Recurrence:
    """A call of an nn.LSTM, nn.GRU or nn.RNN, when it has returned; measured when its gradients have come.

    Parameters
    ----------
    name : str
        Of the module in the model.
    call : int
        1 for its first.
    module : nn.RNNBase
    args, kwargs, output
        Of the call.
    drawn_from : tensor or None
        torch's random state when it began, where `draws_masks`.

    Attributes
    ----------
    handles : list
        Of the hooks that wait for gradients.
    """

    def __init__(
        self,
        name: str,
        call: int,
        module: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        output: Any,
        drawn_from: torch.Tensor | None,
    ) -> None:
        given = {**dict(zip(("input", "hx"), args, strict=False)), **kwargs}
        x, first, (y, last) = given["input"], given.get("hx"), output
        self.name, self.call = name, call
        self.cell = module.mode.lower()
        self.layers, self.directions = module.num_layers, 1 + module.bidirectional
        self.batch_first, self.dropout, self.drawn_from = module.batch_first, module.dropout, drawn_from
        # What forward uses, whatever a parametrisation has made of the module's attributes.
        weights = zip(module._flat_weights_names, module._flat_weights, strict=True)
        self.parameters = {key: np.ascontiguousarray(array(w)) for key, w in weights}
        self.packing = x if isinstance(x, PackedSequence) else None
        self.batched = self.packing is not None or x.ndim == 3
        self.y = y if self.packing is None else y.data
        self.x = self._by_time(x if self.packing is None else x.data)
        self.lengths = None if self.packing is None else pad_packed_sequence(x)[1].numpy()
        self.first = [self._by_layer(state) for state in states_of(first)]
        self.dy: NDArray[Any] | None = None
        self.d_last: list[NDArray[Any] | None] = [None, None]
        self.handles = [self.y.register_hook(self._receive)] if self.y.requires_grad else []
        for k, state in enumerate(states_of(last)):
            if state.requires_grad:
                self.handles.append(state.register_hook(functools.partial(self._receive_last, k)))

    def _receive(self, gradient: torch.Tensor) -> None:
        self.dy = self._by_time(gradient)

    def _receive_last(self, k: int, gradient: torch.Tensor) -> None:
        self.d_last[k] = self._by_layer(gradient)

    def measured(self, first: int) -> tuple[TimeMeasurement, ...]:
        """Layer by layer, forwards before reverse; `first` is the index of the first. Nothing of a module that no
        gradient can reach, or, with a warning, that cannot be run again."""
        if not self.y.requires_grad:
            return ()
        ran = self._run_again()
        if not ran:
            why = "its dropout is not drawn as PyTorch does on the CPU; module.eval() has none"
            warnings.warn(f"{self.name or 'module'} is not measured through time: {why}", stacklevel=4)
            return ()
        found: list[TimeMeasurement] = []
        dy = self.dy
        for k in reversed(range(self.layers)):
            x, mask, cache = ran[k]
            h0, c0 = self._at(k, self.first)
            dh_n, dc_n = self._at(k, self.d_last)
            weights, lengths = self._weights(k), self.lengths
            seen = measure_stack(self.cell, x, weights, dy, dh_n, dc_n, h0, c0, lengths=lengths, first=first + k)
            found[:0] = [self._named(each, k) for each in seen]
            if k:
                dx = recurrent.backward(self.cell, x, weights, cache, dy, dh_n, dc_n, h0, lengths=lengths)["dx"]
                dy = dx if mask is None else dx * mask
        return tuple(found)

    def _run_again(self) -> list[tuple[Any, Any, Any]]:
        """What enters every layer, the mask that dropout has put on it, and, of more layers than one, the cache; empty
        if another output comes out than in the pass."""
        x = self.x
        if self.layers == 1:
            return [(x, None, None)]
        ran = []
        masks = self._masks(x.shape)
        for k in range(self.layers):
            x = x if masks[k] is None else x * masks[k]
            y, _, _, cache = recurrent.forward(
                self.cell, x, self._weights(k), *self._at(k, self.first), lengths=self.lengths
            )
            ran.append((x, masks[k], cache))
            x = y
        there = self._by_time(self.y)
        same = np.linalg.norm(x - there) <= _ANOTHER_PASS * np.linalg.norm(there)
        return ran if same or self.drawn_from is None else []

    def _masks(self, shape: tuple[int, ...]) -> list[NDArray[Any] | None]:
        """The factors by which dropout multiplies what enters each layer, drawn as the module drew them."""
        masks: list[NDArray[Any] | None] = [None] * self.layers
        if self.drawn_from is None:
            return masks
        width = self.directions * self.parameters["weight_hh_l0"].shape[1]
        rows = shape[:2] if self.packing is None else (len(self.packing.data),)
        ones = torch.ones((*rows, width), dtype=self.y.dtype)
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self.drawn_from)
            for k in range(1, self.layers):
                drawn = nn.functional.dropout(ones, self.dropout)
                masks[k] = array(drawn) if self.packing is None else self._by_time(drawn)
        return masks

    def _by_time(self, t: torch.Tensor) -> NDArray[Any]:
        """A copy (T, N, C) of what the module takes or returns; the model may write into that later."""
        t = t.detach()
        if self.packing is not None:
            _, sizes, there, back = self.packing
            t = pad_packed_sequence(PackedSequence(t, sizes, there, back))[0]
        elif not self.batched:
            t = t[:, None]
        elif self.batch_first:
            t = t.transpose(0, 1)
        return np.array(array(t), order="C")

    def _by_layer(self, state: torch.Tensor) -> NDArray[Any]:
        """A copy (layers * directions, N, H) of the first or last states, or of their gradients."""
        return np.array(array(state if self.batched else state[:, None]), order="C")

    def _at(self, k: int, states: Sequence[NDArray[Any] | None]) -> list[NDArray[Any] | None]:
        """A layer's part of h and c (directions, N, H)."""
        part = slice(k * self.directions, (k + 1) * self.directions)
        return [None if state is None else state[part] for state in [*states, None, None][:2]]

    def _weights(self, k: int) -> dict[str, NDArray[Any]]:
        """A layer's parameters, named as those of a stack of one."""
        ends = (f"_l{k}", f"_l{k}_reverse")
        return {name.replace(f"_l{k}", "_l0"): w for name, w in self.parameters.items() if name.endswith(ends)}

    def _named(self, measured: TimeMeasurement, k: int) -> TimeMeasurement:
        layer = f"l{k}" if self.layers > 1 else None
        name = layer_name(self.name, layer, measured.name, f"(call {self.call})" if self.call > 1 else None)
        return dataclasses.replace(measured, name=name)
