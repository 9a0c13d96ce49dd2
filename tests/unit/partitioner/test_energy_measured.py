"""What goes into a device comes out of measuring it: in simulated time to a hundredth, and once in earnest."""

import math
import threading
from contextlib import closing
from dataclasses import replace

import pytest
import torch

from partitioner.energy import EnergyProfile
from partitioner.measure import energy as measuring
from partitioner.measure import measure_steps
from partitioner.measure.energy import Pace, energy_steps, plan_loops
from partitioner.meters import MeterError, MeterInfo
from partitioner.meters.finding import open_meter
from partitioner.profile import Profile, Timing
from partitioner.runtimes.eager import open_engine
from partitioner.segments import Cuts
from tests import every_cut
from tests.live_boards import CountingEngine, LiveBoard, Refreshed
from tests.simulated_boards import SimulatedBoard
from tests.unit.partitioner.synthetic_profiles import edge_profile

BRIEF = Pace(rest_s=0.3, loop_s=0.2, periods=25, lead_s=0.1, rounds=3, most_rounds=3)

REST_W = 3.0
LAYER_S = 0.01
LAYERS_W = (5.0, 9.0, 6.0, 12.0)
"""The power of a simulated run: of its first layer, its second, and so on, over again."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    torch.manual_seed(0)
    blocks = [torch.nn.Sequential(torch.nn.Conv2d(16, 16, 3, padding=1), torch.nn.ReLU()) for _ in range(6)]
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 5, padding=2), *blocks, torch.nn.AdaptiveAvgPool2d(1)).eval()
    return every_cut.pack(module, tmp_path_factory.mktemp("chain") / "chain", args=(torch.zeros(1, 3, 64, 64),))


@pytest.fixture(scope="module")
def profile(bundle) -> Profile:
    return finish(measure_steps(bundle, open_engine(bundle, device="cpu", threads=1), budget_s=0.2))


def finish(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


class Simulated:
    """Runs that pass the time of a board: so many layers, one after the other; ``order`` is how they were asked for."""

    def __init__(self, bundle, board: SimulatedBoard, *, layer_s: float = LAYER_S) -> None:
        cuts = Cuts(bundle.graph, bundle.digest)
        self.depths = {cuts.segments(cut)[0].outputs: cut.depth for cut in cuts.candidates}
        self.order: list[int] = []
        self._board, self._layer_s = board, layer_s

    def joules(self, depth: int) -> float:
        return sum(self._layer_s * LAYERS_W[layer % len(LAYERS_W)] for layer in range(depth))

    def segment(self, segment):
        self.order.append(self.depths[segment.outputs])
        return Run(self, self.order[-1])

    def run(self, depth: int) -> None:
        seconds = depth * self._layer_s
        self._board.run(seconds, self.joules(depth) / seconds)

    def profile(self, profile: Profile) -> Profile:
        """As it is on this device."""
        layers = tuple(replace(each, forward=Timing(median_s=self._layer_s)) for each in profile.layers)
        cuts = [replace(each, prefix=Timing(median_s=each.depth * self._layer_s or 1e-5)) for each in profile.cuts]
        return replace(profile, layers=layers, cuts=tuple(cuts))


class Run:
    def __init__(self, engine: Simulated, depth: int) -> None:
        self._engine, self._depth = engine, depth

    def __call__(self, tensors) -> None:
        self._engine.run(self._depth)

    def settle(self) -> None:
        pass


@pytest.fixture
def simulated(bundle, profile, monkeypatch):
    """Steps of measuring in simulated time, and the engine that they run."""

    def begin(board: SimulatedBoard, *, layer_s: float = LAYER_S, budget_s: float = 60.0, pace: Pace = BRIEF):
        engine = Simulated(bundle, board, layer_s=layer_s)
        monkeypatch.setattr(measuring, "time", board)
        monkeypatch.setattr(measuring, "Sampler", board.sampler)
        return energy_steps(bundle, engine, engine.profile(profile), board, budget_s=budget_s, pace=pace), engine

    return begin


def board(**options) -> SimulatedBoard:
    return SimulatedBoard(**{"rest_w": REST_W, "period_s": 0.004, **options})


@pytest.mark.parametrize(
    ("period_s", "is_counter", "budget_s", "layer_s", "cuts"),
    [
        (0.0066, False, 60.0, LAYER_S, 8),
        (0.02, True, 60.0, LAYER_S, 8),
        (0.422, False, 200.0, LAYER_S, 1),
        (10.0, False, 4000.0, 0.5, 1),
        (10.0, True, 40_000.0, 0.5, 8),
    ],
)
def test_the_joules_that_went_in_come_out(simulated, period_s, is_counter, budget_s, layer_s, cuts):
    seen = board(period_s=period_s, is_counter=is_counter)
    steps, engine = simulated(seen, layer_s=layer_s, budget_s=budget_s, pace=Pace())
    energy = finish(steps)
    found = [(depth, each) for depth, each in enumerate(energy.prefixes) if each.total_j.origin == "measured"]
    assert len(found) >= cuts
    for depth, prefix in found:
        total_j, net_j = engine.joules(depth), engine.joules(depth) - REST_W * depth * layer_s
        assert prefix.total_j.value == pytest.approx(total_j, rel=0.01)
        assert prefix.net_j.value == pytest.approx(net_j, rel=0.02)
    assert energy.idle_w.value == pytest.approx(REST_W, rel=0.01)
    assert energy.period_s == period_s
    check_order(energy)


def check_order(energy: EnergyProfile) -> None:
    for values in ([each.total_j.value for each in energy.prefixes], [each.net_j.value for each in energy.prefixes]):
        assert values == sorted(values)
        assert values[0] > 0


def test_the_joules_of_a_real_run_come_out(bundle, profile, tmp_path):
    """2 W at rest, 12 W while this thread computes: to a tenth, or to the interval on a busy machine."""
    live = LiveBoard(tmp_path, "rapl", rest_w=2.0, work_w=12.0)
    engine = CountingEngine(open_engine(bundle, device="cpu", threads=1))
    with closing(Refreshed(live, open_meter("rapl", root=tmp_path))) as meter:
        energy = finish(energy_steps(bundle, engine, profile, meter, budget_s=2.2, pace=BRIEF))
    cuts = Cuts(bundle.graph, bundle.digest)
    found = [prefix for prefix in energy.prefixes if prefix.total_j.origin == "measured"]
    assert len(found) >= 2
    for prefix in found:
        spent = engine.spent[cuts.segments(cuts.find(prefix.cut_id))[0].outputs]
        net_j = (live.work_w - live.rest_w) * spent.cpu_s / spent.runs
        total_j = net_j + live.rest_w * spent.wall_s / spent.runs
        for quantity, truth_j in ((prefix.total_j, total_j), (prefix.net_j, net_j)):
            off, interval = quantity.value / truth_j - 1, quantity.interval / truth_j
            print(f"{off:+.1%} of {truth_j * 1e3:.2f} mJ, ± {interval:.1%}")
            assert abs(off) < max(0.1, interval)
    assert energy.idle_w.value == pytest.approx(live.rest_w, rel=0.1)
    assert live.turns == 1, "the counter started over"
    check_order(energy)


def test_loops_come_in_another_order_each_round_and_the_whole_model_first(simulated):
    steps, engine = simulated(board())
    energy = finish(steps)
    count = sum(prefix.total_j.origin == "measured" for prefix in energy.prefixes)
    rounds = [tuple(engine.order[begin : begin + count]) for begin in range(0, len(engine.order), count)]
    assert len(rounds) == BRIEF.rounds
    assert count == len(energy.prefixes) - 1, "all but the cut that runs nothing"
    assert rounds[0][0] == max(engine.order)
    assert len({tuple(sorted(each)) for each in rounds}) == 1
    assert len(set(rounds)) > 1


def test_readings_are_held_no_longer_than_for_two_things_that_are_watched(simulated):
    seen = board()
    steps, engine = simulated(seen)
    finish(steps)
    assert len(engine.order) > 20
    assert seen.most_held < seen.count / 4


@pytest.mark.parametrize(
    ("tell", "message"),
    [
        (lambda count, truth: 5.0, "told is stuck"),
        (lambda count, truth: 5.0 - count % 2 * 6.0, "negative power of -1 W"),
        (lambda count, truth: math.nan, "no number"),
        (lambda count, truth: truth if count < 20 else None, "the cable is out"),
        (lambda count, truth: 9.0 - 0.001 * count, r"told tells .* W while the model runs and .* W at rest"),
    ],
)
def test_a_meter_that_is_not_to_be_believed_is_refused_after_the_first_loop(simulated, tell, message):
    steps, engine = simulated(board(tell=tell))
    with pytest.raises(MeterError, match=message):
        finish(steps)
    assert len(engine.order) <= 1


@pytest.mark.parametrize("told_w", [-2.0, math.inf])
def test_what_cannot_be_is_refused_in_the_middle_too(simulated, told_w):
    steps, engine = simulated(board(tell=lambda count, truth: told_w if count == 1000 else truth))
    with pytest.raises(MeterError, match=r"negative power|no number"):
        finish(steps)
    assert 1 < len(engine.order) < 20


def test_a_meter_that_freezes_while_the_model_runs_is_refused(simulated):
    """What it shows from then on looks like work."""
    steps, engine = simulated(board(tell=lambda count, truth: truth if len(engine.order) < 4 else 9.0))
    with pytest.raises(MeterError, match="told is stuck"):
        finish(steps)
    assert len(engine.order) > 4


def test_an_interrupt_leaves_nothing_running(bundle, profile, tmp_path):
    """A thread that outlived it would fail this test (``conftest``)."""

    class Interrupted:
        def segment(self, segment):
            raise KeyboardInterrupt

    live = LiveBoard(tmp_path, "rapl", rest_w=2.0, work_w=12.0)
    meter = Refreshed(live, open_meter("rapl", root=tmp_path))
    brief = replace(BRIEF, rest_s=0.02, lead_s=0.005)
    with pytest.raises(KeyboardInterrupt):
        finish(energy_steps(bundle, Interrupted(), profile, meter, budget_s=1.0, pace=brief))
    steps = energy_steps(bundle, Interrupted(), profile, meter, budget_s=1.0, pace=replace(brief, rest_s=9.0))
    next(steps)
    assert [each for each in threading.enumerate() if each.name == "cleft-meter"]
    steps.close()


def test_progress_never_runs_back_and_stays_below_one(simulated):
    shares = list(simulated(board())[0])
    assert shares == sorted(shares)
    assert len(shares) > 30
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
