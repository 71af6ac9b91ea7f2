"""A recurrent layer in words: a line, and the lines of a screen."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradiometer.measurement.time.result import Decay, TimeMeasurement
from gradiometer.report.text import Column, Table, interval, score, times

__all__ = [
    "compact_table",
    "decay_in_words",
    "gates_table",
    "horizon_in_words",
    "reach",
    "sparkline",
    "time_line",
    "time_lines",
    "time_table",
]

LEVELS = "▁▂▃▄▅▆▇█"
WIDTH = 32


def decay_in_words(decay: Decay) -> str:
    """The factor a step with its interval.

    >>> from gradiometer.measurement.time.result import Horizon
    >>> decay_in_words(Decay((1.0, 0.5), 0.5, (0.4, 0.6), (0, 8), Horizon(1.0, 10.0, True, False)))
    'x0.500 a step (95 % 0.400-0.600)'
    """
    if math.isnan(decay.factor):
        return "no factor: too few steps with a gradient"
    known = [] if math.isnan(decay.ci95[0]) else [f" (95 % {interval(*decay.ci95)})"]
    return f"{times(decay.factor)} a step{''.join(known)}"


def reach(steps: float, measured: bool) -> str:
    """A distance in steps, rounded up: that far back it is seen to be below. One that was extrapolated has a ``~``.

    >>> reach(12.3, True), reach(0.25, True), reach(140.0, False), reach(math.inf, False)
    ('13', '0.3', '~140', 'no end')
    """
    if math.isnan(steps):
        return "unknown"
    if math.isinf(steps):
        return "no end"
    tenths = math.ceil(10 * steps - 1e-9)  # 1.0 by straight lines of logarithms may be 1.0 and some ulp
    shown = f"{tenths / 10:.1f}" if tenths < 100 else f"{math.ceil(steps - 1e-9)}"
    if steps >= 1e6:
        shown = f"{steps:.0e}"
    return shown if measured else f"~{shown}"


def horizon_in_words(decay: Decay) -> str:
    """How far back the last step's gradient reaches.

    >>> from gradiometer.measurement.time.result import Horizon
    >>> horizon_in_words(Decay((1.0, 0.5), 0.5, (0.4, 0.6), (0, 8), Horizon(1.0, 10.0, True, False)))
    'half in 1.0 steps, 1/1000 in ~10'
    """
    far = decay.horizon
    half, thousandth = reach(far.half, far.half_measured), reach(far.thousandth, far.thousandth_measured)
    if far.half == math.inf:
        return "does not fall"
    return f"half in {half} steps, 1/1000 in {thousandth}"


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """Logarithms of a series as one line of blocks: the highest full, each level 1/8 of the span, of a decade at least.
    ``·`` where there is 0, ``!`` where a value is not finite.

    >>> sparkline([1e-8, 1e-4, 1.0]), sparkline([0.0, 1.0, 0.5])
    ('▁▄█', '·█▆')
    """
    kept = [values[i * len(values) // min(width, len(values))] for i in range(min(width, len(values)))]
    logs = [math.log10(v) if 0.0 < v < math.inf else math.nan for v in kept]
    known = [v for v in logs if not math.isnan(v)]
    top = max(known, default=0.0)
    step = max(1.0, top - min(known, default=0.0)) / 8
    marks = []
    for value, log in zip(kept, logs, strict=True):
        if math.isnan(log):
            marks.append("·" if value == 0.0 else " " if math.isnan(value) else "!")
        else:
            marks.append(LEVELS[max(0, len(LEVELS) - 1 - int((top - log) / step + 1e-9))])
    return "".join(marks)


def gates_in_words(measured: TimeMeasurement) -> str:
    """Mean of each gate over all steps, and where much of it is shut or open.

    For example ``f .73, i .50, o .50``.
    """
    parts = []
    for gate in measured.gates:
        mean = average(gate.mean, measured.rows)
        shut, opened = average(gate.shut, measured.rows), average(gate.open, measured.rows)
        stuck = [f"{share:.0%} {word}" for share, word in ((shut, "shut"), (opened, "open")) if share >= 0.2]
        parts.append(f"{gate.name} {mean:.2f}{f' ({chr(44).join(stuck)})' if stuck else ''}")
    return ", ".join(parts)


def average(by_step: Sequence[float], rows: Sequence[int]) -> float:
    """Over all steps, each as often as samples run."""
    seen = [(value, n) for value, n in zip(by_step, rows, strict=True) if n]
    return math.fsum(value * n for value, n in seen) / sum(n for _, n in seen) if seen else math.nan


def furthest(measured: Sequence[TimeMeasurement]) -> TimeMeasurement:
    """The layer by which the gradient of the last step reaches furthest back: a long way needs one that passes it."""
    return max(measured, key=lambda each: (each.horizon.thousandth, each.decay.factor))


def time_line(measured: TimeMeasurement) -> str:
    """A layer in a line, as ``repr`` shows it."""
    said = [f"{measured.steps} steps", decay_in_words(measured.decay), horizon_in_words(measured.decay)]
    return f"<TimeMeasurement {measured.index} {measured.name}: {', '.join(said)}>"


def time_lines(measured: TimeMeasurement) -> list[str]:
    """A layer on a screen: factor and horizon, the gradient over time, paths, gates."""
    state = "dL/dc" if measured.grad_c else "dL/dh"
    title = f"{measured.name}, layer {measured.index}: last step's {state} {decay_in_words(measured.decay)}"
    by_loss = [v for v in measured.grad if not math.isnan(v)]
    lines = [title, f"  horizon {horizon_in_words(measured.decay)}"]
    if measured.random_direction:
        lines.append("  (in a random direction: the loss has no gradient at the last step)")
    lines.append(f"  |{state}| {sparkline(by_loss)}  first step to last")
    if measured.cell_path is not None and measured.hidden_path is not None:
        gate = "f" if measured.cell.startswith("lstm") else "z"
        lines.append(
            f"  by the memory alone (product of {gate}) {times(measured.cell_path.factor)}, through h "
            f"{times(measured.hidden_path.factor)} a step"
        )
    if measured.gates:
        lines.append(f"  gates {gates_in_words(measured)}")
    if measured.jacobian is not None:
        bounds = measured.jacobian
        theory = "" if math.isnan(measured.theory) else f", theory {times(measured.theory)}"
        lines.append(
            f"  largest singular value {bounds.largest_singular:.3g} (bound), spectral radius "
            f"{bounds.spectral_radius:.3g}{theory}"
        )
    return lines


def compact_table(measured: Sequence[TimeMeasurement]) -> Table:
    """A line a layer and direction for a terminal: factor a step, horizon, the gradient over time, gates."""
    columns = [
        Column("", align="left"),
        Column("a step", times),
        Column("half in"),
        Column("1/1000"),
        Column("gradient by step", align="left", terminal_only=True),
        Column("gates", align="left"),
    ]
    rows = []
    for each in measured:
        far = each.decay.horizon
        gates = [f"{gate.name} {score(average(gate.mean, each.rows), 2)}" for gate in each.gates]
        rows.append(
            (
                f"{each.index} {each.name}".replace("reverse", "rev"),
                None if math.isnan(each.decay.factor) else each.decay.factor,
                reach(far.half, far.half_measured),
                reach(far.thousandth, far.thousandth_measured),
                sparkline([v for v in each.grad if not math.isnan(v)], 16),
                " ".join(gates),
            )
        )
    shown = columns if any(each.gates for each in measured) else columns[:-1]
    return Table(shown, [row[: len(shown)] for row in rows])


def time_table(measured: Sequence[TimeMeasurement]) -> Table:
    """A row a layer and direction."""
    columns = [
        Column("layer"),
        Column("cell", align="left"),
        Column("a step", times),
        Column("95 %", lambda ends: interval(*ends)),
        Column("half in"),
        Column("1/1000 in"),
        Column("memory path", times),
        Column("hidden path", times),
    ]
    rows = [_row(each) for each in measured]
    kept = [i for i in range(len(columns)) if any(row[i] not in (None, "") for row in rows)]
    return Table([columns[i] for i in kept], [tuple(row[i] for i in kept) for row in rows])


def gates_table(measured: Sequence[TimeMeasurement]) -> Table:
    """The gates of every layer and direction that has some: beside the numbers of `time_table` a page has no room."""
    rows = [(each.index, each.name, gates_in_words(each)) for each in measured if each.gates]
    return Table([Column("layer"), Column("cell", align="left"), Column("gates", align="left")], rows)


def _row(measured: TimeMeasurement) -> tuple[object, ...]:
    decay, far = measured.decay, measured.decay.horizon

    def factor(of: Decay | None) -> float | None:
        return None if of is None or math.isnan(of.factor) else of.factor

    return (
        measured.index,
        measured.name,
        factor(decay),
        None if math.isnan(decay.ci95[0]) else decay.ci95,
        reach(far.half, far.half_measured),
        reach(far.thousandth, far.thousandth_measured),
        factor(measured.cell_path),
        factor(measured.hidden_path),
    )
