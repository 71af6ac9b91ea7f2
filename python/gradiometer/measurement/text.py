"""The screen of a measurement: what was measured, the factor a layer, and a line a layer."""

from __future__ import annotations

import math

from gradiometer.measurement.result import Attenuation, LayerMeasurement, Measurement
from gradiometer.measurement.time.text import compact_table, time_lines
from gradiometer.report.text import Column, Style, Table, bar, fold, interval, scientific, spans, times, wrap

__all__ = [
    "factor_in_words",
    "frozen_in_words",
    "header",
    "known_interval",
    "layer_line",
    "layer_table",
    "layer_text",
    "measurement_line",
    "measurement_text",
    "time_text",
]

PLAIN = Style()
UNFOLD = ".report(all=True)"
"""How to see every layer, for those who call from Python."""


def header(measurement: Measurement) -> str:
    """What was measured, in one line.

    For example ``64-[128]x50-10, cross_entropy, float32, 256 samples, avx512``.
    """
    parts = [measurement.network, measurement.loss, measurement.dtype, f"{measurement.samples} samples"]
    flushed = ["subnormals flushed by the host"] if measurement.flushes_subnormals else []
    return ", ".join([*parts, measurement.isa, *flushed])


def known_interval(attenuation: Attenuation) -> tuple[float, float] | None:
    """The interval where it says something: of two increments Student's t is 12.7 and it spans decades."""
    first, last = attenuation.span
    return attenuation.ci95 if last - first > 2 and not math.isnan(attenuation.ci95[0]) else None


def factor_in_words(attenuation: Attenuation, hidden: int = 2) -> str:
    """The factor with its interval and theory's, as far as there are any; else why there is none, for which `hidden`
    is the number of hidden layers.

    >>> factor_in_words(Attenuation(0.234, (0.230, 0.238), 0.236, (1, 50), 0.69, 72.0))
    'x0.234 a layer (95 % 0.230-0.238; theory 0.236)'
    """
    first, last = attenuation.span
    if math.isnan(attenuation.factor):
        if hidden == 0:
            return "one layer: no factor"
        if hidden == 1:
            return "one hidden layer: no factor"
        reaches = f"but in layer {first}" if 0 < first == last else "in every layer"
        return f"no factor: the gradient is 0 or not finite {reaches}"
    known = known_interval(attenuation)
    more = [f"95 % {interval(*known)}" if known else "too few layers for an interval"]
    more += [] if math.isnan(attenuation.theory) else [f"theory {times(attenuation.theory).lstrip('x')}"]
    return f"{times(attenuation.factor)} a layer" + (f" ({'; '.join(more)})" if more else "")


def layer_table(measurement: Measurement, *, hidden_only: bool = True) -> Table:
    """A row a layer, the output's end first: gradient, factor to the layer below, theory's, spread, a bar."""
    layers = (measurement.hidden if hidden_only else ()) or measurement.layers
    norms = [layer.grad_norm for layer in layers if 0.0 < layer.grad_norm < math.inf]
    low, high = min(norms, default=0.0), max(norms, default=0.0)
    columns = [
        Column("layer"),
        Column("|dL/dh|", scientific),
        Column("to next", lambda value: times(value, 2)),
        Column("theory", lambda value: times(value, 2)),
        Column("sample spread", scientific),
        Column("", lambda value: bar(value, low, high), align="left", terminal_only=True),
    ]
    rows = [
        (
            layer.index,
            layer.grad_norm,
            None if math.isnan(layer.factor) else layer.factor,
            None if math.isnan(layer.theory) else layer.theory,
            layer.sample_spread,
            layer.grad_norm,
        )
        for layer in reversed(layers)
    ]
    return Table(columns, rows)


def layer_text(
    measurement: Measurement, *, all_layers: bool = False, style: Style = PLAIN, unfold: str = UNFOLD
) -> str:
    """The table of `layer_table` for a terminal, folded unless `all_layers`; `unfold` says how to see the rest."""
    table = layer_table(measurement, hidden_only=not all_layers)
    labels = [row[0] for row in table.rows]
    return table.text(style=style, keep=None if all_layers else fold(labels), unfold=unfold)


def measurement_text(measurement: Measurement, *, all_layers: bool = False, style: Style = PLAIN) -> str:
    """The whole screen, as ``print(measurement)`` shows it."""
    attenuation = measurement.attenuation
    first, last = attenuation.span
    over = f" over layers {last}-{first}" if first < last else ""
    factor = f"|dL/dh|{over}: {factor_in_words(attenuation, len(measurement.hidden))}"
    loss = f"loss {measurement.loss_value:.4g}, |dL/dx| {scientific(measurement.input_grad_norm)}"
    said = [header(measurement), loss, factor, *frozen_in_words(measurement)]
    lines = [wrap(line, hanging="  ") for line in said]
    parts = [*lines, "", layer_text(measurement, all_layers=all_layers, style=style)]
    return "\n".join(
        [*parts, *(["", time_text(measurement, all_layers=all_layers, style=style)] if measurement.time else [])]
    )


def time_text(measurement: Measurement, *, all_layers: bool = False, style: Style = PLAIN) -> str:
    """The recurrent layers through time, a line each, with `all_layers` a few; empty for a feed-forward network."""
    if not measurement.time:
        return ""
    if not all_layers:
        return compact_table(measurement.time).text(style=style)
    lines = [line for each in measurement.time for line in time_lines(each)]
    return "\n".join(wrap(line, indent="  " * line.startswith(" "), hanging="    ") for line in lines)


def frozen_in_words(measurement: Measurement) -> list[str]:
    """A line that names the layers whose parameters are not trained, if there are any."""
    whole = [layer.index for layer in measurement.layers if "weight" in layer.frozen]
    bias = [layer.index for layer in measurement.layers if layer.frozen == ("bias",)]
    parts = [f"layer{'s' * (len(whole) > 1)} {spans(whole)}"] if whole else []
    parts += [f"the bias of {spans(bias)}"] if bias else []
    return [f"frozen: {', '.join(parts)}"] if parts else []


def measurement_line(measurement: Measurement) -> str:
    """A measurement in a line, as ``repr`` shows it."""
    factor = factor_in_words(measurement.attenuation, len(measurement.hidden))
    loss = f"{measurement.loss} {measurement.loss_value:.4g}"
    return f"<Measurement {measurement.network}: {loss} on {measurement.samples} samples, |dL/dh| {factor}>"


def layer_line(layer: LayerMeasurement) -> str:
    """A layer in a line, as ``repr`` shows it."""
    parts = [f"|dL/dh| {scientific(layer.grad_norm)}"]
    parts += [] if math.isnan(layer.factor) else [f"{times(layer.factor)} to the layer below"]
    parts += [f"sample spread {scientific(layer.sample_spread)}"]
    parts += [f"frozen {' and '.join(layer.frozen)}"] if layer.frozen else []
    return f"<LayerMeasurement {layer.index} {layer.name}: {', '.join(parts)}>"
