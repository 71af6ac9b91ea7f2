from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gradiometer.diagnosis.cures.cure import NotApplicable

if TYPE_CHECKING:
    from gradiometer.networks import Sequential

__all__ = ["respecified"]


def respecified(**changes: Any) -> Callable[[Sequential, int], Sequential]:
    """Builds the network anew from its description with some fields replaced."""

    def apply(net: Sequential, seed: int) -> Sequential:
        if net.spec is None:
            raise NotApplicable("it was not built by gm.mlp, so it cannot be built anew with a change")
        given = net.spec
        built = replace(given, **changes).build(rng=seed)
        if built.spec == given:
            raise NotApplicable("the network is so already")
        if changes.get("residual") and given.residual is not None:
            raise NotApplicable("the network has skips already")
        return built

    return apply
