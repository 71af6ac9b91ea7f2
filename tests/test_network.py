"""Whole networks in one native call: value and every gradient against backpropagation in long double and against
differences; the same bits however the work is divided."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import gradiometer as gm
import numpy as np
import pytest
from gradiometer import _core
from reference.network import Reference

Array = Any
LOSS = {"cross_entropy": "classes", "mse": "values"}


def randomise(net: gm.Sequential, seed: int) -> gm.Sequential:
    """Parameters and running statistics unlike their defaults."""
    rng = np.random.default_rng(seed)
    for name, array in net._named_arrays():
        if name.endswith("num_batches_tracked"):
            array[...] = 3
        elif name.endswith("running_var"):
            array[...] = rng.uniform(0.5, 2.0, array.shape)
        elif array.ndim == 2:
            array[...] = rng.normal(0, 1.2 / np.sqrt(array.shape[1]), array.shape)
        else:
            array[...] = rng.normal(0.3, 0.5, array.shape)
    return net


def chain(widths: list[int], activation: str, dtype: str, norm: bool = False, **params: float) -> list[Any]:
    modules: list[Any] = []
    for a, b in pairwise(widths):
        modules += [gm.Linear(a, b, rng=0, dtype=dtype)]
        modules += [gm.BatchNorm1d(b, eps=0.1, dtype=dtype)] if norm else []
        modules += [gm.Activation(activation, dtype=dtype, **params)]
    return modules


def plain(dtype: str) -> gm.Sequential:
    return gm.Sequential(*chain([17, 33, 33], "tanh", dtype), gm.Linear(33, 5, rng=0, dtype=dtype))


def normalised(dtype: str) -> gm.Sequential:
    return gm.Sequential(
        *chain([17, 33, 8], "silu", dtype, norm=True),
        gm.BatchNorm1d(8, eps=0.5, affine=False, dtype=dtype),
        gm.Linear(8, 5, bias=False, rng=0, dtype=dtype),
    )


def residual(dtype: str) -> gm.Sequential:
    return gm.Sequential(
        gm.Linear(17, 33, rng=0, dtype=dtype),
        gm.Residual(*chain([33, 33], "tanh", dtype, norm=True), scale=0.7),
        gm.Residual(*chain([33, 16, 33], "gelu", dtype), scale=-0.5),
        gm.Linear(33, 5, rng=0, dtype=dtype),
    )


def opening_with_activation(dtype: str) -> gm.Sequential:
    """Blocks of pre-activation: what enters the activation is also what the addition reads."""
    return gm.Sequential(
        gm.Linear(17, 33, rng=0, dtype=dtype),
        gm.Residual(gm.Activation("tanh", dtype=dtype), gm.Linear(33, 33, rng=0, dtype=dtype), scale=0.5, dtype=dtype),
        gm.Residual(
            gm.BatchNorm1d(33, eps=0.1, dtype=dtype),
            gm.Activation("sigmoid", dtype=dtype),
            gm.Linear(33, 33, rng=0, dtype=dtype),
        ),
        gm.Linear(33, 5, rng=0, dtype=dtype),
    )


def nested(dtype: str) -> gm.Sequential:
    """A node read by four others: three additions and a layer; the input by two; a norm that only adds."""
    return gm.Sequential(
        gm.Residual(gm.Linear(17, 17, rng=0, dtype=dtype)),
        gm.Residual(
            gm.Residual(
                gm.Residual(gm.BatchNorm1d(17, eps=0.3, dtype=dtype), scale=0.3, dtype=dtype),
                scale=0.2,
                dtype=dtype,
            ),
            gm.Activation("tanh", dtype=dtype),
            scale=0.9,
            dtype=dtype,
        ),
        gm.Residual(gm.Activation("identity", dtype=dtype), dtype=dtype),
        gm.Linear(17, 5, rng=0, dtype=dtype),
    )


def one_node(dtype: str) -> gm.Sequential:
    return gm.Sequential(gm.Linear(17, 5, rng=0, dtype=dtype))


def one_norm(dtype: str) -> gm.Sequential:
    return gm.Sequential(gm.BatchNorm1d(17, eps=0.1, dtype=dtype))


def narrow(dtype: str) -> gm.Sequential:
    return gm.Sequential(*chain([1, 1, 1, 1], "tanh", dtype, norm=True), gm.Linear(1, 2, rng=0, dtype=dtype))


def in_parts(dtype: str) -> gm.Sequential:
    """A Sequential of Sequentials."""
    return gm.Sequential(
        gm.Sequential(*chain([17, 9], "elu", dtype, alpha=0.7)),
        gm.Sequential(
            gm.Sequential(*chain([9, 9], "leaky_relu", dtype, negative_slope=0.3)),
            gm.Linear(9, 5, dtype=dtype),
        ),
    )


def row_normalised(dtype: str) -> gm.Sequential:
    """Norms within a sample, with and without parameters; one that is the whole branch."""
    return gm.Sequential(
        gm.RMSNorm(17, eps=0.1, dtype=dtype),
        gm.Linear(17, 33, rng=0, dtype=dtype),
        gm.LayerNorm(33, eps=0.1, dtype=dtype),
        gm.Activation("silu", dtype=dtype),
        gm.Residual(gm.LayerNorm(33, eps=0.2, bias=False, dtype=dtype), scale=0.4, dtype=dtype),
        gm.Linear(33, 36, rng=0, dtype=dtype),
        gm.GroupNorm(4, 36, eps=0.1, dtype=dtype),
        gm.Activation("tanh", dtype=dtype),
        gm.LayerNorm(36, elementwise_affine=False, eps=0.3, dtype=dtype),
        gm.Linear(36, 5, rng=0, dtype=dtype),
    )


def sloped(dtype: str) -> gm.Sequential:
    """Slopes that are learned, one for all and one each; both softmaxes, inside and at the end."""
    return gm.Sequential(
        gm.Linear(17, 40, rng=0, dtype=dtype),
        gm.PReLU(40, 0.1, dtype=dtype),
        gm.Residual(gm.Softmax(dtype=dtype), scale=3.0, dtype=dtype),
        gm.Linear(40, 5, rng=0, dtype=dtype),
        gm.PReLU(init=0.3, dtype=dtype),
        gm.LogSoftmax(dtype=dtype),
    )


def dense_skips(dtype: str) -> gm.Sequential:
    """Each layer reads all below it; a skip around a skip and around what writes in place."""
    return gm.Sequential(
        gm.DenseSkip(*chain([17, 9], "tanh", dtype)),
        gm.DenseSkip(*chain([26, 7], "gelu", dtype, norm=True)),
        gm.DenseSkip(gm.Activation("sigmoid", dtype=dtype), gm.DenseSkip(gm.Activation("tanh", dtype=dtype))),
        gm.Linear(99, 5, rng=0, dtype=dtype),
    )


def dropped(dtype: str) -> gm.Sequential:
    return gm.Sequential(
        gm.Dropout(0.1, dtype=dtype),
        *chain([17, 33], "tanh", dtype),
        gm.Dropout(0.5, dtype=dtype),
        gm.Residual(gm.Dropout(0.3, dtype=dtype), *chain([33, 33], "gelu", dtype)),
        gm.Linear(33, 5, rng=0, dtype=dtype),
    )


NETS = [
    plain,
    normalised,
    residual,
    opening_with_activation,
    nested,
    one_node,
    one_norm,
    narrow,
    in_parts,
    row_normalised,
    sloped,
    dense_skips,
    dropped,
]
Maker = Callable[[str], gm.Sequential]


def data(net: gm.Sequential, rows: int, loss: str, seed: int = 1) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    network = net._compile().network
    x = rng.normal(0.2, 1.1, (rows, network.in_features)).astype(net.dtype)
    if LOSS[loss] == "classes":
        return x, rng.integers(0, network.out_features, rows)
    return x, rng.normal(0, 1, (rows, network.out_features)).astype(net.dtype)


def gradient(net: gm.Sequential, x: Array, loss: str, target: Array, **flags: Any) -> dict[str, Array]:
    """Everything a gradient call makes, copied: value, dx, and gradients by name."""
    compiled = net._compile()
    value, dx = compiled.network.gradient(x, loss, target, want_dx=True, **flags)
    return {"value": np.float64(value), "dx": dx} | {k: g.copy() for k, g in compiled.gradients().items()}


Expected = tuple[dict[str, Array], dict[str, float]]


def expected(net: gm.Sequential, x: Array, loss: str, target: Array, training: bool = True) -> Expected:
    """What `gradient` should give, and what its errors are relative to."""
    reference = Reference(net, x, training)
    value, dx = reference.backward(loss, target)
    return {"value": value, "dx": dx, **reference.gradients}, reference.scales


def check(got: dict[str, Array], wanted: Expected, tolerance: float) -> None:
    arrays, scales = wanted
    assert got.keys() == arrays.keys()
    for key, reference in arrays.items():
        worst = float(np.max(np.abs(got[key] - reference)))
        assert worst <= tolerance * scales[key], f"{key}: {worst / scales[key]:.3g}"


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("rows", [2, 3, 31, 100])
@pytest.mark.parametrize("make", NETS)
def test_gradients_of_whole_networks(make: Maker, rows: int, training: bool) -> None:
    for dtype, tolerance in (("float64", 1e-10), ("float32", 256 * 2.0**-24)):
        net = randomise(make(dtype), rows)
        for loss in ("cross_entropy", "mse"):
            x, target = data(net, rows, loss)
            got = gradient(net, x, loss, target, training=training)
            check(got, expected(net, x, loss, target, training), tolerance)


def test_a_wrong_reference_fails() -> None:
    net = randomise(plain("float64"), 0)
    x, target = data(net, 5, "mse")
    wanted = expected(net, x, "mse", target)
    wanted[0]["2.weight"] = wanted[0]["2.weight"] * (1 + 1e-9)
    with pytest.raises(AssertionError, match=r"2\.weight"):
        check(gradient(net, x, "mse", target), wanted, 1e-10)


@pytest.mark.parametrize("activation", gm.kernels.activations())
def test_every_activation_in_a_network(activation: str, isa: str) -> None:
    for dtype, tolerance in (("float64", 1e-10), ("float32", 256 * 2.0**-24)):
        net = gm.Sequential(*chain([5, 33, 17], activation, dtype), gm.Linear(17, 3, rng=0, dtype=dtype))
        x, target = data(randomise(net, 3), 31, "cross_entropy")
        check(
            gradient(net, x, "cross_entropy", target),
            expected(net, x, "cross_entropy", target),
            tolerance,
        )


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("make", NETS)
def test_gradients_are_derivatives(make: Maker, training: bool) -> None:
    """Central differences along a direction in every tensor and in x."""
    net = randomise(make("float64"), 7)
    x, target = data(net, 9, "mse")
    got = gradient(net, x, "mse", target, training=training)
    rng = np.random.default_rng(2)
    h = 1e-5
    places = {name: array for name, array in net._named_arrays() if name in got} | {"dx": x}
    scale = max(float(np.linalg.norm(got[name])) for name in places)

    def value() -> float:
        loss: float = net._compile().network.gradient(x, "mse", target, training=training)[0]
        return loss

    for name, array in places.items():
        direction = rng.normal(0, 1, array.shape)
        direction /= np.linalg.norm(direction)
        before = array.copy()
        array[...] = before + h * direction
        above = value()
        array[...] = before - h * direction
        below = value()
        array[...] = before
        slope = (above - below) / (2 * h)
        assert slope == pytest.approx(float(np.sum(got[name] * direction)), rel=1e-6, abs=1e-6 * scale), name


def test_a_node_read_by_three_layers() -> None:
    """y = sigmoid(tanh(a) + 0.5 (relu(a) - 2 a)), a = x Wᵀ + b, written as a graph."""
    graph = _core.Graph(4)
    a = graph.add("linear", [0], {"features": 6, "bias": 1})
    left, right = (
        graph.add("activation", [a], {"function": "tanh"}),
        graph.add("activation", [a], {"function": "relu"}),
    )
    lower = graph.add("add", [right, a], {"scale": -2.0})
    total = graph.add("add", [left, lower], {"scale": 0.5})
    graph.add("activation", [total], {"function": "sigmoid"})
    network = _core.Network(graph, "float64")
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(7, 4)), rng.normal(size=(7, 6))
    W, b = rng.normal(size=(6, 4)), rng.normal(size=6)
    for (_, name, shape, offset), given in zip(network.tensors(False), (W, b), strict=True):
        assert given.shape == shape, name
        network.parameters[offset : offset + given.size] = given.ravel()
    value, dx = network.gradient(x, "mse", target, want_dx=True)

    pre = x @ W.T + b
    y = 1 / (1 + np.exp(-(np.tanh(pre) + 0.5 * (np.maximum(pre, 0) - 2 * pre))))
    dpre = 2 * (y - target) / y.size * y * (1 - y) * (1 - np.tanh(pre) ** 2 + 0.5 * ((pre > 0) - 2.0))
    assert value == pytest.approx(np.mean((y - target) ** 2), rel=1e-12)
    np.testing.assert_allclose(dx, dpre @ W, rtol=1e-12, atol=1e-14)
    (_, _, _, at_weight), (_, _, _, at_bias) = network.tensors(False)
    np.testing.assert_allclose(network.gradients[at_weight:][:24].reshape(6, 4), dpre.T @ x, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(network.gradients[at_bias:][:6], dpre.sum(0), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("make", NETS)
def test_accumulate_adds(make: Maker, training: bool) -> None:
    net = randomise(make("float64"), 5)
    x, target = data(net, 31, "mse")
    once = gradient(net, x, "mse", target, training=training)
    twice = gradient(net, x, "mse", target, training=training, accumulate=True)
    np.testing.assert_array_equal(once["dx"], twice["dx"])
    scale = max(float(np.max(np.abs(g))) for g in once.values())
    for name in once.keys() - {"dx", "value"}:
        np.testing.assert_allclose(twice[name], 2 * once[name], rtol=1e-13, atol=1e-15 * scale)


@pytest.mark.parametrize("loss", LOSS)
@pytest.mark.parametrize("make", [plain, residual, opening_with_activation, in_parts])
def test_micro_batches_make_the_whole_batch(make: Maker, loss: str) -> None:
    """With evaluated norms, whose statistics do not depend on how the batch is cut."""
    net = randomise(make("float64"), 5)
    x, target = data(net, 100, loss)
    whole = gradient(net, x, loss, target, training=False)
    value = 0.0
    for start, end in ((0, 41), (41, 42), (42, 100)):
        part = gradient(
            net,
            x[start:end],
            loss,
            target[start:end],
            training=False,
            accumulate=start > 0,
            mean_over=100,
        )
        value += float(part["value"])
        np.testing.assert_array_equal(part["dx"], whole["dx"][start:end])
    assert value == pytest.approx(float(whole["value"]), rel=1e-13)
    for name, g in net.gradients.items():
        np.testing.assert_allclose(g, whole[name], rtol=1e-11, atol=1e-14 * np.max(np.abs(whole[name])))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", NETS)
def test_taps_change_no_bit(make: Maker, dtype: str) -> None:
    net = randomise(make(dtype), 6)
    x, target = data(net, 31, "mse")
    without = gradient(net, x, "mse", target)
    every = _core.TAP_MOMENTS | _core.TAP_ROWS | _core.TAP_COLUMNS
    for taps in (_core.TAP_MOMENTS, _core.TAP_ROWS, _core.TAP_COLUMNS, every):
        same(without, gradient(net, x, "mse", target, taps=taps))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", NETS)
def test_taps_of_some_nodes(make: Maker, dtype: str) -> None:
    """They see what all taps see; what nobody looks at is empty; every parameter's gradient is made."""
    net = randomise(make(dtype), 6).requires_grad_(False)
    x, target = data(net, 31, "mse")
    network = net._compile().network
    every = _core.TAP_MOMENTS | _core.TAP_ROWS | _core.TAP_COLUMNS
    network.gradient(x, "mse", target, taps=every)
    nodes = range(len(network.taps()))
    whole, by_parameter = [network.tap(node) for node in nodes], network.gradients.copy()
    ways = ((_core.TAP_NORMS, 0), (0, _core.TAP_NORMS | _core.TAP_ROWS), (_core.TAP_COLUMNS, 0), (_core.TAP_SLOPE, 0))
    for node in nodes:
        network.set_taps(node, *ways[node % 4])
    network.gradients[...] = 7
    network.gradient(x, "mse", target, taps=every)
    np.testing.assert_array_equal(network.gradients[by_parameter != 0], by_parameter[by_parameter != 0])
    for node, seen in enumerate(network.taps()):
        of_value, of_gradient = ways[node % 4]
        for part, looked in (("value", of_value), ("gradient", of_gradient)):
            made, expected = seen[part], whole[node][part]
            if not looked:
                assert made["count"] == 0
                assert np.isnan(made["norm"])
                continue
            for key in ("count", "zeros", "subnormals", "nans", "infs", "max_abs"):
                assert made[key] == expected[key]
            np.testing.assert_allclose(made["norm"], expected["norm"], rtol=1e-14)
            if looked != _core.TAP_COLUMNS:
                assert np.isnan(made["sum"])
                assert np.isnan(made["deviation"])
        alone = network.tap(node)
        spread = whole[node]["spread"] if of_value == _core.TAP_COLUMNS else np.nan
        np.testing.assert_array_equal(seen["spread"], spread)
        if of_gradient & _core.TAP_ROWS:
            np.testing.assert_allclose(alone["gradient_row_norms"], whole[node]["gradient_row_norms"], rtol=1e-14)
        else:
            assert alone["gradient_row_norms"] is None
        if of_value & (_core.TAP_SLOPE | _core.TAP_COLUMNS) and whole[node]["active"] is not None:
            np.testing.assert_array_equal(seen["saturated"], whole[node]["saturated"])
            assert (
                seen["dead"] == np.count_nonzero(alone["active"] == 0) == np.count_nonzero(whole[node]["active"] == 0)
            )
        else:
            assert alone["active"] is None
    with pytest.raises(ValueError, match=r"node is 99; expected 0 to"):
        network.set_taps(99, 0, 0)


def same(a: dict[str, Array], b: dict[str, Array]) -> None:
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def wide(dtype: str) -> gm.Sequential:
    """Work enough for several threads; every kind of node, widths that no block divides."""
    return gm.Sequential(
        *chain([150, 201], "tanh", dtype, norm=True),
        gm.Residual(*chain([201, 201], "gelu", dtype, norm=True), scale=0.5),
        gm.Residual(gm.Activation("sigmoid", dtype=dtype), gm.Linear(201, 201, rng=0, dtype=dtype)),
        gm.LayerNorm(201, dtype=dtype),
        gm.Dropout(0.2, dtype=dtype),
        gm.DenseSkip(gm.Linear(201, 9, rng=0, dtype=dtype), dtype=dtype),
        gm.GroupNorm(10, 210, dtype=dtype),
        gm.RMSNorm(210, dtype=dtype),
        gm.Linear(210, 7, rng=0, dtype=dtype),
    )


def weighty(dtype: str) -> gm.Sequential:
    """Weights that outgrow a core's cache, which a team shares by columns in batches of up to 512."""
    return gm.Sequential(
        *chain([40, 700], "tanh", dtype),
        gm.Residual(*chain([700, 700], "gelu", dtype), scale=0.5),
        gm.Residual(gm.Linear(700, 700, bias=False, rng=0, dtype=dtype), scale=0.3),
        gm.Linear(700, 7, rng=0, dtype=dtype),
    )


@pytest.mark.parametrize("rows", [1, 5])
def test_gradients_of_weighty_networks(rows: int, thread_counts: Iterator[int]) -> None:
    for _ in thread_counts:
        test_gradients_of_whole_networks(weighty, rows, False)


@pytest.fixture
def many_threads(thread_counts: Iterator[int]) -> Iterator[Iterator[int]]:
    """Also more threads than processors."""

    def each() -> Iterator[int]:
        yield from thread_counts
        gm.kernels.set_threads(8)
        yield 8

    yield each()
    gm.kernels.set_threads(0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("make", [wide, weighty])
def test_threads_change_no_bit(make: Maker, dtype: str, training: bool, many_threads: Iterator[int]) -> None:
    net = randomise(make(dtype), 1)
    x, target = data(net, 333, "cross_entropy")
    every = _core.TAP_MOMENTS | _core.TAP_ROWS | _core.TAP_COLUMNS
    results = []
    for _ in many_threads:
        made = gradient(net, x, "cross_entropy", target, training=training)
        same(made, gradient(net, x, "cross_entropy", target, training=training, taps=every))
        seen = net._compile().network.tap(5)
        made["tap"] = np.array([seen["spread"], seen["saturated"], *seen["gradient"].values()])
        made["rows"] = seen["gradient_row_norms"]
        made["y"] = net(x, training=training)
        results.append(made)
    for other in results[1:]:
        same(results[0], other)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_has_the_same_bits_on_any_threads(dtype: str, many_threads: Iterator[int]) -> None:
    x, target = data(wide(dtype), 333, "cross_entropy")
    states = []
    for _ in many_threads:
        net = randomise(wide(dtype), 1)
        net.fit((x, target), optimizer=gm.optim.Adam(1e-2), steps=4, batch_size=128, rng=0)
        states.append(net.state_dict())
    for other in states[1:]:
        same(states[0], other)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", [wide, weighty, *NETS])
def test_a_sample_has_the_same_bits_in_any_batch(make: Maker, dtype: str, isa: str) -> None:
    net = randomise(make(dtype), 1)
    x, _ = data(net, 613, "mse")
    y = net(x)  # in pieces of 256
    assert y.shape[0] == 613
    for start, end in ((0, 1), (5, 7), (255, 257), (300, 613), (612, 613), (0, 500)):
        np.testing.assert_array_equal(net(x[start:end]), y[start:end])
    np.testing.assert_array_equal(net.predict(x), y)
    order = np.random.default_rng(0).permutation(613)
    np.testing.assert_array_equal(net(x[order]), y[order])


@pytest.mark.parametrize("make", [wide, *NETS])
def test_instruction_sets_agree(make: Maker) -> None:
    for dtype, tolerance in (("float32", 256 * 2.0**-24), ("float64", 1e-13)):
        results = []
        net = randomise(make(dtype), 1)
        x, target = data(net, 40, "mse")
        before = gm.kernels.isa()
        try:
            for name in gm.kernels.isas():
                gm.kernels.set_isa(name)
                results.append(gradient(net, x, "mse", target))
        finally:
            gm.kernels.set_isa(before)
        scales = expected(net, x, "mse", target)[1]
        for other in results[1:]:
            check(other, (results[0], scales), tolerance)


def test_any_layout_gives_the_same_bits() -> None:
    net = randomise(plain("float32"), 1)
    x, target = data(net, 31, "mse")
    y, made = net(x), gradient(net, x, "mse", target)
    wider = np.zeros((62, 34), np.float32)
    wider[::2, ::2] = x
    raw = np.zeros(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    raw[...] = x
    assert not raw.flags.aligned
    for other in (
        raw,
        wider[::2, ::2],
        np.asfortranarray(x),
        x[::-1].copy()[::-1],
        x.astype(">f4"),
        x.astype(np.float64),
        x.tolist(),
    ):
        np.testing.assert_array_equal(net(other), y)
        same(gradient(net, other, "mse", target), made)
    x.flags.writeable = False
    np.testing.assert_array_equal(net(x), y)


def test_integers_and_bools_are_inputs() -> None:
    net = randomise(plain("float32"), 1)
    x = np.random.default_rng(0).integers(0, 2, (9, 17))
    y = net(x.astype(np.float32))
    for dtype in (np.int8, np.int64, np.uint8, bool, np.float16):
        np.testing.assert_array_equal(net(x.astype(dtype)), y)


def test_big_batch_then_small_then_big() -> None:
    net = randomise(residual("float64"), 1)
    small, big = data(net, 3, "mse"), data(net, 300, "mse", seed=2)
    first = gradient(randomise(residual("float64"), 1), small[0], "mse", small[1])
    bigger = gradient(net, big[0], "mse", big[1])
    same(gradient(net, small[0], "mse", small[1]), first)
    same(gradient(net, big[0], "mse", big[1]), bigger)


def test_output_may_be_given_and_may_be_the_input() -> None:
    net = randomise(gm.Sequential(*chain([33, 33, 33], "tanh", "float64")), 2)
    x = np.random.default_rng(0).normal(size=(70, 33))
    y = net(x)
    network = net._compile().network
    out = np.empty_like(y)
    assert network.forward(x, out=out) is out
    np.testing.assert_array_equal(out, y)
    network.forward(x, out=x)
    np.testing.assert_array_equal(x, y)

    single = gm.Linear(33, 33, rng=0, dtype="float64")
    x = np.random.default_rng(0).normal(size=(71, 33))
    y, y_tail = single(x[:-1]), single(x[1:])
    both = x.copy()
    single._compile().network.forward(both[:-1], out=both[1:])
    np.testing.assert_array_equal(both[1:], y)
    both = x.copy()
    single._compile().network.forward(both[1:], out=both[1:])
    np.testing.assert_array_equal(both[1:], y_tail)


def test_memory_tells_the_truth() -> None:
    """The arena for a batch is what `memory` says, and every array a network needs is in it."""
    net = wide("float32")
    compiled = net._compile()
    need = compiled.builder.graph.memory("float32", 64)
    assert need["parameters"] == net.parameters.size
    assert need["state"] == compiled.network.state.size
    smallest = 4 * 64 * sum(2 * node.module.weight.shape[0] for node in compiled.nodes if node.type == "linear")
    assert need["arena"] >= smallest
    assert net.memory(64) == 4 * (2 * need["parameters"] + need["state"]) + need["arena"]
    step = compiled.network.arena(640) - need["arena"]
    assert step == pytest.approx(9 * need["arena"], rel=0.5)
    assert compiled.memory(64, _core.TAP_ROWS | _core.TAP_COLUMNS) > compiled.memory(64) == net.memory(64)


def test_empty_batch() -> None:
    for make in NETS:
        net = randomise(make("float32"), 1)
        state = net.state_dict()
        x, target = data(net, 4, "mse")
        gradient(net, x, "mse", target)
        assert net(x[:0]).shape == (0, net(x).shape[1])
        got = gradient(net, x[:0], "mse", target[:0])
        assert np.isnan(got.pop("value"))
        assert got.pop("dx").shape == (0, x.shape[1])
        assert all(not g.any() for g in got.values())
        trained = net._compile().network.step(
            x[:0], "mse", target[:0], _core.Optimizer("sgd"), np.zeros_like(net.parameters), 0.1, 1
        )
        assert np.isnan(trained)
        same(state, net.state_dict())


def test_taps_and_calls_of_several_threads() -> None:
    """What is tapped belongs to one of the passes, or is refused: never to memory that has moved."""
    net = randomise(plain("float32"), 1)
    x, target = data(net, 300, "mse")
    network = net._compile().network
    expected = {}
    for rows in (20, 300):
        network.gradient(x[:rows], "mse", target[:rows], taps=_core.TAP_ROWS)
        expected[rows] = network.tap(1)["value_row_norms"]

    def work(rows: int) -> None:
        for _ in range(200):
            network.gradient(x[:rows], "mse", target[:rows], taps=_core.TAP_ROWS)
            network.forward(x[:rows], training=True)
            try:
                tapped = network.tap(1)
            except ValueError:
                continue
            assert np.array_equal(tapped["value_row_norms"], expected[tapped["rows"]])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, [20, 300, 20, 300]))


def test_a_unit_whose_slope_is_not_a_number_is_not_dead() -> None:
    net = gm.Sequential(gm.Linear(3, 4, rng=0), gm.Activation("relu"), gm.Linear(4, 2, rng=0))
    network = net._compile().network
    bad = np.full((5, 3), np.nan, np.float32)
    network.gradient(bad, "mse", np.zeros((5, 2)), taps=_core.TAP_COLUMNS)
    assert network.tap(2)["active"].all()
    assert np.isnan(network.tap(2)["saturated"])


def test_what_was_tapped_is_forgotten_when_its_memory_goes() -> None:
    net = randomise(plain("float32"), 1)
    x, target = data(net, 300, "mse")
    network = net._compile().network
    with pytest.raises(ValueError, match="nothing was measured"):
        network.tap(1)
    network.gradient(x[:20], "mse", target[:20], taps=_core.TAP_ROWS)
    assert network.tap(1)["rows"] == 20
    network.forward(x, training=True)  # a bigger arena
    with pytest.raises(ValueError, match="nothing was measured"):
        network.tap(1)
    network.gradient(x[:20], "mse", target[:20], taps=_core.TAP_ROWS)
    network.gradient(x[:20], "mse", target[:20])
    with pytest.raises(ValueError, match="nothing was measured"):
        network.tap(1)


@pytest.mark.parametrize("position", [0, 30])
def test_a_nan_stays_in_its_sample(position: int) -> None:
    """Evaluated, samples are independent; and NaN times zero is NaN."""
    net = randomise(plain("float32"), 1)
    x, target = data(net, 31, "mse")
    y, made = net(x), gradient(net, x, "mse", target)
    x[position, 3] = np.nan
    others = np.arange(31) != position
    assert np.isnan(net(x)[position]).all()
    np.testing.assert_array_equal(net(x)[others], y[others])
    got = gradient(net, x, "mse", target)
    np.testing.assert_array_equal(got["dx"][others], made["dx"][others])
    assert np.isnan(got["0.weight"]).all()


def test_a_graph_is_refused() -> None:
    graph = _core.Graph(4)
    for bad, message in (
        (lambda: graph.add("dense", [0], {}), "layer type 'dense' is unknown"),
        (lambda: graph.add("linear", [1], {"features": 3}), "input node 1; expected 0 to 0"),
        (lambda: graph.add("linear", [-1], {"features": 3}), "input node -1"),
        (lambda: graph.add("linear", [0, 0], {"features": 3}), "has 2 inputs; expected 1"),
        (lambda: graph.add("linear", [0], {"features": 0}), "features of linear is 0; expected 1"),
        (lambda: graph.add("linear", [0], {"width": 3}), "linear has no attribute 'width'"),
        (lambda: graph.add("activation", [0], {"function": "relux"}), "'relux'; expected the name"),
        (lambda: graph.add("activation", [0], {}), "needs the attribute 'function'"),
        (lambda: graph.add("batch_norm", [0], {"eps": 0.0}), "eps of batch_norm is 0"),
        (lambda: graph.add("batch_norm", [0], {"momentum": float("nan")}), "momentum of batch_norm is nan"),
        (lambda: _core.Graph(0), "features is 0"),
        (lambda: _core.Network(_core.Graph(3), "float64"), "no layer"),
        (lambda: _core.Network(graph, "float16"), "float16"),
    ):
        with pytest.raises(ValueError, match=message):
            bad()
    assert len(graph) == 1
    graph.add("linear", [0], {"features": 3})
    graph.add("linear", [0], {"features": 3})
    with pytest.raises(ValueError, match="output of node 1 is not used"):
        _core.Network(graph, "float32")
    with pytest.raises(ValueError, match="add of 3 and 4 features"):
        graph.add("add", [1, 0], {})


def test_sizes_too_big_to_count_are_refused() -> None:
    graph = _core.Graph(1_000_000_000)
    for node in range(20):
        graph.add("linear", [node], {"features": 1_000_000_000, "bias": 0})
    with pytest.raises(MemoryError):
        graph.memory("float64", 1)
    with pytest.raises(MemoryError):
        _core.Network(graph, "float64")
    small = _core.Graph(10)
    small.add("linear", [0], {"features": 1_000_000})
    with pytest.raises(MemoryError):
        small.memory("float64", 1 << 50)
    narrow = _core.Graph(1)
    narrow.add("linear", [0], {"features": 1})
    for batch in (2**40, 2**61 - 1, 2**63 - 1):  # the last but one fits before it is aligned
        if batch < 2**61 - 1:
            assert narrow.memory("float32", batch)["arena"] > 4 * batch
        else:
            with pytest.raises(MemoryError):
                narrow.memory("float32", batch)
