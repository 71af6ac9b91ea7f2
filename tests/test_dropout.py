"""Dropout: the mask is the function it is said to be, of seed, step, node and element."""

from __future__ import annotations

from typing import Any

import gradiometer as gm
import numpy as np
import pytest
from reference.philox import mask, philox


def test_reference_gives_the_known_answers() -> None:
    """Of the authors of Philox (Random123, kat_vectors)."""
    assert philox((0, 0, 0, 0), (0, 0)) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    ones = 2**32 - 1
    assert philox((ones,) * 4, (ones,) * 2) == (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)
    digits = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)
    assert philox(*digits) == (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", [0, 7, 2**63 + 11])
@pytest.mark.parametrize("first_row", [0, 3, 2**33 + 1])
def test_mask(first_row: int, seed: int, dtype: str, isa: str) -> None:
    net = gm.Sequential(gm.Linear(7, 7, rng=0, dtype=dtype), gm.Dropout(0.3, dtype=dtype))
    x = np.random.default_rng(0).normal(size=(9, 7)).astype(dtype)
    dy = np.ones((9, 7), dtype)
    network = net._compile().network
    _, dx = network.gradient(x, "dot", dy, want_dx=True, seed=seed, first_row=first_row)
    m = mask(9, 7, 0.3, seed, 1, 2, first_row).astype(dtype)
    assert 0 < np.count_nonzero(m) < m.size
    np.testing.assert_allclose(dx, m @ net.modules[0].weight, rtol=1e-5, atol=1e-6)  # type: ignore[attr-defined]


def test_forward_takes_the_same_mask() -> None:
    layer = gm.Dropout(0.5)
    x = np.ones((5, 9), np.float32)
    y = layer(x, training=True)
    np.testing.assert_array_equal(y, mask(5, 9, 0.5, 0, 1, 1))
    np.testing.assert_array_equal(layer.backward(x, x)[0], y)
    np.testing.assert_array_equal(layer(x), x)


def test_frequency() -> None:
    for p in (0.0, 0.1, 0.5, 0.9, 1.0):
        y = gm.Dropout(p)(np.ones((400, 250)), training=True)
        assert np.mean(y == 0) == pytest.approx(p, abs=5 * np.sqrt(p * (1 - p) / y.size))
        assert y.mean() == pytest.approx(1.0 if p < 1 else 0.0, abs=0.03)


def test_micro_batches_make_the_whole_batch() -> None:
    net = gm.Sequential(gm.Linear(5, 9, rng=0, dtype="float64"), gm.Dropout(0.4, dtype="float64"))
    x, y = np.random.default_rng(0).normal(size=(2, 20, 9))
    x = x[:, :5]
    network = net._compile().network
    value, dx = network.gradient(x, "mse", y, want_dx=True, seed=3)
    whole = net.gradients["0.weight"].copy()
    parts = [
        network.gradient(x[a:b], "mse", y[a:b], want_dx=True, seed=3, first_row=a, accumulate=a > 0, mean_over=20)
        for a, b in ((0, 7), (7, 8), (8, 20))
    ]
    assert sum(part[0] for part in parts) == pytest.approx(value, rel=1e-13)
    np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), dx)
    np.testing.assert_allclose(net.gradients["0.weight"], whole, rtol=1e-12, atol=1e-15)


def test_what_is_not_finite_is_seen_where_it_is_dropped() -> None:
    assert np.isnan(gm.Dropout(1.0)([[np.nan, np.inf]], training=True)).all()


def test_fit_draws_a_seed_and_changes_the_step() -> None:
    def trained(seed: int) -> Any:
        net = gm.Sequential(gm.Linear(4, 30, rng=0), gm.Dropout(0.5), gm.Linear(30, 2, rng=1))
        x = np.random.default_rng(0).normal(size=(16, 4))
        history = net.fit((x, np.arange(16) % 2), optimizer=gm.optim.SGD(0.0), steps=4, batch_size=16, rng=seed)
        return history.loss

    one = trained(1)
    assert len(set(np.round(one, 7))) == 4  # nothing but the masks changes
    assert trained(1) == one
    assert set(trained(2)).isdisjoint(one)


def test_bad_p() -> None:
    for p in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="p is"):
            gm.Dropout(p)
    with pytest.raises(TypeError, match="p is 'half'"):
        gm.Dropout("half")  # type: ignore[arg-type]


def test_fit_in_micro_batches_takes_the_same_masks() -> None:
    """Native calls in parts, as `fit` makes them under a memory budget."""
    from gradiometer import train

    x, y = np.random.default_rng(0).normal(size=(24, 6)), np.arange(24) % 3
    losses = []
    for micro in (None, 7):
        net = gm.Sequential(
            gm.Linear(6, 20, rng=0, dtype="float64"),
            gm.Dropout(0.5, dtype="float64"),
            gm.Linear(20, 3, rng=1, dtype="float64"),
        )
        trainer = train.Trainer(
            net._compile(x), x, y, optimizer="adam", loss="cross_entropy", batch_size=24, rng=0, micro_batch=micro
        )
        history = train.History()
        trainer.run(6, history)
        losses.append(history.loss)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-12)
