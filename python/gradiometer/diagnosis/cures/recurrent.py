"""Cures of recurrent layers: each made anew as another cell, or with other initial weights, by its constructor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradiometer.diagnosis.cures.cure import NotApplicable
from gradiometer.diagnosis.cures.rebuild import edited
from gradiometer.layers import GRU, LSTM, RNN, Module, Recurrent

if TYPE_CHECKING:
    from gradiometer.networks import Sequential

__all__ = ["LEAST_STEPS", "Remake", "recurrent_layers"]

LEAST_STEPS = 3
"""Of chrono initialisation."""


def recurrent_layers(net: Module) -> list[Recurrent]:
    """All of them, in order."""
    return [module for _, module in net.named_modules() if isinstance(module, Recurrent)]


@dataclass(frozen=True)
class Remake:
    """How a cure makes recurrent layers anew; all else keeps its weights.

    Attributes
    ----------
    options : mapping
        Arguments of the constructor, beside those of the layer that was; of ``T_max`` the value is put in.
    kind : type, optional
        Another cell.
    only : tuple of types
        Cells that it can be tried on.
    torch : sequence of str
        Lines that do the same to each ``name, p`` of a model's parameters; ``{gates}`` and ``{T_max}`` are put in.
    """

    options: Mapping[str, Any]
    only: tuple[type[Recurrent], ...]
    kind: type[Recurrent] | None = None
    torch: tuple[str, ...] = ()

    def applied(self, net: Sequential, seed: int, steps: int) -> Sequential:
        """The network with all its recurrent layers made anew, for sequences of so many steps."""
        layers = recurrent_layers(net)
        if not layers:
            raise NotApplicable("the network has no recurrent layer")
        if not all(isinstance(layer, self.only) for layer in layers):
            raise NotApplicable(f"for {' and '.join(kind.__name__ for kind in self.only)}")
        if any(layer._frozen for layer in layers):
            raise NotApplicable("recurrent layers are frozen")
        if not all(layer.bias for layer in layers) and self.options.keys() & {"forget_bias", "T_max"}:
            raise NotApplicable("the recurrent layers have no biases")
        if self.options.get("layer_norm"):
            if all(layer.layer_norm for layer in layers):
                raise NotApplicable("the recurrent layers have layer norm")
            if any(layer.proj_size for layer in layers):
                raise NotApplicable("the LSTM is projected")
        rng = np.random.default_rng(seed)

        def other(child: Module) -> Module:
            if not isinstance(child, Recurrent):
                return child
            config = child._config()
            if self.kind is not None:
                config = {name: value for name, value in config.items() if name not in ("nonlinearity", "reset_after")}
            return (self.kind or type(child))(**{**config, **self.arguments(steps)}, rng=rng)

        made: Sequential = edited(net, lambda children: [other(child) for child in children])  # type: ignore[assignment]
        made.spec = None
        return made

    def made(self, net: Sequential) -> bool:
        """Whether all its recurrent layers are of the kind that this gives."""
        return all(isinstance(layer, self.kind or self.only) for layer in recurrent_layers(net))

    def arguments(self, steps: int) -> dict[str, Any]:
        """`options` for sequences of so many steps."""
        return {name: max(LEAST_STEPS, steps) if name == "T_max" else value for name, value in self.options.items()}

    def torch_lines(self, net: Sequential, steps: int) -> list[str]:
        """Lines for PyTorch behind those that build the model."""
        if not self.torch:
            return []
        gates = {layer._gates for layer in recurrent_layers(net)}
        filled = [line.format(gates=max(gates), last=max(LEAST_STEPS, steps) - 1) for line in self.torch]
        return [
            "with torch.no_grad():",
            "    for name, p in model.named_parameters():",
            *(f"        {line}" for line in filled),
        ]


FORGET = (
    'if "bias_ih_l" in name:',
    "    p.chunk({gates})[1].fill_(1.0)  # of i, f, g, o",
    'if "bias_hh_l" in name:',
    "    p.chunk({gates})[1].zero_()",
)
CHRONO_LSTM = (
    'if "bias_ih_l" in name or "bias_hh_l" in name:',
    "    p.zero_()",
    'if "bias_ih_l" in name:',
    "    i, f, g, o = p.chunk({gates})",
    "    f.uniform_(1, {last}).log_()",
    "    i.copy_(-f)",
)
CHRONO_GRU = (
    'if "bias_ih_l" in name or "bias_hh_l" in name:',
    "    p.zero_()",
    'if "bias_ih_l" in name:',
    "    p.chunk({gates})[1].uniform_(1, {last}).log_()  # of r, z, n",
)
ORTHOGONAL = (
    'if "weight_hh_l" in name:',
    "    for gate in p.chunk({gates}):",
    "        nn.init.orthogonal_(gate)",
)
IRNN = (
    'if "weight_hh_l" in name:',
    "    nn.init.eye_(p)",
    'if "weight_ih_l" in name:',
    "    nn.init.normal_(p, std=0.001)",
    'if "bias_ih_l" in name or "bias_hh_l" in name:',
    "    p.zero_()",
)

LSTM_ANEW = Remake({"forget_bias": 1.0}, (RNN, GRU), LSTM, FORGET)
GRU_ANEW = Remake({}, (RNN,), GRU)
FORGET_BIAS = Remake({"forget_bias": 1.0}, (LSTM,), None, FORGET)
CHRONO = Remake({"init": "chrono", "T_max": None}, (LSTM,), None, CHRONO_LSTM)
CHRONO_Z = Remake({"init": "chrono", "T_max": None}, (GRU,), None, CHRONO_GRU)
CHRONO_ANEW = Remake({"init": "chrono", "T_max": None}, (RNN,), LSTM, CHRONO_LSTM)
ORTHOGONAL_ANEW = Remake({"recurrent_init": "orthogonal"}, (LSTM, GRU, RNN), None, ORTHOGONAL)
LAYER_NORM = Remake({"layer_norm": True}, (RNN, GRU, LSTM), LSTM)
IDENTITY = Remake({"nonlinearity": "relu", "init": "irnn"}, (RNN,), None, IRNN)
