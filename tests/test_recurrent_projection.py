"""LSTM with a projection: kernels and stacks against a walk by one step of one sample, and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradiometer import _core, kernels, recurrent
from reference import recurrent as reference

Array = Any
DTYPES = ["float32", "float64"]
NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
SIZES = [(1, 1, 1, 1, 1), (6, 3, 4, 7, 2), (5, 6, 5, 33, 17), (4, 2, 17, 64, 32), (3, 17, 5, 16, 15)]
BY_STEP = ("x", "dy", "y", "dx", "dh", "dc", "gates", "c")
# As in test_recurrent.py.
TOLERANCE = 200


def case(T: int, N: int, I: int, H: int, P: int, dtype: str, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng((seed, T, N, I, H, P))

    def normal(*shape: int) -> Array:
        return (rng.normal(size=shape) / max(1.0, np.sqrt(shape[-1]) / 2)).astype(dtype)

    weights = normal(4 * H, I), normal(4 * H, P), normal(4 * H), normal(4 * H), normal(P, H)
    states = {name: normal(N, H if "c" in name else P) for name in ("h0", "dh_n", "c0", "dc_n")}
    return {"x": normal(T, N, I), "dy": normal(T, N, P), "weights": weights, **states}


def ours(given: dict[str, Any], recompute: int = 0, measure: bool = False, **how: Any) -> dict[str, Any]:
    x, h0 = given["x"], given["h0"]
    *four, weight_hr = given["weights"]
    how = how | {"weight_hr": weight_hr}
    y, h_n, c_n, cache = kernels.lstm_forward(x, four, h0, given["c0"], recompute=recompute, **how)
    above = {name: given[name] for name in ("dy", "dh_n", "dc_n")}
    out = {"y": y, "h_n": h_n, "c_n": c_n}
    out |= kernels.lstm_backward(
        x, four, y, cache, **above, h0=h0, recompute=recompute, steps=True, measure=measure, **how
    )
    if not recompute:
        out["gates"], out["c"] = kernels.lstm_gates(four, y, cache, **how)
    return out


def assert_close(got: dict[str, Array], want: dict[str, Array], dtype: str) -> None:
    for name, value in got.items():
        assert value.dtype == dtype, name
        assert value.shape == want[name].shape, name
        scale = np.abs(want[name]).max(initial=0.0)
        bound = TOLERANCE * np.finfo(dtype).eps * scale
        np.testing.assert_allclose(value, want[name], rtol=0, atol=bound, err_msg=name)


def ways(T: int, N: int) -> list[dict[str, Any]]:
    lengths = np.random.default_rng(T).integers(0, T + 1, N)
    return [{}, {"reverse": True}, {"lengths": lengths}, {"lengths": np.sort(lengths)[::-1], "reverse": True}]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("T", "N", "I", "H", "P"), SIZES)
def test_against_the_definition(T: int, N: int, I: int, H: int, P: int, dtype: str, isa: str) -> None:
    given = case(T, N, I, H, P, dtype)
    swapped = {n: np.ascontiguousarray(v.swapaxes(0, 1)) if n in BY_STEP else v for n, v in given.items()}
    for how in ways(T, N):
        want = reference.run("lstm", **given, **how)
        for recompute in (0, 1, 3):
            got = ours(given, recompute, **how)
            assert set(got) >= {f"d{name}" for name in NAMES}
            assert_close(got, want, dtype)
            for name, value in ours(swapped, recompute, batch_first=True, **how).items():
                back = value.swapaxes(0, 1) if name in BY_STEP else value
                np.testing.assert_array_equal(back, got[name], err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("T", "N", "I", "H", "P"), [*SIZES, (0, 2, 3, 4, 2), (3, 0, 3, 4, 2)])
def test_what_is_seen_of_every_step(T: int, N: int, I: int, H: int, P: int, dtype: str, isa: str) -> None:
    given = case(T, N, I, H, P, dtype)
    for how in ways(T, N):
        want = reference.run("lstm", **given, **how)["measured"]
        for recompute in (0, 2):
            plain, got = ours(given, recompute, **how), ours(given, recompute, measure=True, **how)
            for name, value in got.pop("measured").items():
                tolerance = 0 if name in ("rows", "low", "high") else TOLERANCE * np.finfo(dtype).eps
                np.testing.assert_allclose(value, want[name], rtol=tolerance, atol=tolerance, err_msg=name)
            for name, value in got.items():
                np.testing.assert_array_equal(value, plain[name], err_msg=name)


# Without a projection members would share units in the second.
@pytest.mark.parametrize(("T", "N", "H", "P"), [(30, 11, 50, 20), (12, 1, 256, 100)])
def test_same_bits_for_any_number_of_threads(T: int, N: int, H: int, P: int, thread_counts: Any) -> None:
    given = case(T, N, 40, H, P, "float32")
    calls = [{}, {"lengths": np.arange(N) * 3 % (T + 1)}, {"reverse": True, "recompute": 7}]

    def bits(how: dict[str, Any]) -> list[bytes]:
        made = ours(given, measure=True, **how)
        return [a.tobytes() for a in [*made.pop("measured").values(), *made.values()]]

    seen = [[bits(how) for how in calls] for _ in thread_counts]
    assert seen[0] == seen[1] == seen[2]


def test_inference_has_the_bits_of_training(isa: str) -> None:
    given = case(40, 33, 5, 37, 9, "float32")  # more than one segment of rows
    for how in ways(40, 33):
        kept, thrown = (
            _core.recurrent_forward("lstm", *(given[n] for n in ("x", "weights", "h0", "c0")), training=t, **how)
            for t in (True, False)
        )
        for a, b in zip(kept[:3], thrown[:3], strict=True):
            np.testing.assert_array_equal(a, b)


def torch_layer(I: int, H: int, P: int, layers: int, directions: int) -> tuple[Any, Any]:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    how: Any = {"num_layers": layers, "bidirectional": directions == 2, "proj_size": P, "dtype": torch.float64}
    return torch, torch.nn.LSTM(I, H, **how)


@pytest.mark.parametrize(("layers", "directions"), [(1, 1), (2, 2), (3, 1)])
def test_a_stack_is_torchs(layers: int, directions: int, isa: str) -> None:
    T, N, I, H, P = 7, 5, 6, 11, 4
    torch, layer = torch_layer(I, H, P, layers, directions)
    rng, count = np.random.default_rng(0), layers * directions
    given = {"x": (T, N, I), "h0": (count, N, P), "c0": (count, N, H), "dy": (T, N, directions * P)}
    given |= {"dh_n": (count, N, P), "dc_n": (count, N, H)}
    given = {name: rng.normal(size=shape) for name, shape in given.items()}
    lengths = np.array([7, 2, 5, 1, 7])
    x, h0, c0 = (torch.tensor(given[n], requires_grad=True) for n in ("x", "h0", "c0"))
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    y, last = layer(packed, (h0, c0))
    y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=T)
    seen = zip((y, *last), ("dy", "dh_n", "dc_n"), strict=True)
    sum((value * torch.tensor(given[name])).sum() for value, name in seen).backward()
    want = {"y": y, "h_n": last[0], "c_n": last[1], "dx": x.grad, "dh0": h0.grad, "dc0": c0.grad}
    want |= {f"d{name}": p.grad for name, p in layer.named_parameters()}
    parameters = {name: p.detach().numpy() for name, p in layer.state_dict().items()}
    above = {name: given[name] for name in ("dy", "dh_n", "dc_n", "h0")}
    for recompute in (0, 3):
        how: dict[str, Any] = {"lengths": lengths, "recompute": recompute}
        y, h_n, c_n, cache = recurrent.forward("lstm", given["x"], parameters, given["h0"], given["c0"], **how)
        assert cache is not None
        got = recurrent.backward("lstm", given["x"], parameters, cache, **above, **how)
        got |= {"y": y, "h_n": h_n, "c_n": c_n}
        assert set(got) == set(want)
        for name, value in got.items():
            np.testing.assert_allclose(value, want[name].detach().numpy(), rtol=1e-10, atol=1e-10, err_msg=name)


def parameters_of(layers: int, directions: int, I: int, H: int, P: int, dtype: str) -> dict[str, Array]:
    made = {}
    for k in range(layers):
        for d in range(directions):
            weights = case(1, 1, directions * P if k else I, H, P, dtype, seed=10 * k + d)["weights"]
            made |= {f"{n}_l{k}{'_reverse' * d}": w for n, w in zip(NAMES, weights, strict=True)}
    return made


@pytest.mark.parametrize("dtype", DTYPES)
def test_packed_and_a_step_at_a_time_have_the_same_bits(dtype: str, isa: str) -> None:
    given = case(6, 3, 4, 19, 5, dtype)
    x = given["x"]
    for directions in (1, 2):
        parameters = parameters_of(2, directions, 4, 19, 5, dtype)
        y, h_n, c_n, _ = recurrent.forward("lstm", x, parameters)
        packed = recurrent.pack("lstm", parameters)
        for training in (True, False):
            got = recurrent.forward("lstm", x, packed, training=training)
            for a, b in zip(got[:3], (y, h_n, c_n), strict=True):
                np.testing.assert_array_equal(a, b)
        if directions == 1:
            stepper = recurrent.Stepper("lstm", parameters, batch=3)
            np.testing.assert_array_equal([stepper.step(each) for each in x], y)
            np.testing.assert_array_equal(stepper.h, h_n)
            np.testing.assert_array_equal(stepper.c, c_n)


def test_bad_arguments() -> None:
    given = case(4, 2, 3, 5, 2, "float64")
    x, (*four, weight_hr) = given["x"], given["weights"]
    with pytest.raises(ValueError, match=r"weight_hr has shape \(3, 5\); expected \(2, 5\)"):
        kernels.lstm_forward(x, four, weight_hr=weight_hr[[0, 1, 0]])
    with pytest.raises(ValueError, match=r"weight_hr has shape \(5,\); expected 2 dimensions"):
        kernels.lstm_forward(x, four, weight_hr=weight_hr[0])
    with pytest.raises(ValueError, match=r"h0 has shape \(2, 5\); expected \(2, 2\)"):
        kernels.lstm_forward(x, four, given["c0"], weight_hr=weight_hr)
    with pytest.raises(ValueError, match=r"c0 has shape \(2, 2\); expected \(2, 5\)"):
        kernels.lstm_forward(x, four, None, given["h0"], weight_hr=weight_hr)
    parameters = parameters_of(2, 1, 3, 5, 2, "float64")
    with pytest.raises(ValueError, match="parameters has no weight_hr_l1"):
        recurrent.forward("lstm", x, {n: p for n, p in parameters.items() if n != "weight_hr_l1"})
    with pytest.raises(ValueError, match="parameters has weight_hr_l0, which no layer has"):
        recurrent.forward("gru", x, parameters)
    with pytest.raises(ValueError, match="P is 2; expected 0 for a cell other than GM_LSTM"):
        _core.recurrent_forward("gru", x, (four[0][:15], four[1][:15], None, None, weight_hr))
