"""Passes in segments that are run forward again, and budgets: the same bits as the plain pass, in the bytes that were
said before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradiometer as gm
import numpy as np
import pytest
from gradiometer import _core, budget
from test_network import NETS, Maker, data, gradient, randomise


def deep(norm: str | None = None, width: int = 16, layers: int = 30) -> gm.Sequential:
    return gm.mlp(6, [width] * layers, 3, activation="tanh", norm=norm, rng=0)


X = np.random.default_rng(0).normal(size=(96, 6)).astype(np.float32)
Y = np.arange(96) % 3


@pytest.fixture
def many_threads() -> Iterator[list[int]]:
    yield [1, 2, 3, 5]
    gm.kernels.set_threads(0)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", NETS)
def test_segments_change_no_bit(make: Maker, dtype: str, training: bool) -> None:
    """Skips that cross the cuts, batch statistics, masks, in-place activations, gradients with several writers."""
    net = randomise(make(dtype), 3)
    x, target = data(net, 31, "mse")
    flags: dict[str, Any] = {"training": training, "seed": 5}
    plain = gradient(net, x, "mse", target, **flags)
    y = net(x, training=training)
    for segments in (2, 3, 4, 7, 1000):
        net._compile().network.gradients[...] = np.nan
        cut = gradient(net, x, "mse", target, segments=segments, **flags)
        for name, wanted in plain.items():
            np.testing.assert_array_equal(cut[name], wanted)
        np.testing.assert_array_equal(net(x, training=training), y)  # forward in the same arena


def test_threads_change_no_bit(many_threads: list[int]) -> None:
    net = gm.Sequential(
        *[
            gm.Residual(gm.Linear(256, 256, rng=i), gm.BatchNorm1d(256), gm.Activation("tanh"), gm.Dropout(0.2))
            for i in range(5)
        ]
    )
    x, target = data(net, 300, "mse")
    plain = gradient(net, x, "mse", target)
    for threads in many_threads:
        gm.kernels.set_threads(threads)
        for segments in (3, 8):
            cut = gradient(net, x, "mse", target, segments=segments)
            for name, wanted in plain.items():
                np.testing.assert_array_equal(cut[name], wanted)


@pytest.mark.parametrize("frozen", ["0 1 2 3", "0 1 4", "7 6 5", "2 3"])
def test_frozen_parameters_in_segments(frozen: str) -> None:
    """Segments that have no backward, wholly or in part."""
    net = randomise(gm.Sequential(*[m for i in range(4) for m in (gm.Linear(8, 8, rng=i), gm.BatchNorm1d(8))]), 1)
    for layer in frozen.split():
        net[int(layer)].requires_grad_(False)
    x, target = data(net, 31, "mse")
    net._compile().network.gradient(x, "mse", target)
    plain = {name: g.copy() for name, g in net.gradients.items()}
    for segments in (2, 3, 8):
        net._compile().network.gradients[...] = np.nan
        net._compile().network.gradient(x, "mse", target, segments=segments)
        for name, wanted in plain.items():
            np.testing.assert_array_equal(net.gradients[name], wanted)


@pytest.mark.parametrize("norm", [None, "batch", "layer"])
def test_training_has_the_same_bits(norm: str | None) -> None:
    """Parameters, and running statistics that move once a step."""
    plain, cut = deep(norm), deep(norm)
    options: dict[str, Any] = {"steps": 4, "batch_size": 96, "rng": 0}
    assert plain.fit((X, Y), **options).loss == cut.fit((X, Y), recompute=5, **options).loss
    np.testing.assert_array_equal(plain.parameters, cut.parameters)
    np.testing.assert_array_equal(plain._compile().network.state, cut._compile().network.state)


@pytest.mark.parametrize("segments", [1, 2, 5, 9])
@pytest.mark.parametrize("make", NETS)
def test_the_arena_is_what_was_said(make: Maker, segments: int) -> None:
    """With that many bytes a step runs; with one less it does not, and says so."""
    net = randomise(make("float32"), 1)
    x, target = data(net, 50, "mse")
    network = net._compile().network
    said = network.arena(50, segments=segments)

    def step() -> None:
        network.step(x, "mse", target, _core.Optimizer("sgd"), slots_of(net), 0.1, 1, segments=segments)

    network.limit_arena(said)
    step()
    network.limit_arena(said - 1)
    before = net.parameters.copy()
    with pytest.raises(MemoryError, match=f"needs an arena of {said} bytes; {said - 1} were allowed"):
        step()
    np.testing.assert_array_equal(net.parameters, before)
    network.limit_arena(0)
    step()


def slots_of(net: gm.Sequential) -> Any:
    return np.zeros((_core.Optimizer("sgd").slots, net.parameters.size), np.float32)


def test_memory_falls_as_the_root_of_the_depth() -> None:
    """Kept values, one segment's values and gradients: about 2 / sqrt(L) of L layers' (Chen et al. 2016)."""
    batch, width = 4096, 16
    for layers in (25, 100, 400):
        net = deep(layers=layers, width=width)
        least = net._compile().network.arena(batch, segments=budget.segments(net._compile(), batch, True))
        assert least < net._compile().network.arena(batch) * 2.5 / layers**0.5
    assert net.memory(batch, recompute=7) == net._compile().memory(batch, segments=7) < net.memory(batch)
    assert net.memory(batch, recompute=True) < net.memory(batch, recompute=2)


def parts(net: gm.Sequential, batch: int, bytes: int, recompute: bool | int = False) -> tuple[int, int]:
    return budget.divide(net._compile(), batch, bytes, 0, recompute)


def test_the_cheapest_that_fits() -> None:
    net = deep()
    assert parts(net, 4096, net.memory(4096)) == (4096, 1)
    assert parts(net, 4096, net.memory(2048)) == (2048, 1)  # two large parts cost less than a third
    rows, segments = parts(net, 64, net.memory(20))
    assert segments > 1
    assert rows > 20  # many small parts cost more
    assert net.memory(rows, recompute=segments) <= net.memory(20)
    assert parts(net, 64, net.memory(20), 3)[1] == 3
    normed = deep("batch")
    rows, segments = parts(normed, 64, normed.memory(20))
    assert rows == 64
    assert segments > 1


@pytest.mark.parametrize("norm", [None, "batch"])
def test_fit_stays_within_its_budget(norm: str | None) -> None:
    """Steps and validation; the native limit would raise. Batch statistics are those of whole batches."""
    plain, cut = deep(norm), deep(norm)
    slots = 2 * plain.parameters.nbytes
    bytes = plain.memory(40) + slots
    assert bytes < plain.memory(96) + slots
    options: dict[str, Any] = {"steps": 4, "batch_size": 96, "rng": 0, "val": (X, Y)}
    limits: list[int] = []
    network = cut._compile().network
    seen = plain.fit((X, Y), **options)
    got = cut.fit((X, Y), memory_budget=bytes, progress=lambda *_: limits.append(network.arena(1)), **options)
    assert len(limits) == 4
    np.testing.assert_allclose(got.loss, seen.loss, rtol=1e-5)
    np.testing.assert_allclose([v.loss for v in got.val], [v.loss for v in seen.val], rtol=1e-4)
    if norm:
        assert got.loss == seen.loss
    gradient(cut, X, "cross_entropy", Y)  # the limit ended with the call


def test_validation_takes_fewer_rows_at_a_time() -> None:
    net = deep()
    network = net._compile().network
    wanted = net.predict(np.tile(X, (5, 1)))
    network.limit_arena(network.arena(3))
    np.testing.assert_array_equal(net.predict(np.tile(X, (5, 1))), wanted)
    network.limit_arena(0)


def test_refused() -> None:
    net = deep("batch")
    with pytest.raises(ValueError, match="a batch of 96 rows, which batch statistics keep whole, needs"):
        net.fit((X, Y), steps=1, batch_size=96, memory_budget=net.memory(2))
    plain = deep()
    with pytest.raises(ValueError, match=r"memory_budget is 1000; one row at a time needs \d+ bytes"):
        plain.fit((X, Y), steps=1, memory_budget=1000)
    enough = plain.memory(4) + 2 * plain.parameters.nbytes
    with pytest.raises(ValueError, match="a measurement, as monitor wants, needs"):
        plain.fit((X, Y), steps=1, batch_size=4, memory_budget=enough, monitor=1)
    for value, error in ((0, ValueError), (-2, ValueError), (2.5, TypeError), ("many", TypeError)):
        with pytest.raises(error, match="recompute is"):
            plain.fit((X, Y), steps=1, recompute=value)  # type: ignore[arg-type]
        with pytest.raises(error, match="recompute is"):
            plain.memory(4, recompute=value)  # type: ignore[arg-type]
