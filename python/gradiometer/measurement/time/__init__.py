"""Measurement through time: what a recurrent layer does to the gradient, step by step and gate by gate."""

from gradiometer.measurement.time.instrument import Source, measure_layer, measure_stack
from gradiometer.measurement.time.result import Decay, GateTrace, Horizon, Jacobian, TimeMeasurement

__all__ = [
    "Decay",
    "GateTrace",
    "Horizon",
    "Jacobian",
    "Source",
    "TimeMeasurement",
    "measure_layer",
    "measure_stack",
]
