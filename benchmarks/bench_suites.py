"""Times of ours in every suite: pytest benchmarks/bench_suites.py --benchmark-enable -k "gemm and NT"."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from suites import SUITES
from suites.case import Case, error, wide

_ALL = [(name, case) for name, suite in SUITES.items() for case in suite.cases()]


@pytest.mark.parametrize(("suite", "case"), _ALL, ids=lambda v: v if isinstance(v, str) else f"{v.name} {v.dtype}")
def test_suite(benchmark: Any, suite: str, case: Case) -> None:
    module = SUITES[suite]
    inputs = module.inputs(np.random.default_rng(0), case.dtype, **case.args)
    run, results = module.ours(inputs, **case.args)
    run()
    assert error(results(), module.reference({k: wide(v) for k, v in inputs.items()}, **case.args)) <= case.rtol
    benchmark(run)
