"""Networks from PyTorch and back, weights and all."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gradiometer import layers as ours
from gradiometer.networks import Sequential
from gradiometer.torch.activations import of_module, to_module
from gradiometer.torch.tracer import array

__all__ = ["Residual", "convert", "to_torch"]

_DTYPES = {torch.float32: "float32", torch.float64: "float64"}


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


def convert(module: nn.Module) -> Sequential:
    """Our network with the layers, weights and running statistics of a PyTorch model.

    Names stay: a state dict of the model loads into the network. Its arrays are copies.

    Parameters
    ----------
    module : nn.Module
        nn.Sequential, nested or not, of Linear, BatchNorm1d, activations that ``gm.kernels.activations()`` has,
        Identity, Dropout that does nothing (p of 0, or evaluation mode) and `Residual`; or one such layer.

    Returns
    -------
    Sequential
        In float32 or float64, as the parameters are. Outputs and gradients agree to rounding, but for Softplus above
        its `threshold`, where PyTorch cuts a term of 2e-9.

    Raises
    ------
    ValueError
        For any other module, by name and position; one that appears twice; parameters of another dtype.
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
    if kind is nn.Sequential or kind is Residual:
        parts = [_converted(part, f"{name}.{child}", dtype, used) for child, part in module._modules.items()]
        if kind is Residual:
            return ours.Residual(*parts, scale=module.scale, dtype=dtype)
        return ours.Chain(*parts, dtype=dtype)
    if kind is nn.Identity or (isinstance(module, nn.Dropout) and (module.p == 0 or not module.training)):
        return ours.Chain(dtype=dtype)
    if kind is nn.Linear:
        made: ours.Module = ours.Linear(
            module.in_features, module.out_features, module.bias is not None, rng=0, dtype=dtype
        )
        return _filled(made, module, where)
    if kind is nn.BatchNorm1d:
        if module.momentum is None or not module.track_running_stats:
            raise ValueError(f"{where} has no moving running statistics; expected a momentum and track_running_stats")
        made = ours.BatchNorm1d(module.num_features, module.eps, module.momentum, module.affine, dtype=dtype)
        return _filled(made, module, where)
    function = of_module(module)
    if function is None or kind is nn.PReLU:
        more = ", in training with p above 0" if isinstance(module, nn.Dropout) else ""
        raise ValueError(
            f"{where}{more} cannot be converted; expected Sequential, Linear, BatchNorm1d, Identity, Residual or an "
            f"activation that gm.kernels.activations() lists"
        )
    return ours.Activation(function[0], dtype=dtype, **function[1])


def _filled(made: ours.Module, module: Any, where: str) -> ours.Module:
    """`made` with the tensors of `module`."""
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    for name, values in made._arrays.items():
        if name not in tensors:
            raise ValueError(f"{where} computes its {name} from others; expected a plain parameter")
        values[...] = array(tensors[name])
    return made


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
    if isinstance(net, ours.Chain):
        return nn.Sequential(*map(to_torch, net.modules)) if net.modules else nn.Identity()
    if isinstance(net, ours.Activation):
        made = to_module(net.name, net.params)
        if made is None:
            raise ValueError(f"{net!r} has no module in torch.nn")
        return made
    if not isinstance(net, ours.Linear | ours.BatchNorm1d):
        raise TypeError(f"net holds {type(net).__name__}; expected a layer of gradiometer")
    dtype = torch.float64 if net.dtype == "float64" else torch.float32
    if isinstance(net, ours.Linear):
        made = nn.Linear(net.in_features, net.out_features, net.bias is not None, dtype=dtype)
    else:
        made = nn.BatchNorm1d(net.num_features, net.eps, net.momentum, net.weight is not None, dtype=dtype)
    state = {name: torch.from_numpy(values) for name, values in net._arrays.items()}
    made.load_state_dict(state, strict=False)
    return made
