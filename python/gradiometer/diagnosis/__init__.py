"""Rules that read a `Measurement` and say what is wrong, and cures that are built, trained and compared."""

from __future__ import annotations

from gradiometer.diagnosis.cures import cure_ids
from gradiometer.diagnosis.experiment import cure
from gradiometer.diagnosis.findings import Diagnosis, Finding, Rule
from gradiometer.diagnosis.result import CureResult, CureRow
from gradiometer.diagnosis.rules import RULES, explain, rule_ids
from gradiometer.measurement.result import Measurement

__all__ = [
    "CureResult",
    "CureRow",
    "Diagnosis",
    "Finding",
    "Rule",
    "cure",
    "cure_ids",
    "diagnose",
    "explain",
    "rule_ids",
]


def diagnose(measurement: Measurement) -> Diagnosis:
    """What is wrong with a measured network, where, by what evidence and from what likely cause.

    Parameters
    ----------
    measurement : Measurement
        From ``gm.measure``; the rules read nothing else.

    Returns
    -------
    Diagnosis

    Raises
    ------
    TypeError
        If `measurement` is not a `Measurement`.
    """
    if not isinstance(measurement, Measurement):
        raise TypeError(f"measurement: expected a Measurement (from gm.measure), got {type(measurement).__name__}")
    found = [finding for rule in RULES if (finding := rule.check(measurement)) is not None]
    rank = {"fail": 0, "warn": 1, "ok": 2}
    return Diagnosis(tuple(sorted(found, key=lambda finding: rank[finding.status])), measurement)
