"""Stacks of recurrent layers, one or both directions, over the kernels: parameters by torch.nn's names, unchanged.

Cells: "lstm", "gru", "rnn_tanh", "rnn_relu", and two that torch does not have: "lstm_norm", the LSTM with layer norm
(`norm` of `kernels.lstm_forward`), and "gru_reset_before", whose reset gate r comes before the product with the state:
``n = tanh(W_in x + b_in + W_hn (r h) + b_hn)``, as in Cho et al. 2014, ONNX (linear_before_reset=0) and Keras
(reset_after=False). One layer in one direction: `kernels.lstm_forward` and its kin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from gradiometer import _core
from gradiometer.arguments import choice, positive, real

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["CELLS", "Cache", "Packed", "Stepper", "backward", "forward", "pack"]

CELLS = ("lstm", "lstm_norm", "gru", "gru_reset_before", "rnn_tanh", "rnn_relu")
NORMS = ("norm_weight_ih", "norm_weight_hh", "norm_weight_c", "norm_bias_c")
Array = Any


class Layer(Protocol):
    """A ``gm.LSTM`` and its kin, for `Stepper`."""

    _arrays: dict[str, Array]

    @property
    def cell(self) -> str: ...


@dataclass(frozen=True)
class Cache:
    """What `backward` reads of a pass: y of every layer (T, N, directions H), a kernel's cache for each of its
    directions, and what the layers but the first had as x: y of the one beneath, after dropout."""

    y: tuple[Array, ...]
    kernel: tuple[tuple[Array, ...], ...]
    x: tuple[Array, ...]
    dropout: float
    seed: int


@dataclass(frozen=True)
class Packed:
    """Parameters of `pack`: the layers' directions, laid out for `forward`. A copy: later changes do not show."""

    layers: tuple[tuple[_core.PackedRecurrent, ...], ...]


def pack(cell: str, parameters: Mapping[str, ArrayLike]) -> Packed:
    """Lay parameters out once for many calls of `forward`, which otherwise does it every time. The bits are the same.

    Worth it where a call has few samples or steps: one sample, 50 steps of 1024 units take 0.7 of the time.

    Parameters
    ----------
    cell, parameters
        As in `forward`; all arrays of one dtype, which x must have.

    Returns
    -------
    Packed
        It takes the place of `parameters` in `forward`.

    Raises
    ------
    ValueError, TypeError
        For names, shapes and dtypes that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> one = np.ones((1, 1))
    >>> packed = pack("rnn_relu", {"weight_ih_l0": one, "weight_hh_l0": one})
    >>> forward("rnn_relu", np.ones((3, 1, 1)), packed, training=False)[0][:, 0, 0]
    array([1., 2., 3.])
    """
    layers = _layers(cell, parameters)
    return Packed(tuple(tuple(_core.recurrent_pack(cell, weights) for weights in layer) for layer in layers))


def forward(
    cell: str,
    x: ArrayLike,
    parameters: Mapping[str, ArrayLike] | Packed,
    h0: ArrayLike | None = None,
    c0: ArrayLike | None = None,
    *,
    lengths: ArrayLike | None = None,
    recompute: int = 0,
    training: bool = True,
    batch_first: bool = False,
    dropout: float = 0.0,
    seed: int = 0,
) -> tuple[Array, Array, Array | None, Cache | None]:
    """All layers and directions of torch.nn.LSTM, GRU or RNN, or of "lstm_norm" or "gru_reset_before".

    Parameters
    ----------
    cell : str
        One of `CELLS`.
    x : array_like (T, N, I)
    parameters : mapping
        A torch state dict's names: ``weight_ih_l0``, ``weight_hh_l0``, ``bias_ih_l0``, ``bias_hh_l0`` (or no biases),
        ``weight_hr_l0`` of an LSTM with a projection (torch's proj_size; P features instead of H in all that is h's),
        ``norm_weight_ih_l0``, ``norm_weight_hh_l0``, ``norm_weight_c_l0`` and ``norm_bias_c_l0`` of "lstm_norm" (each
        may be left out, for 1, the last for 0), ``..._l1`` for the next layer, ``..._reverse`` for the other direction.
        Or what `pack` made of it.
    h0, c0 : array_like (layers * directions, N, H), optional
        The state before the first step, layer by layer, forwards before reverse; None for 0. c0 is the two LSTM's.
    lengths, recompute, training, batch_first
        As in `kernels.lstm_forward`. The caches of all layers take ``5 T N H`` numbers a layer and direction of an
        LSTM (``4 T N H`` of a GRU, ``3 T N H`` of "gru_reset_before", ``T N H`` of an RNN, ``T N (10 H + 6)`` of
        "lstm_norm" in float32), with `recompute` k of both LSTM ``ceil(T / k) N H`` (else none), and y of every layer
        ``T N H`` a direction.
    dropout : float
        In training, the probability with which an output of a layer but the last does not reach the next.
    seed : int
        Of the masks, which are functions of seed, layer and place: another one for every step of training.

    Returns
    -------
    y : ndarray (T, N, directions H)
        h of the last layer, forwards before reverse.
    h_n, c_n : ndarray (layers * directions, N, H)
        The state after each sample's last step; c_n is None but for the LSTM.
    cache : Cache or None

    Raises
    ------
    ValueError, TypeError
        For names, shapes and dtypes that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> one = np.ones((1, 1))
    >>> stack = {f"weight_{part}_l{k}": one for part in ("ih", "hh") for k in (0, 1)}
    >>> forward("rnn_relu", np.ones((3, 1, 1)), stack)[0][:, 0, 0]
    array([1., 3., 6.])

    A long sequence in pieces, the state carried from one to the next, and each piece's gradient its own (truncated
    backpropagation through time):

    >>> x, rng = np.ones((100, 1, 2)), np.random.default_rng(0)
    >>> weights = {name: rng.normal(size=shape) for name, shape in {"weight_ih_l0": (12, 2),
    ...            "weight_hh_l0": (12, 3)}.items()}
    >>> h = c = np.zeros((1, 1, 3))
    >>> for piece in np.split(x, 5):
    ...     before = h
    ...     y, h, c, cache = forward("lstm", piece, weights, h, c)
    ...     gradients = backward("lstm", piece, weights, cache, dy=np.ones_like(y), h0=before)
    >>> np.array_equal(y[-1], forward("lstm", x, weights)[0][-1])
    True
    """
    layers: Any = parameters.layers if isinstance(parameters, Packed) else _layers(cell, parameters)
    above = np.asarray(x)
    if above.ndim != 3:
        raise ValueError(f"x has shape {above.shape}; expected 3 dimensions")
    H, memory = _widths(layers)
    N = above.shape[0 if batch_first else 1]
    h_first, c_first = (_states(*given, layers, N) for given in (("h0", h0, H), ("c0", c0, memory)))
    dropout = real("dropout", dropout, 0.0, 1.0)
    ys, kept, last, inputs = [], [], [], []
    for k, directions in enumerate(layers):
        D = len(directions)
        y = np.empty((*above.shape[:2], D * H), above.dtype)
        caches = []
        for d, weights in enumerate(directions):
            _, h_n, c_n, cache = _core.recurrent_forward(
                cell,
                above,
                weights,
                None if h_first is None else h_first[k * D + d],
                None if c_first is None else c_first[k * D + d],
                lengths,
                d == 1,
                recompute,
                training,
                y[:, :, d * H : (d + 1) * H],
                batch_first,
            )
            caches.append(cache)
            last.append((h_n, c_n))
        ys.append(y)
        kept.append(tuple(caches))
        drops = training and dropout > 0 and k + 1 < len(layers)
        above = _core.dropout(y, dropout, seed, 0, k) if drops else y
        inputs.append(above)
    h_all = np.stack([h for h, _ in last])
    c_all = np.stack([c for _, c in last]) if cell.startswith("lstm") else None
    cache = Cache(tuple(ys), tuple(kept), tuple(inputs[:-1]), dropout, seed) if training else None
    return above, h_all, c_all, cache


def backward(
    cell: str,
    x: ArrayLike,
    parameters: Mapping[str, ArrayLike],
    cache: Cache,
    dy: ArrayLike | None = None,
    dh_n: ArrayLike | None = None,
    dc_n: ArrayLike | None = None,
    h0: ArrayLike | None = None,
    *,
    lengths: ArrayLike | None = None,
    recompute: int = 0,
    steps: bool = False,
    batch_first: bool = False,
    measure: bool = False,
) -> dict[str, Any]:
    """Gradients of `forward`: ``dx``, ``dh0``, ``dc0`` of the LSTM, and ``d`` before the name of each parameter.

    Parameters
    ----------
    cell, x, parameters, h0, lengths, recompute, batch_first
        As `forward` had them.
    cache : Cache
        What it gave.
    dy : array_like (T, N, directions H), optional
    dh_n, dc_n : array_like (layers * directions, N, H), optional
    steps : bool
        Also ``dh`` and, of the LSTM, ``dc`` (layers * directions, T, N, H): the derivative of the loss by h and c of
        every step of every layer, by all paths.
    measure : bool
        Also ``measured``: what `kernels.lstm_backward` says of the steps, a dict for each layer and direction.

    Examples
    --------
    >>> import numpy as np
    >>> x, one = np.ones((3, 1, 1)), np.ones((1, 1))
    >>> stack = {f"weight_{part}_l{k}": one for part in ("ih", "hh") for k in (0, 1)}
    >>> cache = forward("rnn_relu", x, stack)[3]
    >>> backward("rnn_relu", x, stack, cache, dh_n=np.array([[[0.0]], [[1.0]]]))["dx"][:, 0, 0]
    array([3., 2., 1.])
    """
    if not isinstance(cache, Cache):
        raise TypeError(f"cache is {type(cache).__name__}; expected what forward gave with training=True")
    layers = _layers(cell, parameters)
    first = np.asarray(x)
    (H, memory), N = _widths(layers), first.shape[0 if batch_first else 1]
    given = (("h0", h0, H), ("dh_n", dh_n, H), ("dc_n", dc_n, memory))
    states = {name: _states(name, value, width, layers, N) for name, value, width in given}
    out: dict[str, Array] = {}
    found: dict[str, list[Array]] = {}
    above = None if dy is None else np.asarray(dy)
    if above is not None and above.shape != cache.y[-1].shape:
        raise ValueError(f"dy has shape {above.shape}; expected {cache.y[-1].shape}")
    for k in reversed(range(len(layers))):
        D, below = len(layers[k]), first if k == 0 else cache.x[k - 1]
        dx = None
        for d in reversed(range(D)):
            at = slice(d * H, (d + 1) * H)
            state = {name: None if v is None else v[k * D + d] for name, v in states.items()}
            made = _core.recurrent_backward(
                cell,
                below,
                layers[k][d],
                cache.y[k][:, :, at],
                cache.kernel[k][d],
                None if above is None else above[:, :, at],
                state["dh_n"],
                state["dc_n"],
                state["h0"],
                lengths,
                d == 1,
                recompute,
                steps,
                batch_first,
                measure,
            )
            dx = made.pop("dx") if dx is None else np.add(dx, made.pop("dx"), out=dx)
            for name, value in made.items():
                if name.startswith(("dweight", "dbias", "dnorm")):
                    out[f"{name}_l{k}{'_reverse' * d}"] = value
                else:
                    found.setdefault(name, []).append(value)
        drops = cache.dropout > 0 and k > 0
        above = _core.dropout(dx, cache.dropout, cache.seed, 0, k - 1) if drops else dx
    measured = {"measured": tuple(found.pop("measured")[::-1])} if measure else {}
    return {"dx": above, **out, **{name: np.stack(values[::-1]) for name, values in found.items()}, **measured}


class Stepper:
    """A stack of one direction, one step at a time as data come: weights packed once, the state kept.

    ``step(x)`` gives what `forward` gives at that step, to the bit, without its cache: in microseconds for small
    layers.

    Parameters
    ----------
    cell : str or layer
        One of `CELLS`; or a ``gm.LSTM``, ``gm.GRU`` or ``gm.RNN``, alone or of a network, which training reaches and
        `pack` then takes over.
    parameters : mapping, optional
        As in `forward`, for a cell; held, so that `pack` finds what was written into them.
    batch : int
        Samples N that run side by side.

    Attributes
    ----------
    h, c : ndarray (layers, N, H)
        The state, which may be written into; c is None but for the LSTM.

    Raises
    ------
    ValueError, TypeError
        For names, shapes and dtypes that do not fit, and for two directions: the reverse one begins at the end.

    Examples
    --------
    >>> import numpy as np
    >>> one = np.ones((1, 1))
    >>> stepper = Stepper("rnn_relu", {"weight_ih_l0": one, "weight_hh_l0": one})
    >>> [float(stepper.step(one)[0, 0]) for _ in range(3)]
    [1.0, 2.0, 3.0]
    >>> stepper.reset()
    >>> float(stepper.step(one)[0, 0])
    1.0

    A layer (of a whole network: ``net.stream()``):

    >>> import gradiometer as gm
    >>> layer, x = gm.LSTM(3, 8, rng=0), np.ones((5, 3), np.float32)
    >>> stepper = Stepper(layer)
    >>> for row in x:
    ...     h = stepper.step(row[None])
    >>> bool((h == layer(x[None])).all())
    True
    """

    def __init__(self, cell: str | Layer, parameters: Mapping[str, ArrayLike] | None = None, batch: int = 1) -> None:
        name: Any = cell
        self._held: Any = parameters
        self._layer: Layer | None = None
        if not isinstance(cell, str) and hasattr(cell, "_arrays"):
            if not hasattr(cell, "cell"):
                raise TypeError(f"cell is {cell!r}; expected a recurrent layer, or one of {', '.join(CELLS)}")
            if parameters is not None:
                raise ValueError("parameters are given beside a layer, which has its own; expected one of the two")
            self._layer, name, self._held = cell, cell.cell, dict(cell._arrays)
        layers = _layers(name, self._held)
        if len(layers[0]) > 1:
            raise ValueError("parameters has weight_ih_l0_reverse; expected one direction")
        first = [directions[0] for directions in layers]
        self._native = _core.RecurrentStepper(name, first, positive("batch", batch))
        self.h, self.c = self._native.h, self._native.c
        self.step = self._native.step

    def reset(self) -> None:
        """The state back to 0."""
        self._native.reset()

    def pack(self) -> None:
        """After the parameters' arrays have been written into, or the layer's trained: their new values."""
        if self._layer is not None:
            for name, array in self._layer._arrays.items():
                if self._held[name] is not array:  # a network has taken the layer in
                    self._held[name][...] = array
        self._native.pack()


def _layers(cell: str, parameters: Mapping[str, ArrayLike]) -> list[list[tuple[ArrayLike | None, ...]]]:
    """The arrays of every direction of every layer; None for biases and parameters of norms that there are not."""
    choice("cell", cell, CELLS)
    if not isinstance(parameters, Mapping):
        raise TypeError(f"parameters is {type(parameters).__name__}; expected a mapping from torch's names to arrays")
    directions = ("", "_reverse") if "weight_ih_l0_reverse" in parameters else ("",)
    names = set[str]()
    layers: list[list[tuple[ArrayLike | None, ...]]] = []
    while f"weight_ih_l{len(layers)}" in parameters or not layers:
        layer = []
        for direction in directions:
            suffix = f"_l{len(layers)}{direction}"
            projects = cell == "lstm" and "weight_hr_l0" in parameters
            more = NORMS if cell == "lstm_norm" else ("weight_hr",) * projects
            own = [f"{part}{suffix}" for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", *more)]
            missing = [name for name in own[:2] + own[4:] * projects if name not in parameters]
            if missing:
                raise ValueError(f"parameters has no {missing[0]}; expected torch's names, weight_ih_l0 and so on")
            names |= set(own)
            layer.append(tuple(parameters.get(name) for name in own))
        layers.append(layer)
    unknown = sorted(set(parameters) - names)
    if unknown:
        raise ValueError(f"parameters has {unknown[0]}, which no layer has; expected torch's names without gaps")
    return layers


def _widths(layers: Any) -> tuple[int, int]:
    """Features of h and of c."""
    first = layers[0][0]
    if isinstance(first, _core.PackedRecurrent):
        _, H, P = first.shape
        return P or H, H
    features = np.asarray(first[1]).shape[-1]
    return features, np.asarray(first[4]).shape[-1] if len(first) == 5 else features


def _states(name: str, given: ArrayLike | None, H: int, layers: list[Any], N: int) -> Array | None:
    if given is None:
        return None
    made, expected = np.asarray(given), (len(layers) * len(layers[0]), N, H)
    if made.shape != expected:
        raise ValueError(f"{name} has shape {made.shape}; expected {expected}")
    return made
