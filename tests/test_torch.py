"""PyTorch models: the same measurement as our own, nothing left behind, conversion to rounding."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradiometer as gm
import numpy as np
import pytest
from gradiometer import kernels
from gradiometer.layers import Chain

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

N, FEATURES, CLASSES = 32, 8, 4


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def data(features: int = FEATURES, dtype: Any = torch.float64) -> tuple[Any, Any]:
    rng = torch.Generator().manual_seed(1)
    return torch.randn(N, features, dtype=dtype, generator=rng), torch.arange(N) % CLASSES


def double(*modules: Any) -> Any:
    return nn.Sequential(*modules).double()


def differences(a: Any, b: Any, rel: float = 1e-10) -> list[str]:
    """Fields, but names, ISA and time, in which two measurements differ by more than rounding."""
    found = []

    def compare(where: str, u: Any, v: Any) -> None:
        if isinstance(u, tuple) and not hasattr(u, "__dataclass_fields__"):
            assert len(u) == len(v), where
            for i, (one, other) in enumerate(zip(u, v, strict=True)):
                compare(f"{where}[{i}]", one, other)
        elif hasattr(u, "__dataclass_fields__"):
            for field in dataclasses.fields(u):
                if field.name not in ("name", "isa", "seconds"):
                    compare(f"{where}.{field.name}", getattr(u, field.name), getattr(v, field.name))
        elif isinstance(u, float) and isinstance(v, float):
            # 1e-15: the gradient of a bias before batch norm is 0 but for rounding.
            if not (math.isnan(u) and math.isnan(v)) and not math.isclose(u, v, rel_tol=rel, abs_tol=1e-15):
                found.append(f"{where}: {u} {v}")
        elif type(u) is not type(v) or u != v:
            found.append(f"{where}: {u} {v}")

    compare("m", a, b)
    return found


OURS: dict[str, Callable[[], Any]] = {
    "tanh": lambda: gm.mlp(FEATURES, [16] * 4, CLASSES, activation="tanh", rng=0, dtype="float64"),
    "sigmoid, no bias": lambda: gm.mlp(
        FEATURES, [9, 7], CLASSES, activation="sigmoid", bias=False, rng=0, dtype="float64"
    ),
    "leaky relu": lambda: gm.mlp(
        FEATURES,
        [16] * 3,
        CLASSES,
        activation="leaky_relu",
        activation_params={"negative_slope": 0.2},
        rng=0,
        dtype="float64",
    ),
    "relu, batch norm": lambda: gm.mlp(FEATURES, [16] * 4, CLASSES, norm="batch", rng=0, dtype="float64"),
    "elu, batch norm, residual": lambda: gm.mlp(
        FEATURES, [16] * 4, CLASSES, activation="elu", norm="batch", residual=True, rng=0, dtype="float64"
    ),
    "gelu, residual": lambda: gm.mlp(
        FEATURES, [8] * 3, CLASSES, activation="gelu", residual=0.5, rng=0, dtype="float64"
    ),
    "saturated": lambda: gm.mlp(FEATURES, [16] * 3, CLASSES, activation="tanh", gain=8.0, rng=0, dtype="float64"),
    "one layer": lambda: gm.Sequential(gm.Linear(FEATURES, CLASSES, rng=0, dtype="float64")),
    "ends with an activation": lambda: gm.Sequential(
        gm.Linear(FEATURES, CLASSES, rng=0, dtype="float64"), gm.Activation("silu"), dtype="float64"
    ),
}


@pytest.mark.parametrize("net", OURS.values(), ids=OURS.keys())
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_same_measurement_as_ours(net: Callable[[], Any], loss: str) -> None:
    x, y = data()
    if loss == "mse":
        y = F.one_hot(y, CLASSES).double()
    model = gm.torch.to_torch(net())
    ours = gm.measure(net(), x.numpy(), y.numpy(), loss=loss, per_sample=True)
    theirs = gm.torch.measure(model, x, y, loss, per_sample=True)
    assert differences(ours, theirs) == []
    assert theirs.isa.startswith("torch ")
    assert differences(gm.torch.measure(model, x.numpy(), y.tolist(), loss, per_sample=True), theirs) == []


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.LayerNorm, nn.RMSNorm])
def test_a_norm_after_the_activation_has_a_theory_of_its_own(norm: Any) -> None:
    """Eight tanh layers of 64: theory's factors are those of the same net measured, within a net's scatter, 0.05."""
    layers = [part for i in range(8) for part in (nn.Linear(64 if i else FEATURES, 64), nn.Tanh(), norm(64))]
    for layer in layers[::3]:
        nn.init.normal_(layer.weight, std=(4 / layer.in_features) ** 0.5)
        nn.init.zeros_(layer.bias)
    model = double(*layers, nn.Linear(64, CLASSES))
    x, y = data()
    x = x - x.mean(dim=0)
    ours = gm.measure(gm.torch.convert(model), x.numpy(), y.numpy())
    assert differences(ours, gm.torch.measure(model, x, y)) == []
    middle = [math.log(layer.factor / layer.theory) for layer in ours.layers[1:6]]
    assert abs(np.mean(middle)) < 0.05


def test_same_measurement_of_a_converted_model() -> None:
    block = nn.Sequential(nn.Linear(12, 12, bias=False), nn.BatchNorm1d(12), nn.SiLU())
    model = double(
        nn.Linear(FEATURES, 12), nn.LeakyReLU(0.3), nn.Identity(), block, nn.Dropout(0.0), nn.Linear(12, CLASSES)
    )
    x, y = data()
    ours = gm.measure(gm.torch.convert(model), x.numpy(), y.numpy(), per_sample=True)
    assert differences(ours, gm.torch.measure(model, x, y, per_sample=True)) == []
    assert [str(layer.activation) for layer in ours.layers] == ["leaky_relu", "silu", "None"]


def test_float32_is_diagnosed_like_ours() -> None:
    net = gm.mlp(FEATURES, [32] * 30, CLASSES, activation="sigmoid", rng=0)
    x, y = data(dtype=torch.float32)
    ours = gm.diagnose(gm.measure(net, x.numpy(), y.numpy()))
    theirs = gm.diagnose(gm.torch.measure(gm.torch.to_torch(net), x, y))
    assert [f.id for f in ours.failed] == ["vanishing-gradient", "input-lost"]
    assert [(f.id, f.status, f.where) for f in theirs.findings] == [(f.id, f.status, f.where) for f in ours.findings]
    assert "torch" in str(theirs.measurement)


# ---- what modules do not show


class Chained(nn.Module):
    """Linear layers with a function between them."""

    def __init__(self, function: Callable[[Any], Any], dtype: Any = torch.float64) -> None:
        super().__init__()
        widths = [FEATURES, 12, 12]
        self.hidden = nn.ModuleList(nn.Linear(a, b, dtype=dtype) for a, b in itertools.pairwise(widths))
        self.head = nn.Linear(12, CLASSES, dtype=dtype)
        self.function = function

    def forward(self, x: Any) -> Any:
        for layer in self.hidden:
            x = self.function(layer(x))
        return self.head(x)


FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "relu": (F.relu, nn.ReLU()),
    "relu_": (F.relu_, nn.ReLU()),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.2), nn.LeakyReLU(0.2)),
    "elu": (lambda x: F.elu(x, 0.7), nn.ELU(0.7)),
    "selu": (F.selu, nn.SELU()),
    "gelu": (F.gelu, nn.GELU()),
    "gelu_tanh": (lambda x: F.gelu(x, approximate="tanh"), nn.GELU("tanh")),
    "silu": (F.silu, nn.SiLU()),
    "sigmoid": (torch.sigmoid, nn.Sigmoid()),
    "tanh": (torch.tanh, nn.Tanh()),
    "mish": (F.mish, nn.Mish()),
    "celu": (lambda x: F.celu(x, 0.7), nn.CELU(0.7)),
    "softplus": (F.softplus, nn.Softplus()),
    "logsigmoid": (F.logsigmoid, nn.LogSigmoid()),
    "hardtanh": (F.hardtanh, nn.Hardtanh()),
    "relu6": (F.relu6, nn.ReLU6()),
    "hardsigmoid": (F.hardsigmoid, nn.Hardsigmoid()),
    "hardswish": (F.hardswish, nn.Hardswish()),
}
KNOWN = {name: row for name, row in FUNCTIONS.items() if name.rstrip("_") in kernels.activations()}


@pytest.mark.parametrize(("function", "module"), KNOWN.values(), ids=KNOWN.keys())
def test_functional_activations_are_seen(function: Callable[[Any], Any], module: Any) -> None:
    functional, modular = Chained(function), Chained(module)
    modular.load_state_dict(functional.state_dict())
    seen = gm.torch.measure(functional, *data())
    assert differences(gm.torch.measure(modular, *data()), seen) == []
    assert seen.layers[0].activation == gm.torch.convert(nn.Sequential(module))[0].name
    assert seen.layers[0].theory > 0
    assert gm.torch.to_torch(gm.torch.convert(nn.Sequential(module)))[0].extra_repr() == module.extra_repr()


def test_unknown_activation_is_none() -> None:
    m = gm.torch.measure(Chained(nn.Softshrink()), *data())
    assert m.layers[0].activation is None
    assert "Softshrink" in m.layers[0].name
    assert math.isnan(m.layers[0].theory)
    lost = gm.torch.measure(Chained(lambda x: torch.sin(x) * x), *data()).layers
    assert [layer.activation for layer in lost] == [None] * 3
    assert [math.isnan(layer.theory) for layer in lost] == [False, True, True]  # the first is a bare Linear so far


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.relu(2 * x),  # its input was not seen
        lambda x: F.silu(x, inplace=True),  # nor is it there any more
        lambda x: F.relu(F.dropout(x, 0.5)),
    ],
)
def test_functions_of_what_was_not_seen_are_not_guessed(function: Callable[[Any], Any]) -> None:
    first = gm.torch.measure(Chained(function), *data()).layers[0]
    assert first.activation is None
    assert math.isnan(first.theory)


def test_the_first_of_two_activations_counts() -> None:
    model = Chained(lambda x: F.relu(torch.tanh(x)))
    first = gm.torch.measure(model, *data()).layers[0]
    assert first.activation == "tanh"
    assert math.isnan(first.theory)
    assert first.out_mean == pytest.approx(torch.tanh(model.hidden[0](data()[0])).mean().item(), rel=1e-12)
    module = nn.Tanh()
    for function in (nn.Sequential(module, nn.ReLU()), lambda x: F.relu(module(x))):
        model = Chained(function)
        model.module = module  # among the modules, so that it is watched
        other = gm.torch.measure(model, *data()).layers[0]
        assert (other.activation, other.dead) == ("tanh", 0)


@pytest.mark.parametrize("function", [torch.sin, lambda x: x * x])
def test_a_module_after_an_unknown_function(function: Callable[[Any], Any]) -> None:
    class Doubled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.act, self.head = nn.Linear(FEATURES, 5), nn.Tanh(), nn.Linear(5, CLASSES)

        def forward(self, x: Any) -> Any:
            return self.head(self.act(function(self.linear(x))))

    first, head = gm.torch.measure(Doubled().double(), *data()).layers
    assert first.activation == "tanh"
    assert math.isnan(first.theory)
    assert math.isnan(head.theory)
    assert first.factor > 0


def test_gates_are_no_activation() -> None:
    m = gm.torch.measure(double(nn.Linear(FEATURES, 6), nn.GLU(), nn.Linear(3, CLASSES)), *data())
    assert m.layers[0].name == "0 Linear 6"


def test_inplace_modules() -> None:
    for kind in (nn.ReLU, nn.SiLU, nn.ELU):
        plain, inplace = Chained(kind()), Chained(kind(inplace=True))
        inplace.load_state_dict(plain.state_dict())
        assert differences(gm.torch.measure(plain, *data()), gm.torch.measure(inplace, *data()), rel=1e-13) == []
    first = double(nn.ReLU(inplace=True), nn.Linear(FEATURES, CLASSES))
    x, y = data()
    kept = x.clone()
    gm.torch.measure(first, x, y)
    assert torch.equal(x, kept)


RESIDUALS: dict[str, Callable[[Any, Any], Any]] = {
    "module": lambda x, y: x + 0.5 * y,
    "order": lambda x, y: y * 0.5 + x,
    "in place": lambda x, y: (y * 0.5).add_(x),
    "alpha": lambda x, y: torch.add(x, y, alpha=0.5),
}


@pytest.mark.parametrize("add", RESIDUALS.values(), ids=RESIDUALS.keys())
@pytest.mark.parametrize("functional", [False, True])
def test_additions_are_seen(add: Callable[[Any, Any], Any], functional: bool) -> None:
    class Skip(nn.Module):
        def __init__(self, linear: Any) -> None:
            super().__init__()
            self.linear, self.act = linear, torch.tanh if functional else nn.Tanh()

        def forward(self, x: Any) -> Any:
            return add(x, self.act(self.linear(x)))

    net = gm.mlp(FEATURES, [FEATURES] * 3, FEATURES, activation="tanh", residual=0.5, rng=0, dtype="float64")
    reference = gm.torch.to_torch(net)
    model = nn.Sequential(*(Skip(part[0]) if isinstance(part, gm.torch.Residual) else part for part in reference))
    x, y = data()
    ours = gm.measure(net, x.numpy(), y.numpy())
    assert [layer.residual for layer in ours.layers] == [True] * 3 + [False]
    assert differences(ours, gm.torch.measure(model, x, y)) == []
    assert differences(gm.measure(headless(net), x.numpy(), y.numpy()), gm.torch.measure(model[:-1], x, y)) == []


def headless(net: Any) -> Any:
    """Without the output layer, so that an addition is the last thing that happens."""
    return gm.Sequential(*(module.copy() for module in net.modules[:-1]), dtype="float64")


def test_an_addition_before_the_activation() -> None:
    def linear(out: int) -> Any:
        return gm.Linear(FEATURES, out, rng=0, dtype="float64")

    net = gm.Sequential(
        linear(FEATURES), gm.Residual(linear(FEATURES)), gm.Activation("relu"), linear(CLASSES), dtype="float64"
    )
    x, y = data()
    ours = gm.measure(net, x.numpy(), y.numpy())
    seen = gm.torch.measure(gm.torch.to_torch(net), x, y)
    assert [text for text in differences(ours, seen) if "theory" not in text] == []
    assert [math.isnan(layer.theory) for layer in seen.layers] == [False, True, True]
    assert ours.layers[1].residual
    assert ours.layers[1].out_mean < ours.layers[1].out_var  # the sum itself, not relu of it


class Wired(nn.Module):
    """Two hidden Linear layers, wired by a function of both."""

    def __init__(self, wiring: Callable[[Any, Any, Any], Any], width: int = FEATURES) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(width, width).double(), nn.Linear(width, width).double()
        self.head, self.wiring = nn.Linear(width, CLASSES).double(), wiring

    def forward(self, x: Any) -> Any:
        return self.head(self.wiring(x, self.one, self.two))


def test_theory_is_silent_where_a_tensor_goes_two_ways() -> None:
    def theory(wiring: Callable[[Any, Any, Any], Any], width: int = FEATURES) -> list[bool]:
        m = gm.torch.measure(Wired(wiring, width), *data())
        return [not math.isnan(layer.theory) for layer in m.layers]

    assert theory(lambda x, one, two: two(torch.tanh(one(x)))) == [True, True, True]
    assert theory(lambda x, one, two: x + torch.tanh(two(torch.tanh(one(x))))) == [False, False, False]
    assert theory(lambda x, one, two: one(x) * two(x)) == [False, False, False]
    assert theory(lambda x, one, two: two(x + torch.tanh(one(x)))) == [True, True, True]
    assert theory(lambda x, one, two: two(2 * x + torch.tanh(one(x)))) == [False, False, False]
    assert theory(lambda x, one, two: two(0.5 * (x + torch.tanh(one(x))))) == [False, False, False]
    # Halves of the input are two tensors; the second layer is not fed by the first.
    assert theory(lambda x, one, two: one(x[:, :4]) * two(x[:, 4:]), width=4) == [True, False, False]

    def parted(x: Any, one: Any, two: Any) -> Any:
        low, high = x.chunk(2, dim=1)
        return one(low) * two(high)

    assert theory(parted, width=4) == [True, False, False]


def test_a_bias_added_by_hand_is_no_residual() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.shift = nn.Linear(FEATURES, CLASSES), nn.Parameter(torch.ones(CLASSES))

        def forward(self, x: Any) -> Any:
            return self.linear(x) + self.shift

    assert not gm.torch.measure(Shifted(), *data(dtype=torch.float32)).layers[0].residual


# ---- against autograd


def retained(tensor: Any) -> Any:
    tensor.retain_grad()
    return tensor


class Images(nn.Module):
    """Convolutions; keeps what it computes, to be compared with."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5)
        self.second, self.act = nn.Conv2d(5, 6, 3, stride=2, groups=1), nn.ReLU()
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Any) -> Any:
        self.a1 = self.norm(self.first(x))
        self.h1 = torch.tanh(self.a1)
        self.a2 = self.second(self.h1)
        self.h2 = self.act(self.a2)
        self.out = self.head(F.max_pool2d(self.h2, 3).flatten(1))
        for t in (self.h1, self.h2, self.out):
            retained(t)
        return self.out


def test_convolutions() -> None:
    model = Images().double()
    with torch.no_grad():
        model.second.bias[2] = -100.0
    x, y = torch.randn(N, 3, 8, 8, dtype=torch.float64), data()[1]
    m = gm.torch.measure(model, x, y)
    x.requires_grad_()
    F.cross_entropy(model(x), y).backward()
    norms = [x.grad.norm(), model.h1.grad.norm(), model.h2.grad.norm(), model.out.grad.norm()]
    assert m.input_grad_norm == pytest.approx(norms[0].item(), rel=1e-12)
    assert [layer.grad_norm for layer in m.layers] == pytest.approx([n.item() for n in norms[1:]], rel=1e-12)
    assert [layer.factor for layer in m.layers] == pytest.approx(
        [(a / b).item() for a, b in itertools.pairwise(norms)], rel=1e-12
    )
    first, second, head = m.layers
    assert (first.fan_in, first.fan_out, second.fan_in, second.fan_out, head.fan_in) == (27, 5, 45, 6, 6)
    assert (first.norm, first.activation, second.activation, head.role) == ("batch", "tanh", "relu", "output")
    assert (m.network, m.parameters) == ("3-5-6-4", sum(p.numel() for p in model.parameters()))
    a = model.a2.detach()
    assert second.dead == 1
    assert second.pre_mean == pytest.approx(a.mean().item(), rel=1e-12)
    assert second.out_var == pytest.approx(model.h2.detach().var(correction=0).item(), rel=1e-12)
    spread = (a.var(0, correction=0).mean() / a.square().mean()).sqrt().item()
    assert second.sample_spread == pytest.approx(spread, rel=1e-12)
    slope = 1 - torch.tanh(model.a1.detach()) ** 2
    assert first.saturated == pytest.approx((slope < 0.05).double().mean().item(), abs=1e-12)
    assert second.weight_grad_norm == pytest.approx(model.second.weight.grad.norm().item(), rel=1e-12)
    assert all(math.isnan(layer.theory) for layer in m.layers)
    assert all(math.isnan(layer.snr) for layer in gm.torch.measure(model, x, y, per_sample=True).layers[:2])


def test_pooling_does_not_hide_a_functional_activation() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv1d(3, 5, 3).double(), nn.Linear(5, CLASSES).double()

        def forward(self, x: Any) -> Any:
            self.h = retained(F.silu(self.conv(x)))
            return self.head(F.avg_pool1d(self.h, 6)[..., 0])

    model = Pooled()
    x, y = torch.randn(N, 3, 8, dtype=torch.float64), data()[1]
    layer = gm.torch.measure(model, x, y).layers[0]
    F.cross_entropy(model(x), y).backward()
    assert layer.activation == "silu"
    assert layer.grad_norm == pytest.approx(model.h.grad.norm().item(), rel=1e-12)
    assert layer.out_mean == pytest.approx(model.h.mean().item(), rel=1e-12)


@pytest.mark.parametrize("use", ["output", "state", "both"])
def test_recurrent_module_returns_a_tuple(use: str) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(10, 6)
            self.lstm, self.head = nn.LSTM(6, 7, batch_first=True), nn.Linear(7, CLASSES)

        def forward(self, tokens: Any) -> Any:
            self.h, (self.last, _) = self.lstm(self.embed(tokens))
            retained(self.h), retained(self.last)
            parts = {"output": self.h[:, -1], "state": self.last[-1], "both": self.h.mean(1) + self.last[-1]}
            return self.head(parts[use])

    model = Recurrent().double()
    tokens, y = torch.randint(0, 10, (N, 5)), data()[1]
    m = gm.torch.measure(model, tokens, y)
    F.cross_entropy(model(tokens), y).backward()
    grads = [t.grad for t in (model.h, model.last) if t.grad is not None]
    lstm = m.layers[0]
    assert lstm.grad_norm == pytest.approx(math.sqrt(sum(g.square().sum().item() for g in grads)), rel=1e-12)
    assert (lstm.name, lstm.fan_in, lstm.fan_out, lstm.activation) == ("lstm LSTM 7", 6, 7, None)
    squares = sum(p.grad.square().sum().item() for name, p in model.lstm.named_parameters() if "weight" in name)
    assert lstm.weight_grad_norm == pytest.approx(math.sqrt(squares), rel=1e-12)
    assert math.isnan(m.input_grad_norm)  # tokens have no gradient
    assert math.isnan(lstm.factor)
    assert gm.diagnose(m).findings


def test_attention_and_dictionaries() -> None:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, norm_first=False)
            self.layers, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(8, CLASSES)

        def forward(self, *, tokens: Any, bias: Any) -> dict[str, Any]:
            return {"logits": self.head(self.layers(tokens).mean(1) + bias)}

    x = {"tokens": torch.randn(N, 5, 8), "bias": np.zeros((N, 8), np.float32)}
    m = gm.torch.measure(Encoder(), x, data()[1])
    kinds = [layer.name.split()[1] for layer in m.layers]
    assert kinds == ["MultiheadAttention", "Linear", "Linear"] * 2 + ["Linear"]
    assert [layer.residual for layer in m.layers] == [True, False, True] * 2 + [False]
    assert [layer.activation for layer in m.layers] == [None, "relu", None] * 2 + [None]
    assert all(layer.grad_norm > 0 for layer in m.layers)
    model = Encoder().eval()
    named = gm.torch.measure(model, x, data()[1], lambda out, y: F.cross_entropy(out["logits"], y))
    assert named.loss == "<lambda>"
    assert (
        differences(gm.torch.measure(model, x, data()[1]), dataclasses.replace(named, loss="cross_entropy"), rel=0)
        == []
    )


def test_a_module_used_twice() -> None:
    shared = nn.Linear(FEATURES, FEATURES)
    model = double(shared, nn.Tanh(), shared, nn.Tanh(), nn.Linear(FEATURES, CLASSES))
    x, y = data()
    m = gm.torch.measure(model, x, y)
    assert [layer.name for layer in m.layers] == ["0 Linear 8 tanh", "0 Linear 8 tanh (call 2)", "4 Linear 4"]
    untied = copy.deepcopy(model)
    untied[2] = copy.deepcopy(shared)
    other = gm.torch.measure(untied, x, y)
    assert [layer.grad_norm for layer in m.layers] == [layer.grad_norm for layer in other.layers]
    F.cross_entropy(model(x), y).backward()
    assert m.layers[0].weight_grad_norm == m.layers[1].weight_grad_norm
    assert m.layers[0].weight_grad_norm == pytest.approx(shared.weight.grad.norm().item(), rel=1e-12)
    assert m.parameters == other.parameters - shared.weight.numel() - shared.bias.numel()


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cut, self.idle, self.live = nn.Linear(FEATURES, 6), nn.Linear(6, 6), nn.Linear(6, CLASSES)

    def forward(self, x: Any) -> Any:
        with torch.no_grad():
            h = self.cut(x)
        self.idle(h)
        return self.live(h)


def test_branches_without_gradient() -> None:
    cut, idle, live = gm.torch.measure(Branches(), *data(dtype=torch.float32)).layers
    assert cut.name == "cut Linear 6 (no gradient)"
    assert all(math.isnan(v) for v in (cut.grad_norm, cut.grad_rms, cut.grad_zeros, cut.grad_subnormals, cut.factor))
    assert (idle.name, idle.grad_norm, idle.grad_zeros, idle.weight_grad_norm) == ("idle Linear 6", 0.0, 1.0, 0.0)
    assert live.grad_norm > 0
    assert live.weight_grad_norm > 0


def test_tensors_without_a_graph_are_told_apart() -> None:
    class Silent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = nn.ModuleList(nn.Linear(FEATURES, FEATURES) for _ in range(20))
            self.head = nn.Linear(FEATURES, CLASSES)

        def forward(self, x: Any) -> Any:
            with torch.no_grad():
                for layer in self.hidden:
                    x = torch.tanh(layer(x))  # a new tensor may get the id of one that is gone
            return self.head(x)

    model = Silent()
    means: list[float] = []
    for layer in model.hidden:
        layer.register_forward_hook(lambda module, args, out: means.append(out.double().mean().item()))
    m = gm.torch.measure(model, *data(dtype=torch.float32))
    assert [layer.out_mean for layer in m.layers[:-1]] == pytest.approx(means, rel=1e-9)


@pytest.mark.parametrize("make", [nn.utils.parametrizations.spectral_norm, nn.utils.parametrizations.weight_norm])
def test_weights_made_from_others(make: Callable[[Any], Any]) -> None:
    model = double(make(nn.Linear(FEATURES, 5)), nn.Tanh(), nn.Linear(5, CLASSES)).eval()
    x, y = data()
    first = gm.torch.measure(model, x, y).layers[0]
    out: list[Any] = []
    model[0].register_forward_hook(lambda module, args, output: out.append(retained(output)))
    F.cross_entropy(model(x), y).backward()
    assert first.name == "0 Linear 5 tanh"
    assert first.weight_norm == pytest.approx(model[0].weight.norm().item(), rel=1e-12)
    assert first.weight_grad_norm == pytest.approx((out[0].grad.T @ x).norm().item(), rel=1e-12)


def test_one_output_takes_a_vector() -> None:
    model = double(nn.Linear(FEATURES, 5), nn.Tanh(), nn.Linear(5, 1))
    x, _ = data()
    y = torch.randn(N, dtype=torch.float64)
    assert differences(gm.torch.measure(model, x, y, "mse"), gm.torch.measure(model, x, y[:, None], "mse"), rel=0) == []


def test_frozen_weights_have_no_gradient() -> None:
    model = Chained(torch.tanh)
    whole = gm.torch.measure(model, *data())
    model.hidden.requires_grad_(False)
    m = gm.torch.measure(model, *data())
    assert [layer.grad_norm for layer in m.layers] == [layer.grad_norm for layer in whole.layers]
    assert math.isnan(m.layers[0].weight_grad_norm)
    assert math.isnan(m.layers[0].bias_grad_norm)
    assert m.layers[2].weight_grad_norm == whole.layers[2].weight_grad_norm


def test_norms_of_tiny_gradients() -> None:
    model = Chained(torch.tanh, torch.float32)
    x, y = data(dtype=torch.float32)
    scale = 2.0**-88

    def loss(out: Any, y: Any) -> Any:
        return F.cross_entropy(out, y) * scale

    usual, tiny = gm.torch.measure(model, x, y), gm.torch.measure(model, x, y, loss)
    parameters = torch.autograd.grad(loss(model(x), y), list(model.parameters()))
    assert 1e-29 < parameters[0].abs().mean() < 4e-28
    assert parameters[0].square().sum() == 0  # what a sum of squares in float32 makes of it
    for a, b in zip(usual.layers, tiny.layers, strict=True):
        assert b.grad_norm == pytest.approx(a.grad_norm * scale, rel=1e-6)
        assert b.weight_grad_norm == pytest.approx(a.weight_grad_norm * scale, rel=1e-6)
    assert tiny.input_grad_norm == pytest.approx(usual.input_grad_norm * scale, rel=1e-6)
    assert tiny.attenuation.factor == pytest.approx(usual.attenuation.factor, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: Any) -> None:
    model = Chained(nn.Tanh(), dtype)
    kept: list[Any] = []
    model.function.register_forward_hook(
        lambda module, args, out: kept.append(retained(out)) if out.requires_grad else None
    )
    x, y = data(dtype=torch.float32)

    def loss(out: Any, y: Any) -> Any:
        return F.cross_entropy(out, y) * 2.0**-10

    m = gm.torch.measure(model, x, y, loss)
    kept.clear()
    loss(model(x.to(dtype)), y).backward()
    assert m.dtype == str(dtype).removeprefix("torch.")
    for layer, h in zip(m.layers, kept, strict=False):
        gradient = h.grad.double()
        assert layer.grad_norm == pytest.approx(gradient.norm().item(), rel=1e-12)
        assert layer.out_mean == pytest.approx(h.double().mean().item(), rel=1e-12)
        small = (gradient.abs() > 0) & (gradient.abs() < torch.finfo(dtype).tiny)
        assert layer.grad_subnormals == small.double().mean().item()
    assert (m.layers[0].grad_subnormals > 0) == (dtype == torch.float16)


def test_mode_is_the_models() -> None:
    model = double(nn.Linear(FEATURES, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, CLASSES))
    x, y = data()
    model[1].running_mean.fill_(0.3)
    model[1].running_var.fill_(4.0)
    train = gm.torch.measure(model, x, y)
    model.eval()
    evaluated = gm.torch.measure(model, x, y)
    a = model[:2](x)
    assert evaluated.layers[0].pre_mean == pytest.approx(a.mean().item(), rel=1e-12)
    assert evaluated.layers[0].pre_var == pytest.approx(a.var(correction=0).item(), rel=1e-12)
    assert train.layers[0].pre_var == pytest.approx(1, rel=1e-4)
    assert train.layers[0].theory > 0
    assert math.isnan(evaluated.layers[0].theory)  # theory knows batch statistics only


def test_parameters_of_a_loss_count() -> None:
    x, y = data()
    model = double(nn.Linear(FEATURES, 6), nn.Tanh(), nn.Linear(6, CLASSES))
    weights = torch.arange(1.0, CLASSES + 1).double()
    values = torch.linspace(0, 1, N * CLASSES).double().reshape(N, CLASSES)
    for ours, theirs, target in (
        (gm.losses.CrossEntropy(weights.tolist(), 0.1), nn.CrossEntropyLoss(weights, label_smoothing=0.1), y),
        (gm.losses.Huber(0.3), nn.HuberLoss(delta=0.3), values),
        (gm.losses.BceWithLogits(), nn.BCEWithLogitsLoss(), values),
    ):
        a, b = gm.torch.measure(model, x, target, ours), gm.torch.measure(model, x, target, theirs)
        assert (a.loss, a.loss_value) == (ours.name, pytest.approx(b.loss_value, rel=1e-12))
        assert a.attenuation.factor == pytest.approx(b.attenuation.factor, rel=1e-12, nan_ok=True)
        assert a.layers[0].grad_norm == pytest.approx(b.layers[0].grad_norm, rel=1e-12)


def test_theory_is_silent_about_what_it_does_not_know() -> None:
    x, y = data()
    chains = {
        "two norms": [nn.Linear(8, 8), nn.LayerNorm(8), nn.ReLU(), nn.BatchNorm1d(8)],
        "group norm": [nn.Linear(8, 8), nn.GroupNorm(2, 8), nn.ReLU()],
        "two activations": [nn.Linear(8, 8), nn.Tanh(), nn.ReLU()],
        "dropout": [nn.Linear(8, 8), nn.ReLU(), nn.Dropout(0.5)],
    }
    for name, parts in chains.items():
        m = gm.torch.measure(double(*parts, nn.Linear(8, CLASSES)), x, y)
        assert [math.isnan(layer.theory) for layer in m.layers] == [True, True], name
        assert m.layers[0].activation is not None, name
    known = gm.torch.measure(double(nn.Linear(8, 8), nn.Dropout(0.5).eval(), nn.ReLU(), nn.Linear(8, CLASSES)), x, y)
    assert not any(math.isnan(layer.theory) for layer in known.layers)


# ---- nothing left behind


class Stateful(nn.Module):
    """All kinds of state: running statistics, power iteration, a random mask, a buffer put in place of another."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(FEATURES)
        self.first = nn.utils.parametrizations.spectral_norm(nn.Linear(FEATURES, FEATURES))
        self.drop, self.act = nn.Dropout(0.5), nn.ReLU(inplace=True)
        self.head = nn.Linear(FEATURES, CLASSES)
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.fail = False

    def forward(self, x: Any) -> Any:
        x = self.norm(x)
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        self.kept = self.act(self.first(x))
        if self.fail:
            raise RuntimeError("inside forward")
        return self.head(self.drop(self.kept))


def state_of(model: Any) -> Any:
    """All that must stay: values bit for bit, identities, versions, modes, hooks, random state."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return (
        [(name, id(t), t._version, t.detach().numpy().tobytes(), t.requires_grad) for name, t in tensors],
        [
            (name, id(p.grad), None if p.grad is None else p.grad.numpy().tobytes())
            for name, p in model.named_parameters()
        ],
        [(name, module.training) for name, module in model.named_modules()],
        [
            len(getattr(module, hooks))
            for module in model.modules()
            for hooks in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        ],
        list(model.state_dict()),
        torch.get_rng_state().numpy().tobytes(),
        torch.is_grad_enabled(),
    )


def failing_loss(out: Any, y: Any) -> Any:
    raise RuntimeError("inside loss")


def failing_backward(out: Any, y: Any) -> Any:
    def fail(gradient: Any) -> Any:
        raise RuntimeError("inside backward")

    out.register_hook(fail)
    return F.cross_entropy(out, y)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("how", ["well", "forward", "loss", "backward", "target"])
def test_the_model_stays_as_it_was(how: str, training: bool) -> None:
    model = Stateful()
    x, y = data(dtype=torch.float32)
    F.cross_entropy(model(x), y).backward()
    model.head.bias.grad = None
    model.norm.weight.requires_grad_(False)
    model.train(training)
    model.drop.eval()
    model.fail = how == "forward"
    x.requires_grad_()
    before = state_of(model)
    loss = {"loss": failing_loss, "backward": failing_backward}.get(how, "cross_entropy")
    if how == "well":
        gm.torch.measure(model, x, y, loss, per_sample=True)
    else:
        with pytest.raises((RuntimeError, IndexError), match="expected 0 to 3" if how == "target" else f"inside {how}"):
            gm.torch.measure(model, x, y + (how == "target") * 10, loss)
    assert state_of(model) == before
    assert not model.kept._backward_hooks
    assert x.grad is None
    assert not x._backward_hooks


def test_random_masks_leave_the_random_state() -> None:
    model = Stateful().train()
    x, y = data(dtype=torch.float32)
    before = torch.get_rng_state()
    gm.torch.measure(model, x, y)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_measured_training_run_has_the_same_bits() -> None:
    x, y = data(dtype=torch.float32)

    def trained(every: int) -> tuple[Any, Any]:
        torch.manual_seed(3)
        model = Stateful()
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        monitor = gm.torch.Monitor(model, every=every, x=x, y=y)
        for _ in range(6):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            monitor.step()
        return model, monitor

    watched, monitor = trained(2)
    alone, idle = trained(100)
    for name, value in watched.state_dict().items():
        assert torch.equal(value, alone.state_dict()[name]), name
    assert [step for step, _ in monitor.attenuation] == [2, 4, 6]
    assert monitor.steps == idle.steps == 6
    assert idle.attenuation == []


def test_measured_under_any_grad_mode() -> None:
    model = Chained(torch.tanh)
    x, y = data()
    reference = gm.torch.measure(model, x, y)
    with torch.no_grad():
        assert differences(reference, gm.torch.measure(model, x, y), rel=0) == []
    with torch.inference_mode():
        assert differences(reference, gm.torch.measure(model, x * 1, y), rel=0) == []


def test_checkpointed_layers_are_seen_once() -> None:
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(Chained):
        def forward(self, x: Any) -> Any:
            for layer in self.hidden:
                x = checkpoint(lambda t, layer=layer: self.function(layer(t)), x, use_reentrant=False)
            return self.head(x)

    plain, model = Chained(nn.Tanh()), Checkpointed(nn.Tanh())
    model.load_state_dict(plain.state_dict())
    assert differences(gm.torch.measure(plain, *data()), gm.torch.measure(model, *data()), rel=0) == []


BAD: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no module": (lambda: gm.torch.measure(3, *data()), TypeError, "module is int"),
    "script": (
        lambda: gm.torch.measure(nn.Sequential(torch.jit.script(nn.Linear(8, 4))), *data()),
        TypeError,
        r"torch\.jit",
    ),
    "lazy": (lambda: gm.torch.measure(nn.LazyLinear(4), *data()), ValueError, "lazy"),
    "no parameters": (lambda: gm.torch.measure(nn.ReLU(), *data()), ValueError, "no parameters"),
    "no layer": (lambda: gm.torch.measure(nn.BatchNorm1d(8), *data()), ValueError, "ran no layer"),
    "one sample": (
        lambda: gm.torch.measure(nn.Linear(8, 4), torch.ones(1, 8), [0]),
        ValueError,
        r"x has shape \(1, 8\)",
    ),
    "words": (lambda: gm.torch.measure(nn.Linear(8, 4), ["a", "b"], [0, 1]), TypeError, "x holds list"),
    "classes": (
        lambda: gm.torch.measure(nn.Linear(8, 3), *data()),
        IndexError,
        "y has classes 0 to 3; expected 0 to 2",
    ),
    "float classes": (
        lambda: gm.torch.measure(nn.Linear(8, 4), data()[0], data()[1].float()),
        TypeError,
        r"y has dtype torch\.float32",
    ),
    "short y": (
        lambda: gm.torch.measure(nn.Linear(8, 4), data()[0], data()[1][:-1]),
        ValueError,
        r"y has shape \(31,\); expected \(32,\)",
    ),
    "broadcast": (
        lambda: gm.torch.measure(nn.Linear(8, 4), data()[0], torch.ones(N, 1), "mse"),
        ValueError,
        r"y has shape \(32, 1\); expected \(32, 4\)",
    ),
    "loss": (lambda: gm.torch.measure(nn.Linear(8, 4), *data(), "hinge"), ValueError, "loss is 'hinge'"),
    "loss of a vector": (
        lambda: gm.torch.measure(nn.Linear(8, 4), *data(), lambda out, y: out.sum(0)),
        ValueError,
        r"loss returned \(4,\)",
    ),
    "constant": (
        lambda: gm.torch.measure(nn.Linear(8, 4), *data(), lambda out, y: out.detach().sum()),
        ValueError,
        "requires grad",
    ),
    "every": (lambda: gm.torch.Monitor(nn.Linear(8, 4), every=0, x=1, y=1), ValueError, "every is 0"),
    "half a sample": (lambda: gm.torch.GradientMonitor(x=1), ValueError, "x and y"),
}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    model = double(nn.Linear(FEATURES, CLASSES))
    x, y = data()
    x[3, 2] = value
    with pytest.raises(ValueError, match=rf"x has a number that is not finite as float64, first x\[3, 2\] = {value}"):
        gm.torch.measure(model, x, y)
    values = torch.zeros(N, CLASSES)
    values[1, 0] = value
    with pytest.raises(ValueError, match=r"y has a number that is not finite .* y\[1, 0\]"):
        gm.torch.measure(model, data()[0], values, "mse")


def test_a_mask_of_minus_infinity_is_an_input() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, CLASSES)

        def forward(self, tokens: Any, mask: Any) -> Any:
            return self.head(self.attend(tokens, tokens, tokens, attn_mask=mask)[0].mean(1))

    mask = torch.full((5, 5), -math.inf).triu(1)
    tokens, y = torch.randn(N, 5, 8), data()[1]
    assert gm.torch.measure(Masked(), (tokens, mask), y).layers[0].grad_norm > 0
    tokens[0, 0, 0] = math.nan
    with pytest.raises(ValueError, match=r"x has a number .* x\[0, 0, 0\]"):
        gm.torch.measure(Masked(), (tokens, mask), y)


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
@pytest.mark.parametrize(("call", "error", "match"), BAD.values(), ids=BAD.keys())
def test_bad_input(call: Callable[[], Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call()


# ---- conversion


SINCE = [nn.PReLU(), nn.PReLU(18), nn.Softmax(dim=1), nn.LogSoftmax(dim=-1)] if hasattr(gm.layers, "PReLU") else []


def convertible() -> Any:
    return double(
        nn.Linear(FEATURES, 12),
        nn.BatchNorm1d(12, eps=1e-3, momentum=0.3),
        nn.LeakyReLU(0.2),
        nn.Sequential(nn.Linear(12, 12, bias=False), nn.Sequential(nn.ELU(0.7), nn.Identity())),
        nn.Flatten(),
        nn.LayerNorm(12, eps=1e-3),
        nn.Dropout(0.0),
        nn.LayerNorm([12], bias=False),
        nn.LayerNorm(12, elementwise_affine=False),
        nn.Linear(12, 12),
        nn.BatchNorm1d(12, affine=False),
        nn.SELU(),
        gm.torch.Residual(nn.Linear(12, 12), nn.GELU(), scale=0.3),
        nn.RMSNorm(12),
        nn.RMSNorm((12,), eps=1e-3, elementwise_affine=False),
        gm.torch.DenseSkip(nn.Linear(12, 6), nn.Mish()),
        nn.GroupNorm(3, 18),
        nn.GroupNorm(18, 18, eps=0.1, affine=False),
        *SINCE,
        nn.Linear(18, 10),
        nn.SiLU(),
        nn.Linear(10, 10),
        nn.Sigmoid(),
        nn.Linear(10, 10),
        nn.Tanh(),
        nn.ReLU(),
        nn.Linear(10, CLASSES),
    )


def used(model: Any) -> Any:
    """With running statistics and an affine part that are not the defaults."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
        if "Norm" in type(module).__name__ or isinstance(module, nn.PReLU):
            for parameter in module.parameters():
                nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize("training", [True, False])
def test_conversion_is_exact_to_rounding(training: bool) -> None:
    model = used(convertible())
    net = gm.torch.convert(model)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.train(training)
    x, _ = data()
    x.requires_grad_()
    out = model(x)
    dy = torch.randn_like(out)
    out.backward(dy)
    dx, gradients = net.backward(x.detach().numpy(), dy.numpy(), training=training)
    np.testing.assert_allclose(net(x.detach().numpy(), training=training), out.detach().numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(dx, x.grad.numpy(), rtol=1e-12, atol=1e-13)
    assert gradients.keys() == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(gradients[name], parameter.grad.numpy(), rtol=1e-12, atol=1e-12, err_msg=name)


def test_conversion_copies_and_keeps_names() -> None:
    model = used(convertible())
    net = gm.torch.convert(model)
    theirs = dict(model.state_dict())
    ours = net.state_dict()
    assert ours.keys() == theirs.keys()
    for name, t in theirs.items():
        np.testing.assert_array_equal(ours[name], t.numpy(), err_msg=name)
    net.parameters[...] = 0
    assert all(p.abs().sum() > 0 for p in model.parameters())
    assert net.dtype == "float64"
    assert gm.torch.convert(model.float()).dtype == "float32"
    momentum = [m.momentum for _, m in net.named_modules() if isinstance(m, gm.BatchNorm1d)]
    assert momentum == [0.3, 0.1]


def test_frozen_parameters_stay_frozen_there_and_back() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.PReLU(), nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)))
    for name in ("0.weight", "1.weight", "2.0.bias"):
        model.get_parameter(name).requires_grad_(False)
    trained = {name: p.requires_grad for name, p in model.named_parameters()}
    net = gm.torch.convert(model)
    assert net.requires_grad == trained
    assert {name: p.requires_grad for name, p in gm.torch.to_torch(net).named_parameters()} == trained


def test_there_and_back() -> None:
    model = used(convertible())
    back = gm.torch.to_torch(gm.torch.convert(model))
    state = back.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(state[name], value), name
    x, _ = data()
    assert torch.equal(back.eval()(x), model.eval()(x))
    assert isinstance(back[3][1][1], nn.Identity)
    state["0.weight"].zero_()
    assert model[0].weight.abs().sum() > 0
    assert gm.torch.to_torch(gm.Activation("identity")).extra_repr() == ""
    with pytest.raises(TypeError, match="net holds int"):
        gm.torch.to_torch(3)  # type: ignore[arg-type]


def test_a_converted_model_can_be_cured() -> None:
    model = double(nn.Linear(64, 16), *[p for _ in range(8) for p in (nn.Sigmoid(), nn.Linear(16, 16))]).float()
    train, val, _ = gm.datasets.digits()
    net = gm.torch.convert(nn.Sequential(*model, nn.Linear(16, 10)))
    result = gm.cure(net, train, val, candidates=["fitted-init"], steps=5)
    assert {row.id for row in result.rows} == {"as-given", "fitted-init"}


@pytest.mark.parametrize("name", [name for name in kernels.activations() if name != "identity"])
def test_every_activation_there_and_back(name: str) -> None:
    """At parameters that are not the defaults, where the layer of torch has them."""
    parameters = {"negative_slope": 0.3, "alpha": 0.7}
    given = {key: parameters[key] for key in kernels.activation_parameters(name) if key in parameters}
    ours = gm.Activation(name, dtype="float64", **given)
    theirs = gm.torch.to_torch(ours)
    x = torch.linspace(-8, 8, 1001, dtype=torch.float64).reshape(-1, 7).requires_grad_()
    y = theirs(x)
    dy = torch.randn_like(y)
    y.backward(dy)
    np.testing.assert_allclose(ours(x.detach()), y.detach().numpy(), rtol=1e-12, atol=1e-15)
    # torch's own backward has 1 / alpha of celu and 1 / 6 of hardsigmoid in float32, whatever the dtype.
    rough = 1e-6 if name in ("celu", "hardsigmoid") else 1e-12
    np.testing.assert_allclose(ours.backward(x.detach(), dy)[0], x.grad.numpy(), rtol=rough, atol=1e-13)
    back = gm.torch.convert(theirs)[0]
    assert back.name == ("leaky_relu" if name == "prelu" else name)
    assert given.items() <= back.params.items()


def test_dropout_converts_whatever_the_mode() -> None:
    model = nn.Sequential(nn.Linear(FEATURES, 100), nn.Dropout(0.25)).double()
    for mode in (True, False):
        net = gm.torch.convert(model.train(mode))
        assert net[1].p == 0.25
        x, _ = data()
        whole = model[0](x).detach().numpy()
        np.testing.assert_allclose(net(x), whole, rtol=1e-12, atol=1e-13)
        dropped = net(x, training=True)
        np.testing.assert_allclose(dropped[dropped != 0], whole[dropped != 0] / 0.75, rtol=1e-12, atol=1e-13)
        assert np.mean(dropped == 0) == pytest.approx(0.25, abs=0.03)
        assert gm.torch.to_torch(net)[1].p == 0.25


def test_single_layers_convert() -> None:
    assert isinstance(gm.torch.convert(nn.Linear(3, 2))[0], gm.Linear)
    assert gm.torch.convert(nn.Tanh())[0].name == "tanh"
    assert isinstance(gm.torch.convert(nn.Sequential(nn.Identity(), nn.Linear(2, 2)))[0], Chain)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "convolution": (lambda: nn.Sequential(nn.Linear(2, 2), nn.Conv1d(2, 2, 1)), r"1 \(Conv1d\)"),
    "nested": (lambda: nn.Sequential(nn.Sequential(nn.Tanh(), nn.LSTM(2, 2))), r"0\.1 \(LSTM\)"),
    "dropout of channels": (lambda: nn.Sequential(nn.Dropout1d(0.1)), r"0 \(Dropout1d\) cannot be"),
    "no statistics": (lambda: nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False)), "no running statistics"),
    "norm over two axes": (lambda: nn.Sequential(nn.LayerNorm([3, 4])), r"0 \(LayerNorm\): normalized_shape is"),
    "flatten": (lambda: nn.Sequential(nn.Flatten(0)), r"0 \(Flatten\) cannot be"),
    "softmax over samples": (lambda: nn.Sequential(nn.Softmax(dim=0)), r"0 \(Softmax\)"),
    "no kernel": (lambda: nn.Sequential(nn.Softshrink()), r"0 \(Softshrink\) cannot.*gm\.torch\.measure takes any"),
    "own class": (lambda: Chained(torch.sin), "Chained cannot be converted: sin is no layer"),
    "subclass": (lambda: nn.Sequential(type("Mine", (nn.Linear,), {})(2, 2)), r"0 \(Mine\)"),
    "parametrised": (
        lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2))),
        r"0 \(ParametrizedLinear\)",
    ),
    "twice": (lambda: nn.Sequential(*[nn.Linear(2, 2)] * 2), r"1 \(Linear\) is 0 again"),
    "twice within": (lambda: nn.Sequential(nn.Sequential(*[nn.Linear(2, 2)] * 2)), r"0\.1 \(Linear\) is 0\.0 again"),
    "softplus": (lambda: nn.Sequential(nn.Softplus(1.0, 5.0)), r"0 \(Softplus\)"),
    "dtype": (lambda: nn.Linear(2, 2).bfloat16(), r"parameters of torch\.bfloat16"),
    "mixed": (lambda: nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double()), "float32, torch.float64"),
    "empty": (lambda: nn.Sequential(), "empty"),
}


@pytest.mark.parametrize(("make", "match"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_converted_is_named(make: Callable[[], Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        gm.torch.convert(make())


def test_a_module_of_your_own_that_is_a_chain() -> None:
    model = Chained(torch.tanh)
    net = gm.torch.convert(model)
    assert [type(layer).__name__ for layer in net.modules] == ["Linear", "Activation"] * 2 + ["Linear"]
    x, _ = data()
    np.testing.assert_allclose(net(x.numpy()), model(x).detach().numpy(), rtol=1e-12, atol=1e-14)


def test_what_is_no_module() -> None:
    with pytest.raises(TypeError, match="module is list"):
        gm.torch.convert([nn.Linear(2, 2)])


# ---- callbacks


def test_monitor() -> None:
    model = Chained(torch.tanh)
    x, y = data()
    monitor = gm.torch.Monitor(model, every=3, x=x, y=y)
    returned = [monitor.step() for _ in range(7)]
    expected = gm.torch.measure(model, x, y).attenuation
    assert returned == [None, None, expected, None, None, expected, None]
    assert monitor.attenuation == [(3, expected), (6, expected)]


class Trainer:
    """As Lightning's: announces every moment to every callback."""

    def __init__(self, *callbacks: Any) -> None:
        self.callbacks = callbacks

    def tell(self, moment: str, *args: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, moment)(self, *args)

    def fit(self, model: Any, batches: list[Any]) -> None:
        self.tell("setup", model, "fit")
        self.tell("on_train_start", model)
        for i, batch in enumerate(batches):
            self.tell("on_train_batch_start", model, batch, i)
            self.tell("on_train_batch_end", model, {"loss": 0.0}, batch, i)
        self.tell("on_train_end", model)
        self.tell("teardown", model, "fit")


class Logged(Chained):
    def log(self, name: str, value: float) -> None:
        self.lines = [*getattr(self, "lines", []), (name, value)]


@pytest.mark.parametrize("own", [True, False])
def test_lightning(own: bool) -> None:
    model = Logged(torch.tanh)
    x, y = data()
    batches = [(x + i, y) for i in range(5)]
    callback = (
        gm.torch.GradientMonitor(2, x=x, y=y, name="factor") if own else gm.torch.GradientMonitor(2, name="factor")
    )
    Trainer(callback).fit(model, batches)
    wanted = [gm.torch.measure(model, x if own else x + i, y).attenuation for i in (1, 3)]
    assert callback.attenuation == [(2, wanted[0]), (4, wanted[1])]
    assert model.lines == [("factor", w.factor) for w in wanted]
    restored = gm.torch.GradientMonitor(2)
    restored.load_state_dict(callback.state_dict())
    assert restored.steps == 5
    assert callback.state_key == "GradientMonitor"
    assert copy.deepcopy(callback).attenuation == callback.attenuation
    with pytest.raises(AttributeError, match="no attribute 'log'"):
        callback.log  # noqa: B018


def test_lightning_without_log() -> None:
    callback = gm.torch.GradientMonitor(1)
    Trainer(callback).fit(Chained(torch.tanh), [data()])
    assert len(callback.attenuation) == 1


def test_a_callable_loss_gets_arrays_as_tensors() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    rng = np.random.default_rng(0)
    x, y, values = rng.normal(size=(8, 5)), rng.integers(0, 3, 8).astype(np.int32), rng.normal(size=(8, 3))
    for target, callable_, name in ((y, nn.CrossEntropyLoss(), "cross_entropy"), (values, nn.MSELoss(), "mse")):
        mine = gm.torch.measure(model, x, target, loss=callable_)
        if name == "cross_entropy":
            assert mine.loss_value == pytest.approx(gm.torch.measure(model, x, target, loss=name).loss_value, rel=1e-6)
        assert math.isfinite(mine.loss_value)


def test_a_monitor_shows_itself(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))
    x, y = np.random.default_rng(0).normal(size=(8, 5)), np.arange(8) % 3
    monitor = gm.torch.Monitor(model, every=2, x=x, y=y)
    assert repr(monitor) == "<Monitor: 0 measurements in 0 steps>"
    with pytest.raises(ValueError, match="nothing is measured yet"):
        monitor.plot()
    for _ in range(4):
        monitor.step()
    assert repr(monitor).startswith("<Monitor: 2 measurements in 4 steps, ")
    assert repr(monitor).endswith(" at step 4>")
    monitor.plot(tmp_path / "film.svg")
    assert (tmp_path / "film.svg").read_text().startswith("<?xml")


def test_softmax_before_cross_entropy_and_frozen_layers_are_seen() -> None:
    train, _, _ = gm.datasets.digits()
    x, y = train[:64]
    for last, ends_in in ((nn.Softmax(dim=1), "softmax"), (nn.LogSoftmax(dim=1), "log_softmax"), (nn.Identity(), None)):
        model = nn.Sequential(nn.Linear(64, 16).requires_grad_(False), nn.Tanh(), nn.Linear(16, 10), last)
        seen = gm.torch.measure(model, x, y)
        assert seen.ends_in == ends_in
        assert [layer.frozen for layer in seen.layers] == [("weight", "bias"), ()]
        assert any(f.id == "double-softmax" for f in gm.diagnose(seen).failed) == (ends_in == "softmax")
