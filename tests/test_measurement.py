"""Every number of a measurement against its definition in long double; and that the interval of the factor holds."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Callable
from typing import Any

import gradiometer as gm
import numpy as np
import pytest
from gradiometer import init, theory
from gradiometer.measurement import LayerMeasurement, Measurement
from gradiometer.measurement.attenuation import attenuation
from reference import optimizers
from reference.network import Reference, Seen

Array = Any


def plain(dtype: str = "float64") -> gm.Sequential:
    return gm.mlp(7, [19, 12, 12], 4, activation="tanh", gain=2.5, rng=0, dtype=dtype)


def relu_net(dtype: str = "float64") -> gm.Sequential:
    net = gm.mlp(7, [19, 12], 4, activation="relu", init="he_normal", rng=0, dtype=dtype)
    net[0].bias[[3, 8]] = -1e3  # type: ignore[attr-defined]  # dead for any sample
    return net


def normalised(dtype: str = "float64") -> gm.Sequential:
    net = gm.mlp(7, [19, 12], 4, activation="sigmoid", norm="batch", bias=False, rng=0, dtype=dtype)
    net[1].weight[...] = np.linspace(0.5, 8, 19)  # type: ignore[attr-defined]
    return net


def residual(dtype: str = "float64") -> gm.Sequential:
    return gm.mlp(7, [12, 12, 12], 4, activation="elu", norm="batch", residual=0.6, rng=0, dtype=dtype)


def opening_with_activation(dtype: str = "float64") -> gm.Sequential:
    return gm.Sequential(
        gm.Linear(7, 12, rng=0, dtype=dtype),
        gm.Residual(gm.Activation("tanh", dtype=dtype), gm.Linear(12, 12, rng=1, dtype=dtype), scale=0.5),
        gm.Residual(gm.Activation("tanh", dtype=dtype), gm.Linear(12, 12, rng=2, dtype=dtype), scale=0.5),
        gm.Activation("tanh", dtype=dtype),
        gm.Linear(12, 4, rng=3, dtype=dtype),
    )


NETS = [plain, relu_net, normalised, residual, opening_with_activation]
Maker = Callable[..., gm.Sequential]


def data(rows: int = 23) -> tuple[Array, Array]:
    rng = np.random.default_rng(1)
    return rng.normal(0.3, 1.5, (rows, 7)), rng.integers(0, 4, rows)


def groups(net: gm.Sequential, reference: Reference) -> list[list[Seen]]:
    """What belongs to each Linear: itself and what follows before the next."""
    made: list[list[Seen]] = []
    for seen in reference.seen:
        if isinstance(seen.module, gm.Linear):
            made.append([])
        if made:
            made[-1].append(seen)
    return made


def close(got: float, wanted: Any, tolerance: float = 1e-10) -> None:
    assert got == pytest.approx(float(wanted), rel=tolerance, abs=1e-300, nan_ok=True)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("make", NETS)
def test_every_number_of_a_layer(make: Maker, loss: str, isa: str) -> None:
    net = make()
    x, y = data()
    target = y if loss == "cross_entropy" else np.random.default_rng(3).normal(size=(23, 4))
    before = {name: array.tobytes() for name, array in net.state_dict().items()}
    m = gm.measure(net, x, target, loss=loss, per_sample=True, optimizer=gm.optim.SGD(0.3))
    assert {name: array.tobytes() for name, array in net.state_dict().items()} == before
    reference = Reference(net, x)
    value, dx = reference.backward(loss, target)
    close(m.loss_value, value)
    close(m.input_grad_norm, np.sqrt(np.sum(dx**2)))
    assert (m.samples, m.dtype, m.loss, m.isa) == (23, "float64", loss, isa)
    assert m.parameters == sum(
        a.size for name, a in net._named_arrays() if "running" not in name and "tracked" not in name
    )
    below = np.sqrt(np.sum(dx**2))
    names = {id(module): name for name, module in net.named_modules()}
    assert len(m.layers) == len(groups(net, reference))
    for number, (layer, group) in enumerate(zip(m.layers, groups(net, reference), strict=True), start=1):
        linear = group[0]
        act = next((seen for seen in group if isinstance(seen.module, gm.Activation)), None)
        add = next((seen for seen in group if isinstance(seen.module, gm.Residual)), None)
        norm = next((seen for seen in group if isinstance(seen.module, gm.BatchNorm1d)), None)
        a = act.x if act else group[-1].y
        h, dh = (add or group[-1]).y, (add or group[-1]).dy
        if make is opening_with_activation and number == 1:
            h, dh = linear.y, derivative_by_stream(net, x, loss, target)
        assert layer.index == number
        assert layer.role == ("output" if number == len(m.layers) else "hidden")
        assert (layer.fan_out, layer.fan_in) == linear.module.weight.shape
        assert layer.activation == (act.module.name if act else None)
        assert layer.norm == ("batch" if norm else None)
        assert layer.residual == (add is not None)
        assert layer.pre_mean == pytest.approx(float(a.mean()), rel=1e-10, abs=1e-14 * float(abs(a).max()))
        close(layer.pre_var, a.var())
        assert layer.out_mean == pytest.approx(float(h.mean()), rel=1e-10, abs=1e-14 * float(abs(h).max()))
        close(layer.out_var, h.var())
        close(layer.sample_spread, np.sqrt(a.var(axis=0).mean() / (a**2).mean()))
        slope = Slope(act.module)(a) if act else None
        if act and act.module.name in ("tanh", "sigmoid"):
            peak = 1.0 if act.module.name == "tanh" else 0.25
            close(layer.saturated, np.mean(np.abs(slope) < 0.05 * peak))
        else:
            assert math.isnan(layer.saturated)
        assert layer.dead == (np.sum(np.all(slope == 0, axis=0)) if act else 0)
        assert layer.nans == layer.infs == 0
        size = np.sqrt(np.sum(dh**2))
        close(layer.grad_norm, size)
        close(layer.grad_rms, np.sqrt(np.mean(np.sum(dh**2, axis=1))))
        assert layer.grad_zeros == np.mean(dh == 0)
        assert layer.grad_subnormals == 0
        close(layer.factor, below / size)
        below = size
        prefix = names[id(linear.module)]
        dW = reference.gradients[f"{prefix}.weight"]
        weight = np.sqrt(np.sum(np.asarray(linear.module.weight, np.longdouble) ** 2))
        close(layer.weight_norm, weight)
        close(layer.weight_grad_norm, np.sqrt(np.sum(dW**2)))
        db = reference.gradients.get(f"{prefix}.bias")
        if norm and db is not None:  # the norm takes any bias away: rounding is all that is left
            assert layer.bias_grad_norm < 1e-13 * layer.weight_grad_norm
        else:
            close(layer.bias_grad_norm, math.nan if db is None else np.sqrt(np.sum(db**2)))
        close(layer.gradient_to_weight, np.sqrt(np.sum(dW**2)) / weight)
        close(layer.update_to_weight, 0.3 * np.sqrt(np.sum(dW**2)) / weight)
        close(layer.snr, signal_to_noise(linear), 1e-9)


def derivative_by_stream(net: gm.Sequential, x: Array, loss: str, target: Array) -> Array:
    """dL/dh of the first Linear's output, which the first block reads twice."""
    rest = Reference(gm.Sequential(*(module.copy() for module in net.modules[1:])), Reference(net[0], x).y)
    return rest.backward(loss, target)[1]


class Slope:
    """Derivative of an activation by the table's formula."""

    def __init__(self, module: Any) -> None:
        from reference.network import activation

        self.of = activation(module)[1]

    def __call__(self, a: Array) -> Array:
        return self.of(np.asarray(a, float))


def signal_to_noise(linear: Seen) -> float:
    """A gradient for every sample: norm of the mean over the root of the mean squared deviation (n - 1)."""
    n = len(linear.x)
    each = np.array([n * np.outer(linear.dy[i], linear.x[i]) for i in range(n)])
    mean = each.mean(0)
    return float(np.sqrt(np.sum(mean**2)) / np.sqrt(np.sum((each - mean) ** 2) / (n - 1)))


def test_without_asking_some_numbers_are_missing() -> None:
    layer = gm.measure(plain(), *data()).layers[0]
    assert math.isnan(layer.snr)
    assert math.isnan(layer.update_to_weight)


@pytest.mark.parametrize(
    ("optimizer", "params"),
    [(gm.optim.Adam(0.01), {}), ("adam", {}), (gm.optim.AdamW(0.02, weight_decay=0.1), {"weight_decay": 0.1})],
    ids=str,
)
def test_update_of_adaptive_optimisers(optimizer: gm.optim.Optimizer | str, params: dict[str, float]) -> None:
    net = plain()
    x, y = data()
    m = gm.measure(net, x, y, optimizer=optimizer)
    name, rate = (optimizer, 1e-3) if isinstance(optimizer, str) else (optimizer.name, optimizer.learning_rate)
    for layer, module in zip(m.layers, net.modules[::2], strict=True):
        weight = module.weight.ravel()  # type: ignore[attr-defined]
        gradient = net.gradients[f"{net.modules.index(module)}.weight"].ravel()
        moved = [
            optimizers.OPTIMIZERS[name](w, g, (0.0, 0.0), 1, rate, **params)[0] - w
            for w, g in zip(weight.tolist(), gradient.tolist(), strict=True)
        ]
        close(layer.update_to_weight, np.linalg.norm(moved) / np.linalg.norm(weight), 1e-9)


def test_float32_agrees_with_float64() -> None:
    x, y = data()
    for make in NETS:
        narrow = make("float32")
        wide = make("float64")
        wide.load_state_dict(narrow.state_dict())
        a, b = (gm.measure(net, x.astype(np.float32), y, per_sample=True) for net in (narrow, wide))
        for one, other in zip(a.layers, b.layers, strict=True):
            for name in ("grad_norm", "weight_grad_norm", "sample_spread", "pre_var", "factor", "snr", "theory"):
                close(getattr(one, name), getattr(other, name), 1e-4)
            assert (one.dead, one.saturated) == pytest.approx((other.dead, other.saturated), nan_ok=True)


def test_a_part_of_a_network_is_measured_like_a_copy() -> None:
    net = gm.Sequential(plain(), gm.Activation("tanh", dtype="float64"))
    x, y = data()
    part, copy = gm.measure(net[0], x, y), gm.measure(net[0].copy(), x, y)
    assert part.layers == pytest.approx(copy.layers) or str(part.layers) == str(copy.layers)


# ---- tiny, huge, not finite


def deep_sigmoid(depth: int, dtype: str = "float32") -> gm.Sequential:
    return gm.mlp(7, [16] * depth, 4, activation="sigmoid", init="xavier_normal", rng=0, dtype=dtype)


def test_float32_underflow_is_counted_and_left_out() -> None:
    """At a factor of 0.23 a layer float32 ends after some 66 layers, float64 goes on."""
    x, y = data()
    narrow, wide = deep_sigmoid(90), deep_sigmoid(90, "float64")
    wide.load_state_dict(narrow.state_dict())
    a, b = gm.measure(narrow, x, y), gm.measure(wide, x, y)
    first, last = a.attenuation.span
    assert last == 90
    assert 15 < first < 40
    assert b.attenuation.span == (1, 90)
    for layer, truth in zip(a.hidden, b.hidden, strict=True):
        if layer.index >= first:
            close(layer.grad_norm, truth.grad_norm, 0.05)
            assert layer.grad_zeros + layer.grad_subnormals < 0.5
    lowest = a.hidden[0]
    assert lowest.grad_zeros == 1
    assert lowest.grad_norm == 0
    assert math.isnan(lowest.factor)
    tiny = np.finfo(np.float32).smallest_normal
    network = narrow._compile().network
    for layer in a.hidden:
        node = 2 * layer.index
        seen = network.tap(node)["gradient"]
        assert layer.grad_subnormals == seen["subnormals"] / seen["count"]
    reference = Reference(wide, x)
    reference.backward("cross_entropy", y)
    border = [layer for layer in a.hidden if 0.01 < layer.grad_subnormals < 0.99][-1]  # all above it is exact
    exact = np.abs(groups(wide, reference)[border.index - 1][-1].dy)
    assert border.grad_subnormals == pytest.approx(np.mean((exact < tiny) & (exact > 2**-150)), abs=0.02)
    assert border.grad_zeros == pytest.approx(np.mean(exact <= 2**-150), abs=0.02)
    close(a.attenuation.factor, b.attenuation.factor, 0.03)
    depth = a.attenuation.float32_zero_depth
    gone = max(layer.index for layer in a.hidden if layer.grad_zeros > 0.5)
    assert depth == pytest.approx(90 - gone, abs=8)


def test_forward_underflow_of_float32() -> None:
    """Activations that die on the way up: gradients are exactly 0, and nothing is claimed."""
    net = gm.mlp(7, [16] * 40, 4, activation="relu", gain=0.05, rng=0, bias=False)
    m = gm.measure(net, *data())
    assert m.hidden[-1].out_var == 0
    assert m.hidden[-1].grad_norm > 0
    assert m.hidden[0].grad_zeros == 1
    assert m.hidden[-1].sample_spread == 0
    assert str(m)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("make", [plain, relu_net, normalised, residual])
def test_weights_that_are_not_finite(make: Maker, bad: float) -> None:
    net = make()
    second = next(
        module for name, module in list(net.named_modules())[1:] if isinstance(module, gm.Linear) and name != "0"
    )
    second.weight[2, 3] = bad
    with np.errstate(all="ignore"):
        m = gm.measure(net, *data(), per_sample=True, optimizer="sgd")
    layer = m.layers[1]
    assert math.isnan(layer.weight_norm) if math.isnan(bad) else math.isinf(layer.weight_norm)
    assert layer.nans + layer.infs > 0
    assert not math.isfinite(m.loss_value) or make is plain  # tanh(inf) is 1, its slope 0, and 0 inf on the way back
    assert math.isnan(m.input_grad_norm) or math.isinf(m.input_grad_norm)
    # Only of layers above, if they are finite after all.
    assert m.attenuation.span[0] > 1 or not math.isfinite(m.attenuation.factor)
    assert m.layers[-1].dead == 0
    assert all(math.isnan(l.sample_spread) for l in m.layers if math.isnan(l.pre_mean))
    json.loads(m.to_json(), parse_constant=lambda text: pytest.fail(f"{text} is not standard JSON"))
    assert str(m)
    assert str(gm.diagnose(m))


def test_nan_is_neither_dead_nor_saturated() -> None:
    net = plain()
    net[0].weight[4, 2] = np.nan  # type: ignore[attr-defined]
    layer = gm.measure(net, *data()).layers[0]
    assert layer.dead == 0
    assert math.isnan(layer.saturated)
    assert layer.nans > 0


@pytest.mark.parametrize("scale", [1e-150, 1e-120, 1e120, 1e150])
def test_gradients_and_signals_whose_squares_leave_float64(scale: float) -> None:
    """A linear net is homogeneous: with a weight scaled, so are the signal above and the gradient below it."""
    x, _ = data()
    y = np.zeros((23, 4))
    net = gm.Sequential(*(gm.Linear(a, b, bias=False, rng=a, dtype="float64") for a, b in ((7, 5), (5, 6), (6, 4))))
    usual = gm.measure(net, x, y, loss="mse", per_sample=True)
    net[1].weight[...] *= scale  # type: ignore[attr-defined]
    odd = gm.measure(net, x, y, loss="mse", per_sample=True)
    for a, b, signal in zip(usual.layers, odd.layers, (1.0, scale, scale), strict=True):
        close(b.sample_spread, a.sample_spread)
        close(b.snr, a.snr)
        close(b.pre_mean / signal, a.pre_mean)
        close(math.sqrt(b.pre_var) / signal, math.sqrt(a.pre_var))
    for a, b, gradient in zip(usual.layers, odd.layers, (scale * scale, scale, scale), strict=True):
        close(b.grad_norm / gradient, a.grad_norm)


def test_a_variance_small_beside_the_mean() -> None:
    """One output whose mean is 1e9 times its deviation."""
    x, y = data()
    net = gm.Sequential(gm.Linear(7, 5, rng=0, dtype="float64"), gm.Linear(5, 4, rng=1, dtype="float64"))
    net[0].weight[1:] = net[0].weight[0]  # type: ignore[attr-defined]
    net[0].bias[...] = 1e9  # type: ignore[attr-defined]
    layer = gm.measure(net, x, y).layers[0]
    wanted = np.var(x @ net[0].weight[0])  # type: ignore[attr-defined]
    close(layer.pre_var, wanted, 1e-6)


# ---- what goes out


def test_json_is_standard_and_complete() -> None:
    special = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}

    def same(a: Any, b: Any) -> bool:
        if isinstance(b, dict):
            return bool(a.keys() == b.keys()) and all(same(a[key], b[key]) for key in b)
        if isinstance(b, list | tuple):
            return len(a) == len(b) and all(map(same, a, b))
        if isinstance(b, float):
            a = special.get(a, a)
            return bool(a == b) or (math.isnan(a) and math.isnan(b))
        return bool(a == b)

    for m in (gm.measure(plain(), *data()), gm.measure(deep_sigmoid(90), *data())):
        read = json.loads(m.to_json(), parse_constant=lambda text: pytest.fail(f"{text} is not standard JSON"))
        assert same(read, m.to_dict())
        assert read["layers"][0]["snr"] == "nan"


def test_csv_reads_back() -> None:
    m = gm.measure(plain(), *data(), per_sample=True)
    rows = list(csv.DictReader(io.StringIO(m.to_csv())))
    assert len(rows) == len(m.layers)
    for row, layer in zip(rows, m.layers, strict=True):
        for name, value in vars(layer).items():
            if isinstance(value, float):
                assert float(row[name]) == value or math.isnan(value)
            elif isinstance(value, tuple):
                assert tuple(row[name].split()) == value
            else:
                assert row[name] == ("" if value is None else str(value))


def test_measurements_are_values() -> None:
    import pickle

    m = gm.measure(plain(), *data())
    twin: Measurement = pickle.loads(pickle.dumps(m))
    assert twin.to_json() == m.to_json()
    with pytest.raises(AttributeError):
        m.loss_value = 0.0  # type: ignore[misc]
    assert isinstance(m.layers[0], LayerMeasurement)


# ---- the factor


def test_attenuation_is_that_of_the_end_points() -> None:
    m = gm.measure(plain(), *data())
    a = m.attenuation
    norms = [layer.grad_norm for layer in m.hidden]
    assert a.span == (1, 3)
    close(a.factor, (norms[0] / norms[-1]) ** 0.5)
    close(a.theory, (m.hidden[1].theory * m.hidden[2].theory) ** 0.5)
    close(a.decay_length, 1 / abs(math.log(a.factor)))
    assert a.ci95[0] < a.factor < a.ci95[1]


LAYERS = gm.measure(gm.mlp(4, [8, 8], 3, rng=0), np.eye(4), [0, 1, 2, 0]).hidden


def with_norms(norms: list[float], rows: int = 16, **fields: Any) -> list[LayerMeasurement]:
    """Hidden layers of 128 units with these norms of dL/dh; theory has no word."""
    more = {"fan_out": 128, "theory": math.nan, "grad_zeros": 0.0, "grad_subnormals": 0.0, **fields}
    return [
        dataclasses.replace(LAYERS[0], index=i, grad_norm=norm, grad_rms=norm / math.sqrt(rows), **more)
        for i, norm in enumerate(norms, 1)
    ]


def test_the_interval_is_students() -> None:
    """From four increments: their standard deviation with n - 1, over sqrt(n), times t(3) = 3.18245 and 1.2 or 1.8."""
    norms = [0.1, 0.3, 0.25, 0.9, 1.1]
    d = np.diff(np.log(norms[::-1]))
    for residual, constant in ((False, 1.2), (True, 1.8)):
        a = attenuation(with_norms(norms, residual=residual))
        reach = 3.18245 * constant * np.std(d, ddof=1) / 2
        close(a.factor, math.exp(d.mean()))
        assert a.ci95 == pytest.approx((math.exp(d.mean() - reach), math.exp(d.mean() + reach)), rel=3e-3)


def test_the_depth_at_which_float32_ends_is_that_of_one_entry() -> None:
    """An entry of the top layer is 2**-20 there, and halves a layer: 2**-150 is 130 layers further down."""
    top = 2.0**-20 * math.sqrt(16 * 128)
    a = attenuation(with_norms([top / 8, top / 4, top / 2, top]))
    assert a.factor == pytest.approx(0.5, rel=1e-12)
    assert a.float32_zero_depth == pytest.approx(130, abs=1.01)


@pytest.mark.parametrize(
    ("norms", "span"),
    [
        ([0.0, 0.0, 1.0, 2.0, 3.0], (3, 5)),
        ([1.0, 2.0, 3.0, 0.0, 0.0], (1, 3)),
        ([1.0, 2.0, 0.0, 2.0, 3.0, 4.0], (4, 6)),
        ([1.0, 2.0, 4.0, math.nan, 3.0, 4.0], (1, 3)),
        ([1.0, 2.0, math.inf, 3.0, 4.0], (4, 5)),
        ([0.0, 2.0, 0.0], (2, 2)),
        ([0.0, 0.0], (0, 0)),
        ([1e-300, 1.0, 1e300], (1, 3)),
    ],
)
def test_the_longest_span_with_digits(norms: list[float], span: tuple[int, int]) -> None:
    a = attenuation(with_norms(norms))
    assert a.span == span
    first, last = span
    if first == last:
        assert math.isnan(a.factor)
    else:
        wanted = (math.log(norms[first - 1]) - math.log(norms[last - 1])) / (last - first)
        close(math.log(a.factor), wanted)


def test_zeros_behind_dead_units_have_digits_and_subnormal_numbers_have_not() -> None:
    assert attenuation(with_norms([1.0, 2.0, 3.0], grad_zeros=0.9)).span == (1, 3)
    assert attenuation(with_norms([1e-40, 2e-40, 3e-40], grad_zeros=0.9)).span == (0, 0)
    assert attenuation(with_norms([1.0, 2.0, 3.0], grad_zeros=0.4, grad_subnormals=0.2)).span == (0, 0)


def test_a_network_too_shallow_claims_nothing() -> None:
    for hidden in ([], [8]):
        a = gm.measure(gm.mlp(7, hidden, 4, rng=0), *data()).attenuation
        assert math.isnan(a.factor)
        assert math.isnan(a.ci95[0])
    a = gm.measure(gm.mlp(7, [8, 8], 4, rng=0), *data()).attenuation
    assert math.isfinite(a.factor)
    assert math.isnan(a.ci95[0])


def gaussian(rows: int, features: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(8)
    return rng.normal(size=(rows, features)), rng.integers(0, 10, rows)


def over_seeds(seeds: int, make: Callable[[int], gm.Sequential], rows: int, features: int) -> list[Measurement]:
    return [gm.measure(make(seed), *gaussian(rows, features)) for seed in range(seeds)]


@pytest.mark.parametrize(
    ("activation", "rule"),
    [
        ("relu", "he_normal"),
        ("relu", "xavier_normal"),
        ("tanh", "xavier_normal"),
        ("tanh", "he_normal"),
        ("sigmoid", "xavier_normal"),
        ("elu", "lecun_normal"),
        ("selu", "lecun_normal"),
        ("gelu", "xavier_normal"),
    ],
)
def test_plain_networks_follow_theory(activation: str, rule: str) -> None:
    """ln rate = 2 ln factor of one sample, mean over seeds, within 1/N + 3.5 · 1.2 sqrt(c / (N L S)); finite width
    lowers its mean by c / 2N (Hanin & Nica 2018). Two samples with the same x and y make one."""
    N, L, S = 128, 20, 24
    rng = np.random.default_rng(0)
    x, y = np.repeat(rng.normal(size=(1, 32)), 2, axis=0), np.array([3, 3])
    found, wanted = [], []
    for seed in range(S):
        net = gm.mlp(32, [N] * L, 10, activation=activation, init=rule, rng=seed, dtype="float64")
        a = gm.measure(net, x, y).attenuation
        found.append(2 * math.log(a.factor))
        wanted.append(2 * math.log(a.theory))
    c = theory.width_constant(activation)
    error = float(np.mean(found) - np.mean(wanted)) + c / (2 * N)
    assert abs(error) <= 1 / N + 3.5 * 1.2 * math.sqrt(c / (N * L * S))


def test_batch_norm_explodes_as_theory_says() -> None:
    """Linear, batch norm, ReLU: pi/(pi - 1) of the squared norm, corrected for the batch; first layers and top left
    out."""
    N, L, B = 256, 12, 16
    logs = []
    for seed in range(6):
        net = gm.mlp(32, [N] * L, 10, activation="relu", norm="batch", init="he_normal", rng=seed, dtype="float64")
        m = gm.measure(net, *gaussian(B, 32))
        logs += [2 * math.log(layer.factor) for layer in m.hidden[2:-4]]
        assert m.hidden[5].theory == pytest.approx(math.sqrt(1.589950), rel=1e-4)
    assert np.mean(logs) == pytest.approx(math.log(1.589950), abs=0.03)


def test_residual_branches_scaled_by_depth() -> None:
    """x + W relu(x) / sqrt(L): (1 + 1/L)^L; x + tanh(W x) / sqrt(L): theory's own iteration."""
    N, L = 128, 20

    def opening(seed: int) -> gm.Sequential:
        rng = np.random.default_rng(seed)

        def linear(a: int, b: int) -> gm.Linear:
            layer = gm.Linear(a, b, bias=False, rng=0, dtype="float64")
            layer.weight[...] = init.he_normal((b, a), rng=rng, dtype="float64")
            return layer

        blocks = [gm.Residual(gm.Activation("relu", dtype="float64"), linear(N, N), scale=L**-0.5) for _ in range(L)]
        return gm.Sequential(linear(32, N), *blocks, gm.Activation("relu", dtype="float64"), linear(N, 10))

    seen = over_seeds(12, opening, 16, 32)
    assert seen[0].attenuation.span == (1, L + 1)
    factor = np.mean([math.log(m.attenuation.factor) for m in seen])
    assert factor == pytest.approx(0.5 * math.log(1 + 1 / L), abs=0.003)

    seen = over_seeds(12, lambda seed: gm.mlp(32, [N] * L, 10, activation="tanh", residual=True, rng=seed), 16, 32)
    factor, wanted = (np.mean([math.log(getattr(m.attenuation, key)) for m in seen]) for key in ("factor", "theory"))
    assert factor == pytest.approx(wanted, abs=0.002)


def test_theory_is_silent_where_it_does_not_hold() -> None:
    """Skip and branch share a direction where the branch ends in an activation of uneven slope."""
    a = gm.measure(gm.mlp(7, [16] * 6, 4, activation="relu", residual=True, rng=0), *data()).attenuation
    assert math.isnan(a.theory)
    assert a.ci95[0] < a.factor < a.ci95[1]


@pytest.mark.parametrize(
    ("activation", "rule", "options"),
    [
        ("relu", "he_normal", {}),
        ("tanh", "xavier_normal", {}),
        ("sigmoid", "xavier_normal", {}),
        ("relu", "he_normal", {"norm": "batch"}),
        ("relu", "he_normal", {"residual": True}),
    ],
    ids=lambda value: str(value),
)
@pytest.mark.parametrize("width", [32, 64])
def test_the_interval_holds(activation: str, rule: str, options: dict[str, Any], width: int) -> None:
    """The mean of ln factor over nets lies in the interval of 88 to 100 % of them."""
    seen = over_seeds(
        80,
        lambda seed: gm.mlp(16, [width] * 30, 10, activation=activation, init=rule, rng=seed, **options),
        64,
        16,
    )
    middle = np.mean([math.log(m.attenuation.factor) for m in seen])
    inside = [m.attenuation.ci95[0] <= math.exp(middle) <= m.attenuation.ci95[1] for m in seen]
    assert 0.88 <= np.mean(inside) <= 1
    scatter = np.std([math.log(m.attenuation.factor) for m in seen], ddof=1)
    reach = np.mean([math.log(m.attenuation.ci95[1] / m.attenuation.ci95[0]) / 2 for m in seen])
    assert reach < 2.4 * 1.96 * scatter  # not by being endless


def test_student() -> None:
    from gradiometer.measurement.student import student

    table = {1: 12.7062, 2: 4.30265, 3: 3.18245, 4: 2.77645, 5: 2.57058, 9: 2.26216, 29: 2.04523, 100: 1.98397}
    for freedom, value in table.items():
        assert student(freedom) == pytest.approx(value, rel=3e-3)


def test_samples_that_cannot_be_measured() -> None:
    net = plain()
    x, y = data()
    before = {name: array.tobytes() for name, array in net.state_dict().items()}
    no_layer = gm.Sequential(gm.Activation("relu", dtype="float64"))
    for call, error, message in (
        (lambda: gm.measure(net, x[:1], y[:1]), ValueError, r"x has shape \(1, 7\); expected \(N, 7\) with N of 2"),
        (lambda: gm.measure(net, x[0], y[:1]), ValueError, r"x has shape \(7,\)"),
        (lambda: gm.measure(net, x[:, :3], y), ValueError, r"x has shape \(23, 3\); expected \(N, 7\)"),
        (lambda: gm.measure(net, x * 1j, y), TypeError, "x has dtype complex128"),
        (lambda: gm.measure(net, x, y[:5]), ValueError, r"y has shape \(5,\); expected \(23,\)"),
        (lambda: gm.measure(net, x, y + 4), IndexError, "expected 0 to 3"),
        (lambda: gm.measure(net, x, y * 1.0), TypeError, "expected integer classes"),
        (lambda: gm.measure(net, x, y, loss="l1"), ValueError, "loss is 'l1'; expected one of"),
        (lambda: gm.measure(net, x, y, optimizer="lbfgs"), ValueError, "optimizer is 'lbfgs'"),
        (lambda: gm.measure(net, x, y, optimizer=0.1), TypeError, "optimizer is 0.1"),  # type: ignore[arg-type]
        (lambda: gm.measure(no_layer, x, y), (ValueError, IndexError), ""),
        (lambda: gm.measure("net", x, y), TypeError, "net is str; expected a network"),  # type: ignore[arg-type]
    ):
        with pytest.raises(error, match=message or None):
            call()
    assert {name: array.tobytes() for name, array in net.state_dict().items()} == before
