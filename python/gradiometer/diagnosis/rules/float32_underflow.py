from __future__ import annotations

import math

from gradiometer.diagnosis.findings import Finding, Rule
from gradiometer.measurement.result import LayerMeasurement, Measurement
from gradiometer.report.text import percent, times

EXPLAIN = """
What     Entries of the gradient become so small that float32 holds them badly or not at all: below 1.2e-38
         they are subnormal and lose digits one by one, below 7e-46 they are 0.

Why      A vanishing gradient, far enough. An entry of size g0 reaches 0 after

             2 (150 ln 2 + ln g0) / -ln(rate)   layers,       rate = factor^2:

         72 layers for sigmoid at Xavier, 51 at torch's default weights. A sum of squares kept in float32
         is gone at half of that depth, which is why norms here are summed in float64.

Measured The share of zeros and of subnormal numbers in dL/dh, in the layers where the gradient is near the
         end of float32 (zeros behind dead units lie among large numbers and do not count), and the depth at
         which the span's factor takes an entry to 0. It fails with zeros above 1 % or that depth inside the
         network, warns with subnormals above 1 %. A host program that flushes subnormals to zero (a module
         linked with -ffast-math does) moves the end from 7e-46 up to 1.2e-38; this is reported.

Try      Cure the vanishing gradient. Scaling the loss buys a fixed number of layers only.
"""

SHARE = 1e-2
# Five decades (8 sigmoid layers) above 2**-126, the smallest normal number of float32.
NEAR_THE_END = 1.2e-38 * 1e5


def entry_size(layer: LayerMeasurement, samples: int) -> float:
    """Root mean square of one entry of ``dL/dh``."""
    return layer.grad_norm / math.sqrt(samples * layer.fan_out)


def check(measurement: Measurement) -> Finding | None:
    hidden = measurement.hidden
    if not hidden:
        return None
    attenuation = measurement.attenuation
    tiny = []
    size = math.inf
    for layer in reversed(hidden):
        # A layer whose gradient is wholly 0 says nothing of size: the layer above it, which is not, does.
        size = entry_size(layer, measurement.samples) or size * layer.factor or size
        if size < NEAR_THE_END:
            tiny.append(layer)
    zeros = max((layer.grad_zeros for layer in tiny), default=0.0)
    subnormals = max((layer.grad_subnormals for layer in hidden), default=0.0)
    depth = attenuation.float32_zero_depth
    dies_inside = attenuation.factor < 1.0 and depth <= len(hidden)
    evidence = {"zeros": zeros, "subnormals": subnormals, "float32_zero_depth": depth}
    flushed = "; this process flushes subnormals to zero" if measurement.flushes_subnormals else ""
    end = f"float32 reaches 0 about {depth:.0f} layers below the output" if math.isfinite(depth) else ""

    if measurement.dtype == "float32" and (zeros > SHARE or dies_inside):
        status = "fail"
    elif subnormals > SHARE or dies_inside:
        status = "warn"
    else:
        worst = max(hidden, key=lambda layer: layer.grad_subnormals)
        text = "subnormal 0" if subnormals == 0.0 else f"subnormal {percent(subnormals)} (layer {worst.index})"
        return Finding("float32-underflow", "ok", text + flushed, None, evidence)

    hit = [layer.index for layer in tiny if max(layer.grad_zeros, layer.grad_subnormals) > SHARE]
    lowest = hidden[0].index
    parts = [f"up to {percent(zeros)} of dL/dh exactly 0 and {percent(subnormals)} subnormal", end]
    return Finding(
        "float32-underflow",
        status,  # type: ignore[arg-type]
        "; ".join(part for part in parts if part) + flushed,
        (min(hit, default=lowest), max(hit, default=lowest)),
        evidence,
        f"The gradient shrinks {times(attenuation.factor)} a layer over {len(hidden)} layers.",
        ("batch-norm", "elu-lecun", "fitted-init"),
    )


RULE = Rule("float32-underflow", "the gradient falls out of float32", EXPLAIN, check)
