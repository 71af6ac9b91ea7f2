"""Candidates trained side by side: every one at several rates first, then fewer and longer (successive halving)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import NDArray

from gradiometer import kernels
from gradiometer.diagnosis.cures import AS_GIVEN, Cure
from gradiometer.sequences import split
from gradiometer.train import History, Trainer

if TYPE_CHECKING:
    from gradiometer.losses import Loss
    from gradiometer.networks import Sequential

__all__ = ["GAMMA", "UNITS", "Group", "Runner", "affordable_unit", "race", "timed"]

Job = TypeVar("Job")
Done = TypeVar("Done")

Data = tuple[Any, NDArray[Any]]
"""x, an array or `Sequences`, and y."""

UNITS = (1, 2, 4)
"""Length of the three rounds: all rates of a candidate; its best rate; the better half of the candidates."""

GAMMA = 0.3
"""What the rate is multiplied by at a milestone."""

COOLING = ((0.5, 1.0), (0.25, GAMMA), (0.25, GAMMA**2))
"""The last round in parts: share of its steps, share of the rate. The two best cures of a 50-layer sigmoid net end 0 to
3 % better on test so (448 steps, 2 seeds)."""

WARM_UP, TIMED = 2, 8
SPAN = 0.03
"""Seconds that timing takes where steps are short: threads change places every 5 ms."""
MOST_STEPS = 4096

TURNS = 8
"""The steps of a round (in the last one, of each part of it) are made in turns, of this part of them at most."""

MEMORY = 1 << 30
"""Bytes that the runners of the first round may take together; where all take more, some groups follow the others."""


class Runner:
    """One candidate at one learning rate, in training."""

    def __init__(
        self, cure: Cure, rate: float, net: Sequential, train: Data, loss: Loss, batch_size: int, seed: int
    ) -> None:
        self.cure = cure
        self.rate = rate
        self.net = net
        self.optimizer = cure.trainer(rate)
        self.trainer = Trainer(
            net._compile(),
            *train,
            optimizer=self.optimizer,
            loss=loss,
            batch_size=batch_size,
            clip_norm=cure.clip_norm,
            rng=seed,
        )
        self.history = History()
        self.milestones: list[int] = []
        """After how many steps the rate fell by `GAMMA`, each time."""
        self.fastest = math.inf
        """Seconds of the fastest step on a whole batch."""
        self.share = 1.0
        self.val = -math.inf
        self.val_loss = math.inf

    @property
    def merit(self) -> tuple[float, float]:
        """By what runners are compared: validation metric, then validation loss."""
        return (self.val, -self.val_loss)

    @property
    def step_seconds(self) -> float:
        """Seconds a training step took."""
        return self.history.seconds / max(1, self.history.steps)

    def train(self, steps: int, share: float, go_on: Callable[[int], bool]) -> None:
        """Go on for `steps` steps at a share of the rate, while `go_on`, told of the steps made, says so, and for one
        step in any case; a diverged run stays where it is."""
        self.trainer.optimizer = self.optimizer.with_rate(self.rate * share)
        for _ in range(steps):
            if self.history.diverged or (not go_on(self.history.steps) and self.history.steps):
                return
            if share < self.share:
                self.milestones.append(self.history.steps)
                self.share = share
            before = self.history.seconds
            self.trainer.run(1, self.history)
            if not self.trainer.epoch_ended:  # the last batch of an epoch may be smaller
                self.fastest = min(self.fastest, self.history.seconds - before)

    def judge(self, val: Data, loss: Loss) -> None:
        """Validation metric and loss; minus infinity once training has diverged."""
        if self.history.diverged:
            return
        seen = self.net.evaluate(val, loss)
        finite = math.isfinite(seen.metric) and math.isfinite(seen.loss)
        self.val, self.val_loss = (seen.metric, seen.loss) if finite else (-math.inf, math.inf)


@dataclass(frozen=True)
class Group:
    """One candidate: its runners differ in their rate only."""

    cure: Cure
    net: Sequential
    train: Data
    loss: Loss
    batch_size: int
    seed: int

    def runner(self, rate: float) -> Runner:
        """A fresh copy of the network, ready to be trained at a rate."""
        net: Sequential = self.net.copy()  # type: ignore[assignment]
        return Runner(self.cure, rate, net, self.train, self.loss, self.batch_size, self.seed)

    def seconds_a_step(self, allowed: float) -> tuple[float, float]:
        """Least and median time of a few steps of a runner that is thrown away afterwards; of one step where more would
        take longer than the seconds allowed."""
        runner = self.runner(self.cure.rates[0])
        times: list[float] = []
        span = SPAN if math.isfinite(allowed) else 0.0
        while (len(times) < WARM_UP + TIMED or sum(times) < span) and (not times or sum(times) + times[-1] < allowed):
            began = time.perf_counter()
            runner.trainer.run(1, History())
            times.append(time.perf_counter() - began)
        times = times[min(WARM_UP, len(times) - 1) :]
        return min(times), sorted(times)[len(times) // 2]

    @property
    def bytes(self) -> int:
        """Of all its runners."""
        steps = split(self.train[0])[0].shape[1] if self.net.sequences else None
        return len(self.cure.rates) * self.net.memory(self.batch_size, steps=steps, optimizer=self.cure.optimizer)


def timed(groups: Sequence[Group], seconds: float) -> list[tuple[float, float]]:
    """Least and median seconds a step of each group, side by side as they will be trained, within about `seconds`.

    Steps of 0.15 ms, as those of an RNN of 32 units, take 2.5 times as long beside others as alone: they wait for the
    interpreter.
    """
    with Lanes(math.inf, lambda text: None, math.inf) as lanes:
        allowed = seconds * lanes.threads / len(groups)
        return lanes.all(lambda group: group.seconds_a_step(allowed), groups)


def affordable_unit(costs: Sequence[float], rates: Sequence[int], seconds: float) -> int:
    """Steps of one unit such that all rounds fit into `seconds`.

    Rounded down to a power of the fourth root of 2, so that a small change of speed seldom changes the steps, and with
    them the result.
    """
    kept = sorted(costs, reverse=True)[: finalists(len(costs)) + 1]
    first, second, last = UNITS
    total = sum(cost * (n * first + second) for cost, n in zip(costs, rates, strict=True)) + last * sum(kept)
    fits = max(1.0, min(seconds / total, MOST_STEPS / sum(UNITS))) if total > 0.0 else 1.0
    return int(math.pow(2.0, math.floor(4.0 * math.log2(fits)) / 4.0))


def finalists(candidates: int) -> int:
    """How many candidates, the network as given not counted, reach the last round."""
    return math.ceil((candidates - 1) / 2)


def race(
    groups: Sequence[Group],
    val: Data,
    loss: Loss,
    unit: int,
    deadline: float,
    say: Callable[[str], None],
    *,
    least: int = 0,
    limit: float | None = None,
) -> Race:
    """Train all groups by the rounds.

    The network as given always reaches the last round, so that it has had as many steps as those it is compared with.
    Within a round all make the same steps: a round that would take more than its share of the time ends earlier for
    all. Past the deadline, but not past `limit`, rounds go on until they are as long as with a unit of `least` steps.
    """
    first, second, last = (length * unit for length in UNITS)
    shares = (UNITS[0] * len(tried(groups)), UNITS[1] * len(groups), UNITS[2] * (1 + finalists(len(groups))))
    with Lanes(deadline, say, deadline if limit is None else limit) as lanes:
        lanes.floor = UNITS[0] * least
        best: list[Runner] = []
        made, left = first, sum(shares)
        for some in parcels(groups):
            runners = [runner for runner in lanes.all(lanes.begin, tried(some)) if runner is not None]
            share = UNITS[0] * len(tried(some))
            ends = lanes.until(share / left)
            ran = lanes.run("round 1 of 3", runners, turns(made, 1.0), ends, val, loss)
            lanes.cut |= bool(best) and ran < made
            made = made if best else ran
            left -= share
            best += [
                max((r for r in runners if r.cure is group.cure), key=lambda runner: runner.merit) for group in some
            ]
            del runners
        lanes.floor += UNITS[1] * least
        ends = lanes.until(shares[1] / sum(shares[1:]))
        more = lanes.run("round 2 of 3", best, turns(min(second, UNITS[1] * made), 1.0), ends, val, loss)
        others = [runner for runner in best if runner.cure is not AS_GIVEN]
        others.sort(key=lambda runner: runner.merit, reverse=True)
        chosen = [runner for runner in best if runner.cure is AS_GIVEN] + others[: finalists(len(best))]
        lanes.floor += UNITS[2] * least
        length = lanes.affordable(chosen, min(last, UNITS[2] * made))
        cooling = [turn for part, share in COOLING for turn in turns(max(1, round(length * part)), share)]
        length = lanes.run("round 3 of 3", chosen, cooling, lanes.until(1.0), val, loss)
        return Race(best, chosen, (made, more, length), (made, more, length) < (first, second, last), lanes.cut)


def turns(steps: int, share: float) -> list[tuple[int, float]]:
    """`steps` in parts, each with its share of the rate; the first ones are short, to see the speed."""
    made, size, result = 0, -(-steps // 64), []
    while made < steps:
        result.append((min(size, steps - made), share))
        made += size
        size = min(2 * size, -(-steps // TURNS))
    return result


def tried(groups: Sequence[Group]) -> list[tuple[Group, float]]:
    """Each group at each of its rates."""
    return [(group, rate) for group in groups for rate in group.cure.rates]


def parcels(groups: Sequence[Group]) -> Iterator[list[Group]]:
    """Groups whose runners fit into memory together, one group at least."""
    some: list[Group] = []
    for group in groups:
        if some and sum(each.bytes for each in [*some, group]) > MEMORY:
            yield some
            some = []
        some.append(group)
    yield some


@dataclass(frozen=True)
class Race:
    """The best runner of each group, and how it came about.

    Attributes
    ----------
    best : list of Runner
    chosen : list of Runner
        Those that reached the last round.
    rounds : tuple of int
        Steps of each round.
    short : bool
        A round was shorter than planned.
    cut : bool
        The time was over within a turn: steps differ.
    """

    best: list[Runner]
    chosen: list[Runner]
    rounds: tuple[int, int, int]
    short: bool
    cut: bool


class Lanes:
    """As many runs at a time as there are threads, each on one: no run waits for another at a barrier.

    On a busy machine a step of a 50-layer network takes 3 times as long on two threads as on one, with batch norm 7
    times; two runs on a thread each slow each other down no more than others do. The results are the same by a bit.
    """

    def __init__(self, deadline: float, say: Callable[[str], None], limit: float) -> None:
        self.deadline = deadline
        self.limit = limit
        self.floor = 0
        """Steps up to which turns begin past the deadline, until the limit."""
        self.say = say
        self.cut = False
        self.threads = kernels.threads()
        self.stop = False
        self.pool = ThreadPoolExecutor(self.threads, thread_name_prefix="gradiometer-cure")

    def __enter__(self) -> Lanes:
        kernels.set_threads(1)
        return self

    def __exit__(self, *error: object) -> None:
        self.stop = True
        self.pool.shutdown(wait=True, cancel_futures=True)
        kernels.set_threads(self.threads)

    def all(self, work: Callable[[Job], Done], jobs: Sequence[Job]) -> list[Done]:
        """`work` on all of `jobs`, as many at a time as there are threads."""
        futures = [self.pool.submit(work, job) for job in jobs]
        return [future.result() for future in futures]

    def begin(self, job: tuple[Group, float]) -> Runner | None:
        """The runner of a group at a rate; once the time is over, at the middle rate of the group only."""
        group, rate = job
        middle = group.cure.rates[len(group.cure.rates) // 2]
        return group.runner(rate) if rate == middle or time.perf_counter() <= self.limit else None

    def go_on(self, steps: int = 0) -> bool:
        """False once the time is over, or the main thread wants to leave."""
        if time.perf_counter() > self.limit:
            self.cut = True
            return False
        return not self.stop

    def until(self, share: float) -> tuple[float, float]:
        """When a share of the time to the deadline will be over, and of that to the limit."""
        now = time.perf_counter()
        return now + share * max(0.0, self.deadline - now), now + share * max(0.0, self.limit - now)

    def affordable(self, runners: Sequence[Runner], wanted: int) -> int:
        """`wanted` steps for each runner, or fewer if, at the speed seen so far, the time would not allow them."""
        if math.isinf(self.deadline):
            return wanted
        now, seconds = time.perf_counter(), sum(runner.step_seconds for runner in runners)
        usual, most = (int(0.9 * (end - now) * self.threads / seconds) for end in (self.deadline, self.limit))
        owed = self.floor - max(runner.history.steps for runner in runners)
        return max(1, min(wanted, max(usual, min(most, owed))))

    def run(
        self,
        name: str,
        runners: Sequence[Runner],
        turns: Sequence[tuple[int, float]],
        ends: tuple[float, float],
        val: Data,
        loss: Loss,
    ) -> int:
        """All runners turn by turn, each turn some steps at a share of the rate, then the validation set.

        A turn begins only if, at the speed of this round, it will be over by the first of `ends`, up to `floor` steps
        by the second; so the steps, which are returned, are the same for all. The slowest go first: then no lane waits
        long for another at the end of a turn.
        """
        began, made, total = time.perf_counter(), 0, sum(steps for steps, _ in turns)
        for steps, share in turns:
            if not self.time_for(runners, steps, made, began, ends):
                break
            order = sorted(runners, key=lambda runner: runner.step_seconds, reverse=True)
            self.all(lambda runner, steps=steps, share=share: runner.train(steps, share, self.go_on), order)  # type: ignore[misc]
            made += steps
            self.say(f"{name}: {made}/{total} steps of {len(runners)} runs")
        self.all(lambda runner: None if self.stop else runner.judge(val, loss), runners)
        return made

    def time_for(
        self, runners: Sequence[Runner], steps: int, made: int, began: float, ends: tuple[float, float]
    ) -> bool:
        """Whether a turn of so many steps fits at the speed of this round; the very first is made in any case."""
        seen = max(runner.history.steps for runner in runners)
        if math.isinf(self.deadline) or not seen:
            return True
        now = time.perf_counter()
        over = now + (steps * (now - began) / made if made else 0.0)
        return over <= ends[0] or (seen < self.floor and over <= ends[1])
