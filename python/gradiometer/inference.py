"""A network as it was, its weights packed once: answers to a few samples, or step by step, in microseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gradiometer.recurrent import Stepper

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from gradiometer import _core

__all__ = ["Inference", "Stream"]


class Inference:
    """A network in evaluation mode, as it was when ``net.inference()`` made it.

    Parameters and running statistics are copied and the weights packed once, so a call packs nothing, starts no thread
    and, with `out`, allocates nothing (an array of another dtype or layout is converted). Later changes of the network
    do not reach it: make another. The bits are those of ``net.predict``, which uses all threads and is faster for
    thousands of samples. Threads may share it; their calls take turns.

    Examples
    --------
    >>> import gradiometer as gm
    >>> import numpy as np
    >>> answer = gm.mlp(4, [8, 8], 2, rng=0).inference()
    >>> x, y = np.ones(4, np.float32), np.empty(2, np.float32)
    >>> answer(x, out=y) is y
    True
    >>> answer
    Inference(4 -> 2)
    """

    __slots__ = ("_forward", "_native")

    def __init__(self, native: _core.Inference) -> None:
        self._native = native
        self._forward = native.forward

    @property
    def in_features(self) -> int:
        """Features of a sample."""
        return self._native.in_features

    @property
    def out_features(self) -> int:
        """Features of an answer."""
        return self._native.out_features

    def __call__(self, x: ArrayLike, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """The network's output.

        Parameters
        ----------
        x : array_like (N, in_features) or (in_features,)
        out : ndarray (N, out_features) or (out_features,), optional
            Where to, of the network's dtype, contiguous.

        Returns
        -------
        ndarray
            `out` if given.

        Raises
        ------
        ValueError, TypeError
            For a shape or dtype that does not fit.
        """
        y: NDArray[Any] = self._forward(x, out)
        return y

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("an Inference cannot be pickled or copied; expected the network, and inference() where it goes")

    def __repr__(self) -> str:
        return f"Inference({self.in_features} -> {self.out_features})"


class Stream:
    """A network of sequences in evaluation mode, as it was when ``net.stream()`` made it, one step at a time as data
    come: weights packed once, the state of its recurrent layers kept.

    ``step(x)`` answers as ``net.predict`` would for the sequences up to this step, with ``output="all"`` for the step
    itself; to the bit. Later changes of the network do not reach it: make another.

    Attributes
    ----------
    states : list of Stepper
        One a recurrent layer, in order: ``stream.states[0].h`` and ``.c``, (num_layers, N, H), may be written into, to
        begin with another state than 0 or to go on from one that was kept.

    Examples
    --------
    >>> import gradiometer as gm
    >>> import numpy as np
    >>> net = gm.Sequential(gm.LSTM(3, 8, rng=0), gm.Linear(8, 2, rng=1))
    >>> x, stream = np.ones((5, 3), np.float32), net.stream()
    >>> for row in x:
    ...     y = stream.step(row)
    >>> bool((y == net.predict(x[None])).all())
    True
    >>> stream.reset()
    """

    __slots__ = ("_stages", "batch", "dtype", "in_features", "out_features", "states")

    def __init__(
        self, stages: list[Stepper | Inference], batch: int, in_features: int, out_features: int, dtype: str
    ) -> None:
        self.states = [stage for stage in stages if isinstance(stage, Stepper)]
        self._stages = [stage.step if isinstance(stage, Stepper) else stage for stage in stages]
        self.batch, self.in_features, self.out_features, self.dtype = batch, in_features, out_features, dtype

    def step(self, x: ArrayLike) -> NDArray[Any]:
        """The answer after one more step.

        Parameters
        ----------
        x : array_like (N, in_features), or (in_features,) for one sample
            Of another dtype converted.

        Returns
        -------
        ndarray (N, out_features)

        Raises
        ------
        ValueError, TypeError
            For a shape or dtype that does not fit; the state is then as it was.
        """
        y: Any = np.asarray(x)
        if y.dtype.kind not in "fiu":
            raise TypeError(f"x has dtype {y.dtype}; expected real numbers")
        y = y.astype(self.dtype, copy=False)
        if y.shape == (self.in_features,) and self.batch == 1:
            y = y[None]
        if y.shape != (self.batch, self.in_features):
            raise ValueError(f"x has shape {y.shape}; expected {(self.batch, self.in_features)}")
        for stage in self._stages:
            y = stage(y)
        out: NDArray[Any] = y
        return out

    def reset(self) -> None:
        """The states back to 0."""
        for state in self.states:
            state.reset()

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a Stream cannot be pickled or copied; expected the network, and stream() where it goes")

    def __repr__(self) -> str:
        return f"Stream({self.in_features} -> {self.out_features}, batch={self.batch})"
