"""Which of our activations a torch module, or a node of torch's graph, computes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gradiometer import kernels

__all__ = ["Erf", "Function", "of_module", "of_node", "to_module"]

Function = tuple[str, dict[str, float]]
"""Name of a kernel and its parameters."""


class Erf(nn.Module):  # type: ignore[misc,unused-ignore]
    """The error function, which torch.nn has no module of."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """erf(x)."""
        return torch.erf(x)


# The attributes of a module that shape its function. One that our kernel has no parameter for must have torch's
# default.
_MODULES: dict[type, tuple[str, tuple[str, ...]]] = {
    nn.ReLU: ("relu", ()),
    nn.LeakyReLU: ("leaky_relu", ("negative_slope",)),
    nn.ELU: ("elu", ("alpha",)),
    nn.CELU: ("celu", ("alpha",)),
    nn.SELU: ("selu", ()),
    nn.GELU: ("gelu", ()),
    nn.SiLU: ("silu", ()),
    nn.Mish: ("mish", ()),
    nn.Sigmoid: ("sigmoid", ()),
    nn.Tanh: ("tanh", ()),
    nn.Softplus: ("softplus", ("beta", "threshold")),
    nn.Softsign: ("softsign", ()),
    nn.LogSigmoid: ("logsigmoid", ()),
    nn.Tanhshrink: ("tanhshrink", ()),
    nn.Hardtanh: ("hardtanh", ("min_val", "max_val")),
    nn.ReLU6: ("relu6", ()),
    nn.Hardsigmoid: ("hardsigmoid", ()),
    nn.Hardswish: ("hardswish", ()),
    Erf: ("erf", ()),
}

# What torch.nn.functional and the in-place forms leave in the graph.
_NODES = {
    "ReluBackward0": nn.ReLU,
    "LeakyReluBackward0": nn.LeakyReLU,
    "CeluBackward0": nn.CELU,
    "SiluBackward0": nn.SiLU,
    "MishBackward0": nn.Mish,
    "SigmoidBackward0": nn.Sigmoid,
    "TanhBackward0": nn.Tanh,
    "SoftplusBackward0": nn.Softplus,
    "LogSigmoidBackward0": nn.LogSigmoid,
    "HardtanhBackward0": nn.Hardtanh,
    "HardsigmoidBackward0": nn.Hardsigmoid,
    "HardswishBackward0": nn.Hardswish,
}


def of_module(module: nn.Module) -> Function | None:
    """The function of an activation module; None if we have no kernel for it."""
    if type(module) is nn.PReLU:
        return _known("leaky_relu", {"negative_slope": module.weight.item()}) if module.num_parameters == 1 else None
    if type(module) is nn.GELU and module.approximate == "tanh":
        return _known("gelu_tanh", {})
    if type(module) not in _MODULES:
        return None
    name, attributes = _MODULES[type(module)]
    return _with_defaults(type(module), name, {key: getattr(module, key) for key in attributes})


def of_node(node: Any) -> Function | None:
    """The function that a node of the graph differentiates; None if it is not one of ours."""
    kind = node.name()
    if kind == "GeluBackward0":
        return _known({"none": "gelu", "tanh": "gelu_tanh"}.get(node._saved_approximate, ""), {})
    if kind == "ErfBackward0":
        return _known("erf", {})
    if kind == "EluBackward0":
        if node._saved_scale == 1:
            return _known("elu", {"alpha": node._saved_alpha})
        return _known("selu", {}) if abs(node._saved_scale - 1.0507009873554805) < 1e-12 else None
    if kind not in _NODES:
        return None
    if kind == "HardtanhBackward0" and (node._saved_min_val, node._saved_max_val) == (0, 6):
        return _known("relu6", {})
    name, attributes = _MODULES[_NODES[kind]]
    return _with_defaults(_NODES[kind], name, {key: getattr(node, f"_saved_{key}") for key in attributes})


def to_module(name: str, params: dict[str, float]) -> nn.Module | None:
    """A torch module that computes one of our activations; None if torch has none."""
    if name == "identity":
        return nn.Identity()
    if name == "gelu_tanh":
        return nn.GELU(approximate="tanh")
    if name == "prelu":  # at a fixed slope
        default = kernels.activation_parameters(name)["negative_slope"][0]
        return nn.LeakyReLU(params.get("negative_slope", default))
    return next((kind(**params) for kind, (ours, _) in _MODULES.items() if ours == name), None)


def _with_defaults(kind: type, name: str, attributes: dict[str, float]) -> Function | None:
    if name not in kernels.activations():
        return None
    ours = kernels.activation_parameters(name)
    default = kind()
    if any(value != getattr(default, key) for key, value in attributes.items() if key not in ours):
        return None
    return _known(name, {key: value for key, value in attributes.items() if key in ours})


def _known(name: str, params: dict[str, float]) -> Function | None:
    if name not in kernels.activations():
        return None
    ours = kernels.activation_parameters(name)
    inside = all(key in ours and ours[key][1] <= value <= ours[key][2] for key, value in params.items())
    return (name, {key: float(value) for key, value in params.items()}) if inside else None
