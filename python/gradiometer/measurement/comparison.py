"""Several measurements side by side."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from gradiometer.measurement.charts import gradient_chart, spread_chart
from gradiometer.measurement.result import Measurement
from gradiometer.measurement.text import factor_in_words, known_interval
from gradiometer.measurement.time.charts import reach_chart
from gradiometer.measurement.time.text import furthest, reach
from gradiometer.report.chart import LineChart
from gradiometer.report.notebook import fragment
from gradiometer.report.text import Column, Table, interval, scientific, times

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Comparison", "compare"]


class Measured(Protocol):
    """A result that keeps the measurement it is about, as a `Diagnosis` or a `CureRow` does."""

    @property
    def measurement(self) -> Measurement: ...


@dataclass(frozen=True)
class Comparison:
    """Measurements under names, in the order given.

    Attributes
    ----------
    names : tuple of str
    measurements : tuple of Measurement
    """

    names: tuple[str, ...]
    measurements: tuple[Measurement, ...]

    @property
    def by_name(self) -> dict[str, Measurement]:
        """Name to `Measurement`."""
        return dict(zip(self.names, self.measurements, strict=True))

    def table(self) -> Table:
        """A row a measurement: factor a layer, its interval, theory's, |dL/dh| of the first hidden layer over that of
        the last, spread between samples in the last; of recurrent networks factor a step, its interval and the horizon
        to 1/1000."""
        if any(m.time for m in self.measurements):
            columns = [
                Column("network", align="left"),
                Column("a step", times),
                Column("95 %", lambda ends: interval(*ends)),
                Column("1/1000 in"),
            ]
            return Table(columns, [_row_in_time(name, m) for name, m in self.by_name.items()])
        columns = [
            Column("network", align="left"),
            Column("a layer", times),
            Column("95 %", lambda ends: interval(*ends)),
            Column("theory", times),
            Column("total", lambda value: times(value, 2)),
            Column("spread at end", scientific),
        ]
        return Table(columns, [_row(name, m) for name, m in self.by_name.items()])

    def plot(self, path: str | os.PathLike[str] | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw |dL/dh| by layer over one another, and below it the spread between samples; of recurrent networks
        what is left of the last step's gradient by steps back.

        Parameters
        ----------
        path : path, optional
            Where to save the figure: ``.png``, ``.svg`` or ``.pdf``.
        ax : matplotlib.axes.Axes, optional
            Axes to draw |dL/dh| into, without the spread; default: a new figure, no state of pyplot.

        Returns
        -------
        matplotlib.axes.Axes
            Of |dL/dh|; the spread is in ``ax.figure.axes[1]``.

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError, TypeError
            For a path with another ending, or an `ax` that is none.
        """
        from gradiometer import plotting

        return plotting.draw(self.charts(), path, ax=ax)

    def charts(self) -> list[LineChart]:
        """|dL/dh| and spread by layer; of recurrent networks what is left of the last step's gradient by steps back, in
        the layer that reaches furthest."""
        in_time = {name: furthest(m.time) for name, m in self.by_name.items() if m.time}
        return [reach_chart(in_time)] if in_time else [gradient_chart(self.by_name), spread_chart(self.by_name)]

    def __repr__(self) -> str:
        named = [f"{name} {factor_in_words(m.attenuation, len(m.hidden))}" for name, m in self.by_name.items()]
        return f"<Comparison of {len(named)}: {'; '.join(named[:3])}{'; ...' * (len(named) > 3)}>"

    def _repr_html_(self) -> str:
        return fragment(f"{len(self.names)} networks", [], self.charts(), self.table(), "Side by side")

    def __str__(self) -> str:
        return self.table().text()


def compare(results: Mapping[str, Measurement | Measured], *others: Any) -> Comparison:
    """Put measurements side by side.

    Parameters
    ----------
    results : mapping from name to Measurement
        Or to what holds one as its ``measurement``: a diagnosis, a row of a cure.

    Returns
    -------
    Comparison
        ``print`` it for a table, ``plot`` it for the curves over one another.

    Raises
    ------
    TypeError, ValueError
        If `results` is not a mapping from names to measurements, or empty.

    Examples
    --------
    >>> import gradiometer as gm
    >>> train, _, _ = gm.datasets.digits()
    >>> def measured(activation, init):
    ...     net = gm.mlp(64, [64] * 20, 10, activation=activation, init=init, rng=0)
    ...     return gm.measure(net, *train[:64])
    >>> compared = gm.compare({
    ...     "sigmoid": measured("sigmoid", "xavier_normal"),
    ...     "relu + he": measured("relu", "he_normal"),
    ... })
    >>> str(compared).splitlines()[0].split()
    ['network', 'a', 'layer', '95', '%', 'theory', 'total', 'spread', 'at', 'end']
    """
    if others or not isinstance(results, Mapping):
        count = f" and {len(others)} more" if others else ""
        raise TypeError(
            f"results is {type(results).__name__}{count}; expected a mapping from names to measurements, as "
            '{"a": first, "b": second}'
        )
    if not results:
        raise ValueError("results is empty; expected one measurement or more")
    return Comparison(
        tuple(_name(name) for name in results), tuple(_measurement(name, result) for name, result in results.items())
    )


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise TypeError(f"results has the name {name!r}; expected a str that is not empty")
    return name


def _measurement(name: str, result: Any) -> Measurement:
    found = result if isinstance(result, Measurement) else getattr(result, "measurement", None)
    if not isinstance(found, Measurement):
        raise TypeError(f"results[{name!r}] is {type(result).__name__}; expected a Measurement or what holds one")
    return found


def _row(name: str, measurement: Measurement) -> tuple[Any, ...]:
    attenuation = measurement.attenuation
    layers = measurement.hidden or measurement.layers
    first, last = layers[0].grad_norm, layers[-1].grad_norm
    return (
        name,
        attenuation.factor,
        known_interval(attenuation),
        None if math.isnan(attenuation.theory) else attenuation.theory,
        first / last if last and len(layers) > 1 else None,
        layers[-1].sample_spread,
    )


def _row_in_time(name: str, measurement: Measurement) -> tuple[Any, ...]:
    if not measurement.time:
        return (name, None, None, None)
    decay = furthest(measurement.time).decay
    far = decay.horizon
    return (
        name,
        None if math.isnan(decay.factor) else decay.factor,
        None if math.isnan(decay.ci95[0]) else decay.ci95,
        reach(far.thousandth, far.thousandth_measured),
    )
