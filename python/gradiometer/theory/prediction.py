"""Theory beside a measurement: a net's layers iterated from its real input.

A fixed point would be the wrong place for a short net (it leaves ten times the error in the logarithm of the
rate)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from gradiometer.theory.normalisation import batch_norm_rate
from gradiometer.theory.quadrature import Moments, Parameters, freeze, moments_of, pair_difference

__all__ = ["LayerPrediction", "LayerTheory", "predict"]

_CENTRED = 0.95
"""Share of the pre-activations' mean square that is variance over samples, above which units are taken to be alike."""
_SILENT = Moments(*[math.nan] * 7)


@dataclass(frozen=True)
class LayerTheory:
    """What theory needs to know of a layer ``a = norm(W x + b)``, ``h = phi(a)`` or ``h = x + residual
    phi(a)``.

    Attributes
    ----------
    fan_in, fan_out : int
    weight_variance : float
        `fan_in` times the mean square of W.
    bias_variance : float
        Mean square of b.
    activation : str or None
        Name of phi; None is the identity.
    params : mapping
        Parameters of phi.
    norm : str or None
        ``"batch"``, ``"layer"``, ``"rms"`` or None; theory is silent about others.
    norm_last : bool
        ``h = norm(phi(W x + b))`` instead.
    residual : float or None
        Scale of the branch that is added to the layer's input, None without an addition.
    """

    fan_in: int
    fan_out: int
    weight_variance: float
    bias_variance: float = 0.0
    activation: str | None = None
    params: Mapping[str, float] = field(default_factory=dict)
    norm: str | None = None
    residual: float | None = None
    norm_last: bool = False


@dataclass(frozen=True)
class LayerPrediction:
    """Mean field values of a layer; NaN where theory says nothing.

    Attributes
    ----------
    q : float
        Mean square of the pre-activations (what enters phi).
    second : float
        Mean square of the layer's output h.
    spread : float
        ``sqrt(1 - c)`` of the pre-activations of two samples: 1 for unrelated samples, 0 when the input is
        lost.
    factor : float
        ``|dL/dh|`` of the layer's input over ``|dL/dh|`` of its output.
    scatter : float
        Variance that finite width gives to ``ln factor``, for the gradient of one sample; NaN with batch
        norm and the others.
    """

    q: float
    second: float
    spread: float
    factor: float
    scatter: float


class _Signal(NamedTuple):
    """The output of a layer: mean over units, mean square, mean variance of a unit over samples."""

    mean: float
    second: float
    between: float


def predict(
    layers: Iterable[LayerTheory],
    input_mean_square: float = 1.0,
    batch: int | None = None,
    *,
    input_spread: float = 1.0,
) -> tuple[LayerPrediction, ...]:
    """Mean field prediction for every layer of a net at initialisation.

    Parameters
    ----------
    layers : iterable of LayerTheory
        In order from the input.
    input_mean_square : float
        Mean over samples and features of ``x^2``.
    batch : int, optional
        Samples behind the statistics of batch norm; None is the limit of many.
    input_spread : float
        ``sqrt(mean_j Var_n x_nj / mean_nj x_nj^2)``; 1 for standardised data.

    Returns
    -------
    tuple of LayerPrediction
        One a layer. The norm of ``dL/dh`` at any layer is the norm at the output times the factors above it.

    Notes
    -----
    With ``|W|^2`` spread evenly, ``|W^T (phi' dL/dh)|^2 = weight_variance E phi'^2 |dL/dh|^2`` at any width.
    Batch norm divides that by the variance over samples of ``W x + b``, which is `weight_variance` times that
    of x; layer norm and RMS norm by the mean square of ``W x + b``. A norm after the activation divides by the variance
    (mean square) of ``phi`` instead; batch norm's is the same in all units only where x has no mean over the samples
    and b is small, else theory is silent. In a residual layer the branch's gradient adds in square, and the branch's
    mean adds up in h.

    Without a norm the branch's gradient is not quite orthogonal to the one that skips it: W is independent of
    ``g = dL/dh``, but not of the phi' behind it, and ``W^T (phi' g)`` has a part along x, in proportion to ``1.g``. For
    a random g it is of order 1/N, but where x has a mean ``1.g`` grows layer by layer: over 30 blocks of He-relu scaled
    ``1 / sqrt(30)`` the factor is 1.029 at 128 units instead of 1.017. The gradient at the last layer is taken to have
    no direction; that of a loss which leans on h, as cross-entropy with large outputs does, grows more (1.036 there). A
    normalised branch does not change with the length of x, so it sends nothing along x.

    Examples
    --------
    >>> relu = LayerTheory(100, 100, weight_variance=1.0, activation="relu")
    >>> [round(layer.factor, 6) for layer in predict([relu] * 2)]
    [0.707107, 0.707107]
    """
    signal = _Signal(0.0, input_mean_square, input_mean_square * input_spread**2)
    below: LayerTheory | None = None
    steps = []
    for layer in layers:
        numbers, signal, backward = _step(layer, below, signal, batch)
        steps.append((layer, numbers, backward))
        below = layer
    gradient = _Gradient()
    result = []
    for layer, (q, second, spread, scatter), backward in reversed(steps):
        factor = math.sqrt(gradient.descend(layer, backward))
        result.append(LayerPrediction(q, second, spread, factor, scatter))
    return tuple(reversed(result))


class _Backward(NamedTuple):
    """What a layer does to the gradient: rate of the branch; `slope`, `curve` and `noise` of its part along x (see
    `_Gradient`), all 0 with a norm; mean over units and mean square of the layer's input."""

    branch: float
    slope: float
    curve: float
    noise: float
    mean: float
    second: float


class _Gradient:
    """Second moments of the gradient's directions on the way down, for ``|g|^2`` of 1.

    P is ``1.g``; K is ``N z.g / |z|^2`` for what h has besides its mean, z, which residual layers hand on: the part
    along x that they have sent down is found again below. With ``W = (a - b) x^T / |x|^2`` and a rest that knows
    nothing of a, ``W^T (phi' g) = t x / N`` and a random rest, where ``t = curve P + slope K`` and a fluctuation of
    variance `noise`, from ``(a - b) phi'(a)`` against g: its mean meets P, its covariance with phi(a) meets K.
    """

    pp, pk, kk = 1.0, 0.0, 0.0

    def descend(self, layer: LayerTheory, b: _Backward) -> float:
        """The rate of a layer; from its output to its input."""
        skip, s = (0.0, 1.0) if layer.residual is None else (1.0, layer.residual)
        branch, mean = s**2 * b.branch, b.mean
        rate = skip + branch
        if not (rate > 0 and math.isfinite(rate + b.slope + b.curve + b.noise + b.second)):
            self.pp, self.pk, self.kk = 1.0, 0.0, 0.0
            return rate
        slope = skip * s * b.slope  # what z above holds of this layer's phi(a)
        tp, tk = b.curve * self.pp + slope * self.pk, b.curve * self.pk + slope * self.kk
        tt = b.curve * tp + slope * tk
        if skip:
            rate += (2 * s * (mean * tp + (b.second - mean * mean) * tk) + s**2 * b.second * tt) / layer.fan_out
        pp = skip * (self.pp + 2 * s * mean * tp) + s * mean * s * mean * tt + branch
        pk = skip * (self.pk + s * (tp + mean * tk) + s**2 * mean * (tt + b.noise))
        kk = skip * (self.kk + 2 * s * tk + s**2 * (tt + b.noise))
        if not (rate > 0 and math.isfinite(rate + pp + pk + kk)):  # numbers that leave float64
            self.pp, self.pk, self.kk = 1.0, 0.0, 0.0
            return skip + branch
        self.pp, self.pk, self.kk = pp / rate, pk / rate, kk / rate
        return rate


def _step(
    layer: LayerTheory, below: LayerTheory | None, x: _Signal, batch: int | None
) -> tuple[tuple[float, float, float, float], _Signal, _Backward]:
    """One layer: what is known before the gradient comes down (q, second, spread, scatter), the signal, and what the
    gradient will meet."""
    activation, params = layer.activation or "identity", freeze(layer.params)
    across = layer.weight_variance * x.between
    if layer.norm is None:
        q = layer.weight_variance * x.second + layer.bias_variance
        distance = min(across / q, 1.0) if q > 0 else math.nan
        m = _moments_or_silence(activation, q, params)
        known = math.isfinite(m.second + distance)
        between = pair_difference(activation, q, distance, params) if known else math.nan
        rate = layer.weight_variance * m.slope2
    elif layer.norm in ("batch", "layer", "rms") and layer.norm_last:
        q = layer.weight_variance * x.second + layer.bias_variance
        distance = min(across / q, 1.0) if q > 0 else math.nan
        m = _moments_or_silence(activation, q, params)
        if layer.norm == "batch" and not distance > _CENTRED:
            m = _SILENT
        divisor = m.second if layer.norm == "rms" else m.variance
        rate = layer.weight_variance * m.slope2 / divisor if divisor > 0 else math.nan
        known = layer.norm != "batch" and divisor > 0 and math.isfinite(distance)
        between = pair_difference(activation, q, distance, params) / divisor if known else 1.0
        mean = m.mean / math.sqrt(m.second) if layer.norm == "rms" and m.second > 0 else 0.0
        m = replace(m, mean=mean, second=1.0 if math.isfinite(rate) else math.nan)
    elif layer.norm == "batch":
        q = distance = 1.0
        m = _moments_or_silence(activation, q, params)
        between = m.variance
        rate = layer.weight_variance * m.slope2 / across if across > 0 else math.nan
        rate *= _finite_batch(layer, below, batch, params)
    elif layer.norm in ("layer", "rms"):
        # Over many features the mean square of W x + b is that over its distribution, and its mean is 0.
        before = layer.weight_variance * x.second + layer.bias_variance
        q = 1.0
        distance = min(across / before, 1.0) if before > 0 else math.nan
        m = _moments_or_silence(activation, q, params)
        known = math.isfinite(m.second + distance)
        between = pair_difference(activation, q, distance, params) if known else math.nan
        rate = layer.weight_variance * m.slope2 / before if before > 0 else math.nan
    else:
        q = distance = between = rate = math.nan
        m = _SILENT
    h = _Signal(m.mean, m.second, between)
    tied = layer.weight_variance / q if layer.norm is None and q > 0 else 0.0
    pull = q * m.curvature  # E a phi'
    backward = _Backward(
        rate,
        tied * (m.cross - pull * m.mean),
        tied * pull,
        tied * tied * max(m.pull2 - pull * pull, 0.0),
        x.mean,
        x.second,
    )
    constant = 3.0 * m.slope4 / m.slope2**2 - 1.0 if m.slope2 and layer.norm is None else math.nan
    scatter = constant / (4 * layer.fan_out)
    if layer.residual is not None:
        s = layer.residual
        h = _Signal(
            x.mean + s * h.mean,
            x.second + 2 * s * x.mean * h.mean + s**2 * h.second,
            x.between + s**2 * h.between,
        )
        branch = s**2 * rate
        rate = 1.0 + branch
        # The branch's own scatter, and that of its scalar product with the gradient that skips it.
        scatter = (branch**2 * constant + 4 * branch) / (4 * layer.fan_out * rate**2)
    return (q, h.second, math.sqrt(distance), scatter), h, backward


def _finite_batch(layer: LayerTheory, below: LayerTheory | None, batch: int | None, params: Parameters) -> float:
    """Correction of the rate of batch norm for a small batch, known where the layer below is of the same
    kind."""
    if batch is None:
        return 1.0
    if batch < 2:
        return math.nan
    same = below is not None and (below.norm, below.activation) == (layer.norm, layer.activation)
    if batch > 2 and not (same and layer.residual is None):
        return 1.0
    activation = layer.activation or "identity"
    corrected = batch_norm_rate(activation, batch, gamma=1.0, beta=0.0, **dict(params))
    limit = batch_norm_rate(activation, None, gamma=1.0, beta=0.0, **dict(params))
    return corrected / limit if math.isfinite(corrected) else math.nan


def _moments_or_silence(activation: str, q: float, params: Parameters) -> Moments:
    # Squares of pre-activations overflow beyond.
    return moments_of(activation, q, params) if q < 1e300 else _SILENT
