"""What a measurement through time looks like: a heat map of time by layer, what is left by steps back, gates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from gradiometer.measurement.time.result import TimeMeasurement
from gradiometer.report.chart import INK, Level, LineChart, Series
from gradiometer.report.heat import HeatMap

__all__ = ["decay_chart", "gates_chart", "layer_names", "reach_chart", "time_charts", "time_map"]

X_LABEL = "step of the sequence (1 the first)"
BACK_LABEL = "steps before the last"


def layer_names(measured: Sequence[TimeMeasurement]) -> list[str]:
    """``"LSTM 64"``, numbered where there are several."""
    several = len({each.index for each in measured}) > 1
    return [f"{each.index} {each.name}" if several else each.name for each in measured]


def time_map(measured: Sequence[TimeMeasurement]) -> HeatMap:
    """Gradient by the state of every step and layer, relative to the last step of the top layer; the layer nearest to
    the input at the bottom."""
    start = max(_last(each) for each in measured if each.index == measured[-1].index)
    steps = max(each.steps for each in measured)
    return HeatMap(
        f"Gradient {'dL/dc' if all(each.grad_c for each in measured) else 'by the state'} by time and layer",
        [float(t + 1) for t in range(steps)],
        [float(place + 1) for place in range(len(measured))],
        [[v / start if start else v for v in each.grad[:steps]] for each in measured],
        x_label=_step_label(measured),
        label="relative to the top layer's end",
        names=layer_names(measured),
    )


def decay_chart(measured: Sequence[TimeMeasurement]) -> LineChart:
    """What is left of the last step's gradient by steps back; by path where there are few layers, an RNN with its
    bound."""
    series: list[Series] = []
    for place, (each, name) in enumerate(zip(measured, layer_names(measured), strict=True)):
        series.append(_decay_line(name, each.decay.norms, place))
        if len(measured) == 1 and each.cell_path is not None and each.hidden_path is not None:
            gate = "f" if each.cell.startswith("lstm") else "z"
            series.append(_decay_line(f"memory (product of {gate})", each.cell_path.norms, 1))
            series.append(_decay_line("through h", each.hidden_path.norms[: _held(each)], 2, first=1))
        if len(measured) == 1 and each.jacobian is not None:
            steps = [float(k) for k in range(len(each.decay.norms))]
            bound = [_power(each.jacobian.bound, k) for k in steps]
            if bound[-1] < 1e6:
                series.append(Series("bound", steps, bound, "dashed", colour=INK))
    return LineChart(
        "What is left of the last step's gradient",
        series,
        x_label=BACK_LABEL,
        y_label="relative to the last step",
        levels=[Level(1e-3, "1/1000")],
    )


def time_charts(measured: Sequence[TimeMeasurement]) -> list[HeatMap | LineChart]:
    """All of them: the map, what is left, and the gates of the top layer, if it has some."""
    top = next((each for each in reversed(measured) if not each.reverse), measured[-1])
    return [time_map(measured), decay_chart(measured), *([gates_chart(top)] if top.gates else [])]


def reach_chart(by_name: Mapping[str, TimeMeasurement], when: str = "") -> LineChart:
    """The same of one layer in several networks."""
    return LineChart(
        f"What is left of the last step's gradient{when}",
        [
            Series(
                name,
                [float(k) for k in range(len(each.decay.norms))],
                list(each.decay.norms),
                "dashed" if name == "as given" else "solid",
            )
            for name, each in by_name.items()
        ],
        x_label=BACK_LABEL,
        y_label="relative to the last step",
        levels=[Level(1e-3, "1/1000")],
    )


def gates_chart(measured: TimeMeasurement) -> LineChart:
    """Mean of each gate by step, and dashed in its colour the share of (sample, unit) below 0.1 or above 0.9."""
    steps = [float(t + 1) for t in range(measured.steps)]
    return LineChart(
        f"Gates of {measured.name}, layer {measured.index}: mean; dashed the share beyond 0.1 and 0.9",
        [
            line
            for place, gate in enumerate(measured.gates)
            for line in (
                Series(gate.name, steps, list(gate.mean[: measured.steps]), colour=place),
                Series(
                    "",
                    steps,
                    [a + b for a, b in zip(gate.shut, gate.open, strict=True)][: measured.steps],
                    "dashed",
                    colour=place,
                ),
            )
        ],
        x_label=X_LABEL,
        y_label="gate",
        log=False,
    )


def _decay_line(name: str, norms: Sequence[float], colour: int, first: int = 0) -> Series:
    return Series(name, [float(k) for k in range(first, len(norms))], list(norms[first:]), colour=colour)


def _step_label(measured: Sequence[TimeMeasurement]) -> str:
    """Of unequal lengths that they end apart: a column is no number of steps before the last."""
    rows = measured[0].rows
    shortest = next((t for t, n in enumerate(rows) if n < rows[0]), measured[0].steps)
    if shortest == measured[0].steps:
        return X_LABEL
    return f"step of the sequence (they end between {shortest} and {measured[0].steps})"


def _held(measured: TimeMeasurement) -> int:
    """Steps back whose gradient float32 holds in full: the hidden path, the whole less the memory's part, is the
    rounding of these two where both are subnormal, and the memory's part where the whole is 0."""
    least = 2.0**-126 * math.sqrt(measured.hidden)
    return next((k for k, norm in enumerate(measured.decay.norms) if norm < least), len(measured.decay.norms))


def _power(base: float, k: float) -> float:
    return math.exp(min(600.0, k * math.log(base))) if base > 0 else 0.0


def _last(measured: TimeMeasurement) -> float:
    """The gradient by the state where the layer ends, of the longest sequences (reverse: its first step)."""
    known = [v for v in measured.grad[: measured.steps] if 0.0 < v < math.inf]
    if not known:
        return 0.0
    return known[0] if measured.reverse else known[-1]
