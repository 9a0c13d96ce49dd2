"""A board whose power follows this process's real CPU time is measured: the joules that went in come out."""

import math
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import pytest
import torch

from partitioner.energy import EnergyProfile
from partitioner.measure import measure_steps
from partitioner.measure.energy import Pace, energy_steps, plan_loops
from partitioner.meters import MeterError, MeterInfo, Reading
from partitioner.meters.finding import open_meter
from partitioner.profile import Profile, Timing
from partitioner.runtimes.eager import open_engine
from partitioner.segments import Cuts
from tests import every_cut
from tests.live_boards import CountingEngine, LiveBoard
from tests.unit.partitioner.synthetic_profiles import edge_profile

QUICK = Pace(rest_s=0.3, loop_s=0.2, periods=25, lead_s=0.02, rounds=3, most_rounds=3)
BRIEF = Pace(rest_s=0.05, loop_s=0.02, periods=1, lead_s=0.005, rounds=3, most_rounds=3)
"""For what does not depend on the joules."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    torch.manual_seed(0)
    blocks = [torch.nn.Sequential(torch.nn.Conv2d(24, 24, 3, padding=1), torch.nn.ReLU()) for _ in range(6)]
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 24, 7, padding=3), *blocks, torch.nn.AdaptiveAvgPool2d(1)).eval()
    return every_cut.pack(module, tmp_path_factory.mktemp("chain") / "chain", args=(torch.zeros(1, 3, 80, 80),))


@pytest.fixture(scope="module")
def profile(bundle) -> Profile:
    return finish(measure_steps(bundle, open_engine(bundle, device="cpu", threads=1), budget_s=0.8))


def finish(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def measure(bundle, profile, meter, **options) -> tuple[EnergyProfile, CountingEngine]:
    engine = CountingEngine(open_engine(bundle, device="cpu", threads=1))
    options = {"budget_s": 2.2, "pace": QUICK, **options}
    with closing(meter):
        return finish(energy_steps(bundle, engine, profile, meter, **options)), engine


class Told:
    """A meter that tells what a function of the number of its readings says."""

    def __init__(self, tell: Callable[[int], float | None], *, period_s: float = 0.001) -> None:
        self.info = MeterInfo(kind="told", source="a function", scope="board", period_s=period_s)
        self._tell = tell
        self._count = 0

    def read(self) -> Reading:
        self._count += 1
        power_w = self._tell(self._count)
        if power_w is None:
            raise MeterError("told: the cable is out")
        now_s = time.perf_counter()
        return Reading(begin_s=now_s, end_s=now_s, power_w=power_w)

    def close(self) -> None:
        pass


def working(worker: int = threading.get_ident()) -> Callable[[int], float]:
    """Power by whether a thread has computed since the last reading."""
    clock = time.pthread_getcpuclockid(worker)
    last = [time.perf_counter(), time.clock_gettime(clock)]

    def tell(count: int) -> float:
        wall_s, cpu_s = time.perf_counter(), time.clock_gettime(clock)
        busy = (cpu_s - last[1]) / max(wall_s - last[0], 1e-9)
        last[:] = wall_s, cpu_s
        return 3.0 + 6.0 * min(1.0, busy) + 0.01 * (count % 3)

    return tell


@pytest.mark.parametrize("kind", ["ina3221", "rapl"])
def test_the_joules_that_went_in_come_out(bundle, profile, tmp_path, kind):
    """2 W at rest, 12 W while the model computes: each energy to a tenth, or to its interval on a busy machine."""
    with LiveBoard(tmp_path, kind, rest_w=2.0, work_w=12.0) as board:
        energy, engine = measure(bundle, profile, open_meter(kind, root=tmp_path))
    cuts = Cuts(bundle.graph, bundle.digest)
    found = [prefix for prefix in energy.prefixes if prefix.total_j.origin == "measured"]
    assert len(found) >= 2
    for prefix in found:
        spent = engine.spent[cuts.segments(cuts.find(prefix.cut_id))[0].outputs]
        net_j = (board.work_w - board.rest_w) * spent.cpu_s / spent.runs
        total_j = net_j + board.rest_w * spent.wall_s / spent.runs
        for quantity, truth_j in ((prefix.total_j, total_j), (prefix.net_j, net_j)):
            off, interval = quantity.value / truth_j - 1, quantity.interval / truth_j
            print(f"{kind}: {off:+.1%} of {truth_j * 1e3:.2f} mJ, ± {interval:.1%}")
            assert abs(off) < max(0.1, interval)
    assert energy.idle_w.value == pytest.approx(board.rest_w, rel=0.1)
    assert board.turns == (1 if kind == "rapl" else 0)
    for values in ([each.total_j.value for each in energy.prefixes], [each.net_j.value for each in energy.prefixes]):
        assert values == sorted(values)
        assert values[0] > 0


def test_loops_come_in_another_order_each_round_and_the_whole_model_first(bundle, profile):
    energy, engine = measure(bundle, profile, Told(working()), pace=BRIEF, budget_s=5.0)
    count = sum(prefix.total_j.origin == "measured" for prefix in energy.prefixes)
    rounds = [tuple(engine.order[begin : begin + count]) for begin in range(0, len(engine.order), count)]
    assert len(rounds) == BRIEF.rounds
    assert count == len(energy.prefixes) - 1, "all but the cut that runs nothing"
    assert rounds[0][0] == Cuts(bundle.graph, bundle.digest).whole().outputs
    assert len({tuple(sorted(each)) for each in rounds}) == 1
    assert len(set(rounds)) > 1


@pytest.mark.parametrize(
    ("tell", "message"),
    [
        (lambda count: 5.0, "told is stuck"),
        (lambda count: 5.0 - count % 2 * 6.0, "negative power of -1 W"),
        (lambda count: math.nan, "no number"),
        (lambda count: 5.0 if count < 20 else None, "the cable is out"),
        (lambda count: 9.0 - 0.01 * count, r"told tells .* W while the model runs and .* W at rest"),
    ],
)
def test_a_meter_that_is_not_to_be_believed_is_refused_after_the_first_loop(bundle, profile, tell, message):
    engine = CountingEngine(open_engine(bundle, device="cpu", threads=1))
    with pytest.raises(MeterError, match=message):
        finish(energy_steps(bundle, engine, profile, Told(tell), budget_s=3.0, pace=BRIEF))
    assert len(engine.order) <= 1


def test_a_meter_that_freezes_while_the_model_runs_is_refused(bundle, profile):
    """What it shows from then on looks like work."""
    engine = CountingEngine(open_engine(bundle, device="cpu", threads=1))
    busy = working()

    def freezing(count: int) -> float:
        return busy(count) if len(engine.order) < 4 else 9.0

    with pytest.raises(MeterError, match="told is stuck"):
        finish(energy_steps(bundle, engine, profile, Told(freezing), pace=BRIEF, budget_s=2.0))
    assert len(engine.order) > 4


def test_an_interrupt_leaves_nothing_running(bundle, profile):
    """A thread that outlived it would fail this test (``conftest``)."""

    class Interrupted:
        def segment(self, segment):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finish(energy_steps(bundle, Interrupted(), profile, Told(working()), budget_s=1.0, pace=BRIEF))
    steps = energy_steps(bundle, Interrupted(), profile, Told(working()), budget_s=1.0, pace=replace(BRIEF, rest_s=9.0))
    next(steps)
    assert [each for each in threading.enumerate() if each.name == "cleft-meter"]
    steps.close()


def test_progress_never_runs_back_and_stays_below_one(bundle, profile):
    engine = open_engine(bundle, device="cpu", threads=1)
    shares = list(energy_steps(bundle, engine, profile, Told(working()), budget_s=1.0, pace=BRIEF))
    assert shares == sorted(shares)
    assert len(shares) > 3
    assert all(0 < share < 1 for share in shares)


INFO = MeterInfo(kind="told", source="", scope="board", period_s=0.0)
PROMISE = (4, 3, 1, 2)
"""Prefixes of 160, 20, 4 and 12 ms."""


def planned(period_s: float, budget_s: float, **changes):
    return plan_loops(
        edge_profile(), PROMISE, replace(INFO, period_s=period_s), budget_s=budget_s, pace=replace(Pace(), **changes)
    )


def test_loops_last_two_seconds_or_a_hundred_periods():
    assert planned(0.0066, 60.0).loop_s == pytest.approx(2.0)
    assert planned(0.1, 60.0).loop_s == pytest.approx(10.0)
    assert planned(0.422, 1000.0).loop_s == pytest.approx(42.2)


@pytest.mark.parametrize(("budget_s", "count"), [(6.75, 1), (13.4, 1), (13.6, 2), (20.3, 3), (60.0, 4)])
def test_as_many_cuts_are_run_as_the_budget_takes(budget_s, count):
    """Three rounds of 2.25 s each."""
    assert planned(0.001, budget_s).cuts == PROMISE[:count]


def test_a_budget_too_short_for_whole_loops_shortens_them():
    plan = planned(0.422, 60.0)
    assert plan.cuts == PROMISE[:1]
    assert 10 * 0.422 < plan.loop_s < 20.0
    assert 3 * plan.round_s == pytest.approx(60.0)


def test_a_meter_too_slow_for_the_budget_says_what_it_takes():
    with pytest.raises(MeterError, match=r"a new value only every 30 s: .* --energy-budget 1081s or more"):
        planned(30.0, 60.0)
    assert planned(30.0, 1081.0).cuts == PROMISE[:1]


def test_a_model_slower_than_the_budget_is_run_all_the_same():
    slow = replace(
        edge_profile(), cuts=tuple(replace(each, prefix=Timing(median_s=20.0)) for each in edge_profile().cuts)
    )
    assert plan_loops(slow, PROMISE, INFO, budget_s=5.0, pace=Pace()).cuts == PROMISE[:1]
