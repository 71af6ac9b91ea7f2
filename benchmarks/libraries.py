"""Who does the work: each library's best plain way to a case, outputs reused where it can.

``LIBRARIES[name]()`` gives {op: make}; ``make(inputs, **args)`` returns (run, results): `run()` does the work once,
`results()` are its arrays. A library imports only what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Made = tuple[Callable[[], Any], Callable[[], list[Any]]]


def ours() -> dict[str, Callable[..., Made]]:
    """Gradiometer."""
    import gradiometer as gm
    import numpy as np

    k = gm.kernels

    def forward(v: dict[str, Any], name: str, n: int) -> Made:
        x, out = v["x"], np.empty_like(v["x"])
        return lambda: k.forward(name, x, out), lambda: [out]

    def backward(v: dict[str, Any], name: str, n: int) -> Made:
        x, dy, out = v["x"], v["dy"], np.empty_like(v["x"])
        return lambda: k.backward(name, x, dy, out), lambda: [out]

    def gemm(v: dict[str, Any], form: Any, M: int, N: int, K: int) -> Made:
        a, b, out = v["a"], v["b"], np.empty((M, N), v["a"].dtype)
        return lambda: k.gemm(a, b, form, out), lambda: [out]

    def batch_norm(v: dict[str, Any], N: int, C: int) -> Made:
        kept: list[Any] = []

        def run() -> None:
            y, cache = k.batch_norm_forward(v["x"], v["gamma"], v["beta"])
            kept[:] = [y, k.batch_norm_backward(v["x"], v["dy"], cache, v["gamma"])[0]]

        return run, lambda: kept

    def mlp(v: dict[str, Any], depth: int, width: int, batch: int, activation: str, norm: bool) -> Made:
        dtype = str(v["x"].dtype)
        layers: list[Any] = []
        for w in v["weights"]:
            linear = gm.Linear(width, width, bias=False, rng=0, dtype=dtype)
            linear.weight[...] = w
            layers += [linear, *([gm.BatchNorm1d(width, affine=False, dtype=dtype)] if norm else [])]
            layers.append(gm.Activation(activation, dtype=dtype))
        net = gm.Sequential(*layers)
        native, x, y = net._compile().network, v["x"], v["y"]
        values: list[float] = []

        def run() -> None:
            values[:] = [native.gradient(x, "cross_entropy", y)[0]]

        def results() -> list[Any]:
            g = [a for name, a in net.gradients.items() if a.ndim == 2]
            return [np.array(values), g[0], g[-1]]

        return run, results

    return {"forward": forward, "backward": backward, "gemm": gemm, "batch_norm": batch_norm, "mlp": mlp}


def numpy() -> dict[str, Callable[..., Made]]:
    """NumPy: ufuncs and its BLAS; no batch norm, no network."""
    import numpy as np

    ufuncs = {"tanh": lambda x, out: np.tanh(x, out=out), "relu": lambda x, out: np.maximum(x, 0, out=out)}

    def forward(v: dict[str, Any], name: str, n: int) -> Made:
        x, out = v["x"], np.empty_like(v["x"])
        run = ufuncs[name]
        return lambda: run(x, out), lambda: [out]

    def gemm(v: dict[str, Any], form: str, M: int, N: int, K: int) -> Made:
        a = v["a"].T if form == "TN" else v["a"]
        b = v["b"].T if form == "NT" else v["b"]
        out = np.empty((M, N), v["a"].dtype)
        return lambda: np.matmul(a, b, out=out), lambda: [out]

    return {"forward": forward, "gemm": gemm}


def torch() -> dict[str, Callable[..., Made]]:
    """PyTorch, eager; an activation's own backward kernel without autograd where it has one, autograd elsewhere."""
    import torch as t

    aten = t.ops.aten
    values = {
        "identity": lambda x, out: t.clone(x),
        "relu": lambda x, out: t.clamp_min(x, 0, out=out),
        "leaky_relu": lambda x, out: aten.leaky_relu.out(x, 0.01, out=out),
        "elu": lambda x, out: aten.elu.out(x, out=out),
        "selu": lambda x, out: aten.elu.out(x, 1.6732632423543772, 1.0507009873554805, out=out),
        "gelu": lambda x, out: aten.gelu.out(x, out=out),
        "silu": lambda x, out: aten.silu.out(x, out=out),
        "sigmoid": lambda x, out: t.sigmoid(x, out=out),
        "tanh": lambda x, out: t.tanh(x, out=out),
        "celu": lambda x, out: t.celu(x),
        "gelu_tanh": lambda x, out: aten.gelu.out(x, approximate="tanh", out=out),
        "mish": lambda x, out: aten.mish.out(x, out=out),
        "softplus": lambda x, out: aten.softplus.out(x, out=out),
        "logsigmoid": lambda x, out: t.nn.functional.logsigmoid(x),
        "tanhshrink": lambda x, out: t.nn.functional.tanhshrink(x),
        "erf": lambda x, out: t.erf(x),
        "softsign": lambda x, out: t.nn.functional.softsign(x),
        "hardtanh": lambda x, out: aten.hardtanh.out(x, out=out),
        "relu6": lambda x, out: aten.hardtanh.out(x, 0, 6, out=out),
        "hardsigmoid": lambda x, out: aten.hardsigmoid.out(x, out=out),
        "hardswish": lambda x, out: aten.hardswish.out(x, out=out),
    }
    slopes = {
        "identity": lambda x, y, dy: dy.clone(),
        "relu": lambda x, y, dy: aten.threshold_backward(dy, x, 0),
        "leaky_relu": lambda x, y, dy: aten.leaky_relu_backward(dy, x, 0.01, False),
        "elu": lambda x, y, dy: aten.elu_backward(dy, 1, 1, 1, False, x),
        "selu": lambda x, y, dy: aten.elu_backward(dy, 1.6732632423543772, 1.0507009873554805, 1, False, x),
        "gelu": lambda x, y, dy: aten.gelu_backward(dy, x),
        "silu": lambda x, y, dy: aten.silu_backward(dy, x),
        "sigmoid": lambda x, y, dy: aten.sigmoid_backward(dy, y),
        "tanh": lambda x, y, dy: aten.tanh_backward(dy, y),
        "celu": lambda x, y, dy: aten.elu_backward(dy, 1, 1, 1, False, x),
        "gelu_tanh": lambda x, y, dy: aten.gelu_backward(dy, x, approximate="tanh"),
        "mish": lambda x, y, dy: aten.mish_backward(dy, x),
        "softplus": lambda x, y, dy: aten.softplus_backward(dy, x, 1, 20),
        "hardtanh": lambda x, y, dy: aten.hardtanh_backward(dy, x, -1, 1),
        "relu6": lambda x, y, dy: aten.hardtanh_backward(dy, x, 0, 6),
        "hardsigmoid": lambda x, y, dy: aten.hardsigmoid_backward(dy, x),
        "hardswish": lambda x, y, dy: aten.hardswish_backward(dy, x),
    }

    def forward(v: dict[str, Any], name: str, n: int) -> Made:
        x = t.from_numpy(v["x"])
        out, run, kept = t.empty_like(x), values[name], []

        def once() -> None:
            kept[:] = [run(x, out)]

        return once, lambda: [kept[0].numpy()]

    def backward(v: dict[str, Any], name: str, n: int) -> Made:
        x, dy = t.from_numpy(v["x"]), t.from_numpy(v["dy"])
        kept: list[Any] = []
        x.requires_grad_(name not in slopes)
        y = values[name](x, t.empty_like(x))
        run = slopes.get(name, lambda x, y, dy: t.autograd.grad(y, x, dy, retain_graph=True)[0])

        def once() -> None:
            kept[:] = [run(x, y, dy)]

        return once, lambda: [kept[0].numpy()]

    def gemm(v: dict[str, Any], form: str, M: int, N: int, K: int) -> Made:
        a, b = t.from_numpy(v["a"]), t.from_numpy(v["b"])
        a, b = (a.T if form == "TN" else a), (b.T if form == "NT" else b)
        out = t.empty((M, N), dtype=a.dtype)
        return lambda: t.mm(a, b, out=out), lambda: [out.numpy()]

    def batch_norm(v: dict[str, Any], N: int, C: int) -> Made:
        x, dy, gamma, beta = (t.from_numpy(v[name]) for name in ("x", "dy", "gamma", "beta"))
        for leaf in (x, gamma, beta):
            leaf.requires_grad_()
        kept: list[Any] = []

        def run() -> None:
            x.grad = gamma.grad = beta.grad = None
            y = t.nn.functional.batch_norm(x, None, None, gamma, beta, training=True)
            y.backward(dy)
            kept[:] = [y.detach().numpy(), x.grad.numpy()]

        return run, lambda: kept

    def mlp(v: dict[str, Any], depth: int, width: int, batch: int, activation: str, norm: bool) -> Made:
        x, y = t.from_numpy(v["x"]), t.from_numpy(v["y"])
        layers: list[Any] = []
        for w in v["weights"]:
            linear = t.nn.Linear(width, width, bias=False, dtype=x.dtype)
            with t.no_grad():
                linear.weight.copy_(t.from_numpy(w))
            layers += [linear, *([t.nn.BatchNorm1d(width, affine=False, dtype=x.dtype)] if norm else [])]
            layers.append(t.nn.Tanh() if activation == "tanh" else t.nn.ReLU())
        net, values = t.nn.Sequential(*layers), []

        def run() -> None:
            net.zero_grad(set_to_none=True)
            loss = t.nn.functional.cross_entropy(net(x), y)
            loss.backward()
            values[:] = [loss]

        def results() -> list[Any]:
            g = [p.grad.numpy() for p in net.parameters() if p.ndim == 2]
            return [values[0].detach().numpy().reshape(1), g[0], g[-1]]

        return run, results

    return {"forward": forward, "backward": backward, "gemm": gemm, "batch_norm": batch_norm, "mlp": mlp}


LIBRARIES = {"ours": ours, "numpy": numpy, "torch": torch}


def can(library: str, op: str, args: dict[str, Any]) -> bool:
    """Whether a library has the work at all."""
    if library == "numpy":
        return op == "gemm" or (op == "forward" and args["name"] in ("tanh", "relu"))
    return True
