"""Gradiometer: measures how gradients vanish or explode through a network, says why, and proves a cure.

Examples
--------
>>> import gradiometer as gm
>>> train, val, test = gm.datasets.digits()
>>> net = gm.mlp(64, [128] * 20, 10, activation="sigmoid", init="xavier_normal", rng=0)
>>> m = gm.measure(net, *train[:256])
>>> round(m.attenuation.factor, 1)
0.2
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradiometer import checkpoints as checkpoints
    from gradiometer import datasets as datasets
    from gradiometer import init as init
    from gradiometer import kernels as kernels
    from gradiometer import losses as losses
    from gradiometer import optim as optim
    from gradiometer import recurrent as recurrent
    from gradiometer import report as report
    from gradiometer import schedules as schedules
    from gradiometer import sklearn as sklearn
    from gradiometer import tasks as tasks
    from gradiometer import theory as theory
    from gradiometer import torch as torch
    from gradiometer.diagnosis import cure as cure
    from gradiometer.diagnosis import diagnose as diagnose
    from gradiometer.diagnosis import explain as explain
    from gradiometer.inference import Inference as Inference
    from gradiometer.inference import Stream as Stream
    from gradiometer.layers import GRU as GRU
    from gradiometer.layers import LSTM as LSTM
    from gradiometer.layers import RNN as RNN
    from gradiometer.layers import Activation as Activation
    from gradiometer.layers import BatchNorm1d as BatchNorm1d
    from gradiometer.layers import DenseSkip as DenseSkip
    from gradiometer.layers import Dropout as Dropout
    from gradiometer.layers import GroupNorm as GroupNorm
    from gradiometer.layers import LayerNorm as LayerNorm
    from gradiometer.layers import Linear as Linear
    from gradiometer.layers import LogSoftmax as LogSoftmax
    from gradiometer.layers import PReLU as PReLU
    from gradiometer.layers import Residual as Residual
    from gradiometer.layers import RMSNorm as RMSNorm
    from gradiometer.layers import Softmax as Softmax
    from gradiometer.measurement import compare as compare
    from gradiometer.measurement import measure as measure
    from gradiometer.networks import Sequential as Sequential
    from gradiometer.networks import mlp as mlp
    from gradiometer.saving import load as load
    from gradiometer.sequences import Sequences as Sequences

# What is imported only when it is first used: `import gradiometer` costs NumPy and little more.
_MODULES = (
    "checkpoints",
    "datasets",
    "init",
    "kernels",
    "losses",
    "optim",
    "recurrent",
    "report",
    "schedules",
    "tasks",
    "theory",
)
_EXTRAS = ("sklearn", "torch")  # need more than NumPy, so `from gradiometer import *` leaves them out
_NAMES = {
    "GRU": "layers",
    "LSTM": "layers",
    "RNN": "layers",
    "Activation": "layers",
    "BatchNorm1d": "layers",
    "DenseSkip": "layers",
    "Dropout": "layers",
    "GroupNorm": "layers",
    "LayerNorm": "layers",
    "Linear": "layers",
    "LogSoftmax": "layers",
    "PReLU": "layers",
    "RMSNorm": "layers",
    "Residual": "layers",
    "Softmax": "layers",
    "Inference": "inference",
    "Stream": "inference",
    "Sequential": "networks",
    "Sequences": "sequences",
    "mlp": "networks",
    "load": "saving",
    "measure": "measurement",
    "compare": "measurement",
    "cure": "diagnosis",
    "diagnose": "diagnosis",
    "explain": "diagnosis",
}

__all__ = ["__version__", *_MODULES, *_NAMES]


def __getattr__(name: str) -> Any:
    if name in _MODULES or name in _EXTRAS:
        return importlib.import_module(f"gradiometer.{name}")
    if name in _NAMES:
        value = getattr(importlib.import_module(f"gradiometer.{_NAMES[name]}"), name)
        globals()[name] = value
        return value
    if name == "__version__":
        from gradiometer import _core

        return _core.version()
    raise AttributeError(f"module 'gradiometer' has no attribute {name!r}")


def __dir__() -> list[str]:
    # help() and inspect look every name up: one that cannot be imported here is left out.
    return sorted([*__all__, *(name for name in _EXTRAS if importlib.util.find_spec(name))])
