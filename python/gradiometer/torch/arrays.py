"""The numbers in tensors, as NumPy and our kernels take them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from numpy.typing import NDArray

from gradiometer import _core

__all__ = ["array", "joined", "moments", "tensors_in"]


def array(t: torch.Tensor) -> NDArray[Any]:
    """The numbers of a tensor as float32 or float64; a view where the tensor is one of them on the CPU."""
    t = t.detach()
    if t.dtype not in (torch.float32, torch.float64):
        t = t.to(torch.float32)
    found: NDArray[Any] = t.cpu().numpy()
    return found


def moments(t: torch.Tensor) -> dict[str, Any]:
    """Moments of a tensor as a mapping; subnormal by the tensor's own dtype."""
    found = _core.moments(array(t))
    if t.dtype == torch.float16:  # float32 holds all of its subnormals as normal numbers
        small = t.detach().abs()
        found["subnormals"] = int(((small > 0) & (small < torch.finfo(t.dtype).tiny)).sum())
    return found


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Floating-point tensors in what a module takes or returns: a tensor, or nested tuples, lists and mappings."""
    if isinstance(value, torch.Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)


def joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Moments of several tensors as of one, but for the deviation."""
    sums = {key: sum(part[key] for part in parts) for key in parts[0]}
    return sums | {"norm": math.hypot(*(part["norm"] for part in parts)), "deviation": math.nan}
