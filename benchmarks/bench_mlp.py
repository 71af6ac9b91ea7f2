"""Times of the mlp cases, to compare two builds: pytest benchmarks/bench_mlp.py --benchmark-enable."""

from __future__ import annotations

import pytest
from cases import Case, error, mlp_cases
from libraries import ours


@pytest.mark.parametrize("case", mlp_cases(), ids=lambda case: f"{case.name} {case.dtype}")
def test_mlp(benchmark: object, case: Case) -> None:
    inputs = case.inputs()
    run, results = ours()[case.op](inputs, **case.args)
    run()
    assert error(results(), case.reference(inputs)) <= case.rtol
    benchmark(run)  # type: ignore[operator]
