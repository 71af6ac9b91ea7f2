"""Recurrent networks through gm.measure, gm.diagnose and gm.cure."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import gradiometer as gm
import numpy as np
import pytest
from gradiometer import kernels
from gradiometer.history import factor_charts
from gradiometer.measurement.time import measure_stack
from gradiometer.measurement.time.charts import time_map

Array = Any


def sequences(N: int = 24, T: int = 12, C: int = 3, dtype: str = "float64") -> tuple[Any, Array]:
    rng = np.random.default_rng(0)
    return gm.Sequences(rng.normal(size=(N, T, C)).astype(dtype), rng.integers(4, T + 1, N)), rng.integers(0, 3, N)


def directional(net: Any, x: Any, y: Array, name: str, step: Array) -> float:
    """dL/d(parameter) along a step, by a quotient of the loss."""
    values = []
    for sign in (1.0, -1.0):
        moved = net.copy()
        state = moved.state_dict()
        state[name] = state[name] + sign * 1e-6 * step
        moved.load_state_dict(state)
        values.append(moved.evaluate((x, y)).loss)
    return (values[0] - values[1]) / 2e-6


def test_what_reaches_a_layer_is_the_gradient_of_the_loss() -> None:
    """Behind norm, skip, both directions and every step: gradients by the input weights, made of what the replay saw,
    against quotients of the loss."""
    from gradiometer.measurement.time import replay

    net = gm.Sequential(
        gm.Linear(3, 4, rng=0, dtype="float64"),
        gm.LSTM(4, 5, bidirectional=True, output="all", rng=1, dtype="float64"),
        gm.Residual(gm.GRU(10, 5, bidirectional=True, output="all", rng=2, dtype="float64"), scale=0.5),
        gm.LayerNorm(10, dtype="float64"),
        gm.RNN(10, 4, rng=3, dtype="float64"),
        gm.Linear(4, 3, rng=4, dtype="float64"),
        dtype="float64",
    )
    x, y = sequences()
    walk = replay._walk(net.copy(), x.lengths, itertools.count(1))
    out = walk.forward(x.x)
    np.testing.assert_allclose(out, net.predict(x), rtol=1e-12)
    walk.backward(kernels.loss("cross_entropy", out, y)[1])
    seen = {type(leaf.module).__name__: leaf for leaf in walk.leaves()}
    for name, key in (("LSTM", "1."), ("GRU", "2.0."), ("RNN", "4.")):
        leaf = seen[name]
        _, gradients = leaf.module.backward(leaf._given(leaf.x), leaf.dy)
        weight = gradients["weight_ih_l0"]
        step = np.random.default_rng(5).normal(size=weight.shape)
        names = [each for each in net.state_dict() if each.endswith("weight_ih_l0") and each.startswith(key)]
        want = directional(net, x, y, names[0], step)
        np.testing.assert_allclose(np.sum(weight * step), want, rtol=1e-5, atol=1e-10)


def test_a_network_gives_what_its_layers_give_alone() -> None:
    x, y = sequences()
    lstm = gm.LSTM(3, 6, 2, rng=0, dtype="float64")
    head = gm.Linear(6, 3, rng=1, dtype="float64")
    net = gm.Sequential(lstm, head, dtype="float64")
    measured = gm.measure(net, x, y)
    weight, parameters = net.state_dict()["1.weight"], {k[2:]: v for k, v in net.state_dict().items() if k[0] == "0"}
    probabilities = kernels.softmax_forward(net.predict(x))
    probabilities[np.arange(len(y)), y] -= 1.0
    dh_n = np.stack([np.zeros((len(y), 6)), probabilities @ weight / len(y)])
    alone = measure_stack("lstm", x.x.swapaxes(0, 1), parameters, dh_n=dh_n, lengths=x.lengths)
    assert len(measured.time) == 2
    for one, other in zip(measured.time, alone, strict=True):
        np.testing.assert_allclose(one.grad_c, other.grad_c, rtol=1e-10)
        np.testing.assert_allclose(one.decay.norms, other.decay.norms, rtol=1e-10)
        assert (one.index, one.name) == (other.index, other.name)
    # the layer list: both recurrent layers and the head, with norms of the gradient by their outputs
    assert [layer.name for layer in measured.layers] == ["LSTM 6", "LSTM 6", "Linear 3"]
    assert [layer.fan_in for layer in measured.layers] == [3, 6, 6]
    assert measured.network == "3-[lstm 6]x2-3"
    np.testing.assert_allclose(measured.layers[1].grad_norm, np.linalg.norm(dh_n[1]), rtol=1e-10)
    both = math.hypot(np.linalg.norm(parameters["weight_ih_l0"]), np.linalg.norm(parameters["weight_hh_l0"]))
    np.testing.assert_allclose(measured.layers[0].weight_norm, both, rtol=1e-10)
    of_all = [net.backward(x, probabilities / len(y))[1][f"0.weight_{part}_l1"] for part in ("ih", "hh")]
    norm = math.hypot(*map(np.linalg.norm, of_all))
    np.testing.assert_allclose(measured.layers[1].weight_grad_norm, norm, rtol=1e-10)


@pytest.mark.parametrize("unequal", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1e-160, 1e160])
def test_spread_is_between_samples_at_the_same_step(scale: float, unequal: bool) -> None:
    """An input that changes a hundred times more from step to step than from sample to sample is nearly lost, though
    its steps are not alike; a step that one sample has says nothing about samples."""
    rng = np.random.default_rng(3)
    N, T, C = 9, 7, 5
    lengths = np.array([7, 6, 6, 2, 3, 5, 6, 1, 4]) if unequal else np.full(N, T)
    x = scale * (rng.normal(size=(T, C)) + 0.01 * rng.normal(size=(N, T, C)))
    rnn = gm.RNN(C, 3, nonlinearity="relu", output="all", rng=0, dtype="float64")
    net = gm.Sequential(gm.Linear(C, C, rng=1, dtype="float64"), rnn, gm.Linear(3, 3, rng=2, dtype="float64"))
    net[0].bias[...] = 0
    y = np.zeros((N, T), int)
    a = x @ net[0].weight.T / scale
    between = whole = 0.0
    for t in range(T):
        seen = a[lengths > t, t]
        between += np.sum((seen - seen.mean(axis=0)) ** 2)
        whole += np.sum(seen**2)
    samples = gm.Sequences(x, lengths) if unequal else x
    first = gm.measure(net, samples, y).layers[0]
    np.testing.assert_allclose(first.sample_spread, math.sqrt(between / whole), rtol=1e-12)
    assert first.sample_spread < 0.03
    alike = np.broadcast_to(x[0], x.shape)
    lost = gm.measure(net, gm.Sequences(alike, lengths) if unequal else alike, y)
    assert [layer.sample_spread for layer in lost.layers] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("module", [gm.LSTM, gm.GRU, gm.RNN])
def test_a_network_that_diverged_is_measured(module: Any) -> None:
    x, y = sequences()
    net = gm.Sequential(module(3, 20, rng=0, dtype="float64"), gm.Linear(20, 3, rng=1, dtype="float64"))
    net[0].weight_hh_l0[...] = math.nan
    (seen,) = gm.measure(net, x, y).time
    assert math.isnan(seen.decay.factor)
    assert seen.jacobian is None or math.isnan(seen.jacobian.bound)
    assert "nan" not in repr(seen)


def test_every_step_has_a_loss() -> None:
    rng = np.random.default_rng(1)
    x, _ = sequences(dtype="float32")
    y = rng.normal(size=(24, 12, 2)).astype("float32")
    net = gm.Sequential(gm.GRU(3, 5, output="all", rng=0), gm.Linear(5, 2, rng=1))
    measured = gm.measure(net, x, y, loss="mse", optimizer="adam", memory=3)
    (seen,) = measured.time
    assert min(value for value in seen.grad_h if not math.isnan(value)) > 0.0
    assert measured.memory == 3
    assert measured.layers[0].update_to_weight > 0
    assert [layer.name for layer in measured.layers] == ["GRU 5", "Linear 2"]
    whole = np.array([0.0])
    for t, (norm, n) in enumerate(zip(seen.grad_h, seen.rows, strict=True)):
        assert n == np.sum(x.lengths > t)
        whole = whole + (0.0 if math.isnan(norm) else norm**2 * n)
    assert whole[0] > 0


def test_measuring_changes_nothing_and_text_names_time(tmp_path: Path) -> None:
    x, y = sequences(dtype="float32")
    net = gm.Sequential(gm.LSTM(3, 6, bidirectional=True, rng=0), gm.Linear(12, 3, rng=1))
    before = net.parameters.copy()
    measured = gm.measure(net, x, y)
    np.testing.assert_array_equal(net.parameters, before)
    assert [each.reverse for each in measured.time] == [False, True]
    assert measured.layers[0].name == "LSTM 6 bidirectional"
    assert measured.layers[0].fan_out == 12
    text = str(measured)
    assert "1 LSTM 6 rev" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "product of f" in measured.report(all=True)
    assert '"cell_path"' in measured.to_json()
    assert "Gradient dL/dc by time and layer" in measured._repr_html_()
    path = tmp_path / "page.html"
    gm.diagnose(measured).save_html(path)
    page = path.read_text(encoding="utf-8")
    for words in ("Through time", "Recurrent layers, from the input", "memory path", "What the words mean"):
        assert words in page


def test_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    x, y = sequences(dtype="float32")
    net = gm.Sequential(gm.LSTM(3, 6, rng=0), gm.Linear(6, 3, rng=1))
    path = tmp_path / "time.svg"
    gm.measure(net, x, y).plot(path)
    assert path.stat().st_size > 10_000


def test_networks_side_by_side() -> None:
    x, y = sequences(dtype="float32")
    nets = {"lstm": gm.LSTM(3, 6, rng=0), "lstm, bias 1": gm.LSTM(3, 6, forget_bias=1.0, rng=0)}
    seen = {name: gm.measure(gm.Sequential(layer, gm.Linear(6, 3, rng=1)), x, y) for name, layer in nets.items()}
    compared = gm.compare({**seen, "no memory": gm.measure(gm.mlp(3, [4], 3, rng=0), x.x[:, 0], y)})
    first, second, last = compared.table().rows
    assert first[1] == seen["lstm"].time[0].decay.factor < second[1]
    assert last[1:] == (None, None, None)
    [chart] = compared.charts()
    assert [line.name for line in chart.series] == ["lstm", "lstm, bias 1"]
    assert "1/1000 in" in str(compared)
    assert "<svg" in compared._repr_html_()


def test_bad_memory_is_named() -> None:
    x, y = sequences(dtype="float32")
    net = gm.Sequential(gm.LSTM(3, 6, rng=0), gm.Linear(6, 3, rng=1))
    with pytest.raises(ValueError, match="memory"):
        gm.measure(net, x, y, memory=0)
    with pytest.raises(ValueError, match=r"x has shape \(24, 3\)"):
        gm.measure(net, x.x[:, 0], y)


def first_or_last(N: int, T: int) -> tuple[Array, Array]:
    """The class is the sign of the first step: a memory of T - 1 steps."""
    rng = np.random.default_rng(N)
    x = rng.normal(size=(N, T, 1)).astype("float32")
    y = rng.integers(0, 2, N)
    x[:, 0, 0] = 2.0 * y - 1.0
    return x, y


@pytest.fixture(scope="module")
def cured() -> Any:
    T = 25
    net = gm.Sequential(gm.RNN(1, 16, rng=0), gm.Linear(16, 2, rng=1))
    return gm.cure(net, first_or_last(256, T), first_or_last(128, T), steps=25, memory=T - 1)


def test_cures_in_time_are_built_measured_and_ranked(cured: Any) -> None:
    ids = {row.id for row in cured.rows}
    assert {"as-given", "adam", "lstm", "gru", "chrono", "orthogonal", "layer-norm", "irnn", "clip"} <= ids
    assert not {"batch-norm", "relu-he", "forget-bias"} & ids
    horizon = {row.id: row.furthest.horizon.thousandth for row in cured.rows}
    assert horizon["as-given"] < 24
    assert horizon["as-given"] == horizon["clip"]
    assert min(horizon["chrono"], horizon["irnn"]) > 24
    assert horizon["lstm"] > horizon["as-given"]
    assert "1/1000 in" in str(cured)
    assert cured.to_dict()["rows"][0]["horizon"] > 0
    failed = {finding.id for finding in cured.diagnosis.failed}
    assert {"vanishing-through-time", "short-memory"} <= failed
    assert cured.best.val > cured.as_given.val


@pytest.mark.parametrize("language", ["ours", "torch"])
def test_the_code_of_every_row_runs(cured: Any, language: str) -> None:
    if language == "torch":
        torch = pytest.importorskip("torch")
    train, val = first_or_last(64, 25), first_or_last(32, 25)
    for row in cured.rows:
        names: dict[str, Any] = {"train": train, "val": val}
        if language == "ours":
            exec(row.code.replace(f"steps={row.steps}", "steps=2"), names)
            assert repr(names["net"]) == repr(row.network)
        else:
            exec(row.pytorch, names)
            model = names["model"]
            assert model(torch.from_numpy(train[0])).shape == (64, 2)
            theirs = {name.replace("cell.", ""): p for name, p in model.state_dict().items()}
            ours = row.network.state_dict()
            assert {n: tuple(p.shape) for n, p in theirs.items()} == {n: p.shape for n, p in ours.items()}
            if row.id in ("lstm", "chrono"):
                i, f, _, _ = theirs["0.bias_ih_l0"].chunk(4)
                assert torch.all(f > 0 if row.id == "chrono" else f == 1)
                assert row.id != "chrono" or torch.equal(i, -f)
            if row.id == "irnn":
                assert torch.equal(theirs["0.weight_hh_l0"], torch.eye(16))
            if row.id == "orthogonal":
                w = theirs["0.weight_hh_l0"]
                assert torch.allclose(w @ w.T, torch.eye(16), atol=1e-5)


def test_cures_of_an_lstm() -> None:
    from gradiometer.diagnosis.cures import CURES, NotApplicable

    by_id = {cure.id: cure for cure in CURES}
    lstm = gm.Sequential(gm.LSTM(1, 4, rng=0), gm.Linear(4, 2, rng=1))
    forgetful = by_id["forget-bias"].build(lstm, 0, 20)
    assert np.all(forgetful.modules[0].bias_ih_l0[4:8] + forgetful.modules[0].bias_hh_l0[4:8] == 1.0)
    np.testing.assert_array_equal(forgetful.modules[1].weight, lstm.modules[1].weight)
    slow = by_id["chrono"].build(gm.Sequential(gm.GRU(1, 4, rng=0), gm.Linear(4, 2, rng=1)), 0, 20)
    assert isinstance(slow.modules[0], gm.GRU)
    with pytest.raises(NotApplicable, match="for RNN and GRU"):
        by_id["lstm"].build(lstm, 0, 20)
    with pytest.raises(NotApplicable, match="no recurrent layer"):
        by_id["irnn"].build(gm.mlp(3, [4], 2, rng=0), 0, 0)
    for net in (lstm, gm.Sequential(gm.GRU(1, 4, reset_after=False, rng=0), gm.Linear(4, 2, rng=1))):
        normed = by_id["layer-norm"].build(net, 0, 20)
        assert normed.modules[0].cell == "lstm_norm"
        np.testing.assert_array_equal(normed.modules[1].weight, net.modules[1].weight)
        with pytest.raises(NotApplicable, match="have layer norm"):
            by_id["layer-norm"].build(normed, 0, 20)
        assert by_id["chrono"].build(normed, 0, 20).modules[0].layer_norm
        forgetful = by_id["forget-bias"].build(normed, 0, 20).modules[0]
        assert forgetful.layer_norm
        assert np.all(forgetful.bias_ih_l0[4:8] == 1.0)
    with pytest.raises(NotApplicable, match="projected"):
        by_id["layer-norm"].build(gm.Sequential(gm.LSTM(1, 4, proj_size=2), gm.Linear(2, 2)), 0, 20)
    frozen = lstm.copy()
    frozen.modules[0].requires_grad_(False)
    with pytest.raises(NotApplicable, match="frozen"):
        by_id["orthogonal"].build(frozen, 0, 20)


def test_training_is_monitored_through_time(tmp_path: Path) -> None:
    """One recurrent layer has no factor a layer; its factor a step takes that place in words and pictures."""
    x, y = sequences(dtype="float32")
    net = gm.Sequential(gm.LSTM(3, 6, rng=0), gm.Linear(6, 3, rng=1))
    history = net.fit((x, y % 3), steps=4, batch_size=8, monitor=2, rng=0)
    assert [step for step, _ in history.decay] == [2, 4]
    assert history.decay[-1][1] == gm.measure(net, x, y % 3).time[0].decay
    [chart] = factor_charts(history)
    assert list(chart.series[0].y) == [decay.factor for _, decay in history.decay]
    assert "through time x0." in str(history)
    assert "no factor" not in str(history)
    pytest.importorskip("matplotlib")
    titles = [axes.get_title(loc="left") + axes.get_title() for axes in history.plot().figure.axes]
    assert any("a step back in time" in title for title in titles)

    deep = gm.Sequential(gm.RNN(3, 6, 3, output="all", rng=0), gm.LSTM(6, 6, rng=1), gm.Linear(6, 3, rng=2))
    assert len(factor_charts(deep.fit((x, y % 3), steps=1, batch_size=8, monitor=1, rng=0))) == 2
    flat = gm.mlp(3, [4, 4, 4], 3, rng=0)
    plain = flat.fit((x.x[:, 0], y % 3), steps=1, monitor=1, rng=0)
    assert plain.decay == []
    assert len(factor_charts(plain)) == 1


def test_the_map_says_where_sequences_end() -> None:
    net = gm.Sequential(gm.GRU(3, 4, rng=0), gm.Linear(4, 2, rng=1))
    rng = np.random.default_rng(0)
    uneven = gm.Sequences.of([rng.normal(size=(n, 3)).astype(np.float32) for n in (4, 9, 7)])
    assert time_map(gm.measure(net, uneven, [0, 1, 0]).time).x_label == (
        "step of the sequence (they end between 4 and 9)"
    )
    assert time_map(gm.measure(net, uneven.x, [0, 1, 0]).time).x_label == "step of the sequence (1 the first)"
