"""PyTorch models measured like our own networks, and converted both ways. Needs PyTorch; imported when first used."""

from __future__ import annotations

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError('gradiometer.torch needs PyTorch: pip install "gradiometer[torch]"') from error

from gradiometer.torch.conversion import GRU, LSTM, RNN, DenseSkip, Residual, convert, to_torch
from gradiometer.torch.instrument import measure
from gradiometer.torch.monitors import GradientMonitor, Monitor

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "DenseSkip",
    "GradientMonitor",
    "Monitor",
    "Residual",
    "convert",
    "measure",
    "to_torch",
]
