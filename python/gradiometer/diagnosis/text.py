"""The screen of a diagnosis (verdicts, a line a layer, the likely causes) and that of the cures."""

from __future__ import annotations

from gradiometer.diagnosis.findings import Diagnosis, Finding
from gradiometer.diagnosis.result import CureResult, CureRow
from gradiometer.measurement.text import layer_text
from gradiometer.report.text import Column, Status, Style, Table, Verdict, interval, score, times, verdicts, wrap

__all__ = ["as_verdicts", "causes", "causes_text", "cure_remarks", "cure_table", "cures_text", "diagnosis_text"]

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


def diagnosis_text(diagnosis: Diagnosis, *, all_layers: bool = False, style: Style = PLAIN) -> str:
    """The whole screen, as ``print(diagnosis)`` shows it."""
    parts = [
        verdicts(as_verdicts(diagnosis), style),
        layer_text(diagnosis.measurement, all_layers=all_layers, style=style),
        causes_text(diagnosis, style),
    ]
    return "\n\n".join(part for part in parts if part)


def cure_table(result: CureResult) -> Table:
    """A row a candidate, ranked by validation; those that beat the network as given are numbered."""
    columns = [
        Column(""),
        Column("cures", align="left"),
        Column("trained by", align="left"),
        Column("a layer", times),
        Column("val", metric),
        Column("test", metric),
        Column("cost", lambda value: times(value, 2)),
        Column("steps"),
    ]
    rows = [
        (
            place(result, row),
            row.title,
            f"{row.optimizer} {row.rate:g}",
            row.factor,
            row.val,
            row.test if result.samples[2] else None,
            row.cost,
            row.steps,
        )
        for row in result.rows
    ]
    return Table(columns, rows, emphasis=frozenset(i for i, row in enumerate(result.rows) if row.cured))


def metric(value: float) -> str:
    return "diverged" if value == float("-inf") else score(value)


def place(result: CureResult, row: CureRow) -> int | None:
    return result.cured.index(row) + 1 if row.cured else None


def cure_remarks(result: CureResult) -> list[str]:
    """What the table does not say by itself: ties, how far the interval reaches, who did not train."""
    decided = "test" if result.samples[2] else "validation"

    def value_of(row: CureRow) -> float:
        return row.test if result.samples[2] else row.val

    remarks = [f"Numbered: better than the network as given on {decided}."] if result.cured else []
    tied = [row for row in result.cured if row.tied]
    if len(tied) > 1:
        *more, last = (str(place(result, row)) for row in tied)
        places = f"{', '.join(more)} and {last}"
        remarks.append(f"{places} tie on {decided}: the 95 % interval of their paired difference holds 0.")
    if not result.cured:
        remarks.append(f"None beats the network as given on {decided} within this budget.")
    best = result.best
    value, ends = value_of(best), best.test_interval if result.samples[2] else best.val_interval
    of = f"{result.samples[2] or result.samples[1]} samples"
    remarks.append(f"The first has {result.metric} {score(value)} on {decided} (95 % {interval(*ends)}, {of}).")
    flat = [row for row in result.rows if 0.9 < row.factor < 1.1 and value_of(row) < value / 2]
    if flat and result.cured:
        worst = flat[-1]
        reached = metric(value_of(worst))
        remarks.append(f"A factor near 1 is needed, not enough: {worst.title} ({times(worst.factor)}) has {reached}.")
    return [*remarks, *result.notes]


def cures_text(result: CureResult, style: Style = PLAIN) -> str:
    """The table of the cures, the remarks, and the code of the first, as ``print(result)`` shows them."""
    parts = [cure_table(result).text(style=style), "\n".join(wrap(remark) for remark in cure_remarks(result))]
    best = result.best
    if best.cured:
        parts.append(f"{style.bold('paste')}\n{indented(best.code)}")
        parts.append(f"{style.bold('torch')}\n{indented(best.pytorch)}")
    return "\n\n".join(parts)


def indented(code: str) -> str:
    return "\n".join("  " + line for line in code.splitlines())
