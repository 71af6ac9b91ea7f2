"""The work that is compared, a file a suite.

A suite has ``cases()``, ``inputs(rng, dtype, **args)``, ``reference(inputs, **args)`` in float64, and a function a
library, named after it, that does the work the best plain way that library has, outputs reused where it can:
``torch(inputs, **args)`` gives ``(run, results)``, or None where it has no such work. A library is imported only by
its own functions. Functions with other names are variants of ours, shown beside the peers.
"""

from __future__ import annotations

from types import ModuleType

from suites import activations, batch_norm, depth, gemm, latency, linear, main_job, measuring, mlp, recurrent, rows

SUITES: dict[str, ModuleType] = {
    module.__name__.rsplit(".", 1)[1]: module
    for module in (activations, gemm, linear, batch_norm, rows, mlp, measuring, depth, latency, main_job, recurrent)
}
PEERS = ("numpy", "torch", "compiled", "onnxruntime")
VARIANTS = ("fresh", "bare", "apart", "plain", "shallow", "open")
"""Ours in another way; the figures of a row say what they are beside."""
