"""Initial weights: the classical rules, and the gain of any activation by quadrature.

Weights have the shape ``(out, in)``. Random numbers come from ``numpy.random.default_rng(rng)`` in float64
and are rounded to `dtype`, so float32 and float64 weights of one seed agree."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gradiometer.arguments import choice, generator, positive, real
from gradiometer.theory.quadrature import moments

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = [
    "by_name",
    "chrono",
    "gain",
    "he_normal",
    "he_uniform",
    "identity",
    "lecun_normal",
    "lecun_uniform",
    "names",
    "orthogonal",
    "torch_default",
    "xavier_normal",
    "xavier_uniform",
]

Rng = Any
"""Whatever ``numpy.random.default_rng`` takes: None, a seed, a SeedSequence, a Generator."""

Initialiser = Callable[..., "NDArray[Any]"]


def xavier_normal(
    shape: tuple[int, int], *, gain: float = 1.0, rng: Rng = None, dtype: DTypeLike = "float32"
) -> NDArray[Any]:
    """Normal with variance ``gain^2 2 / (in + out)`` (Glorot & Bengio 2010).

    Parameters
    ----------
    shape : (out, in)
    gain : float
        Multiplies the rule's standard deviation; see `gain`.
    rng : None, int, SeedSequence or Generator
    dtype : float32 or float64

    Returns
    -------
    ndarray (out, in)

    Raises
    ------
    TypeError, ValueError
        If an argument is not as stated.

    Examples
    --------
    >>> w = xavier_normal((50, 100), rng=0)
    >>> w.shape, w.dtype, bool(abs(w.std() * 75**0.5 - 1) < 0.05)
    ((50, 100), dtype('float32'), True)
    """
    fan_out, fan_in = _shape(shape)
    return _normal(shape, 2.0 / (fan_in + fan_out), gain, rng, dtype)


def xavier_uniform(
    shape: tuple[int, int], *, gain: float = 1.0, rng: Rng = None, dtype: DTypeLike = "float32"
) -> NDArray[Any]:
    """Uniform with variance ``gain^2 2 / (in + out)`` (Glorot & Bengio 2010); arguments of
    `xavier_normal`."""
    fan_out, fan_in = _shape(shape)
    return _uniform(shape, 2.0 / (fan_in + fan_out), gain, rng, dtype)


def he_normal(
    shape: tuple[int, int], *, gain: float = 1.0, rng: Rng = None, dtype: DTypeLike = "float32"
) -> NDArray[Any]:
    """Normal with variance ``gain^2 2 / in`` (He et al. 2015, arXiv:1502.01852), which keeps relu's signal
    and gradient; arguments of `xavier_normal`."""
    return _normal(shape, 2.0 / _shape(shape)[1], gain, rng, dtype)


def he_uniform(
    shape: tuple[int, int], *, gain: float = 1.0, rng: Rng = None, dtype: DTypeLike = "float32"
) -> NDArray[Any]:
    """Uniform with variance ``gain^2 2 / in`` (He et al. 2015, arXiv:1502.01852); arguments of
    `xavier_normal`."""
    return _uniform(shape, 2.0 / _shape(shape)[1], gain, rng, dtype)


def lecun_normal(
    shape: tuple[int, int], *, gain: float = 1.0, rng: Rng = None, dtype: DTypeLike = "float32"
) -> NDArray[Any]:
    """Normal with variance ``gain^2 / in`` (LeCun et al. 1998): with ``gain=init.gain(activation)`` the rule
    fitted to any activation, with gain 1 that of selu; arguments of `xavier_normal`."""
    return _normal(shape, 1.0 / _shape(shape)[1], gain, rng, dtype)


def lecun_uniform(
    shape: tuple[int, int], *, gain: float = 1.0, rng: Rng = None, dtype: DTypeLike = "float32"
) -> NDArray[Any]:
    """Uniform with variance ``gain^2 / in`` (LeCun et al. 1998); arguments of `xavier_normal`."""
    return _uniform(shape, 1.0 / _shape(shape)[1], gain, rng, dtype)


def torch_default(
    shape: tuple[int, int], *, gain: float = 1.0, rng: Rng = None, dtype: DTypeLike = "float32"
) -> NDArray[Any]:
    """Uniform between ``-gain / sqrt(in)`` and ``gain / sqrt(in)``, what torch.nn.Linear does: variance
    ``1 / (3 in)``, so that gradients vanish with depth in every classical activation; arguments of
    `xavier_normal`."""
    return _uniform(shape, 1.0 / (3.0 * _shape(shape)[1]), gain, rng, dtype)


def orthogonal(
    shape: tuple[int, int], *, gain: float = 1.0, rng: Rng = None, dtype: DTypeLike = "float32"
) -> NDArray[Any]:
    """`gain` times a matrix with orthonormal rows (columns, if there are more rows than columns), uniform
    over all such matrices (Saxe et al. 2014, arXiv:1312.6120); arguments of `xavier_normal`.

    Examples
    --------
    >>> w = orthogonal((3, 5), rng=0, dtype="float64")
    >>> bool(np.allclose(w @ w.T, np.eye(3)))
    True
    """
    fan_out, fan_in = _shape(shape)
    gaussian = generator("rng", rng).standard_normal((max(fan_out, fan_in), min(fan_out, fan_in)))
    q, r = np.linalg.qr(gaussian)
    # LAPACK fixes the signs of R's diagonal by its algorithm: without this Q is not uniform (Haar).
    q *= np.sign(np.diagonal(r))
    return np.ascontiguousarray(real("gain", gain) * (q if fan_out >= fan_in else q.T), dtype=_dtype(dtype))


def identity(
    shape: tuple[int, int], *, gain: float = 1.0, rng: Rng = None, dtype: DTypeLike = "float32"
) -> NDArray[Any]:
    """`gain` times the identity, for the weight of a recurrent layer by its own state: that of an IRNN (Le et al. 2015,
    arXiv:1504.00941); arguments of `xavier_normal`, `rng` is not used.

    Examples
    --------
    >>> identity((2, 2), gain=0.5, dtype="float64")
    array([[0.5, 0. ],
           [0. , 0.5]])
    """
    fan_out, fan_in = _shape(shape)
    return np.asarray(real("gain", gain) * np.eye(fan_out, fan_in), _dtype(dtype))


def chrono(hidden: int, T_max: Any, *, rng: Rng = None, dtype: DTypeLike = "float32") -> NDArray[Any]:
    """Biases ``log U[1, T_max - 1]`` of the gates that keep a memory, of which each then lasts some time between 1 and
    `T_max` steps (Tallec & Ollivier 2018, arXiv:1804.11188). `LSTM` and `GRU` take it as ``init="chrono"``.

    Parameters
    ----------
    hidden : int
        Units.
    T_max : int
        Steps, 3 or more.
    rng : None, int, SeedSequence or Generator
    dtype : float32 or float64

    Returns
    -------
    ndarray (hidden)

    Examples
    --------
    >>> b = chrono(1000, 101, rng=0, dtype="float64")
    >>> bool(b.min() >= 0), bool(b.max() <= math.log(100)), bool(abs(np.exp(b).mean() - 50.5) < 2)
    (True, True, True)
    """
    hidden, steps = positive("hidden", hidden), positive("T_max", T_max)
    if steps < 3:
        raise ValueError(f"T_max is {steps}; expected 3 or more steps")
    return np.log(generator("rng", rng).uniform(1.0, steps - 1.0, hidden)).astype(_dtype(dtype))


_TABLE: dict[str, Initialiser] = {
    rule.__name__: rule
    for rule in (
        xavier_uniform,
        xavier_normal,
        he_uniform,
        he_normal,
        lecun_uniform,
        lecun_normal,
        orthogonal,
        torch_default,
    )
}


def names() -> tuple[str, ...]:
    """Names of the initialisers.

    Examples
    --------
    >>> "he_normal" in names()
    True
    """
    return tuple(_TABLE)


def by_name(name: str) -> Initialiser:
    """The initialiser of a name.

    Raises
    ------
    ValueError
        If there is none; the message lists them.

    Examples
    --------
    >>> by_name("orthogonal") is orthogonal
    True
    """
    return _TABLE[choice("init", name, _TABLE)]


def gain(activation: str, *, preserve: Literal["forward", "backward"] = "forward", **params: float) -> float:
    """Gain that keeps the signal, or the gradient, of an activation from layer to layer.

    By quadrature over a unit Gaussian pre-activation z. Weights of variance ``gain^2 / in`` keep

    - ``"forward"``: unit pre-activations, ``1 / sqrt(E phi(z)^2)``;
    - ``"backward"``: the norm of ``dL/dh``, ``1 / sqrt(E phi'(z)^2)``.

    Both are ``sqrt(2)`` for relu, ``sqrt(2 / (1 + slope^2))`` for leaky relu and 1 for identity; elsewhere
    they differ, and the backward gain holds only while pre-activations stay at unit variance, which it does
    not ensure.

    Parameters
    ----------
    activation : str
        Name of a kernel.
    preserve : str
    **params : float
        Parameters of the activation.

    Examples
    --------
    >>> round(gain("relu") ** 2, 12), round(gain("tanh"), 4), round(gain("tanh", preserve="backward"), 4)
    (2.0, 1.5925, 1.4674)
    """
    if preserve not in ("forward", "backward"):
        raise ValueError(f"preserve is {preserve!r}; expected one of: forward, backward")
    m = moments(activation, **params)
    return 1.0 / math.sqrt(m.second if preserve == "forward" else m.slope2)


def _normal(shape: tuple[int, int], variance: float, gain: float, rng: Rng, dtype: DTypeLike) -> NDArray[Any]:
    sd = real("gain", gain) * math.sqrt(variance)
    return (sd * generator("rng", rng).standard_normal(shape)).astype(_dtype(dtype))


def _uniform(shape: tuple[int, int], variance: float, gain: float, rng: Rng, dtype: DTypeLike) -> NDArray[Any]:
    bound = abs(real("gain", gain)) * math.sqrt(3.0 * variance)
    return generator("rng", rng).uniform(-bound, bound, shape).astype(_dtype(dtype))


def _shape(shape: tuple[int, int]) -> tuple[int, int]:
    try:
        fan_out, fan_in = shape
    except (TypeError, ValueError):
        raise ValueError(f"shape must be (out, in), got {shape!r}") from None
    for size in (fan_out, fan_in):
        if isinstance(size, bool) or not isinstance(size, int | np.integer):
            raise TypeError(f"shape must hold two integers (out, in), got {shape!r}")
        if size < 1:
            raise ValueError(f"shape must hold two sizes >= 1, got {shape!r}")
    return int(fan_out), int(fan_in)


def _dtype(dtype: DTypeLike) -> np.dtype[Any]:
    found = np.dtype(dtype)
    if found not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"dtype must be float32 or float64, got {found}")
    return found
