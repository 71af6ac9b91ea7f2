"""What a rule says about a measurement, and what all rules together say."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from gradiometer.diagnosis.saved import Reported
from gradiometer.measurement.result import Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gradiometer.report.page import Page

__all__ = ["Diagnosis", "Finding", "Rule"]

Status = Literal["fail", "warn", "ok"]


@dataclass(frozen=True)
class Finding:
    """The verdict of one rule.

    Attributes
    ----------
    id : str
        Id of the rule, for example ``"vanishing-gradient"``; ``explain(id)`` tells what it means.
    status : {"fail", "warn", "ok"}
    text : str
        The evidence in one line.
    where : tuple of int or None
        First and last layer concerned, by index; None when it concerns the network as a whole.
    evidence : mapping of str to float
        The numbers that decided.
    cause : str
        One sentence drawn from the numbers; empty when there is nothing to explain.
    tries : tuple of str
        Ids of the cures worth trying, the likeliest first.
    """

    id: str
    status: Status
    text: str
    where: tuple[int, int] | None = None
    evidence: Mapping[str, float] = field(default_factory=dict)
    cause: str = ""
    tries: tuple[str, ...] = ()

    @property
    def layers(self) -> str:
        """`where` in words: ``"layers 1-50"``, ``"layer 7"`` or ``""``."""
        if self.where is None:
            return ""
        first, last = self.where
        return f"layer {first}" if first == last else f"layers {first}-{last}"


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong with a network, or one proof that nothing is.

    Attributes
    ----------
    id, title : str
    explain : str
        What it is, why it happens, the formula, how it is measured here, what to try, sources.
    check : callable
        ``check(measurement)`` reads a `Measurement` and nothing else; None where the rule does not apply.
    """

    id: str
    title: str
    explain: str
    check: Callable[[Measurement], Finding | None]


@dataclass(frozen=True)
class Diagnosis(Reported):
    """All findings about one measurement: failures first, in the order of the rules.

    Attributes
    ----------
    findings : tuple of Finding
    measurement : Measurement
    """

    findings: tuple[Finding, ...]
    measurement: Measurement

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The findings that fail: empty, hence false, for a network in order."""
        return tuple(finding for finding in self.findings if finding.status == "fail")

    @property
    def tries(self) -> tuple[str, ...]:
        """Ids of the cures that the failures and warnings suggest, each once."""
        wanted = (cure for finding in self.findings if finding.status != "ok" for cure in finding.tries)
        return tuple(dict.fromkeys(wanted))

    def to_dict(self) -> dict[str, Any]:
        """Nested dictionaries and lists of plain numbers."""
        findings = [dataclasses.asdict(finding) for finding in self.findings]
        return {"findings": findings, "measurement": self.measurement.to_dict()}

    def plot(self, path: str | os.PathLike[str] | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw the measurement the findings are about, as `Measurement.plot` does."""
        return self.measurement.plot(path, ax=ax)

    def _page(self, title: str, facts: Sequence[tuple[str, str]]) -> Page:
        from gradiometer.diagnosis.page import report

        return report(self, title=title, facts=facts)

    def report(self, *, all: bool = False) -> str:
        """The screen that ``print`` shows; with `all` a line for every layer, the output's too."""
        from gradiometer.diagnosis.text import diagnosis_text

        return diagnosis_text(self, all_layers=all)

    def __repr__(self) -> str:
        said = [f"{finding.status.upper()} {finding.id} {finding.layers}".rstrip() for finding in self.findings]
        shown = [text for text in said if not text.startswith("OK")]
        return f"<Diagnosis {self.measurement.network}: {', '.join(shown) or 'nothing wrong'}>"

    def _repr_html_(self) -> str:
        from gradiometer.diagnosis.notebook import diagnosis_html

        return diagnosis_html(self)

    def __str__(self) -> str:
        return self.report()
