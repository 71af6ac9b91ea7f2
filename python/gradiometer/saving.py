"""A network in a file: its structure as text, its arrays in the layout of safetensors."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

from gradiometer import layers
from gradiometer.checkpoints import CheckpointError, read, write
from gradiometer.layers import Chain, Module
from gradiometer.losses import Loss
from gradiometer.networks import MlpSpec, Sequential

__all__ = ["load", "save"]

_KINDS: dict[str, type[Module]] = {
    kind.__name__: kind
    for kind in (*(getattr(layers, name) for name in layers.__all__), Sequential)
    if isinstance(kind, type) and issubclass(kind, Module) and kind is not Module
}


def save(net: Module, path: str | os.PathLike[str]) -> None:
    """What `Sequential.save` does."""
    about: dict[str, Any] = {"network": _described(net), "dtype": net.dtype}
    about["frozen"] = [name for name, trained in net.requires_grad.items() if not trained]
    spec, loss = getattr(net, "spec", None), getattr(net, "loss", None)
    about["spec"] = None if spec is None else dataclasses.asdict(spec)
    about["loss"] = None if loss is None else [loss.name, loss.class_weights, loss.params]
    write(path, net.state_dict(), {"network": json.dumps(about)})


def load(path: str | os.PathLike[str]) -> Sequential:
    """The network that `Sequential.save` wrote: the same structure, weights, running statistics and frozen parameters.

    Nothing in the file is run: it holds names of layers, numbers and a checksum.

    Parameters
    ----------
    path : path

    Returns
    -------
    Sequential

    Raises
    ------
    gm.checkpoints.CheckpointError
        If the file cannot be read, is damaged, or holds no network.

    Examples
    --------
    >>> import tempfile
    >>> import gradiometer as gm
    >>> net = gm.mlp(4, [8, 8], 2, activation="tanh", rng=0)
    >>> path = tempfile.mkdtemp() + "/net.safetensors"
    >>> net.save(path)
    >>> again = gm.load(path)
    >>> bool((again.parameters == net.parameters).all()), repr(again) == repr(net)
    (True, True)
    """
    tensors, metadata = read(path)
    if "network" not in metadata:
        raise CheckpointError(f"{path} holds no network (that of net.save), but a training run or something else")
    try:
        about = json.loads(metadata["network"])
        net = _made(about["network"])
        if not isinstance(net, Sequential):
            raise ValueError(f"it holds {type(net).__name__}; expected Sequential")
        own = dict(net._named_arrays())
        for name in own.keys() & tensors.keys():
            if own[name].dtype != tensors[name].dtype:
                raise ValueError(f"{name} is {tensors[name].dtype} in a network of {own[name].dtype}")
        if own.keys() != tensors.keys():
            raise ValueError(f"arrays that do not fit the layers: {sorted(own.keys() ^ tensors.keys())}")
        net.load_state_dict(tensors)
        if about["frozen"]:
            net.requires_grad_(False, *about["frozen"])
        if about["spec"] is not None:
            net.spec = MlpSpec(**{**about["spec"], "hidden": tuple(about["spec"]["hidden"])})
        if about["loss"] is not None:
            name, class_weights, params = about["loss"]
            net.loss = Loss(name, class_weights, **params)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError) as e:
        raise CheckpointError(f"{path} holds no network that can be built: {e}") from e
    return net


def _described(module: Module) -> dict[str, Any]:
    """A layer's name and the arguments that make it, its layers the same way."""
    kind = type(module).__name__
    if _KINDS.get(kind) is not type(module):
        raise TypeError(f"{kind} is no layer of gradiometer; expected a network of those")
    config = {key: value for key, value in module._config().items() if key != "modules"}
    inner = [_described(layer) for layer in module.modules] if isinstance(module, Chain) else None
    return {"kind": kind, "config": config, "layers": inner}


def _made(described: dict[str, Any]) -> Module:
    kind = _KINDS[described["kind"]]
    if not issubclass(kind, Chain):
        return kind(**described["config"])
    return kind(*map(_made, described["layers"]), **described["config"])
