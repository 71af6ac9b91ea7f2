"""Layers: descriptions with the arrays that go with them. A network compiles them into one native graph."""

from gradiometer.layers.activation import Activation
from gradiometer.layers.batch_norm import BatchNorm1d
from gradiometer.layers.containers import Chain, DenseSkip, Residual
from gradiometer.layers.dropout import Dropout
from gradiometer.layers.linear import Linear
from gradiometer.layers.module import Compiled, Module, Node
from gradiometer.layers.prelu import PReLU
from gradiometer.layers.recurrent import GRU, LSTM, RNN, Recurrent
from gradiometer.layers.row_norm import GroupNorm, LayerNorm, RMSNorm
from gradiometer.layers.softmax import LogSoftmax, Softmax

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Activation",
    "BatchNorm1d",
    "Chain",
    "Compiled",
    "DenseSkip",
    "Dropout",
    "GroupNorm",
    "LayerNorm",
    "Linear",
    "LogSoftmax",
    "Module",
    "Node",
    "PReLU",
    "RMSNorm",
    "Recurrent",
    "Residual",
    "Softmax",
]
