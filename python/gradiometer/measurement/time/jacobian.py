"""An RNN's product of Jacobians, its bounds, and what mean field theory says of its rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradiometer import kernels, theory
from gradiometer.measurement.time.result import Jacobian

__all__ = ["jacobian", "predicted_factor"]

Array = Any

SAMPLES = 4
WIDEST = 512
"""Of wider layers no product is formed: a step costs 2 H^3 for each sample."""
MOST_STEPS = 256


def jacobian(cell: str, x: Array, weights: Sequence[Array | None], y: Array, h0: Array, walks: list[Array]) -> Jacobian:
    """Bounds, and the product over the last steps of the longest sequences; `walks` are each sample's steps in the
    order in which the layer takes them."""
    recurrent = np.asarray(weights[1], np.float64)
    H = len(recurrent)
    if not np.isfinite(recurrent).all():
        return Jacobian(math.nan, math.nan, 1.0, math.nan, (), ())
    largest = float(np.linalg.norm(recurrent, 2))
    radius = float(np.abs(np.linalg.eigvals(recurrent)).max())
    longest = sorted((n for n in range(len(walks)) if len(walks[n])), key=lambda n: -len(walks[n]))
    chosen = longest[: SAMPLES if H <= WIDEST else 0]
    found = _norms([_slopes(cell, x, weights, y, h0, walks[n], n) for n in chosen], recurrent)
    return Jacobian(largest, radius, 1.0, largest, tuple(sorted(found)), tuple(found[k] for k in sorted(found)))


def _slopes(
    cell: str, x: Array, weights: Sequence[Array | None], y: Array, h0: Array, walk: Array, n: int
) -> list[Array]:
    """phi'(a_t) of a sample's last steps, the last first."""
    steps = walk[::-1][:MOST_STEPS]
    before = [h0[n] if len(walk) - 1 - k == 0 else y[walk[len(walk) - 2 - k], n] for k in range(len(steps))]
    a = _from_input(x[steps, n], weights) + np.asarray(before, np.float64) @ np.asarray(weights[1], np.float64).T
    if cell == "rnn_relu":
        return list((a > 0).astype(np.float64))
    small = np.exp(-2 * np.abs(a))
    return list(4 * small / (1 + small) ** 2)


def _norms(slopes: list[list[Array]], recurrent: Array) -> dict[int, float]:
    """Largest spectral norm over samples of D_T W D_(T-1) W ... after 1, 2, 3, 4, 6, 8, 12 ... steps and after all of
    a sample's, by the samples' slopes, longest first."""
    H, norms, left = len(recurrent), dict[int, float](), slopes
    wanted = {part << k for k in range(20) for part in (1, 3)}
    products = np.tile(np.eye(H), (len(left), 1))  # one below the other: a single product a step
    log_scales = np.zeros(len(left))
    for k in range(1, 1 + max(map(len, slopes), default=0)):
        products.reshape(-1, H, H)[...] *= np.array([of[k - 1] for of in left])[:, None]
        products = kernels.gemm(products, recurrent)
        sizes = np.abs(products).reshape(len(left), -1).max(1)
        keep = []
        for n, (of, size) in enumerate(zip(left, sizes, strict=True)):
            ended = not 0.0 < size < math.inf
            if ended:
                norms[k] = max(norms.get(k, 0.0), float(size))
            elif k in wanted or k == len(of):
                # by product productᵀ: 0.5 ms at 128 units, singular values 1.3
                product = products[n * H : (n + 1) * H] / size
                square = float(np.linalg.eigvalsh(product @ product.T)[-1])
                norm = math.exp(min(700.0, log_scales[n] + math.log(size) + math.log(square) / 2))
                norms[k] = max(norms.get(k, 0.0), norm)
            if not ended and k < len(of):
                keep.append(n)
        if not keep:
            break
        products = products.reshape(-1, H, H)
        if len(keep) < len(left):
            products, sizes, log_scales = products[keep], sizes[keep], log_scales[keep]
            left = [left[n] for n in keep]
        products = (products / sizes[:, None, None]).reshape(-1, H)
        log_scales = log_scales + np.log(sizes)
    return norms


def predicted_factor(cell: str, x: Array, weights: Sequence[Array | None]) -> float:
    """sqrt(chi) at the fixed point, for x (rows, I); NaN for a recurrent matrix that is not like independent entries
    of mean 0: scaled identity, or symmetric."""
    recurrent = np.asarray(weights[1], np.float64)
    H = len(recurrent)
    power = float(np.sum(recurrent**2)) / H
    gain = math.sqrt(power)
    # Of independent entries tr W has the standard deviation g, tr W^2 the mean g^2 and the deviation 1.4 g^2; of g I
    # they are H times g and g^2.
    alike = abs(np.trace(recurrent)) < 5 * gain and abs(np.sum(recurrent * recurrent.T)) < 8 * power
    if H < 16 or not alike:
        return math.nan
    driven = _from_input(x, weights)
    variance = float(np.mean(driven**2))
    if not math.isfinite(variance):
        return math.nan
    return math.sqrt(theory.fixed_point(cell.removeprefix("rnn_"), power, variance).chi)


def _from_input(x: Array, weights: Sequence[Array | None]) -> Array:
    """W_ih x + b_ih + b_hh in float64."""
    made = np.asarray(x, np.float64) @ np.asarray(weights[0], np.float64).T
    for bias in weights[2:]:
        if bias is not None:
            made = made + np.asarray(bias, np.float64)
    return made
