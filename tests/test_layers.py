"""Layers and networks as Python objects: names, views, copies, parts, and what is refused."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradiometer as gm
import numpy as np
import pytest
from gradiometer.checkpoints import CheckpointError, read, write
from reference.network import Reference

Array = Any


def network(dtype: str = "float32") -> gm.Sequential:
    net = gm.Sequential(
        gm.Linear(6, 9, rng=1, dtype=dtype),
        gm.BatchNorm1d(9, momentum=0.3, dtype=dtype),
        gm.Activation("elu", alpha=0.7, dtype=dtype),
        gm.Residual(gm.Linear(9, 9, rng=2, dtype=dtype), gm.Activation("tanh", dtype=dtype), scale=0.5),
        gm.Sequential(gm.Linear(9, 3, bias=False, rng=3, dtype=dtype)),
    )
    rng = np.random.default_rng(0)
    for _, array in net._named_arrays():
        array += rng.uniform(0.1, 0.2, array.shape)
    return net


def samples(rows: int = 20) -> Array:
    return np.random.default_rng(5).normal(size=(rows, 6))


def bits(net: gm.Sequential) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in net.state_dict().items()}


# ---- names


def test_names_are_those_of_torch() -> None:
    state = network().state_dict()
    assert list(state) == [
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
        "1.running_mean",
        "1.running_var",
        "1.num_batches_tracked",
        "3.0.weight",
        "3.0.bias",
        "4.0.weight",
    ]
    assert state["0.weight"].shape == (9, 6)
    assert gm.Linear(2, 3).state_dict().keys() == {"weight", "bias"}
    plain = gm.BatchNorm1d(4, affine=False)
    assert plain.state_dict().keys() == {"running_mean", "running_var", "num_batches_tracked"}
    assert plain.weight is None
    assert plain.bias is None
    assert gm.Linear(2, 3, bias=False).bias is None


def test_defaults_are_those_of_torch() -> None:
    norm = gm.BatchNorm1d(3)
    assert (norm.eps, norm.momentum) == (1e-5, 0.1)
    np.testing.assert_array_equal(norm.weight, np.ones(3))
    np.testing.assert_array_equal(norm.bias, np.zeros(3))
    np.testing.assert_array_equal(norm.running_mean, np.zeros(3))
    np.testing.assert_array_equal(norm.running_var, np.ones(3))
    layer = gm.Linear(400, 300, rng=0)
    for array in (layer.weight, layer.bias):
        assert np.abs(array).max() <= 1 / 20
        assert np.abs(array).max() > 0.98 / 20
        assert float(np.var(array)) == pytest.approx(1 / 1200, rel=0.2)
    assert gm.Linear(3, 2).weight.dtype == np.float32


def test_state_dict_is_a_copy_and_loads_back() -> None:
    net, other = network(), network()
    state = net.state_dict()
    before = bits(net)
    for array in state.values():
        array += 1
    assert bits(net) == before
    other.load_state_dict(state)
    for name, array in other.state_dict().items():
        np.testing.assert_array_equal(array, state[name])


def test_a_state_dict_as_torch_writes_it_loads() -> None:
    net = network()
    state: dict[str, Any] = {name: array.astype(np.float64) + 1 for name, array in net.state_dict().items()}
    state["1.num_batches_tracked"] = np.array(7)
    net.load_state_dict(state)
    np.testing.assert_array_equal(net.state_dict()["3.0.bias"], state["3.0.bias"].astype(np.float32))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: s.pop("4.0.weight"), KeyError, r"missing \['4.0.weight'\], unexpected \[\]"),
        (lambda s: s.update({"9.weight": np.ones(2)}), KeyError, r"unexpected \['9.weight'\]"),
        (lambda s: s.update({"4.0.weight": np.ones((3, 8))}), ValueError, r"shape \(3, 8\); expected \(3, 9\)"),
        (lambda s: s.update({"3.0.bias": np.ones((1, 9))}), ValueError, r"'3.0.bias'.*\(1, 9\)"),
        (lambda s: s.update({"4.0.weight": np.full((3, 9), "a")}), TypeError, "'4.0.weight'.*real numbers"),
        (lambda s: s.update({"4.0.weight": np.ones((3, 9), complex)}), TypeError, "complex128"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(
    change: Callable[[dict[str, Array]], Any], error: type[Exception], message: str
) -> None:
    net = network()
    before = bits(net)
    state = {name: array + 1 for name, array in net.state_dict().items()}
    change(state)
    with pytest.raises(error, match=message):
        net.load_state_dict(state)
    assert bits(net) == before
    with pytest.raises(TypeError, match="state is list; expected a dictionary"):
        net.load_state_dict([1])  # type: ignore[arg-type]


def test_a_state_too_big_for_float32_changes_nothing() -> None:
    """NumPy's warning is an error here: it comes before the first array is written."""
    net = network()
    before = bits(net)
    state = {name: array.astype(np.float64) + 1 for name, array in net.state_dict().items()}
    state["4.0.weight"][0, 0] = 1e300
    with pytest.raises(RuntimeWarning, match="overflow"):
        net.load_state_dict(state)
    assert bits(net) == before


def test_parts_of_a_state_load_without_strict() -> None:
    net = network()
    bias = np.arange(9.0)
    net.load_state_dict({"0.bias": bias, "nothing": [1.0]}, strict=False)
    np.testing.assert_array_equal(net[0].bias, bias)  # type: ignore[attr-defined]


# ---- views


def test_arrays_are_views_into_one_vector() -> None:
    net = network()
    weight = net[0].weight  # type: ignore[attr-defined]
    assert np.shares_memory(weight, net.parameters)
    x = samples()
    y = net(x)
    weight[2, 3] += 1
    assert not np.array_equal(net(x), y)
    weight[2, 3] -= 1
    net.parameters[...] *= 2
    doubled = net(x)
    assert not np.array_equal(doubled, y)
    net.fit((x, np.zeros(20, int)), optimizer="sgd", steps=3, rng=0)
    assert weight is net[0].weight  # type: ignore[attr-defined]
    assert np.shares_memory(weight, net.parameters)
    net(samples(1000))
    gm.measure(net, x, np.zeros(20, int))
    np.testing.assert_array_equal(weight, net.state_dict()["0.weight"])


def test_padding_between_parameters_stays_zero() -> None:
    net = network()
    total = sum(array.size for name, array in net._named_arrays() if "running" not in name and "tracked" not in name)
    assert net.parameters.size > total
    net.fit((samples(), np.zeros(20, int)), optimizer=gm.optim.AdamW(1e-2), steps=3, rng=0)
    assert np.count_nonzero(net.parameters) == total


def test_gradients_are_views_by_name() -> None:
    net = network("float64")
    x = samples()
    dx, gradients = net.backward(x, np.ones((20, 3)))
    reference = Reference(net, x)
    _, expected = reference.backward("dot", np.ones((20, 3)))
    np.testing.assert_allclose(dx, expected, rtol=1e-10, atol=1e-12)
    assert gradients.keys() == reference.gradients.keys()
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, reference.gradients[name], rtol=1e-10, atol=1e-12)
        np.testing.assert_array_equal(net.gradients[name], gradient)
        assert not np.shares_memory(net.gradients[name], gradient)


# ---- copies


def test_copies_are_equal_and_independent() -> None:
    net = network()
    x = samples()
    y = net(x)
    twins = {
        "copy": net.copy(),
        "copy.copy": copy.copy(net),
        "deepcopy": copy.deepcopy(net),
        "pickle": pickle.loads(pickle.dumps(net)),
        "in a list": copy.deepcopy([net])[0],
    }
    for name, twin in twins.items():
        assert type(twin) is gm.Sequential
        np.testing.assert_array_equal(twin(x), y, err_msg=name)
        assert repr(twin) == repr(net)
        twin.parameters[...] = 0
        np.testing.assert_array_equal(net(x), y, err_msg=name)
    assert bits(pickle.loads(pickle.dumps(net))) == bits(net)


@pytest.mark.parametrize(
    "layer",
    [
        gm.Linear(3, 2, rng=0, dtype="float64"),
        gm.BatchNorm1d(3, eps=0.1, momentum=0.5, affine=False),
        gm.Activation("leaky_relu", negative_slope=0.2),
        gm.PReLU(3, 0.4),
        gm.Softmax(),
        gm.LogSoftmax(dtype="float64"),
        gm.Residual(gm.Linear(3, 3, rng=0), scale=0.3),
        gm.mlp(3, [4], 2, norm="batch", rng=0),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_every_layer_pickles(layer: Any) -> None:
    x = np.random.default_rng(0).normal(size=(4, 3))
    for twin in (pickle.loads(pickle.dumps(layer)), copy.copy(layer), layer.copy()):
        np.testing.assert_array_equal(twin(x), layer(x))
        assert repr(twin) == repr(layer)
        assert twin.dtype == layer.dtype
    if isinstance(layer, gm.Sequential):
        assert layer.copy().spec == layer.spec  # type: ignore[attr-defined]


def test_two_references_to_one_network_stay_one() -> None:
    net = network()
    a, b = copy.deepcopy([net, net])
    assert a is b
    a, b = pickle.loads(pickle.dumps([net, net]))
    assert a is b


def _predict(net: gm.Sequential, x: Array) -> bytes:
    y: bytes = net.predict(x).tobytes()
    return y


def test_a_network_travels_to_a_fresh_process() -> None:
    net = network()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_predict, (net, samples())) == net.predict(samples()).tobytes()


# ---- parts


def test_layers_alone_give_the_same_bits_as_in_a_network() -> None:
    net = network()
    x = samples()
    y: Array = x
    for module in net.modules:
        y = module.copy()(y)
    np.testing.assert_array_equal(y, net(x))


def test_a_part_of_a_network_may_be_called() -> None:
    net = network()
    x = samples()
    whole = net(x)
    y: Array = x
    for module in net.modules:
        weights = [array for _, array in module._named_arrays()]
        y = module(y)
        assert all(a is b for (_, a), b in zip(module._named_arrays(), weights, strict=True))
    np.testing.assert_array_equal(y, whole)
    inner = net[3][0]  # type: ignore[index]
    h = np.random.default_rng(0).normal(size=(4, 9))
    before = inner(h)
    inner.weight[...] *= 2
    inner.bias[...] *= 2
    np.testing.assert_array_equal(inner(h), 2 * before)
    assert not np.array_equal(net(x), whole)
    dx, gradients = net[3].backward(h, np.ones((4, 9)))
    assert dx.shape == (4, 9)
    assert gradients.keys() == {"0.weight", "0.bias"}


def test_networks_nest() -> None:
    inner = gm.Sequential(gm.Linear(6, 4, rng=0), gm.Activation("tanh"))
    x = samples()
    h = inner(x)
    outer = gm.Sequential(inner, gm.Linear(4, 2, rng=1))
    np.testing.assert_array_equal(inner(x), h)
    before = outer(x)
    inner[0].weight[...] = 0  # type: ignore[attr-defined]
    inner[0].bias[...] = 0  # type: ignore[attr-defined]
    assert not np.array_equal(outer(x), before)
    np.testing.assert_array_equal(outer(x), np.tile(outer[1].bias, (20, 1)))  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"part of another network; expected layer.copy"):
        gm.Sequential(inner, gm.Linear(4, 3))
    with pytest.raises(ValueError, match=r"part of another network"):
        gm.Sequential(inner[0], gm.Linear(4, 3))
    with pytest.raises(ValueError, match=r"part of another network"):
        gm.Residual(outer[1], gm.Linear(2, 4))([[1.0] * 4])
    gm.Sequential(inner.copy(), gm.Linear(4, 3))([[1.0] * 6])


def test_a_refused_network_leaves_its_layers_free() -> None:
    first, second = gm.Linear(3, 4, rng=0), gm.Linear(5, 2, rng=0)
    with pytest.raises(ValueError, match="gets 4 features; expected 5"):
        gm.Sequential(first, second)
    before = first([[1.0, 2.0, 3.0]])
    good = gm.Sequential(first, gm.Linear(4, 2, rng=0))
    np.testing.assert_array_equal(first([[1.0, 2.0, 3.0]]), before)
    assert good([[1.0, 2.0, 3.0]]).shape == (1, 2)


def test_the_same_layer_twice_is_refused() -> None:
    layer = gm.Linear(3, 3)
    with pytest.raises(ValueError, match="appears twice"):
        gm.Sequential(layer, layer)
    with pytest.raises(ValueError, match="appears twice"):
        gm.Sequential(layer, gm.Residual(layer))


def test_layers_without_width_take_any() -> None:
    relu = gm.Activation("relu")
    for width in (1, 3, 70):
        x = np.random.default_rng(0).normal(size=(5, width)).astype(np.float32)
        np.testing.assert_array_equal(relu(x), np.maximum(x, 0))
    net = gm.Sequential(gm.Activation("relu"), gm.Residual(gm.Activation("identity")))
    np.testing.assert_array_equal(net([[1.0, -2.0]]), [[2.0, 0.0]])


def test_training_flag_uses_the_batch_and_moves_nothing() -> None:
    norm = gm.BatchNorm1d(6, dtype="float64")
    x = samples()
    y = norm(x, training=True)
    np.testing.assert_allclose(y, (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5), rtol=1e-12, atol=1e-13)
    norm.backward(x, np.ones_like(x))
    np.testing.assert_array_equal(norm.running_mean, np.zeros(6))
    np.testing.assert_array_equal(norm.running_var, np.ones(6))
    np.testing.assert_allclose(norm(x), x / np.sqrt(1 + 1e-5), rtol=1e-12)


# ---- mlp


@pytest.mark.parametrize("norm", [None, "batch"])
@pytest.mark.parametrize("residual", [None, True, 0.25])
def test_mlp_builds_what_it_says(norm: str | None, residual: bool | float | None) -> None:
    net = gm.mlp(6, [8, 8, 8, 5], 3, activation="gelu", norm=norm, residual=residual, rng=0, dtype="float64")
    x = samples()
    np.testing.assert_allclose(net(x), Reference(net, x, training=False).y, rtol=1e-10, atol=1e-12)
    blocks = [module for module in net.modules if isinstance(module, gm.Residual)]
    scales = [] if residual is None else [pytest.approx(0.5**0.5 if residual is True else 0.25)] * 2
    assert [block.scale for block in blocks] == scales
    assert net.spec is not None
    twin = net.spec.build(rng=0)
    np.testing.assert_array_equal(twin(x), net(x))
    assert not np.array_equal(net.spec.build(rng=1)(x), net(x))


def test_mlp_is_initialised_as_asked() -> None:
    net = gm.mlp(64, [256] * 3, 10, init="he_normal", gain=0.5, rng=0)
    for layer, wanted in zip(net.modules[0:6:2], (64, 256, 256), strict=True):
        assert np.std(layer.weight) == pytest.approx(0.5 * (2 / wanted) ** 0.5, rel=0.03)  # type: ignore[attr-defined]
    output = net[6]
    assert np.std(output.weight) == pytest.approx((2 / 256) ** 0.5, rel=0.05)  # type: ignore[attr-defined]
    assert not np.any(output.bias)  # type: ignore[attr-defined]
    assert all(layer.bias is None for layer in gm.mlp(3, [4], 2, bias=False).modules[::2])  # type: ignore[attr-defined]


def test_repr_shows_the_layers() -> None:
    text = repr(network())
    for part in ("(0) Linear(6, 9)", "BatchNorm1d(9, momentum=0.3)", "alpha=0.7", "Residual("):
        assert part in text


def test_repr_is_indented_and_folds_repeated_blocks() -> None:
    deep = gm.mlp(64, [64] * 50, 10, activation="tanh", rng=0)
    assert repr(deep) == "Sequential(\n  (0-99) 50 x Linear(64, 64), Activation('tanh')\n  (100) Linear(64, 10)\n)"
    assert repr(gm.Sequential(*(gm.Linear(3, 3) for _ in range(4)))) == "Sequential(\n  (0-3) 4 x Linear(3, 3)\n)"
    twice = gm.Sequential(gm.Linear(3, 3), gm.Linear(3, 3), gm.Linear(3, 2, bias=False, dtype="float32"))
    assert repr(twice).splitlines()[1:4] == [
        "  (0) Linear(3, 3)",
        "  (1) Linear(3, 3)",
        "  (2) Linear(3, 2, bias=False)",
    ]
    nested = gm.Sequential(gm.Linear(3, 4), gm.Residual(gm.Activation("elu", alpha=0.5), scale=0.25))
    assert repr(nested) == (
        "Sequential(\n  (0) Linear(3, 4)\n  (1) Residual(\n    (0) Activation('elu', alpha=0.5)\n    scale=0.25\n  )\n)"
    )


def test_a_slice_is_a_network_of_copies() -> None:
    net = gm.mlp(6, [5, 5], 3, activation="tanh", rng=0)
    x = np.random.default_rng(0).standard_normal((4, 6)).astype("float32")
    body = net[:-1]
    assert isinstance(body, gm.Sequential)
    assert len(body) == 4
    np.testing.assert_array_equal(net[-1:](body(x)), net(x))
    before = net.state_dict()
    new = gm.Sequential(body.requires_grad_(False), gm.Linear(5, 2, rng=1))
    new.fit((x, np.array([0, 1, 1, 0])), steps=2, rng=0)
    new[0][0].weight[...] = 0  # type: ignore[index]
    assert all((before[name] == value).all() for name, value in net.state_dict().items())
    assert all(net.requires_grad.values())
    branch = gm.Residual(gm.Linear(4, 4), gm.Activation("relu"))
    assert [repr(layer) for layer in branch[:1].modules] == ["Linear(4, 4)"]
    with pytest.raises(IndexError, match="layer 99 of a Sequential of 5; expected 0 to 4"):
        net[99]


def test_a_saved_network_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    x = samples()
    for net in (
        network(),
        gm.mlp(6, [5, 5, 5], 3, activation="prelu", norm="rms", residual=True, rng=0, dtype="float64"),
        gm.Sequential(gm.DenseSkip(gm.Linear(6, 2, bias=False), gm.GroupNorm(2, 2)), gm.Dropout(0.2), gm.LayerNorm(8)),
    ):
        net(x, training=True)
        net.requires_grad_(False, next(iter(net.requires_grad)))
        net.save(path)
        again = gm.load(path)
        assert repr(again) == repr(net)
        assert (again.spec, again.requires_grad) == (net.spec, net.requires_grad)
        for name, value in net.state_dict().items():
            np.testing.assert_array_equal(again.state_dict()[name], value)
        np.testing.assert_array_equal(again(x), net(x))
    trained = gm.mlp(6, [5], 2, rng=0)
    trained.fit((x, np.arange(len(x)) % 2), steps=3, rng=0, loss=gm.losses.CrossEntropy([1.0, 2.0], 0.1))
    trained.save(path)
    assert gm.load(path).loss == trained.loss


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    net = gm.mlp(4, [3], 2, rng=0)
    net.save(path)
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 37):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(CheckpointError):
            gm.load(path)
    path.write_bytes(whole)
    tensors, metadata = read(path)
    about = metadata["network"]
    for changed, message in (
        (about.replace("Linear", "system"), "system"),
        (about.replace('"in_features": 4', '"in_features": 5'), "shape"),
        (about.replace('"name": "relu"', '"name": "magic"'), "magic"),
        ("[" * 5000, "no network"),
    ):
        assert changed != about
        write(path, tensors, {"network": changed})
        with pytest.raises(CheckpointError, match=message):
            gm.load(path)
    write(path, {name: array for name, array in tensors.items() if name != "0.bias"}, {"network": about})
    with pytest.raises(CheckpointError, match=r"0\.bias"):
        gm.load(path)
    net.fit((np.eye(4), np.array([0, 1, 0, 1])), steps=1, checkpoint=path)
    with pytest.raises(CheckpointError, match="holds no network"):
        gm.load(path)
    with pytest.raises(CheckpointError, match="there is no directory"):
        net.save(tmp_path / "no" / "net")
