"""Networks from PyTorch and back, weights and all."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from gradiometer import layers as ours
from gradiometer.arguments import choice
from gradiometer.networks import Sequential
from gradiometer.torch.activations import of_module, to_module
from gradiometer.torch.arrays import array
from gradiometer.torch.reading import Part, Unreadable, read

__all__ = ["GRU", "LSTM", "RNN", "DenseSkip", "Residual", "convert", "to_torch"]

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


class _OneTensor:
    """nn.LSTM, GRU or RNN that gives one tensor, so that nn.Sequential may hold it."""

    def __init__(self, *args: Any, output: str = "last", **options: Any) -> None:
        super().__init__(*args, **options)
        self.output = choice("output", output, ("last", "all"))

    # Not forward(): hooks are given all that a recurrent module returns.
    def __call__(self, x: torch.Tensor | PackedSequence) -> torch.Tensor:
        """h of every step, padded with 0; or that after each sample's last, directions side by side."""
        module: Any = self
        y, last = nn.Module.__call__(module, x)
        if self.output == "all":
            return pad_packed_sequence(y, module.batch_first)[0] if isinstance(y, PackedSequence) else y
        h = last[0] if isinstance(last, tuple) else last
        return torch.cat(list(h[-1 - module.bidirectional :]), dim=-1)


class LSTM(_OneTensor, nn.LSTM):  # type: ignore[misc,unused-ignore]
    """nn.LSTM that gives one tensor: what `to_torch` makes of ``gm.LSTM``, and `convert` understands.

    Parameters
    ----------
    *args, **options
        Of nn.LSTM.
    output : "last" or "all"
        h after each sample's last step, its directions side by side, or h of every step.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(LSTM(3, 5, batch_first=True), nn.Linear(5, 2))
    >>> model(torch.zeros(4, 7, 3)).shape
    torch.Size([4, 2])
    """


class GRU(_OneTensor, nn.GRU):  # type: ignore[misc,unused-ignore]
    """nn.GRU that gives one tensor; as `LSTM`."""


class RNN(_OneTensor, nn.RNN):  # type: ignore[misc,unused-ignore]
    """nn.RNN that gives one tensor; as `LSTM`."""


_RECURRENT_ARGUMENTS = (
    "input_size",
    "hidden_size",
    "num_layers",
    "nonlinearity",
    "bias",
    "batch_first",
    "dropout",
    "bidirectional",
    "proj_size",
)

# What has the arguments and names of tensors of one of ours.
_RECURRENT: dict[type, type[ours.Module]] = {
    kind: getattr(ours, kind.__name__)
    for kind in (nn.LSTM, nn.GRU, nn.RNN, LSTM, GRU, RNN)
    if hasattr(ours, kind.__name__)
}


def convert(module: nn.Module) -> Sequential:
    """Our network with the layers, weights and running statistics of a PyTorch model.

    Names stay: a state dict of the model loads into the network. Its arrays are copies; what is frozen stays frozen.

    Parameters
    ----------
    module : nn.Module
        nn.Sequential, nested or not, of Linear, BatchNorm1d, LayerNorm, RMSNorm, GroupNorm, Dropout, PReLU, Softmax,
        LogSoftmax, activations that ``gm.kernels.activations()`` has, Identity, Flatten, `Residual` and `DenseSkip`,
        all on (N, features), and the `LSTM`, `GRU` and `RNN` of here; or one such layer, or nn.LSTM, nn.GRU or nn.RNN
        for its y. Or a module of your own whose forward torch.fx reads as a chain of these: what follows an nn.LSTM,
        with batch_first and without states, may take y, ``y[:, -1]`` or ``h_n[-1]``. Its layers are numbered as they
        run, and in a state dict have these numbers. Whether the model is in training does not matter: here every call
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
    parts: list[Part]
    if type(module) is nn.Sequential:
        # Not named_children(), which passes over a module that comes again.
        parts = [(name, part, None) for name, part in module._modules.items()]
    else:
        parts = _read(module, type(module).__name__) if _is_own(module) else [("", module, None)]
    if not parts:
        raise ValueError("module is an empty nn.Sequential; expected one layer or more")
    used: dict[int, str] = {}
    return Sequential(*(_converted(part, name, dtype, used, output) for name, part, output in parts), dtype=dtype)


def _is_own(module: Any) -> bool:
    """Whether its class is the user's, with a forward to be read."""
    known = (*_SAME, *_RECURRENT, Residual, DenseSkip)
    return not type(module).__module__.startswith("torch.") and type(module) not in known and not of_module(module)


def _read(module: Any, where: str) -> list[Part]:
    try:
        return read(module, (nn.LSTM, nn.GRU, nn.RNN), leaves=(Residual, DenseSkip))
    except Unreadable as error:
        raise ValueError(
            f"{where} cannot be converted: {error} (gm.torch.measure takes any module as it is)"
        ) from error


def _converted(module: Any, name: str, dtype: str, used: dict[int, str], output: str | None = None) -> ours.Module:
    """A layer of ours; `output` is what a recurrent one gives, if it does not say so itself."""
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
    if kind in _RECURRENT:
        if name and output is None and kind.__module__.startswith("torch."):
            raise ValueError(f"{where} gives y and its last state; expected gm.torch.{kind.__name__}, which gives one")
        make: Any = _RECURRENT[kind]
        takes = _arguments(make)
        options = {key: getattr(module, key) for key in _RECURRENT_ARGUMENTS if key in takes}
        return _filled(make(**options, output=output or getattr(module, "output", "all"), dtype=dtype), module, where)
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
    if _is_own(module):
        return ours.Chain(
            *(_converted(part, f"{name}.{of}", dtype, used, out) for of, part, out in _read(module, where)), dtype=dtype
        )
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
        For an activation that torch.nn does not have, a GRU with ``reset_after=False``, an LSTM with
        ``layer_norm=True``.
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
    # of two kinds of recurrent ones the last, which keeps `output`
    kind = next((theirs for theirs, mine in [*_SAME.items(), *reversed(_RECURRENT.items())] if type(net) is mine), None)
    if kind is None:
        raise TypeError(f"net holds {type(net).__name__}; expected a layer of gradiometer that torch.nn has")
    config = {key: value for key, value in net._config().items() if key not in ("dtype", "reset_after", "layer_norm")}
    if isinstance(net, ours.GRU) and not net.reset_after:
        raise ValueError("net holds a GRU with reset_after=False, which torch.nn does not have; expected True")
    if isinstance(net, ours.LSTM) and net.layer_norm:
        raise ValueError("net holds an LSTM with layer_norm=True, which torch.nn does not have; expected False")
    if kind in (nn.Softmax, nn.LogSoftmax):
        config["dim"] = -1
    made = kind(**config).to(torch.float64 if net.dtype == "float64" else torch.float32)
    made.load_state_dict({name: torch.from_numpy(values) for name, values in net._arrays.items()}, strict=False)
    for name, parameter in made.named_parameters():
        parameter.requires_grad_(net.requires_grad[name])
    return made
