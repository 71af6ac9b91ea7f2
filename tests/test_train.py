"""Training: steps against the optimisers' kernels, running statistics, batches, history, and what stops a run."""

from __future__ import annotations

import math
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import gradiometer as gm
import numpy as np
import pytest
from gradiometer import _core
from gradiometer.train import Trainer
from reference.network import Reference

Array = Any
OPTIMIZERS = (
    gm.optim.SGD(0.1),
    gm.optim.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    gm.optim.Adam(0.01, weight_decay=0.02),
    gm.optim.AdamW(0.02),
)


def network(dtype: str = "float64", seed: int = 0) -> gm.Sequential:
    return gm.mlp(5, [17, 17], 3, activation="tanh", norm="batch", residual=True, rng=seed, dtype=dtype)


def data(rows: int = 70, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    x = rng.normal(0.5, 2, (rows, 5))
    return x, (x[:, 0] > x[:, 1]).astype(int) + (x[:, 2] > 1)


def bits(net: gm.Sequential) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in net.state_dict().items()}


# ---- steps


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_is_the_gradient_and_then_the_kernel(optimizer: gm.optim.Optimizer, dtype: str) -> None:
    net, twin = network(dtype), network(dtype)
    x, y = data()
    native, other = net._compile().network, twin._compile().network
    slots, other_slots = (np.zeros((optimizer.slots, native.parameters.size), dtype) for _ in range(2))
    for step in range(1, 6):
        rows = slice(10 * step, 10 * step + 15)
        value = native.step(x[rows], "cross_entropy", y[rows], optimizer.native, slots, optimizer.learning_rate, step)
        wanted, _ = other.gradient(x[rows], "cross_entropy", y[rows], freeze_statistics=False)
        assert value == wanted
        gm.kernels.optimizer_step(
            optimizer.name,
            other.parameters,
            other.gradients,
            other_slots,
            optimizer.learning_rate,
            step,
            **optimizer.params,
        )
        np.testing.assert_array_equal(slots, other_slots)
        assert bits(net) == bits(twin)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_fit_makes_those_steps(optimizer: gm.optim.Optimizer) -> None:
    """Order of samples: a permutation by the generator for each epoch, in whole batches, then the rest."""
    net, twin = network(), network()
    x, y = data(70)
    history = net.fit((x, y), optimizer=optimizer, epochs=2, batch_size=32, rng=3)
    rng, native = np.random.default_rng(3), twin._compile().network
    slots = np.zeros((optimizer.slots, native.parameters.size))
    losses = []
    for epoch in range(2):
        order = rng.permutation(70)
        for batch in range(3):
            rows = order[32 * batch : 32 * batch + 32]
            step = 3 * epoch + batch + 1
            losses.append(
                native.step(x[rows], "cross_entropy", y[rows], optimizer.native, slots, optimizer.learning_rate, step)
            )
    assert history.loss == losses
    assert history.steps == 6
    assert bits(net) == bits(twin)


def test_first_loss_is_the_reference() -> None:
    net = network()
    x, y = data(20)
    wanted, _ = Reference(net, x).backward("cross_entropy", y)
    history = net.fit((x, y), steps=1, batch_size=20, rng=0)
    assert history.loss[0] == pytest.approx(float(wanted), rel=1e-12)


def test_running_statistics_follow_the_batches() -> None:
    """(1 - m) old + m new, the unbiased variance; parameters held by a learning rate of 0."""
    net = network()
    x, y = data(60)
    expected = {name: array for name, array in net.state_dict().items() if "running" in name}
    order = np.random.default_rng(4).permutation(60)
    for rows in (order[:25], order[25:50], order[50:]):
        for name, (mean, var) in Reference(net, x[rows]).statistics.items():
            n = len(rows)
            expected[f"{name}.running_mean"] = 0.9 * expected[f"{name}.running_mean"] + 0.1 * mean
            expected[f"{name}.running_var"] = 0.9 * expected[f"{name}.running_var"] + 0.1 * var * n / (n - 1)
    net.fit((x, y), optimizer=gm.optim.SGD(0.0), epochs=1, batch_size=25, rng=4)
    assert len(expected) == 4
    for name, array in expected.items():
        np.testing.assert_allclose(net.state_dict()[name], array.astype(float), rtol=1e-12)


def test_only_training_steps_move_running_statistics() -> None:
    net = network()
    x, y = data()
    before = bits(net)
    net(x)
    net(x, training=True)
    net.predict(x)
    net.evaluate((x, y))
    net.backward(x, np.ones((70, 3)))
    gm.measure(net, x, y, per_sample=True, optimizer=gm.optim.Adam())
    native, slots = net._compile().network, np.zeros_like(net.parameters)
    for bad_x, bad_y, error in (
        (x[:, :4], y, ValueError),
        (x, y + 2, IndexError),
        (x, y[:3], ValueError),
        (x[:1], y[:1], ValueError),
    ):
        with pytest.raises(error):
            native.step(bad_x, "cross_entropy", bad_y, _core.Optimizer("sgd"), slots, 0.1, 1)
    with pytest.raises(ValueError, match="slots"):
        native.step(x, "cross_entropy", y, _core.Optimizer("adam"), slots, 0.1, 1)
    with pytest.raises(ValueError, match="learning_rate is nan"):
        native.step(x, "cross_entropy", y, _core.Optimizer("sgd"), slots, math.nan, 1)
    with pytest.raises(ValueError, match="step is 0"):
        native.step(x, "cross_entropy", y, _core.Optimizer("sgd"), slots, 0.1, 0)
    assert bits(net) == before
    assert not slots.any()


# ---- clipping and decay within a step


def stepped(dtype: str = "float64", **options: Any) -> tuple[Any, Any]:
    """Gradient of one batch before, and parameters' change by SGD of rate 1 with `options`."""
    net = network(dtype)
    x, y = data(40)
    native = net._compile().network
    native.gradient(x, "cross_entropy", y)
    gradient, before = native.gradients.copy(), native.parameters.copy()
    native.step(x, "cross_entropy", y, _core.Optimizer("sgd"), np.zeros_like(before), 1.0, 1, **options)
    return gradient, before - native.parameters


def test_clipping_by_norm() -> None:
    """torch.nn.utils.clip_grad_norm_: times c / (norm + 1e-6) where the norm is above c."""
    gradient, _ = stepped()
    norm = float(np.linalg.norm(gradient.astype(np.longdouble)))
    for limit in (0.1 * norm, 0.9 * norm):
        np.testing.assert_allclose(
            stepped(clip_norm=limit)[1], gradient * limit / (norm + 1e-6), rtol=1e-12, atol=1e-15
        )
    np.testing.assert_allclose(stepped(clip_norm=1.1 * norm)[1], gradient, rtol=1e-12, atol=1e-15)


def test_clipping_by_value() -> None:
    gradient, change = stepped(clip_value=0.01)
    assert np.abs(gradient).max() > 0.01
    np.testing.assert_allclose(change, np.clip(gradient, -0.01, 0.01), rtol=1e-12, atol=1e-15)


def test_clipped_bits_do_not_depend_on_threads(thread_counts: Iterator[int]) -> None:
    """More than one block of the norm's sum, and work enough for a team."""
    x = np.random.default_rng(0).normal(size=(256, 64)).astype(np.float32)
    y = np.arange(256) % 10
    seen = []
    for _ in thread_counts:
        net = gm.mlp(64, [130, 130], 10, rng=0)
        native = net._compile().network
        for step in (1, 2):
            native.step(
                x,
                "cross_entropy",
                y,
                _core.Optimizer("sgd"),
                np.zeros_like(native.parameters),
                0.1,
                step,
                clip_norm=0.01,
            )
        seen.append(native.parameters.tobytes())
    assert seen[0] == seen[1] == seen[2]


def test_decay_of_matrices_only() -> None:
    net, twin = network(), network()
    x, y = data(40)
    for each, only in ((net, True), (twin, False)):
        native = each._compile().network
        optimizer = _core.Optimizer("sgd", weight_decay=0.5)
        native.parameters[...] += 1
        native.step(
            x, "cross_entropy", y, optimizer, np.zeros_like(native.parameters), 0.1, 1, decay_matrices_only=only
        )
    before = network()
    before._compile().network.parameters[...] += 1
    for name, array in net.state_dict().items():
        if "running" in name:
            continue
        full, start = twin.state_dict()[name], before.state_dict()[name]
        if array.ndim > 1:
            np.testing.assert_array_equal(array, full)
        else:
            np.testing.assert_allclose(array - full, 0.05 * start, rtol=1e-12)


# ---- fit


def test_seeds_decide() -> None:
    first, again, other = network("float32"), network("float32"), network("float32")
    for net, rng in ((first, 1), (again, np.random.default_rng(1)), (other, 2)):
        net.fit(data(), epochs=3, rng=rng)
    assert bits(first) == bits(again)
    assert bits(first) != bits(other)


def test_epochs_and_steps() -> None:
    by_epochs, by_steps = network(), network()
    a = by_epochs.fit(data(70), epochs=2, batch_size=20, rng=0)
    b = by_steps.fit(data(70), steps=8, batch_size=20, rng=0)
    assert a.steps == b.steps == len(a.loss) == 8
    assert bits(by_epochs) == bits(by_steps)


@pytest.mark.parametrize(
    ("rows", "batch_size", "batches"),
    [
        (70, 32, [32, 32, 6]),
        (64, 32, [32, 32]),
        (65, 32, [32, 32]),  # a single sample has no batch statistics
        (5, 32, [5]),
        (1, 32, [1]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_batches_of_an_epoch(rows: int, batch_size: int, batches: list[int]) -> None:
    net = gm.mlp(5, [4], 3, rng=0)
    trainer = Trainer(net._compile(), *data(rows), optimizer="sgd", loss="cross_entropy", batch_size=batch_size, rng=0)
    assert trainer.steps_per_epoch == len(batches)
    for _ in range(2):
        epoch = [trainer.next_batch()[0][:, 0] for _ in batches]
        assert [len(order) for order in epoch] == batches
        seen = np.concatenate(epoch)
        assert len(np.unique(seen)) == len(seen)
    assert net.fit(data(rows), epochs=1, batch_size=batch_size).steps == len(batches)


def test_a_run_in_two_parts_is_one_run() -> None:
    whole, parts = network(), network()
    runs = [
        Trainer(net._compile(), *data(), optimizer="adam", loss="cross_entropy", batch_size=16, rng=0)
        for net in (whole, parts)
    ]
    runs[0].run(9, gm.train.History())
    runs[1].run(4, gm.train.History())
    runs[1].run(5, gm.train.History())
    assert bits(whole) == bits(parts)


def test_history_holds_validation_and_attenuation() -> None:
    net = network()
    train, val = data(70), data(40, seed=1)
    calls: list[tuple[int, int, float]] = []
    history = net.fit(train, val, epochs=3, batch_size=32, monitor=4, rng=0, progress=lambda *seen: calls.append(seen))
    assert [call[:2] for call in calls] == [(step, 9) for step in range(1, 10)]
    assert [call[2] for call in calls] == history.loss
    assert len(history.val) == 3
    assert history.val[-1] == net.evaluate(val)
    assert [step for step, _ in history.attenuation] == [4, 8]
    assert all(0 < seen.factor < 10 for _, seen in history.attenuation)
    assert not history.diverged
    assert history.seconds > 0
    assert len(network().fit(train, val, steps=4, batch_size=32).val) == 2  # an epoch, and the end


def test_monitoring_and_validation_change_no_bit() -> None:
    plain, watched = network("float32"), network("float32")
    plain.fit(data(), epochs=3, rng=0)
    watched.fit(data(), data(30, seed=1), epochs=3, monitor=1, rng=0)
    assert bits(plain) == bits(watched)


def test_evaluation_is_that_of_numpy() -> None:
    net = network()
    x, y = data(50)
    out = net.predict(x)
    seen = net.evaluate((x, y))
    value, _ = Reference(net, x, training=False).backward("cross_entropy", y)
    assert seen.loss == pytest.approx(float(value), rel=1e-12)
    assert seen.metric == np.mean(out.argmax(1) == y)
    assert seen.samples == 50
    target = np.random.default_rng(1).normal(size=(50, 3))
    seen = net.evaluate((x, target), loss="mse")
    assert seen.loss == pytest.approx(np.mean((out - target) ** 2), rel=1e-12)
    total = np.sum((target - target.mean(0)) ** 2)
    assert seen.metric == pytest.approx(1 - np.sum((out - target) ** 2) / total, rel=1e-12)
    empty = net.evaluate((x[:0], y[:0]))
    assert math.isnan(empty.loss)
    assert math.isnan(empty.metric)
    assert empty.samples == 0


def test_a_column_of_values_may_be_a_vector() -> None:
    x, _ = data(40)
    a, b = (gm.mlp(5, [8], 1, rng=0) for _ in range(2))
    a.fit((x, x[:, 0]), steps=5, loss="mse", rng=0)
    b.fit((x, x[:, :1]), steps=5, loss="mse", rng=0)
    assert bits(a) == bits(b)


def test_training_learns() -> None:
    net = network("float32")
    x, y = data(300)
    net.fit((x, y), optimizer=gm.optim.Adam(1e-2), epochs=30, rng=0)
    assert net.evaluate(data(200, seed=9)).metric > 0.85


# ---- what stops a run


def test_a_diverging_loss_stops() -> None:
    net = gm.mlp(5, [16], 1, activation="identity", rng=0, dtype="float32")
    x, _ = data()
    with np.errstate(all="raise"):
        history = net.fit((x, 100 * x[:, :1]), optimizer=gm.optim.SGD(10.0), steps=500, loss="mse", rng=0)
    assert history.diverged
    assert history.steps == len(history.loss) < 500
    assert not math.isfinite(history.loss[-1])
    assert all(map(math.isfinite, history.loss[:-1]))


def test_an_exception_of_the_progress_callback_comes_through() -> None:
    net, twin = network(), network()

    class Enough(Exception):
        pass

    def stop(step: int, steps: int, loss: float) -> None:
        if step == 3:
            raise Enough

    with pytest.raises(Enough):
        net.fit(data(), steps=10, rng=0, progress=stop)
    twin.fit(data(), steps=3, rng=0)
    assert bits(net) == bits(twin)


def test_bad_arguments_change_nothing() -> None:
    net = network()
    x, y = data()
    before = bits(net)
    for arguments, error, message in (
        ({"epochs": 1, "steps": 1}, ValueError, "epochs is 1 and steps is 1; expected one"),
        ({}, ValueError, "epochs is None and steps is None"),
        ({"epochs": 0}, ValueError, "epochs is 0; expected 1 or more"),
        ({"steps": -1}, ValueError, "steps is -1"),
        ({"steps": 1.5}, TypeError, "steps is 1.5; expected an integer"),
        ({"steps": True}, ValueError, "steps is True"),
        ({"steps": 1, "batch_size": 0}, ValueError, "batch_size is 0"),
        ({"steps": 1, "batch_size": 2.0}, TypeError, "batch_size is 2.0; expected an integer"),
        ({"steps": 1, "batch_size": 1}, ValueError, "more than 1 value per channel"),
        ({"steps": 1, "monitor": -1}, ValueError, "monitor is -1"),
        ({"steps": 1, "monitor": "x"}, TypeError, "monitor is 'x'"),
        ({"steps": 1, "loss": "hinge"}, ValueError, "loss is 'hinge'; expected one of: cross_entropy, mse"),
        ({"steps": 1, "loss": "dot"}, ValueError, "loss is 'dot'"),
        ({"steps": 1, "loss": "mse"}, ValueError, r"y has shape \(70,\); expected \(70, 3\)"),
        ({"steps": 1, "optimizer": "lion"}, ValueError, "optimizer is 'lion'; expected one of: sgd"),
        ({"steps": 1, "optimizer": 0.1}, TypeError, "optimizer is 0.1"),
        ({"steps": 1, "rng": -1}, ValueError, "rng is -1; expected None, an integer of 0 or more"),
        ({"steps": 1, "val": x}, TypeError, "val is ndarray; expected a pair"),
        ({"steps": 1, "val": (x, y + 9)}, IndexError, "y has classes 9 to 11; expected 0 to 2"),
        ({"steps": 1, "val": (x[:, :2], y)}, ValueError, r"x has shape \(70, 2\); expected \(N, 5\)"),
    ):
        with pytest.raises(error, match=message):
            net.fit((x, y), **arguments)  # type: ignore[arg-type]
    for train, error, message in (
        (x, TypeError, "train is ndarray; expected a pair"),
        (None, TypeError, "train is NoneType"),
        ((x, y[:-1]), ValueError, r"y has shape \(69,\); expected \(70,\)"),
        ((x, y - 1), IndexError, "y has classes -1 to 1"),
        ((x, y + 0.5), TypeError, "y has dtype float64; expected integer classes"),
        ((x + 1j, y), TypeError, "x has dtype complex128"),
        ((x.astype(str), y), TypeError, "x has dtype <U"),
        ((x[0], y), ValueError, r"x has shape \(5,\)"),
        ((x[:0], y[:0]), ValueError, "train has no samples"),
    ):
        with pytest.raises(error, match=message):
            net.fit(train, steps=1)
    with pytest.raises(ValueError, match="monitor is 1 with one sample"):
        gm.mlp(5, [4], 3).fit((x[:1], y[:1]), steps=1, monitor=1)
    assert bits(net) == before


INTERRUPTED = """
    import signal, sys, threading, time
    import numpy as np
    import gradiometer as gm

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job inherits it as ignored
    what = sys.argv[1]
    net = gm.mlp(4096, [4096, 4096], 10, activation="tanh", norm="batch", rng=0)
    x = np.random.default_rng(0).normal(size=(8192, 4096)).astype(np.float32)
    y = np.zeros(8192, np.int64)
    small = gm.mlp(64, [64] * 4, 10, rng=0)
    many = np.zeros((2_000_000, 64), np.float32)
    sent = []

    def interrupt():
        sent.append(time.monotonic())
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    before = {name: array.tobytes() for name, array in net.state_dict().items()}
    threading.Timer(float(sys.argv[2]), interrupt).start()
    try:
        if what == "fit":
            net.fit((x, y), steps=1, batch_size=8192)
        elif what == "measure":
            gm.measure(net, x, y)
        else:
            while True:
                small(many)
    except KeyboardInterrupt:
        late = time.monotonic() - sent[0]
        same = before == {name: array.tobytes() for name, array in net.state_dict().items()}
        finite = bool(np.isfinite(net(x[:4])).all())
        print("interrupted", late < 1.0, same, finite, late)
    else:
        print("finished")
"""


@pytest.mark.parametrize(("what", "after"), [("fit", 0.3), ("fit", 1.5), ("measure", 0.6), ("forward", 0.3)])
def test_ctrl_c_stops_a_long_native_call(what: str, after: float) -> None:
    """Some 0.02 s later on an idle machine (1 s here: the machine may be busy; the call would take many), with the
    parameters and statistics of the last whole step."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(INTERRUPTED), what, str(after)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.startswith("interrupted True True True"), done.stdout + done.stderr


def test_probabilities() -> None:
    x = np.random.default_rng(0).normal(size=(7, 4))
    net = gm.mlp(4, [6], 3, rng=0, dtype="float64")
    e = np.exp(net.predict(x))
    np.testing.assert_allclose(net.predict_proba(x), e / e.sum(axis=1, keepdims=True), rtol=1e-13)
    net.fit((x, np.eye(3)[[0, 1, 2, 0, 1, 2, 0]]), steps=1, loss="bce_with_logits")
    np.testing.assert_allclose(net.predict_proba(x), 1 / (1 + np.exp(-net.predict(x))), rtol=1e-13)
    net.fit((x, np.ones((7, 3))), steps=1, loss="mse")
    with pytest.raises(ValueError, match="trained with mse; expected a loss of classes"):
        net.predict_proba(x)


def test_a_pair_is_not_predicted() -> None:
    _, _, test = gm.datasets.digits()
    net = gm.mlp(64, [6], 10, rng=0)
    with pytest.raises(TypeError, match=r"x is Samples, a pair; expected its x, an array \(N, 64\)"):
        net.predict(test)
    with pytest.raises(TypeError, match=r"x is tuple of unequal parts; expected an array \(N, 64\)"):
        net.predict((test.x, test.y))
