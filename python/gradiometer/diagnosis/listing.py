"""A network as the lines that build it: with gradiometer's names, and with those of torch.nn."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gradiometer.layers import Activation, Chain, DenseSkip, Module, Recurrent, Residual

if TYPE_CHECKING:
    from gradiometer.networks import Sequential

__all__ = ["Weights", "ours", "ours_weights", "repeated", "theirs", "theirs_classes"]

Weights = tuple[str, Sequence[float]]
"""An initialiser by name, and its gain for every Linear in order."""

LONGEST = 4
"""Layers of the longest pattern that is folded."""


def ours(net: Sequential, recurrent: Mapping[str, Any] | None = None) -> str:
    """``gm.Sequential(...)``; chains within it are unfolded, frozen parameters are frozen. Recurrent layers are given
    the arguments `recurrent` too."""
    dtype = "" if net.dtype == "float32" else f"    dtype={net.dtype!r},\n"
    return f"gm.Sequential(\n{lines(parts(net, lambda layer: our_layer(layer, recurrent or {})))}{dtype})"


def theirs(net: Sequential, activation: Callable[..., str]) -> str:
    """``nn.Sequential(...)``; `activation` spells one from its name and parameters."""
    double = "" if net.dtype == "float32" else ".double()"
    return f"nn.Sequential(\n{lines(parts(net, lambda layer: their_layer(layer, activation)))}){double}"


def theirs_classes(net: Sequential) -> set[str]:
    """Of what torch.nn does not have, the names that the lines need: ``Residual``, ``Recurrent``, ``Erf`` and so on."""
    modules = [module for _, module in net.named_modules()]
    names = {type(module).__name__ for module in modules if isinstance(module, Residual | DenseSkip)}
    names |= {"Recurrent" for module in modules if isinstance(module, Recurrent)}
    names |= {"LayerNormLSTM" for module in modules if isinstance(module, Recurrent) and module.layer_norm}
    return names | {"Erf" for module in modules if isinstance(module, Activation) and module.name == "erf"}


def ours_weights(weights: Weights, seed: int) -> list[str]:
    """Lines that initialise every Linear of ``net`` that is not frozen."""
    rule, gains = weights
    even = len(set(gains)) == 1
    linears = "[layer for _, layer in net.named_modules() if isinstance(layer, gm.Linear)]"
    gain = ("" if gains[0] == 1.0 else f"gain={gains[0]!r}, ") if even else "gain=gain, "
    return [
        f"rng = np.random.default_rng({seed})",
        f"linears = {linears}",
        "for layer in linears:" if even else f"for layer, gain in zip(linears, {list(gains)!r}):",
        '    if layer.requires_grad["weight"]:',
        f"        layer.weight[...] = gm.init.{rule}(layer.weight.shape, {gain}rng=rng, dtype=layer.dtype)",
        '    if layer.requires_grad.get("bias"):',
        "        layer.bias[...] = 0",
    ]


def parts(chain: Chain, spell: Callable[[Module], str]) -> list[str]:
    found: list[str] = []
    for module in chain.modules:
        if isinstance(module, Residual | DenseSkip):
            scale = [f"scale={module.scale!r}"] if isinstance(module, Residual) and module.scale != 1.0 else []
            prefix = spell(module)
            found.append(f"{prefix}({', '.join([*parts(module, spell), *scale])})")
        elif isinstance(module, Chain):
            found += parts(module, spell)
        else:
            found.append(spell(module))
    return found


def our_layer(module: Module, recurrent: Mapping[str, Any]) -> str:
    name = f"gm.{type(module).__name__}"
    if isinstance(module, Chain):
        return name
    said = [arguments(module)]
    if isinstance(module, Recurrent):
        said += [
            f"{key}={value!r}".replace("'", '"') for key, value in recurrent.items() if key not in module._config()
        ]
    return f"{name}({', '.join(said)}){frozen(module)}"


def their_layer(module: Module, activation: Callable[..., str]) -> str:
    if isinstance(module, Activation):
        return activation(module.name, module.params)
    if isinstance(module, Chain):
        return type(module).__name__
    if isinstance(module, Recurrent):
        return their_recurrent(module)
    config = "dim=-1" if type(module).__name__ in ("Softmax", "LogSoftmax") else arguments(module, dtype=False)
    whole = module._frozen and not any(module.requires_grad.values())
    return f"nn.{type(module).__name__}({config}){'.requires_grad_(False)' if whole else ''}"


def their_recurrent(module: Recurrent) -> str:
    said = arguments(module, dtype=False, but=("batch_first", "output", "reset_after", "layer_norm"))
    last = "" if module.output == "last" else ", last=False"
    whole = module._frozen and not any(module.requires_grad.values())
    name = "LayerNormLSTM" if module.layer_norm else f"nn.{type(module).__name__}"
    cell = f"{name}({said}, batch_first=True)"
    return f"Recurrent({cell}{last}){'.requires_grad_(False)' if whole else ''}"


def arguments(module: Module, dtype: bool = True, but: Sequence[str] = ()) -> str:
    """What the constructor is given: what it must have by place, what differs from its default by name."""
    given = {name: value for name, value in module._config().items() if name not in but}
    known = inspect.signature(type(module)).parameters
    said = []
    for name, value in given.items():
        default = known[name].default if name in known else inspect.Parameter.empty
        if name in known and default is inspect.Parameter.empty:
            said.append(repr(value).replace("'", '"'))
        elif value != default and (dtype or name != "dtype"):
            said.append(f"{name}={value!r}".replace("'", '"'))
    return ", ".join(said)


def frozen(module: Module) -> str:
    names = sorted(module._frozen)
    if not names:
        return ""
    some = "" if not any(module.requires_grad.values()) else "".join(f', "{name}"' for name in names)
    return f".requires_grad_(False{some})"


def lines(layers: Sequence[str]) -> str:
    """A line a layer or a run of the same few layers, which is folded."""
    out, i = [], 0
    while i < len(layers):
        length, times = max(
            ((length, runs(layers, i, length)) for length in range(1, LONGEST + 1)),
            key=lambda run: (run[0] * run[1] if run[1] > 1 else 1, -run[0]),
        )
        out.append(f"    {repeated(layers[i : i + length], times)},\n" if times > 1 else f"    {layers[i]},\n")
        i += length * times if times > 1 else 1
    return "".join(out)


def runs(layers: Sequence[str], start: int, length: int) -> int:
    """How often the `length` layers at `start` come one after another."""
    times = 1
    while layers[start + times * length : start + (times + 1) * length] == layers[start : start + length]:
        times += 1
    return times if start + length <= len(layers) else 1


def repeated(parts: Sequence[str], times: int) -> str:
    """A run of the same layers on one line."""
    joined = ", ".join(parts)
    if times == 1:
        return joined
    if len(parts) == 1:
        return f"*({joined} for _ in range({times}))"
    return f"*(layer for _ in range({times}) for layer in ({joined}))"
