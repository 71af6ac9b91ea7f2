"""Each rule has measurements on which it must fire and others on which it must not."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import gradiometer as gm
import numpy as np
import pytest
from gradiometer.diagnosis import Diagnosis, Finding, Rule, diagnose, explain, rule_ids
from gradiometer.diagnosis.rules import DISEASES, RULES
from gradiometer.measurement.result import Attenuation, Measurement
from gradiometer.measurement.time import Horizon
from gradiometer.measurement.time.charts import decay_chart
from hand_made import measurement, recurrent, sigmoid_50

NAN, INF = math.nan, math.inf
RELU = {"saturated": NAN}
NORMED = {"norm": "batch"}


def he_relu(depth: int, **more: object) -> Measurement:
    """Mean field: rate 1, spread sqrt(1 - c) with c of the ReLU kernel's map (0.11 at 50 layers)."""
    values = {
        "depth": depth,
        "activation": "relu",
        "gain": 2.0,
        "spread": lambda i: min(0.9, 5.5 / i),
        "everywhere": RELU,
        "scatter": 0.2,
    }
    return measurement(**{**values, **more})  # type: ignore[arg-type]


def headless(**head: Any) -> Measurement:
    """Output weights of 0: as measured, dL/dh is 0 in every hidden layer and no factor is known."""
    unknown = Attenuation(NAN, (NAN, NAN), NAN, (0, 0), NAN, NAN)
    everywhere = {"grad_norm": 0.0, "grad_rms": 0.0, "factor": NAN}
    layers = {6: {"weight_norm": 0.0, "factor": 0.0, **head}}
    return measurement(depth=5, everywhere=everywhere, layers=layers, attenuation=unknown)


def dark(dtype: str = "float32", zero: float = 0.0) -> Measurement:
    """Xavier ReLU 400 in small: pre-activations shrink to subnormal numbers in layer 12 and to 0 in layer 14, the
    units above are off for every sample, and only the top layer gets a gradient."""
    layers: dict[int, dict[str, Any]] = {i: {"pre_var": 1e-6 ** (2 * (i - 1))} for i in range(1, 8)}
    layers |= {i: {"pre_var": 10.0 ** (-2 * (30 + i - 7))} for i in range(8, 12)}
    layers |= {i: {"pre_var": 1e-80 if i < 14 else zero, "dead": 64 if i < 14 else 128} for i in range(12, 21)}
    layers |= {i: {**layers[i], "sample_spread": 0.0} for i in range(14, 21)}
    gone = {"grad_norm": 0.0, "grad_rms": 0.0, "grad_zeros": 1.0, "factor": NAN}
    layers = {i: {**layers[i], **gone} if i < 20 else {**layers[i], "factor": 0.0} for i in layers}
    unknown = Attenuation(NAN, (NAN, NAN), NAN, (20, 20), NAN, NAN)
    return he_relu(20, gain=1.0, layers=layers, attenuation=unknown, dtype=dtype)


def in_time(*args: Any, memory: int | None = None, **how: Any) -> Measurement:
    return measurement(time=(recurrent(*args, **how),), memory=memory)


# As chrono initialisation makes it for T = 100: the forget gate's bias, and with the other sign that of the input gate.
CHRONO = np.log(np.random.default_rng(0).uniform(1, 99, 16))

# rule, what it is, measurement, status that must come (None: the rule has nothing to say)
CASES = [
    ("double-softmax", "softmax, then cross-entropy", measurement(ends_in="softmax"), "fail"),
    ("double-softmax", "log-softmax, which changes nothing", measurement(ends_in="log_softmax"), "ok"),
    ("double-softmax", "logits", measurement(), None),
    ("vanishing-gradient", "50 sigmoid layers", sigmoid_50(), "fail"),
    ("vanishing-gradient", "Xavier ReLU 30", he_relu(30, factor=math.sqrt(0.5), gain=1.0), "fail"),
    (
        "vanishing-gradient",
        "5 sigmoid layers, which SGD cannot train",
        measurement(depth=5, factor=0.236),
        "fail",
    ),
    ("vanishing-gradient", "3 sigmoid layers, which it can", measurement(depth=3, factor=0.236), "ok"),
    ("vanishing-gradient", "12 layers of Xavier ReLU", he_relu(12, factor=math.sqrt(0.5), gain=1.0), "warn"),
    ("vanishing-gradient", "as much, but by chance", measurement(depth=12, factor=0.75, scatter=3), "ok"),
    ("vanishing-gradient", "ReLU off, its input having underflown", dark(), "fail"),
    ("vanishing-gradient", "x0.98 over 3 layers", measurement(depth=3, factor=0.98), "ok"),
    ("vanishing-gradient", "Xavier tanh 100: a power law", measurement(depth=100, factor=0.98), "ok"),
    ("vanishing-gradient", "He ReLU", he_relu(50, factor=0.99), "ok"),
    ("vanishing-gradient", "gradient gone", measurement(factor=lambda i: 0.0 if i == 9 else 1.0), "fail"),
    (
        "vanishing-gradient",
        "one layer chokes",
        measurement(factor=lambda i: 1e-3 if i == 9 else 1.0, scatter=3),
        "fail",
    ),
    (
        "vanishing-gradient",
        "narrow, by chance",
        measurement(depth=40, width=8, factor=0.88, scatter=0.8),
        "warn",
    ),
    ("vanishing-gradient", "nothing leaves the output layer", headless(), "warn"),
    ("vanishing-gradient", "nothing to learn: dL/dy is 0", headless(grad_norm=0.0), None),
    ("vanishing-gradient", "it explodes", measurement(factor=2.0), None),
    ("vanishing-gradient", "not a number", measurement(factor=NAN), None),
    ("exploding-gradient", "chaotic tanh", measurement(depth=30, factor=1.3, gain=4.0), "fail"),
    (
        "exploding-gradient",
        "30 ReLU layers with batch norm",
        measurement(depth=30, factor=1.21, everywhere=NORMED),
        "fail",
    ),
    ("exploding-gradient", "10 of them train", measurement(depth=10, factor=1.21, everywhere=NORMED), "ok"),
    ("exploding-gradient", "fiftyfold in all", measurement(depth=21, factor=50 ** (1 / 20)), "ok"),
    ("exploding-gradient", "x1.02 over 50 layers", measurement(depth=50, factor=1.02), "ok"),
    (
        "exploding-gradient",
        "one layer bursts",
        measurement(factor=lambda i: 1e4 if i == 9 else 1.0, scatter=3),
        "fail",
    ),
    (
        "exploding-gradient",
        "narrow, by chance",
        measurement(depth=40, width=8, factor=1.15, scatter=0.8),
        "warn",
    ),
    ("exploding-gradient", "it vanishes", sigmoid_50(), None),
    ("exploding-gradient", "not a number", measurement(factor=NAN), None),
    ("input-lost", "50 sigmoid layers", sigmoid_50(), "fail"),
    (
        "input-lost",
        "below a hundredth of layer 1",
        measurement(spread=lambda i: 0.9 if i < 10 else 5e-3),
        "fail",
    ),
    ("input-lost", "all samples equal", measurement(spread=0.0), "fail"),
    ("input-lost", "He ReLU drifts only", he_relu(100), "ok"),
    ("input-lost", "a tenth is left", measurement(spread=lambda i: 0.9**i), "ok"),
    ("input-lost", "a single sample", measurement(spread=0.0, samples=1), None),
    ("saturated", "60 % in one layer", measurement(layers={7: {"saturated": 0.6, "pre_var": 20.0}}), "fail"),
    ("saturated", "28 %, variance 4", measurement(everywhere={"saturated": 0.28}), "ok"),
    ("saturated", "49 % in one layer", measurement(layers={7: {"saturated": 0.49, "pre_var": 9.0}}), "ok"),
    ("saturated", "ReLU does not saturate", he_relu(20), None),
    ("dead-units", "all of one layer", measurement(layers={7: {"dead": 128}}), "fail"),
    ("dead-units", "three quarters", measurement(layers={7: {"dead": 96}}), "fail"),
    ("dead-units", "half, the input being nearly lost", he_relu(100, layers={99: {"dead": 66}}), "ok"),
    ("dead-units", "6 of 8 is three coins", measurement(width=8, layers={7: {"dead": 6}}), "ok"),
    ("dead-units", "8 of 8", measurement(width=8, layers={7: {"dead": 8}}), "fail"),
    ("dead-units", "the output layer has no activation", measurement(depth=2, activation=None), None),
    ("non-finite", "one NaN", measurement(layers={7: {"nans": 1}}), "fail"),
    ("non-finite", "one Inf", measurement(layers={7: {"infs": 1}}), "fail"),
    ("non-finite", "the loss alone", measurement(loss_value=NAN), "fail"),
    ("non-finite", "tiny is finite", sigmoid_50(), "ok"),
    ("float32-underflow", "80 sigmoid layers", measurement(depth=80, factor=0.236), "fail"),
    (
        "float32-underflow",
        "zeros among numbers near the end",
        measurement(depth=60, factor=0.24, layers={1: {"grad_zeros": 0.3}}, top=1e-1),
        "fail",
    ),
    (
        "float32-underflow",
        "subnormals",
        measurement(depth=60, factor=0.24, layers={1: {"grad_subnormals": 0.3}}),
        "warn",
    ),
    ("float32-underflow", "50 sigmoid layers are not enough", sigmoid_50(), "ok"),
    ("float32-underflow", "the pre-activations", dark(), "fail"),
    (
        "float32-underflow",
        "pre-activations of 0 behind dead units",
        measurement(layers={7: {"out_var": 0.0}, **{i: {"pre_var": 0.0} for i in range(8, 21)}}),
        "ok",
    ),
    ("float32-underflow", "an input of 0", measurement(everywhere={"pre_var": 0.0, "out_var": 0.0}), "ok"),
    (
        "float32-underflow",
        "weights of 0",
        measurement(layers={21: {"pre_var": 0.0, "weight_norm": 0.0}}),
        "ok",
    ),
    ("float32-underflow", "float64 holds such pre-activations", dark(dtype="float64", zero=1e-80), "ok"),
    ("float32-underflow", "zeros behind dead units", measurement(layers={7: {"grad_zeros": 1.0}}), "ok"),
    (
        "float32-underflow",
        "zeros among numbers small but far from the end",
        measurement(top=1e-25, layers={7: {"grad_zeros": 0.3}}),
        "ok",
    ),
    ("float32-underflow", "float64 holds it", measurement(depth=80, factor=0.236, dtype="float64"), "warn"),
    ("healthy", "tanh near 1", measurement(), "ok"),
    ("healthy", "He ReLU", he_relu(50), "ok"),
    ("healthy", "not with another rule failing", measurement(layers={7: {"nans": 1}}), None),
    ("healthy", "not with a warning", measurement(depth=40, width=8, factor=0.88, scatter=0.8), None),
    ("vanishing-through-time", "no recurrent layer", measurement(), None),
    ("vanishing-through-time", "LSTM as torch makes it", in_time(), "fail"),
    ("vanishing-through-time", "tanh RNN as torch makes it", in_time("rnn_tanh"), "fail"),
    ("vanishing-through-time", "GRU as torch makes it", in_time("gru"), "fail"),
    ("vanishing-through-time", "the same, short", in_time("gru", 5), "ok"),
    ("vanishing-through-time", "memory of 0.95", in_time(gain=0.0, gates={1: 2.944}), "ok"),
    ("vanishing-through-time", "memory of 0.9: 0.2 % arrives", in_time(gain=0.0, gates={1: 2.197}), "warn"),
    ("vanishing-through-time", "explodes", in_time("rnn_tanh", 60, 64, gain=2.0), None),
    ("vanishing-through-time", "one step", in_time(steps=1), None),
    ("exploding-through-time", "tanh RNN, g = 2", in_time("rnn_tanh", 60, 64, gain=2.0), "fail"),
    ("exploding-through-time", "the same, short", in_time("rnn_tanh", 6, 64, gain=2.0), "ok"),
    ("exploding-through-time", "vanishes", in_time("rnn_tanh"), None),
    ("exploding-through-time", "no recurrent layer", measurement(), None),
    ("float32-underflow", "back through 400 steps", in_time(steps=400), "warn"),
    ("float32-underflow", "back through 60 steps", in_time(), "ok"),
    ("float32-underflow", "float64 holds it", dataclasses.replace(in_time(steps=400), dtype="float64"), "ok"),
    ("float32-underflow", "nothing passes a single step", in_time("rnn_relu", gates={0: -50.0}), "ok"),
    ("short-memory", "a task of 50 steps", in_time(memory=50), "fail"),
    ("short-memory", "a task of 5 steps", in_time(memory=5), "ok"),
    ("short-memory", "not told: the length", in_time(), "warn"),
    ("short-memory", "chrono", in_time(gates={1: CHRONO, 0: -CHRONO}, steps=90, memory=80), "ok"),
    ("short-memory", "no recurrent layer", measurement(), None),
    ("stuck-gates", "forget gate shut", in_time(gates={1: -6.0}), "fail"),
    ("stuck-gates", "forget gate open, input gate at 1/2", in_time(gates={1: 6.0}), "warn"),
    ("stuck-gates", "slow by design", in_time(gates={1: 6.0, 0: -6.0}), "ok"),
    ("stuck-gates", "input gate shut", in_time(gates={0: -6.0}), "fail"),
    ("stuck-gates", "GRU that takes nothing in", in_time("gru", gates={1: 6.0}), "fail"),
    ("stuck-gates", "r open", in_time("gru", gates={0: 6.0}), "warn"),
    ("stuck-gates", "LSTM as torch makes it", in_time(), "ok"),
    ("stuck-gates", "RNN: no gates", in_time("rnn_tanh"), None),
]


def rule(id: str) -> Rule:
    return next(each for each in RULES if each.id == id)


@pytest.mark.parametrize(("id", "what", "measured", "status"), CASES, ids=[f"{c[0]}: {c[1]}" for c in CASES])
def test_rule_fires_or_not(id: str, what: str, measured: Measurement, status: str | None) -> None:
    finding = rule(id).check(measured)
    assert (finding.status if finding else None) == status


@pytest.mark.parametrize("id", [each.id for each in DISEASES])
def test_each_rule_has_a_case_that_fires_and_one_that_does_not(id: str) -> None:
    statuses = {status for case_id, _, _, status in CASES if case_id == id}
    assert "fail" in statuses
    assert "ok" in statuses


@pytest.mark.parametrize("case", CASES, ids=[f"{c[0]}: {c[1]}" for c in CASES])
def test_what_fires_says_where_by_what_and_why(case: tuple[str, str, Measurement, str | None]) -> None:
    for finding in diagnose(case[2]).findings:
        if finding.status == "ok":
            continue
        assert finding.text
        assert finding.cause
        assert finding.evidence
        if finding.where is not None:
            first, last = finding.where
            assert 1 <= first <= last <= len(case[2].layers)


def test_sigmoid_50_has_both_diseases_and_no_other() -> None:
    diagnosis = diagnose(sigmoid_50())
    assert [finding.id for finding in diagnosis.failed] == ["vanishing-gradient", "input-lost"]
    vanishing, lost = diagnosis.failed
    assert vanishing.layers == "layers 1-50"
    assert vanishing.evidence["factor"] == pytest.approx(0.236)
    assert lost.where == (5, 50)  # 0.236**4 is the first below a hundredth
    assert "batch-norm" in diagnosis.tries


def recurrent_net(T: int, H: int = 8, **how: Any) -> Measurement:
    rng = np.random.default_rng(0)
    net = gm.Sequential(gm.LSTM(3, H, rng=0, **how), gm.Linear(H, 2, rng=1))
    x = rng.normal(size=(8, T, 3)).astype(np.float32)
    return gm.measure(net, x, rng.integers(0, 2, 8), memory=T - 1)


def test_where_float32_ends_in_time() -> None:
    seen = recurrent_net(400)
    norms = seen.time[0].decay.norms
    found = {finding.id: finding for finding in gm.diagnose(seen).findings}
    underflow = found["float32-underflow"]
    zero = norms.index(0.0)
    first = next(k for k, norm in enumerate(norms) if norm < 2.0**-126 * math.sqrt(8))
    assert 0 < first < zero < 400
    assert f"subnormal from {first} steps back and 0 from {zero}, of 399" in underflow.text
    assert "399 steps back less than float32 holds in full (1.2e-38) is left" in found["vanishing-through-time"].text
    through_h = next(line for line in decay_chart(seen.time).series if line.name == "through h")
    assert through_h.x[-1] == first - 1
    assert min(through_h.y) > 0.0


def test_what_was_carried_on_is_marked() -> None:
    end = recurrent_net(400).time[0].decay.span[1]  # later steps are near the end of float32
    seen = recurrent_net(end + 6)
    assert seen.time[0].decay.span[1] < end + 5
    finding = next(f for f in gm.diagnose(seen).findings if f.id == "vanishing-through-time")
    assert re.search(rf"; {end + 5} steps back ~\d\.\de-\d\d is left", finding.text)
    finding = next(f for f in gm.diagnose(recurrent_net(60)).findings if f.id == "vanishing-through-time")
    assert re.search(r"; 59 steps back \d\.\de-\d\d is left", finding.text)


def test_sentences_in_time() -> None:
    def text(measured: Measurement, id: str) -> str:
        return next(finding.text for finding in gm.diagnose(measured).findings if finding.id == id)

    assert re.fullmatch(r"horizon ~\d+ steps \(1 asked for\)", text(recurrent_net(2), "short-memory"))
    endless = dataclasses.replace(
        far := in_time(memory=50).time[0],
        decay=dataclasses.replace(far.decay, horizon=Horizon(math.inf, math.inf, False, False)),
    )
    healthy = measurement(time=(endless,), memory=50)
    assert text(healthy, "short-memory") == "horizon without end (50 asked for)"
    slow = text(in_time(gates={1: 6.0, 0: -6.0}), "stuck-gates")
    assert slow == "no gate stuck (f open and i shut: a slow memory by design)"
    assert text(in_time(), "stuck-gates").startswith("no gate stuck")

    seen = recurrent_net(60)
    decay, path = seen.time[0].decay, seen.time[0].cell_path
    fallen = int(re.search(r"to 1/1000 within (\d+) steps", text(seen, "short-memory"))[1])  # type: ignore[index]
    assert decay.norms[fallen] <= 1e-3 < decay.norms[fallen - 1]
    cause = next(finding.cause for finding in gm.diagnose(seen).findings if finding.id == "short-memory")
    said = re.search(r"goes back x(\S+) a step: it halves in (\S+) steps", cause)
    assert said is not None
    assert path is not None
    assert float(said[1]) == pytest.approx(path.factor, abs=6e-4)
    assert float(said[2]) == pytest.approx(math.log(0.5) / math.log(path.factor), abs=0.06)


def test_what_follows_from_underflow_is_no_disease_of_its_own() -> None:
    """Dead units and equal samples above the layer whose pre-activations underflow are not reported beside it."""
    diagnosis = diagnose(dark())
    assert [(finding.id, finding.where) for finding in diagnosis.failed] == [
        ("vanishing-gradient", (1, 19)),
        ("float32-underflow", (12, 20)),
    ]
    assert "x0 " not in str(diagnosis).split("layer ")[0]
    assert "1.0e-40 in layer 12" in diagnosis.failed[1].text


def test_a_span_that_ends_in_float32_is_said_to_go_on() -> None:
    lost = {"grad_norm": 1e-45, "grad_rms": 1e-46, "grad_zeros": 0.9, "factor": NAN}
    short = Attenuation(0.236, (0.23, 0.24), 0.236, (14, 60), 0.7, 67.0)
    finding = rule("vanishing-gradient").check(
        measurement(depth=60, factor=0.236, layers=dict.fromkeys(range(1, 14), lost), attenuation=short)
    )
    assert finding is not None
    assert finding.layers == "layers 1-60"
    assert "over layers 14-60, 0 or subnormal below" in finding.text


def test_cause_tells_a_flat_activation_from_small_weights_from_saturation() -> None:
    flat = rule("vanishing-gradient").check(sigmoid_50())
    small = rule("vanishing-gradient").check(he_relu(30, factor=math.sqrt(0.5), gain=1.0))
    tails = rule("vanishing-gradient").check(
        measurement(factor=0.5, gain=9.0, everywhere={"saturated": 0.8, "pre_var": 30.0})
    )
    assert flat is not None
    assert small is not None
    assert tails is not None
    assert "sigmoid' <= 0.25" in flat.cause
    assert "E f'^2 = 0.5 wants fan_in Var W = 2, here 1" in small.cause
    assert "saturated at 80 %" in tails.cause


def test_one_choking_layer_is_named() -> None:
    finding = rule("vanishing-gradient").check(measurement(factor=lambda i: 1e-3 if i == 9 else 1.0, scatter=3))
    assert finding is not None
    assert finding.layers == "layer 9"


def test_cause_tells_norm_from_skip_from_weights() -> None:
    def cause(**everywhere: object) -> str:
        finding = rule("exploding-gradient").check(measurement(depth=40, factor=1.3, gain=3.0, everywhere=everywhere))
        assert finding is not None
        return finding.cause

    assert "Weights too large" in cause()
    assert "norm" in cause(norm="batch")
    assert "skip" in cause(residual=True)


def test_non_finite_names_the_pass_that_broke() -> None:
    broken = {"nans": 5, "pre_var": INF, "out_var": NAN}
    forward = rule("non-finite").check(measurement(layers=dict.fromkeys(range(8, 21), broken)))
    backward = rule("non-finite").check(measurement(layers={i: {"infs": 5} for i in range(1, 12)}))
    from_input = rule("non-finite").check(measurement(layers=dict.fromkeys(range(1, 21), broken)))
    assert forward is not None
    assert backward is not None
    assert from_input is not None
    assert "forward pass overflows in layer 8" in forward.cause
    assert "breaks in layer 11" in backward.cause
    assert "look at the input" in from_input.cause


def test_flushed_subnormals_are_reported() -> None:
    finding = rule("float32-underflow").check(measurement(flushes_subnormals=True))
    assert finding is not None
    assert "flushes subnormals" in finding.text


def test_failures_come_first_and_the_order_is_that_of_the_rules() -> None:
    diagnosis = diagnose(sigmoid_50())
    statuses = [finding.status for finding in diagnosis.findings]
    assert statuses == sorted(statuses, key=["fail", "warn", "ok"].index)
    assert not diagnose(measurement()).failed


def test_healthy_holds_only_alone() -> None:
    for _, _, measured, _ in CASES:
        findings = diagnose(measured).findings
        healthy = any(finding.id == "healthy" for finding in findings)
        assert healthy == all(finding.status == "ok" for finding in findings)


def test_diagnosis_as_json_is_standard_even_with_nan() -> None:
    def refuse(name: str) -> float:
        raise AssertionError(name)

    for _, _, measured, _ in CASES:
        text = diagnose(measured).to_json()
        loaded = json.loads(text, parse_constant=refuse)
        assert {finding["id"] for finding in loaded["findings"]} <= set(rule_ids())


def test_the_screen_names_what_fails_and_folds_the_layers() -> None:
    screen = str(diagnose(sigmoid_50()))
    lines = screen.splitlines()
    assert lines[0].split() == ["FAIL", "vanishing-gradient", "layers", "1-50"]
    assert "44 layers folded: .report(all=True)" in lines
    assert any(line.startswith("try    batch-norm (untested): ") for line in lines)
    assert "       gm.cure(net, train, val) puts them to the test." in lines
    assert any(line.startswith("cause  sigmoid' <= 0.25") for line in lines)
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in screen


def test_advice_is_marked_untested_whoever_measured() -> None:
    ours, theirs = str(diagnose(sigmoid_50())), str(diagnose(dataclasses.replace(sigmoid_50(), isa="torch 2.13.0")))
    assert "convert" not in ours
    assert "where convert refuses" in " ".join(theirs.split())
    assert ours.count("(untested)") == theirs.count("(untested)") == len(diagnose(sigmoid_50()).tries)
    assert "untested" not in str(diagnose(measurement()))


def test_report_shows_every_layer() -> None:
    text = diagnose(sigmoid_50()).report(all=True)
    assert "folded" not in text
    assert [line.split()[0] for line in text.splitlines() if "#" in line][:2] == ["51", "50"]


def test_a_diagnosis_saves_its_page(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    diagnose(sigmoid_50()).save_html(path, title="mine", facts=[("weather", "fine")])
    page = path.read_text(encoding="utf-8")
    for words in ("<title>mine</title>", "weather", "vanishing-gradient", "elu-lecun (untested)", "puts them to the"):
        assert words in page


@pytest.mark.parametrize("id", [each.id for each in RULES])
def test_explain(id: str) -> None:
    text = explain(id)
    assert text.startswith(f"{id}: ")
    for part in ("What", "Measured"):
        assert f"\n{part}" in text
    assert max(map(len, text.splitlines())) <= 110


def test_explain_of_an_unknown_rule_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"'vanishing-gradient'\?\); expected one of: non-finite, double-softmax"):
        explain("vanishing")


def test_diagnose_takes_a_measurement_only() -> None:
    with pytest.raises(TypeError, match=r"measurement: expected a Measurement .* got dict"):
        diagnose({})  # type: ignore[arg-type]


def test_ids_are_unique_and_frozen() -> None:
    assert len(set(rule_ids())) == len(rule_ids())
    diagnosis = diagnose(measurement())
    assert isinstance(diagnosis, Diagnosis)
    with pytest.raises(dataclasses.FrozenInstanceError):
        diagnosis.findings[0].status = "fail"  # type: ignore[misc]
    assert isinstance(diagnosis.findings[0], Finding)


# Real networks


TRAIN = gm.datasets.digits().train[:256]


def failures(net: gm.Sequential) -> set[str]:
    return {finding.id for finding in gm.diagnose(gm.measure(net, *TRAIN)).failed}


def shifted(net: gm.Sequential, bias: float) -> gm.Sequential:
    for module in net.modules:
        if isinstance(module, gm.Linear) and module.bias is not None:
            module.bias[...] = bias
    return net


REAL = [
    ("sigmoid 50", {"activation": "sigmoid"}, 50, {"vanishing-gradient", "input-lost"}),
    ("sigmoid 3", {"activation": "sigmoid"}, 3, set()),
    ("sigmoid 50, batch norm", {"activation": "sigmoid", "norm": "batch"}, 50, set()),
    ("sigmoid 60 of torch", {"activation": "sigmoid", "init": "torch_default"}, 60,
     {"vanishing-gradient", "input-lost", "float32-underflow"}),
    ("relu 30 Xavier", {"activation": "relu"}, 30, {"vanishing-gradient"}),
    ("relu 400 Xavier", {"activation": "relu"}, 400, {"vanishing-gradient", "float32-underflow"}),
    ("relu 30 He", {"activation": "relu", "init": "he_normal"}, 30, set()),
    ("relu 50 He", {"activation": "relu", "init": "he_normal"}, 50, set()),
    ("relu 60, batch norm", {"activation": "relu", "init": "he_normal", "norm": "batch"}, 60, {"exploding-gradient"}),
    ("relu 50 He, scaled residual", {"activation": "relu", "init": "he_normal", "residual": True}, 50, set()),
    ("relu 50 He, residual", {"activation": "relu", "init": "he_normal", "residual": 1.0}, 50, {"exploding-gradient"}),
    ("tanh 20 Xavier", {"activation": "tanh"}, 20, set()),
    ("tanh 20, weights x8", {"activation": "tanh", "gain": 8.0}, 20, {"exploding-gradient", "saturated"}),
    ("selu 30 LeCun", {"activation": "selu", "init": "lecun_normal"}, 30, set()),
    ("elu 50 LeCun", {"activation": "elu", "init": "lecun_normal"}, 50, set()),
    ("relu 50, weights x1e3", {"activation": "relu", "gain": 1e3}, 50, {"non-finite"}),
]  # fmt: skip


@pytest.mark.parametrize(("what", "options", "depth", "expected"), REAL, ids=[row[0] for row in REAL])
def test_real_networks(what: str, options: dict[str, Any], depth: int, expected: set[str]) -> None:
    for seed in range(3):
        assert failures(gm.mlp(64, [128] * depth, 10, rng=seed, **options)) == expected


def test_real_dead_units() -> None:
    net = gm.mlp(64, [128] * 4, 10, activation="relu", init="he_normal", rng=0)
    assert "dead-units" not in failures(net)
    assert "dead-units" in failures(shifted(net, -30.0))


def test_float64_warns_of_what_float32_would_do() -> None:
    net = gm.mlp(64, [128] * 60, 10, activation="sigmoid", init="torch_default", rng=0, dtype="float64")
    diagnosis = gm.diagnose(gm.measure(net, *TRAIN))
    [finding] = [finding for finding in diagnosis.findings if finding.id == "float32-underflow"]
    assert finding.status == "warn"
    assert finding.text.startswith("float32 reaches 0 about 4")
    assert finding.text.endswith("layers below the output (float64 holds it)")


def test_the_layers_that_underflow() -> None:
    """Down to the first layer, where the gradient is 0, from the first where it is subnormal."""
    net = gm.mlp(64, [128] * 100, 10, activation="sigmoid", rng=0)
    measured = gm.measure(net, *TRAIN)
    found = {finding.id: finding for finding in gm.diagnose(measured).failed}
    highest = max(layer.index for layer in measured.hidden if layer.grad_zeros + layer.grad_subnormals > 0.01)
    assert found["float32-underflow"].where == (1, highest)
    assert found["vanishing-gradient"].where == (1, 100)
    assert 40 < measured.attenuation.span[0] < highest < 60


def test_softmax_before_cross_entropy_is_named() -> None:
    rule = next(rule for rule in RULES if rule.id == "double-softmax")
    for ends_in, status in (("softmax", "fail"), ("log_softmax", "ok")):
        finding = rule.check(measurement(ends_in=ends_in))
        assert finding is not None
        assert finding.status == status
    assert rule.check(measurement()) is None
    assert rule.check(measurement(ends_in="softmax", loss="mse")) is None


def test_a_network_that_ends_in_softmax_is_measured_as_such() -> None:
    train, _, _ = gm.datasets.digits()
    for layer, ends_in in ((gm.Softmax(), "softmax"), (gm.LogSoftmax(), "log_softmax"), (gm.Activation("relu"), None)):
        net = gm.Sequential(gm.Linear(64, 16, rng=0), gm.Activation("relu"), gm.Linear(16, 10, rng=1), layer)
        assert gm.measure(net, *train[:64]).ends_in == ends_in


def test_diverged_training_is_named_before_all_else() -> None:
    train, _, _ = gm.datasets.digits()
    net = gm.mlp(64, [16, 16], 10, rng=0)
    net.parameters[...] = math.nan
    found = gm.diagnose(gm.measure(net, *train[:64]))
    assert found.findings[0].id == "non-finite"
    assert "weights of layers 1-3 are not finite" in found.findings[0].text
    assert "learning rate" in found.findings[0].cause
    assert "fitted-init" not in found.findings[0].tries
