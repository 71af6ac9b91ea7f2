"""The report as a page: verdict, curves by layer before and after each cure, the table, how it was measured."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from datetime import datetime

from gradiometer import __version__
from gradiometer.diagnosis.findings import Diagnosis
from gradiometer.diagnosis.result import CureResult
from gradiometer.diagnosis.rules import explain
from gradiometer.diagnosis.text import as_verdicts, causes, cure_remarks, cure_table
from gradiometer.measurement.result import Measurement
from gradiometer.measurement.text import factor_in_words, header, layer_table
from gradiometer.report.chart import Bar, BarChart, Level, LineChart, Series
from gradiometer.report.page import Chart, Code, Details, Facts, Page, Part, Prose, TableSection

__all__ = ["report"]

FLOAT32_NORMAL = 2.0**-126


def report(
    diagnosis: Diagnosis, cures: CureResult | None = None, *, title: str = "", facts: Sequence[tuple[str, str]] = ()
) -> Page:
    """The page of a diagnosis, and of the cures if they were tried.

    Parameters
    ----------
    diagnosis : Diagnosis
    cures : CureResult, optional
    title : str
    facts : sequence of (str, str)
        Names and values for "how it was measured", before our own.
    """
    measurement = diagnosis.measurement
    parts: list[Part] = [*as_verdicts(diagnosis)]
    if found := causes(diagnosis):
        parts.append(Prose("\n\n".join(found), heading="Likely cause"))
    parts += curves(measurement)
    if cures is not None:
        parts += cure_parts(cures)
    parts.append(Facts([*facts, *measured(measurement), *(trained(cures) if cures else [])], "How it was measured"))
    parts.append(
        Details(
            f"All {len(measurement.layers)} layers",
            [TableSection(layer_table(measurement, hidden_only=False), "Every layer, the output first")],
            heading="Details",
        )
    )
    for finding in diagnosis.findings:
        if finding.status != "ok":
            parts.append(Details(f"What {finding.id} means", [Code(explain(finding.id))]))
    return Page(
        title or measurement.network,
        parts,
        subtitle=header(measurement),
        footer=f"Gradiometer {__version__}, {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
    )


def curves(measurement: Measurement) -> list[Part]:
    layers = measurement.hidden or measurement.layers
    index = [float(layer.index) for layer in layers]
    norms = [layer.grad_norm for layer in layers]
    series = [Series("measured", index, norms)]
    theory = predicted_norms(measurement)
    if not all(math.isnan(value) for value in theory):
        series.append(Series("theory", index, theory, "dashed"))
    entries = measurement.samples * layers[0].fan_out
    lowest = min((norm for norm in norms if norm > 0.0), default=1.0)
    levels = []
    if measurement.dtype == "float32" and lowest < 1e-25:
        levels.append(Level(FLOAT32_NORMAL * math.sqrt(entries), "entries below float32's smallest normal number"))
    gradient = LineChart(
        "Norm of the gradient dL/dh by layer, from the input to the output",
        series,
        x_label="layer (1 next to the input)",
        y_label="|dL/dh|",
        log=True,
        levels=levels,
    )
    spread = LineChart(
        "Spread between samples by layer",
        [Series("spread", index, [layer.sample_spread for layer in layers])],
        x_label="layer (1 next to the input)",
        y_label="spread",
        log=True,
    )
    factor = f"Toward the input {factor_in_words(measurement.attenuation)}."
    return [
        Chart(gradient, note=f"{factor} Theory is started at the top layer's norm.", heading="As it is"),
        Chart(spread, note="1: samples are unrelated. 0: every sample gives the same pre-activations."),
    ]


def predicted_norms(measurement: Measurement) -> list[float]:
    """Theory's factors multiplied down from the measured norm of the top layer."""
    layers = measurement.hidden or measurement.layers
    norms = [layers[-1].grad_norm]
    for layer in reversed(layers[1:]):
        norms.append(norms[-1] * layer.theory)
    return norms[::-1]


def cure_parts(cures: CureResult) -> list[Part]:
    def by_layer(what: str) -> list[Series]:
        lines = []
        for row in [cures.as_given, *(row for row in cures.rows if row.id != "as-given")]:
            layers = row.measurement.hidden
            values = [getattr(layer, what) for layer in layers]
            if row.id != "adam":  # the same network as the one given
                index = [float(layer.index) for layer in layers]
                lines.append(Series(row.title, index, values, "dashed" if row.id == "as-given" else "solid"))
        return lines

    decided = "test" if cures.samples[2] else "validation"
    bars = []
    for row in cures.rows:
        value = row.test if cures.samples[2] else row.val
        low, high = row.test_interval if cures.samples[2] else row.val_interval
        note = "" if math.isfinite(value) else "diverged"
        bars.append(Bar(row.title, value if not note else math.nan, low, high, note=note, emphasis=row.cured))
    limits = (0.0, 1.0) if cures.metric == "accuracy" else None
    parts: list[Part] = [
        Chart(
            BarChart(f"{cures.metric} on {decided} by cure, with 95 % intervals", bars, limits=limits), heading="Cures"
        ),
        TableSection(cure_table(cures), "Ranked by validation; each at the best of its learning rates"),
        Prose("\n\n".join(cure_remarks(cures))),
        Chart(
            LineChart(
                "Gradient by layer at initialisation, before and after each cure",
                by_layer("grad_norm"),
                x_label="layer (1 next to the input)",
                y_label="|dL/dh|",
            ),
            heading="Before and after",
        ),
        Chart(
            LineChart(
                "Spread between samples by layer, before and after each cure",
                by_layer("sample_spread"),
                x_label="layer (1 next to the input)",
                y_label="spread",
            ),
        ),
    ]
    best = cures.best
    if best.cured:
        parts += [Code(best.code, "Gradiometer", heading=f"The first: {best.title}"), Code(best.pytorch, "PyTorch")]
    return parts


def measured(measurement: Measurement) -> list[tuple[str, str]]:
    first, last = measurement.attenuation.span
    return [
        ("network", f"{measurement.network}, {measurement.parameters} parameters, {measurement.dtype}"),
        ("loss", f"{measurement.loss}, {measurement.loss_value:.4g} on {measurement.samples} samples"),
        ("gradient", "norms of dL/dh over the batch, summed in float64; the loss is a mean over samples"),
        ("factor a layer", f"from the end points of layers {first}-{last}; interval from the layers' increments"),
        ("instructions", f"{measurement.isa}, {platform.machine()}"),
        ("subnormals", "flushed to zero by the host program" if measurement.flushes_subnormals else "kept"),
        ("time", f"{1e3 * measurement.seconds:.0f} ms for one pass with all measurements"),
    ]


def trained(cures: CureResult) -> list[tuple[str, str]]:
    train, val, test = cures.samples
    first, second, last = cures.rounds
    return [
        ("data", f"{train} samples for training, {val} for validation, {test or 'none'} for test"),
        (
            "training",
            f"batches of {cures.batch_size}, the same in the same order for all, seed {cures.seed}; {first} steps at "
            f"each of three rates, {second} more at the best, {last} more for the better half and the network as "
            "given, the rate falling to a tenth",
        ),
        ("choice", "by the validation set alone; the test set was looked at once, at the end"),
        ("cost", "time of a training step on one thread, relative to the network as given"),
        ("budget", f"{cures.budget:g} s asked for, {cures.seconds:.1f} s taken"),
    ]
