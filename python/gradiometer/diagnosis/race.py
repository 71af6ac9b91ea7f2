"""Candidates trained side by side: every one at several rates first, then fewer and longer (successive halving)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from gradiometer import kernels
from gradiometer.diagnosis.cures import AS_GIVEN, Cure
from gradiometer.train import History, Trainer

if TYPE_CHECKING:
    from gradiometer.losses import Loss
    from gradiometer.networks import Sequential

__all__ = ["GAMMA", "UNITS", "Group", "Runner", "affordable_unit", "race"]

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
MOST_STEPS = 4096


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
        """Least and median time of a few steps on one thread, of a runner that is thrown away afterwards; of one step
        where more would take longer than the seconds allowed."""
        runner = self.runner(self.cure.rates[0])
        threads = kernels.threads()
        kernels.set_threads(1)
        try:
            times: list[float] = []
            while len(times) < WARM_UP + TIMED and (not times or sum(times) + times[-1] < allowed):
                began = time.perf_counter()
                runner.trainer.run(1, History())
                times.append(time.perf_counter() - began)
        finally:
            kernels.set_threads(threads)
        times = times[min(WARM_UP, len(times) - 1) :]
        return min(times), sorted(times)[len(times) // 2]


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
    Past the deadline, but not past `limit`, rounds go on until they are as long as with a unit of `least` steps.
    """
    first, second, last = (length * unit for length in UNITS)
    with Lanes(deadline, say, deadline if limit is None else limit) as lanes:
        lanes.floor = UNITS[0] * least
        best = lanes.first_round(groups, lambda runner: lanes.train(runner, [(first, 1.0)], val, loss))
        lanes.floor += UNITS[1] * least
        second = lanes.affordable(best, second)
        lanes.run("round 2 of 3", best, lambda runner: lanes.train(runner, [(second, 1.0)], val, loss))
        others = [runner for runner in best if runner.cure is not AS_GIVEN]
        others.sort(key=lambda runner: runner.merit, reverse=True)
        chosen = [runner for runner in best if runner.cure is AS_GIVEN] + others[: finalists(len(best))]
        lanes.floor += UNITS[2] * least
        cooling = [(max(1, round(lanes.affordable(chosen, last) * part)), share) for part, share in COOLING]
        lanes.run("round 3 of 3", chosen, lambda runner: lanes.train(runner, cooling, val, loss))
        length = sum(steps for steps, _ in cooling)
        return Race(best, chosen, (first, second, length), lanes.late)


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
    late : bool
        The deadline came before the last round was over.
    """

    best: list[Runner]
    chosen: list[Runner]
    rounds: tuple[int, int, int]
    late: bool


class Lanes:
    """As many runs at a time as there are threads, each on one: no run waits for another at a barrier.

    On a busy machine a step of a 50-layer network takes 3 times as long on two threads as on one, with batch norm 7
    times; two runs on a thread each slow each other down no more than others do. The results are the same by a bit.
    """

    def __init__(self, deadline: float, say: Callable[[str], None], limit: float) -> None:
        self.deadline = deadline
        self.limit = limit
        self.floor = 0
        """Steps that a runner may make past the deadline, until the limit."""
        self.say = say
        self.late = False
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

    def train(self, runner: Runner, parts: Sequence[tuple[int, float]], val: Data, loss: Loss) -> None:
        """Some steps at some shares of the rate, then the validation set; stops at the deadline."""
        for steps, share in parts:
            runner.train(steps, share, self.go_on)
        if not self.stop:
            runner.judge(val, loss)

    def go_on(self, steps: int = 0) -> bool:
        """False once the time for a runner that has made so many steps has passed, or the main thread wants to
        leave."""
        if time.perf_counter() > (self.limit if steps < self.floor else self.deadline):
            self.late = True
            return False
        return not self.stop

    def affordable(self, runners: Sequence[Runner], wanted: int) -> int:
        """`wanted` steps for each runner, or fewer if, at the speed seen so far, the time would not allow them."""
        if math.isinf(self.deadline):
            return wanted
        now, seconds = time.perf_counter(), sum(runner.step_seconds for runner in runners)
        usual, most = (int(0.9 * (end - now) * self.threads / seconds) for end in (self.deadline, self.limit))
        owed = self.floor - min(runner.history.steps for runner in runners)
        return max(1, min(wanted, max(usual, min(most, owed))))

    def run(self, name: str, jobs: Sequence[Runner], work: Callable[[Runner], None]) -> None:
        """All of `jobs`, as many at a time as there are threads."""
        futures = {self.pool.submit(work, job): job for job in jobs}
        for done, future in enumerate(as_completed(futures), 1):
            future.result()
            job = futures[future]
            self.say(f"{name}: {done}/{len(jobs)} {job.cure.id}, {job.optimizer.name} {job.rate:g}")

    def first_round(self, groups: Sequence[Group], work: Callable[[Runner], None]) -> list[Runner]:
        """The best of each group; the others are dropped as soon as their group is through, for their memory. Once the
        deadline has passed only the middle rate of a group is tried."""

        def whole(group: Group, rate: float) -> Runner | None:
            if not self.go_on() and rate != group.cure.rates[len(group.cure.rates) // 2]:
                return None
            runner = group.runner(rate)
            work(runner)
            return runner

        waiting = [[self.pool.submit(whole, group, rate) for rate in group.cure.rates] for group in groups]
        best = []
        for done, (group, futures) in enumerate(zip(groups, waiting, strict=True), 1):
            ran = [runner for future in futures if (runner := future.result()) is not None]
            best.append(max(ran, key=lambda runner: runner.merit))
            futures.clear()
            self.say(f"round 1 of 3: {done}/{len(groups)} {group.cure.id}")
        return best
