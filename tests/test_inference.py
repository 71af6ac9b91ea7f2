"""A network packed once: the bits of `predict`, whatever the batch, and nothing that happens to the network later."""

from __future__ import annotations

import copy
import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gradiometer as gm
import numpy as np
import pytest


def network(dtype: str) -> gm.Sequential:
    """Every kind of node, values that are read late, running statistics unlike their defaults."""
    net = gm.Sequential(
        gm.Linear(7, 20, rng=0, dtype=dtype),
        gm.BatchNorm1d(20, dtype=dtype),
        gm.Activation("gelu", dtype=dtype),
        gm.Residual(
            gm.LayerNorm(20, dtype=dtype),
            gm.Linear(20, 33, rng=1, dtype=dtype),
            gm.PReLU(33, dtype=dtype),
            gm.Residual(gm.Linear(33, 33, rng=4, dtype=dtype), gm.Activation("tanh", dtype=dtype)),
            gm.Linear(33, 20, rng=2, dtype=dtype),
        ),
        gm.DenseSkip(gm.Linear(20, 12, bias=False, rng=3, dtype=dtype), gm.GroupNorm(3, 12, dtype=dtype)),
        gm.Dropout(0.5, dtype=dtype),
        gm.RMSNorm(32, dtype=dtype),
        gm.Linear(32, 5, rng=5, dtype=dtype),
        gm.Softmax(dtype=dtype),
        dtype=dtype,
    )
    rng = np.random.default_rng(0)
    net[1].running_mean[...] = rng.normal(size=20)
    net[1].running_var[...] = rng.uniform(0.5, 2.0, 20)
    return net


def samples(n: int, dtype: str = "float64") -> Any:
    return np.random.default_rng(n).normal(size=(n, 7)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [0, 1, 2, 15, 16, 17, 100, 300])
def test_the_bits_are_those_of_predict(dtype: str, n: int) -> None:
    net, x = network(dtype), samples(n, dtype)
    answer = net.inference()
    out = np.full((n, 5), np.nan, dtype)
    assert answer(x, out) is out
    assert out.tobytes() == net.predict(x).tobytes() == answer(x).tobytes()
    for row, y in zip(x, out, strict=True):
        assert answer(row).shape == (5,)
        assert answer(row).tobytes() == y.tobytes()
        assert answer(row[None]).tobytes() == y.tobytes()


def test_a_network_of_activations_alone_and_a_deep_one() -> None:
    x = samples(20)
    deep = gm.mlp(7, [9] * 200, 7, activation="tanh", dtype="float64", rng=0)
    assert deep.inference()(x).tobytes() == deep.predict(x).tobytes()
    one = gm.Sequential(gm.Linear(7, 7, rng=0, dtype="float64"))
    assert one.inference()(x).tobytes() == one.predict(x).tobytes()


def test_later_changes_do_not_reach_it_and_it_outlives_the_network() -> None:
    net, x = network("float64"), samples(9)
    answer, before = net.inference(), net.predict(samples(9))
    net.parameters[...] += 1
    net[1].running_mean[...] = 9
    assert answer(x).tobytes() == before.tobytes()
    assert net.inference()(x).tobytes() == net.predict(x).tobytes() != before.tobytes()
    del net
    assert answer(x).tobytes() == before.tobytes()


def test_an_output_over_the_input_and_other_layouts() -> None:
    net = gm.mlp(6, [8], 6, dtype="float32", rng=0)
    answer = net.inference()
    x = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    expected = net.predict(x)
    for other in (x.astype(np.float64), x.astype(">f4"), np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2]):
        assert answer(other).tobytes() == expected.tobytes()
    assert answer(x.tolist()).tobytes() == expected.tobytes()
    assert answer(x, out=x).tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("x", "out", "error", "words"),
    [
        (np.zeros((2, 6)), None, ValueError, r"x has shape \(2, 6\); expected \(N, 7\) or \(7,\)"),
        (np.zeros(()), None, ValueError, r"x has shape \(\)"),
        (np.zeros((1, 1, 7)), None, ValueError, "x has shape"),
        (np.zeros(7, complex), None, TypeError, "x has dtype complex128; expected real numbers"),
        (np.zeros((2, 7)), np.zeros((2, 5), np.float32), TypeError, "out"),
        (np.zeros((2, 7)), np.zeros((1, 5)), ValueError, "out"),
        (np.zeros((2, 7)), np.zeros((5, 2)).T, ValueError, "out"),
        (np.zeros(7), np.zeros((1, 5)), ValueError, "out"),
        (np.zeros(7), [0.0] * 5, TypeError, "out"),
    ],
)
def test_what_does_not_fit_is_refused(x: Any, out: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        network("float64").inference()(x, out)


def test_a_read_only_output_is_refused() -> None:
    out = np.zeros((1, 5))
    out.setflags(write=False)
    with pytest.raises(ValueError, match="out"):
        network("float64").inference()(np.zeros((1, 7)), out)


def test_threads_share_it() -> None:
    net = network("float64")
    answer = net.inference()
    batches = [samples(n) for n in (1, 3, 16, 200) for _ in range(10)]
    expected = [net.predict(x).tobytes() for x in batches]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            assert [y.tobytes() for y in pool.map(answer, batches)] == expected


def test_a_call_with_an_output_leaves_no_memory_behind() -> None:
    answer, x, out = network("float64").inference(), samples(1), np.empty((1, 5))
    answer(x, out)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(100):
            answer(x, out)
        assert tracemalloc.get_traced_memory()[1] - before < x.nbytes + 1024  # no array was made, for a moment even
    finally:
        tracemalloc.stop()


def test_it_is_neither_pickled_nor_copied() -> None:
    answer = network("float64").inference()
    assert repr(answer) == "Inference(7 -> 5)"
    assert (answer.in_features, answer.out_features) == (7, 5)
    for how in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="expected the network"):
            how(answer)
