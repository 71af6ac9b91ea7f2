"""A recurrent cell that the model calls step by step itself: all its calls are one layer, and calls that take the
states of the last as they were are a sequence.

To tell the gradient that the loss has at a step from that of later steps, the model is given copies of what the cell
returned; where copies come back as the next states, the cell is given the originals. So the gradient of a copy is that
of all other uses.
"""

from __future__ import annotations

import dataclasses
import functools
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gradiometer.measurement.layer import layer_name
from gradiometer.measurement.time import measure_stack
from gradiometer.torch.arrays import array

if TYPE_CHECKING:
    from gradiometer.measurement.time import TimeMeasurement

__all__ = ["Loop", "states_of"]


def states_of(given: Any) -> tuple[torch.Tensor, ...]:
    """h, or h and c, of what a recurrent module takes or returns."""
    if given is None:
        return ()
    return tuple(given) if isinstance(given, tuple | list) else (given,)


@dataclass(eq=False)
class Call:
    """What entered a cell, its h, and the gradients by its h and c but for what comes by later calls: (N, ...)."""

    x: NDArray[Any]
    h: NDArray[Any]
    gradients: list[NDArray[Any] | None]

    def gradient(self, which: int) -> NDArray[Any]:
        """By h (0) or c (1)."""
        found = self.gradients[which]
        return np.zeros_like(self.h) if found is None else found


class Loop:
    """All calls of an nn.LSTMCell, nn.GRUCell or nn.RNNCell in a pass.

    Parameters
    ----------
    name : str
        Of the module in the model.
    module : nn.RNNCellBase

    Attributes
    ----------
    chains : list of (first states, calls)
    handles : list
        Of the hooks that wait for gradients.
    differentiable : bool
    """

    def __init__(self, name: str, module: Any) -> None:
        self.name = name
        if isinstance(module, nn.RNNCell):
            self.cell = f"rnn_{module.nonlinearity}"
        else:
            self.cell = "lstm" if isinstance(module, nn.LSTMCell) else "gru"
        weights = {part: getattr(module, part) for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        self.parameters = {f"{part}_l0": np.array(array(w)) for part, w in weights.items() if w is not None}
        self.chains: list[tuple[list[NDArray[Any]], list[Call]]] = []
        self.handles: list[Any] = []
        self.differentiable = False
        self._originals: tuple[torch.Tensor, ...] = ()
        self._copies: tuple[torch.Tensor, ...] = ()

    def originals(self, states: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """Those of `states` where these are the copies of the last call, as they were; else `states`."""
        same = len(states) == len(self._copies) and all(
            a is b and not a._version for a, b in zip(states, self._copies, strict=True)
        )
        return self._originals if same else states

    def add(
        self, x: torch.Tensor, states: tuple[torch.Tensor, ...], out: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, ...]:
        """A call from `states` has returned `out`. Gives the copies."""
        if not (states and self._originals and states[0] is self._originals[0]):
            self.chains.append(([_rows(state)[None] for state in states], []))
        call = Call(_rows(x), _rows(out[0]), [None] * len(out))
        self.chains[-1][1].append(call)
        self._originals, self._copies = out, tuple(t.clone() for t in out)
        for which, copy in enumerate(self._copies):
            if copy.requires_grad:
                self.differentiable = True
                self.handles.append(copy.register_hook(functools.partial(_receive, call, which)))
        return self._copies

    @property
    def calls(self) -> list[Call]:
        """In order."""
        return [call for _, calls in self.chains for call in calls]

    def measured(self, first: int) -> tuple[TimeMeasurement, ...]:
        """Each sequence of two steps or more; all have the index `first`. Where there is none in several calls, or the
        loss knows c between steps, a warning says so."""
        found: list[TimeMeasurement] = []
        if not self.differentiable or len(self.calls) < 2:
            return ()
        why = "no call takes the states that the last one returned, as they were"
        for number, (start, calls) in enumerate(self.chains, 1):
            if len(calls) < 2:
                continue
            dc_n = None
            if self.cell == "lstm":
                *between, last = [call.gradient(1) for call in calls]
                dc_n = last[None]
                if any(dc.any() for dc in between):
                    why = "its c goes elsewhere between steps"
                    continue
            h0, c0 = [*start, None, None][:2]
            (seen,) = measure_stack(
                self.cell,
                np.stack([call.x for call in calls]),
                self.parameters,
                np.stack([call.gradient(0) for call in calls]),
                None,
                dc_n,
                h0,
                c0,
                first=first,
            )
            name = layer_name(self.name, seen.name, f"(sequence {number})" if len(self.chains) > 1 else None)
            found.append(dataclasses.replace(seen, name=name))
        if not found:
            warnings.warn(f"{self.name or 'module'} is not measured through time: {why}", stacklevel=4)
        return tuple(found)


def _receive(call: Call, which: int, gradient: torch.Tensor) -> None:
    call.gradients[which] = _rows(gradient)


def _rows(t: torch.Tensor) -> NDArray[Any]:
    """A copy (N, C), N of 1 without a batch."""
    return np.array(array(t if t.ndim == 2 else t[None]), order="C")
