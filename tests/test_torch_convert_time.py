"""Recurrent layers from PyTorch and back: the same outputs and gradients, the same names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradiometer as gm
import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.nn.utils import rnn as packing  # noqa: E402

N, T, FEATURES, HIDDEN, CLASSES = 4, 7, 3, 5, 2

MODULES: dict[str, Callable[..., Any]] = {
    "LSTM": nn.LSTM,
    "GRU": nn.GRU,
    "LSTM projected": lambda *args, **options: nn.LSTM(*args, proj_size=2, **options),
    "RNN": nn.RNN,
    "RNN relu": lambda *args, **options: nn.RNN(*args, nonlinearity="relu", **options),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "one layer": {},
    "two layers": {"num_layers": 2},
    "both directions": {"bidirectional": True, "num_layers": 2},
    "no biases": {"bias": False},
    "time first": {"batch_first": False},
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def sequences() -> Any:
    return torch.randn(N, T, FEATURES, dtype=torch.float64)


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES.keys())
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_a_module_and_back(make: Any, settings: dict[str, Any]) -> None:
    model = make(FEATURES, HIDDEN, **{"batch_first": True, **settings}).double()
    x = sequences() if model.batch_first else sequences().transpose(0, 1)
    (layer,) = gm.torch.convert(model).modules
    np.testing.assert_allclose(layer(x.numpy()), model(x)[0].detach().numpy(), rtol=1e-12, atol=1e-14)
    assert list(layer.state_dict()) == list(model.state_dict())
    back = gm.torch.to_torch(layer)
    assert isinstance(back, type(model))
    for name, value in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], value), name
    assert torch.equal(back(x), model(x)[0])


@pytest.mark.parametrize("kind", [gm.LSTM, gm.GRU, gm.RNN])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_network_and_back(kind: Any, bidirectional: bool) -> None:
    width = HIDDEN * (1 + bidirectional)
    net = gm.Sequential(
        kind(FEATURES, HIDDEN, 2, bidirectional=bidirectional, output="all", rng=0, dtype="float64"),
        gm.Linear(width, 4, rng=1, dtype="float64"),
        gm.Activation("tanh", dtype="float64"),
        kind(4, HIDDEN, bidirectional=bidirectional, rng=2, dtype="float64"),
        gm.Linear(width, CLASSES, rng=3, dtype="float64"),
        dtype="float64",
    )
    model = gm.torch.to_torch(net)
    assert list(model.state_dict()) == list(net.state_dict())
    x = sequences()
    np.testing.assert_allclose(net(x.numpy()), model(x).detach().numpy(), rtol=1e-12, atol=1e-14)
    back = gm.torch.convert(model)
    assert str(back) == str(net)
    np.testing.assert_array_equal(back(x.numpy()), net(x.numpy()))
    gradient = torch.ones(N, CLASSES, dtype=x.dtype)
    x.requires_grad_()
    model(x).backward(gradient)
    dx, gradients = net.backward(x.detach().numpy(), gradient.numpy(), training=False)
    np.testing.assert_allclose(dx, x.grad.numpy(), rtol=1e-10, atol=1e-14)
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(gradients[name], parameter.grad.numpy(), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("output", ["last", "all"])
def test_lengths(output: str) -> None:
    net = gm.Sequential(gm.GRU(FEATURES, HIDDEN, bidirectional=True, output=output, dtype="float64"), dtype="float64")
    model, x, lengths = gm.torch.to_torch(net), sequences(), [7, 2, 5, 1]
    packed = packing.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    expected = model(packed).detach().numpy()
    np.testing.assert_allclose(net(gm.Sequences(x.numpy(), lengths)), expected, rtol=1e-12, atol=1e-14)


def test_the_model_of_a_network_is_seen_inside() -> None:
    net = gm.Sequential(
        gm.LSTM(FEATURES, HIDDEN, 2, output="all", rng=0, dtype="float64"),
        gm.GRU(HIDDEN, HIDDEN, rng=0, dtype="float64"),
        gm.Linear(HIDDEN, CLASSES, rng=0, dtype="float64"),
        dtype="float64",
    )
    x, y = sequences(), torch.arange(N) % CLASSES
    model = gm.torch.to_torch(net)
    m = gm.torch.measure(model, x, y)
    assert [seen.name for seen in m.time] == ["0 l0 LSTM 5", "0 l1 LSTM 5", "1 GRU 5"]
    states: list[Any] = []

    def keep(module: Any, args: Any, out: Any) -> None:
        out[1].retain_grad()
        states.append(out[1])

    model[1].register_forward_hook(keep)
    F.cross_entropy(model(x), y).backward()
    assert m.time[-1].grad_h[-1] == pytest.approx(states[0].grad.norm().item() / N**0.5, rel=1e-12)


def test_frozen_dropout_and_float32() -> None:
    model = nn.Sequential(gm.torch.LSTM(FEATURES, HIDDEN, 2, dropout=0.3, batch_first=True), nn.Linear(HIDDEN, CLASSES))
    model[0].weight_hh_l1.requires_grad_(False)
    net = gm.torch.convert(model)
    assert (net.dtype, net[0].dropout, net[0].requires_grad["weight_hh_l1"]) == ("float32", 0.3, False)
    assert not gm.torch.to_torch(net)[0].weight_hh_l1.requires_grad
    x = sequences().float()
    np.testing.assert_allclose(net(x.numpy()), model.eval()(x).detach().numpy(), rtol=1e-5, atol=1e-6)
    net.load_state_dict({name: value.numpy() * 2 for name, value in model.state_dict().items()})
    assert net[0].weight_ih_l0[0, 0] == model[0].weight_ih_l0[0, 0] * 2


def test_torch_has_no_reset_gate_before_the_product() -> None:
    with pytest.raises(ValueError, match="layer_norm=True"):
        gm.torch.to_torch(gm.Sequential(gm.LSTM(FEATURES, HIDDEN, layer_norm=True)))
    with pytest.raises(ValueError, match="reset_after=False"):
        gm.torch.to_torch(gm.Sequential(gm.GRU(FEATURES, HIDDEN, reset_after=False)))
    kept = gm.torch.convert(nn.GRU(FEATURES, HIDDEN, batch_first=True))[0]
    assert isinstance(kept, gm.GRU)
    assert kept.reset_after


# ---- modules with a forward of their own


class Own(nn.Module):
    """A recurrent module and a head, wired by a function."""

    def __init__(self, wiring: Callable[..., Any], kind: Any = nn.LSTM, **options: Any) -> None:
        super().__init__()
        self.rnn = kind(FEATURES, HIDDEN, **{"batch_first": True, **options})
        self.fc = nn.Linear(HIDDEN * (1 + self.rnn.bidirectional), CLASSES)
        self.wiring = wiring
        self.double()

    def forward(self, x: Any) -> Any:
        return self.wiring(self, x)


def zeros_given(m: Any, x: Any) -> Any:
    h = torch.zeros(m.rnn.num_layers, x.size(0), HIDDEN, dtype=torch.float64).to(x.device)
    c = torch.zeros(m.rnn.num_layers, x.shape[0], HIDDEN, dtype=torch.float64)
    out, (h, c) = m.rnn(x, (h, c))
    return m.fc(out[:, -1, :])


def unpacked(m: Any, x: Any) -> Any:
    _, (h_n, _) = m.rnn(x)
    return m.fc(torch.relu(h_n[-1]))


def both_directions(m: Any, x: Any) -> Any:
    _, (h, _) = m.rnn(x)
    return m.fc(torch.cat((h[-2], h[-1]), dim=1))


READ: dict[str, tuple[Callable[..., Any], Any, dict[str, Any]]] = {
    "y[:, -1]": (lambda m, x: m.fc(m.rnn(x)[0][:, -1]), nn.LSTM, {"num_layers": 2}),
    "zeros": (zeros_given, nn.LSTM, {"num_layers": 2}),
    "h_n[-1]": (unpacked, nn.LSTM, {"num_layers": 2}),
    "h_n of a GRU": (lambda m, x: m.fc(m.rnn(x)[1][-1]), nn.GRU, {}),
    "h_n[0]": (lambda m, x: m.fc(m.rnn(x)[1][0]).relu(), nn.RNN, {}),
    "squeeze": (lambda m, x: m.fc(m.rnn(x)[1].squeeze(0)), nn.GRU, {}),
    "both directions": (both_directions, nn.LSTM, {"bidirectional": True, "num_layers": 2}),
    "every step": (lambda m, x: m.fc(torch.tanh(m.rnn(x)[0])), nn.GRU, {"bidirectional": True}),
}


@pytest.mark.parametrize(("wiring", "kind", "options"), READ.values(), ids=READ.keys())
def test_a_module_of_your_own(wiring: Any, kind: Any, options: dict[str, Any]) -> None:
    model = Own(wiring, kind, **options)
    x = sequences()
    net = gm.torch.convert(model)
    np.testing.assert_allclose(net(x.numpy()), model(x).detach().numpy(), rtol=1e-12, atol=1e-14)
    inside = gm.torch.convert(nn.Sequential(model, nn.Tanh()))
    np.testing.assert_allclose(inside(x.numpy()), model(x).tanh().detach().numpy(), rtol=1e-12, atol=1e-14)


def in_place(m: Any, x: Any) -> Any:
    y = m.rnn(x)[0]
    y.mul_(2)
    return m.fc(y[:, -1])


def swapped(m: Any, x: Any) -> Any:
    h = m.rnn(x)[1]
    return m.fc(torch.cat((h[-1], h[-2]), 1))


UNREAD: dict[str, tuple[Callable[..., Any], Any, dict[str, Any], str]] = {
    "mean": (lambda m, x: m.fc(m.rnn(x)[0].mean(1)), nn.GRU, {}, "mean is no layer"),
    "first step": (lambda m, x: m.fc(m.rnn(x)[0][:, 0]), nn.GRU, {}, "is no layer"),
    "first layer": (lambda m, x: m.fc(m.rnn(x)[1][0]), nn.GRU, {"num_layers": 2}, r"is h_n\[0\]"),
    "memory": (lambda m, x: m.fc(m.rnn(x)[1][1][-1]), nn.LSTM, {}, "does not take what"),
    "last of both": (lambda m, x: m.fc(m.rnn(x)[0][:, -1]), nn.GRU, {"bidirectional": True}, "reverse direction"),
    "swapped": (swapped, nn.GRU, {"bidirectional": True}, "does not take what"),
    "time first": (lambda m, x: m.fc(m.rnn(x)[0][-1]), nn.GRU, {"batch_first": False}, "batch_first=False"),
    "states": (lambda m, x: m.fc(m.rnn(x, m.start)[0]), nn.GRU, {}, "is given states"),
    "two ways": (lambda m, x: m.fc(m.rnn(x)[0][:, -1]) + x[:, 0, :2], nn.GRU, {}, "does not take|no layer"),
    "in place": (in_place, nn.GRU, {}, "mul_ is no layer"),
    "both results": (lambda m, x: m.rnn(x), nn.GRU, {}, "returns something else"),
    "a branch": (lambda m, x: m.fc(x) if x.sum() > 0 else x, nn.GRU, {}, "torch.fx does not read"),
}


@pytest.mark.parametrize(("wiring", "kind", "options", "match"), UNREAD.values(), ids=UNREAD.keys())
def test_what_is_no_chain_is_named(wiring: Any, kind: Any, options: dict[str, Any], match: str) -> None:
    model = Own(wiring, kind, **options)
    model.start = nn.Parameter(torch.ones(1, N, HIDDEN, dtype=torch.float64))
    with pytest.raises(ValueError, match=match):
        gm.torch.convert(model)
    with pytest.raises(ValueError, match=match):
        gm.torch.convert(nn.Sequential(model))
