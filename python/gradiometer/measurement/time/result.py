"""What a measurement through time holds: plain numbers, each with its definition."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Decay", "GateTrace", "Horizon", "Jacobian", "TimeMeasurement"]


@dataclass(frozen=True)
class GateTrace:
    """A gate over time (Karpathy, Johnson, Li 2015, arXiv:1506.02078, count what is saturated in the same way).

    Attributes
    ----------
    name : str
        ``"i"``, ``"f"``, ``"o"`` of an LSTM, ``"r"``, ``"z"`` of a GRU: 0 is shut, 1 open.
    mean : tuple of float
        Over the samples running and the units, by step; NaN where no sample runs.
    shut, open : tuple of float
        Share of (sample, unit) at or below 0.1, and at or above 0.9, by step.
    """

    name: str
    mean: tuple[float, ...]
    shut: tuple[float, ...]
    open: tuple[float, ...]


@dataclass(frozen=True)
class Horizon:
    """How far back the gradient of the last step reaches, in steps.

    Attributes
    ----------
    half, thousandth : float
        The distance beyond which the norm stays below 1/2 and 1/1000 of what it was at the last step, by straight
        lines between steps of ln norm; inf where it does not fall, NaN where too few steps tell.
    half_measured, thousandth_measured : bool
        False where the sequences were too short to see it, and it is extrapolated by the factor a step.
    """

    half: float
    thousandth: float
    half_measured: bool
    thousandth_measured: bool


@dataclass(frozen=True)
class Decay:
    """What is left of the gradient of the last step, by the number of steps back.

    Attributes
    ----------
    norms : tuple of float
        Root mean square over samples of the norm of the gradient by the state k steps before the last, over that at
        the last step. Samples count alike: each one's gradient at the last step is scaled to norm 1.
    factor : float
        ``(norms[b] / norms[a]) ** (1 / (b - a))`` over the span: below 1 the gradient vanishes, above 1 it explodes.
    ci95 : tuple of float
        Interval for `factor` of this network over other samples of the kind (not over other weights, which all
        steps share), from six parts of the span; NaN where it has fewer than two steps.
    span : tuple of int
        ``(a, b)`` in steps before the last; b is the last step that half of the samples have and whose norm has
        digits, a a quarter of it: at first the gradient turns, and does not yet fall at its lasting rate.
    horizon : Horizon
    """

    norms: tuple[float, ...]
    factor: float
    ci95: tuple[float, float]
    span: tuple[int, int]
    horizon: Horizon


@dataclass(frozen=True)
class Jacobian:
    """An RNN's ``dh_T/dh_(T-k)`` against the bounds of Pascanu, Mikolov, Bengio 2013 (arXiv:1211.5063).

    Attributes
    ----------
    largest_singular : float
        Of the recurrent weight matrix.
    spectral_radius : float
        Its largest eigenvalue's size: the rate at which a linear RNN ends up.
    steepest : float
        Largest slope of the activation; 1 for tanh and ReLU.
    bound : float
        ``largest_singular * steepest``. The norm never exceeds ``bound ** k``: below 1 the gradient must vanish, only
        above 1 it can explode.
    steps : tuple of int
        The k at which the product was formed.
    norms : tuple of float
        The largest spectral norm of the product over the samples looked at; of their own last steps.
    """

    largest_singular: float
    spectral_radius: float
    steepest: float
    bound: float
    steps: tuple[int, ...]
    norms: tuple[float, ...]

    @property
    def factor(self) -> float:
        """Factor a step of the longest product."""
        return self.norms[-1] ** (1 / self.steps[-1]) if self.steps else math.nan


@dataclass(frozen=True)
class TimeMeasurement:
    """One recurrent layer in one direction, on one batch of sequences.

    Series are by step of the sequence, the first step first, whatever the direction; those of `decay` count steps
    back from the last that the layer takes (of a reverse layer the sequence's first). ``L`` is the loss as stated.

    Attributes
    ----------
    index : int
        Place among the recurrent layers, 1 nearest to the input; both directions of a layer have the same.
    name : str
        For example ``"LSTM 128"`` or ``"LSTM 128 reverse"``.
    cell : str
        ``"lstm"``, ``"lstm_norm"``, ``"gru"``, ``"gru_reset_before"``, ``"rnn_tanh"`` or ``"rnn_relu"``.
    reverse : bool
    fan_in, hidden : int
        Features of the input and units.
    steps : int
        Of the longest sequence.
    rows : tuple of int
        Samples that run, by step.
    grad_h, grad_c : tuple of float
        Root mean square over the samples running of the norm of ``dL/dh_t`` and, of an LSTM, ``dL/dc_t``, each by all
        later paths and by the loss at the step itself; NaN where no sample runs. `grad_c` is empty without a memory.
    h_rms, c_rms : tuple of float
        Root mean square of ``h_t`` and ``c_t`` over samples and units.
    gates : tuple of GateTrace
        Empty for an RNN.
    decay : Decay
        Of the gradient by ``c_t`` of an LSTM, by ``h_t`` else, that the loss has at each sample's last step, through
        this layer alone.
    cell_path : Decay or None
        The part of it that comes by the memory alone: the product of the forget gates, of z in a GRU, as they were on
        these samples. None for an RNN.
    hidden_path : Decay or None
        The rest: what passed through ``h`` and the recurrent weights at least once. Relative to the same norm.
    theory : float
        Factor a step that mean field theory gives an RNN with independent random weights, ``sqrt(g^2 E phi'^2)`` at
        the fixed point of ``q = g^2 E phi^2 + input variance``; NaN where it says nothing.
    jacobian : Jacobian or None
        Of an RNN.
    random_direction : bool
        True where the loss has no gradient at any last step, and `decay` is that of random ones.
    """

    index: int
    name: str
    cell: str
    reverse: bool
    fan_in: int
    hidden: int
    steps: int
    rows: tuple[int, ...]
    grad_h: tuple[float, ...]
    grad_c: tuple[float, ...]
    h_rms: tuple[float, ...]
    c_rms: tuple[float, ...]
    gates: tuple[GateTrace, ...]
    decay: Decay
    cell_path: Decay | None
    hidden_path: Decay | None
    theory: float
    jacobian: Jacobian | None
    random_direction: bool

    @property
    def grad(self) -> tuple[float, ...]:
        """`grad_c` of an LSTM, `grad_h` else: the gradient by what carries the state."""
        return self.grad_c or self.grad_h

    @property
    def horizon(self) -> Horizon:
        """That of `decay`."""
        return self.decay.horizon

    def __repr__(self) -> str:
        from gradiometer.measurement.time.text import time_line

        return time_line(self)
