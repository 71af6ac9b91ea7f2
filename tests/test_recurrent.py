"""LSTM, GRU and RNN: every result of the kernels against a walk by one step of one sample, closed forms and PyTorch."""

from __future__ import annotations

import signal
from typing import Any

import numpy as np
import pytest
from gradiometer import _core, kernels, recurrent
from reference import recurrent as reference

Array = Any
CELLS = list(reference.GATES)
OF_TORCH = [cell for cell in CELLS if cell not in ("gru_reset_before", "lstm_norm")]
DTYPES = ["float32", "float64"]
# Sums of some hundred terms and some dozen steps, each within a few roundings of numbers about the largest.
TOLERANCE = 200


def case(cell: str, T: int, N: int, I: int, H: int, dtype: str, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng((seed, T, N, I, H))
    G = reference.GATES[cell] * H

    def normal(*shape: int) -> Array:
        return (rng.normal(size=shape) / max(1.0, np.sqrt(shape[-1]) / 2)).astype(dtype)

    made: dict[str, Any] = {"x": normal(T, N, I), "weights": (normal(G, I), normal(G, H), normal(G), normal(G))}
    if cell == "lstm_norm":
        made["weights"] += tuple(normal(width) + shift for width, shift in ((G, 1), (G, 1), (H, 1), (H, 0)))
    made |= {name: normal(N, H) for name in ("h0", "dh_n")} | {"dy": normal(T, N, H)}
    if cell in reference.MEMORY:
        made |= {name: normal(N, H) for name in ("c0", "dc_n")}
    return made


def ours(cell: str, given: dict[str, Any], recompute: int = 0, **how: Any) -> dict[str, Array]:
    x, weights, h0, c0 = given["x"], given["weights"], given.get("h0"), given.get("c0")
    y, h_n, c_n, cache = _core.recurrent_forward(cell, x, weights, h0, c0, recompute=recompute, **how)
    above = {name: given.get(name) for name in ("dy", "dh_n", "dc_n")}
    out = {"y": y, "h_n": h_n, "cache": cache}
    out |= _core.recurrent_backward(cell, x, weights, y, cache, **above, h0=h0, recompute=recompute, steps=True, **how)
    if cell in reference.MEMORY:
        out["c_n"] = c_n
    if not recompute:
        out["gates"], c = _core.recurrent_gates(cell, weights, y, cache, **how)
        if cell in reference.MEMORY:
            out["c"] = c
    return out


def assert_close(got: dict[str, Array], want: dict[str, Array], dtype: str, times: int = 1) -> None:
    eps = times * np.finfo(dtype).eps
    for name, value in got.items():
        if name == "cache":
            continue
        assert value.dtype == dtype, name
        assert value.shape == want[name].shape, name
        scale = max(np.abs(want[name]).max(initial=0.0), want.get("terms", {}).get(name, 0.0))
        np.testing.assert_allclose(value, want[name], rtol=0, atol=TOLERANCE * eps * scale, err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("T", "N", "I", "H"), [(1, 1, 1, 1), (6, 3, 4, 7), (5, 6, 5, 33), (4, 2, 17, 64), (3, 9, 70, 16), (12, 1, 3, 20)]
)
def test_against_the_definition(cell: str, T: int, N: int, I: int, H: int, dtype: str, isa: str) -> None:
    given = case(cell, T, N, I, H, dtype)
    lengths = np.random.default_rng(T).integers(0, T + 1, N)
    for how in ({}, {"reverse": True}, {"lengths": lengths}, {"lengths": np.sort(lengths)[::-1], "reverse": True}):
        want = reference.run(cell, **given, **how)
        for recompute in (0, 1, 3):
            assert_close(ours(cell, given, recompute, **how), want, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("T", "N", "H"), [(6, 3, 7), (5, 9, 33), (4, 2, 64), (3, 1, 1), (0, 2, 3), (3, 0, 3)])
def test_what_is_seen_of_every_step(cell: str, T: int, N: int, H: int, dtype: str, isa: str) -> None:
    given = case(cell, T, N, 4, H, dtype)
    given["weights"] = (given["weights"][0] * 3, *given["weights"][1:])  # some gates saturate
    lengths = np.random.default_rng(T).integers(0, T + 1, N)
    for how in ({}, {"reverse": True}, {"lengths": lengths}, {"lengths": lengths, "reverse": True}):
        for recompute in (0, 2):
            plain = ours(cell, given, recompute, **how)
            want = reference.run(cell, **given, **how)["measured"]
            got = measured(cell, given, recompute, **how)
            for name, value in got.pop("measured").items():
                assert value.dtype == np.float64
                assert value.shape == want[name].shape
                if name in ("rows", "low", "high"):
                    np.testing.assert_array_equal(value, want[name], err_msg=name)
                else:
                    # Each step of its own: late ones must not hide behind early ones.
                    tolerance = TOLERANCE * np.finfo(dtype).eps
                    np.testing.assert_allclose(value, want[name], rtol=tolerance, atol=tolerance, err_msg=name)
            want = reference.run(cell, **given, **how, from_end=True)["measured"]
            for name, value in measured(cell, given, recompute, **how, from_end=True)["measured"].items():
                tolerance = TOLERANCE * np.finfo(dtype).eps
                np.testing.assert_allclose(value, want[name], rtol=tolerance, atol=tolerance, err_msg=name)
            for name, value in got.items():
                np.testing.assert_array_equal(value, plain[name], err_msg=name)


def measured(
    cell: str, given: dict[str, Any], recompute: int = 0, from_end: bool = False, **how: Any
) -> dict[str, Any]:
    x, weights, h0 = given["x"], given["weights"], given.get("h0")
    y, _, _, cache = _core.recurrent_forward(cell, x, weights, h0, given.get("c0"), recompute=recompute, **how)
    above = {name: given.get(name) for name in ("dy", "dh_n", "dc_n")}
    return _core.recurrent_backward(
        cell, x, weights, y, cache, **above, h0=h0, recompute=recompute, measure=True, from_end=from_end, **how
    )


@pytest.mark.parametrize("cell", CELLS)
def test_what_is_seen_has_the_same_bits_for_any_number_of_threads(cell: str, thread_counts: Any) -> None:
    given = case(cell, 30, 11, 40, 50, "float32")
    lengths = np.arange(11) * 3 % 31
    ways: list[dict[str, Any]] = [
        {},
        {"lengths": lengths},
        {"batch_first": True},
        {"lengths": lengths, "from_end": True},
    ]
    given_first = given | {n: np.ascontiguousarray(given[n].swapaxes(0, 1)) for n in ("x", "dy")}

    def bits(how: dict[str, Any]) -> list[bytes]:
        seen = measured(cell, given_first if "batch_first" in how else given, **how)["measured"]
        return [a.tobytes() for a in seen.values()]

    seen = [[bits(how) for how in ways] for _ in thread_counts]
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][0] == seen[0][2]


@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_reset_before"])
def test_the_path_is_the_gradient_with_h_cut(cell: str, isa: str) -> None:
    """weight_hh of 0 leaves the memory's path alone: then it is the whole gradient."""
    given = case(cell, 12, 3, 4, 9, "float64")
    weights = given["weights"]
    given["weights"] = (weights[0], 0 * weights[1], *weights[2:])
    seen = measured(cell, given)["measured"]
    np.testing.assert_allclose(seen["path"], seen["dc" if cell in reference.MEMORY else "dh"], rtol=1e-12)


BY_STEP = ("x", "dy", "y", "dx", "dh", "dc", "gates", "c")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("T", "N", "H"), [(6, 5, 33), (4, 1, 8), (1, 3, 5), (7, 40, 6)])
def test_batch_first_is_the_same_with_axes_swapped(cell: str, T: int, N: int, H: int, isa: str) -> None:
    given = case(cell, T, N, 4, H, "float32")
    swapped = {name: np.ascontiguousarray(v.swapaxes(0, 1)) if name in BY_STEP else v for name, v in given.items()}
    lengths = np.random.default_rng(N).integers(0, T + 1, N)
    for how in ({}, {"reverse": True}, {"lengths": lengths}, {"lengths": lengths, "reverse": True}):
        for recompute in (0, 2):
            want = ours(cell, given, recompute, **how)
            for name, value in ours(cell, swapped, recompute, batch_first=True, **how).items():
                back = value.swapaxes(0, 1) if name in BY_STEP else value
                if name != "cache":
                    np.testing.assert_array_equal(back, want[name], err_msg=name)


@pytest.mark.parametrize("cell", CELLS)
def test_no_biases_no_states_one_gradient(cell: str, isa: str) -> None:
    given = case(cell, 5, 3, 4, 6, "float64")
    bare = {"x": given["x"], "weights": (*given["weights"][:2], None, None), "dh_n": given["dh_n"]}
    got = ours(cell, bare)
    assert not {"dbias_ih", "dbias_hh"} & set(got)
    assert_close(got, reference.run(cell, **bare), "float64")


@pytest.mark.parametrize("cell", CELLS)
def test_inference_has_the_bits_of_training(cell: str, isa: str) -> None:
    given = case(cell, 40, 33, 5, 37, "float32")  # more than one segment of rows
    states = {"h0": given["h0"], "c0": given.get("c0")}
    for how in ({}, {"lengths": np.arange(33), "reverse": True}):
        kept = _core.recurrent_forward(cell, given["x"], given["weights"], **states, **how)
        thrown = _core.recurrent_forward(cell, given["x"], given["weights"], **states, **how, training=False)
        assert thrown[3] is None
        for a, b in zip(kept[:3], thrown[:3], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("cell", CELLS)
def test_recomputed_states_have_the_same_bits(cell: str, isa: str) -> None:
    given = case(cell, 17, 4, 3, 19, "float32")
    how = {"lengths": np.array([17, 3, 0, 11])}
    whole = ours(cell, given, 0, **how)
    for k in (1, 5, 17, 100):
        parts = ours(cell, given, k, **how)
        assert parts["cache"].size == (-(-17 // k) * 4 * 19 if cell in reference.MEMORY else 0)
        for name in ("y", "h_n", "dx", "dh", "dh0", *(("c_n", "dc", "dc0") if cell in reference.MEMORY else ())):
            np.testing.assert_array_equal(parts[name], whole[name], err_msg=f"{name}, k = {k}")


def test_one_sample_of_units_that_one_member_has(thread_counts: Any) -> None:
    """64 units cannot be shared: members must not wait for each other at every step."""
    given = case("lstm", 60, 1, 8, 64, "float64")
    seen = [[a.tobytes() for name, a in ours("lstm", given).items() if name != "cache"] for _ in thread_counts]
    assert seen[0] == seen[1] == seen[2]


# Members share samples in the first, units in the others.
@pytest.mark.parametrize(("T", "N", "H"), [(30, 11, 50), (12, 3, 256), (12, 1, 256)])
@pytest.mark.parametrize("cell", CELLS)
def test_same_bits_for_any_number_of_threads(cell: str, T: int, N: int, H: int, thread_counts: Any) -> None:
    given = case(cell, T, N, 40, H, "float32")
    swapped = given | {name: np.swapaxes(given[name], 0, 1) for name in ("x", "dy")}
    ways: list[dict[str, Any]] = [{}, {"lengths": np.arange(N) * 3 % (T + 1)}, {"reverse": True, "recompute": 7}]
    names = names_of(cell)
    both = {f"{n}_l0{end}": w for end in ("", "_reverse") for n, w in zip(names, given["weights"], strict=True)}

    def bits(given: dict[str, Any], **how: Any) -> list[bytes]:
        return [
            a.tobytes() for name, a in ours(cell, given, **how).items() if name != "cache"
        ]  # its end is not written

    def stack() -> list[bytes]:
        y, _, _, cache = recurrent.forward(cell, given["x"], both)
        return [y.tobytes(), *(a.tobytes() for a in recurrent.backward(cell, given["x"], both, cache, y).values())]

    seen = [[*(bits(given, **how) for how in ways), bits(swapped, batch_first=True), stack()] for _ in thread_counts]
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize("cell", CELLS)
def test_members_who_do_not_wait_keep_apart(cell: str, thread_counts: Any) -> None:
    given = case(cell, 60, 40, 7, 33, "float32")
    lengths = np.random.default_rng(0).integers(0, 61, 40)
    states = {"h0": given["h0"], "c0": given.get("c0")}
    want = _core.recurrent_forward(cell, given["x"], given["weights"], **states, lengths=lengths)[:3]
    for _ in thread_counts:
        for k in (1, 3, 25):
            got = _core.recurrent_forward(
                cell, given["x"], given["weights"], **states, lengths=lengths, recompute=k, training=k > 1
            )
            for a, b in zip(want, got[:3], strict=True):
                np.testing.assert_array_equal(a, b, err_msg=f"{k} steps a segment")


@pytest.mark.parametrize("cell", CELLS)
def test_a_sample_does_not_depend_on_its_batch(cell: str, isa: str) -> None:
    given = case(cell, 9, 13, 6, 21, "float32")
    lengths = np.array([9, 1, 4, 9, 0, 7, 3, 2, 9, 5, 6, 8, 9])
    whole = ours(cell, given, lengths=lengths)
    for n in (0, 2, 5, 12):
        alone = {k: v if k == "weights" else v[:, n : n + 1] if v.ndim == 3 else v[n : n + 1] for k, v in given.items()}
        cut = {k: alone[k][: lengths[n]] if k in ("x", "dy") else v for k, v in alone.items()}
        one = ours(cell, cut)
        for name in ("y", "dx", "dh", "gates"):
            np.testing.assert_array_equal(one[name][:, 0], whole[name][: lengths[n], n], err_msg=name)
        for name in ("h_n", "dh0"):
            np.testing.assert_array_equal(one[name][0], whole[name][n], err_msg=name)


@pytest.mark.parametrize("cell", CELLS)
def test_many_inputs_have_the_bits_of_few_rows(cell: str, isa: str) -> None:
    """Weights of 1 MiB and more are packed for dx where there are many rows, and left as they are for few."""
    H = 32
    given = case(cell, 8, 17, 2**18 // (reference.GATES[cell] * H) + 5, H, "float32")
    lengths = np.arange(17) % 9
    assert_close(ours(cell, given), reference.run(cell, **given), "float32")
    for how in ({}, {"lengths": lengths}):
        whole = ours(cell, given, **how)
        for n in (0, 8, 16):
            T = lengths[n] if how else 8
            one = {
                k: v if k == "weights" else v[:, n : n + 1] if v.ndim == 3 else v[n : n + 1] for k, v in given.items()
            }
            got = ours(cell, one | {k: one[k][:T] for k in ("x", "dy")})
            np.testing.assert_array_equal(got["y"][:, 0], whole["y"][:T, n])
            np.testing.assert_array_equal(got["dx"][:, 0], whole["dx"][:T, n])


@pytest.mark.parametrize("cell", CELLS)
def test_padding_is_not_read_and_has_no_gradient(cell: str, isa: str) -> None:
    given = case(cell, 6, 4, 3, 5, "float32")
    lengths = np.array([2, 6, 0, 5])
    beyond = np.arange(6)[:, None] >= lengths
    given["x"][beyond] = given["dy"][beyond] = np.nan
    got = ours(cell, given, lengths=lengths)
    for name in ("y", "dx", "dh", "gates", *(("c", "dc") if cell in reference.MEMORY else ())):
        assert np.all(got[name][beyond] == 0), name
        assert np.all(np.isfinite(got[name])), name
    assert np.all(np.isfinite(got["dweight_ih"]))
    assert np.all(np.isfinite(got["dbias_hh"]))
    np.testing.assert_array_equal(got["h_n"][2], given["h0"][2])
    np.testing.assert_array_equal(got["dh0"][2], given["dh_n"][2])


@pytest.mark.parametrize("cell", CELLS)
def test_nan_stays_in_its_sample(cell: str, isa: str) -> None:
    given = case(cell, 5, 3, 4, 6, "float32")
    given["x"][2, 1, 3] = np.nan
    y = ours(cell, given)["y"]
    np.testing.assert_array_equal(np.isnan(y).all(2), np.isnan(y).any(2))
    np.testing.assert_array_equal(np.isnan(y[:, 1, 0]), [False, False, True, True, True])
    assert not np.isnan(y[:, [0, 2]]).any()


@pytest.mark.parametrize("bad", [np.inf, -np.inf, 1e30, -1e30])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh", "gru_reset_before"])
def test_huge_inputs_saturate(cell: str, bad: float, isa: str) -> None:
    H, G = 3, reference.GATES[cell] * 3
    x = np.full((2, 1, 1), bad, "float32")
    weights = np.ones((G, 1), "float32"), np.zeros((G, H), "float32"), None, None
    got = ours(cell, {"x": x, "weights": weights, "dy": np.ones((2, 1, H), "float32")})
    assert np.all(np.abs(got["y"]) <= 1)
    assert np.all(np.isfinite(got["dh"]))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("T", "N"), [(0, 3), (4, 0), (0, 0)])
def test_nothing_to_do(cell: str, T: int, N: int, isa: str) -> None:
    given = case(cell, T, N, 2, 5, "float32")
    for how in ({}, {"lengths": np.zeros(N, int)}, {"recompute": 2}):
        assert_close(ours(cell, given, **how), reference.run(cell, **given, lengths=how.get("lengths")), "float32")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh", "gru_reset_before"])
def test_no_cancellation_where_gates_saturate(cell: str, dtype: str, isa: str) -> None:
    """Each element's own relative error, down to the subnormals; 1 - y² has lost all digits at 9.02 in float32."""
    rng = np.random.default_rng(3)
    H, units, wide = 1000, 50, 85 if dtype == "float32" else 700
    G = reference.GATES[cell]
    eps, tiny = np.finfo(dtype).eps, np.finfo(dtype).smallest_subnormal
    for _ in range(H // units):
        a = rng.uniform(-1, 1, (G, units)) * rng.choice([0.01, 1, 12, wide / 2], (G, units))
        a[2:3] = abs(a[2:3])  # g, n: with c and h positive, sums do not cancel of themselves, nor does h - n
        weights = np.zeros((G * units, 1), dtype), np.zeros((G * units, units), dtype), a.ravel().astype(dtype), None
        given: dict[str, Any] = {"x": np.zeros((1, 1, 1), dtype), "weights": weights}
        given |= {"h0": rng.uniform(2, 3, (1, units)), "dh_n": rng.uniform(0.5, 2, (1, units))}
        if cell in reference.MEMORY:
            given |= {"c0": rng.uniform(0.1, 1, (1, units)), "dc_n": np.zeros((1, units))}
        given |= {name: v.astype(dtype) for name, v in given.items() if name not in ("x", "weights")}
        got, want = ours(cell, given), reference.run(cell, **given)
        for name in ("h_n", "gates", "dbias_ih", "dh0"):
            error = np.abs(got[name] - want[name])
            assert np.all(error <= 30 * eps * np.abs(want[name]) + 4 * tiny), name


def test_linear_rnn_is_a_power(isa: str) -> None:
    rng = np.random.default_rng(5)
    W = rng.uniform(0.1, 0.5, (3, 3))
    weights = np.ones((3, 1)), W
    y, _, cache = kernels.rnn_forward(np.ones((8, 1, 1)), weights, nonlinearity="relu")
    above = np.array([[1.0, 0.0, 0.0]])
    got = kernels.rnn_backward(np.ones((8, 1, 1)), weights, y, cache, dh_n=above, nonlinearity="relu", steps=True)
    for t in range(8):
        np.testing.assert_allclose(got["dh"][t], above @ np.linalg.matrix_power(W, 7 - t), rtol=1e-13)


def test_memory_decays_by_its_forget_gate(isa: str) -> None:
    """Recurrent weights 0 cut the path through h: dc_t = f^(T - 1 - t), f = σ(2)."""
    H = 5
    bias = np.repeat([0.0, 2.0, 0.0, 0.0], H)
    weights = np.zeros((4 * H, 1)), np.zeros((4 * H, H)), bias
    x = np.ones((30, 1, 1))
    y, _, _, cache = kernels.lstm_forward(x, weights)
    got = kernels.lstm_backward(x, weights, y, cache, dc_n=np.ones((1, H)), steps=True)
    np.testing.assert_allclose(got["dc"][:, 0, 0], 0.8807970779778824 ** np.arange(29, -1, -1), rtol=1e-13)


@pytest.mark.parametrize("cell", CELLS)
def test_one_step(cell: str, isa: str) -> None:
    given = case(cell, 1, 4, 3, 6, "float64")
    want = reference.run(cell, **{k: v for k, v in given.items() if k != "dy"})
    x, weights, h, dh = given["x"][0], given["weights"], given["h0"], given["dh_n"]
    if cell in reference.MEMORY:
        norm = {"norm": weights[4:]} if cell == "lstm_norm" else {}
        made, c, cache = kernels.lstm_cell_forward(x, weights[:4], h, given["c0"], **norm)
        np.testing.assert_allclose(c, want["c_n"], rtol=1e-12)
        back = kernels.lstm_cell_backward(x, weights[:4], cache, dh, given["dc_n"], h, **norm)
        np.testing.assert_allclose(back["dc"], want["dc0"], rtol=1e-11)
    elif cell.startswith("gru"):
        after = cell == "gru"
        made, cache = kernels.gru_cell_forward(x, weights, h, reset_after=after)
        back = kernels.gru_cell_backward(x, weights, cache, dh, h, reset_after=after)
    else:
        kind: Any = cell.removeprefix("rnn_")
        made, cache = kernels.rnn_cell_forward(x, weights, h, kind)
        back = kernels.rnn_cell_backward(x, weights, cache, dh, h, kind)
    np.testing.assert_allclose(made, want["h_n"], rtol=1e-12)
    np.testing.assert_allclose(back["dh"], want["dh0"], rtol=1e-11)
    np.testing.assert_allclose(back["dx"], want["dx"][0], rtol=1e-11)
    np.testing.assert_allclose(back["dweight_hh"], want["dweight_hh"], rtol=1e-11)


def test_reset_before_by_differences(isa: str) -> None:
    """Every gradient by every element, by central differences: the error is of the order of 1e-10 and the step's."""
    given = case("gru_reset_before", 4, 3, 2, 5, "float64")
    arrays = dict(zip(("x", *NAMES, "h0"), (given["x"], *given["weights"], given["h0"]), strict=True))
    how: dict[str, Any] = {"lengths": np.array([4, 2, 3]), "reverse": True, "reset_after": False}

    def value() -> float:
        x, *weights, h0 = arrays.values()
        y, h_n, _ = kernels.gru_forward(x, weights, h0, training=False, **how)
        return float((y * given["dy"]).sum() + (h_n * given["dh_n"]).sum())

    x, *weights, h0 = arrays.values()
    y, _, cache = kernels.gru_forward(x, weights, h0, **how)
    got = kernels.gru_backward(x, weights, y, cache, given["dy"], given["dh_n"], h0, **how)
    for name, array in arrays.items():
        np.testing.assert_allclose(got[f"d{name}"], reference.slopes(value, array), rtol=1e-7, atol=1e-8, err_msg=name)


def test_where_the_reset_gate_is_open_its_place_does_not_matter(isa: str) -> None:
    """r = 1 to the last bit; where it is 0, U_n h goes, but b_hn only with the gate after the product."""
    given = case("gru", 6, 3, 4, 9, "float64")
    weights = given["weights"]

    def outputs(reset_after: bool) -> Array:
        lengths = np.array([6, 2, 5])
        return kernels.gru_forward(given["x"], weights, given["h0"], lengths=lengths, reset_after=reset_after)[0]

    weights[2][:9] = 60
    np.testing.assert_allclose(outputs(False), outputs(True), rtol=1e-12)
    weights[2][:9] = -800
    before, after = outputs(False), outputs(True)
    weights[1][18:] = 0
    np.testing.assert_allclose(outputs(False), before, rtol=1e-12)
    weights[3][18:] = 0
    np.testing.assert_allclose(outputs(True), after, rtol=1e-12)
    assert np.abs(before - after).max() > 0.01


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", OF_TORCH)
def test_as_torch(cell: str, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    T, N, I, H = 7, 5, 6, 11
    given = case(cell, T, N, I, H, dtype)
    lengths = np.array([7, 2, 5, 1, 7])
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(cell, torch.nn.RNN)
    layer = kind(I, H, **({"nonlinearity": cell.removeprefix("rnn_")} if cell.startswith("rnn") else {}))
    layer = layer.to(getattr(torch, dtype))
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    layer.load_state_dict({f"{n}_l0": torch.tensor(w) for n, w in zip(names, given["weights"], strict=True)})
    x, h0 = (torch.tensor(given[n], requires_grad=True) for n in ("x", "h0"))
    state: Any = h0[None]
    if cell == "lstm":
        c0 = torch.tensor(given["c0"], requires_grad=True)
        state = (state, c0[None])
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    y, last = layer(packed, state)
    y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=T)
    h_n = last[0][0] if cell == "lstm" else last[0]
    loss = (y * torch.tensor(given["dy"])).sum() + (h_n * torch.tensor(given["dh_n"])).sum()
    if cell == "lstm":
        loss = loss + (last[1][0] * torch.tensor(given["dc_n"])).sum()
    loss.backward()
    want = {"y": y.detach(), "h_n": h_n.detach(), "dx": x.grad, "dh0": h0.grad}
    want |= {f"d{n}": getattr(layer, f"{n}_l0").grad for n in names}
    if cell == "lstm":
        want |= {"c_n": last[1][0].detach(), "dc0": c0.grad}
    got = ours(cell, given, lengths=lengths)
    assert_close({n: got[n] for n in want}, {n: a.numpy() for n, a in want.items()}, dtype)


NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def names_of(cell: str) -> tuple[str, ...]:
    return (*NAMES, *(reference.NORMS if cell == "lstm_norm" else ()))


def stack(cell: str, layers: int, directions: int, dtype: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """x, states and gradients of T, N, I, H = 6, 3, 4, 5, and parameters."""
    T, N, I, H = 6, 3, 4, 5
    given = case(cell, T, N, I, H, dtype)
    parameters = {}
    for k in range(layers):
        for d in range(directions):
            weights = case(cell, 1, 1, directions * H if k else I, H, dtype, seed=10 * k + d)["weights"]
            parameters |= {f"{n}_l{k}{'_reverse' * d}": w for n, w in zip(names_of(cell), weights, strict=True)}
    rng = np.random.default_rng(layers)
    for name in [n for n in given if n in ("h0", "c0", "dh_n", "dc_n")]:
        given[name] = rng.normal(size=(layers * directions, N, H)).astype(dtype)
    given["dy"] = rng.normal(size=(T, N, directions * H)).astype(dtype)
    del given["weights"]
    return given, parameters


def run_stack(cell: str, given: dict[str, Any], parameters: dict[str, Array], **how: Any) -> dict[str, Array]:
    y, h_n, c_n, cache = recurrent.forward(cell, given["x"], parameters, given["h0"], given.get("c0"), **how)
    assert cache is not None
    above = {name: given.get(name) for name in ("dy", "dh_n", "dc_n", "h0")}
    out = recurrent.backward(cell, given["x"], parameters, cache, **above, steps=True, **how)
    return out | {"y": y, "h_n": h_n} | ({"c_n": c_n} if cell in reference.MEMORY else {})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("layers", "directions"), [(1, 2), (2, 1), (3, 2)])
@pytest.mark.parametrize("cell", CELLS)
def test_a_stack_is_its_layers(cell: str, layers: int, directions: int, dtype: str, isa: str) -> None:
    given, parameters = stack(cell, layers, directions, dtype)
    lengths = np.array([6, 0, 4])
    swapped = {n: np.ascontiguousarray(v.swapaxes(0, 1)) if n in ("x", "dy") else v for n, v in given.items()}

    def run(k: int, d: int, x: Array, **gradients: Any) -> dict[str, Array]:
        suffix, at = f"_l{k}{'_reverse' * d}", k * directions + d
        state = {n: given[n][at] for n in ("h0", "c0", "dh_n", "dc_n") if n in given}
        weights = tuple(parameters[n + suffix] for n in names_of(cell))
        return reference.run(cell, x, weights, **state, lengths=lengths, reverse=d == 1, **gradients)

    xs: list[Array] = [given["x"]]
    for k in range(layers):
        xs.append(np.concatenate([run(k, d, xs[-1])["y"] for d in range(directions)], 2))
    want: dict[str, Any] = {"y": xs[-1], "dh": [], "dc": [], "dh0": [], "dc0": [], "h_n": [], "c_n": []}
    above = given["dy"]
    for k in reversed(range(layers)):
        parts = [run(k, d, xs[k], dy=np.split(above, directions, 2)[d]) for d in range(directions)]
        above = sum(part["dx"] for part in parts)
        for d in reversed(range(directions)):
            for name in ("dh", "dc", "dh0", "dc0", "h_n", "c_n"):
                want[name].insert(0, parts[d][name])
            want |= {f"d{n}_l{k}{'_reverse' * d}": parts[d][f"d{n}"] for n in names_of(cell)}
    want["dx"] = above
    want = {n: np.asarray(v) for n, v in want.items()}
    for recompute in (0, 4):
        got = run_stack(cell, given, parameters, lengths=lengths, recompute=recompute)
        # One rounding of its parameters moves the gradients of six layers of norms over 5 units by 800 eps.
        assert_close(got, want, dtype, times=5 if cell == "lstm_norm" else 1)
        other = run_stack(cell, swapped, parameters, lengths=lengths, recompute=recompute, batch_first=True)
        for name, value in got.items():
            back = {"y": (1, 0, 2), "dx": (1, 0, 2), "dh": (0, 2, 1, 3), "dc": (0, 2, 1, 3)}.get(
                name, range(value.ndim)
            )
            np.testing.assert_array_equal(other[name].transpose(back), value, err_msg=name)


@pytest.mark.parametrize("cell", OF_TORCH)
def test_a_torch_state_dict_loads_by_name(cell: str) -> None:
    torch = pytest.importorskip("torch")
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(cell, torch.nn.RNN)
    more = {"nonlinearity": cell.removeprefix("rnn_")} if cell.startswith("rnn") else {}
    layer = kind(4, 5, num_layers=2, bidirectional=True, dtype=torch.float64, **more)
    given, _ = stack(cell, 2, 2, "float64")
    parameters = {name: p.detach().numpy() for name, p in layer.state_dict().items()}
    x, h0 = (torch.tensor(given[n], requires_grad=True) for n in ("x", "h0"))
    y, last = layer(x, (h0, torch.tensor(given["c0"])) if cell == "lstm" else h0)
    (y * torch.tensor(given["dy"])).sum().backward()
    got = run_stack(cell, {n: v for n, v in given.items() if n not in ("dh_n", "dc_n")}, parameters)
    want = {"y": y, "h_n": last[0] if cell == "lstm" else last, "dx": x.grad, "dh0": h0.grad}
    want |= {f"d{name}": p.grad for name, p in layer.named_parameters()}
    assert_close({n: got[n] for n in want}, {n: a.detach().numpy() for n, a in want.items()}, "float64")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("N", "H"), [(3, 17), (2, 256)])
def test_packed_parameters_have_the_same_bits(cell: str, N: int, H: int, isa: str) -> None:
    parameters, x = {}, case(cell, 6, N, 9, H, "float32")["x"]
    for k in range(2):
        for end in ("", "_reverse"):
            names = (f"{part}_l{k}{end}" for part in names_of(cell))
            weights = case(cell, 6, N, 9 if k == 0 else 2 * H, H, "float32", seed=k)["weights"]
            parameters |= dict(zip(names, weights, strict=True))
    packed = recurrent.pack(cell, parameters)
    want = recurrent.forward(cell, x, parameters, lengths=np.arange(N) + 2)
    other = [name for name in kernels.isas() if name != isa]
    for chosen in (isa, *other[:1]):  # it is multiplied by the instruction set that packed it
        kernels.set_isa(chosen)
        for training in (True, False):
            got = recurrent.forward(cell, x, packed, lengths=np.arange(N) + 2, training=training)
            np.testing.assert_array_equal(got[0], want[0])
            np.testing.assert_array_equal(got[1], want[1])
    assert want[3] is not None
    for name, value in parameters.items():
        value[...] = np.nan if "bias" in name else 0
    np.testing.assert_array_equal(recurrent.forward(cell, x, packed, lengths=np.arange(N) + 2)[0], want[0])
    cells = [name for name in CELLS if name != cell]
    with pytest.raises(ValueError, match="parameters were packed for"):
        recurrent.forward(cells[0], x, packed)
    with pytest.raises(ValueError, match="float32 features; expected"):
        recurrent.forward(cell, x.astype("float64"), packed)


def test_bad_stacks() -> None:
    given, parameters = stack("lstm", 2, 1, "float64")
    x = given["x"]
    with pytest.raises(ValueError, match="parameters has no weight_hh_l1"):
        recurrent.forward("lstm", x, {n: p for n, p in parameters.items() if n != "weight_hh_l1"})
    with pytest.raises(ValueError, match="parameters has weight_ih_l3"):
        recurrent.forward("lstm", x, parameters | {"weight_ih_l3": x})
    with pytest.raises(ValueError, match="parameters has no weight_ih_l0"):
        recurrent.forward("lstm", x, {})
    with pytest.raises(ValueError, match="cell is 'lstn'"):
        recurrent.forward("lstn", x, parameters)
    with pytest.raises(ValueError, match=r"h0 has shape \(1, 3, 5\); expected \(2, 3, 5\)"):
        recurrent.forward("lstm", x, parameters, given["h0"][:1])
    with pytest.raises(ValueError, match="x has shape"):
        recurrent.forward("lstm", x[0], parameters)
    cache = recurrent.forward("lstm", x, parameters)[3]
    assert cache is not None
    with pytest.raises(ValueError, match="dy has shape"):
        recurrent.backward("lstm", x, parameters, cache, x)
    with pytest.raises(TypeError, match="cache is NoneType; expected what forward gave with training=True"):
        recurrent.backward("lstm", x, parameters, recurrent.forward("lstm", x, parameters, training=False)[3], x)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="parameters is Packed; expected a mapping"):
        recurrent.backward("lstm", x, recurrent.pack("lstm", parameters), cache, x)  # type: ignore[arg-type]


@pytest.mark.parametrize("N", [1, 3])
def test_outputs_with_gaps_between_rows(N: int, isa: str) -> None:
    given = case("lstm", 5, N, 3, 4, "float32")
    x, weights = given["x"], given["weights"]
    y, *_, cache = _core.recurrent_forward("lstm", x, weights)
    wide = np.full((5, N, 11), 7, "float32")
    made = _core.recurrent_forward("lstm", x, weights, out=wide[:, :, 2:6])[0]
    assert made.base is wide
    np.testing.assert_array_equal(made, y)
    assert np.all(np.delete(wide, range(2, 6), 2) == 7)
    wide_dy = np.full((5, N, 11), np.nan, "float32")
    wide_dy[:, :, :4] = given["dy"]
    want = _core.recurrent_backward("lstm", x, weights, y, cache, given["dy"])
    for dy in (wide_dy[:, :, :4], np.asfortranarray(given["dy"]), given["dy"]):
        got = _core.recurrent_backward("lstm", x, weights, made, cache, dy)
        for name, value in want.items():
            np.testing.assert_array_equal(got[name], value)
    with pytest.raises(ValueError, match="out is not a writable float32 array"):
        _core.recurrent_forward("lstm", x, weights, out=wide[:, :, :8:2])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_a_step_at_a_time_has_the_bits_of_the_sequence(cell: str, layers: int, dtype: str, isa: str) -> None:
    given, parameters = stack(cell, layers, 1, dtype)
    y, h_n, c_n, _ = recurrent.forward(cell, given["x"], parameters)
    stepper = recurrent.Stepper(cell, parameters, batch=3)
    for _ in range(2):
        np.testing.assert_array_equal([stepper.step(x) for x in given["x"]], y)
        np.testing.assert_array_equal(stepper.h, h_n)
        if cell in reference.MEMORY:
            np.testing.assert_array_equal(stepper.c, c_n)
        stepper.reset()
    stepper.h[:] = given["h0"]
    if cell in reference.MEMORY:
        stepper.c[:] = given["c0"]
    y = recurrent.forward(cell, given["x"], parameters, given["h0"], given.get("c0"))[0]
    np.testing.assert_array_equal([stepper.step(x) for x in given["x"]], y)


def test_a_stepper_packs_what_was_written_and_refuses_what_cannot_be() -> None:
    given, parameters = stack("gru", 2, 1, "float32")
    stepper = recurrent.Stepper("gru", parameters, batch=3)
    before = stepper.step(given["x"][0])
    parameters["weight_ih_l0"] *= 2
    stepper.pack()
    stepper.reset()
    after = recurrent.forward("gru", given["x"][:1], parameters)[0][0]
    np.testing.assert_array_equal(stepper.step(given["x"][0]), after)
    assert not np.array_equal(before, after)
    with pytest.raises(ValueError, match=r"x has shape \(2, 4\); expected \(3, 4\)"):
        stepper.step(given["x"][0, :2])
    with pytest.raises(TypeError, match="x has dtype float64; expected float32"):
        stepper.step(given["x"][0].astype("float64"))
    with pytest.raises(ValueError, match="batch is 0"):
        recurrent.Stepper("gru", parameters, batch=0)
    with pytest.raises(ValueError, match="expected one direction"):
        recurrent.Stepper("gru", stack("gru", 1, 2, "float32")[1])


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_between_layers(cell: str) -> None:
    given, parameters = stack(cell, 3, 2, "float64")
    names = ("h0", "c0", "dh_n", "dc_n")

    def layer(k: int) -> dict[str, Array]:
        return {n.replace(f"_l{k}", "_l0"): p for n, p in parameters.items() if f"_l{k}" in n}

    def state(k: int, *wanted: str) -> dict[str, Array]:
        return {n: given[n][2 * k : 2 * k + 2] for n in wanted if n in given}

    xs, caches = [given["x"]], []
    for k in range(3):
        y, _, _, cache = recurrent.forward(cell, xs[-1], layer(k), **state(k, "h0", "c0"))
        caches.append(cache)
        xs.append(kernels.dropout(y, 0.4, seed=7, node=k) if k < 2 else y)
    y, _, _, cache = recurrent.forward(
        cell, given["x"], parameters, **{n: given[n] for n in names[:2] if n in given}, dropout=0.4, seed=7
    )
    np.testing.assert_array_equal(y, xs[-1])
    assert cache is not None
    got = recurrent.backward(
        cell, given["x"], parameters, cache, given["dy"], **{n: given[n] for n in names if n in given and n != "c0"}
    )
    above = given["dy"]
    for k in reversed(range(3)):
        made = recurrent.backward(cell, xs[k], layer(k), caches[k], above, **state(k, "h0", "dh_n", "dc_n"))  # type: ignore[arg-type]
        for name, value in made.items():
            if name.startswith(("dw", "db", "dn")):
                np.testing.assert_array_equal(got[name.replace("_l0", f"_l{k}")], value, err_msg=name)
        above = kernels.dropout(made["dx"], 0.4, seed=7, node=k - 1) if k else made["dx"]
    np.testing.assert_array_equal(got["dx"], above)
    plain = recurrent.forward(cell, given["x"], parameters, dropout=0.4, training=False)[0]
    np.testing.assert_array_equal(plain, recurrent.forward(cell, given["x"], parameters)[0])
    with pytest.raises(ValueError, match=r"dropout is 1.5; expected 0 to 1"):
        recurrent.forward(cell, given["x"], parameters, dropout=1.5)


@pytest.mark.parametrize(("T", "N", "H", "recompute"), [(4000, 16, 256, 0), (4000, 2, 512, 0), (200_000, 1, 64, 500)])
def test_a_long_call_can_be_left(T: int, N: int, H: int, recompute: int, thread_counts: Any) -> None:
    """The call takes some tenths of a second, the signal comes at its beginning: the end is not written."""
    weights = (np.zeros((4 * H, 1), "float32"), np.zeros((4 * H, H), "float32"), None, None)
    x = np.zeros((T, N, 1), "float32")

    class Left(Exception):
        pass

    def leave(*_: Any) -> None:
        raise Left

    before = signal.signal(signal.SIGALRM, leave)
    try:
        for _ in thread_counts:
            y = np.full((T, N, H), 7, "float32")
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            with pytest.raises(Left):
                _core.recurrent_forward("lstm", x, weights, recompute=recompute, training=recompute > 0, out=y)
            assert np.all(y[0] == 0)
            assert np.all(y[-1] == 7)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def call(**changed: Any) -> Any:
    arguments: dict[str, Any] = {"x": np.ones((4, 2, 3)), "weights": (np.ones((8, 3)), np.ones((8, 2)))}
    return kernels.lstm_forward(**(arguments | changed))


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"x": np.ones((4, 2))}, ValueError, r"x has shape \(4, 2\); expected 3 dimensions"),
        ({"x": np.ones((4, 2, 5))}, ValueError, r"weight_ih has shape \(8, 3\); expected \(8, 5\)"),
        ({"x": np.ones((4, 2, 3), int)}, TypeError, "x has dtype int64"),
        ({"x": np.ones((4, 2, 3), "float32")}, TypeError, "weight_hh has dtype float64; expected float32"),
        (
            {"weights": (np.ones((6, 3)), np.ones((6, 2)))},
            ValueError,
            r"weight_hh has shape \(6, 2\); expected \(8, 2\)",
        ),
        ({"weights": (np.ones((8, 3)),)}, ValueError, "weights has 1 arrays"),
        ({"weights": (np.ones((8, 3)), np.ones((8, 2)), np.ones(7))}, ValueError, "bias_ih has shape"),
        ({"h0": np.ones((1, 2))}, ValueError, r"h0 has shape \(1, 2\); expected \(2, 2\)"),
        ({"c0": np.ones(2)}, ValueError, "c0 has shape"),
        ({"lengths": [4, 5]}, ValueError, r"lengths\[1\] is 5; expected 0 to 4"),
        ({"lengths": [-1, 4]}, ValueError, r"lengths\[0\] is -1"),
        ({"lengths": [4]}, ValueError, "lengths has shape"),
        ({"lengths": [4.0, 2.0]}, TypeError, "lengths has dtype float64; expected integers"),
        ({"recompute": -1}, ValueError, "recompute is -1"),
    ],
)
def test_bad_arguments(changed: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(**changed)


def test_bad_arguments_of_backward() -> None:
    given = case("lstm", 4, 2, 3, 5, "float64")
    x, weights = given["x"], given["weights"]
    y, _, _, cache = kernels.lstm_forward(x, weights)
    with pytest.raises(ValueError, match=r"cache has shape \(200,\); expected \(10,\)"):
        kernels.lstm_backward(x, weights, y, cache, recompute=5)
    with pytest.raises(ValueError, match="dy has shape"):
        kernels.lstm_backward(x, weights, y, cache, y[1:])
    with pytest.raises(ValueError, match="y has shape"):
        kernels.lstm_backward(x, weights, y[1:], cache)
    with pytest.raises(ValueError, match="nonlinearity is 'sin'"):
        kernels.rnn_forward(x, weights, nonlinearity="sin")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="x has shape"):
        kernels.gru_cell_forward(x, weights)


def test_kernels_measure_too() -> None:
    before: dict[str, bool] = {"reset_after": False}
    for cell, how in (("lstm", {}), ("gru", {}), ("rnn", {}), ("gru", before)):
        given = case("rnn_tanh" if cell == "rnn" else cell, 4, 2, 3, 5, "float64")
        made = getattr(kernels, f"{cell}_forward")(given["x"], given["weights"], **how)
        got = getattr(kernels, f"{cell}_backward")(
            given["x"], given["weights"], made[0], made[-1], given["dy"], measure=True, **how
        )
        np.testing.assert_allclose(got["measured"]["h"], (made[0] ** 2).sum((1, 2)), rtol=1e-12)
