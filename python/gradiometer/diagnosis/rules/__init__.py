"""The rules. To add one: a file beside this one with a ``RULE``, and its name in `DISEASES`."""

from __future__ import annotations

from gradiometer.arguments import choice
from gradiometer.diagnosis.findings import Rule
from gradiometer.diagnosis.rules import (
    dead_units,
    double_softmax,
    exploding_gradient,
    exploding_through_time,
    float32_underflow,
    healthy,
    input_lost,
    non_finite,
    saturated,
    short_memory,
    stuck_gates,
    vanishing_gradient,
    vanishing_through_time,
)

__all__ = ["DISEASES", "RULES", "explain", "rule_ids"]

DISEASES: tuple[Rule, ...] = (
    non_finite.RULE,
    double_softmax.RULE,
    vanishing_gradient.RULE,
    exploding_gradient.RULE,
    input_lost.RULE,
    saturated.RULE,
    dead_units.RULE,
    float32_underflow.RULE,
    vanishing_through_time.RULE,
    exploding_through_time.RULE,
    short_memory.RULE,
    stuck_gates.RULE,
)

RULES: tuple[Rule, ...] = (*DISEASES, healthy.rule(DISEASES))


def rule_ids() -> tuple[str, ...]:
    """Ids of all rules, in the order in which they are checked."""
    return tuple(rule.id for rule in RULES)


def explain(id: str) -> str:
    """What the rule `id` means: what it is, why it happens, how it is measured here, what to try.

    Parameters
    ----------
    id : str
        One of `rule_ids`.

    Raises
    ------
    ValueError
        If there is no such rule; the message lists those there are.

    Examples
    --------
    >>> from gradiometer.diagnosis import explain
    >>> print(explain("input-lost").splitlines()[0])
    input-lost: the network forgets its input
    """
    choice("rule", id, rule_ids())
    rule = next(rule for rule in RULES if rule.id == id)
    return f"{rule.id}: {rule.title}\n\n{rule.explain.strip()}\n"
