"""Cures: what each does to a network, the race between them, and what is said of the result."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import math
import threading
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import gradiometer as gm
import numpy as np
import pytest
from gradiometer import train
from gradiometer.diagnosis import CureResult, cure_ids, experiment, race
from gradiometer.diagnosis.cures import CURES, IN_DEPTH, NotApplicable, by_ids, fitting
from gradiometer.diagnosis.cures.cure import keep
from gradiometer.diagnosis.cures.refit import fitted_gain
from gradiometer.diagnosis.listing import ours
from gradiometer.diagnosis.pytorch import activation_class, pytorch_code, training_lines
from gradiometer.diagnosis.race import UNITS, Group, affordable_unit, finalists
from gradiometer.diagnosis.result import LEAST_STEPS
from gradiometer.diagnosis.scoring import interval, merits, metric, tied
from gradiometer.diagnosis.text import cure_remarks, few_steps, rounds_in_words
from numpy.typing import NDArray

TRAIN, VAL, TEST = gm.datasets.digits()


def patient(**more: Any) -> gm.Sequential:
    return gm.mlp(64, [32] * 12, 10, **{"activation": "sigmoid", "rng": 0, **more})


@pytest.fixture(scope="module")
def cured() -> CureResult:
    return gm.cure(patient(), TRAIN, VAL, test=TEST, steps=20, candidates=["batch-norm", "elu-lecun", "adam"])


# Scoring


def test_wilson_interval() -> None:
    """Wilson 1927 at 9 of 10: 0.5958 to 0.9821, by its own quadratic (p - p0)^2 = z^2 p0 (1 - p0) / n."""
    low, high = interval("cross_entropy", np.array([1.0] * 9 + [0.0]), np.zeros(10))
    for bound in (low, high):
        assert (0.9 - bound) ** 2 == pytest.approx(1.959963984540054**2 * bound * (1 - bound) / 10)
    assert low < 0.9 < high < 1.0
    assert interval("cross_entropy", np.ones(50), np.zeros(50))[1] == pytest.approx(1.0)


def test_r2_is_the_mean_of_the_merits() -> None:
    rng = np.random.default_rng(0)
    target = rng.standard_normal((40, 3)) + 5.0
    y = target + 0.5 * rng.standard_normal((40, 3))
    merit = merits("mse", y, target)
    assert metric(merit) == pytest.approx(1 - np.sum((y - target) ** 2) / np.sum((target - target.mean(axis=0)) ** 2))
    assert metric(merits("mse", target, target)) == 1.0
    low, high = interval("mse", merit, target)
    assert low < metric(merit) < high < 1.0
    assert interval("mse", merits("mse", target, target), target) == (1.0, 1.0)


def test_a_network_that_is_not_finite_ranks_last() -> None:
    assert metric(merits("mse", np.full((4, 1), math.nan), np.arange(4.0))) == -math.inf


@pytest.mark.parametrize(("won", "lost", "expected"), [(0, 0, True), (3, 0, True), (9, 8, True), (12, 1, False)])
def test_ties_are_paired(won: int, lost: int, expected: bool) -> None:
    """By McNemar's exact test 3 of 3 has p = 0.25 and 12 of 13 p = 0.003, whatever the number of samples."""
    first, second = np.ones(300), np.ones(300)
    second[:won] = 0
    first[won : won + lost] = 0
    assert tied("cross_entropy", first, second) == expected
    assert tied("cross_entropy", second, first) == expected


def test_ties_of_few_samples() -> None:
    """Half a sample in each of four cells: 3 of 3 differ by 3/5 with variance (4/5 - 9/25) / 5, 2 of 2 by 1/2 with
    (3/4 - 1/4) / 4."""
    assert not tied("cross_entropy", np.ones(3), np.zeros(3))
    assert tied("cross_entropy", np.ones(2), np.zeros(2))


# Planning


def test_planned_steps_fit_the_budget() -> None:
    for costs in ([0.002] * 8, [0.001, 0.02, 0.003], [0.5] * 4):
        unit = affordable_unit(costs, [3] * len(costs), 10.0)
        rounds = sum(c * (3 * UNITS[0] + UNITS[1]) for c in costs) + UNITS[2] * sum(
            sorted(costs)[-finalists(len(costs)) - 1 :]
        )
        assert unit * rounds <= 10.0 or unit == 1
        assert unit == 1 or 2 * unit * rounds > 10.0


def test_planned_steps_change_in_coarse_steps_only() -> None:
    units = {affordable_unit([cost] * 8, [3] * 8, 10.0) for cost in np.linspace(0.0020, 0.0022, 21)}
    assert len(units) <= 2


# What a cure does


def test_fitted_gain_is_critical() -> None:
    assert fitted_gain("relu") == pytest.approx(math.sqrt(2))
    assert fitted_gain("tanh") == pytest.approx(1.0)
    assert fitted_gain("sigmoid") == pytest.approx(10.14926, rel=1e-4)
    # Without a critical point the gain is that of unit pre-activations: E gelu'^2 = 0.455851.
    assert fitted_gain("gelu") == pytest.approx(1 / math.sqrt(0.455851), rel=1e-4)


@pytest.mark.parametrize("cure", [cure for cure in CURES if cure.apply is not keep], ids=lambda cure: cure.id)
def test_each_cure_brings_the_factor_near_1(cure: Any) -> None:
    net = gm.mlp(64, [128] * 20, 10, activation="sigmoid", rng=0)
    before = gm.measure(net, *TRAIN[:256]).attenuation.factor
    after = gm.measure(cure.apply(net, 0), *TRAIN[:256]).attenuation.factor
    assert before < 0.3
    assert 0.85 < after < 1.2


@pytest.mark.parametrize("cure", CURES, ids=lambda cure: cure.id)
def test_no_cure_changes_the_network_given(cure: Any) -> None:
    net = patient()
    before = net.parameters.copy()
    made = cure.apply(net, 1)
    made.parameters[...] = 7.0
    assert np.array_equal(net.parameters, before)


def test_cures_that_change_nothing_are_left_out_and_said() -> None:
    net = patient(activation="relu", init="he_normal", norm="batch", residual=True)
    for id in ("batch-norm", "fitted-init", "scaled-residual"):
        with pytest.raises(NotApplicable):
            next(cure for cure in CURES if cure.id == id).apply(net, 0)
    result = gm.cure(net, TRAIN, VAL, steps=1)
    assert not {"batch-norm", "scaled-residual", "fitted-init"} & {row.id for row in result.rows}
    assert any("batch-norm" in note for note in result.notes)


def test_the_same_network_is_not_tried_twice() -> None:
    result = gm.cure(patient(activation="relu"), TRAIN, VAL, steps=1, candidates=["fitted-init", "relu-he"])
    assert [row.id for row in result.rows if row.id != "as-given"] == ["fitted-init"]
    assert "Not tried: relu-he: the same network as fitted-init." in result.notes


def own() -> gm.Sequential:
    """By hand, two activations, one hidden layer that keeps its width, a chain within."""
    inner = gm.Sequential(gm.Linear(24, 24, rng=1), gm.Activation("relu"))
    return gm.Sequential(gm.Linear(64, 24, rng=0), gm.Activation("tanh"), inner, gm.Linear(24, 10, rng=2))


def kinds(net: gm.Sequential) -> list[str]:
    leaf = [m for _, m in net.named_modules() if not isinstance(m, gm.Sequential)]
    return [str(m._config().get("name", type(m).__name__)) for m in leaf]


def test_a_network_of_ones_own_is_changed_layer_by_layer() -> None:
    net = own()
    before = net.parameters.copy()
    made = {cure.id: cure.apply(net, 0) for cure in CURES}
    assert kinds(made["batch-norm"]) == [
        "Linear", "BatchNorm1d", "tanh", "Linear", "BatchNorm1d", "relu", "Linear",
    ]  # fmt: skip
    assert kinds(made["selu"]) == ["Linear", "selu", "Linear", "selu", "Linear"]
    assert kinds(made["scaled-residual"]) == ["Linear", "tanh", "Residual", "Linear", "relu", "Linear"]
    assert 24 * np.var(made["relu-he"][2][0].weight) == pytest.approx(2.0, rel=0.3)
    x = TRAIN.x[:9]
    h = np.tanh(x @ net[0].weight.T + net[0].bias)
    h = h + np.maximum(h @ net[2][0].weight.T + net[2][0].bias, 0)
    np.testing.assert_allclose(made["scaled-residual"](x), h @ net[3].weight.T + net[3].bias, atol=1e-4)
    for each in made.values():
        each.parameters[...] = 7.0
    assert np.array_equal(net.parameters, before)
    result = gm.cure(net, TRAIN, VAL, steps=1)
    assert {row.id for row in result.rows} == {cure.id for cure in fitting(net)} == {"as-given", "adam", *IN_DEPTH}


@pytest.mark.parametrize(
    ("net", "id", "reason"),
    [
        (gm.Sequential(gm.Linear(64, 10, rng=0)), "batch-norm", "no activation"),
        (gm.Sequential(gm.Linear(64, 8, rng=0), gm.Activation("relu"), gm.Linear(8, 10)), "scaled-residual", "width"),
        (gm.Sequential(gm.Linear(64, 8, rng=0), gm.LayerNorm(8), gm.Activation("relu")), "batch-norm", "norms already"),
        (gm.Sequential(gm.Residual(gm.Linear(64, 64, rng=0), gm.Activation("relu"))), "scaled-residual", "skips"),
    ],
)
def test_what_cannot_be_changed_is_said(net: gm.Sequential, id: str, reason: str) -> None:
    with pytest.raises(NotApplicable, match=reason):
        next(cure for cure in CURES if cure.id == id).apply(net, 0)


def test_the_fit_of_weights_to_activations_of_ones_own() -> None:
    net = own()
    fitted = next(cure for cure in CURES if cure.id == "fitted-init").apply(net, 0)
    first, second, third = (module for _, module in fitted.named_modules() if isinstance(module, gm.Linear))
    assert 64 * np.var(first.weight) == pytest.approx(1.0, rel=0.2)
    assert 24 * np.var(second.weight) == pytest.approx(2.0, rel=0.3)
    assert 24 * np.var(third.weight) == pytest.approx(1.0, rel=0.4)


# The race


def test_sigmoid_is_cured(cured: CureResult) -> None:
    assert {row.id for row in cured.cured} == {"batch-norm", "elu-lecun"}
    assert cured.best.test > 0.7
    assert cured.as_given.val < 0.2
    assert cured.as_given.factor < 0.3 < 0.85 < cured.best.factor < 1.2
    assert [row.val for row in cured.rows] == sorted((row.val for row in cured.rows), reverse=True)
    assert cured.diagnosis.failed


def test_what_is_reported_is_what_the_networks_do(cured: CureResult) -> None:
    for row in cured.rows:
        assert row.network.evaluate(VAL).metric == pytest.approx(row.val, abs=1e-12)
        assert row.network.evaluate(TEST).metric == pytest.approx(row.test, abs=1e-12)
        assert row.test_interval[0] <= row.test <= row.test_interval[1]


def test_cost_is_by_the_network_as_given(cured: CureResult) -> None:
    assert cured.as_given.cost == 1.0
    for row in cured.rows:
        assert row.cost == pytest.approx(row.step_seconds / cured.as_given.step_seconds, rel=1e-12)


def test_two_samples_prove_no_cure() -> None:
    result = gm.cure(patient(), TRAIN, VAL, test=TEST[:2], steps=20, candidates=["batch-norm"])
    assert result.best.id == "batch-norm"
    assert not result.cured


def test_a_cure_is_chosen_on_validation_whatever_the_test_set_says(cured: CureResult) -> None:
    """A validation set of the very class that the given network, a constant, says: it cannot be beaten there."""
    said = cured.as_given.network.predict(TEST.x).argmax(axis=1)
    assert len(set(said)) == 1
    same = VAL.y == said[0]
    result = gm.cure(patient(), TRAIN, VAL[same], test=TEST, steps=20, candidates=["batch-norm"])
    row = next(row for row in result.rows if row.id == "batch-norm")
    assert result.as_given.val == 1.0
    assert row.test > 2 * result.as_given.test
    assert not row.cured


def test_a_share_of_the_rate_is_a_share_of_the_rate() -> None:
    x, y = TRAIN[:64]
    group = Group(by_ids(["adam"])[1], patient(), (x, y), "cross_entropy", 32, 0)
    runner = group.runner(1e-3)
    runner.train(1, 0.25, lambda _: True)
    assert runner.trainer.optimizer.learning_rate == 2.5e-4
    assert (runner.rate, runner.history.steps) == (1e-3, 1)
    runner.train(5, 1.0, lambda _: False)
    assert runner.history.steps == 1


def test_the_given_network_trains_as_long_as_the_best(cured: CureResult) -> None:
    assert cured.as_given.steps == cured.best.steps == sum(cured.rounds)


def test_the_same_steps_give_the_same_result(cured: CureResult) -> None:
    again = gm.cure(patient(), TRAIN, VAL, test=TEST, steps=20, candidates=["batch-norm", "elu-lecun", "adam"])
    for one, other in zip(cured.rows, again.rows, strict=True):
        assert (one.id, one.rate, one.val, one.test) == (other.id, other.rate, other.val, other.test)
        assert np.array_equal(one.network.parameters, other.network.parameters)


def test_the_code_trains_the_very_network(cured: CureResult) -> None:
    for row in cured.rows:
        scope: dict[str, Any] = {"train": TRAIN, "val": VAL}
        exec(row.code, scope)
        assert repr(scope["net"]) == repr(row.network)
        assert np.array_equal(scope["net"].parameters, row.network.parameters), row.id
    assert "MultiStep" in cured.best.code
    assert "MultiStepLR" in cured.best.pytorch


def test_the_code_for_a_network_not_of_mlp_builds_its_layers() -> None:
    """Cures that initialise the weights anew are trained to the very bits; the others begin from what was given."""
    net = own()
    result = gm.cure(net, TRAIN, VAL, steps=3)
    assert {row.title for row in result.rows} >= {"tanh/relu + batch norm", "as given"}
    for row in result.rows:
        scope: dict[str, Any] = {"train": TRAIN, "val": VAL}
        exec(row.code, scope)
        assert kinds(scope["net"]) == kinds(row.network)
        compile(row.pytorch, "model.py", "exec")
        assert "by_ids" not in row.code + row.pytorch
        if row.id in ("selu", "elu-lecun", "relu-he", "fitted-init"):
            assert np.array_equal(scope["net"].parameters, row.network.parameters), row.id
        else:
            assert "weights anew" in row.code


def test_the_code_for_a_network_with_other_weights_than_of_the_seed_says_so() -> None:
    result = gm.cure(patient(rng=5), TRAIN, VAL, steps=1, candidates=["adam", "batch-norm"])
    assert {row.id for row in result.rows if "weights anew" in row.code} == {"as-given", "adam"}


def test_layers_that_come_again_are_folded() -> None:
    net = gm.mlp(4, [8] * 5, 3, activation="elu", norm="layer", residual=True, dtype="float64", rng=0)
    net.spec = None
    text = ours(net)
    assert "*(gm.Residual(" in text
    made = eval(text, {"gm": gm})
    assert repr(made) == repr(net)
    frozen = gm.mlp(4, [8] * 5, 3, rng=0)
    frozen[0].requires_grad_(False)
    frozen[4].requires_grad_(False, "bias")
    assert eval(ours(frozen), {"gm": gm}).requires_grad == frozen.requires_grad


def test_advice_that_was_not_among_the_candidates_is_marked() -> None:
    result = gm.cure(patient(), TRAIN, VAL, steps=1, candidates=["adam"])
    assert any("Advised, but untested on this network: batch-norm" in remark for remark in cure_remarks(result))


def test_the_budget_is_kept() -> None:
    result = gm.cure(patient(), TRAIN, VAL, budget=0.3, candidates=["batch-norm"])
    assert result.rounds[0] >= 1
    assert result.budget == 0.3
    assert all(row.steps > 0 for row in result.rows) or any("ran out" in note for note in result.notes)


class SlowClock:
    """Every look at it takes some seconds, whatever the machine does."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.now = seconds, itertools.count()

    def perf_counter(self) -> float:
        return next(self.now) * self.seconds


@pytest.mark.parametrize(
    ("seconds", "budget", "enough"),
    [(0.0004, None, True), (0.006, None, True), (0.006, 4.5, False), (0.2, None, False)],
)
def test_without_a_budget_it_goes_on_until_ranking_means_something(
    seconds: float, budget: float | None, enough: bool, monkeypatch: Any
) -> None:
    """A look at the clock of 0.4 ms: enough in 4.5 s; of 6 ms: enough only later; of 0.2 s: not even in 20 s. Without
    waiting: a step is two looks or three."""
    clock = SlowClock(seconds)
    for module in (experiment, race, train):
        monkeypatch.setattr(module, "time", clock)
    result = gm.cure(
        patient(), TRAIN, VAL, test=TEST, budget=budget, candidates=["batch-norm", "elu-lecun", "selu", "relu-he"]
    )
    finalists_ = sorted(row.steps for row in result.rows)[2:]
    assert len(result.rows) == 5
    assert (finalists_[0] >= LEAST_STEPS) == enough == (result.as_given.steps >= LEAST_STEPS)
    assert bool(result.cured) == enough
    assert result.budget == 4.5
    end = 4.5 if budget is not None or seconds < 0.001 else 20.0
    assert result.seconds < end + 100 * seconds  # the clock is looked at after the time is over, too
    assert any("slow or busy machine" in note for note in result.notes) == (enough and seconds > 0.001)
    assert bool(few_steps(result)) != enough


class ChangingClock:
    """As `SlowClock`, with looks that may become dearer."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.now, self.lock = seconds, 0.0, threading.Lock()

    def perf_counter(self) -> float:
        with self.lock:
            self.now += self.seconds
            return self.now


@pytest.fixture
def clock(monkeypatch: Any) -> Iterator[ChangingClock]:
    """On one thread, so that looks come in the same order every time."""
    made = ChangingClock(0.0001)
    for module in (experiment, race, train):
        monkeypatch.setattr(module, "time", made)
    gm.kernels.set_threads(1)
    yield made
    gm.kernels.set_threads(0)


@pytest.mark.parametrize("slower", [1, 5, 20])
def test_all_candidates_of_a_round_make_the_same_steps(clock: ChangingClock, slower: int, monkeypatch: Any) -> None:
    """Also where a step takes 5 or 20 times what it took when the rounds were planned."""
    planned = []

    def plan(*arguments: Any) -> int:
        planned.append(affordable_unit(*arguments))
        clock.seconds = 0.0001 * slower
        return planned[-1]

    monkeypatch.setattr(experiment, "affordable_unit", plan)
    net = gm.Sequential(gm.RNN(3, 6, rng=0), gm.Linear(6, 3, rng=1))
    x = np.random.default_rng(0).standard_normal((64, 5, 3)).astype(np.float32)
    data = (x, np.arange(64) % 3)
    result = gm.cure(net, data, data, budget=4.0)
    first, second, last = result.rounds
    assert len(result.rows) == 9
    assert {row.steps for row in result.rows} == {first + second, first + second + last}
    assert [row.steps for row in result.rows].count(first + second + last) == 1 + finalists(9)
    assert first <= planned[0]
    assert (first < planned[0]) == (slower > 1)
    assert second >= first
    assert last >= second
    assert "time ran out" not in rounds_in_words(result)
    assert not any("steps differ" in note or "Stopped by the clock" in note for note in result.notes)
    assert any("within a round all made the same steps" in note for note in result.notes) == (slower > 1)


def test_who_was_stopped_by_the_clock_is_not_called_beaten(clock: ChangingClock, monkeypatch: Any) -> None:
    """The machine stands still in the third turn of the first round, at the second rate of the second candidate."""
    trained, looks = race.Runner.train, itertools.count()

    def stands_still(runner: Any, *arguments: Any) -> None:
        if next(looks) == 2 * 12 + 4:
            clock.now += 10.0
        trained(runner, *arguments)

    monkeypatch.setattr(race.Runner, "train", stands_still)
    result = gm.cure(patient(), TRAIN, VAL, budget=4.0, candidates=["batch-norm", "elu-lecun", "adam"])
    told = " ".join(result.notes)
    assert "The budget of 4 s ran out before the last round was over: steps differ." in told
    assert result.rounds[1:] == (0, 0)
    assert "Behind at half time" not in told
    stopped = {row.title for row in result.rows if row.steps < result.rounds[0] and f" {row.title}" in told}
    note = next(note for note in result.notes if note.startswith("Stopped by the clock before half time, not beaten: "))
    assert stopped == set(note.partition(": ")[2].rstrip(".").split("; "))
    assert "planned were" in rounds_in_words(result)


def test_groups_that_do_not_fit_into_memory_follow_each_other(cured: CureResult, monkeypatch: Any) -> None:
    groups = [Group(each, patient(), TRAIN[:64], "cross_entropy", 32, 0) for each in CURES[:3]]
    assert [len(some) for some in race.parcels(groups)] == [3]
    monkeypatch.setattr(race, "MEMORY", groups[0].bytes + groups[1].bytes)
    assert [len(some) for some in race.parcels(groups)] == [2, 1]
    monkeypatch.setattr(race, "MEMORY", 1)
    assert [len(some) for some in race.parcels(groups)] == [1, 1, 1]
    again = gm.cure(patient(), TRAIN, VAL, test=TEST, steps=20, candidates=["batch-norm", "elu-lecun", "adam"])
    assert [(row.id, row.val, row.steps) for row in again.rows] == [(row.id, row.val, row.steps) for row in cured.rows]


def test_a_budget_too_small_for_anything_leaves_a_step_each() -> None:
    result = gm.cure(patient(), TRAIN, VAL, budget=1e-9, candidates=["batch-norm"])
    assert all(row.steps >= 1 for row in result.rows)
    assert any("ran out" in note for note in result.notes)


def test_a_tiny_budget_leaves_candidates_out_and_says_so() -> None:
    result = gm.cure(patient(), TRAIN, VAL, budget=1e-9)
    assert [row.id for row in result.rows if row.id != "as-given"] == ["adam"]
    assert {row.steps for row in result.rows} <= {1, 2, 3, 4, 5}
    assert any("does not allow it" in note and "batch-norm" in note for note in result.notes)


def test_the_parameters_of_a_loss_count() -> None:
    """Class weights of next to nothing but for class 3: the network learns to say little else."""
    loss = gm.losses.CrossEntropy(class_weights=[1.0 if c == 3 else 1e-6 for c in range(10)])
    result = gm.cure(gm.mlp(64, [32], 10, rng=0), TRAIN, VAL, loss=loss, steps=60, candidates=["adam"])
    assert (result.best.network.predict(VAL.x).argmax(axis=1) == 3).mean() > 0.5
    assert result.diagnosis.measurement.loss_value == pytest.approx(
        gm.measure(gm.mlp(64, [32], 10, rng=0), *TRAIN[:256], loss=loss).loss_value
    )
    assert "loss=gm.losses.Loss('cross_entropy', [1e-06, 1e-06, 1e-06, 1.0" in result.best.code


def test_threads_are_as_before() -> None:
    gm.kernels.set_threads(2)
    try:
        gm.cure(patient(), TRAIN, VAL, steps=1, candidates=["adam"])
        assert gm.kernels.threads() == 2
    finally:
        gm.kernels.set_threads(0)


def test_regression() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 8)).astype(np.float32)
    y = np.tanh(x[:, :1] * x[:, 1:2]).astype(np.float32)
    net = gm.mlp(8, [24] * 10, 1, activation="sigmoid", rng=0)
    result = gm.cure(net, (x[:200], y[:200]), (x[200:], y[200:]), loss="mse", steps=40, candidates=["elu-lecun"])
    assert result.metric == "r2"
    assert result.best.id == "elu-lecun"
    assert result.best.val > 0.2 > result.as_given.val
    assert math.isnan(result.best.test)
    assert "mse" in result.best.code


def test_a_diverged_candidate_ranks_last() -> None:
    net = gm.mlp(64, [32] * 3, 10, activation="relu", rng=0)
    net.parameters[...] *= 1e25
    result = gm.cure(net, TRAIN, VAL, test=TEST, steps=2, candidates=["elu-lecun"])
    assert result.as_given is result.rows[-1]
    assert result.as_given.val == -math.inf
    assert "diverged" in str(result)
    json.loads(result.to_json(), parse_constant=pytest.fail)


def test_progress_is_told() -> None:
    told: list[str] = []
    gm.cure(patient(), TRAIN, VAL, steps=1, candidates=["adam"], progress=told.append)
    assert any("round 3 of 3" in line for line in told)


@pytest.mark.parametrize("progress", [True, False, None])
def test_progress_may_be_a_switch(progress: bool | None, monkeypatch: Any) -> None:
    """As for fit: a line on stderr that is taken away at the end, where that is a terminal."""
    stderr = io.StringIO()
    stderr.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stderr", stderr)
    monkeypatch.setenv("TERM", "xterm")
    gm.cure(patient(), TRAIN, VAL, steps=1, candidates=["adam"], progress=progress)
    assert ("round 3 of 3" in stderr.getvalue()) == (progress is True)
    assert progress is not True or stderr.getvalue().endswith("\r\x1b[K")


def test_a_few_steps_crown_nobody() -> None:
    """15 steps make batch norm better than the network as given, which after 7 times as many is said."""
    result = gm.cure(patient(), TRAIN, VAL, test=TEST, steps=6, candidates=["batch-norm"])
    assert max(row.steps for row in result.rows) == 42
    assert not result.cured
    text = str(result)
    assert text.startswith("TOO FEW STEPS: 42 in ")
    assert "ranking not meaningful" in " ".join(text.split())
    assert "Numbered" not in text
    assert "paste" not in text
    assert "None beats" not in text


def test_rows_left_behind_after_few_steps_are_named(cured: CureResult) -> None:
    rows = tuple(dataclasses.replace(row, steps=12) if row.id == "adam" else row for row in cured.rows)
    assert "Not ranked, too few steps: adam alone 12." in cure_remarks(dataclasses.replace(cured, rows=rows))


def test_names_that_hold_commas_are_told_apart() -> None:
    net = gm.Sequential(gm.RNN(3, 6, rng=0), gm.Linear(6, 3, rng=1))
    x = np.random.default_rng(0).standard_normal((64, 5, 3)).astype(np.float32)
    data = (x, np.arange(64) % 3)
    result = gm.cure(net, data, data, steps=1)
    note = next(note for note in result.notes if note.startswith("Behind at half time"))
    names = note.partition(": ")[2].rstrip(".").split("; ")
    assert len(names) == 8 - finalists(9)
    assert set(names) < {row.title for row in result.rows}
    assert "Not tried: forget-bias: for LSTM." in result.notes


def test_a_cost_of_a_few_steps_is_not_shown() -> None:
    result = gm.cure(patient(), TRAIN, VAL, steps=1, candidates=["batch-norm"])
    assert all(math.isnan(row.cost) for row in result.rows)
    assert "xnan" not in str(result)


def frozen_own() -> gm.Sequential:
    net = own()
    net[0].requires_grad_(False)
    return net


def test_no_cure_touches_what_is_frozen() -> None:
    for net in (frozen_own(), patient()):
        net[0].requires_grad_(False)
        result = gm.cure(net, TRAIN, VAL, steps=3)
        for row in result.rows:
            first = next(module for _, module in row.network.named_modules() if isinstance(module, gm.Linear))
            assert np.array_equal(first.weight, net[0].weight), row.id
            assert first.requires_grad == {"weight": False, "bias": False}
            assert ".requires_grad_(False)" in row.code
            assert row.measurement.layers[0].frozen == ("weight", "bias")
        assert "Frozen and the same in every row: parameters of layer 1." in result.notes


def test_a_network_frozen_throughout_is_refused() -> None:
    with pytest.raises(ValueError, match="every parameter of net is frozen"):
        gm.cure(patient().requires_grad_(False), TRAIN, VAL, steps=1)


@pytest.mark.parametrize(("n", "noise"), [(20, 0.3), (60, 0.1), (200, 1.0)])
def test_the_interval_of_r2_covers(n: int, noise: float) -> None:
    """Over 1000 test sets R^2 of the population, 1 - noise^2 / (1 + noise^2), lies within in 92 to 98 %; three standard
    errors of a share of 95 % are 2 %, and the delta method is short by 1 to 2 % at n of 20."""
    rng = np.random.default_rng(n)
    truth, inside = 1.0 / (1.0 + noise**2), 0
    for _ in range(1000):
        y = rng.standard_normal((n, 1))
        target = y + noise * rng.standard_normal((n, 1))
        low, high = interval("mse", merits("mse", y, target), target)
        assert high < 1.0
        inside += low <= truth <= high
    assert 0.915 <= inside / 1000 <= 0.98


# What is said


def test_screen_names_the_ties_and_the_code(cured: CureResult) -> None:
    text = str(cured)
    assert "sigmoid + batch norm" in text
    assert 'norm="batch"' in text
    assert "nn.BatchNorm1d(32)" in text or "nn.ELU()" in text
    ranks = [line.split()[0] for line in text.splitlines()[1:5]]
    assert ranks[:2] == ["1", "2"]
    assert ranks[2] in ("adam", "as")


def test_remarks_name_a_factor_near_1_that_did_not_train(cured: CureResult) -> None:
    assert not any("needed, not enough" in remark for remark in cure_remarks(cured))
    rows = tuple(dataclasses.replace(row, test=0.125 if row.id == "batch-norm" else 0.9) for row in cured.rows)
    remarks = cure_remarks(dataclasses.replace(cured, rows=rows[::-1] if rows[0].id == "batch-norm" else rows))
    assert any("needed, not enough: sigmoid + batch norm" in remark and ".125" in remark for remark in remarks)


def test_a_finding_that_the_first_has_as_well_is_said_not_to_have_hurt(cured: CureResult) -> None:
    words = "The first, before training, has FAIL vanishing-gradient, input-lost as well: in this run that did not keep"
    assert not any("as well: in this run" in remark for remark in cure_remarks(cured))
    first, *others = cured.rows
    same = dataclasses.replace(first, measurement=cured.as_given.measurement)
    assert any(remark.startswith(words) for remark in cure_remarks(dataclasses.replace(cured, rows=(same, *others))))


def test_none_cured_is_said(cured: CureResult) -> None:
    rows = tuple(dataclasses.replace(row, cured=False) for row in cured.rows)
    text = str(dataclasses.replace(cured, rows=rows))
    assert "None beats the network as given" in text
    assert "FAIL vanishing-gradient, input-lost is of the network before training" in " ".join(text.split())
    assert "The network as given has accuracy" in text
    assert "The first has" not in text
    assert "paste" not in text


def test_the_rounds_are_said_as_the_table_has_them(cured: CureResult) -> None:
    assert cured.rounds == (20, 40, 80)
    assert (
        rounds_in_words(cured)
        == "20 at each learning rate, 40 more at the best, 80 more for the better half and as given"
    )
    short = tuple(dataclasses.replace(row, steps=row.steps - 1) for row in cured.rows)
    assert "time ran out" in rounds_in_words(dataclasses.replace(cured, rows=short))


def test_reprs_are_a_few_lines(cured: CureResult) -> None:
    shown = {"rows": 120, "result": 500, "diagnosis": 200}
    for name, value in {"rows": cured.best, "result": cured, "diagnosis": cured.diagnosis}.items():
        assert len(repr(value)) < shown[name]
        assert len(repr(value).splitlines()) <= 5
    assert repr(cured).startswith("<CureResult 64-[32]x12-10: 2 of 3 beat it as given")
    assert "FAIL vanishing-gradient layers 1-12" in repr(cured.diagnosis)


def test_a_notebook_shows_the_cures_and_the_diagnosis(cured: CureResult) -> None:
    """As the page has them, well-formed."""
    for result, words in ((cured, ("sigmoid + batch norm", "import torch")), (cured.diagnosis, ("Likely cause",))):
        html = result._repr_html_()
        ElementTree.fromstring(html)
        assert "<svg" in html
        assert "<table" in html
        for word in words:
            assert word in html


def test_html_is_one_file_with_all_sections(cured: CureResult, tmp_path: Any) -> None:
    path = tmp_path / "report.html"
    cured.save_html(path)
    page = path.read_text(encoding="utf-8")
    for section in ("vanishing-gradient", "Likely cause", "Before and after", "How it was measured", "<svg"):
        assert section in page
    for outside in ("http://", "https://", "<script", "<link", "<img"):
        assert outside not in page.replace("http://www.w3.org/2000/svg", "")


def test_json_holds_every_row(cured: CureResult) -> None:
    loaded = json.loads(cured.to_json(), parse_constant=pytest.fail)
    assert [row["id"] for row in loaded["rows"]] == [row.id for row in cured.rows]
    assert len(loaded["rows"][0]["grad_norm"]) == 12


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("relu", {}, "nn.ReLU()"),
        ("leaky_relu", {}, "nn.LeakyReLU()"),
        ("sigmoid", {}, "nn.Sigmoid()"),
        ("elu", {"alpha": 0.5}, "nn.ELU(alpha=0.5)"),
        ("silu", {}, "nn.SiLU()"),
    ],
)
def test_names_of_pytorch(name: str, params: dict[str, float], expected: str) -> None:
    assert activation_class(name, params) == expected


def test_pytorch_code_is_python() -> None:
    for more in ({}, {"norm": "batch"}, {"residual": True}, {"bias": False}, {"init": "orthogonal", "gain": 1.5}):
        for hidden in ([32], [32, 32], [16, 32, 32, 8]):
            spec = gm.mlp(4, hidden, 3, **more).spec
            assert spec is not None
            compile(pytorch_code(spec, training_lines("adam", 1e-3, 0.9, [3, 4], 0.3)), "model.py", "exec")


# Bad input


Samples = tuple[NDArray[Any], NDArray[Any]]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"net": gm.Linear(64, 10)}, TypeError, "net is Linear; expected a Sequential"),
        ({"net": "net"}, TypeError, "net is str; expected a Sequential"),
        ({"budget": 0}, ValueError, "budget is 0; expected a finite number above 0"),
        ({"budget": math.nan}, ValueError, "budget is nan"),
        ({"budget": "5"}, TypeError, "budget is '5'; expected a number of seconds"),
        ({"steps": 0}, ValueError, "steps is 0; expected a positive integer"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"progress": 1}, TypeError, "progress is 1; expected a callable that takes a line of text, True, False or"),
        ({"loss": "hinge"}, ValueError, "loss is 'hinge'; expected one of"),
        ({"candidates": ["dropout"]}, ValueError, "candidates has 'dropout'; expected ids among: as-given"),
        ({"candidates": "adam"}, TypeError, "candidates is 'adam'; expected a sequence"),
        ({"val": None}, TypeError, r"val is NoneType; expected a pair \(x, y\)"),
        ({"val": (np.zeros((5, 3), np.float32), np.zeros(5, int))}, ValueError, r"val: x has shape \(5, 3\)"),
        ({"test": (np.zeros((5, 64), np.float32), np.full(5, 10))}, IndexError, "test: y has classes 10"),
        ({"train": (np.zeros((3, 64), np.float32), np.zeros(3, int))}, ValueError, "train has 3 samples; expected 4"),
        (
            {"train": (np.full((9, 64), np.nan), np.zeros(9, int))},
            ValueError,
            "train: x has 576 numbers that",
        ),
        ({"train": (np.zeros((9, 64)), np.zeros(9))}, TypeError, "train: y has dtype float64"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], error: type[Exception], message: str) -> None:
    net = patient()
    before = net.parameters.copy()
    with pytest.raises(error, match=message):
        gm.cure(**{"net": net, "train": TRAIN, "val": VAL, "steps": 1, **change})
    assert np.array_equal(net.parameters, before)


def test_by_ids_keeps_the_network_as_given() -> None:
    assert [cure.id for cure in by_ids(["selu"])] == ["as-given", "selu"]
    assert len(set(cure_ids())) == len(cure_ids())


def test_rules_suggest_cures_that_exist() -> None:
    suggested = gm.diagnose(gm.measure(patient(), *TRAIN[:64])).tries
    assert suggested
    assert set(suggested) <= set(cure_ids())
