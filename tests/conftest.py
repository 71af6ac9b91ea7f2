"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gradiometer import kernels


@pytest.fixture(params=kernels.isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs a test once with every instruction set of this CPU; then the one that was chosen before."""
    before = kernels.isa()
    kernels.set_isa(request.param)
    yield request.param
    kernels.set_isa(before)


@pytest.fixture
def thread_counts() -> Iterator[Iterator[int]]:
    """Counts of threads to loop over, each set in turn."""

    def each() -> Iterator[int]:
        for n in (1, 2, 3):
            kernels.set_threads(n)
            yield n

    yield each()
    kernels.set_threads(0)
