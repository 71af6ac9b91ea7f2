"""Theory beside a measurement: a net's layers iterated from its real input.

A fixed point would be the wrong place for a short net (it leaves ten times the error in the logarithm of the
rate)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gradiometer.theory.normalisation import batch_norm_rate
from gradiometer.theory.quadrature import Moments, freeze, moments, pair_difference

__all__ = ["LayerPrediction", "LayerTheory", "predict"]

_SILENT = Moments(math.nan, math.nan, math.nan, math.nan, math.nan)


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


@dataclass(frozen=True)
class _Signal:
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
    of x; layer norm and RMS norm by the mean square of ``W x + b``. In a residual layer the branch's gradient adds
    in square, and the branch's mean adds up in h.

    Examples
    --------
    >>> relu = LayerTheory(100, 100, weight_variance=1.0, activation="relu")
    >>> [round(layer.factor, 6) for layer in predict([relu] * 2)]
    [0.707107, 0.707107]
    """
    signal = _Signal(0.0, input_mean_square, input_mean_square * input_spread**2)
    below: LayerTheory | None = None
    result = []
    for layer in layers:
        prediction, signal = _step(layer, below, signal, batch)
        result.append(prediction)
        below = layer
    return tuple(result)


def _step(
    layer: LayerTheory, below: LayerTheory | None, x: _Signal, batch: int | None
) -> tuple[LayerPrediction, _Signal]:
    """One layer, forward and backward."""
    activation, params = layer.activation or "identity", dict(layer.params)
    across = layer.weight_variance * x.between
    if layer.norm is None:
        q = layer.weight_variance * x.second + layer.bias_variance
        distance = min(across / q, 1.0) if q > 0 else math.nan
        m = _moments_or_silence(activation, q, params)
        known = math.isfinite(m.second + distance)
        between = pair_difference(activation, q, distance, freeze(params)) if known else math.nan
        rate = layer.weight_variance * m.slope2
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
        between = pair_difference(activation, q, distance, freeze(params)) if known else math.nan
        rate = layer.weight_variance * m.slope2 / before if before > 0 else math.nan
    else:
        q = distance = between = rate = math.nan
        m = _SILENT
    h = _Signal(m.mean, m.second, between)
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
    return LayerPrediction(q, h.second, math.sqrt(distance), math.sqrt(rate), scatter), h


def _finite_batch(
    layer: LayerTheory, below: LayerTheory | None, batch: int | None, params: Mapping[str, float]
) -> float:
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
    corrected = batch_norm_rate(activation, batch, gamma=1.0, beta=0.0, **params)
    limit = batch_norm_rate(activation, None, gamma=1.0, beta=0.0, **params)
    return corrected / limit if math.isfinite(corrected) else math.nan


def _moments_or_silence(activation: str, q: float, params: Mapping[str, float]) -> Moments:
    # Squares of pre-activations overflow beyond.
    return moments(activation, q, **params) if q < 1e300 else _SILENT
