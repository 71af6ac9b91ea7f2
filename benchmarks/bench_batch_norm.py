"""Times of the batch_norm cases, to compare two builds: pytest benchmarks/bench_batch_norm.py --benchmark-enable."""

from __future__ import annotations

import pytest
from cases import Case, batch_norm_cases, error
from libraries import ours


@pytest.mark.parametrize("case", batch_norm_cases(), ids=lambda case: f"{case.name} {case.dtype}")
def test_batch_norm(benchmark: object, case: Case) -> None:
    inputs = case.inputs()
    run, results = ours()[case.op](inputs, **case.args)
    run()
    assert error(results(), case.reference(inputs)) <= case.rtol
    benchmark(run)  # type: ignore[operator]
