from __future__ import annotations

import math
from dataclasses import dataclass

from gradiometer.diagnosis.findings import Finding, Rule
from gradiometer.diagnosis.reading import SMALLEST, forward_underflow, rms
from gradiometer.diagnosis.rules.vanishing_through_time import likely_cause
from gradiometer.diagnosis.through_time import furthest, weakest
from gradiometer.measurement.result import LayerMeasurement, Measurement
from gradiometer.measurement.time import TimeMeasurement
from gradiometer.report.text import percent, scientific, times

EXPLAIN = """
What     Entries of the gradient, or the pre-activations themselves, become so small that float32 holds them
         badly or not at all: below 1.2e-38 they are subnormal and lose digits one by one, below 7e-46 they
         are 0. A ReLU whose pre-activations are all 0 is off, and lets no gradient through.

Why      Weights too small for the activation shrink the signal on its way up as they do the gradient on its
         way down (ReLU at Xavier: x0.707 a layer, gone after 290 layers). Or a vanishing gradient, far
         enough: an entry of size g0 reaches 0 after

             2 (150 ln 2 + ln g0) / -ln(rate)   layers,       rate = factor^2:

         72 layers for sigmoid at Xavier, 51 at torch's default weights. A sum of squares kept in float32
         is gone at half of that depth, which is why norms here are summed in float64.

Measured The share of zeros and of subnormal numbers in dL/dh, in the layers where the gradient is near the
         end of float32 (zeros behind dead units lie among large numbers and do not count), and the depth at
         which the span's factor takes an entry to 0. It fails with zeros above 1 % or that depth inside the
         network, warns with subnormals above 1 %. A host program that flushes subnormals to zero (a module
         linked with -ffast-math does) moves the end from 7e-46 up to 1.2e-38; this is reported.

         Through time the last step's gradient, begun at norm 1, is followed back: a warning where the root
         mean square of its entries becomes subnormal or 0 within the sequences, with the number of steps
         back. What lies further away is not learned from in this dtype, whatever the optimiser.

Try      Cure the vanishing gradient. Scaling the loss buys a fixed number of layers or steps only.
"""

SHARE = 1e-2
# Five decades (8 sigmoid layers) above 2**-126, the smallest normal number of float32.
NEAR_THE_END = 1.2e-38 * 1e5
FALL_A_STEP = 1e5
"""Less than this a step is a fall into the subnormal numbers; more comes from units that are off."""


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
        size = entry_size(layer, measurement.samples) or size
        if size < NEAR_THE_END:
            tiny.append(layer)
    zeros = max((layer.grad_zeros for layer in tiny), default=0.0)
    worst = max(hidden, key=lambda layer: layer.grad_subnormals)
    subnormals = worst.grad_subnormals
    depth = attenuation.float32_zero_depth
    dies_inside = attenuation.factor < 1.0 and depth <= len(hidden)
    forward = forward_underflow(measurement)
    evidence = {"zeros": zeros, "subnormals": subnormals, "float32_zero_depth": depth}
    lost = lost_in_time(measurement)
    if lost is not None:
        evidence |= {"subnormal_steps_back": float(lost.subnormal), "zero_steps_back": lost.zero}
    flushed = "; this process flushes subnormals to zero" if measurement.flushes_subnormals else ""

    if forward is not None or (measurement.dtype == "float32" and (zeros > SHARE or dies_inside)):
        status = "fail"
    elif subnormals > SHARE or dies_inside or lost is not None:
        status = "warn"
    else:
        text = "subnormal 0" if subnormals == 0.0 else f"subnormal {percent(subnormals)} (layer {worst.index})"
        return Finding("float32-underflow", "ok", text + flushed, None, evidence)

    hit = [layer.index for layer in tiny if max(layer.grad_zeros, layer.grad_subnormals) > SHARE]
    hit += [layer.index for layer in hidden[: max(0, len(hidden) - math.floor(depth))]] if dies_inside else []
    parts, causes = [], []
    if forward is not None:
        hit += [forward.index, hidden[-1].index]
        size = rms(forward.pre_mean, forward.pre_var)
        evidence["pre_activation"] = size
        parts.append(
            f"RMS of the pre-activations {scientific(size)} in layer {forward.index}; {measurement.dtype} ends at "
            f"{scientific(SMALLEST[measurement.dtype])}"
        )
        causes.append(shrinks(measurement, forward))
    if zeros > SHARE or subnormals > SHARE:
        parts.append(f"up to {percent(zeros)} of dL/dh exactly 0 and {percent(subnormals)} subnormal")
    over_depth = bool(parts) or dies_inside
    if lost is not None:
        hit.append(lost.layer.index)
        gone = f" and 0 from {lost.zero:.0f}" if lost.zero < math.inf else ""
        parts.append(
            f"{lost.layer.name}: the last step's gradient, begun at norm 1, is subnormal from {lost.subnormal} steps "
            f"back{gone}, of {lost.layer.steps - 1}"
        )
        causes.append(lost.cause or f"It goes back {times(lost.layer.decay.factor)} a step.")
    if over_depth and math.isfinite(depth):
        held = f" ({measurement.dtype} holds it)" if measurement.dtype != "float32" else ""
        parts.append(f"float32 reaches 0 about {depth:.0f} layers below the output{held}")
    if over_depth and attenuation.factor < 1.0:
        causes.append(f"The gradient shrinks {times(attenuation.factor)} a layer over {len(hidden)} layers.")
    lowest, highest = hidden[0].index, hidden[-1].index
    return Finding(
        "float32-underflow",
        status,  # type: ignore[arg-type]
        "; ".join(parts) + flushed,
        (min(hit, default=lowest), min(max(hit, default=lowest), highest)),
        evidence,
        " ".join(causes),
        ("batch-norm", "elu-lecun", "fitted-init") if over_depth or lost is None else lost.cures,
    )


@dataclass(frozen=True)
class Lost:
    """From how many steps back on the last step's gradient is subnormal and 0 (inf: not within the sequences)."""

    layer: TimeMeasurement
    subnormal: int
    zero: float
    cause: str
    cures: tuple[str, ...]


def lost_in_time(measurement: Measurement) -> Lost | None:
    """Of the layer by which the gradient reaches furthest back, where it leaves what the dtype holds in full."""
    seen = [each for each in measurement.time if not math.isnan(each.horizon.thousandth)]
    if not seen:
        return None
    far = furthest(seen)
    norms, least = far.decay.norms, SMALLEST[measurement.dtype] * math.sqrt(far.hidden)
    subnormal = next((k for k, norm in enumerate(norms) if norm < least), None)
    # Behind units that are off the gradient is 0 at once, from numbers that the dtype holds well: no underflow.
    if subnormal is None or not subnormal or norms[subnormal - 1] > least * FALL_A_STEP:
        return None
    zero = next((k for k, norm in enumerate(norms) if norm == 0.0), math.inf)
    return Lost(far, subnormal, zero, *likely_cause(weakest(seen), far))


def shrinks(measurement: Measurement, lost: LayerMeasurement) -> str:
    """By what factor a layer the pre-activations came down to layer `lost`."""
    seen = [layer for layer in measurement.hidden if layer.index <= lost.index and layer.pre_var > 0.0]
    if len(seen) < 2:
        return f"The weights of layer {lost.index} are too small for its input."
    first, last = (rms(layer.pre_mean, layer.pre_var) for layer in (seen[0], seen[-1]))
    pace = math.exp((math.log(last) - math.log(first)) / (seen[-1].index - seen[0].index))
    return f"The pre-activations shrink {times(pace)} a layer on their way up: weights too small."


RULE = Rule("float32-underflow", "signal or gradient falls out of float32", EXPLAIN, check)
