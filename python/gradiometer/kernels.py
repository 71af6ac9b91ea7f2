"""The raw kernels of the C++ core, by name, on NumPy arrays.

Arrays are float32 or float64, the result has the dtype of the input; another dtype is a TypeError. Any layout is
accepted as input (a strided one is copied) and gives the same bits; outputs are C-contiguous. Letters: N batch,
C features, I input, H output features; dx, dy are derivatives of the loss by x, y.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gradiometer import _core
from gradiometer._core import Packed
from gradiometer.arguments import choice

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Moments",
    "Packed",
    "activation_parameters",
    "activations",
    "backward",
    "batch_norm_backward",
    "batch_norm_forward",
    "forward",
    "gemm",
    "group_norm_backward",
    "group_norm_forward",
    "gru_backward",
    "gru_cell_backward",
    "gru_cell_forward",
    "gru_forward",
    "gru_gates",
    "isa",
    "isas",
    "linear_backward",
    "linear_forward",
    "log_softmax_backward",
    "log_softmax_forward",
    "loss",
    "loss_parameters",
    "losses",
    "lstm_backward",
    "lstm_cell_backward",
    "lstm_cell_forward",
    "lstm_forward",
    "lstm_gates",
    "moments",
    "optimizer_parameters",
    "optimizer_step",
    "optimizers",
    "pack",
    "prelu_backward",
    "prelu_forward",
    "rnn_backward",
    "rnn_cell_backward",
    "rnn_cell_forward",
    "rnn_forward",
    "set_isa",
    "set_threads",
    "softmax_backward",
    "softmax_forward",
    "threads",
]

Array = Any
"""A float32 or float64 ndarray (NumPy's own generic alias does not survive `out=`)."""


def activations() -> tuple[str, ...]:
    """Names of the activations.

    Examples
    --------
    >>> "tanh" in activations()
    True
    """
    return tuple(_core.activations())


def activation_parameters(name: str) -> dict[str, tuple[float, float, float]]:
    """Parameters of an activation: name to (default, lowest, highest).

    Raises
    ------
    ValueError
        If there is no activation of that name.

    Examples
    --------
    >>> activation_parameters("relu")
    {}
    """
    row: dict[str, tuple[float, float, float]] = _lookup("name", name, _core.activations())
    return row


def forward(name: str, x: ArrayLike, out: Array | None = None, **params: float) -> Array:
    """Value of an activation, element by element.

    Parameters
    ----------
    name : str
        One of `activations`.
    x : array_like of float32 or float64, any shape
    out : ndarray, optional
        C-contiguous, of the shape and dtype of x, may be x itself. A reused one saves the page faults of a new one.
    **params : float
        See `activation_parameters`.

    Returns
    -------
    ndarray
        `out`, or a new array.

    Raises
    ------
    ValueError, TypeError
        For an unknown name or parameter, a dtype that is not float32 or float64, an `out` that does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> forward("relu", np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    return _core.activation_forward(name, x, out, **params)


def backward(name: str, x: ArrayLike, dy: ArrayLike, out: Array | None = None, **params: float) -> Array:
    """``dy * f'(x)`` of an activation, from its input and free of cancellation.

    Parameters
    ----------
    name : str
        One of `activations`.
    x, dy : array_like of float32 or float64, same shape and dtype
    out : ndarray, optional
        C-contiguous, of the shape and dtype of x; may be x or dy.
    **params : float
        See `activation_parameters`.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> import numpy as np
    >>> backward("relu", np.array([-1.0, 2.0]), np.array([3.0, 3.0]))
    array([0., 3.])
    """
    return _core.activation_backward(name, x, dy, out, **params)


def gemm(
    a: ArrayLike,
    b: ArrayLike | Packed,
    form: Literal["NN", "NT", "TN"] = "NN",
    out: Array | None = None,
    accumulate: bool = False,
) -> Array:
    """Matrix product ``A B``.

    K goes in blocks of 512, each summed from zero in order by fma, the blocks added in order: an element has the same
    bits whatever the other rows, the columns and the number of threads.

    Parameters
    ----------
    a, b : array_like, 2-D
        ``NN``: A (M, K), B (K, N). ``NT``: b holds B transposed, (N, K). ``TN``: a holds A transposed, (K, M).
        b may be what `pack` made, which knows how B was stored.
    form : str
    out : ndarray (M, N), optional
    accumulate : bool
        Add the product to `out`.

    Returns
    -------
    ndarray (M, N)

    Examples
    --------
    >>> import numpy as np
    >>> gemm(np.ones((1, 3)), np.ones((2, 3)), "NT")
    array([[3., 3.]])
    """
    return _core.gemm(a, b, form, out, accumulate)


def pack(b: ArrayLike, form: Literal["NN", "NT", "TN"] = "NN") -> Packed:
    """Lay B out once for many products, as `gemm` likes to read it.

    The products have the same bits. Worth it from the second product with the same B on, most of all for a weight
    (H, I) under few rows: 32 x 256 x 256 takes 0.83 of the time.

    Parameters
    ----------
    b : array_like, 2-D
        B (K, N); with ``NT`` B transposed, (N, K), such as the weight of a dense layer. It is copied: later changes
        do not show.
    form : str

    Returns
    -------
    Packed
        For `gemm`, in the place of b; `shape` is (K, N).

    Examples
    --------
    >>> import numpy as np
    >>> weight = pack(np.ones((2, 3)), "NT")
    >>> weight.shape
    (3, 2)
    >>> gemm(np.ones((1, 3)), weight)
    array([[3., 3.]])
    """
    return _core.pack(b, form)


def linear_forward(x: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None, out: Array | None = None) -> Array:
    """``y = x weightᵀ + bias``: x (N, I), weight (H, I), bias (H), y (N, H).

    Examples
    --------
    >>> import numpy as np
    >>> linear_forward(np.ones((1, 2)), np.ones((3, 2)), np.array([0.0, 1.0, 2.0]))
    array([[2., 3., 4.]])
    """
    return _core.linear_forward(x, weight, bias, out)


def linear_backward(x: ArrayLike, weight: ArrayLike, dy: ArrayLike) -> tuple[Array, Array, Array]:
    """``dx`` (N, I), ``dweight`` (H, I) and ``dbias`` (H) of `linear_forward`.

    Examples
    --------
    >>> import numpy as np
    >>> dx, dweight, dbias = linear_backward(np.ones((4, 2)), np.ones((3, 2)), np.ones((4, 3)))
    >>> dx.shape, dweight[0, 0], dbias[0]
    ((4, 2), np.float64(4.0), np.float64(4.0))
    """
    return _core.linear_backward(x, weight, dy)


def batch_norm_forward(
    x: ArrayLike,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    out: Array | None = None,
) -> tuple[Array, NDArray[Any]]:
    """Batch norm over the channels of x (N, C) or (N, C, L): ``(x - mean) / sqrt(var + eps) * gamma + beta``, mean and
    variance of a channel over its N L values.

    Training uses the batch's mean and biased variance and moves the running statistics in place, with the unbiased
    variance (torch.nn.BatchNorm1d). Ioffe & Szegedy 2015, arXiv:1502.03167.

    Parameters
    ----------
    x : (N, C) or (N, C, L)
    gamma, beta : (C), optional
        None for 1 and 0.
    running_mean, running_var : ndarray (C) of x's dtype, optional
        Written in training, used in evaluation.
    training : bool
    momentum : float
        0 to 1; ``1 / t`` at the t-th batch makes the running statistics plain means over all batches.
    eps : float
        Positive.
    out : ndarray of x's shape and dtype, optional
        Where y goes; it may be x.

    Returns
    -------
    y : ndarray of x's shape
    cache : ndarray of float64 (2, C)
        Mean and variance used; `batch_norm_backward` wants it back.

    Raises
    ------
    ValueError
        In training with one value a channel; for eps that is not positive, momentum outside 0 to 1, shapes that do
        not fit.

    Examples
    --------
    >>> import numpy as np
    >>> y, cache = batch_norm_forward(np.array([[1.0], [3.0]]))
    >>> cache[:, 0]
    array([2., 1.])
    >>> batch_norm_forward(np.array([[[1.0, 3.0]]]))[0].round(3)
    array([[[-1.,  1.]]])
    """
    return _core.batch_norm_forward(x, gamma, beta, running_mean, running_var, training, momentum, eps, out)


def batch_norm_backward(
    x: ArrayLike,
    dy: ArrayLike,
    cache: NDArray[Any],
    gamma: ArrayLike | None = None,
    training: bool = True,
    eps: float = 1e-5,
    out: Array | None = None,
) -> tuple[Array, Array, Array]:
    """``dx`` of x's shape (in `out`, if given, which may be x or dy), ``dgamma`` (C), ``dbeta`` (C) of
    `batch_norm_forward`.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0], [3.0]])
    >>> _, cache = batch_norm_forward(x)
    >>> batch_norm_backward(x, np.ones((2, 1)), cache)[2]
    array([2.])
    """
    return _core.batch_norm_backward(x, dy, cache, gamma, training, eps, out)


def group_norm_forward(
    x: ArrayLike,
    groups: int = 1,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    centred: bool = True,
    eps: float = 1e-5,
    out: Array | None = None,
) -> tuple[Array, NDArray[Any]]:
    """Norm within each row of x (N, C), over `groups` equal groups of features: ``(x - mean) / sqrt(var + eps) *
    gamma + beta``.

    One group is layer norm, and with ``centred=False`` (mean 0, var the mean square) RMS norm.

    Returns
    -------
    y : ndarray (N, C)
        In `out`, if given: C-contiguous, of the shape and dtype of x, may be x.
    cache : ndarray of float64 (N, groups, 2)
        Mean and ``1 / sqrt(var + eps)``; `group_norm_backward` wants it back.

    Raises
    ------
    ValueError
        For groups that do not divide C, eps that is not positive, shapes that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> y, cache = group_norm_forward(np.array([[1.0, 3.0]]))
    >>> cache.round(3)
    array([[[2., 1.]]])
    """
    return _core.group_norm_forward(x, groups, gamma, beta, centred, eps, out)


def group_norm_backward(
    x: ArrayLike,
    dy: ArrayLike,
    cache: NDArray[Any],
    gamma: ArrayLike | None = None,
    centred: bool = True,
    out: Array | None = None,
) -> tuple[Array, Array, Array]:
    """``dx`` (N, C; in `out`, if given, which may be x or dy), ``dgamma`` (C), ``dbeta`` (C) of `group_norm_forward`;
    groups and eps are in the cache.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0, 3.0]])
    >>> _, cache = group_norm_forward(x)
    >>> group_norm_backward(x, np.ones((1, 2)), cache)[2]
    array([1., 1.])
    """
    return _core.group_norm_backward(x, dy, cache, gamma, centred, out)


def prelu_forward(x: ArrayLike, weight: ArrayLike, out: Array | None = None) -> Array:
    """``y = x``, and ``weight * x`` for x <= 0. He, Zhang, Ren, Sun 2015, arXiv:1502.01852.

    ``forward("prelu", x, negative_slope=...)`` is the same at one fixed slope.

    Parameters
    ----------
    x : array_like (N, C), or any shape with one slope
    weight : array_like (C), or (1) for all
    out : ndarray, optional
        C-contiguous, of the shape and dtype of x; may be x.

    Raises
    ------
    ValueError, TypeError
        For shapes and dtypes that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> prelu_forward(np.array([[-1.0, -1.0]]), np.array([0.25, 0.5]))
    array([[-0.25, -0.5 ]])
    """
    return _core.prelu_forward(x, weight, out)


def prelu_backward(x: ArrayLike, weight: ArrayLike, dy: ArrayLike) -> tuple[Array, Array]:
    """``dx`` of the shape of x and ``dweight``, the sum of ``x dy`` over x <= 0, of `prelu_forward`.

    Examples
    --------
    >>> import numpy as np
    >>> prelu_backward(np.array([[-2.0, 3.0]]), np.array([0.25]), np.ones((1, 2)))
    (array([[0.25, 1.  ]]), array([-2.]))
    """
    return _core.prelu_backward(x, weight, dy)


def softmax_forward(x: ArrayLike, out: Array | None = None) -> Array:
    """``exp(x) / sum exp(x)`` over the last axis.

    A row with NaN or inf, or of -inf alone, is NaN.

    Parameters
    ----------
    x : array_like of float32 or float64 (..., C)
    out : ndarray, optional
        C-contiguous, of the shape and dtype of x; may be x.

    Returns
    -------
    ndarray (..., C)

    Raises
    ------
    ValueError, TypeError
        For an x without axes, a dtype that is not float32 or float64, an `out` that does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> softmax_forward(np.array([0.0, 0.0, -np.inf]))
    array([0.5, 0.5, 0. ])
    """
    return _core.softmax_forward(x, out)


def softmax_backward(y: ArrayLike, dy: ArrayLike, out: Array | None = None) -> Array:
    """``dx = y (dy - sum y dy)``, from the result y of `softmax_forward`.

    Parameters
    ----------
    y, dy : array_like of float32 or float64 (..., C), same shape and dtype
    out : ndarray, optional
        C-contiguous, of the shape and dtype of y; may be y or dy.

    Examples
    --------
    >>> import numpy as np
    >>> softmax_backward(np.array([0.5, 0.5]), np.array([1.0, 0.0]))
    array([ 0.25, -0.25])
    """
    return _core.softmax_backward(y, dy, out)


def log_softmax_forward(x: ArrayLike, out: Array | None = None) -> Array:
    """``x - log sum exp(x)`` over the last axis, exact also where softmax is 1 to rounding; else as `softmax_forward`.

    Examples
    --------
    >>> import numpy as np
    >>> log_softmax_forward(np.array([0.0, 100.0]))
    array([-1.00000000e+02, -3.72007598e-44])
    """
    return _core.log_softmax_forward(x, out)


def log_softmax_backward(y: ArrayLike, dy: ArrayLike, out: Array | None = None) -> Array:
    """``dx = dy - exp(y) sum dy``, from the result y of `log_softmax_forward`; else as `softmax_backward`.

    Examples
    --------
    >>> import numpy as np
    >>> log_softmax_backward(np.log([0.5, 0.5]), np.array([1.0, 0.0]))
    array([ 0.5, -0.5])
    """
    return _core.log_softmax_backward(y, dy, out)


def dropout(x: ArrayLike, p: float, *, seed: int, step: int = 0, node: int = 0) -> Array:
    """``x`` times a mask: 0 with probability `p`, else ``1 / (1 - p)``. Backward is the same call on dy.

    The mask of an element is a function of its place, `seed`, `step` and `node` alone (Philox 4x32-10; Salmon et al.
    2011), whatever the number of threads. Srivastava et al. 2014.

    Parameters
    ----------
    x : array_like, float32 or float64, any shape
    p : float
        0 to 1.
    seed, step, node : int
        0 to 2^64 - 1, and to 2^32 - 1: the same three give the same mask.

    Raises
    ------
    ValueError, TypeError
        For p outside 0 to 1, numbers that do not fit, another dtype.

    Examples
    --------
    >>> import numpy as np
    >>> sorted(set(dropout(np.ones(1000), 0.5, seed=1).tolist()))
    [0.0, 2.0]
    """
    return _core.dropout(x, p, seed, step, node)


def lstm_forward(
    x: ArrayLike,
    weights: Sequence[ArrayLike | None],
    h0: ArrayLike | None = None,
    c0: ArrayLike | None = None,
    *,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    recompute: int = 0,
    training: bool = True,
    batch_first: bool = False,
    weight_hr: ArrayLike | None = None,
    norm: Sequence[ArrayLike | None] | None = None,
) -> tuple[Array, Array, Array, Array]:
    """LSTM with forget gate over a batch of sequences: torch.nn.LSTM's one layer, one direction.

    ``i, f, o = sigmoid(a)``, ``g = tanh(a)``, ``c = f c + i g``, ``h = o tanh(c)``, with ``a = weight_ih x + bias_ih +
    weight_hh h + bias_hh`` in the order i, f, g, o. Hochreiter, Schmidhuber 1997; Gers, Schmidhuber, Cummins 2000.
    A sample's results do not depend on the batch or the number of threads by a bit.

    Parameters
    ----------
    x : array_like (T, N, I)
    weights : weight_ih (4H, I), weight_hh (4H, H), and bias_ih (4H), bias_hh (4H), which may be None or left out
    h0, c0 : array_like (N, H), optional
        The state before the first step; None for 0.
    lengths : array_like of integers (N), optional
        0 to T for each sample, in any order. Steps beyond are not computed.
    reverse : bool
        From the last step of each sample to its first.
    recompute : int
        k > 0: the cache keeps the memory of every k-th step only, and backward computes the rest again from y:
        ``ceil(T / k) N H`` numbers instead of ``5 T N H``. Gradients by x and the state are the same to the bit, those
        by weights are summed over k steps at a time.
    training : bool
        False where no backward follows: the cache is None and memory does not grow with T.
    batch_first : bool
        All that is by step is (N, T, ...) instead of (T, N, ...): x, y and dy, and what backward and gates give.
    weight_hr : array_like (P, H), optional
        Projects: ``h = weight_hr (o tanh(c))`` has P features instead of H, as have y, h0, h_n, their derivatives and
        the columns of weight_hh (4H, P); torch's proj_size. Sak, Senior, Beaufays 2014, arXiv:1402.1128. The cache
        takes ``T N H`` more, with `recompute` none.
    norm : norm_weight_ih (4H), norm_weight_hh (4H), norm_weight_c (H), norm_bias_c (H), optional
        Layer norm (Ba, Kiros, Hinton 2016, arXiv:1607.06450, appendix; eps 1e-5): ``a = norm_weight_ih
        norm(weight_ih x) + norm_weight_hh norm(weight_hh h) + bias_ih + bias_hh``, each norm over all 4H, and ``h = o
        tanh(norm_weight_c norm(c) + norm_bias_c)``; c is carried as it is. Each may be None, for 1 and, the last, for
        0. A norm of one unit is 0. Not with weight_hr; the cache takes ``T N`` rows of 10H numbers and 3 of float64.

    Returns
    -------
    y : ndarray (T, N, H)
        h of every step, 0 beyond a sample's length.
    h_n, c_n : ndarray (N, H)
        The state after each sample's last step.
    cache : ndarray
        What `lstm_backward` and `lstm_gates` want back.

    Raises
    ------
    ValueError, TypeError
        For shapes and dtypes that do not fit, lengths outside 0 to T.

    Examples
    --------
    >>> import numpy as np
    >>> weights = np.zeros((4, 1)), np.zeros((4, 1)), np.array([50.0, 50.0, 50.0, 50.0])  # all gates open
    >>> y, h_n, c_n, cache = lstm_forward(np.zeros((3, 1, 1)), weights)
    >>> c_n
    array([[3.]])
    """
    cell, arrays = _lstm(weights, weight_hr, norm)
    return _core.recurrent_forward(cell, x, arrays, h0, c0, lengths, reverse, recompute, training, None, batch_first)


def lstm_backward(
    x: ArrayLike,
    weights: Sequence[ArrayLike | None],
    y: ArrayLike,
    cache: Array,
    dy: ArrayLike | None = None,
    dh_n: ArrayLike | None = None,
    dc_n: ArrayLike | None = None,
    h0: ArrayLike | None = None,
    *,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    recompute: int = 0,
    steps: bool = False,
    batch_first: bool = False,
    measure: bool = False,
    weight_hr: ArrayLike | None = None,
    norm: Sequence[ArrayLike | None] | None = None,
) -> dict[str, Any]:
    """Gradients of `lstm_forward`, free of cancellation where gates saturate.

    Parameters
    ----------
    x, weights, h0, lengths, reverse, recompute, batch_first, weight_hr, norm
        As `lstm_forward` had them.
    y, cache : ndarray
        What it gave.
    dy : array_like (T, N, H), optional
        Derivative of the loss by y; None for 0. Not read beyond a sample's length.
    dh_n, dc_n : array_like (N, H), optional
        Derivatives by h_n and c_n; None for 0.
    steps : bool
        Also the derivative of the loss by h and c of every step, through y and all later steps: what says where a
        gradient dies.
    measure : bool
        Also ``measured``: a dict of float64 arrays, sums over the samples that run at a step and their units. Entry s
        is the s-th step that each takes (with `reverse` from its last time on). (T) each: ``rows``, samples running;
        ``h``, ``c``, ``dh``, ``dc``, squares of the state after the step and of the derivatives by it by all paths;
        ``path``, squares of the part of dc that came along the memory alone, times the forget gate a step, as if the
        products with weight_hh had no derivative; ``rest``, squares of what it lacks of dc. (T, 4) each, by gate:
        ``gate``, values; ``low`` and ``high``, how many are at most 0.1 and at least 0.9 (g: -0.9 and 0.9). The bits do
        not depend on the number of threads.

    Returns
    -------
    dict of ndarray
        ``dx`` (T, N, I), ``dweight_ih``, ``dweight_hh``, and those that there are of ``dbias_ih``, ``dbias_hh``,
        ``dweight_hr``, ``dnorm_weight_ih``, ``dnorm_weight_hh``, ``dnorm_weight_c``, ``dnorm_bias_c``; ``dh0`` and
        ``dc0`` (N, H); with `steps` ``dh`` and ``dc`` (T, N, H). 0
        beyond a sample's length. With `measure` the dict ``measured``.

    Examples
    --------
    A memory whose forget gate is half open: the gradient halves a step.

    >>> import numpy as np
    >>> x, weights = np.ones((3, 1, 1)), (np.zeros((4, 1)), np.zeros((4, 1)))
    >>> y, h_n, c_n, cache = lstm_forward(x, weights)
    >>> lstm_backward(x, weights, y, cache, dc_n=np.ones((1, 1)), steps=True)["dc"][:, 0, 0]
    array([0.25, 0.5 , 1.  ])
    >>> lstm_backward(x, weights, y, cache, dc_n=np.ones((1, 1)), measure=True)["measured"]["path"]
    array([0.0625, 0.25  , 1.    ])
    """
    cell, arrays = _lstm(weights, weight_hr, norm)
    return _core.recurrent_backward(
        cell,
        x,
        arrays,
        y,
        cache,
        dy,
        dh_n,
        dc_n,
        h0,
        lengths,
        reverse,
        recompute,
        steps,
        batch_first,
        measure,
    )


def lstm_gates(
    weights: Sequence[ArrayLike | None],
    y: ArrayLike,
    cache: Array,
    *,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    batch_first: bool = False,
    weight_hr: ArrayLike | None = None,
    norm: Sequence[ArrayLike | None] | None = None,
) -> tuple[Array, Array]:
    """Values of the gates i, f, g, o (T, N, 4H) and the memory c (T, N, H) of every step, from a full cache.

    Zero beyond a sample's length.

    Examples
    --------
    >>> import numpy as np
    >>> weights = np.zeros((4, 1)), np.zeros((4, 1))
    >>> y, h_n, c_n, cache = lstm_forward(np.ones((1, 1, 1)), weights)
    >>> lstm_gates(weights, y, cache)[0]
    array([[[0.5, 0.5, 0. , 0.5]]])
    """
    return _core.recurrent_gates(*_lstm(weights, weight_hr, norm), y, cache, lengths, reverse, batch_first)


def gru_forward(
    x: ArrayLike,
    weights: Sequence[ArrayLike | None],
    h0: ArrayLike | None = None,
    *,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    recompute: int = 0,
    training: bool = True,
    batch_first: bool = False,
    reset_after: bool = True,
) -> tuple[Array, Array, Array]:
    """``y``, ``h_n``, ``cache`` of a GRU, torch.nn.GRU's one layer, one direction; else as `lstm_forward`.

    ``r, z = sigmoid(a)``, ``n = tanh(weight_ih x + bias_ih + r (weight_hh h + bias_hh))``, ``h = (1 - z) n + z h``,
    weights (3H, I) and (3H, H) in the order r, z, n. Cho et al. 2014, arXiv:1406.1078, with the reset gate after the
    product. The cache is ``4 T N H`` numbers; none with recompute.

    With ``reset_after=False`` the gate comes before the product, as in the paper itself, ONNX (linear_before_reset=0)
    and Keras: ``n = tanh(weight_ih x + bias_ih + weight_hh (r h) + bias_hh)``, two products with the state a step. The
    cache is then ``3 T N H`` numbers, and `gru_backward` and `gru_gates` need the same argument.

    Examples
    --------
    >>> import numpy as np
    >>> weights = np.zeros((3, 1)), np.zeros((3, 1))
    >>> gru_forward(np.ones((2, 1, 1)), weights, h0=np.ones((1, 1)))[1]
    array([[0.25]])
    >>> weights = np.zeros((3, 1)), np.array([[0.0], [0.0], [2.0]]), None, np.array([0.0, 0.0, 1.0])
    >>> for after in (True, False):  # tanh(r (2 h + 1)) and tanh(2 r h + 1), r = z = 1/2
    ...     print(gru_forward(np.ones((1, 1, 1)), weights, h0=np.ones((1, 1)), reset_after=after)[1].round(4))
    [[0.9526]]
    [[0.982]]
    """
    y, h_n, _, cache = _core.recurrent_forward(
        _gru(reset_after), x, _four(weights), h0, None, lengths, reverse, recompute, training, None, batch_first
    )
    return y, h_n, cache


def gru_backward(
    x: ArrayLike,
    weights: Sequence[ArrayLike | None],
    y: ArrayLike,
    cache: Array,
    dy: ArrayLike | None = None,
    dh_n: ArrayLike | None = None,
    h0: ArrayLike | None = None,
    *,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    recompute: int = 0,
    steps: bool = False,
    batch_first: bool = False,
    measure: bool = False,
    reset_after: bool = True,
) -> dict[str, Any]:
    """Gradients of `gru_forward`; as `lstm_backward`, without a memory.

    ``measured["path"]`` and ``["rest"]`` are of dh, times z a step; gates are r, z, n.

    Examples
    --------
    >>> import numpy as np
    >>> x, weights = np.ones((2, 1, 1)), (np.zeros((3, 1)), np.zeros((3, 1)))
    >>> y, h_n, cache = gru_forward(x, weights)
    >>> gru_backward(x, weights, y, cache, dh_n=np.ones((1, 1)))["dh0"]
    array([[0.25]])
    """
    return _core.recurrent_backward(
        _gru(reset_after),
        x,
        _four(weights),
        y,
        cache,
        dy,
        dh_n,
        None,
        h0,
        lengths,
        reverse,
        recompute,
        steps,
        batch_first,
        measure,
    )


def gru_gates(
    weights: Sequence[ArrayLike | None],
    y: ArrayLike,
    cache: Array,
    *,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    batch_first: bool = False,
    reset_after: bool = True,
) -> Array:
    """Values of r, z, n (T, N, 3H) of every step, from a full cache; as `lstm_gates`.

    Examples
    --------
    >>> import numpy as np
    >>> weights = np.zeros((3, 1)), np.zeros((3, 1))
    >>> y, h_n, cache = gru_forward(np.ones((1, 1, 1)), weights)
    >>> gru_gates(weights, y, cache)
    array([[[0.5, 0.5, 0. ]]])
    """
    return _core.recurrent_gates(_gru(reset_after), _four(weights), y, cache, lengths, reverse, batch_first)[0]


def rnn_forward(
    x: ArrayLike,
    weights: Sequence[ArrayLike | None],
    h0: ArrayLike | None = None,
    *,
    nonlinearity: Literal["tanh", "relu"] = "tanh",
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    recompute: int = 0,
    training: bool = True,
    batch_first: bool = False,
) -> tuple[Array, Array, Array]:
    """``y``, ``h_n``, ``cache`` of a vanilla RNN, torch.nn.RNN's one layer, one direction; else as `lstm_forward`.

    ``h = f(weight_ih x + bias_ih + weight_hh h + bias_hh)``, weights (H, I) and (H, H). Elman 1990. The cache is
    ``T N H`` numbers; none with recompute.

    Examples
    --------
    >>> import numpy as np
    >>> weights = np.ones((1, 1)), np.ones((1, 1))
    >>> rnn_forward(np.ones((3, 1, 1)), weights, nonlinearity="relu")[1]
    array([[3.]])
    """
    y, h_n, _, cache = _core.recurrent_forward(
        _rnn(nonlinearity), x, _four(weights), h0, None, lengths, reverse, recompute, training, None, batch_first
    )
    return y, h_n, cache


def rnn_backward(
    x: ArrayLike,
    weights: Sequence[ArrayLike | None],
    y: ArrayLike,
    cache: Array,
    dy: ArrayLike | None = None,
    dh_n: ArrayLike | None = None,
    h0: ArrayLike | None = None,
    *,
    nonlinearity: Literal["tanh", "relu"] = "tanh",
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    recompute: int = 0,
    steps: bool = False,
    batch_first: bool = False,
    measure: bool = False,
) -> dict[str, Any]:
    """Gradients of `rnn_forward`; as `lstm_backward`, without a memory.

    ``measured`` has no path and no rest; its one gate is h: ``low`` and ``high`` from -0.9 and 0.9 on, or of a relu 0
    and none.

    Examples
    --------
    >>> import numpy as np
    >>> x, weights = np.ones((3, 1, 1)), (np.ones((1, 1)), np.full((1, 1), 0.5))
    >>> y, h_n, cache = rnn_forward(x, weights, nonlinearity="relu")
    >>> rnn_backward(x, weights, y, cache, dh_n=np.ones((1, 1)), nonlinearity="relu")["dh0"]
    array([[0.125]])
    """
    return _core.recurrent_backward(
        _rnn(nonlinearity),
        x,
        _four(weights),
        y,
        cache,
        dy,
        dh_n,
        None,
        h0,
        lengths,
        reverse,
        recompute,
        steps,
        batch_first,
        measure,
    )


def lstm_cell_forward(
    x: ArrayLike,
    weights: Sequence[ArrayLike | None],
    h: ArrayLike | None = None,
    c: ArrayLike | None = None,
    *,
    norm: Sequence[ArrayLike | None] | None = None,
) -> tuple[Array, Array, Array]:
    """One step of `lstm_forward`, torch.nn.LSTMCell: the new ``h`` and ``c`` (N, H), and ``cache``.

    Parameters
    ----------
    x : array_like (N, I)
    weights, norm
        As `lstm_forward`.
    h, c : array_like (N, H), optional

    Examples
    --------
    >>> import numpy as np
    >>> h, c, cache = lstm_cell_forward(np.ones((1, 1)), (np.zeros((4, 1)), np.zeros((4, 1))), c=np.ones((1, 1)))
    >>> c
    array([[0.5]])
    """
    _, h_new, c_new, cache = lstm_forward(_one_step("x", x), weights, h, c, norm=norm)
    return h_new, c_new, cache


def lstm_cell_backward(
    x: ArrayLike,
    weights: Sequence[ArrayLike | None],
    cache: Array,
    dh: ArrayLike | None = None,
    dc: ArrayLike | None = None,
    h: ArrayLike | None = None,
    *,
    norm: Sequence[ArrayLike | None] | None = None,
) -> dict[str, Array]:
    """Gradients of `lstm_cell_forward` from those by the new state: ``dx`` (N, I), ``dh``, ``dc`` by the old, weights.

    Examples
    --------
    >>> import numpy as np
    >>> x, weights = np.ones((1, 1)), (np.zeros((4, 1)), np.zeros((4, 1)))
    >>> cache = lstm_cell_forward(x, weights)[2]
    >>> lstm_cell_backward(x, weights, cache, dc=np.ones((1, 1)))["dc"]
    array([[0.5]])
    """
    cell, arrays = _lstm(weights, None, norm)
    return _cell_backward(cell, x, arrays, cache, dh, dc, h)


def gru_cell_forward(
    x: ArrayLike, weights: Sequence[ArrayLike | None], h: ArrayLike | None = None, *, reset_after: bool = True
) -> tuple[Array, Array]:
    """One step of `gru_forward`, torch.nn.GRUCell: the new ``h`` (N, H), and ``cache``.

    Examples
    --------
    >>> import numpy as np
    >>> gru_cell_forward(np.ones((1, 1)), (np.zeros((3, 1)), np.zeros((3, 1))), np.ones((1, 1)))[0]
    array([[0.5]])
    """
    return gru_forward(_one_step("x", x), weights, h, reset_after=reset_after)[1:]


def gru_cell_backward(
    x: ArrayLike,
    weights: Sequence[ArrayLike | None],
    cache: Array,
    dh: ArrayLike,
    h: ArrayLike | None = None,
    *,
    reset_after: bool = True,
) -> dict[str, Array]:
    """Gradients of `gru_cell_forward`: ``dx`` (N, I), ``dh`` by the old state, weights.

    Examples
    --------
    >>> import numpy as np
    >>> x, weights = np.ones((1, 1)), (np.zeros((3, 1)), np.zeros((3, 1)))
    >>> gru_cell_backward(x, weights, gru_cell_forward(x, weights)[1], np.ones((1, 1)))["dh"]
    array([[0.5]])
    """
    return _cell_backward(_gru(reset_after), x, _four(weights), cache, dh, None, h)


def rnn_cell_forward(
    x: ArrayLike,
    weights: Sequence[ArrayLike | None],
    h: ArrayLike | None = None,
    nonlinearity: Literal["tanh", "relu"] = "tanh",
) -> tuple[Array, Array]:
    """One step of `rnn_forward`, torch.nn.RNNCell: the new ``h`` (N, H), and ``cache``.

    Examples
    --------
    >>> import numpy as np
    >>> rnn_cell_forward(np.ones((1, 1)), (np.ones((1, 1)), np.ones((1, 1))), np.ones((1, 1)), "relu")[0]
    array([[2.]])
    """
    return rnn_forward(_one_step("x", x), weights, h, nonlinearity=nonlinearity)[1:]


def rnn_cell_backward(
    x: ArrayLike,
    weights: Sequence[ArrayLike | None],
    cache: Array,
    dh: ArrayLike,
    h: ArrayLike | None = None,
    nonlinearity: Literal["tanh", "relu"] = "tanh",
) -> dict[str, Array]:
    """Gradients of `rnn_cell_forward`: ``dx`` (N, I), ``dh`` by the old state, weights.

    Examples
    --------
    >>> import numpy as np
    >>> x, weights = np.ones((1, 1)), (np.ones((1, 1)), np.full((1, 1), 0.5))
    >>> cache = rnn_cell_forward(x, weights, nonlinearity="relu")[1]
    >>> rnn_cell_backward(x, weights, cache, np.ones((1, 1)), nonlinearity="relu")["dh"]
    array([[0.5]])
    """
    return _cell_backward(_rnn(nonlinearity), x, _four(weights), cache, dh, None, h)


def _four(weights: Sequence[ArrayLike | None]) -> tuple[ArrayLike | None, ...]:
    if not 2 <= len(weights) <= 4:
        raise ValueError(f"weights has {len(weights)} arrays; expected weight_ih, weight_hh and two biases or none")
    weight_ih, weight_hh, *biases = weights
    return weight_ih, weight_hh, *biases, *[None] * (2 - len(biases))


def _lstm(
    weights: Sequence[ArrayLike | None], weight_hr: ArrayLike | None, norm: Sequence[ArrayLike | None] | None
) -> tuple[str, tuple[ArrayLike | None, ...]]:
    """The cell's name and its arrays."""
    four = _four(weights)
    if norm is None:
        return "lstm", (*four, weight_hr)
    if weight_hr is not None:
        raise ValueError("weight_hr is given with norm; expected None: an LSTM with layer norm has no projection")
    if len(norm) != 4:
        raise ValueError(
            f"norm has {len(norm)} arrays; expected norm_weight_ih, norm_weight_hh, norm_weight_c, norm_bias_c"
        )
    return "lstm_norm", (*four, *norm)


def _rnn(nonlinearity: str) -> str:
    return "rnn_" + choice("nonlinearity", nonlinearity, ("tanh", "relu"))


def _gru(reset_after: bool) -> str:
    return "gru" if reset_after else "gru_reset_before"


def _one_step(name: str, a: ArrayLike) -> Array:
    made = np.asarray(a)
    if made.ndim != 2:
        raise ValueError(f"{name} has shape {made.shape}; expected 2 dimensions")
    return made[None]


def _cell_backward(
    cell: str,
    x: ArrayLike,
    arrays: tuple[ArrayLike | None, ...],
    cache: Array,
    dh: ArrayLike | None,
    dc: ArrayLike | None,
    h: ArrayLike | None,
) -> dict[str, Array]:
    steps = _one_step("x", x)
    H = np.asarray(arrays[1]).shape[-1]
    y = np.empty((1, len(steps[0]), H), steps.dtype)  # backward reads that of earlier steps: there are none
    out = _core.recurrent_backward(cell, steps, arrays, y, cache, None, dh, dc, h)
    out["dx"] = out["dx"][0]
    out["dh"] = out.pop("dh0")
    if "dc0" in out:
        out["dc"] = out.pop("dc0")
    return out


def losses() -> dict[str, str]:
    """Names of the losses, and whether their target is class indices ("classes") or values ("values").

    Examples
    --------
    >>> losses()["cross_entropy"]
    'classes'
    """
    return {name: row["target"] for name, row in _core.losses().items()}


def loss_parameters(name: str) -> dict[str, tuple[float, float, float]]:
    """Parameters of a loss: name to (default, lowest, highest).

    Examples
    --------
    >>> loss_parameters("huber")["delta"][0]
    1.0
    """
    row: dict[str, dict[str, tuple[float, float, float]]] = _lookup("name", name, _core.losses())
    return row["parameters"]


def loss(
    name: str, y: ArrayLike, target: ArrayLike, class_weights: ArrayLike | None = None, **params: float
) -> tuple[float, Array]:
    """Value of a loss and its derivative by y (N, C).

    ``cross_entropy`` takes int64 classes (N) and averages over rows; ``mse``, ``huber`` and ``bce_with_logits`` take
    values (N, C) and average over all; ``dot`` is the plain sum of ``y * target``. The mean over an empty batch is NaN.
    Formulas are torch.nn's: a mean weighted by class divides by the sum of the targets' weights.

    Parameters
    ----------
    name : str
    y : (N, C)
    target : (N) or (N, C)
    class_weights : (C), optional
        For losses of classes; finite, 0 or more.
    **params : float
        See `loss_parameters`.

    Raises
    ------
    IndexError
        If a class is outside 0 to C - 1.

    Examples
    --------
    >>> import numpy as np
    >>> value, dy = loss("mse", np.array([[1.0]]), np.array([[3.0]]))
    >>> value, dy[0, 0]
    (4.0, np.float64(-4.0))
    """
    return _core.loss(name, y, target, class_weights, **params)


def optimizers() -> tuple[str, ...]:
    """Names of the optimisers.

    Examples
    --------
    >>> "sgd" in optimizers()
    True
    """
    return tuple(_core.optimizers())


def optimizer_parameters(name: str) -> dict[str, tuple[float, float, float]]:
    """Parameters of an optimiser: name to (default, lowest, highest).

    Examples
    --------
    >>> optimizer_parameters("sgd")["momentum"]
    (0.0, 0.0, 1.0)
    """
    parameters: dict[str, tuple[float, float, float]] = _lookup("name", name, _core.optimizers())["parameters"]
    return parameters


def optimizer_slots(name: str) -> int:
    """How many state vectors an optimiser keeps for each parameter.

    Examples
    --------
    >>> optimizer_slots("sgd")
    1
    """
    slots: int = _lookup("name", name, _core.optimizers())["slots"]
    return slots


def optimizer_step(
    name: str,
    parameters: NDArray[Any],
    gradients: ArrayLike,
    slots: NDArray[Any],
    learning_rate: float,
    step: int,
    **params: float,
) -> None:
    """One step of an optimiser on a flat vector, in place; torch.optim's formulas and defaults.

    Parameters
    ----------
    parameters : ndarray (n), changed
    gradients : array_like (n)
    slots : ndarray (optimizer_slots(name), n), changed; zeros before the first step
    learning_rate : float
    step : int
        1 for the first step.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.array([1.0])
    >>> optimizer_step("sgd", w, np.array([0.5]), np.zeros((1, 1)), learning_rate=0.1, step=1)
    >>> w
    array([0.95])
    """
    _core.optimizer_step(name, parameters, gradients, slots, learning_rate, step, **params)


@dataclass(frozen=True)
class Moments:
    """Counts over an array, and sums over its finite elements in float64.

    ``norm`` is ``sqrt(sum x²)`` and ``deviation`` ``sqrt(mean (x - mean)²)``: right for all that float64 holds, where
    ``sum_squares`` is 0 below 1e-162 and inf above 1e154, and ``sum_squares / count - mean²`` would cancel. ``zeros``
    counts exact zeros, ``subnormals`` non-zero numbers below the smallest normal one of the dtype.
    """

    count: int
    zeros: int
    subnormals: int
    nans: int
    infs: int
    sum: float
    sum_squares: float
    max_abs: float
    norm: float
    deviation: float


def moments(x: ArrayLike) -> Moments:
    """`Moments` of an array of any shape.

    Examples
    --------
    >>> import numpy as np
    >>> moments(np.array([3.0, 4.0, 0.0, np.nan])).norm
    5.0
    """
    return Moments(**_core.moments(x))


def isas() -> tuple[str, ...]:
    """Instruction sets that this build has and this CPU supports, worst first.

    Examples
    --------
    >>> isas()[0]
    'scalar'
    """
    return _core.isas()


def isa() -> str:
    """The instruction set whose kernels run: the last of `isas`, unless `set_isa` or the environment variable
    GRADIOMETER_ISA names another.

    Examples
    --------
    >>> isa() in isas()
    True
    """
    return _core.isa()


def set_isa(name: str | None) -> None:
    """Choose the instruction set by name; None for the best again. ValueError if it is not one of `isas`.

    Examples
    --------
    >>> set_isa(None)
    """
    if name is not None and name not in isas():
        raise ValueError(f"name is {name!r}; expected one of: {', '.join(isas())}")
    _core.set_isa(name)


def threads() -> int:
    """How many threads a call may use.

    Examples
    --------
    >>> threads() >= 1
    True
    """
    return _core.threads()


def set_threads(n: int) -> None:
    """Set how many threads a call may use; 0 for the default again. Results do not depend on it by a bit.

    Examples
    --------
    >>> set_threads(0)
    """
    _core.set_threads(n)


def _lookup(argument: str, name: str, rows: Mapping[str, Any]) -> Any:
    return rows[choice(argument, name, rows)]


_wrong_choice = _core.isa_error()  # by the environment: said once, where kernels are first used
if _wrong_choice is not None:
    warnings.warn(f"{_wrong_choice}; {isa()} runs instead", RuntimeWarning, stacklevel=2)
