"""The same network in PyTorch, as text: the names are torch.nn's already, so little is to be translated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from gradiometer.diagnosis.listing import Weights, repeated, theirs, theirs_classes
from gradiometer.layers import GRU

if TYPE_CHECKING:
    from gradiometer.networks import MlpSpec, Sequential

__all__ = ["IMPORTS", "pytorch_code", "pytorch_listing", "training_lines"]

# Those that torch.nn does not spell like "Sigmoid".
CLASSES = {
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU",
    "elu": "ELU",
    "celu": "CELU",
    "selu": "SELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "logsigmoid": "LogSigmoid",
    "relu6": "ReLU6",
    "prelu": "PReLU",
}
PARAMETERS = {("prelu", "negative_slope"): "init"}

IMPORTS = """\
import torch
from torch import nn
"""

INITIALISERS = {
    "xavier_normal": "nn.init.xavier_normal_({w}, gain={gain})",
    "xavier_uniform": "nn.init.xavier_uniform_({w}, gain={gain})",
    "he_normal": "nn.init.normal_({w}, std={gain} * (2 / layer.in_features) ** 0.5)",
    "he_uniform": "nn.init.uniform_({w}, -(b := {gain} * (6 / layer.in_features) ** 0.5), b)",
    "lecun_normal": "nn.init.normal_({w}, std={gain} * layer.in_features**-0.5)",
    "lecun_uniform": "nn.init.uniform_({w}, -(b := {gain} * (3 / layer.in_features) ** 0.5), b)",
    "orthogonal": "nn.init.orthogonal_({w}, gain={gain})",
    "torch_default": "nn.init.uniform_({w}, -(b := {gain} * layer.in_features**-0.5), b)",
}

ERF = """\
class Erf(nn.Module):
    def forward(self, x):
        return torch.erf(x)

"""

RESIDUAL = """\
class Residual(nn.Sequential):
    def __init__(self, *branch, scale=1.0):
        super().__init__(*branch)
        self.scale = scale

    def forward(self, x):
        return x + self.scale * super().forward(x)

"""


def activation_class(name: str, params: Mapping[str, float]) -> str:
    """``nn.ELU(alpha=1.0)`` and the like."""
    arguments = ", ".join(f"{PARAMETERS.get((name, key), key)}={value:.6g}" for key, value in params.items())
    if name == "gelu_tanh":
        return 'nn.GELU(approximate="tanh")'
    if name == "erf":
        return "Erf()"
    return f"nn.{CLASSES.get(name, name.title().replace('_', ''))}({arguments})"


DENSE_SKIP = """\
class DenseSkip(nn.Sequential):
    def forward(self, x):
        return torch.cat([x, super().forward(x)], dim=1)

"""

RECURRENT = """\
class Recurrent(nn.Module):
    # x (N, T, C), or packed by nn.utils.rnn.pack_padded_sequence where lengths differ
    def __init__(self, cell, last=True):
        super().__init__()
        self.cell, self.last = cell, last

    def forward(self, x):
        y, state = self.cell(x)
        if not self.last:
            return y if isinstance(y, torch.Tensor) else nn.utils.rnn.pad_packed_sequence(y, batch_first=True)[0]
        h = state[0] if isinstance(state, tuple) else state
        return torch.cat(tuple(h[-1 - self.cell.bidirectional :]), dim=1)

"""
LAYER_NORM_LSTM = """\
class LayerNormLSTM(nn.Module):
    # Ba, Kiros, Hinton 2016, arXiv:1607.06450, appendix: torch.nn has none; x (N, T, C), all of one length
    def __init__(
        self, input_size, hidden_size, num_layers=1, bias=True, batch_first=True, dropout=0.0, bidirectional=False
    ):
        super().__init__()
        self.hidden_size, self.num_layers, self.dropout = hidden_size, num_layers, dropout
        self.bidirectional, self.ways = bidirectional, ("", "_reverse")[: 1 + bidirectional]
        H, bound = hidden_size, hidden_size**-0.5
        for k in range(num_layers):
            for way in self.ways:
                shapes = {"weight_ih": (4 * H, H * len(self.ways) if k else input_size), "weight_hh": (4 * H, H)}
                shapes.update({"bias_ih": (4 * H,), "bias_hh": (4 * H,)} if bias else {})
                made = {name: torch.empty(shape).uniform_(-bound, bound) for name, shape in shapes.items()}
                made.update(norm_weight_ih=torch.ones(4 * H), norm_weight_hh=torch.ones(4 * H))
                made.update(norm_weight_c=torch.ones(H), **({"norm_bias_c": torch.zeros(H)} if bias else {}))
                for name, p in made.items():
                    self.register_parameter(f"{name}_l{k}{way}", nn.Parameter(p))

    def forward(self, x, state=None):
        h_n, c_n, norm = [], [], nn.functional.layer_norm
        for k in range(self.num_layers):
            out = []
            for way in self.ways:
                def of(name):
                    return getattr(self, f"{name}_l{k}{way}", None)
                if state is None:
                    h = c = x.new_zeros(len(x), self.hidden_size)
                else:
                    h, c = state[0][len(h_n)], state[1][len(c_n)]
                by_x = x @ of("weight_ih").T
                by_x = norm(by_x, by_x.shape[2:], of("norm_weight_ih"), of("bias_ih"))
                y, order = [None] * x.shape[1], range(x.shape[1])
                for t in reversed(order) if way else order:
                    by_h = h @ of("weight_hh").T
                    by_h = norm(by_h, by_h.shape[1:], of("norm_weight_hh"), of("bias_hh"))
                    i, f, g, o = (by_x[:, t] + by_h).chunk(4, 1)
                    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                    h = o.sigmoid() * norm(c, c.shape[1:], of("norm_weight_c"), of("norm_bias_c")).tanh()
                    y[t] = h
                out.append(torch.stack(y, 1))
                h_n.append(h)
                c_n.append(c)
            x = torch.cat(out, 2)
            if k + 1 < self.num_layers:
                x = nn.functional.dropout(x, self.dropout, self.training)
        return x, (torch.stack(h_n), torch.stack(c_n))

"""
CLASSES_OF_OURS = {
    "Erf": ERF,
    "Residual": RESIDUAL,
    "DenseSkip": DENSE_SKIP,
    "Recurrent": RECURRENT,
    "LayerNormLSTM": LAYER_NORM_LSTM,
}


def pytorch_listing(
    net: Sequential, weights: Weights | None, training: Sequence[str], anew: Sequence[str] | None = None
) -> str:
    """A whole script like that of `pytorch_code` for a network that ``gm.mlp`` did not build; `anew` are lines that
    initialise its recurrent layers."""
    classes = "".join(CLASSES_OF_OURS[name] for name in sorted(theirs_classes(net)))
    lines = [f"{IMPORTS}\n{classes}model = {theirs(net, activation_class)}"]
    if any(isinstance(module, GRU) and not module.reset_after for _, module in net.named_modules()):
        lines.append("# nn.GRU has the reset gate after the product, the network given has it before")
    if anew is not None:
        lines += anew
        lines.append("# other weights anew: the cure kept those of the network given")
    elif weights is None:
        lines.append("# weights anew: the cure began from those of the network given")
    else:
        rule, gains = weights
        filled = INITIALISERS[rule].format(w="layer.weight", gain="gain")
        lines += [
            "linears = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]",
            f"for layer, gain in zip(linears, {gains_text(gains)}):",
            "    if layer.weight.requires_grad:",
            f"        {filled}",
            "    if layer.bias is not None and layer.bias.requires_grad:",
            "        nn.init.zeros_(layer.bias)",
        ]
    return "\n".join([*lines, *training])


def gains_text(gains: Sequence[float]) -> str:
    even = len(set(gains)) == 1
    return f"[{gains[0]:.6g}] * {len(gains)}" if even else f"[{', '.join(f'{gain:.6g}' for gain in gains)}]"


def pytorch_code(spec: MlpSpec, training: Sequence[str]) -> str:
    """A whole script that builds, initialises and prepares to train the network of `spec`."""
    widths = [spec.in_features, *spec.hidden]
    layers = []
    for (fan_in, fan_out), run in groupby(pairwise(widths)):
        layers.append(repeated(block(spec, fan_in, fan_out), len(list(run))))
    layers.append(linear(spec, widths[-1], spec.out_features))
    body = "".join(f"    {layer},\n" for layer in layers)
    gain = f"({spec.gain:.6g} if layer is not model[-1] else 1)" if spec.gain != 1.0 else "1"
    weights = INITIALISERS[spec.init].format(w="layer.weight", gain=gain).replace("1 * ", "").replace(", gain=1)", ")")
    lines = [
        "for layer in model.modules():",
        "    if isinstance(layer, nn.Linear):",
        f"        {weights}",
        *(["        nn.init.zeros_(layer.bias)"] if spec.bias else []),
        *training,
    ]
    classes = (ERF if spec.activation == "erf" else "") + (RESIDUAL if spec.residual is not None else "")
    double = ".double()" if spec.dtype == "float64" else ""
    return f"{IMPORTS}\n{classes}model = nn.Sequential(\n{body}){double}\n" + "\n".join(lines)


NORMS = {"batch": "BatchNorm1d", "layer": "LayerNorm", "rms": "RMSNorm"}


def block(spec: MlpSpec, fan_in: int, fan_out: int) -> Sequence[str]:
    parts = [linear(spec, fan_in, fan_out)]
    if spec.norm is not None:
        parts.append(f"nn.{NORMS[spec.norm]}({fan_out})")
    parts.append(activation_class(spec.activation, spec.activation_params))
    if spec.residual is not None and fan_in == fan_out:
        return [f"Residual({', '.join(parts)}, scale={spec.residual!r})"]
    return parts


def linear(spec: MlpSpec, fan_in: int, fan_out: int) -> str:
    return f"nn.Linear({fan_in}, {fan_out}{'' if spec.bias else ', bias=False'})"


def training_lines(
    optimizer: str,
    rate: float,
    momentum: float,
    milestones: Sequence[int] = (),
    gamma: float = 1.0,
    clip_norm: float | None = None,
) -> list[str]:
    """The optimiser, and the schedule where the rate fell."""
    name = {"sgd": "SGD", "adam": "Adam"}[optimizer]
    more = f", momentum={momentum:g}" if optimizer == "sgd" else ""
    lines = [f"optimizer = torch.optim.{name}(model.parameters(), lr={rate:g}{more})"]
    if milestones:
        steps = f"optimizer, {list(milestones)}, gamma={gamma:g}"
        lines.append(f"scheduler = torch.optim.lr_scheduler.MultiStepLR({steps})  # a step() a batch")
    if clip_norm is not None:
        lines.append(f"# before each step(): nn.utils.clip_grad_norm_(model.parameters(), {clip_norm:g})")
    return lines
