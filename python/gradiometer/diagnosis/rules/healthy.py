from __future__ import annotations

from gradiometer.diagnosis.findings import Finding, Rule
from gradiometer.measurement.result import Measurement

EXPLAIN = """
What     No other rule fails. Gradient and input pass through the whole depth, units are alive, numbers are
         finite and well inside the range of the dtype.

Measured By running all other rules. It speaks of the network as measured, at this moment, on these samples:
         a network healthy at initialisation can still be trained to pieces, and a factor near 1 is needed
         for training, not enough for it.
"""


def rule(diseases: tuple[Rule, ...]) -> Rule:
    """The rule that holds when none of `diseases` fails or warns."""

    def check(measurement: Measurement) -> Finding | None:
        found = [disease.check(measurement) for disease in diseases]
        if any(finding is not None and finding.status != "ok" for finding in found):
            return None
        return Finding(
            "healthy",
            "ok",
            "gradient and input pass through the whole depth",
            None,
            {"factor": measurement.attenuation.factor},
        )

    return Rule("healthy", "gradient and input pass through", EXPLAIN, check)
