"""Networks from PyTorch and back, weights and all."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from gradiometer import layers as ours
from gradiometer.networks import Sequential
from gradiometer.torch.activations import of_module, to_module
from gradiometer.torch.arrays import array

__all__ = ["DenseSkip", "Residual", "convert", "to_torch"]

_DTYPES = {torch.float32: "float32", torch.float64: "float64"}

# Layers of one name, one meaning of their arguments and one set of tensors in torch.nn and here.
_NAMES = ("Linear", "BatchNorm1d", "LayerNorm", "RMSNorm", "GroupNorm", "Dropout", "PReLU", "Softmax", "LogSoftmax")
_SAME: dict[type, type[ours.Module]] = {
    getattr(nn, name): getattr(ours, name) for name in _NAMES if hasattr(nn, name) and hasattr(ours, name)
}


class Residual(nn.Sequential):  # type: ignore[misc,unused-ignore]
    """``x + scale * branch(x)``: what `to_torch` makes of ``gm.Residual``, and `convert` understands.

    Parameters
    ----------
    *branch : nn.Module
    scale : float
    """

    def __init__(self, *branch: nn.Module, scale: float = 1.0) -> None:
        super().__init__(*branch)
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The sum."""
        return x + self.scale * super().forward(x)


class DenseSkip(nn.Sequential):  # type: ignore[misc,unused-ignore]
    """``[x, branch(x)]``, features side by side: what `to_torch` makes of ``gm.DenseSkip``, and `convert` understands.

    Parameters
    ----------
    *branch : nn.Module
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Both, along axis 1."""
        return torch.cat([x, super().forward(x)], dim=1)


def convert(module: nn.Module) -> Sequential:
    """Our network with the layers, weights and running statistics of a PyTorch model.

    Names stay: a state dict of the model loads into the network. Its arrays are copies; what is frozen stays frozen.

    Parameters
    ----------
    module : nn.Module
        nn.Sequential, nested or not, of Linear, BatchNorm1d, LayerNorm, RMSNorm, GroupNorm, Dropout, PReLU, Softmax,
        LogSoftmax, activations that ``gm.kernels.activations()`` has, Identity, Flatten, `Residual` and `DenseSkip`; or
        one such layer. All work on (N, features). Whether the model is in training does not matter: here every call
        says so itself, and ``gm.measure`` and ``fit`` drop units where ``net(x)`` does not.

    Returns
    -------
    Sequential
        In float32 or float64, as the parameters are. Outputs and gradients agree to rounding, but for Softplus above
        its `threshold`, where PyTorch cuts a term of 2e-9.

    Raises
    ------
    ValueError
        For any other module or setting, by name and position; one that appears twice; parameters of another dtype.
    TypeError
        If `module` is no module.

    Examples
    --------
    >>> import gradiometer as gm
    >>> from torch import nn
    >>> net = gm.torch.convert(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)))
    >>> [type(layer).__name__ for layer in net.modules]
    ['Linear', 'Activation', 'Linear']
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module is {type(module).__name__}; expected a torch.nn.Module")
    dtypes = {p.dtype for p in module.parameters()}
    if len(dtypes) > 1 or not dtypes <= _DTYPES.keys():
        names = ", ".join(sorted(str(dtype) for dtype in dtypes))
        raise ValueError(f"module has parameters of {names}; expected float32 or float64 throughout")
    dtype = _DTYPES[dtypes.pop()] if dtypes else "float32"
    # Not named_children(), which passes over a module that comes again.
    parts = list(module._modules.items()) if type(module) is nn.Sequential else [("", module)]
    if not parts:
        raise ValueError("module is an empty nn.Sequential; expected one layer or more")
    used: dict[int, str] = {}
    return Sequential(*(_converted(part, name, dtype, used) for name, part in parts), dtype=dtype)


def _converted(module: Any, name: str, dtype: str, used: dict[int, str]) -> ours.Module:
    where = f"{name} ({type(module).__name__})" if name else type(module).__name__
    if next(module.parameters(), None) is not None:
        if id(module) in used:
            raise ValueError(f"{where} is {used[id(module)]} again; expected a layer of its own at each place")
        used[id(module)] = name
    kind = type(module)
    if kind in (nn.Sequential, Residual, DenseSkip):
        parts = [_converted(part, f"{name}.{child}", dtype, used) for child, part in module._modules.items()]
        if kind is Residual:
            return ours.Residual(*parts, scale=module.scale, dtype=dtype)
        return (ours.DenseSkip if kind is DenseSkip else ours.Chain)(*parts, dtype=dtype)
    if kind is nn.Identity or (kind is nn.Flatten and module.start_dim == 1) or (kind is nn.Dropout and not module.p):
        return ours.Chain(dtype=dtype)
    if kind in _SAME:
        if kind is nn.BatchNorm1d and not module.track_running_stats:
            raise ValueError(f"{where} keeps no running statistics; expected track_running_stats")
        if kind in (nn.Softmax, nn.LogSoftmax) and module.dim not in (1, -1):
            raise ValueError(f"{where} has dim {module.dim}; expected 1 or -1, the features")
        arguments = {key: getattr(module, key) for key in _arguments(_SAME[kind])}
        if "bias" in arguments:
            arguments["bias"] = module.bias is not None
        try:
            made = _SAME[kind](**arguments, dtype=dtype)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where}: {error}") from error
        return _filled(made, module, where)
    function = None if kind is nn.PReLU else of_module(module)
    if function is None:
        raise ValueError(
            f"{where} cannot be converted; expected Sequential, {', '.join(k.__name__ for k in _SAME)}, Identity, "
            f"Flatten, Residual, DenseSkip or an activation that gm.kernels.activations() lists, as it does it "
            f"(gm.torch.measure takes any module as it is)"
        )
    return ours.Activation(function[0], dtype=dtype, **function[1])


def _arguments(kind: type[ours.Module]) -> list[str]:
    """What a layer of ours is made from, by torch's names."""
    return [name for name in inspect.signature(kind).parameters if name not in ("rng", "dtype")]


def _filled(made: ours.Module, module: Any, where: str) -> ours.Module:
    """`made` with the tensors of `module`."""
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    for name, values in made._arrays.items():
        if name not in tensors:
            raise ValueError(f"{where} computes its {name} from others; expected a plain parameter")
        values[...] = array(tensors[name])
    frozen = [name for name, parameter in module.named_parameters() if not parameter.requires_grad]
    return made.requires_grad_(False, *frozen) if frozen else made


def to_torch(net: ours.Module) -> nn.Module:
    """A network of ours as PyTorch modules, weights and running statistics copied; in training mode, as torch makes
    them.

    Parameters
    ----------
    net : Module

    Returns
    -------
    nn.Module
        nn.Sequential for a network, with the same names in its state dict.

    Raises
    ------
    ValueError
        For an activation that torch.nn does not have.
    TypeError
        For what is not a layer.

    Examples
    --------
    >>> import gradiometer as gm
    >>> gm.torch.to_torch(gm.mlp(4, [8], 2, activation="elu", rng=0))
    Sequential(
      (0): Linear(in_features=4, out_features=8, bias=True)
      (1): ELU(alpha=1.0)
      (2): Linear(in_features=8, out_features=2, bias=True)
    )
    """
    made: Any
    if isinstance(net, ours.Residual):
        return Residual(*map(to_torch, net.modules), scale=net.scale)
    if isinstance(net, ours.DenseSkip):
        return DenseSkip(*map(to_torch, net.modules))
    if isinstance(net, ours.Chain):
        return nn.Sequential(*map(to_torch, net.modules)) if net.modules else nn.Identity()
    if isinstance(net, ours.Activation):
        made = to_module(net.name, net.params)
        if made is None:
            raise ValueError(f"{net!r} has no module in torch.nn")
        return made
    kind = next((theirs for theirs, mine in _SAME.items() if type(net) is mine), None)
    if kind is None:
        raise TypeError(f"net holds {type(net).__name__}; expected a layer of gradiometer that torch.nn has")
    config = {key: value for key, value in net._config().items() if key != "dtype"}
    if kind in (nn.Softmax, nn.LogSoftmax):
        config["dim"] = -1
    made = kind(**config).to(torch.float64 if net.dtype == "float64" else torch.float32)
    made.load_state_dict({name: torch.from_numpy(values) for name, values in net._arrays.items()}, strict=False)
    for name, parameter in made.named_parameters():
        parameter.requires_grad_(net.requires_grad[name])
    return made
