"""From arrays of recurrent layers to their measurements: the same for our networks and for PyTorch's modules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradiometer import recurrent
from gradiometer.measurement.time.decay import decay
from gradiometer.measurement.time.jacobian import jacobian, predicted_factor
from gradiometer.measurement.time.result import Decay, GateTrace, TimeMeasurement
from gradiometer.measurement.time.sums import GATES, SIGMOID, Pass, by_steps_back, by_time, forward

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Source", "Stack", "measure_layer", "measure_stack"]

Array = Any
NAMES = {
    "lstm": "LSTM",
    "lstm_norm": "LSTM norm",
    "gru": "GRU",
    "gru_reset_before": "GRU",
    "rnn_tanh": "RNN",
    "rnn_relu": "RNN relu",
}
MOST_ROWS = 4096
"""Of the inputs that theory's input variance is taken from."""


@dataclass(frozen=True)
class Source:
    """The derivatives of the loss by what a layer gives, each None for 0.

    Attributes
    ----------
    dy : array_like (T, N, H), optional
        By h of every step.
    dh_n, dc_n : array_like (N, H), optional
        By the state after each sample's last step.
    """

    dy: Array | None = None
    dh_n: Array | None = None
    dc_n: Array | None = None


def measure_stack(
    cell: str,
    x: ArrayLike,
    parameters: Mapping[str, ArrayLike],
    dy: ArrayLike | None = None,
    dh_n: ArrayLike | None = None,
    dc_n: ArrayLike | None = None,
    h0: ArrayLike | None = None,
    c0: ArrayLike | None = None,
    *,
    lengths: ArrayLike | None = None,
    first: int = 1,
) -> tuple[TimeMeasurement, ...]:
    """Measure all layers and directions of a recurrent stack, replayed by our kernels.

    Parameters
    ----------
    cell : str
        ``"lstm"``, ``"lstm_norm"``, ``"gru"``, ``"gru_reset_before"``, ``"rnn_tanh"`` or ``"rnn_relu"``.
    x : array_like (T, N, I)
        float32 or float64.
    parameters : mapping
        By torch's names, as for `gradiometer.recurrent.forward`.
    dy : array_like (T, N, directions H), optional
        Derivative of the loss by what the stack gives; None for 0.
    dh_n, dc_n, h0, c0 : array_like (layers * directions, N, H), optional
    lengths : array_like of integers (N), optional
    first : int
        Index of the first layer.

    Returns
    -------
    tuple of TimeMeasurement
        Layer by layer, forwards before reverse.

    Raises
    ------
    ValueError, TypeError
        For names, shapes and dtypes that do not fit.

    Examples
    --------
    A memory whose forget gate is half open, and whose gradient halves a step.

    >>> import numpy as np
    >>> zeros = {"weight_ih_l0": np.zeros((4, 1)), "weight_hh_l0": np.zeros((4, 1))}
    >>> (seen,) = measure_stack("lstm", np.ones((20, 2, 1)), zeros, dh_n=np.ones((1, 2, 1)))
    >>> round(seen.decay.factor, 12), round(seen.horizon.half, 12), seen.horizon.half_measured
    (0.5, 1.0, True)
    """
    return Stack(cell, x, parameters, h0, c0, lengths).measure(dy, dh_n, dc_n, first)[0]


class Stack:
    """A recurrent stack run by our kernels, to be measured from the gradient that reaches it; as `measure_stack`.

    Attributes
    ----------
    y : ndarray (T, N, directions H)
    h_n : ndarray (N, directions H)
        The state of the last layer after each sample's last step.
    """

    def __init__(
        self,
        cell: str,
        x: ArrayLike,
        parameters: Mapping[str, ArrayLike],
        h0: ArrayLike | None = None,
        c0: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
    ) -> None:
        self._layers = recurrent._layers(cell, parameters)
        above = np.asarray(x)
        if above.ndim != 3:
            raise ValueError(f"x has shape {above.shape}; expected 3 dimensions (T, N, I)")
        self._steps, self._batch = above.shape[:2]
        (self._width, self._memory), D = recurrent._widths(self._layers), len(self._layers[0])
        by_h, by_c = self._states("h0", h0, self._width), self._states("c0", c0, self._memory)
        sizes = _lengths(lengths, self._steps, self._batch)
        self._ran: list[list[Pass]] = []
        for k, directions in enumerate(self._layers):
            passes = [
                forward(
                    cell,
                    above,
                    tuple(None if w is None else np.asarray(w) for w in weights),
                    _of(by_h, k * D + d),
                    _of(by_c, k * D + d),
                    sizes,
                    d == 1,
                )
                for d, weights in enumerate(directions)
            ]
            self._ran.append(passes)
            above = passes[0].y if D == 1 else np.concatenate([each.y for each in passes], 2)
        self.y = above
        self.h_n = np.concatenate([each.h_n for each in self._ran[-1]], 1)

    def measure(
        self, dy: ArrayLike | None, dh_n: ArrayLike | None = None, dc_n: ArrayLike | None = None, first: int = 1
    ) -> tuple[tuple[TimeMeasurement, ...], Array]:
        """The measurements, and the derivative of the loss by x."""
        H, D = self._width, len(self._layers[0])
        if dy is not None and np.shape(dy) != (self._steps, self._batch, D * H):
            raise ValueError(f"dy has shape {np.shape(dy)}; expected {(self._steps, self._batch, D * H)}")
        by_h, by_c = self._states("dh_n", dh_n, H), self._states("dc_n", dc_n, self._memory)
        found: list[TimeMeasurement] = []
        by_y = None if dy is None else np.asarray(dy)
        for k in reversed(range(len(self._layers))):
            below = None
            for d in reversed(range(D)):
                source = Source(
                    None if by_y is None else np.ascontiguousarray(by_y[:, :, d * H : (d + 1) * H]),
                    _of(by_h, k * D + d),
                    _of(by_c, k * D + d),
                )
                measured, dx = _measured(self._ran[k][d], source, first + k)
                found.append(measured)
                below = dx if below is None else below + dx
            by_y = below
        return tuple(found[::-1]), by_y

    def _states(self, name: str, given: ArrayLike | None, width: int) -> Array | None:
        return recurrent._states(name, given, width, self._layers, self._batch)


def measure_layer(
    cell: str,
    x: Array,
    weights: tuple[Array | None, ...],
    source: Source,
    h0: Array | None = None,
    c0: Array | None = None,
    *,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    index: int = 1,
) -> TimeMeasurement:
    """Measure one layer in one direction from its input x (T, N, I), its arrays of weights (biases None where there
    are none; the fifth is weight_hr of a projection, of "lstm_norm" the last four are its norms), and the derivatives
    of the loss by what it gives; as `measure_stack`."""
    ran = forward(cell, np.asarray(x), weights, h0, c0, _lengths(lengths, *np.shape(x)[:2]), reverse)
    return _measured(ran, source, index)[0]


def _measured(ran: Pass, source: Source, index: int) -> tuple[TimeMeasurement, Array]:
    (T, N, features), H = ran.y.shape, ran.hidden
    cell = ran.cell
    sums, dx = by_time(ran, source.dy, source.dh_n, source.dc_n)
    rows = np.where(sums["rows"], sums["rows"], math.nan)
    whole, cell_path, hidden_path, random = _decays(ran, source)
    walks = [np.arange(n)[:: -1 if ran.reverse else 1] for n in ran.lengths]
    theory, bounds = math.nan, None
    if cell.startswith("rnn"):
        inputs = ran.x[np.arange(T)[:, None] < ran.lengths]
        theory = predicted_factor(cell, inputs[:: max(1, len(inputs) // MOST_ROWS)], ran.weights)
        h0 = np.zeros((N, H)) if ran.h0 is None else ran.h0
        bounds = jacobian(cell, ran.x, ran.weights, ran.y, h0, walks)
    shown = [(k, name) for k, name in enumerate(GATES[cell]) if name in SIGMOID]
    measured = TimeMeasurement(
        index=index,
        name=f"{NAMES[cell]} {H}{' reverse' * ran.reverse}",
        cell=cell,
        reverse=ran.reverse,
        fan_in=ran.x.shape[2],
        hidden=H,
        steps=int(ran.lengths.max(initial=0)),
        rows=tuple(map(int, sums["rows"])),
        grad_h=_floats(np.sqrt(sums["dh"] / rows)),
        grad_c=_floats(np.sqrt(sums["dc"] / rows)) if cell.startswith("lstm") else (),
        h_rms=_floats(np.sqrt(sums["h"] / (rows * features))),
        c_rms=_floats(np.sqrt(sums["c"] / (rows * H))) if cell.startswith("lstm") else (),
        gates=tuple(
            GateTrace(name, *(_floats(sums[what][:, k] / (rows * H)) for what in ("gate", "low", "high")))
            for k, name in shown
        ),
        decay=whole,
        cell_path=cell_path,
        hidden_path=hidden_path,
        theory=theory,
        jacobian=bounds,
        random_direction=random,
    )
    return measured, dx


def _decays(ran: Pass, source: Source) -> tuple[Decay, Decay | None, Decay | None, bool]:
    """What is left of the last step's gradient, whole and by path, and whether its direction had to be made up."""
    dh, dc, random = _last_gradient(ran, source)
    sums = by_steps_back(ran, dh, dc)
    length = int(ran.lengths.max(initial=0))
    state = sums["dc" if ran.cell.startswith("lstm") else "dh"][:length]
    # the samples that have no gradient at their last step have none at any
    counted = _counted(ran, dh, dc)[:length]

    def relative(squares: Array) -> list[float]:
        norms = np.sqrt(squares / np.maximum(counted, 1))
        start = math.sqrt(state[0] / counted[0]) if len(state) and counted[0] else 0.0
        return [float(norm) / start if start else math.nan for norm in norms]

    def made(squares: Array) -> Decay:
        return decay(relative(squares), [int(n) for n in counted], ran.hidden, str(ran.y.dtype))

    if not GATES[ran.cell]:
        return made(state), None, None, random
    return made(state), made(sums["path"][:length]), made(sums["rest"][:length]), random


def _last_gradient(ran: Pass, source: Source) -> tuple[Array, Array | None, bool]:
    """dL/dh (and dL/dc) at each sample's last step, scaled to norm 1 together; random where no sample has one."""
    N, H = ran.y.shape[1:]
    memory = ran.hidden
    last = np.zeros(N, int) if ran.reverse else np.maximum(ran.lengths - 1, 0)
    dh = np.zeros((N, H)) if source.dh_n is None else np.array(source.dh_n, np.float64)
    if source.dy is not None:
        dh += source.dy[last, np.arange(N)]
    dc = np.zeros((N, memory)) if source.dc_n is None else np.array(source.dc_n, np.float64)
    dh[ran.lengths == 0] = dc[ran.lengths == 0] = 0.0
    # by the largest first: squares of tiny gradients underflow
    largest = np.maximum(np.abs(dh).max(1, initial=0.0), np.abs(dc).max(1, initial=0.0))
    usable = (largest > 0.0) & np.isfinite(largest)
    random = not usable.any()
    if random:
        dh = np.random.default_rng(0).normal(size=(N, H))
        dc, largest, usable = np.zeros((N, memory)), np.ones(N), ran.lengths > 0
    largest = np.where(usable, largest, 1.0)[:, None]
    dh, dc = (np.where(usable[:, None], part / largest, 0.0) for part in (dh, dc))
    norm = np.where(usable, np.sqrt(np.sum(dh**2, 1) + np.sum(dc**2, 1)), 1.0)[:, None]
    dtype = ran.y.dtype
    return (dh / norm).astype(dtype), (dc / norm).astype(dtype) if ran.cell.startswith("lstm") else None, random


def _counted(ran: Pass, dh: Array, dc: Array | None) -> Array:
    """Samples with a gradient that have each step, by steps back."""
    with_gradient = np.any(dh != 0, 1) | (np.any(dc != 0, 1) if dc is not None else False)
    return np.array([np.count_nonzero(with_gradient & (ran.lengths > k)) for k in range(len(ran.y))])


def _of(states: Array | None, place: int) -> Array | None:
    return None if states is None else states[place]


def _lengths(given: ArrayLike | None, T: int, N: int) -> Array:
    if given is None:
        return np.full(N, T, np.int64)
    made = np.asarray(given)
    if made.shape != (N,) or made.dtype.kind not in "iu":
        raise ValueError(f"lengths has shape {made.shape} and dtype {made.dtype}; expected integers ({N},)")
    if made.size and (made.min() < 0 or made.max() > T):
        raise ValueError(f"lengths lie in {made.min()} to {made.max()}; expected 0 to {T}")
    return made.astype(np.int64)


def _floats(values: Array) -> tuple[float, ...]:
    return tuple(map(float, values))
