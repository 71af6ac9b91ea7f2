"""The screen of a diagnosis: verdicts, a line a layer, the likely causes."""

from __future__ import annotations

from gradiometer.diagnose.findings import Diagnosis, Finding
from gradiometer.measure.text import layer_text
from gradiometer.report.text import Status, Style, Verdict, verdicts, wrap

__all__ = ["as_verdicts", "causes", "causes_text", "diagnosis_text"]

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
