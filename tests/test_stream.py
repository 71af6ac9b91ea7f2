"""A network of sequences a step at a time: the bits of `predict` of what has come so far."""

from __future__ import annotations

import pickle
from typing import Any

import gradiometer as gm
import numpy as np
import pytest


def network(output: str, dtype: str) -> gm.Sequential:
    """Every cell, two layers of one, rows before, between and behind, a network within."""
    rnn = gm.RNN(6, 5, nonlinearity="relu", output=output, rng=4, dtype=dtype)
    return gm.Sequential(
        gm.LayerNorm(3, dtype=dtype),
        gm.Linear(3, 4, rng=0, dtype=dtype),
        gm.LSTM(4, 7, 2, dropout=0.5, output="all", rng=1, dtype=dtype),
        gm.Sequential(gm.Activation("tanh", dtype=dtype), gm.GRU(7, 9, output="all", rng=2, dtype=dtype)),
        gm.Residual(gm.Linear(9, 9, rng=3, dtype=dtype)),
        gm.LSTM(9, 11, proj_size=6, output="all", rng=5, dtype=dtype),
        gm.LSTM(6, 6, layer_norm=True, output="all", rng=7, dtype=dtype),
        rnn,
        gm.Linear(5, 2, rng=6, dtype=dtype),
        gm.Softmax(dtype=dtype),
        dtype=dtype,
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("output", ["last", "all"])
def test_the_bits_are_those_of_predict(output: str, dtype: str) -> None:
    net = network(output, dtype)
    x = np.random.default_rng(0).normal(size=(3, 6, 3)).astype(dtype)
    stream = net.stream(batch=3)
    got = [stream.step(x[:, t]) for t in range(6)]
    for t in range(6):
        want = net.predict(x[:, : t + 1])
        np.testing.assert_array_equal(got[t], want[:, -1] if output == "all" else want)
    net[1].weight[...] = 0  # does not reach it
    stream.reset()
    np.testing.assert_array_equal(stream.step(x[:, 0]), got[0])
    assert repr(stream) == "Stream(3 -> 2, batch=3)"


def test_a_state_is_kept_and_brought_back() -> None:
    net = gm.Sequential(gm.LSTM(2, 4, rng=0), gm.Activation("tanh"))
    x = np.random.default_rng(0).normal(size=(6, 2))
    stream = net.stream()
    for row in x[:3]:
        stream.step(row)
    kept = [stream.states[0].h.copy(), stream.states[0].c.copy()]
    rest = [stream.step(row) for row in x[3:]]
    other = net.stream()
    other.states[0].h[...], other.states[0].c[...] = kept
    np.testing.assert_array_equal([other.step(row) for row in x[3:]], rest)
    alone = gm.Sequential(gm.RNN(2, 3, rng=0)).stream()
    first = alone.step(x[0])
    before = first.copy()
    alone.step(x[1])
    np.testing.assert_array_equal(first, before)


def test_what_cannot_run_forwards_is_named() -> None:
    with pytest.raises(ValueError, match=r"takes rows; expected net\.inference"):
        gm.mlp(2, [3], 2, rng=0).stream()
    with pytest.raises(ValueError, match="runs backwards too"):
        gm.Sequential(gm.LSTM(2, 3, bidirectional=True, rng=0)).stream()
    with pytest.raises(ValueError, match="Residual has a recurrent layer within"):
        gm.Sequential(gm.Residual(gm.RNN(3, 3, output="all", rng=0)), gm.Linear(3, 2)).stream()
    net = gm.Sequential(gm.GRU(2, 3, rng=0))
    for batch in (0, 1.5):
        with pytest.raises((ValueError, TypeError), match="batch"):
            net.stream(batch=batch)
    with pytest.raises(ValueError, match=r"x has shape \(1, 3\); expected \(2, 2\)"):
        net.stream(batch=2).step(np.zeros((1, 3)))
    with pytest.raises(ValueError, match=r"net\.stream\(\)"):
        net.inference()
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(net.stream())


@pytest.mark.parametrize("make", [gm.LSTM, gm.GRU, gm.RNN])
def test_a_stepper_of_a_layer(make: Any) -> None:
    layer, x = make(3, 5, 2, rng=0), np.random.default_rng(1).normal(size=(4, 3)).astype("float32")
    stepper = gm.recurrent.Stepper(layer)
    net = gm.Sequential(layer, gm.Linear(5, 2, rng=1))  # takes the layer's arrays in

    def last() -> Any:
        stepper.reset()
        return [stepper.step(row[None]) for row in x][-1]

    np.testing.assert_array_equal(last(), net[0](x[None]))
    net[0].weight_hh_l1[...] *= 0.5
    stepper.pack()
    np.testing.assert_array_equal(last(), net[0](x[None]))
    with pytest.raises(ValueError, match="beside a layer"):
        gm.recurrent.Stepper(layer, layer.state_dict())
    with pytest.raises(TypeError, match="expected a recurrent layer"):
        gm.recurrent.Stepper(net[1])
