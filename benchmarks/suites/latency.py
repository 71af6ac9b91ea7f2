"""One sample through a small frozen net: each call timed, median and 99.9th percentile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from suites.case import Arrays, Case, Made
from suites.functions import VALUES
from suites.networks import in_gradiometer, in_torch, weights_and_data


def cases() -> Iterator[Case]:
    for dtype in ("float32", "float64"):
        for activation in ("tanh", "relu"):
            args = {"activation": activation}
            yield Case(f"4 x 64, one sample, {activation}", dtype, args, flops=2.0 * 4 * 64 * 64, latency=True)


def inputs(rng: Any, dtype: str, activation: str) -> Arrays:
    return weights_and_data(rng, dtype, 4, 64, 1, activation)


def reference(v: Arrays, activation: str) -> list[Any]:
    h = v["x"]
    for w in v["weights"]:
        h = VALUES[activation](h @ w.T)
    return [h]


def ours(v: Arrays, activation: str) -> Made:
    """Packed once, into an output that is used again."""
    net, x = in_gradiometer(v, activation).inference(), v["x"]
    out = np.empty_like(x)
    return lambda: net(x, out), lambda: [out]


def open(v: Arrays, activation: str) -> Made:
    """The network itself, whose weights may change between two calls."""
    native, x = in_gradiometer(v, activation)._compile().network, v["x"]
    out = np.empty_like(x)
    return lambda: native.forward(x, out), lambda: [out]


def numpy(v: Arrays, activation: str) -> Made:
    x, weights = v["x"], [np.ascontiguousarray(w.T) for w in v["weights"]]
    values, kept = {"tanh": np.tanh, "relu": lambda a: np.maximum(a, 0)}[activation], []

    def run() -> None:
        h = x
        for w in weights:
            h = values(h @ w)
        kept[:] = [h]

    return run, lambda: kept


def torch(v: Arrays, activation: str) -> Made:
    import torch as t

    net, x, kept = in_torch(v, activation).eval(), t.from_numpy(v["x"]), []

    def run() -> None:
        with t.inference_mode():
            kept[:] = [net(x)]

    return run, lambda: [kept[0].numpy()]


def onnxruntime(v: Arrays, activation: str) -> Made:
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    kind = TensorProto.FLOAT if v["x"].dtype == np.float32 else TensorProto.DOUBLE
    nodes, constants, at = [], [], "x"
    for i, w in enumerate(v["weights"]):
        constants.append(numpy_helper.from_array(np.ascontiguousarray(w.T), f"w{i}"))
        nodes.append(helper.make_node("MatMul", [at, f"w{i}"], [f"a{i}"]))
        nodes.append(helper.make_node({"tanh": "Tanh", "relu": "Relu"}[activation], [f"a{i}"], [f"h{i}"]))
        at = f"h{i}"
    ends = [helper.make_tensor_value_info(name, kind, v["x"].shape) for name in ("x", at)]
    model = helper.make_model(
        helper.make_graph(nodes, "net", ends[:1], ends[1:], constants),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    x, kept = v["x"], []

    def run() -> None:
        kept[:] = session.run(None, {"x": x})

    return run, lambda: kept
