"""Measure what a device's energy goes into: rest first, then the edge sides of cuts in loops, under a meter.

1. *Rest*: nothing runs for 10 s, and once more at the end, since a device that has worked is warm.
2. *Loops*: the whole model and the most promising cuts run again and again, each for 2 s or 100 of the meter's periods,
   whichever is longer, in an order drawn anew in every round. A meter tells the mean of its last period, so that every
   loop has been running for a while when counting begins, and still runs when it ends.
3. The first loop is the whole model's: a meter that is stuck, or does not see the work, is found out then. Whether it
   froze later is seen at the end, between the last loop and rest.
4. ``joules`` makes a profile of it: intervals, cuts that were not run, layers.

Loops run back to back, from warm caches, where ``measure_steps`` pauses before each run: times differ by a tenth, and
energies are those of the loops. The energy of a run includes what the meter's own reading takes, as that at rest does.

Source: the method of ``cleft-plan profile``'s times, for a sensor that has a new value every 1 ms to seconds.
"""

from __future__ import annotations

import random
import time
from bisect import bisect_left
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

from partitioner.bundle import Bundle
from partitioner.energy import EnergyProfile
from partitioner.measure import promising
from partitioner.measure.joules import Window, blindness, energy_profile, together
from partitioner.measure.subject import Subject, middling
from partitioner.meters import Meter, MeterError, MeterInfo, Reading
from partitioner.meters.sampling import Sampler, check_alive, check_told, energy_between
from partitioner.profile import Profile
from partitioner.runtimes import Array, Engine
from partitioner.samples import NO_SAMPLES, SampleSet
from partitioner.segments import Cut, Cuts

REST_S = 10.0

_SHOWN_S = 0.1
_REST_WINDOWS = 5
_NAP_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long things are watched.

    A loop is watched for ``loop_s`` or ``periods`` of the meter, whichever is longer, after ``lead_s`` or two periods.
    Where the budget does not allow that, loops are shortened, to ``least_periods`` at the least. There are ``rounds``
    of loops, up to ``most_rounds`` while there is time.
    """

    rest_s: float = REST_S
    loop_s: float = 2.0
    periods: int = 100
    least_periods: int = 10
    lead_s: float = 0.25
    rounds: int = 3
    most_rounds: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Loops:
    """What is run, by the index of the cut in the profile, the whole model first; how long each; seconds a round."""

    cuts: tuple[int, ...]
    loop_s: float
    round_s: float


Steps = Generator[float, None, EnergyProfile]


def energy_steps(
    bundle: Bundle,
    engine: Engine,
    profile: Profile,
    meter: Meter,
    *,
    budget_s: float,
    samples: SampleSet = NO_SAMPLES,
    pace: Pace | None = None,
    order: random.Random | None = None,
) -> Steps:
    """Measure in steps: yields progress from 0 to 1, and returns the energy of what was profiled.

    Args:
        profile: what ``measure_steps`` made of the same bundle, engine and samples just now.
        meter: stays the caller's, to be closed by him.
        budget_s: for the loops; rest is not counted. Three runs of the whole model may exceed it.
        order: draws the order of the loops.

    Raises:
        MeterError: the meter failed, is not to be believed, does not see the work, or is too slow for the budget.
        SegmentError: the model fails on this device.
    """
    return _Experiment(
        bundle,
        engine,
        profile,
        meter,
        budget_s=budget_s,
        samples=samples,
        pace=pace or Pace(),
        order=order or random.Random(0),
    ).steps()


def plan_loops(profile: Profile, promise: Sequence[int], info: MeterInfo, *, budget_s: float, pace: Pace) -> Loops:
    """What to run: the whole model, and in the order of their promise as many cuts as the budget takes.

    Args:
        promise: indices of the cuts to choose from, the whole model first.

    Raises:
        MeterError: not even short loops of the whole model are within the budget, because the meter is slow.
    """
    least_s = pace.least_periods * info.period_s
    loop_s = max(pace.loop_s, pace.periods * info.period_s)
    spare_s = budget_s / pace.rounds - _around_s(profile, promise[0], info, pace)
    if loop_s > spare_s:
        if pace.rounds * least_s > budget_s:
            raise MeterError(
                f"{info.kind} has a new value only every {info.period_s:g} s: measuring with it takes "
                f"--energy-budget {pace.rounds * (least_s + 2 * info.period_s + pace.lead_s):.0f}s or more"
            )
        loop_s = max(spare_s, least_s, pace.lead_s)
    chosen: list[int] = []
    round_s = 0.0
    for index in promise:
        run_s = profile.cuts[index].prefix.median_s
        visit_s = _around_s(profile, index, info, pace) + max(loop_s, run_s)
        if chosen and pace.rounds * (round_s + visit_s) > budget_s:
            break
        chosen.append(index)
        round_s += visit_s
    return Loops(cuts=tuple(chosen), loop_s=loop_s, round_s=round_s)


def _around_s(profile: Profile, index: int, info: MeterInfo, pace: Pace) -> float:
    """What comes before a loop."""
    return max(_lead_s(info, pace), profile.cuts[index].prefix.median_s)


def _lead_s(info: MeterInfo, pace: Pace) -> float:
    return max(pace.lead_s, 2 * info.period_s)


class _Experiment:
    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        profile: Profile,
        meter: Meter,
        *,
        budget_s: float,
        samples: SampleSet,
        pace: Pace,
        order: random.Random,
    ) -> None:
        self._engine = engine
        self._profile = profile
        self._meter = meter
        self._info = meter.info
        self._budget_s = budget_s
        self._pace = pace
        self._order = order
        self._cuts = Cuts(bundle.graph, bundle.digest, binding=profile.binding)
        self._tensors: Mapping[str, Array] = Subject(bundle, profile.binding, middling(samples.samples)).tensors
        place = {cut.id: index for index, cut in enumerate(profile.cuts)}
        ranked = [cut for cut in promising(self._cuts.candidates, profile.binding) if cut.depth]
        self._promise = [place[cut.id] for cut in ranked]
        self._cut: dict[int, Cut] = {place[cut.id]: cut for cut in ranked}
        self._lead_s = _lead_s(self._info, pace)

    def steps(self) -> Steps:
        plan = plan_loops(self._profile, self._promise, self._info, budget_s=self._budget_s, pace=self._pace)
        rest_s = max(self._pace.rest_s, self._pace.least_periods * self._info.period_s)
        rest_again_s = min(rest_s, plan.loop_s)
        self._expected_s = rest_s + self._pace.rounds * plan.round_s + rest_again_s + 2 * self._lead_s
        with Sampler(self._meter) as sampler:
            self._sampler = sampler
            self._begun_s = self._shown_s = self._watched_s = time.perf_counter()
            rest = yield from self._rest(rest_s, windows=_REST_WINDOWS)
            loops = yield from self._rounds(plan, rest)
            rest_again = yield from self._rest(rest_again_s, windows=1)
            if self._last.power_w > together(rest).power_w + self._info.step_w:
                self._check_alive(since_s=self._last_s)
            rest += rest_again
        return energy_profile(self._profile, self._info, rest=rest, loops=loops)

    def _rest(self, rest_s: float, *, windows: int) -> Generator[float, None, list[Window]]:
        """Watch the device do nothing, in several windows, whose differences tell how steadily it does."""
        return (yield from self._watch(lambda: time.sleep(_NAP_S), rest_s / windows, windows=windows))

    def _rounds(self, plan: Loops, rest: Sequence[Window]) -> Generator[float, None, dict[str, list[Window]]]:
        """Loops of every cut chosen, by their ids, in another order each round."""
        found: dict[str, list[Window]] = {self._cut[index].id: [] for index in plan.cuts}
        begun_s = time.perf_counter()
        for number in range(self._pace.most_rounds):
            if number >= self._pace.rounds and time.perf_counter() - begun_s + plan.round_s > self._budget_s:
                break
            order = list(plan.cuts[1:])
            self._order.shuffle(order)
            order.insert(self._order.randint(0, len(order)) if number else 0, plan.cuts[0])
            for index in order:
                cut, head = self._cut[index], self._head(self._cut[index])
                self._last_s = time.perf_counter()
                (self._last,) = yield from self._watch(head, plan.loop_s, windows=1)
                found[cut.id].append(self._last)
                if number == 0 and index == plan.cuts[0]:
                    self._check_sight(rest, self._last)
        return found

    def _head(self, cut: Cut) -> Callable[[], object]:
        head = self._engine.segment(self._cuts.segments(cut)[0])
        head.settle()
        return lambda: head(self._tensors)

    def _check_sight(self, rest: Sequence[Window], work: Window) -> None:
        """Give up as soon as it can be told that the meter is of no use."""
        self._check_alive(since_s=self._begun_s)
        rest_w = together(rest).power_w
        if work.power_w <= rest_w:
            raise blindness(self._info, rest_w=rest_w, work_w=work.power_w)

    def _check_alive(self, *, since_s: float) -> None:
        readings = self._sampler.readings()
        check_alive(readings[bisect_left(readings, since_s, key=lambda each: each.at_s) :], self._info)

    def _watch(
        self, work: Callable[[], object], window_s: float, *, windows: int
    ) -> Generator[float, None, list[Window]]:
        """Do something again and again; after a while, watch it for some windows in a row.

        What was read before the last two things that were watched is forgotten.
        """
        begun_s = time.perf_counter()
        yield from self._repeat(work, self._lead_s)
        spans: list[tuple[float, int, float]] = []
        for _ in range(windows):
            begin_s = time.perf_counter()
            runs = yield from self._repeat(work, window_s)
            spans.append((begin_s, runs, time.perf_counter()))
        self._sampler.mark()
        self._sampler.forget(self._watched_s)
        self._watched_s = begun_s
        readings = self._sampler.readings()
        check_told(readings, self._info)
        return [_window(readings, *span) for span in spans]

    def _repeat(self, work: Callable[[], object], duration_s: float) -> Generator[float, None, int]:
        """Do it at least once, and until so long has passed; returns how often it was done."""
        runs = 0
        begin_s = now_s = time.perf_counter()
        while runs == 0 or now_s - begin_s < duration_s:
            work()
            runs += 1
            now_s = time.perf_counter()
            if now_s - self._shown_s > _SHOWN_S:
                self._shown_s = now_s
                yield min(0.99, (now_s - self._begun_s) / self._expected_s)
        return runs


def _window(readings: Sequence[Reading], begin_s: float, runs: int, end_s: float) -> Window:
    return Window(runs=runs, duration_s=end_s - begin_s, energy_j=energy_between(readings, begin_s, end_s))
