"""Measurement: what a network does to its signal and its gradient, layer by layer."""

from gradiometer.measure.measure import measure
from gradiometer.measure.measurement import Attenuation, LayerMeasurement, Measurement

__all__ = ["Attenuation", "LayerMeasurement", "Measurement", "measure"]
