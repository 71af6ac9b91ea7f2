"""The screen of a diagnosis (verdicts, a line a layer, the likely causes) and that of the cures."""

from __future__ import annotations

import math

from gradiometer.diagnosis.cures import CURES
from gradiometer.diagnosis.findings import Diagnosis, Finding
from gradiometer.diagnosis.result import LEAST_STEPS, CureResult, CureRow
from gradiometer.measurement.result import Measurement
from gradiometer.measurement.text import UNFOLD, layer_text, time_text
from gradiometer.measurement.time.text import reach
from gradiometer.report.text import Column, Status, Style, Table, Verdict, interval, score, times, verdicts, wrap

__all__ = [
    "advice",
    "as_verdicts",
    "causes",
    "causes_text",
    "code_of",
    "cure_remarks",
    "cure_table",
    "cures_line",
    "cures_text",
    "diagnosis_text",
    "few_steps",
    "first_row",
    "how_to_test",
    "metric_word",
    "pasted",
    "rounds_in_words",
    "row_line",
]

PLAIN = Style()
WORDS: dict[str, Status] = {"fail": "FAIL", "warn": "WARN", "ok": "ok"}


def as_verdicts(diagnosis: Diagnosis) -> list[Verdict]:
    """A verdict for each failure and warning (or for health), and one line for all that is in order."""
    shown = [finding for finding in diagnosis.findings if finding.status != "ok" or finding.id == "healthy"]
    fine = [finding.text for finding in diagnosis.findings if finding not in shown and finding.text]
    result = [_verdict(finding) for finding in shown]
    if fine:
        result.append(Verdict("ok", ", ".join(fine)))
    return result


def _verdict(finding: Finding) -> Verdict:
    return Verdict(WORDS[finding.status], finding.id, where=finding.layers, evidence=[finding.text])


def causes(diagnosis: Diagnosis) -> tuple[str, ...]:
    """The causes of all failures and warnings, each once."""
    return tuple(dict.fromkeys(f.cause for f in diagnosis.findings if f.status != "ok" and f.cause))


def causes_text(diagnosis: Diagnosis, style: Style = PLAIN) -> str:
    """The causes as paragraphs behind the word ``cause``."""
    lines = [wrap(cause, indent=" " * 7) for cause in causes(diagnosis)]
    text = "\n".join(lines)
    return style.bold("cause") + text[5:] if text else ""


def advice(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    """Id and reason of the cures that the findings suggest, marked as what they are: tried on other networks only."""
    why = {cure.id: cure.why for cure in CURES}
    return [(f"{id} (untested)", why[id]) for id in diagnosis.tries]


def how_to_test(measurement: Measurement) -> str:
    """What puts the advice to the test, for those who call from Python."""
    if measurement.isa.startswith("torch"):
        return (
            "gm.cure(gm.torch.convert(model), train, val) puts them to the test; where convert refuses the model, "
            "they stay untested."
        )
    return "gm.cure(net, train, val) puts them to the test."


def advice_text(diagnosis: Diagnosis, style: Style = PLAIN, how: str = "") -> str:
    """The advice as paragraphs behind the word ``try``, and how to test it."""
    said = [f"{id}: {why[:1].lower()}{why[1:]}" for id, why in advice(diagnosis)]
    if not said:
        return ""
    text = "\n".join(wrap(line, indent=" " * 7) for line in [*said, how or how_to_test(diagnosis.measurement)])
    return style.bold("try") + text[3:]


def diagnosis_text(
    diagnosis: Diagnosis, *, all_layers: bool = False, style: Style = PLAIN, unfold: str = UNFOLD, how: str | None = ""
) -> str:
    """The whole screen, as ``print(diagnosis)`` shows it.

    Parameters
    ----------
    diagnosis : Diagnosis
    all_layers : bool
    style : Style
    unfold : str
        How to see all layers.
    how : str, optional
        How to test what is advised (default: from Python); None where the tests follow, and take the advice's place.
    """
    parts = [
        verdicts(as_verdicts(diagnosis), style),
        layer_text(diagnosis.measurement, all_layers=all_layers, style=style, unfold=unfold),
        time_text(diagnosis.measurement, all_layers=all_layers, style=style),
        causes_text(diagnosis, style),
        "" if how is None else advice_text(diagnosis, style, how),
    ]
    return "\n\n".join(part for part in parts if part)


def cure_table(result: CureResult) -> Table:
    """A row a candidate, ranked by validation; those that beat the network as given are numbered."""
    in_time = result.as_given.furthest is not None
    way = [Column("a step", times), Column("1/1000 in")] if in_time else [Column("a layer", times)]
    columns = [
        Column(""),
        Column("cures", align="left"),
        *way,
        Column("val", metric),
        Column("test", metric),
        Column("trained by", align="left"),
        Column("cost", lambda value: times(value, 2)),
        Column("steps"),
    ]
    rows = [
        (
            place(result, row),
            row.title,
            *on_the_way(row),
            row.val,
            row.test if result.samples[2] else None,
            f"{row.optimizer} {row.rate:g}",
            None if math.isnan(row.cost) else row.cost,
            row.steps,
        )
        for row in result.rows
    ]
    return Table(columns, rows, emphasis=frozenset(i for i, row in enumerate(result.rows) if row.cured))


def on_the_way(row: CureRow) -> tuple[float | str, ...]:
    """Factor a layer; or factor a step and horizon."""
    far = row.furthest
    if far is None:
        return (row.factor,)
    return (far.decay.factor, reach(far.horizon.thousandth, far.horizon.thousandth_measured))


def metric_word(result: CureResult) -> str:
    """The metric as it is written."""
    return {"r2": "R^2"}.get(result.metric, result.metric)


def metric(value: float) -> str:
    return "diverged" if value == float("-inf") else score(value)


def place(result: CureResult, row: CureRow) -> int | None:
    return result.cured.index(row) + 1 if row.cured else None


def few_steps(result: CureResult) -> str:
    """A warning where no row has trained for long enough to be ranked; empty elsewhere."""
    most = max(row.steps for row in result.rows)
    if most >= LEAST_STEPS:
        return ""
    return (
        f"TOO FEW STEPS: {most} in {result.seconds:.3g} s, {LEAST_STEPS} are needed: ranking not meaningful; use "
        f"--budget or --steps (budget= and steps= of gm.cure)."
    )


def first_row(result: CureResult) -> CureRow | None:
    """The first of those that are numbered."""
    return next(iter(result.cured), None)


def cure_remarks(result: CureResult) -> list[str]:
    """What the table does not say by itself: ties, how far the interval reaches, who did not train."""
    decided = "test" if result.samples[2] else "validation"
    given, first = result.as_given, first_row(result)

    def value_of(row: CureRow) -> float:
        return row.test if result.samples[2] else row.val

    warning = few_steps(result)
    remarks = [warning] if warning else []
    few = [f"{row.title} {row.steps}" for row in result.rows if row.steps < LEAST_STEPS]
    if few and not warning:
        remarks.append(f"Not ranked, too few steps: {'; '.join(few)}.")
    if first is not None:
        remarks.append(f"Numbered: better than the network as given on {decided}.")
    tied = [row for row in result.cured if row.tied]
    if len(tied) > 1:
        *more, last = (str(place(result, row)) for row in tied)
        places = f"{', '.join(more)} and {last}"
        remarks.append(f"{places} tie on {decided}: the 95 % interval of their paired difference holds 0.")
    if first is None and not warning:
        remarks.append(f"None beats the network as given on {decided} within this budget.")
        if failed := result.diagnosis.failed:
            remarks.append(
                f"FAIL {', '.join(finding.id for finding in failed)} is of the network before training; the row as "
                f"given says what {given.steps} steps make of it all the same."
            )
    shown, who = (given, "The network as given") if first is None else (first, "The first")
    value, ends = value_of(shown), shown.test_interval if result.samples[2] else shown.val_interval
    of = f"{result.samples[2] or result.samples[1]} samples"
    if math.isfinite(value):
        remarks.append(f"{who} has {metric_word(result)} {score(value)} on {decided} (95 % {interval(*ends)}, {of}).")
    flat = [row for row in result.rows if 0.9 < row.factor < 1.1 and value_of(row) < value / 2]
    if flat and first is not None:
        worst = flat[-1]
        reached = metric(value_of(worst))
        remarks.append(f"A factor near 1 is needed, not enough: {worst.title} ({times(worst.factor)}) has {reached}.")
    if first is not None and (unhurt := harmless(result, first)):
        remarks.append(
            f"The first, before training, has FAIL {', '.join(unhurt)} as well: in this run that did not keep it from "
            "learning this task."
        )
    tried = {row.id for row in result.rows}
    if left := [id for id in result.diagnosis.tries if id not in tried]:
        remarks.append(f"Advised, but untested on this network: {', '.join(left)}.")
    return [*remarks, f"Steps: {rounds_in_words(result)}.", *result.notes]


def harmless(result: CureResult, row: CureRow) -> list[str]:
    """Ids of the failures that a row has as the network as given has them."""
    from gradiometer.diagnosis import diagnose

    still = {finding.id for finding in diagnose(row.measurement).failed}
    return [finding.id for finding in result.diagnosis.failed if finding.id in still]


def rounds_in_words(result: CureResult) -> str:
    """How long each round was, in steps as the table has them."""
    first, second, last = result.rounds
    words = f"{first} at each learning rate, {second} more at the best, {last} more for the better half and as given"
    made = {row.steps for row in result.rows}
    return words if made <= {first + second, first + second + last} else f"planned were {words}; time ran out before"


def pasted(code: str, data: str = "") -> str:
    """`code` of a row behind the lines that make its ``train`` and ``val``; without those it takes yours."""
    imports, _, rest = code.partition("\n\n")
    lines = data.splitlines()
    more = [line for line in lines if line.startswith("import ")]
    return "\n".join(
        [*dict.fromkeys([*imports.splitlines(), *more]), "", *(line for line in lines if line not in more), rest]
    )


def cures_text(result: CureResult, style: Style = PLAIN, data: str = "") -> str:
    """The table of the cures, the remarks, and the code of the first, as ``print(result)`` shows them.

    `data` are lines of Python that make ``train`` and ``val``, where they are known.
    """
    warning = few_steps(result)
    remarks = "\n".join(wrap(remark) for remark in cure_remarks(result) if remark != warning)
    parts = [style.bold(wrap(warning)) if warning else "", cure_table(result).text(style=style), remarks]
    parts += [f"{style.bold(word)}\n{indented(code)}" for word, code in code_of(result, data, ("paste", "torch"))]
    return "\n\n".join(part for part in parts if part)


def code_of(
    result: CureResult, data: str = "", labels: tuple[str, str] = ("Gradiometer", "PyTorch")
) -> list[tuple[str, str]]:
    """The code of the first that is numbered, for Gradiometer and for PyTorch, each behind its label."""
    first = first_row(result)
    return [] if first is None else [(labels[0], pasted(first.code, data)), (labels[1], first.pytorch)]


def row_line(row: CureRow) -> str:
    """A row in a line, as ``repr`` shows it."""
    test = "" if math.isnan(row.test) else f", test {metric(row.test)}"
    by = f"{row.optimizer} {row.rate:g}, {row.steps} steps"
    far = row.furthest
    way = f"{times(row.factor)} a layer" if far is None else f"{times(far.decay.factor)} a step"
    return f"<CureRow {row.id}: {by}, val {metric(row.val)}{test}, {way}>"


def cures_line(result: CureResult) -> str:
    """All rows in a few lines, as ``repr`` shows them."""
    beat = f"{len(result.cured)} of {len(result.rows) - 1} beat it as given"
    lines = [f"<CureResult {result.network}: {beat}", *(f"  {row_line(row)}" for row in result.rows[:3])]
    return "\n".join([*lines, *(["  ..."] if len(result.rows) > 3 else [])]) + ">"


def indented(code: str) -> str:
    return "\n".join("  " * bool(line) + line for line in code.splitlines())
