"""Recurrent layers within a network against NumPy in float64, one sample and one step at a time."""

from __future__ import annotations

import copy
import pickle

import gradiometer as gm
import numpy as np
import pytest
from gradiometer import _core
from gradiometer.diagnosis.cures.recurrent import CHRONO_Z, LSTM_ANEW
from gradiometer.diagnosis.pytorch import pytorch_listing
from reference import recurrent as reference

CELLS = {
    "lstm": (gm.LSTM, {}),
    "gru": (gm.GRU, {}),
    "rnn_tanh": (gm.RNN, {}),
    "rnn_relu": (gm.RNN, {"nonlinearity": "relu"}),
    "gru_reset_before": (gm.GRU, {"reset_after": False}),
    "lstm_norm": (gm.LSTM, {"layer_norm": True}),
}
FOUR = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
# Sums of some hundred terms of order 1, rounded at each.
TOLERANCE = {"float32": 2e-5, "float64": 1e-13}


def names_of(layer):
    return (*FOUR, *reference.NORMS) if layer.layer_norm else (*FOUR, "weight_hr") if layer.proj_size else FOUR


def weights_of(layer, suffix):
    return tuple(layer._arrays.get(name + suffix) for name in names_of(layer))


def run_stack(cell, layer, x, lengths, dy=None):
    """Output (N, T, features), or of the last steps; with dy also dx and gradients by name."""
    ways = ("", "_reverse")[: 1 + layer.bidirectional]
    N, T, H = len(x), x.shape[1], layer.proj_size or layer.hidden_size
    last = np.full(N, T) if lengths is None else np.asarray(lengths)
    inputs = [x.astype(float).swapaxes(0, 1)]
    for k in range(layer.num_layers):
        seen = [
            reference.run(cell, inputs[-1], weights_of(layer, f"_l{k}{way}"), lengths=lengths, reverse=way != "")["y"]
            for way in ways
        ]
        inputs.append(np.concatenate(seen, axis=2))
    y = inputs[-1].swapaxes(0, 1)
    ends = np.zeros((N, len(ways)), int)
    ends[:, 0] = last - 1
    if layer.output == "last":
        y = np.concatenate([y[np.arange(N), ends[:, w], w * H : (w + 1) * H] for w in range(len(ways))], axis=1)
    if dy is None:
        return y, None, None
    above = np.zeros((N, T, len(ways) * H))
    if layer.output == "last":
        for w in range(len(ways)):
            above[np.arange(N), ends[:, w], w * H : (w + 1) * H] = dy[:, w * H : (w + 1) * H]
    else:
        above[...] = dy
    above, gradients = above.swapaxes(0, 1), {}
    for k in reversed(range(layer.num_layers)):
        below = 0.0
        for w, way in enumerate(ways):
            part = above[:, :, w * H : (w + 1) * H]
            weights = weights_of(layer, f"_l{k}{way}")
            made = reference.run(cell, inputs[k], weights, lengths=lengths, reverse=way != "", dy=part)
            below = below + made["dx"]
            gradients |= {
                f"{name}_l{k}{way}": made["d" + name]
                for name, v in zip(names_of(layer), weights, strict=True)
                if v is not None
            }
        above = below
    return y, above.swapaxes(0, 1), gradients


def close(found, expected, dtype, cell=""):
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    # Of a norm over few units one rounding of x and the parameters moves the gradients of two layers by 2.5e-5 in
    # float32 (ours are 1.1e-5 off).
    scale *= 5 if cell == "lstm_norm" else 1
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE[dtype] * scale)


SHAPES = [
    {"N": 4, "T": 6, "I": 3, "H": 5, "lengths": [2, 6, 1, 4]},
    {"N": 4, "T": 6, "I": 3, "H": 5, "lengths": [6, 5, 3, 3]},
    {"N": 3, "T": 5, "I": 17, "H": 18, "lengths": None},
    {"N": 1, "T": 7, "I": 1, "H": 1, "lengths": None},
    {"N": 5, "T": 1, "I": 4, "H": 33, "lengths": None},
    {"N": 37, "T": 4, "I": 2, "H": 9, "lengths": [1 + i % 4 for i in range(37)]},
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"{s['N']}x{s['T']}x{s['I']}x{s['H']}")
@pytest.mark.parametrize(
    ("stack", "output"),
    [({}, "all"), ({"num_layers": 2, "bidirectional": True}, "last"), ({"bidirectional": True, "bias": False}, "last")],
)
def test_layer_is_the_reference(isa, cell, shape, dtype, stack, output):
    kind, options = CELLS[cell]
    is_the_reference(cell, kind, options, shape, dtype, stack, output)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("proj_size", [4, 17])
@pytest.mark.parametrize(("bias", "output"), [(True, "all"), (False, "last")])
def test_projection(isa, proj_size, bias, output, dtype):
    for shape in SHAPES:
        stack, options = {"num_layers": 2, "bidirectional": True, "bias": bias}, {"proj_size": proj_size}
        if proj_size < shape["H"]:
            is_the_reference("lstm", gm.LSTM, options, shape, dtype, stack, output)


def test_projection_trains_is_saved_and_is_refused(tmp_path, thread_counts):
    x = np.random.default_rng(0).standard_normal((64, 9, 3)).astype("float32")
    y = (x.sum((1, 2)) > 0).astype(int)

    def trained():
        layers = gm.LSTM(3, 40, 2, proj_size=19, recurrent_init="orthogonal", rng=0), gm.Linear(19, 2, rng=1)
        net = gm.Sequential(*layers)
        net.fit((x, y), epochs=2, batch_size=16, rng=0)
        return net

    nets = [trained() for _ in thread_counts]
    want = nets[0].state_dict()
    assert {name: v.shape for name, v in want.items() if "_l1" in name} == {
        "0.weight_ih_l1": (160, 19),
        "0.weight_hh_l1": (160, 19),
        "0.bias_ih_l1": (160,),
        "0.bias_hh_l1": (160,),
        "0.weight_hr_l1": (19, 40),
    }
    for net in nets[1:]:
        for name, value in net.state_dict().items():
            np.testing.assert_array_equal(value, want[name], err_msg=name)
    nets[0].save(tmp_path / "net.npz")
    np.testing.assert_array_equal(gm.load(tmp_path / "net.npz").predict(x), nets[0].predict(x))
    seen = gm.measure(nets[0], x, y).time
    assert [each.hidden for each in seen] == [40, 40]
    with pytest.raises(ValueError, match="proj_size is 5; expected less than hidden_size, 5"):
        gm.LSTM(3, 5, proj_size=5)
    with pytest.raises((TypeError, ValueError), match="proj_size is -1"):
        gm.LSTM(3, 5, proj_size=-1)


def is_the_reference(cell, kind, options, shape, dtype, stack, output):
    rng = np.random.default_rng(3)
    layer = kind(shape["I"], shape["H"], output=output, rng=1, dtype=dtype, **options, **stack)
    x = rng.standard_normal((shape["N"], shape["T"], shape["I"])).astype(dtype)
    given = x if shape["lengths"] is None else gm.Sequences(x, shape["lengths"])
    y = layer(given)
    assert y.dtype == dtype
    dy = rng.standard_normal(y.shape).astype(dtype)
    expected = run_stack(cell, layer, getattr(given, "x", given), shape["lengths"], dy)
    close(y, expected[0], dtype)
    dx, gradients = layer.backward(given, dy)
    close(dx, expected[1], dtype, cell)
    assert gradients.keys() == expected[2].keys() == layer.state_dict().keys()
    for name in gradients:
        close(gradients[name], expected[2][name], dtype, cell)


def net_of(kind=gm.LSTM, output="last", dtype="float64", classes=3, **options):
    return gm.Sequential(
        gm.Linear(4, 6, rng=0, dtype=dtype),
        gm.Activation("tanh", dtype=dtype),
        kind(6, 7, 2, bidirectional=True, output="all", rng=1, dtype=dtype, **options),
        gm.LayerNorm(14, dtype=dtype),
        kind(14, 5, output=output, rng=2, dtype=dtype),
        gm.Linear(5, classes, rng=3, dtype=dtype),
    )


def data(N=23, T=9, seed=0, dtype="float64"):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((N, T, 4)).astype(dtype)
    return gm.Sequences(x, rng.integers(1, T + 1, N)), rng


@pytest.mark.parametrize("output", ["last", "all"])
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_gradient_of_a_network_is_the_slope_of_its_loss(output, loss):
    """Along a random direction, by a central difference: the loss counts the steps within the lengths and no others."""
    x, rng = data(6, 5)
    net = net_of(output=output)
    shape = x.shape[: 1 + (output == "all")]
    y = rng.integers(0, 3, shape) if loss == "cross_entropy" else rng.standard_normal((*shape, 3))
    network = net._compile().network

    def value():
        out = net.predict(x)
        if output == "all":
            return gm.losses.Loss(loss)(out[x.mask], y[x.mask])[0]
        return gm.losses.Loss(loss)(out, y)[0]

    said = network.gradient(x.x, loss, y, lengths=x.lengths)[0]
    assert said == pytest.approx(value(), rel=1e-13)
    gradient = network.gradients.copy()
    direction = rng.standard_normal(gradient.size) * (network.parameters != 0)
    begin = network.parameters.copy()
    values = []
    for step in (1e-5, -1e-5):
        network.parameters[...] = begin + step * direction
        values.append(value())
    assert gradient @ direction == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)


def test_padding_changes_nothing():
    """More padding, other numbers in it, targets in it that are no classes: the same bits."""
    x, rng = data(8, 6)
    y = rng.integers(0, 3, (8, 6))
    net = net_of(output="all")
    network = net._compile().network
    first = network.gradient(x.x, "cross_entropy", y, lengths=x.lengths, want_dx=True)
    gradients = network.gradients.copy()
    wide = np.full((8, 11, 4), 7.5)
    wide[:, :6][x.mask] = x.x[x.mask]
    target = np.full((8, 11), -5)
    target[:, :6][x.mask] = y[x.mask]
    value, dx = network.gradient(wide, "cross_entropy", target, lengths=x.lengths, want_dx=True)
    assert value == first[0]
    assert (dx[:, :6] == first[1]).all()
    assert not dx[:, 6:].any()
    assert not dx[:, :6][~x.mask].any()
    np.testing.assert_allclose(network.gradients, gradients, rtol=0, atol=1e-15)
    assert not net.predict(x)[~x.mask].any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", [gm.LSTM, gm.GRU, gm.RNN])
def test_threads_and_batches_give_the_same_bits(kind, dtype):
    x, rng = data(70, 30, dtype=dtype)
    y = rng.integers(0, 3, (70, 30))
    net = net_of(kind, "all", dtype)
    network = net._compile().network
    seen = []
    before = gm.kernels.threads()
    try:
        for threads in (1, 2):
            gm.kernels.set_threads(threads)
            value, dx = network.gradient(x.x, "cross_entropy", y, lengths=x.lengths, want_dx=True)
            seen.append((value, dx, network.gradients.copy(), net.predict(x)))
    finally:
        gm.kernels.set_threads(before)
    for one, two in zip(*seen, strict=True):
        assert np.array_equal(one, two)
    alone = np.concatenate([net.predict(x[n : n + 1]) for n in range(70)])
    assert np.array_equal(alone, seen[0][3])


@pytest.mark.parametrize("segments", [2, 3, 8])
def test_segments_give_the_same_bits_in_less_memory(segments):
    x, rng = data(16, 12)
    y = rng.integers(0, 3, 16)
    net = net_of(dropout=0.3)
    network = net._compile().network
    seen = []
    for n in (1, segments):
        value, dx = network.gradient(x.x, "cross_entropy", y, lengths=x.lengths, want_dx=True, segments=n, seed=5)
        seen.append((value, dx, network.gradients.copy()))
    for one, two in zip(*seen, strict=True):
        assert np.array_equal(one, two)
    assert net.memory(16, steps=12, recompute=segments) < net.memory(16, steps=12)


def test_frozen_parameters_leave_the_others_as_they_were():
    x, rng = data(12, 7)
    y = rng.integers(0, 3, 12)
    net = net_of()
    network = net._compile().network
    network.gradient(x.x, "cross_entropy", y, lengths=x.lengths)
    before = {name: g.copy() for name, g in net.gradients.items()}
    net.requires_grad_(False, "0.weight", "0.bias", "2.weight_hh_l0", "2.weight_ih_l1_reverse", "4.bias_ih_l0")
    network.gradients[...] = np.nan
    network.gradient(x.x, "cross_entropy", y, lengths=x.lengths)
    assert len(net.gradients) == len(before) - 5
    for name, gradient in net.gradients.items():
        assert np.array_equal(gradient, before[name])
    net.requires_grad_(False).requires_grad_(True, "2.weight_ih_l0")
    network.gradient(x.x, "cross_entropy", y, lengths=x.lengths)
    assert np.array_equal(net.gradients["2.weight_ih_l0"], before["2.weight_ih_l0"])


def test_micro_batches_give_the_whole_batch():
    x, rng = data(32, 7)
    y = rng.integers(0, 3, (32, 7))
    losses = []
    for budget in (None, 1):
        net = net_of(output="all", dropout=0.4)
        if budget:
            budget = net.memory(5, steps=7, optimizer="adam")
        history = net.fit((x, y), steps=4, batch_size=32, rng=0, memory_budget=budget)
        losses.append((history.loss, net.parameters.copy()))
    np.testing.assert_allclose(losses[1][0], losses[0][0], rtol=1e-12)
    np.testing.assert_allclose(losses[1][1], losses[0][1], atol=1e-9)


def test_fit_learns_which_sign_came_first_in_sequences_of_many_lengths():
    rng = np.random.default_rng(0)
    x = 0.3 * rng.standard_normal((240, 12, 2)).astype(np.float32)
    y = rng.integers(0, 2, 240)
    x[:, 0, 0] = 2 * y - 1
    pairs = gm.Sequences(x, rng.integers(3, 13, 240))
    net = gm.Sequential(gm.LSTM(2, 12, forget_bias=1.0, rng=0), gm.Linear(12, 2, rng=1))
    net.fit((pairs[:200], y[:200]), optimizer=gm.optim.Adam(2e-2), epochs=12, rng=0)
    assert net.evaluate((pairs[200:], y[200:])).metric > 0.9
    assert net.predict_proba(pairs[:3]).sum(axis=1) == pytest.approx(1, abs=1e-6)


def test_a_checkpoint_goes_on_bit_for_bit(tmp_path):
    x, rng = data(40, 9)
    y = rng.integers(0, 3, 40)
    whole, parts = net_of(dropout=0.2), net_of(dropout=0.2)
    options = {"batch_size": 8, "rng": 0}
    whole.fit((x, y), epochs=4, **options)
    with pytest.raises(RuntimeError, match="enough"):
        parts.fit((x, y), epochs=4, checkpoint=tmp_path / "run", checkpoint_every=3, progress=_stop_at(8), **options)
    parts.fit((x, y), epochs=4, checkpoint=tmp_path / "run", resume=True, **options)
    assert np.array_equal(whole.parameters, parts.parameters)


def _stop_at(last):
    def progress(step, steps, loss):
        if step == last:
            raise RuntimeError("enough")

    return progress


@pytest.mark.parametrize("kind", [gm.LSTM, gm.GRU, gm.RNN])
def test_copies_pickles_and_files_keep_all(kind, tmp_path):
    x, _ = data()
    options = {"nonlinearity": "relu"} if kind is gm.RNN else {}
    net = gm.Sequential(kind(4, 5, 2, bidirectional=True, dropout=0.1, rng=0, **options), gm.Linear(10, 2, rng=1))
    net.requires_grad_(False, "0.weight_hh_l1_reverse")
    net.save(tmp_path / "net")
    for again in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), gm.load(tmp_path / "net")):
        assert repr(again) == repr(net)
        assert again.requires_grad == net.requires_grad
        assert np.array_equal(again.predict(x), net.predict(x))
    other = gm.Sequential(kind(4, 5, 2, bidirectional=True, dropout=0.1, rng=7, **options), gm.Linear(10, 2, rng=8))
    other.load_state_dict(net.state_dict())
    assert np.array_equal(other.predict(x), net.predict(x))


def test_residual_around_a_recurrent_layer():
    """x is read twice, so its gradient is added to."""
    x, rng = data(5, 6)
    layer = gm.GRU(4, 4, output="all", rng=0, dtype="float64")
    net = gm.Sequential(gm.Residual(layer, scale=0.5, dtype="float64"), dtype="float64")
    y, dy = net(x), rng.standard_normal((5, 6, 4))
    alone, dx, gradients = run_stack("gru", layer, x.x, x.lengths, 0.5 * dy)
    close(y, np.where(x.mask[:, :, None], x.x + 0.5 * alone, 0), "float64")
    found, by_name = net.backward(x, dy)
    close(found, np.where(x.mask[:, :, None], dy + dx, 0), "float64")
    close(by_name["0.0.weight_hh_l0"], gradients["weight_hh_l0"], "float64")


def test_the_place_of_the_reset_gate_is_kept(tmp_path):
    """By copies, files, another network from the same arguments, cures; it is said of the network, and in PyTorch."""
    net = net_of(gm.GRU, "all", reset_after=False)
    x, _rng = data(4, 5)
    y = net(x)
    net.save(tmp_path / "net")
    for again in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), gm.load(tmp_path / "net")):
        assert np.array_equal(again(x), y)
    assert "reset_after=False" in repr(net[2])
    after = net_of(gm.GRU, "all")
    after.load_state_dict(net.state_dict())
    assert np.abs(after(x) - y).max() > 1e-3
    for remake, kind in ((LSTM_ANEW, gm.LSTM), (CHRONO_Z, gm.GRU)):
        made = remake.applied(net, 0, 5)
        assert isinstance(made[2], kind)
        assert made[2]._config().get("reset_after") is (False if kind is gm.GRU else None)
    seen = gm.measure(net, x, np.zeros((4, 5), int)).time
    assert [each.cell for each in seen] == ["gru_reset_before"] * 4 + ["gru"]
    said = pytorch_listing(net, None, [])
    assert "reset_after" not in said
    assert "has it before" in said
    assert "has it before" not in pytorch_listing(after, None, [])


def test_batch_first_false_turns_the_layer_alone():
    x, rng = data(3, 5)
    one = gm.LSTM(4, 6, output="all", rng=0, dtype="float64")
    other = gm.LSTM(4, 6, output="all", batch_first=False, rng=0, dtype="float64")
    dy = rng.standard_normal((3, 5, 6))
    assert np.array_equal(other(x.x.swapaxes(0, 1)), one(x.x).swapaxes(0, 1))
    dx, _ = other.backward(x.x.swapaxes(0, 1), dy.swapaxes(0, 1))
    assert np.array_equal(dx.swapaxes(0, 1), one.backward(x.x, dy)[0])


def test_many_short_sequences_and_a_long_one_take_the_memory_of_one_of_them():
    net = gm.Sequential(gm.RNN(1, 4, rng=0), gm.Linear(4, 2, rng=1))
    for N, T in ((1 << 15, 1), (1, 1 << 15), (1 << 15, 1)):  # together they would be 2^30 steps
        value, _ = net._compile().network.gradient(np.ones((N, T, 1)), "cross_entropy", np.zeros(N, int))
        assert np.isfinite(value)


def test_no_samples():
    net = net_of()
    assert net.predict(np.zeros((0, 5, 4))).shape == (0, 3)
    assert net_of(output="all").predict(np.zeros((0, 5, 4))).shape == (0, 5, 3)
    value, _ = net._compile().network.gradient(np.zeros((0, 5, 4)), "cross_entropy", np.zeros(0, int))
    assert np.isnan(value)
    assert not net._compile().network.gradients.any()


def test_batch_norm_of_steps():
    """Over all steps of all samples; with lengths it would count the padding and is refused."""
    x, _rng = data(6, 5)
    net = gm.Sequential(gm.RNN(4, 3, output="all", rng=0, dtype="float64"), gm.BatchNorm1d(3, dtype="float64"))
    y = net(x.x, training=True)
    np.testing.assert_allclose(y.mean(axis=(0, 1)), 0, atol=1e-12)
    variance = net[0](x.x).var(axis=(0, 1))
    np.testing.assert_allclose(y.var(axis=(0, 1)), variance / (variance + 1e-5), rtol=1e-12)
    assert net(x).shape == (6, 5, 3)
    with pytest.raises(ValueError, match="batch_norm of a sequence"):
        net(x, training=True)
    with pytest.raises(ValueError, match="more than 1 value"):
        net(x.x[:1, :1], training=True)


def test_taps_see_the_steps_within_the_lengths():
    x, rng = data(7, 6)
    y = rng.integers(0, 3, (7, 6))
    net = net_of(output="all")
    compiled = net._compile()
    taps = _core.TAP_MOMENTS | _core.TAP_ROWS | _core.TAP_COLUMNS
    compiled.network.gradient(x.x, "cross_entropy", y, lengths=x.lengths, taps=taps)
    first = compiled.network.tap(0)
    inside = x.x[x.mask]
    assert first["value"]["count"] == inside.size
    assert first["value"]["sum_squares"] == pytest.approx((inside**2).sum(), rel=1e-12)
    running = [x.x[x.mask[:, t], t] for t in range(6)]
    apart = sum(((rows - rows.mean(axis=0)) ** 2).sum() for rows in running if len(rows))
    spread = np.sqrt(apart / (inside**2).sum())
    assert first["spread"] == pytest.approx(spread, rel=1e-12)
    np.testing.assert_allclose(first["value_row_norms"].reshape(7, 6) ** 2, (x.x**2).sum(axis=2), atol=1e-12)
    whole = net.predict(x)
    last = compiled.network.tap(len(compiled.nodes))
    assert last["value"]["sum_squares"] == pytest.approx((whole[x.mask] ** 2).sum(), rel=1e-12)
    expected = gm.losses.CrossEntropy()(whole[x.mask], y[x.mask])[1]
    assert last["gradient"]["sum_squares"] == pytest.approx((expected**2).sum(), rel=1e-12)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: gm.LSTM(0, 3), "input_size"),
        (lambda: gm.LSTM(3, 3, output="first"), "output"),
        (lambda: gm.LSTM(3, 3, init="chrono"), "T_max is None"),
        (lambda: gm.LSTM(3, 3, T_max=9), "T_max is 9"),
        (lambda: gm.GRU(3, 3, init="chrono", T_max=2), "3 or more"),
        (lambda: gm.LSTM(3, 3, init="chrono", T_max=9, forget_bias=1.0), "forget_bias"),
        (lambda: gm.LSTM(3, 3, bias=False, forget_bias=1.0), "bias is False"),
        (lambda: gm.RNN(3, 3, nonlinearity="sigmoid"), "nonlinearity"),
        (lambda: gm.RNN(3, 3, recurrent_init="unknown"), "recurrent_init"),
        (lambda: gm.Sequential(gm.LSTM(3, 3), gm.LSTM(3, 3)), "output='all'"),
        (lambda: gm.Sequential(gm.LSTM(3, 3), gm.Linear(4, 3)), "3 features"),
        (lambda: gm.Sequential(gm.Residual(gm.LSTM(3, 3))), "same kind"),
        (lambda: gm.Sequential(gm.LSTM(3, 3)).predict(np.zeros((2, 3))), "N, T, 3"),
        (lambda: gm.Sequential(gm.LSTM(3, 3)).predict(np.zeros((2, 0, 3))), "N, T, 3"),
        (lambda: gm.Sequential(gm.LSTM(3, 3)).inference(), r"net\.predict\(x\).*net\.stream\(\)"),
        (lambda: gm.Sequential(gm.LSTM(3, 3)).memory(4), "steps"),
        (lambda: gm.mlp(3, [3], 3).memory(4, steps=3), "steps"),
        (lambda: gm.mlp(3, [3], 3).predict(np.zeros((2, 4, 3))), "N, 3"),
        (lambda: gm.mlp(3, [3], 3).predict(gm.Sequences(np.zeros((2, 4, 3)), [1, 4])), "N, 3"),
        (lambda: net_of(output="all").evaluate((np.zeros((2, 4, 4)), np.zeros(2, int))), "every step"),
        (lambda: net_of()._compile().network.forward(np.zeros((2, 4, 4)), lengths=[1, 5]), r"lengths\[1\] is 5"),
        (lambda: net_of()._compile().network.forward(np.zeros((2, 4, 4)), lengths=[0, 4]), r"lengths\[0\] is 0"),
        (lambda: net_of()._compile().network.forward(np.zeros((2, 4, 4)), lengths=[4]), "lengths has shape"),
    ],
)
def test_what_cannot_be_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_initial_weights():
    layer = gm.LSTM(3, 50, 2, bidirectional=True, rng=0)
    for array in layer.state_dict().values():
        assert np.abs(array).max() <= 50**-0.5
        assert np.abs(array).std() > 0.2 * 50**-0.5
    layer = gm.LSTM(3, 50, 2, forget_bias=1.0, recurrent_init="orthogonal", rng=0, dtype="float64")
    for k in (0, 1):
        both = layer._arrays[f"bias_ih_l{k}"] + layer._arrays[f"bias_hh_l{k}"]
        assert (both[50:100] == 1).all()
        assert both[:50].std() > 0.05
        for gate in np.split(layer._arrays[f"weight_hh_l{k}"], 4):
            np.testing.assert_allclose(gate @ gate.T, np.eye(50), atol=1e-13)
    layer = gm.LSTM(3, 400, init="chrono", T_max=100, rng=0, dtype="float64")
    i, f, g, o = np.split(layer.bias_ih_l0 + layer.bias_hh_l0, 4)
    assert np.array_equal(i, -f)
    assert not g.any()
    assert not o.any()
    assert f.min() >= 0
    assert f.max() <= np.log(99)
    assert np.exp(f).mean() == pytest.approx(50, rel=0.1)
    r, z, n = np.split(gm.GRU(3, 40, init="chrono", T_max=100, rng=0).bias_ih_l0, 3)
    assert z.min() >= 0
    assert z.max() > 2
    assert not r.any()
    assert not n.any()
    layer = gm.RNN(30, 40, nonlinearity="relu", init="irnn", rng=0)
    assert np.array_equal(layer.weight_hh_l0, np.eye(40))
    assert not layer.bias_ih_l0.any()
    assert not layer.bias_hh_l0.any()
    assert layer.weight_ih_l0.std() == pytest.approx(1e-3, rel=0.1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("lengths", [None, [5, 9, 1, 7, 9]])
def test_taps_of_steps(cell, dtype, lengths):
    """Sums by step of both directions, against the reference, the same for any team."""
    kind, options = CELLS[cell]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 9, 4)).astype(dtype)
    layer = kind(4, 64, output="last", bidirectional=True, rng=1, dtype=dtype, **options)
    for name, array in layer._arrays.items():
        array *= 2 if name.startswith("norm") else 6  # some gates beyond 0.1 and 0.9
    net = gm.Sequential(layer, gm.Linear(128, 3, rng=2, dtype=dtype))
    y = rng.integers(0, 3, 5)
    network = net._compile().network
    seen = []
    before = gm.kernels.threads()
    try:
        for threads in (1, 2):
            gm.kernels.set_threads(threads)
            network.gradient(x, "cross_entropy", y, lengths=lengths, taps=_core.TAP_STEPS)
            seen.append([network.tap(node)["steps"] for node in range(1, 5)])
            dy = network.tap(5)
    finally:
        gm.kernels.set_threads(before)
    assert dy["steps"] is None
    assert dy["value"]["count"] == dy["gradient"]["count"] == 0
    net.requires_grad_(False)
    network.gradients[...] = 7
    network.gradient(x, "cross_entropy", y, lengths=lengths, taps=_core.TAP_STEPS)
    assert np.all(network.gradients == 7)  # nothing is made that steps do not need
    for node in (1, 2):
        again = network.tap(node)["steps"]
        assert all(np.array_equal(again[name], seen[1][node - 1][name]) for name in again)
    net.requires_grad_(True)
    assert seen[0][2] is None
    for one, two in zip(*(part[:2] for part in seen), strict=True):
        assert all(np.array_equal(one[name], two[name]) for name in one)
    out = net.predict(x if lengths is None else gm.Sequences(x, lengths))
    above = gm.losses.CrossEntropy()(out, y)[1].astype(float) @ net[1].weight.astype(float)
    T = np.full(5, 9) if lengths is None else np.asarray(lengths)
    for way, suffix in enumerate(("_l0", "_l0_reverse")):
        dh_n = above[:, way * 64 : (way + 1) * 64]
        expected = reference.run(
            cell, x.swapaxes(0, 1), weights_of(layer, suffix), lengths=lengths, reverse=way == 1, dh_n=dh_n
        )
        sums = seen[0][way]
        runs = np.arange(9)[:, None] < T
        assert np.array_equal(sums["rows"], runs.sum(axis=1))

        def by_step(values, runs=runs):
            return np.where(runs[:, :, None], values, 0)

        for name, values in (("h", "y"), ("dh", "dh"), ("c", "c"), ("dc", "dc")):
            if name in ("c", "dc") and cell not in reference.MEMORY:
                assert not sums[name].any()
                continue
            squares = (by_step(expected[values]) ** 2).sum(axis=(1, 2))
            np.testing.assert_allclose(sums[name], squares, rtol=2e-4 if dtype == "float32" else 1e-10)
        gates = np.stack(np.split(by_step(expected["gates"]), reference.GATES[cell], axis=2), axis=1)
        np.testing.assert_allclose(
            sums["gate"], gates.sum(axis=(2, 3)), rtol=1e-4, atol=1e-3 if dtype == "float32" else 1e-10
        )
