"""A network as it was, its weights packed once: answers to a few samples in about a microsecond."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from gradiometer import _core

__all__ = ["Inference"]


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
