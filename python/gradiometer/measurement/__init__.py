"""Measurement: what a network does to its signal and its gradient, layer by layer."""

from gradiometer.measurement.comparison import Comparison, compare
from gradiometer.measurement.instrument import measure
from gradiometer.measurement.result import Attenuation, LayerMeasurement, Measurement

__all__ = ["Attenuation", "Comparison", "LayerMeasurement", "Measurement", "compare", "measure"]
