"""Measurements made by hand: what a rule must see, without a network."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gradiometer.measurement.result import Attenuation, LayerMeasurement, Measurement
from gradiometer.measurement.time import Source, TimeMeasurement, measure_layer

SAMPLES = 256
FLOAT32_ZERO = 2.0**-150


def measurement(
    *,
    depth: int = 20,
    width: int = 128,
    activation: str | None = "tanh",
    factor: float | Callable[[int], float] = 1.0,
    scatter: float = 0.02,
    spread: float | Callable[[int], float] = 0.9,
    gain: float = 1.0,
    top: float = 1e-2,
    dtype: str = "float32",
    layers: Mapping[int, Mapping[str, Any]] | None = None,
    everywhere: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Measurement:
    """A network of `depth` hidden layers whose gradient changes by `factor` a layer toward the input.

    Parameters
    ----------
    factor, spread : float or callable
        One number, or a function of the layer's index.
    scatter : float
        Standard deviation of the increments of ln norm, from which the interval is made.
    gain : float
        ``fan_in Var W`` of the hidden layers.
    layers : mapping, optional
        Fields of single layers by index, put in last.
    everywhere : mapping, optional
        Fields of all hidden layers.
    fields
        Fields of the `Measurement` itself.
    """
    factor_of = factor if callable(factor) else lambda index: factor
    spread_of = spread if callable(spread) else lambda index: spread
    norms = {depth: top}
    for index in range(depth, 0, -1):
        norms[index - 1] = norms[index] * factor_of(index)

    made = []
    for index in range(1, depth + 2):
        output = index == depth + 1
        fan_out = 10 if output else width
        layer = LayerMeasurement(
            index=index,
            name=f"Linear {fan_out}" + ("" if output or activation is None else f" {activation}"),
            role="output" if output else "hidden",
            fan_in=64 if index == 1 else width,
            fan_out=fan_out,
            activation=None if output else activation,
            norm=None,
            residual=False,
            pre_mean=0.0,
            pre_var=1.0,
            out_mean=0.0,
            out_var=0.4,
            sample_spread=spread_of(index),
            saturated=0.01,
            dead=0,
            nans=0,
            infs=0,
            grad_rms=norms[depth if output else index] * math.sqrt(SAMPLES),
            grad_norm=top if output else norms[index],
            grad_zeros=0.0,
            grad_subnormals=0.0,
            factor=1.0 if output else factor_of(index),
            theory=1.0,
            weight_norm=math.sqrt(gain * fan_out),
            weight_grad_norm=0.1,
            bias_grad_norm=0.01,
            gradient_to_weight=0.01,
        )
        changes = {**({} if output or everywhere is None else everywhere), **(layers or {}).get(index, {})}
        made.append(dataclasses.replace(layer, **changes))

    steps = depth - 1
    product = norms[1] / norms[depth]
    mean = product ** (1 / steps) if steps and math.isfinite(product) else math.nan
    half = 1.96 * scatter / math.sqrt(max(steps, 1))
    entry = norms[1] / math.sqrt(SAMPLES * width)
    decay = -math.log(mean) if 0.0 < mean < math.inf else math.nan
    zero_depth = depth + math.log(entry / FLOAT32_ZERO) / decay if decay > 0.0 and entry > 0.0 else math.inf
    attenuation = Attenuation(
        factor=mean,
        ci95=(mean * math.exp(-half), mean * math.exp(half)),
        theory=mean,
        span=(1, depth),
        decay_length=abs(1.0 / decay) if decay else math.inf,
        float32_zero_depth=zero_depth,
    )
    values: dict[str, Any] = {
        "layers": tuple(made),
        "attenuation": attenuation,
        "network": f"64-[{width}]x{depth}-10",
        "loss": "cross_entropy",
        "loss_value": 2.3,
        "input_grad_norm": norms[0],
        "samples": SAMPLES,
        "parameters": 1000,
        "dtype": dtype,
        "isa": "scalar",
        "flushes_subnormals": False,
        "seconds": 0.01,
    }
    return Measurement(**{**values, **fields})


def sigmoid_50() -> Measurement:
    """The patient of the README: 50 sigmoid layers at Xavier, the numbers of mean field theory."""
    return measurement(
        depth=50,
        activation="sigmoid",
        factor=0.236,
        spread=lambda index: max(0.83 * 0.236 ** (index - 1), 6e-7),
        top=1.9e-2,
        everywhere={"saturated": 0.003, "theory": 0.236},
    )


def recurrent(
    cell: str = "lstm",
    steps: int = 60,
    hidden: int = 16,
    *,
    gain: float = 0.577,
    gates: Mapping[int, Any] | None = None,
    index: int = 1,
) -> TimeMeasurement:
    """One recurrent layer with independent recurrent weights of variance gain^2 / hidden (0.577 is torch's), measured
    on noise; `gates` sets the bias of gates by their place."""
    parts = {"lstm": 4, "gru": 3}.get(cell, 1)
    rng = np.random.default_rng(0)
    bias = np.zeros(parts * hidden)
    for place, value in (gates or {}).items():
        bias[place * hidden : (place + 1) * hidden] = value
    by_x = 0.3 * rng.normal(size=(parts * hidden, 2))
    by_h = gain * rng.normal(size=(parts * hidden, hidden)) / math.sqrt(hidden)
    x, end = rng.normal(size=(steps, 8, 2)), rng.normal(size=(8, hidden))
    return measure_layer(cell, x, (by_x, by_h, bias, None), Source(dh_n=end), index=index)
