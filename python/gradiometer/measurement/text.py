"""The screen of a measurement: what was measured, the factor a layer, and a line a layer."""

from __future__ import annotations

import math

from gradiometer.measurement.result import Attenuation, Measurement
from gradiometer.report.text import Column, Style, Table, bar, fold, interval, scientific, times, wrap

__all__ = ["factor_in_words", "header", "layer_table", "layer_text", "measurement_text"]

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


def factor_in_words(attenuation: Attenuation) -> str:
    """The factor with its interval and theory's, as far as there are any; else why there is none.

    >>> factor_in_words(Attenuation(0.234, (0.230, 0.238), 0.236, (1, 50), 0.69, 72.0))
    'x0.234 a layer (95 % 0.230-0.238; theory 0.236)'
    """
    first, last = attenuation.span
    if math.isnan(attenuation.factor):
        return "no factor: one layer" if 0 < first == last else "no factor: the gradient is 0 or not finite"
    more = [] if math.isnan(attenuation.ci95[0]) else [f"95 % {interval(*attenuation.ci95)}"]
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
    factor = f"|dL/dh|{over}: {factor_in_words(attenuation)}"
    loss = f"loss {measurement.loss_value:.4g}, |dL/dx| {scientific(measurement.input_grad_norm)}"
    lines = [wrap(line, hanging="  ") for line in (header(measurement), loss, factor)]
    return "\n".join([*lines, "", layer_text(measurement, all_layers=all_layers, style=style)])
