"""What `cure` found: a row for each candidate, and all of it measured in the run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gradiometer.diagnosis.saved import Reported
from gradiometer.measurement.result import Measurement
from gradiometer.measurement.time import TimeMeasurement
from gradiometer.measurement.time.text import furthest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gradiometer.diagnosis.findings import Diagnosis
    from gradiometer.networks import Sequential
    from gradiometer.report.page import Page

__all__ = ["LEAST_STEPS", "CureResult", "CureRow"]

LEAST_STEPS = 50
"""A row with fewer steps is not numbered: after so few, ranks are those of the warm-up."""


@dataclass(frozen=True)
class CureRow:
    """One candidate, at the best of its learning rates.

    Attributes
    ----------
    id, title : str
        Of the cure; ``"as-given"`` is the network untouched.
    optimizer : str
    rate : float
        The learning rate with the best validation metric after the first round.
    val, test : float
        Metric after the last round it took part in, larger being better; minus infinity if training diverged, NaN
        for `test` without a test set. Only `val` has ever decided anything.
    val_interval, test_interval : tuple of float
        95 % from the number of samples.
    cured : bool
        Whether it beats the network as given beyond the 95 % interval of the paired difference, on the test set or,
        without one, on the validation set, both having trained for `LEAST_STEPS` or more.
    tied : bool
        Whether that interval against the first row holds 0.
    cost : float
        Seconds a training step, the fastest of all that were made, over those of the network as given; NaN where
        too few were made.
    step_seconds, seconds : float
        Of one training step on one thread, and of all steps of the best rate.
    steps : int
        Steps that the best rate was trained for.
    code, pytorch : str
        What builds and trains it, with Gradiometer and with PyTorch.
    measurement : Measurement
        At initialisation.
    network : Sequential
        The trained network.
    """

    id: str
    title: str
    optimizer: str
    rate: float
    val: float
    test: float
    val_interval: tuple[float, float]
    test_interval: tuple[float, float]
    cured: bool
    tied: bool
    cost: float
    step_seconds: float
    seconds: float
    steps: int
    code: str
    pytorch: str
    measurement: Measurement = field(repr=False)
    network: Sequential = field(repr=False, compare=False)

    @property
    def factor(self) -> float:
        """Factor of the norm of ``dL/dh`` a layer, at initialisation."""
        return self.measurement.attenuation.factor

    @property
    def furthest(self) -> TimeMeasurement | None:
        """The recurrent layer by which the last step's gradient reaches furthest back, at initialisation; None without
        one."""
        seen = self.measurement.time
        return furthest(seen) if seen else None

    def __repr__(self) -> str:
        from gradiometer.diagnosis.text import row_line

        return row_line(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers; of the measurement the attenuation and two curves over the layers."""
        names = [name for name in self.__dataclass_fields__ if name not in ("measurement", "network")]
        hidden, far = self.measurement.hidden, self.furthest
        in_time = {} if far is None else {"step_factor": far.decay.factor, "horizon": far.horizon.thousandth}
        return {
            **{name: getattr(self, name) for name in names},
            **in_time,
            "factor": self.factor,
            "factor_ci95": self.measurement.attenuation.ci95,
            "grad_norm": [layer.grad_norm for layer in hidden],
            "sample_spread": [layer.sample_spread for layer in hidden],
        }


@dataclass(frozen=True)
class CureResult(Reported):
    """All candidates, ranked by validation metric.

    Attributes
    ----------
    rows : tuple of CureRow
    metric : str
        ``"accuracy"`` or ``"r2"``.
    loss : str
    network : str
        Shape of the network given, in one line.
    samples : tuple of int
        In the training, validation and test set (0 without one).
    batch_size, seed : int
    rounds : tuple of int
        Steps of each round.
    budget, seconds : float
        Asked for, or planned where nothing was asked for, and taken.
    notes : tuple of str
        What was left out, and why.
    diagnosis : Diagnosis
        Of the network as given.
    """

    rows: tuple[CureRow, ...]
    metric: str
    loss: str
    network: str
    samples: tuple[int, int, int]
    batch_size: int
    seed: int
    rounds: tuple[int, ...]
    budget: float
    seconds: float
    notes: tuple[str, ...]
    diagnosis: Diagnosis = field(repr=False)

    @property
    def best(self) -> CureRow:
        """The first row."""
        return self.rows[0]

    @property
    def cured(self) -> tuple[CureRow, ...]:
        """The rows that beat the network as given."""
        return tuple(row for row in self.rows if row.cured)

    @property
    def as_given(self) -> CureRow:
        """The row of the network untouched."""
        return next(row for row in self.rows if row.id == "as-given")

    def to_dict(self) -> dict[str, Any]:
        """Nested dictionaries and lists of plain numbers and words."""
        names = [name for name in self.__dataclass_fields__ if name not in ("rows", "diagnosis")]
        return {
            **{name: getattr(self, name) for name in names},
            "rows": [row.to_dict() for row in self.rows],
            "diagnosis": self.diagnosis.to_dict(),
        }

    def _page(self, title: str, facts: Sequence[tuple[str, str]]) -> Page:
        from gradiometer.diagnosis.page import report

        return report(self.diagnosis, self, title=title, facts=facts)

    def plot(self, path: str | os.PathLike[str] | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw the metric of every cure with its 95 % interval, and below it |dL/dh| by layer before and after (of a
        recurrent network what is left of the last step's gradient by steps back).

        Parameters
        ----------
        path : path, optional
            Where to save the figure: ``.png``, ``.svg`` or ``.pdf``.
        ax : matplotlib.axes.Axes, optional
            Axes to draw the metric into, and nothing else; default: a new figure, no state of pyplot.

        Returns
        -------
        matplotlib.axes.Axes
            Of the metric; the gradients are in ``ax.figure.axes[1]``.

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError, TypeError
            For a path with another ending, or an `ax` that is none.
        """
        from gradiometer import plotting
        from gradiometer.diagnosis.charts import metric_chart, through_chart

        return plotting.draw([metric_chart(self), through_chart(self)], path, ax=ax)

    def __repr__(self) -> str:
        from gradiometer.diagnosis.text import cures_line

        return cures_line(self)

    def _repr_html_(self) -> str:
        from gradiometer.diagnosis.notebook import cures_html

        return cures_html(self)

    def __str__(self) -> str:
        from gradiometer.diagnosis.text import cures_text

        return cures_text(self)
