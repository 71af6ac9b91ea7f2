"""Layers: descriptions with the arrays that go with them. A network compiles them into one native graph."""

from gradiometer.layers.activation import Activation
from gradiometer.layers.batch_norm import BatchNorm1d
from gradiometer.layers.containers import Chain, Residual
from gradiometer.layers.linear import Linear
from gradiometer.layers.module import Compiled, Module, Node

__all__ = ["Activation", "BatchNorm1d", "Chain", "Compiled", "Linear", "Module", "Node", "Residual"]
