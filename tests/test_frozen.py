"""Frozen parameters: what is left is the same to the bit, what is frozen is not touched, and its work is saved."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import gradiometer as gm
import numpy as np
import pytest
from gradiometer import _core

X = np.random.default_rng(0).normal(size=(40, 6))
Y = np.arange(40) % 3


def network(dtype: str = "float64") -> gm.Sequential:
    """Every type that has parameters, a skip whose branch trains, and what comes before the first parameter."""
    return gm.Sequential(
        gm.Activation("tanh", dtype=dtype),
        gm.Linear(6, 8, rng=0, dtype=dtype),
        gm.BatchNorm1d(8, dtype=dtype),
        gm.Residual(
            gm.LayerNorm(8, dtype=dtype), gm.Activation("tanh", dtype=dtype), gm.Linear(8, 8, rng=1, dtype=dtype)
        ),
        gm.PReLU(8, dtype=dtype),
        gm.DenseSkip(gm.Linear(8, 4, rng=2, dtype=dtype), gm.Activation("gelu", dtype=dtype)),
        gm.Linear(12, 3, rng=3, dtype=dtype),
        dtype=dtype,
    )


NAMES = list(network().requires_grad)
CHOICES = [
    NAMES[:2],
    NAMES[:4],
    NAMES[:-1],
    NAMES[2:],
    NAMES[1::2],
    NAMES[::2],
    ["2.weight"],
    ["2.bias", "3.0.weight"],
    ["1.weight", "1.bias", "3.2.weight", "3.2.bias"],
]


@pytest.mark.parametrize("frozen", CHOICES, ids=" ".join)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_others_gradients_have_the_same_bits(frozen: list[str], training: bool, dtype: str) -> None:
    whole, part = network(dtype), network(dtype)
    assert part.requires_grad_(False, *frozen) is part
    poison = part._compile().network.gradients
    poison[...] = np.nan
    for net in (whole, part):
        net._compile().network.gradient(X, "cross_entropy", Y, training=training)
    left = {name for name, trained in part.requires_grad.items() if trained}
    assert left == set(NAMES) - set(frozen) == part.gradients.keys()
    for name in left:
        np.testing.assert_array_equal(part.gradients[name], whole.gradients[name])
    assert np.isnan(part.requires_grad_().gradients[frozen[0]]).all()  # nothing wrote there
    dx, gradients = part.requires_grad_(False, *frozen).backward(X, np.ones((40, 3)), training=training)
    np.testing.assert_array_equal(dx, whole.backward(X, np.ones((40, 3)), training=training)[0])
    assert gradients.keys() == left


def test_there_is_no_room_for_gradients_beneath() -> None:
    """A gradient that has no place in the arena is not computed. Widths are those of whole cache lines."""
    batch, width = 64, 16
    net = gm.Sequential(*[gm.Linear(width, width, rng=i) for i in range(6)])
    value = batch * width * 4
    arena = net._compile().network.arena
    all_of_it = arena(batch)
    for beneath in range(1, 6):
        net[beneath - 1].requires_grad_(False)
        assert all_of_it - arena(batch) == beneath * value
    net.requires_grad_()[5].requires_grad_(False)  # dx goes on through the frozen layer
    assert arena(batch) == all_of_it


OPTIMIZERS = [gm.optim.SGD(0.1, momentum=0.9, weight_decay=0.1), gm.optim.AdamW(0.1, weight_decay=0.3), "rmsprop"]


@pytest.mark.parametrize("options", [{}, {"decay_matrices_only": True}, {"clip_norm": 0.05}, {"clip_value": 0.01}])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_leaves_them_alone(optimizer: Any, options: dict[str, Any]) -> None:
    """Also where the gradients buffer holds large numbers in frozen places, which a norm over all would see."""
    frozen = ["1.weight", "2.bias", "3.2.weight"]
    net = network()
    net.requires_grad_(False, *frozen)
    before = net.state_dict()
    trainer = gm.train.Trainer(
        net._compile(), X, Y, optimizer=optimizer, loss="cross_entropy", batch_size=40, rng=0, **options
    )
    trainer.slots[...] = 7.0
    held = net._compile().network.gradients
    tensors = net._compile().network.tensors(False)
    places = {name: offset for (_, _, _, offset), name in zip(tensors, NAMES, strict=True)}
    for name in frozen:
        held[places[name] : places[name] + before[name].size] = 1e6
    trainer.run(1, gm.train.History())
    after = net.state_dict()
    for name in NAMES:
        size, at = before[name].size, places[name]
        assert (trainer.slots[:, at : at + size] != 7.0).any() == (name not in frozen)
        if name != "1.bias":  # a norm follows: its gradient is 0
            assert (after[name] != before[name]).any() == (name not in frozen)
        assert (held[at : at + size] == 1e6).all() == (name in frozen)
    if "clip_norm" in options:
        norm = np.sqrt(sum(float(np.sum(g**2)) for g in net.gradients.values()))
        assert norm == pytest.approx(0.05, rel=1e-4)


def test_thread_counts_change_no_bit() -> None:
    def trained(threads: int) -> Any:
        gm.kernels.set_threads(threads)
        net = gm.mlp(64, [256] * 4, 10, rng=0)
        net.requires_grad_(False, "2.weight", "4.bias")[0].requires_grad_(False)
        x = np.random.default_rng(0).normal(size=(256, 64))
        net.fit((x, np.arange(256) % 10), steps=3, batch_size=256, clip_norm=0.1, rng=0)
        return net.parameters.copy()

    try:
        one = trained(1)
        for threads in (2, 3):
            np.testing.assert_array_equal(trained(threads), one)
    finally:
        gm.kernels.set_threads(0)


def test_frozen_batch_norm_follows_the_batch() -> None:
    net = network()
    net[2].requires_grad_(False)
    norm: Any = net[2]
    mean = norm.running_mean.copy()
    net.fit((X, Y), steps=2, batch_size=40, rng=0)
    assert (norm.running_mean != mean).all()
    np.testing.assert_array_equal(norm.weight, np.ones(8))


def test_measuring_sees_every_layer() -> None:
    plain, frozen = (gm.mlp(6, [8] * 4, 3, activation="tanh", rng=0) for _ in range(2))
    frozen.requires_grad_(False)
    a, b = (gm.measure(net, X, Y) for net in (plain, frozen))
    assert [layer.grad_norm for layer in a.layers] == [layer.grad_norm for layer in b.layers]
    assert [layer.weight_grad_norm for layer in a.layers] == [layer.weight_grad_norm for layer in b.layers]


def test_flags_survive() -> None:
    body = gm.Sequential(gm.Linear(6, 5, rng=0), gm.Activation("relu"), gm.Linear(5, 5, rng=1))
    body[0].requires_grad_(False)
    net = gm.Sequential(body, gm.Linear(5, 3, rng=2))
    wanted = {"0.0.weight": False, "0.0.bias": False} | dict.fromkeys(
        ["0.2.weight", "0.2.bias", "1.weight", "1.bias"], True
    )
    for made in (net, net.copy(), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert made.requires_grad == wanted
        before = made.state_dict()
        made.fit((X, Y), steps=2, rng=0)
        moved = {name: bool((value != before[name]).any()) for name, value in made.state_dict().items()}
        assert moved == wanted
    net.load_state_dict(net.copy().state_dict())
    assert net.requires_grad == wanted


def test_a_resumed_run_freezes_the_same(tmp_path: Any) -> None:
    path = tmp_path / "run"

    def run(frozen: bool, steps: int, **options: Any) -> gm.Sequential:
        net = network()
        net[1].requires_grad_(not frozen)
        net.fit((X, Y), steps=steps, checkpoint=path, rng=0, **options)
        return net

    done = run(True, 4)
    again = run(True, 4, resume=True)
    np.testing.assert_array_equal(again.parameters, done.parameters)
    with pytest.raises(gm.checkpoints.CheckpointError, match="frozen"):
        run(False, 4, resume=True)


def test_refused() -> None:
    net = network()
    with pytest.raises(KeyError, match=r"'2.running_mean' is no parameter"):
        net.requires_grad_(False, "1.weight", "2.running_mean")
    with pytest.raises(TypeError, match="requires_grad is 'weight'; expected True or False"):
        net.requires_grad_("weight")  # type: ignore[arg-type]
    assert all(net.requires_grad.values())
    with pytest.raises(AttributeError):
        net.requires_grad = False  # type: ignore[assignment,misc]
    with pytest.raises(ValueError, match="every parameter of the network is frozen"):
        net.requires_grad_(False).fit((X, Y), steps=1)
    native = _core.Network(net._compile().builder.graph, "float32")
    with pytest.raises(ValueError, match="parameter 99; expected 0 to"):
        native.set_trainable(99, False)


def test_an_empty_batch_writes_what_is_trained() -> None:
    net = network()
    net[1].requires_grad_(False)
    held = net._compile().network.gradients
    held[...] = 5.0
    net._compile().network.gradient(X[:0], "cross_entropy", Y[:0])
    assert (net.gradients["2.weight"] == 0).all()
    assert (net.requires_grad_().gradients["1.weight"] == 5).all()
