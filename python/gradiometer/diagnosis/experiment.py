"""Candidates built, measured, trained and compared: what cures a network, by experiment."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradiometer import kernels
from gradiometer.batches import checked, converted
from gradiometer.diagnosis.cures import Cure, NotApplicable, at_rates_of, by_ids, fitting
from gradiometer.diagnosis.cures.cure import MOMENTUM, keep
from gradiometer.diagnosis.listing import ours, ours_weights
from gradiometer.diagnosis.pytorch import pytorch_code, pytorch_listing, training_lines
from gradiometer.diagnosis.race import GAMMA, TIMED, UNITS, Group, Runner, affordable_unit, race, timed
from gradiometer.diagnosis.result import LEAST_STEPS, CureResult, CureRow
from gradiometer.diagnosis.scoring import interval, merits, metric, tied
from gradiometer.layers import Activation, PReLU
from gradiometer.losses import Loss, as_loss, metric_name
from gradiometer.measurement import Measurement, measure
from gradiometer.networks import Sequential
from gradiometer.progress import Meter
from gradiometer.report.text import spans
from gradiometer.sequences import Sequences, split, within

if TYPE_CHECKING:
    from gradiometer.networks import MlpSpec

__all__ = ["cure"]

Data = tuple[Any, NDArray[Any]]
"""x, an array or `Sequences`, and y."""

ACTIVATIONS = Activation | PReLU
BATCH_SIZE = 64
MEASURED = 256
BUILDING = 0.4
"""Share of the budget after which no further candidate is built and measured."""
TIMING = 0.1
"""Share of the budget for timing the candidates."""
BUDGET, LIMIT = 4.5, 20.0
"""Seconds where none are given: planned, and at most, where the finalists would not have the steps that ranking needs:
50 sigmoid layers on a busy machine of two cores had 48 of 50 after 4.5 s."""
LEAST_UNIT = -(-LEAST_STEPS // sum(UNITS))
"""Steps of the first round with which the finalists have those."""
SPENT = 0.77
"""Share of the budget planned for training steps; the rest is for validation and for a machine that slows down."""


def cure(
    net: Sequential,
    train: Any,
    val: Any,
    *,
    test: Any = None,
    budget: float | None = None,
    loss: Loss | str = "cross_entropy",
    seed: int = 0,
    candidates: Sequence[str] | None = None,
    steps: int | None = None,
    memory: int | None = None,
    progress: Callable[[str], None] | bool | None = None,
) -> CureResult:
    """Try cures on a network: each is built, measured at initialisation, trained at three learning rates, compared.

    Training goes by successive halving, on the same samples in the same order for all: every candidate at each of its
    rates; then its best rate twice as long; then the better half of the candidates, and the network as given, four
    times as long, the rate falling to x0.3 and to x0.09. Only the validation set decides; the test set is looked at
    once, at the end. `net` itself is not changed, and frozen parameters keep their values in every candidate.

    Parameters
    ----------
    net : Sequential
        Built by ``gm.mlp`` it is built anew with a change; another is changed layer by layer, where that can be done.
    train, val, test : (x, y)
        Samples; `test` may be left out, then the validation set also gives intervals and ties.
    budget : float, optional
        Seconds for all of it. How many steps fit is found by timing each candidate first; one step of each candidate
        is made in any case. By default 4.5 seconds are planned, and where the machine is too slow or too busy for the
        50 steps that ranking needs it goes on until those that stay to the end have made them, for 20 seconds at
        most.
    loss : Loss or str
        One of ``gm.losses``; the metric is accuracy for classes, R^2 for values.
    seed : int
        Of new weights and of the order of the samples.
    candidates : sequence of str, optional
        Ids of the cures to try (`cure_ids`); the network as given always takes part.
    steps : int, optional
        Steps of the first round, in place of those that `budget` allows: the same steps give the same result. What
        stays to the end trains 7 times as long. Below 50 steps in all nothing is numbered.
    memory : int, optional
        Steps that the task asks to be bridged, as for ``gm.measure``.
    progress : callable or bool, optional
        Called with a line of text before each measurement and after each turn of training; True shows the lines on
        stderr, where that is a terminal.

    Returns
    -------
    CureResult

    Raises
    ------
    ValueError, TypeError
        For bad input, before anything is trained; the message names the argument.

    Examples
    --------
    >>> import gradiometer as gm
    >>> train, val, test = gm.datasets.digits()
    >>> net = gm.mlp(64, [32] * 20, 10, activation="relu", init="torch_default", rng=0)
    >>> result = gm.cure(net, train, val, test=test, candidates=["batch-norm"], steps=15)
    >>> result.best.id
    'batch-norm'
    """
    began = time.perf_counter()
    if not isinstance(net, Sequential):
        raise TypeError(
            f"net is {type(net).__name__}; expected a Sequential (a PyTorch model goes through gm.torch.convert)"
        )
    if net.requires_grad and not any(net.requires_grad.values()):
        raise ValueError("every parameter of net is frozen; expected one that requires_grad_(True)")
    kind = as_loss(loss)
    if budget is not None:
        check_number("budget", budget)
    planned, limit, least = (BUDGET, LIMIT, LEAST_UNIT) if budget is None else (float(budget), float(budget), 0)
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 1):
        raise ValueError(f"steps is {steps!r}; expected a positive integer or None")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed is {seed!r}; expected an integer, 0 or more")
    table = at_rates_of(net, fitting(net) if candidates is None else by_ids(candidates))
    data = samples(net, "train", train, kind.name)
    check = samples(net, "val", val, kind.name)
    final = None if test is None else samples(net, "test", test, kind.name)
    if len(data[0]) < 4:
        raise ValueError(f"train has {len(data[0])} samples; expected 4 or more")
    if metric_name(kind.name) == "r2" and not np.var(check[1]) > 0.0:
        raise ValueError("val has the same target in every sample; R^2 needs some that differ")
    batch_size = min(BATCH_SIZE, len(data[0]) // 2)
    length = steps_of(data[0]) if net.sequences else 0

    notes = []
    built: list[tuple[Cure, Sequential, Measurement]] = []
    with told(progress) as say:
        for each in table:
            if len(built) > 1 and steps is None and time.perf_counter() - began > BUILDING * limit:
                notes.append((each.id, f"the budget of {limit:g} s does not allow it"))
                continue
            try:
                made = each.build(net, seed, length)
            except NotApplicable as reason:
                notes.append((each.id, str(reason)))
                continue
            twins = [
                other.id
                for other, net_of, _ in built
                if (other.optimizer, other.clip_norm) == (each.optimizer, each.clip_norm) and same(made, net_of)
            ]
            if twins:
                notes.append((each.id, f"the same network as {twins[0]}"))
                continue
            say(f"measuring {each.id}")
            built.append((each, made, measure(made, data[0][:MEASURED], data[1][:MEASURED], loss=kind, memory=memory)))

        groups = [Group(each, made, data, kind, batch_size, seed) for each, made, _ in built]
        gone = time.perf_counter() - began
        seconds_a_step = timed(groups, math.inf if steps else TIMING * max(planned - gone, (limit - gone) / 4))
        gone = time.perf_counter() - began
        rates = [len(each.rates) for each, _, _ in built]
        medians = [median for _, median in seconds_a_step]
        affordable = affordable_unit(medians, rates, SPENT * (planned - gone) * kernels.threads())
        unit = steps or max(affordable, least)
        deadline, latest = (math.inf, math.inf) if steps else (began + planned, began + limit)
        run = race(groups, check, kind, unit, deadline, say, least=least, limit=latest)
    best = run.best
    if run.cut:
        notes.append(("", f"The budget of {limit:g} s ran out before the last round was over: steps differ."))
    elif least and time.perf_counter() > deadline and min(runner.history.steps for runner in run.chosen) >= LEAST_STEPS:
        notes.append(("", f"A slow or busy machine: it took more than {planned:g} s to make {LEAST_STEPS} steps."))
    elif run.short:
        words = "ran out before the rounds were as long as planned; within a round all made the same steps."
        notes.append(("", f"The budget of {planned:g} s {words}"))

    half = sum(run.rounds[:2])
    dropped = [(title(built[i][0], net), runner) for i, runner in enumerate(best) if runner not in run.chosen]
    left_behind = [name for name, r in dropped if r.history.steps >= half or r.history.diverged]
    stopped = [name for name, r in dropped if name not in left_behind]
    held = [layer.index for layer in built[0][2].layers if layer.frozen]
    if held:
        notes.append(
            ("", f"Frozen and the same in every row: parameters of layer{'s' * (len(held) > 1)} {spans(held)}.")
        )
    if left_behind and run.rounds[2]:
        names = "; ".join(left_behind)
        notes.append(("", f"Behind at half time and trained no further, which is no proof at equal length: {names}."))
    if stopped:
        notes.append(("", f"Stopped by the clock before half time, not beaten: {'; '.join(stopped)}."))

    seen = check if final is None else final
    every_step = net._compile().network.every_step
    if every_step:
        notes.append(("", "The intervals take every step for a sample of its own; steps of one sequence are alike."))

    def merits_of(runner: Runner, among: Data) -> NDArray[np.float64]:
        y, target = runner.net.predict(among[0]), among[1]
        return merits(kind.name, *((within(among[0], part) for part in (y, target)) if every_step else (y, target)))

    def targets_of(among: Data) -> NDArray[Any]:
        return within(among[0], among[1]) if every_step else among[1]

    merit = [merits_of(r, seen) for r in best]
    costs = [min(least, r.fastest) for (least, _), r in zip(seconds_a_step, best, strict=True)]
    order = sorted(range(len(best)), key=lambda i: best[i].merit, reverse=True)
    given = next(i for i in order if best[i].cure.id == "as-given")
    rows = tuple(
        row(
            runner=best[i],
            made=built[i][2],
            before=built[i][1],
            title=title(built[i][0], net),
            loss=kind,
            val_target=targets_of(check),
            test_target=None if final is None else targets_of(final),
            on_val=merit[i] if final is None else merits_of(best[i], check),
            test=None if final is None else merit[i],
            cured=min(best[i].history.steps, best[given].history.steps) >= LEAST_STEPS
            and best[i].val > best[given].val
            and metric(merit[i]) > metric(merit[given])
            and not tied(kind.name, merit[i], merit[given]),
            tied=tied(kind.name, merit[i], merit[order[0]]),
            cost=costs[i] / costs[given]
            if min(best[i].history.steps, best[given].history.steps) >= TIMED
            else math.nan,
            step_seconds=costs[i],
            seconds=best[i].history.seconds,
            batch_size=batch_size,
            seed=seed,
            length=length,
        )
        for i in order
    )
    from gradiometer.diagnosis import diagnose

    return CureResult(
        rows=rows,
        metric=metric_name(kind.name),
        loss=kind.name,
        network=built[given][2].network,
        samples=(len(data[0]), len(check[0]), 0 if final is None else len(final[0])),
        batch_size=batch_size,
        seed=seed,
        rounds=run.rounds,
        budget=planned,
        seconds=time.perf_counter() - began,
        notes=tuple(grouped(notes)),
        diagnosis=diagnose(built[given][2]),
    )


@contextmanager
def told(progress: object) -> Iterator[Callable[[str], None]]:
    """What is called with a line of text."""
    if progress is None or progress is False:
        yield lambda text: None
    elif progress is True:
        meter = Meter()
        try:
            yield lambda text: meter.show(None, text)
        finally:
            meter.clear()
    elif callable(progress):
        yield progress
    else:
        raise TypeError(f"progress is {progress!r}; expected a callable that takes a line of text, True, False or None")


def row(
    *,
    runner: Runner,
    made: Measurement,
    before: Sequential,
    title: str,
    loss: Loss,
    val_target: NDArray[Any],
    test_target: NDArray[Any] | None,
    on_val: NDArray[np.float64],
    test: NDArray[np.float64] | None,
    batch_size: int,
    seed: int,
    length: int,
    **more: Any,
) -> CureRow:
    unknown = (math.nan, math.nan)
    diverged = not math.isfinite(runner.val)
    return CureRow(
        id=runner.cure.id,
        title=title,
        optimizer=runner.cure.optimizer,
        rate=runner.rate,
        val=runner.val,
        test=math.nan if test is None else -math.inf if diverged else metric(test),
        val_interval=unknown if diverged else interval(loss.name, on_val, val_target),
        test_interval=unknown
        if diverged or test is None or test_target is None
        else interval(loss.name, test, test_target),
        steps=runner.history.steps,
        code=code(before, runner, loss, batch_size, seed, length),
        pytorch=torch_code(before, runner, length),
        measurement=made,
        network=runner.net,
        **more,
    )


def same(one: Sequential, other: Sequential) -> bool:
    """Whether two networks have the same layers and, to rounding and but for the last layer, the same weights."""
    if repr(one) != repr(other):
        return False
    last = f"{len(one.modules) - 1}."
    theirs = other.state_dict()
    return all(
        np.allclose(array, theirs[name], rtol=1e-5, atol=1e-7)
        for name, array in one.state_dict().items()
        if not name.startswith(last)
    )


def title(each: Cure, net: Sequential) -> str:
    """With the activation of the network given, or the few that it has."""
    if net.spec is not None:
        return each.title.format(activation=net.spec.activation)
    modules = [module for _, module in net.named_modules()]
    names = dict.fromkeys("prelu" if isinstance(m, PReLU) else m.name for m in modules if isinstance(m, ACTIVATIONS))
    return each.title.format(activation="/".join(names) if 0 < len(names) < 4 else "network")


def code(before: Sequential, runner: Runner, loss: Loss, batch_size: int, seed: int, length: int) -> str:
    """Lines for Gradiometer that build the candidate and train it as it was trained here."""
    spec = described(before)
    if spec is None:
        remake = runner.cure.remake(before)
        anew = {} if remake is None else remake.arguments(length)
        lines = ["import gradiometer as gm", "", f"net = {ours(before, anew)}"]
        if remake is not None:
            lines.append("# other weights anew: the cure kept those of the network given")
        elif runner.cure.weights is None:
            lines.append("# weights anew: the cure began from those of the network given")
        else:
            lines.insert(0, "import numpy as np")
            lines[:2] = lines[1::-1]
            lines += ours_weights(runner.cure.weights(before), seed)
            if not all(before.requires_grad.values()):
                lines.append("# frozen weights anew: the cure kept those of the network given")
    else:
        lines = ["import gradiometer as gm", "", f"net = {mlp_call(spec, seed)}"]
        if runner.cure.apply is keep and not np.array_equal(before.parameters, spec.build(rng=seed).parameters):
            lines.append("# weights anew: here training began from those of the network given")
    made = {"sgd": f"SGD({{rate:g}}, momentum={MOMENTUM:g})", "adam": "Adam({rate:g})"}[runner.cure.optimizer]
    options = [f"steps={runner.history.steps}", f"batch_size={batch_size}"]
    if runner.milestones:
        options.append(f"schedule=gm.schedules.MultiStep({runner.milestones}, gamma={GAMMA:g})")
    if loss.params or loss.class_weights is not None:
        options.append(f"loss=gm.losses.{loss!r}")
    elif loss.name != "cross_entropy":
        options.append(f'loss="{loss.name}"')
    if runner.cure.clip_norm is not None:
        options.append(f"clip_norm={runner.cure.clip_norm:g}")
    optimizer = f"gm.optim.{made.format(rate=runner.rate)}"
    lines += ["net.fit(", f"    train, val, {optimizer},", f"    {', '.join(options)}, rng={seed},", ")"]
    return "\n".join(lines)


def described(net: Sequential) -> MlpSpec | None:
    """What ``gm.mlp`` was asked for, where that is all of the network: it knows nothing of frozen parameters."""
    return net.spec if all(net.requires_grad.values()) else None


def mlp_call(spec: MlpSpec, seed: int) -> str:
    hidden = f"[{spec.hidden[0]}] * {len(spec.hidden)}" if len(set(spec.hidden)) == 1 else str(list(spec.hidden))
    options = [f'activation="{spec.activation}"']
    options += [f"activation_params={spec.activation_params!r}"] if spec.activation_params else []
    options += [f'norm="{spec.norm}"'] if spec.norm else []
    options += [f"residual={residual_argument(spec)}"] if spec.residual is not None else []
    options += [f'init="{spec.init}"'] if spec.init != "xavier_normal" else []
    options += [f"gain={spec.gain!r}"] if spec.gain != 1.0 else []
    options += [] if spec.bias else ["bias=False"]
    options += [f'dtype="{spec.dtype}"'] if spec.dtype != "float32" else []
    return f"gm.mlp({', '.join([str(spec.in_features), hidden, str(spec.out_features), *options, f'rng={seed}'])})"


def residual_argument(spec: MlpSpec) -> str:
    """True where it gives the very scale, else the scale."""
    usual = replace(spec, residual=True).build(rng=0).spec
    return "True" if usual is not None and usual.residual == spec.residual else repr(spec.residual)


def torch_code(before: Sequential, runner: Runner, length: int) -> str:
    training = training_lines(
        runner.cure.optimizer, runner.rate, MOMENTUM, runner.milestones, GAMMA, runner.cure.clip_norm
    )
    spec = described(before)
    if spec is not None:
        return pytorch_code(spec, training)
    weights = None if runner.cure.weights is None else runner.cure.weights(before)
    remake = runner.cure.remake(before)
    anew = None if remake is None else remake.torch_lines(before, length)
    return pytorch_listing(before, weights, training, anew)


def grouped(notes: Sequence[tuple[str, str]]) -> list[str]:
    """Cures left out, put together by reason."""
    reasons: dict[str, list[str]] = {}
    for id, reason in notes:
        reasons.setdefault(reason, []).append(id)
    return [f"Not tried: {', '.join(ids)}: {reason}." if ids != [""] else reason for reason, ids in reasons.items()]


def steps_of(x: Any) -> int:
    """Of the longest sequence."""
    lengths = split(x)[1]
    return int(x.shape[1] if lengths is None else lengths.max())


def check_number(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}; expected a number of seconds")
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value!r}; expected a finite number above 0")


def samples(net: Sequential, name: str, pair: Any, loss: str) -> Data:
    """`pair` as arrays that fit the network; the error names the argument."""
    try:
        x, y = pair
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {type(pair).__name__}; expected a pair (x, y)") from None
    network = net._compile(None if isinstance(x, Sequences) else x).network
    try:
        x, target = converted(network, *checked(network, x, y, loss))
    except (TypeError, ValueError, IndexError) as error:
        raise type(error)(f"{name}: {error}") from None
    if len(x) < 2:
        raise ValueError(f"{name} has {len(x)} samples; expected 2 or more")
    return x, target
