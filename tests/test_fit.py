"""Fit beyond plain arrays: streams, schedules, early stopping, checkpoints, micro-batches."""

from __future__ import annotations

import io
import math
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import gradiometer as gm
import numpy as np
import pytest
from gradiometer import schedules
from gradiometer.checkpoints import CheckpointError, read, write
from gradiometer.progress import line

Array = Any


def network(norm: str | None = "batch") -> gm.Sequential:
    return gm.mlp(5, [9, 9], 3, activation="tanh", norm=norm, rng=0, dtype="float64")


def data(rows: int = 70, seed: int = 0) -> tuple[Array, Array]:
    x = np.random.default_rng(seed).normal(0.5, 2, (rows, 5))
    return x, (x[:, 0] > x[:, 1]).astype(int) + (x[:, 2] > 1)


def bits(net: gm.Sequential) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in net.state_dict().items()}


# ---- where batches come from


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_a_mapped_file_is_an_array(dtype: str, tmp_path: Path) -> None:
    x, y = data()
    np.save(tmp_path / "x.npy", x.astype(dtype))
    np.save(tmp_path / "y.npy", y)
    mapped = [np.load(tmp_path / name, mmap_mode="r") for name in ("x.npy", "y.npy")]
    net, twin = network(), network()
    history = net.fit((mapped[0], mapped[1]), epochs=3, batch_size=16, rng=0)
    assert history.loss == twin.fit((x.astype(dtype), y), epochs=3, batch_size=16, rng=0).loss
    assert bits(net) == bits(twin)


def test_batches_of_an_iterable() -> None:
    x, y = data(64)
    net, twin = network(), network()
    batches = [(x[r : r + 16], y[r : r + 16]) for r in range(0, 64, 16)]
    history = net.fit(batches, data(30, 1), epochs=2)
    assert history.steps == 8
    assert history.val_steps == [4, 8]
    for _ in range(2):
        twin_history = twin.fit(iter(batches), epochs=1)
        assert twin_history.steps == 4
    assert network().fit((batch for batch in batches), steps=10).steps == 4

    class Endless:
        def __iter__(self) -> Any:
            return iter(batches)

    again = network()
    assert again.fit(Endless(), data(30, 1), epochs=2).val_steps == [4, 8]
    assert bits(again) == bits(net)


def test_samples_and_lists_are_pairs() -> None:
    train, val, _ = gm.datasets.digits()
    nets = [gm.mlp(64, [8], 10, rng=0) for _ in range(3)]
    for net, pair in zip(nets, (train, (train.x, train.y), [train.x, train.y]), strict=True):
        net.fit(pair, val, epochs=1, rng=0)
    assert bits(nets[0]) == bits(nets[1]) == bits(nets[2])


@pytest.mark.parametrize(
    ("train", "options", "error", "message"),
    [
        (iter([data()]), {"epochs": 2}, ValueError, "train is an iterator"),
        ([data(), 3], {"epochs": 1}, TypeError, "a batch of train is int"),
        ((data() for _ in range(2)), {"epochs": 1, "schedule": schedules.Cosine()}, ValueError, "how many batches"),
        (data(), {"epochs": 1, "schedule": 0.1}, TypeError, "schedule is 0.1"),
        (data(), {"epochs": 1, "clip_norm": 0.0}, ValueError, "clip_norm is 0.0"),
        (data(), {"epochs": 1, "clip_value": math.nan}, ValueError, "clip_value is nan"),
        (data(), {"epochs": 1, "patience": 2}, ValueError, "without val"),
        (data(), {"epochs": 1, "goal": 0.5}, ValueError, "goal is 0.5 without val; expected validation data"),
        (data(), {"epochs": 1, "goal": "low"}, TypeError, "goal is 'low'; expected a number"),
        (data(), {"epochs": 1, "resume": True}, ValueError, "checkpoint is None"),
        (data(), {"epochs": 1, "memory_budget": 10}, ValueError, "batch statistics"),
    ],
)
def test_refused(train: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        network().fit(train, **options)


BOUNDED = """
    import resource, sys
    import numpy as np
    import gradiometer as gm

    rows, features = int(sys.argv[2]), 1024
    x = np.memmap(sys.argv[1], np.float32, "r", shape=(rows, features))
    net = gm.mlp(features, [64], 10, rng=0)
    net.fit((x, np.zeros(rows, np.int64)), steps=2, batch_size=64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    net.fit((x, np.zeros(rows, np.int64)), epochs=1, batch_size=64, rng=0)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_of_a_mapped_file_is_bounded(tmp_path: Path) -> None:
    """400 MB of zeros that take no room on the disk, read in one epoch: 64 MB of them are resident at a time."""
    path, rows = tmp_path / "x.bin", 100_000
    with path.open("wb") as file:
        file.truncate(rows * 4096)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BOUNDED), str(path), str(rows)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert int(done.stdout) < 130_000  # kB


# ---- losses, clipping and decay through fit


def test_losses_train() -> None:
    x, y = data(300)
    for loss, target in (
        (gm.losses.CrossEntropy([1.0, 2.0, 0.5], 0.1), y),
        (gm.losses.Huber(0.5), np.eye(3)[y]),
        (gm.losses.BceWithLogits(), np.eye(3)[y]),
        ("bce_with_logits", np.eye(3, dtype=bool)[y]),
    ):
        net = network()
        start = net.evaluate((x, target), loss)
        history = net.fit((x, target), optimizer=gm.optim.RMSprop(1e-2), epochs=20, loss=loss, rng=0)
        seen = net.evaluate((x, target), loss)
        assert seen.loss < 0.7 * start.loss
        assert seen.metric > 0.6
        assert not history.diverged
    with pytest.raises(ValueError, match="expected 0 to 1 for bce_with_logits"):
        network().fit((x, 2.0 * np.eye(3)[y]), epochs=1, loss="bce_with_logits")


def test_measuring_takes_the_loss_of_the_training() -> None:
    """Twice the loss for errors beyond delta: twice the gradient."""
    x, y = data(40)
    net, far = network(), 100 + np.zeros((40, 3))
    one, two = (gm.measure(net, x, far, loss=gm.losses.Huber(delta)) for delta in (1.0, 2.0))
    assert two.input_grad_norm == pytest.approx(2 * one.input_grad_norm, rel=1e-12)
    history = net.fit((x, y), steps=2, monitor=2, loss=gm.losses.CrossEntropy([1.0, 2.0, 3.0], 0.1), rng=0)
    assert len(history.attenuation) == 1


def test_clipping_bounds_the_step() -> None:
    net, twin = network(None), network(None)
    before = net.parameters.copy()
    net.fit(data(), optimizer=gm.optim.SGD(1.0), steps=1, clip_norm=1e-3, rng=0)
    twin.fit(data(), optimizer=gm.optim.SGD(1.0), steps=1, clip_value=1e-4, rng=0)
    assert np.linalg.norm(net.parameters - before) == pytest.approx(1e-3, rel=1e-3)
    assert np.abs(twin.parameters - before).max() == pytest.approx(1e-4, rel=1e-9)


# ---- schedules

# torch.optim.lr_scheduler 2.13 over 10 steps, at a rate of 1.
TORCH = [
    (schedules.StepDecay(3, 0.5), [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]),
    (
        schedules.Cosine(0.1),
        [
            1.0,
            0.9779754323328191,
            0.9140576474687263,
            0.8145033635316129,
            0.6890576474687263,
            0.55,
            0.41094235253127376,
            0.2854966364683872,
            0.18594235253127372,
            0.12202456766718092,
        ],
    ),
    (schedules.WarmUp(4, start=0.25), [0.25, 0.4375, 0.625, 0.8125, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
    (
        schedules.OneCycle(),
        [
            0.040000000000000036,
            0.52,
            1.0,
            0.9504846320134737,
            0.8117456539497631,
            0.6112620219362893,
            0.38874197806371075,
            0.18825834605023697,
            0.049519367986526286,
            4e-06,
        ],
    ),
]


@pytest.mark.parametrize(("schedule", "want"), TORCH, ids=lambda v: repr(v)[:20])
def test_schedules_are_torch(schedule: schedules.Schedule, want: list[float]) -> None:
    np.testing.assert_allclose([schedule.factor(step, 10) for step in range(1, 11)], want, rtol=1e-12)


def test_plateau() -> None:
    losses = [3.0, 2.0, 2.5, 2.1, 2.0, 1.9, 1.95, 1.95, 1.95, 1.0]
    plateau = schedules.Plateau(patience=1, gamma=0.5)
    seen = [plateau.factor(1, 10, losses[:n]) for n in range(len(losses) + 1)]
    assert seen == [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]


def test_fit_follows_the_schedule() -> None:
    """SGD's parameters after rates r and 0 are those after one step."""
    net, twin = network(), network()
    net.fit(data(), optimizer=gm.optim.SGD(0.1), steps=6, rng=0, schedule=schedules.StepDecay(3, 0.0))
    twin.fit(data(), optimizer=gm.optim.SGD(0.1), steps=3, rng=0)
    assert np.array_equal(net.parameters, twin.parameters)
    warm = schedules.WarmUp(2, schedules.Cosine(), start=0.5)
    assert [round(warm.factor(step, 4), 12) for step in range(1, 5)] == [0.5, 0.75, 1.0, 0.5]


# ---- early stopping


def test_patience_stops_and_takes_back_the_best() -> None:
    net = network()
    train, val = data(20), data(200, 1)
    history = net.fit(train, val, gm.optim.Adam(0.05), epochs=200, rng=0, patience=4)
    losses = [seen.loss for seen in history.val]
    best = losses.index(min(losses))
    assert history.stopped_early
    assert len(losses) == best + 5 < 200
    assert net.evaluate(val) == history.val[best]


def test_a_goal_ends_training_where_it_is_reached(tmp_path: Path) -> None:
    train, val = data(200), data(40, 1)

    def trained(**options: Any) -> gm.History:
        return network().fit(train, val, gm.optim.Adam(0.05), epochs=30, rng=0, **options)

    losses = [seen.loss for seen in trained().val]
    goal = losses[5] * 1.0001
    first = next(i for i, loss in enumerate(losses) if loss <= goal)
    history = trained(goal=goal, checkpoint=tmp_path / "run")
    assert history.reached
    assert not history.stopped_early
    assert [seen.loss for seen in history.val] == losses[: first + 1]
    assert "the validation loss reached the goal" in str(history)
    assert "goal reached" in repr(history)
    again = trained(goal=goal, checkpoint=tmp_path / "run", resume=True)
    assert again.steps == history.steps
    assert not trained(goal=0.0).reached


# ---- checkpoints


def run(net: gm.Sequential, path: Path | None, **options: Any) -> gm.History:
    return net.fit(
        data(),
        data(40, 1),
        gm.optim.Adam(0.02),
        epochs=6,
        batch_size=16,
        rng=7,
        schedule=schedules.Plateau(0, 0.5),
        patience=5,
        checkpoint=path,
        **options,
    )


@pytest.mark.parametrize("stop", [1, 4, 5, 7, 23])
def test_a_resumed_run_has_the_same_bits(stop: int, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(step: int, steps: int, loss: float) -> None:
        if step == stop + 1:
            raise Killed

    whole, first, second = network(), network(), network()
    wanted = run(whole, None)
    path = tmp_path / "run.safetensors"
    with pytest.raises(Killed):
        run(first, path, checkpoint_every=1, progress=kill, resume=True)
    history = run(second, path, checkpoint_every=3, resume=True)
    assert history.loss == wanted.loss
    assert history.val == wanted.val
    assert history.val_steps == wanted.val_steps
    assert bits(second) == bits(whole)
    third = network()
    run(third, path, checkpoint_every=3, resume=True)  # nothing is left to do
    assert bits(third) == bits(whole)


KILLED = """
    import os, signal, sys
    sys.path.insert(0, sys.argv[2])
    from test_fit import network, run
    run(network(), sys.argv[1], checkpoint_every=2,
        progress=lambda step, steps, loss: os.kill(os.getpid(), signal.SIGKILL) if step == 13 else None)
"""


def test_kill_9_and_go_on(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(path), str(Path(__file__).parent)], check=False, timeout=60
    )
    assert done.returncode == -9
    net, whole = network(), network()
    run(net, path, checkpoint_every=2, resume=True)
    run(whole, None)
    assert bits(net) == bits(whole)


def test_every_damage_is_one_exception(tmp_path: Path) -> None:
    """All truncations, and a flip of every bit, of a small file; the network stays as it was."""
    path = tmp_path / "small"
    write(path, {"a": np.arange(3.0), "b": np.zeros((2, 2), np.float32)}, {"run": "x"})
    whole = path.read_bytes()
    tensors, metadata = read(path)
    assert tensors["a"].tolist() == [0.0, 1.0, 2.0]
    assert tensors["b"].shape == (2, 2)
    assert metadata == {"run": "x"}
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        with pytest.raises(CheckpointError):
            read(path)
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(CheckpointError):
            read(path)
    path.write_bytes(whole + b"0")
    with pytest.raises(CheckpointError):
        read(path)
    with pytest.raises(CheckpointError):
        read(tmp_path)
    with pytest.raises(CheckpointError):
        write(tmp_path / "no" / "such", {}, {})
    assert os.listdir(tmp_path) == ["small"]


def test_a_checkpoint_of_another_run_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run"
    run(network(), path)
    tensors, metadata = read(path)

    def refused(net: gm.Sequential) -> None:
        before = bits(net)
        with pytest.raises(CheckpointError):
            run(net, path, resume=True)
        assert bits(net) == before

    refused(gm.mlp(5, [9], 3, norm="batch", rng=0, dtype="float64"))
    refused(gm.mlp(5, [9, 9], 3, activation="tanh", norm="batch", rng=0, dtype="float32"))
    for changed in (
        tensors | {"parameters": tensors["parameters"] * np.nan},
        tensors | {"slots": tensors["slots"][:1]},
        tensors | {"more": np.zeros(3)},
        {name: tensor for name, tensor in tensors.items() if name != "state"},
    ):
        write(path, changed, metadata)
        refused(network())
    write(path, tensors, {"run": metadata["run"]})
    refused(network())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rng": 8}, "rng: 7 in the file, 8 asked"),
        ({"epochs": 7}, "steps: 30 in the file, 35 asked"),
        ({"optimizer": gm.optim.Adam(0.03)}, r"optimizer: Optimizer\('adam', 0.02.* asked"),
        ({"batch_size": 20}, "batch_size: 16 in the file, 20 asked; steps: 30 in the file, 24 asked"),
        ({"clip_norm": 0.5}, "clip_norm: 0.0 in the file, 0.5 asked"),
    ],
)
def test_what_differs_from_a_checkpoint_is_named(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "run"
    call = {"optimizer": gm.optim.Adam(0.02), "epochs": 6, "batch_size": 16, "rng": 7, "checkpoint": path}
    network().fit(data(), **call)
    network().fit(data(), resume=True, **call)
    with pytest.raises(CheckpointError, match=f"does not fit this run: {message}$"):
        network().fit(data(), resume=True, **(call | changed))
    wider = gm.mlp(5, [9, 8], 3, activation="relu", norm="batch", rng=0, dtype="float64")
    with pytest.raises(
        CheckpointError,
        match=r"run: layers: Activation\('relu', .*\) in the network, Activation\('tanh', .* \(and 4 more\)$",
    ):
        wider.fit(data(), resume=True, **call)


def test_one_generator_goes_on_where_the_file_says(tmp_path: Path) -> None:
    """A run that is taken up with the very Generator that drew its first orders."""
    path, rng, whole = tmp_path / "run", np.random.default_rng(3), network()
    whole.fit(data(), steps=12, rng=np.random.default_rng(3))
    with pytest.raises(ZeroDivisionError):
        network().fit(
            data(), steps=12, rng=rng, checkpoint=path, checkpoint_every=2, progress=lambda step, *_: 1 // (step < 7)
        )
    again = network()
    again.fit(data(), steps=12, rng=rng, checkpoint=path, resume=True)
    assert bits(again) == bits(whole)


def test_a_checkpoint_that_cannot_be_written_is_refused_before_the_first_step(tmp_path: Path) -> None:
    net = network()
    before = bits(net)
    for path, message in ((tmp_path / "no" / "run", "there is no directory"), (tmp_path, "is a directory")):
        with pytest.raises(CheckpointError, match=message):
            net.fit(data(), steps=3, checkpoint=path)
    assert bits(net) == before


# ---- micro-batches


@pytest.mark.parametrize("loss", ["cross_entropy", gm.losses.CrossEntropy([1.0, 3.0, 0.2], 0.1)])
def test_micro_batches_make_the_same_steps(loss: Any) -> None:
    plain, cut = network(None), network(None)
    slots = cut.parameters.nbytes
    budget = cut.memory(7) + slots
    assert cut.memory(8) + slots > budget or cut.memory(32) + slots > budget
    options: dict[str, Any] = {"steps": 9, "batch_size": 32, "rng": 0, "loss": loss, "clip_norm": 0.5}
    first = plain.fit(data(), optimizer=gm.optim.SGD(0.1, momentum=0.9), **options)
    second = cut.fit(data(), optimizer=gm.optim.SGD(0.1, momentum=0.9), memory_budget=budget, **options)
    np.testing.assert_allclose(second.loss, first.loss, rtol=1e-12)
    np.testing.assert_allclose(cut.parameters, plain.parameters, rtol=1e-11, atol=1e-13)
    with pytest.raises(ValueError, match="one row at a time needs"):
        network(None).fit(data(), steps=1, memory_budget=100)


def test_memory_says_what_fit_asks_for() -> None:
    for optimizer in ("sgd", "adam", gm.optim.RMSprop(momentum=0.9)):
        net = network()
        needed = net.memory(16, optimizer=optimizer)
        net.fit(data(), None, optimizer, steps=3, batch_size=16, memory_budget=needed, rng=0)
        with pytest.raises(
            ValueError, match=r"for the optimiser \(net.memory\(16, optimizer=..., recompute=True\) says"
        ):
            net.fit(
                data(),
                None,
                optimizer,
                steps=3,
                batch_size=16,
                memory_budget=net.memory(16, optimizer=optimizer, recompute=True) - 1,
            )


# ---- progress


def test_the_bar_says_what_is_left() -> None:
    assert line(5, 20, 0.25, 10.0) == "[#######-----------------------] 5/20  loss 0.25  0:30 left"
    assert line(15, 20, 0.25, 10.0, first=11).endswith("0:10 left")
    assert line(5, 0, 0.25, 70.0) == "step 5  loss 0.25  1:10"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("rich", [False, True])
def test_the_bar_is_one_line_that_ends_however_the_run_ends(rich: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if rich:
        pytest.importorskip("rich")
    else:
        monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", screen := Terminal())
    network().fit(data(), steps=3, progress=True)
    assert screen.getvalue().count("\n") == 1
    assert "3/3" in screen.getvalue()
    assert ("━" in screen.getvalue()) == rich
    network().fit(iter([data()]), epochs=1, progress=True)
    assert screen.getvalue().count("\n") == 2
    assert screen.getvalue().endswith("\n")


def test_no_bar_on_a_terminal_that_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("sys.stderr", screen := Terminal())
    network().fit(data(), steps=3, progress=True)
    assert screen.getvalue() == ""


def test_no_bar_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    network().fit(data(), steps=3, progress=True)
    assert capsys.readouterr().err == ""
