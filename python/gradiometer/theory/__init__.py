"""Mean field theory of deep nets, by quadrature of any kernel.

Every function takes an activation by name and its parameters as keywords.
"""

from gradiometer.theory.critical import (
    CriticalPoint,
    critical_initialisation,
    critical_line,
    critical_point,
)
from gradiometer.theory.finite_width import float32_zero_depth, rate_interval, width_constant
from gradiometer.theory.mean_field import (
    FixedPoint,
    c_map,
    c_slope,
    chi,
    chi_parallel,
    correlation_length,
    decay_length,
    fixed_correlation,
    fixed_point,
    length_scale,
    q_map,
)
from gradiometer.theory.normalisation import batch_norm_rate, layer_norm_rate
from gradiometer.theory.prediction import LayerPrediction, LayerTheory, predict
from gradiometer.theory.quadrature import Moments, moments

__all__ = [
    "CriticalPoint",
    "FixedPoint",
    "LayerPrediction",
    "LayerTheory",
    "Moments",
    "batch_norm_rate",
    "c_map",
    "c_slope",
    "chi",
    "chi_parallel",
    "correlation_length",
    "critical_initialisation",
    "critical_line",
    "critical_point",
    "decay_length",
    "fixed_correlation",
    "fixed_point",
    "float32_zero_depth",
    "layer_norm_rate",
    "length_scale",
    "moments",
    "predict",
    "q_map",
    "rate_interval",
    "width_constant",
]
