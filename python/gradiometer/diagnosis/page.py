"""The report as a page: verdict, curves by layer before and after each cure, the table, how it was measured."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import datetime

from gradiometer import __version__
from gradiometer.diagnosis.charts import metric_chart, spreads_chart, through_chart
from gradiometer.diagnosis.findings import Diagnosis
from gradiometer.diagnosis.result import CureResult
from gradiometer.diagnosis.rules import explain
from gradiometer.diagnosis.text import (
    advice,
    as_verdicts,
    causes,
    code_of,
    cure_remarks,
    cure_table,
    first_row,
    how_to_test,
    rounds_in_words,
)
from gradiometer.measurement.charts import gradient_chart, spread_chart
from gradiometer.measurement.result import Measurement
from gradiometer.measurement.text import factor_in_words, frozen_in_words, header, layer_table
from gradiometer.measurement.time.charts import decay_chart, gates_chart, time_map
from gradiometer.measurement.time.text import decay_in_words, gates_table, horizon_in_words, time_table
from gradiometer.report.page import Chart, Code, Details, Facts, Page, Part, Prose, TableSection

__all__ = ["report"]

TIME_NOTE = (
    "Root mean square over samples of the gradient by the state of each step, by all later paths and losses. Where "
    "lengths differ a column has the samples that run then, near their ends or far from them; the curve beneath counts "
    "back from each sample's own last step."
)

TIME_WORDS = [
    (
        "a step",
        "Factor of the norm of the last step's gradient a step back, over a span that leaves out the first quarter, "
        "with the interval for other samples through the same weights.",
    ),
    (
        "half, 1/1000",
        "The horizon: how many steps back the last step's gradient falls below that share of itself for good. ~ marks "
        "what lies beyond the sequences measured and was carried on by the factor.",
    ),
    (
        "memory path",
        "What comes by the memory alone: the product of the forget gates (of z in a GRU), as they were on these "
        "samples.",
    ),
    ("hidden path", "The rest, which passed through h and the recurrent weights at least once."),
    ("shut, open", "Share of (sample, unit) where a gate is below 0.1 and above 0.9."),
    (
        "bound",
        "Of an RNN: the largest singular value of the recurrent weights times the steepest slope, to the power of the "
        "steps. Below 1 the gradient must vanish, only above 1 it can explode (Pascanu 2013).",
    ),
]


def report(
    diagnosis: Diagnosis,
    cures: CureResult | None = None,
    *,
    title: str = "",
    facts: Sequence[tuple[str, str]] = (),
    data: str = "",
) -> Page:
    """The page of a diagnosis, and of the cures if they were tried.

    Parameters
    ----------
    diagnosis : Diagnosis
    cures : CureResult, optional
    title : str
    facts : sequence of (str, str)
        Names and values for "how it was measured", before our own.
    data : str
        Lines of Python that make ``train`` and ``val``, for the code.
    """
    measurement = diagnosis.measurement
    parts: list[Part] = [*as_verdicts(diagnosis)]
    if found := causes(diagnosis):
        parts.append(Prose("\n\n".join(found), heading="Likely cause"))
    parts += through_time(measurement)
    if len(measurement.hidden) > 1 or not measurement.time:
        parts += curves(measurement)
    if cures is not None:
        parts += cure_parts(cures, data)
    elif untested := advice(diagnosis):
        parts += [Facts(untested, "To try"), Prose(how_to_test(measurement))]
    parts.append(Facts([*facts, *measured(measurement), *(trained(cures) if cures else [])], "How it was measured"))
    parts.append(
        Details(
            f"All {len(measurement.layers)} layers" if len(measurement.layers) > 1 else "The layer",
            [TableSection(layer_table(measurement, hidden_only=False), "Every layer, the output first")],
            heading="Details",
        )
    )
    for finding in diagnosis.findings:
        if finding.status != "ok":
            parts.append(Details(f"What {finding.id} means", [Facts(explained(finding.id))]))
    return Page(
        title or measurement.network,
        parts,
        subtitle=header(measurement),
        footer=f"Gradiometer {__version__}, {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
    )


def explained(id: str) -> list[tuple[str, str]]:
    """The text of a rule as names and paragraphs: a word at the left edge is a name, what is indented goes on."""
    _, *blocks = explain(id).strip().split("\n\n")
    facts: list[tuple[str, str]] = []
    for block in blocks:
        name, _, rest = block.partition(" ")
        words = " ".join((rest if name else block).split())
        if name:
            facts.append((name, words))
        else:
            facts[-1] = (facts[-1][0], f"{facts[-1][1]}\n\n{words}")
    return facts


def curves(measurement: Measurement) -> list[Part]:
    factor = f"Toward the input: {factor_in_words(measurement.attenuation, len(measurement.hidden))}."
    return [
        Chart(
            gradient_chart({"": measurement}),
            note=f"{factor} Theory is started at the top layer's norm.",
            heading="As it is",
        ),
        Chart(
            spread_chart({"": measurement}),
            note="1: samples are unrelated. 0: every sample gives the same pre-activations.",
        ),
    ]


def through_time(measurement: Measurement) -> list[Part]:
    """The recurrent layers: map, what is left by steps back, table, gates of each."""
    seen = measurement.time
    if not seen:
        return []
    top = next((each for each in reversed(seen) if not each.reverse), seen[-1])
    words = f"{top.name}: {decay_in_words(top.decay)}, {horizon_in_words(top.decay)}."
    parts: list[Part] = [
        Chart(time_map(seen), note=TIME_NOTE, heading="Through time"),
        Chart(decay_chart(seen), note=words),
    ]
    gates = [Chart(gates_chart(each)) for each in seen if each.gates]
    parts += gates[-1:] if len(gates) == 1 else []
    parts.append(TableSection(time_table(seen), "Recurrent layers, from the input"))
    if gates:
        parts.append(TableSection(gates_table(seen), "Their gates"))
    if len(gates) > 1:
        parts.append(Details("Gates of every recurrent layer", gates))
    parts.append(Details("What the words mean", [Facts(TIME_WORDS)]))
    return parts


def cure_parts(cures: CureResult, data: str) -> list[Part]:
    parts: list[Part] = [
        Chart(metric_chart(cures), heading="Cures"),
        TableSection(cure_table(cures), "Ranked by validation; each at the best of its learning rates"),
        Prose("\n\n".join(cure_remarks(cures))),
        Chart(through_chart(cures), heading="Before and after"),
    ]
    parts += [Chart(spreads_chart(cures))] if cures.as_given.furthest is None else []
    first = first_row(cures)
    if first is not None:
        headings = (f"The first: {first.title}", "")
        parts += [
            Code(code, label, heading=heading)
            for (label, code), heading in zip(code_of(cures, data), headings, strict=True)
        ]
    return parts


def measured(measurement: Measurement) -> list[tuple[str, str]]:
    first, last = measurement.attenuation.span
    return [
        ("network", f"{measurement.network}, {measurement.parameters} parameters, {measurement.dtype}"),
        ("loss", f"{measurement.loss}, {measurement.loss_value:.4g} on {measurement.samples} samples"),
        ("gradient", "norms of dL/dh over the batch, summed in float64; the loss is a mean over samples"),
        *(
            [("factor a layer", f"from the end points of layers {first}-{last}; interval from the layers' increments")]
            if first < last
            else []
        ),
        *[("trained", words) for words in frozen_in_words(measurement)],
        ("instructions", f"{measurement.isa}, {platform.machine()}"),
        ("subnormals", "flushed to zero by the host program" if measurement.flushes_subnormals else "kept"),
        ("time", f"{1e3 * measurement.seconds:.0f} ms for one pass with all measurements"),
    ]


def trained(cures: CureResult) -> list[tuple[str, str]]:
    train, val, test = cures.samples
    return [
        ("data", f"{train} samples for training, {val} for validation, {test or 'none'} for test"),
        (
            "training",
            f"batches of {cures.batch_size}, the same in the same order for all, seed {cures.seed}; steps: "
            f"{rounds_in_words(cures)}; in the last round the rate falls to x0.3 and x0.09",
        ),
        ("choice", "order and rates by validation alone; test was looked at once, at the end, for the numbers"),
        ("cost", "time of a training step on one thread, relative to the network as given"),
        ("budget", f"{cures.budget:g} s planned, {cures.seconds:.1f} s taken"),
    ]
