"""LSTM with layer norm: what is its own, beside the tests of every cell."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import gradiometer as gm
import numpy as np
import pytest
from gradiometer import _core, kernels, recurrent
from gradiometer.diagnosis.pytorch import LAYER_NORM_LSTM
from reference import recurrent as reference

Array = Any
NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", *reference.NORMS)


def case(T: int, N: int, I: int, H: int, dtype: str = "float64", seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng((seed, T, N, I, H))
    shapes = {
        "x": (T, N, I),
        "weight_ih": (4 * H, I),
        "weight_hh": (4 * H, H),
        "bias_ih": (4 * H,),
        "bias_hh": (4 * H,),
    }
    shapes |= {"norm_weight_ih": (4 * H,), "norm_weight_hh": (4 * H,), "norm_weight_c": (H,), "norm_bias_c": (H,)}
    shapes |= {"h0": (N, H), "c0": (N, H), "dy": (T, N, H), "dh_n": (N, H), "dc_n": (N, H)}
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


def ours(given: dict[str, Array], **how: Any) -> dict[str, Any]:
    four, norm = [given[name] for name in NAMES[:4]], [given[name] for name in NAMES[4:]]
    y, h_n, c_n, cache = kernels.lstm_forward(given["x"], four, given["h0"], given["c0"], norm=norm, **how)
    above = {name: given[name] for name in ("dy", "dh_n", "dc_n")}
    out = kernels.lstm_backward(given["x"], four, y, cache, **above, h0=given["h0"], norm=norm, **how)
    return out | {"y": y, "h_n": h_n, "c_n": c_n}


def truth(given: dict[str, Array], **how: Any) -> dict[str, Any]:
    states = {name: given[name] for name in ("x", "h0", "c0", "dy", "dh_n", "dc_n")}
    return reference.run("lstm_norm", weights=tuple(given[name] for name in NAMES), **states, **how)


def test_every_gradient_by_differences(isa: str) -> None:
    """Central differences of step 1e-5: the error is of the order of 1e-10 and the step's."""
    given = case(4, 3, 2, 5)
    how: dict[str, Any] = {"lengths": np.array([4, 2, 3]), "reverse": True}
    got = ours(given, **how)

    def value() -> float:
        made = ours(given, **how)
        runs = np.arange(4)[:, None, None] < how["lengths"][:, None]
        sums = (made["y"] * given["dy"] * runs, made["h_n"] * given["dh_n"], made["c_n"] * given["dc_n"])
        return float(sum(part.sum() for part in sums))

    for name in ("x", *NAMES, "h0", "c0"):
        slopes = reference.slopes(value, given[name])
        np.testing.assert_allclose(got[f"d{name}"], slopes, rtol=1e-6, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_over_many_steps(dtype: str, isa: str) -> None:
    """Derivatives by the norms are put together block by block of 64 steps, also where samples end within one."""
    given = case(150, 3, 4, 9, dtype)
    for how in ({}, {"lengths": np.array([150, 64, 65])}):
        want = truth(given, **how)
        for recompute in (0, 50):
            got = ours(given, recompute=recompute, **how)
            for name in NAMES:
                expected = want[f"d{name}"]
                bound = 1000 * np.finfo(dtype).eps * np.abs(expected).max()
                np.testing.assert_allclose(got[f"d{name}"], expected, rtol=0, atol=bound, err_msg=name)


def test_far_from_0_the_norm_keeps_its_digits(isa: str) -> None:
    """W x of mean 2^20 and spread 1 to the last bit: the statistics are float64."""
    H = 24
    rng = np.random.default_rng(0)
    given = case(1, 1, 1, H, "float32")
    given["x"] = np.ones((1, 1, 1), "float32")
    given["weight_ih"] = (2.0**20 + rng.integers(-16, 17, (4 * H, 1)) / 8).astype("float32")
    got, want = ours(given), truth(given)
    np.testing.assert_allclose(got["y"], want["y"], rtol=0, atol=30 * np.finfo("float32").eps)
    np.testing.assert_allclose(got["dnorm_weight_ih"], want["dnorm_weight_ih"], rtol=0, atol=2e-5)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_size_of_the_weights_does_not_matter(scale: float) -> None:
    """But for eps, which is 1e-5 beside variances of 1 and more."""
    given = case(6, 2, 8, 16)
    given["h0"] *= 3
    before = ours(given)["y"][0]
    large = given | {name: given[name] * 1e6 for name in ("weight_ih", "weight_hh")}
    larger = large | {name: large[name] * scale for name in ("weight_ih", "weight_hh")}
    np.testing.assert_allclose(ours(larger)["y"], ours(large)["y"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours(large)["y"][0], before, rtol=0, atol=1e-4)


def test_a_norm_of_one_unit_is_its_shift(isa: str) -> None:
    """c - mean(c) is 0: h = o tanh(shift) whatever c is, and no gradient comes to c from h."""
    given = case(5, 3, 2, 1)
    want = truth(given)
    got = ours(given)
    gates = kernels.lstm_gates
    four, norm = [given[name] for name in NAMES[:4]], [given[name] for name in NAMES[4:]]
    y, _, _, cache = kernels.lstm_forward(given["x"], four, given["h0"], given["c0"], norm=norm)
    o = gates(four, y, cache, norm=norm)[0][:, :, 3:]
    np.testing.assert_allclose(got["y"], o * np.tanh(given["norm_bias_c"]), rtol=1e-13)
    assert not got["dnorm_weight_c"].any()
    np.testing.assert_allclose(got["dc0"], want["dc0"], rtol=1e-11)
    none = ours(given | {"dc_n": np.zeros((3, 1))})
    assert not none["dc0"].any()


def test_norms_that_are_left_out_are_1_and_0(isa: str) -> None:
    given = case(4, 3, 2, 5)
    plain = given | {name: np.ones_like(given[name]) for name in reference.NORMS[:3]}
    plain["norm_bias_c"] = np.zeros(5)
    x, four, states = given["x"], [given[name] for name in NAMES[:4]], (given["h0"], given["c0"])
    want = kernels.lstm_forward(x, four, *states, norm=[plain[name] for name in reference.NORMS])
    got = kernels.lstm_forward(x, four, *states, norm=(None, None, None, None))
    for one, two in zip(want, got, strict=True):
        np.testing.assert_array_equal(one, two)
    back = kernels.lstm_backward(x, four, got[0], got[3], given["dy"], h0=given["h0"], norm=[None] * 4)
    assert not [name for name in back if "norm" in name]
    parameters = {f"{name}_l0": given[name] for name in NAMES[:4]}
    stack = recurrent.forward("lstm_norm", x, parameters, *(state[None] for state in states))[0]
    np.testing.assert_array_equal(stack, got[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "stack", [{}, {"num_layers": 2, "bidirectional": True}, {"bidirectional": True, "bias": False}]
)
def test_as_the_code_for_pytorch(stack: dict[str, Any], dtype: str) -> None:
    torch = pytest.importorskip("torch")
    scope: dict[str, Any] = {"torch": torch, "nn": torch.nn}
    exec(LAYER_NORM_LSTM, scope)
    theirs = scope["LayerNormLSTM"](3, 7, **stack).to(getattr(torch, dtype))
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.tensor(rng.normal(size=tuple(p.shape))))
    parameters = {name: p.numpy() for name, p in theirs.state_dict().items()}
    ways, layers = 1 + stack.get("bidirectional", False), stack.get("num_layers", 1)
    x, dy = (rng.normal(size=(5, 6, width)).astype(dtype) for width in (3, 7 * ways))
    h0, c0, dh_n, dc_n = (rng.normal(size=(layers * ways, 5, 7)).astype(dtype) for _ in range(4))
    leaves = [torch.tensor(a, requires_grad=True) for a in (x, h0, c0)]
    y, (h_n, c_n) = theirs(leaves[0], (leaves[1], leaves[2]))
    sum((a * torch.tensor(d)).sum() for a, d in ((y, dy), (h_n, dh_n), (c_n, dc_n))).backward()
    how: dict[str, Any] = {"batch_first": True}
    *made, cache = recurrent.forward("lstm_norm", x, parameters, h0, c0, **how)
    assert cache is not None
    got = recurrent.backward("lstm_norm", x, parameters, cache, dy, dh_n, dc_n, h0, **how)
    want = {"dx": leaves[0].grad, "dh0": leaves[1].grad, "dc0": leaves[2].grad}
    want |= {f"d{name}": p.grad for name, p in theirs.named_parameters()}
    assert set(got) == set(want)
    got |= dict(zip(("y", "h_n", "c_n"), made, strict=True))
    for name, tensor in (want | {"y": y, "h_n": h_n, "c_n": c_n}).items():
        expected = tensor.detach().numpy()
        bound = 500 * np.finfo(dtype).eps * max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(got[name], expected, rtol=0, atol=bound, err_msg=name)


def trained(**options: Any) -> gm.Sequential:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 9, 3)).astype("float32")
    layer = gm.LSTM(3, 40, 2, bidirectional=True, layer_norm=True, rng=0)
    net = gm.Sequential(layer, gm.Linear(80, 2, rng=1))
    net.fit((x, (x.sum((1, 2)) > 0).astype(int)), epochs=2, batch_size=16, rng=0, **options)
    return net


def test_training_has_the_same_bits_for_any_team_is_saved_and_streams(tmp_path: Path, thread_counts: Any) -> None:
    nets = [trained() for _ in thread_counts]
    for one, two in pairwise(nets):
        for name, value in one.state_dict().items():
            np.testing.assert_array_equal(value, two.state_dict()[name], err_msg=name)
    net, start = nets[0], gm.LSTM(3, 40, 2, bidirectional=True, layer_norm=True, rng=0)
    moved = {
        name for name, value in start.state_dict().items() if not np.array_equal(value, net.state_dict()[f"0.{name}"])
    }
    assert moved == {f"{name}_l{k}{way}" for name in NAMES for k in (0, 1) for way in ("", "_reverse")}
    assert np.all(start.norm_weight_c_l1_reverse == 1)
    assert not start.norm_bias_c_l0.any()
    plain = gm.LSTM(3, 40, 2, bidirectional=True, rng=0)
    np.testing.assert_array_equal(plain.weight_hh_l1, start.weight_hh_l1)
    net.save(tmp_path / "net.npz")
    loaded = gm.load(tmp_path / "net.npz")
    assert "layer_norm=True" in repr(loaded)
    x = np.random.default_rng(1).standard_normal((4, 7, 3)).astype("float32")
    np.testing.assert_array_equal(loaded.predict(x), net.predict(x))
    with pytest.raises(ValueError, match="one direction"):
        recurrent.Stepper("lstm_norm", net[0].state_dict())

    one_way = gm.LSTM(3, 17, 2, layer_norm=True, forget_bias=1.0, output="all", rng=3)
    assert np.all(one_way.bias_ih_l0[17:34] + one_way.bias_hh_l0[17:34] == 1)
    stepper = recurrent.Stepper(one_way.cell, one_way.state_dict(), batch=4)
    np.testing.assert_array_equal(np.stack([stepper.step(x[:, t]) for t in range(7)], 1), one_way(x))


def test_recomputed_and_frozen_norms() -> None:
    """Computed again, the bits are the same; what is frozen stays."""
    for name, value in trained(recompute=3).state_dict().items():
        np.testing.assert_array_equal(value, trained().state_dict()[name], err_msg=name)
    x = np.random.default_rng(0).standard_normal((8, 5, 3)).astype("float32")
    layer = gm.LSTM(3, 6, layer_norm=True, rng=0).requires_grad_(
        False, "norm_weight_ih_l0", "bias_ih_l0", "norm_bias_c_l0"
    )
    net = gm.Sequential(layer, gm.Linear(6, 2, rng=1))
    before = net.state_dict()
    net.fit((x, np.arange(8) % 2), steps=3, batch_size=8, rng=0)
    still = {name for name, value in net.state_dict().items() if np.array_equal(value, before[name])}
    assert still == {"0.norm_weight_ih_l0", "0.bias_ih_l0", "0.norm_bias_c_l0"}


def test_it_is_measured_through_time() -> None:
    x = np.random.default_rng(0).standard_normal((16, 30, 3)).astype("float32")
    net = gm.Sequential(gm.LSTM(3, 12, layer_norm=True, rng=0), gm.Linear(12, 2, rng=1))
    seen = gm.measure(net, x, np.arange(16) % 2)
    (layer,) = seen.time
    assert (layer.cell, layer.name) == ("lstm_norm", "LSTM norm 12")
    assert 0 < layer.decay.factor < 1
    assert "LSTM norm 12" in str(seen)
    assert layer.cell_path is not None
    assert layer.cell_path.factor < layer.decay.factor
    assert [gate.name for gate in layer.gates] == ["i", "f", "o"]


FOUR = (np.ones((8, 3)), np.ones((8, 2)), None, None)
GAIN, UNIT = np.ones(8), np.ones(2)


@pytest.mark.parametrize(
    ("norm", "more", "error", "message"),
    [
        ((GAIN, GAIN, UNIT), {}, ValueError, "norm has 3 arrays; expected norm_weight_ih, norm_weight_hh"),
        ((UNIT, GAIN, UNIT, UNIT), {}, ValueError, r"norm_weight_ih has shape \(2,\); expected \(8,\)"),
        ((GAIN, UNIT, UNIT, UNIT), {}, ValueError, r"norm_weight_hh has shape \(2,\); expected \(8,\)"),
        ((GAIN, GAIN, GAIN, UNIT), {}, ValueError, r"norm_weight_c has shape \(8,\); expected \(2,\)"),
        ((GAIN, GAIN, UNIT, GAIN), {}, ValueError, r"norm_bias_c has shape \(8,\); expected \(2,\)"),
        ((GAIN.astype("float32"), None, None, None), {}, TypeError, "norm_weight_ih has dtype float32"),
        ((None,) * 4, {"weight_hr": np.ones((1, 2))}, ValueError, "weight_hr is given with norm"),
    ],
)
def test_bad_norms(norm: Any, more: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        kernels.lstm_forward(np.ones((4, 2, 3)), FOUR, norm=norm, **more)


def test_bad_layers() -> None:
    with pytest.raises(ValueError, match="proj_size is 2 with layer_norm=True; expected 0"):
        gm.LSTM(3, 5, proj_size=2, layer_norm=True)
    parameters = {f"{name}_l0": value for name, value in case(1, 1, 3, 5).items() if name in NAMES}
    with pytest.raises(ValueError, match="parameters has norm_bias_c_l0, which no layer has"):
        recurrent.forward("lstm", np.ones((1, 1, 3)), parameters)
    with pytest.raises(ValueError, match="parameters has weight_hr_l0, which no layer has"):
        recurrent.forward("lstm_norm", np.ones((1, 1, 3)), parameters | {"weight_hr_l0": np.ones((2, 5))})
    graph = _core.Graph(3, True)
    with pytest.raises(ValueError, match="projection is 2 of an lstm with norm; expected 0"):
        graph.add("lstm", [0], {"hidden": 5, "projection": 2, "norm": 1})
