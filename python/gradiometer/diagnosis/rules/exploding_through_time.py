from __future__ import annotations

import math

from gradiometer.diagnosis.findings import Finding, Rule
from gradiometer.diagnosis.through_time import at_first_step
from gradiometer.measurement.result import Measurement
from gradiometer.measurement.time.text import decay_in_words
from gradiometer.report.text import times

EXPLAIN = """
What     The gradient of the last step grows by a factor with every step that it goes back. One long sequence
         then moves the weights further than all others, and training jumps.

Why      Going back one step multiplies by the Jacobian of the step. It can grow only where the largest
         singular value of the recurrent weights exceeds 1/max phi' (necessary, not enough: Pascanu 2013), and
         does so in a random tanh RNN where g^2 E phi'^2 > 1. In an LSTM whose forget gate is open the path
         through h adds to a memory that forgets nothing: with a forget bias of 3 it grows x1.03 a step. With
         layer norm of gain 1 the size of the recurrent weights does not matter; it grows x1.05 a step.

Measured As vanishing-through-time. It fails when the gradient at the first step of the longest sequences is
         more than a hundred times that of the last and the interval of the factor lies above 1; a warning
         where the interval does not.

Try      Clipping the gradient by its norm keeps a step from tearing the weights; a smaller or orthogonal
         recurrent matrix, or a smaller forget bias, keeps it from growing.

Sources  Bengio, Simard, Frasconi 1994; Pascanu, Mikolov, Bengio 2013 (arXiv:1211.5063).
"""

TOTAL = 1e2


def check(measurement: Measurement) -> Finding | None:
    seen = [each for each in measurement.time if each.decay.factor > 1.0]
    if not seen:
        return None
    worst = max(seen, key=lambda each: math.log(each.decay.factor) * each.steps)
    arrives, low = at_first_step(worst), worst.decay.ci95[0]
    evidence = {
        "factor": worst.decay.factor,
        "ci95_low": low,
        "ci95_high": worst.decay.ci95[1],
        "arrives": arrives,
        "steps": float(worst.steps),
    }
    where = (worst.index, worst.index)
    if arrives <= TOTAL:
        return Finding("exploding-through-time", "ok", f"gradient {times(worst.decay.factor)} a step", where, evidence)
    if worst.jacobian is not None:
        cause = (
            f"The recurrent weights are too large: spectral radius {worst.jacobian.spectral_radius:.3g}, largest "
            f"singular value {worst.jacobian.largest_singular:.3g}."
        )
        tries: tuple[str, ...] = ("clip", "orthogonal", "lstm", "gru")
    else:
        cause = "The memory forgets nothing, and the path through h adds to it at every step."
        tries = ("clip", "forget-bias" if worst.cell.startswith("lstm") else "orthogonal")
    return Finding(
        "exploding-through-time",
        "fail" if low > 1.0 else "warn",
        f"{worst.name}: the last step's gradient goes back {decay_in_words(worst.decay)}; over {worst.steps - 1} steps "
        f"it becomes {times(arrives, 0)}",
        where,
        evidence,
        cause,
        tries,
    )


RULE = Rule("exploding-through-time", "the gradient grows with every step back", EXPLAIN, check)
