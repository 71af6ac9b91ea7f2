"""What a measurement holds: plain numbers, each with its definition. Rules and reports read this and nothing else."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradiometer.measurement.time.result import TimeMeasurement
from gradiometer.report.numbers import AsJson

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Attenuation", "LayerMeasurement", "Measurement"]


@dataclass(frozen=True)
class LayerMeasurement:
    """One layer of a measured network: a ``Linear`` with the norm and the activation that follow it, and the
    addition that closes its residual block if there is one.

    Letters: ``a`` is the pre-activation (what enters the activation), ``h`` the layer's output, ``L`` the loss as
    stated (mean over the batch, no hidden scaling). All statistics are accumulated in float64.

    Attributes
    ----------
    index : int
        1 for the layer nearest to the input.
    name : str
        Readable, for example ``"Linear 128 sigmoid"``.
    role : str
        ``"hidden"``, or ``"output"`` for the last layer.
    fan_in, fan_out : int
        Width of the weight matrix.
    activation, norm : str or None
        Name of the activation and of the norm before it.
    residual : bool
        Whether the layer's output is a sum with an earlier one.
    pre_mean, pre_var, out_mean, out_var : float
        Mean and variance over samples and units of ``a`` and of ``h``.
    sample_spread : float
        ``sqrt(mean_j Var_n a_nj / mean_nj a_nj^2)``: 1 when samples are unrelated, 0 when every sample gives the
        same pre-activations (the input is lost). ``sqrt(1 - c)`` of the correlation map. Of sequences samples are
        compared at the same step: j is a unit at a step, n the samples that have that step.
    saturated : float
        Share of (sample, unit) where ``|f'(a)|`` is below 5 % of its maximum; NaN for an activation that does not
        flatten on both sides.
    dead : int
        Units whose ``f'(a)`` is exactly 0 for every sample measured.
    nans, infs : int
        Non-finite numbers among ``a``, ``h`` and ``dL/dh``.
    grad_rms : float
        Root mean square over samples of the norm of ``dL/dh`` of a sample.
    grad_norm : float
        Norm of ``dL/dh`` over the whole batch.
    grad_zeros, grad_subnormals : float
        Share of entries of ``dL/dh`` that are exactly 0, or below the smallest normal number of the dtype.
    factor : float
        Norm of ``dL/dh`` of the layer below (the input, for layer 1) over that of this layer.
    theory : float
        What mean field theory predicts for `factor`; NaN where it says nothing.
    weight_norm, weight_grad_norm, bias_grad_norm : float
        Norms of ``W``, ``dL/dW`` and ``dL/db`` (NaN without a bias).
    gradient_to_weight : float
        ``weight_grad_norm / weight_norm``.
    update_to_weight : float
        Norm of the first step that the optimiser given to ``measure`` would make, over `weight_norm`; NaN without.
    snr : float
        Gradient signal to noise of ``dL/dW``: norm of its mean over samples over the standard deviation of a single
        sample's; NaN unless measured with ``per_sample=True``.
    frozen : tuple of str
        Of ``"weight"`` and ``"bias"`` those that are not trained.
    """

    index: int
    name: str
    role: str
    fan_in: int
    fan_out: int
    activation: str | None
    norm: str | None
    residual: bool
    pre_mean: float
    pre_var: float
    out_mean: float
    out_var: float
    sample_spread: float
    saturated: float
    dead: int
    nans: int
    infs: int
    grad_rms: float
    grad_norm: float
    grad_zeros: float
    grad_subnormals: float
    factor: float
    theory: float
    weight_norm: float
    weight_grad_norm: float
    bias_grad_norm: float
    gradient_to_weight: float
    update_to_weight: float = math.nan
    snr: float = math.nan
    frozen: tuple[str, ...] = ()

    def __repr__(self) -> str:
        from gradiometer.measurement.text import layer_line

        return layer_line(self)


@dataclass(frozen=True)
class Attenuation:
    """How the norm of ``dL/dh`` changes a layer toward the input: below 1 it vanishes, above 1 it explodes.

    Attributes
    ----------
    factor : float
        ``(|dL/dh_a| / |dL/dh_b|) ** (1 / (b - a))`` over the span: from its end points, not by regression (log norm
        over depth is a random walk, and a regression's 95 % interval covers 18 %).
    ci95 : tuple of float
        Interval for `factor` from the standard error of the layers' increments of ln norm.
    theory : float
        The mean field prediction over the same span; NaN where it says nothing.
    span : tuple of int
        ``(a, b)``, indices of layers.
    decay_length : float
        Layers over which the norm changes e-fold, ``1 / |ln factor|``.
    float32_zero_depth : float
        Depth, counted from the output, at which a gradient entry of the size found in the span's last layer
        becomes 0 in float32 (2**-150); inf if it never does.
    """

    factor: float
    ci95: tuple[float, float]
    theory: float
    span: tuple[int, int]
    decay_length: float
    float32_zero_depth: float


@dataclass(frozen=True)
class Measurement(AsJson):
    """A network measured in one pass on one batch (or over a data set), running statistics untouched.

    Attributes
    ----------
    layers : tuple of LayerMeasurement
        In order from the input; the last is the output layer.
    attenuation : Attenuation
    network : str
        Shape in one line, for example ``"64-[128]x50-10"``.
    loss : str
    loss_value : float
        The loss on the samples measured.
    input_grad_norm : float
        Norm of ``dL/dx``.
    samples : int
    parameters : int
    dtype : str
        ``"float32"`` or ``"float64"``.
    isa : str
        Instruction set of the kernels that ran.
    flushes_subnormals : bool
        Whether the host program has switched subnormals off: then tiny gradients read 0.
    seconds : float
        Time the measurement took.
    ends_in : str or None
        ``"softmax"`` or ``"log_softmax"`` where the network's output is one.
    time : tuple of TimeMeasurement
        Every recurrent layer in every direction, step by step; empty for a feed-forward network.
    memory : int or None
        Steps that the task asks to be bridged, where ``measure`` was told.
    """

    layers: tuple[LayerMeasurement, ...]
    attenuation: Attenuation
    network: str
    loss: str
    loss_value: float
    input_grad_norm: float
    samples: int
    parameters: int
    dtype: str
    isa: str
    flushes_subnormals: bool
    seconds: float
    ends_in: str | None = None
    time: tuple[TimeMeasurement, ...] = ()
    memory: int | None = None

    @property
    def hidden(self) -> tuple[LayerMeasurement, ...]:
        """The layers without the output layer."""
        return tuple(layer for layer in self.layers if layer.role == "hidden")

    def to_dict(self) -> dict[str, Any]:
        """Nested dictionaries and lists of plain numbers; non-finite numbers stay floats."""
        return dataclasses.asdict(self)

    def to_csv(self) -> str:
        """A line a layer, with a header."""
        out = io.StringIO()
        names = [f.name for f in dataclasses.fields(LayerMeasurement)]
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(names)
        for layer in self.layers:
            values = [getattr(layer, name) for name in names]
            writer.writerow([" ".join(value) if isinstance(value, tuple) else value for value in values])
        return out.getvalue()

    def plot(self, path: str | os.PathLike[str] | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw |dL/dh| by layer on a log axis with theory's line, and below it the spread between samples; of a
        recurrent network a heat map of time by layer, what is left of the last step's gradient, and the gates.

        Parameters
        ----------
        path : path, optional
            Where to save the figure: ``.png``, ``.svg`` or ``.pdf``.
        ax : matplotlib.axes.Axes, optional
            Axes to draw the first of them into; default: a new figure, no state of pyplot.

        Returns
        -------
        matplotlib.axes.Axes
            Of the first; the others are in ``ax.figure.axes``. Zeros, infinities and NaN are marks on the edge.

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError, TypeError
            For a path with another ending, or an `ax` that is none.
        """
        from gradiometer import plotting
        from gradiometer.measurement.charts import gradient_chart, spread_chart
        from gradiometer.measurement.text import factor_in_words
        from gradiometer.measurement.time.charts import time_charts
        from gradiometer.measurement.time.text import decay_in_words

        if self.time:
            title = f"{self.network}: {decay_in_words(self.time[-1].decay)}"
            return plotting.draw(time_charts(self.time), path, ax=ax, title=title)
        charts = [gradient_chart({"": self}), spread_chart({"": self})]
        title = f"{self.network}: {factor_in_words(self.attenuation, len(self.hidden))}"
        return plotting.draw(charts, path, ax=ax, title=title)

    def report(self, *, all: bool = False) -> str:
        """The screen that ``print`` shows; with `all` a line for every layer, the output's too."""
        from gradiometer.measurement.text import measurement_text

        return measurement_text(self, all_layers=all)

    def __repr__(self) -> str:
        from gradiometer.measurement.text import measurement_line

        return measurement_line(self)

    def _repr_html_(self) -> str:
        from gradiometer.measurement.notebook import measurement_html

        return measurement_html(self)

    def __str__(self) -> str:
        return self.report()
