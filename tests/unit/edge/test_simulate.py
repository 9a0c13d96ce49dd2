"""The simulated world keeps its word: bytes arrive as the trace allows, nobody beats the oracle, the policy adapts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge.bandwidth import IGNORED
from edge.cli import main
from edge.simulate.builtin import builtin_trace
from edge.simulate.contest import Course, adapting, foreseeing, hold, keeping, promising
from edge.simulate.line import Line
from edge.simulate.oracle import Oracle
from edge.simulate.steps import Steps
from edge.simulate.trace import Trace
from edge.simulate.transfer import Sender
from edge.simulate.truth import Truth
from edge.simulate.world import Air, Direction, Events
from partitioner.errors import UsageError
from partitioner.link import BYTES_PER_MBIT
from partitioner.planner import Planner
from partitioner.profile import CodecCost, CutProfile, DeviceInfo, Profile, RuntimeRecord, SourceProfile, TensorSpec
from partitioner.profile import Timing as ProfileTiming

_MIB = 1 << 20
# name, bytes crossing, prefix and suffix on the worker; the device is twenty times slower
_CUTS = (("cloud", 60_000, 0.0, 10.0), ("after:middle", 8_000, 5.0, 5.0), ("local", 0, 10.0, 0.0))
SLOWDOWN = 20.0


def timing(ms: float) -> ProfileTiming:
    return ProfileTiming(median_s=ms * 1e-3)


def codec(up_bytes: int) -> CodecCost:
    return CodecCost(codec="none", up_bytes=up_bytes, encode_s=0.0, decode_s=0.0, deviation=0.0)


def profile() -> Profile:
    cuts = tuple(
        CutProfile(
            id=f"id{index}",
            name=name,
            depth=index,
            crossing=(TensorSpec(name=f"t{index}", dtype="uint8", shape=(nbytes,), nbytes=nbytes),) if nbytes else (),
            reply=(TensorSpec(name="y", dtype="uint8", shape=(400,), nbytes=400),) if nbytes else (),
            edge_outputs=() if nbytes else ("y",),
            edge_flops=index,
            cloud_flops=2 - index,
            edge_weight_bytes=0,
            cloud_weight_bytes=0,
            edge_peak_bytes=0,
            cloud_peak_bytes=0,
            prefix=timing(prefix_ms),
            suffix=timing(suffix_ms),
            codecs=(codec(nbytes),) if nbytes else (),
            reply_cost=codec(400 if nbytes else 0),
        )
        for index, (name, nbytes, prefix_ms, suffix_ms) in enumerate(_CUTS)
    )
    return Profile(
        model_digest="5f" * 32,
        model_name="toy",
        weights="given",
        device=DeviceInfo(name="here", machine="x86_64", cpu="any", cores=1),
        runtime=RuntimeRecord(name="eager", device="cpu", threads=1, versions={}),
        binding={},
        layers=(),
        flows=(),
        cuts=cuts,
        whole=timing(10.0),
        source=SourceProfile(kind="tensor", nbytes=60_000, how="assumed", preprocess=None),
        samples=1,
        samples_how="assumed",
        peak_rss_bytes=0,
        noise_ratio=0.0,
        noisy=False,
        created="2026-01-02T03:04:05Z",
    )


EDGE, CLOUD = profile().slowed(SLOWDOWN), profile()
PLANNER = Planner.from_profiles(EDGE, CLOUD)
TRUTH = Truth(PLANNER.frozen, [EDGE])
FOUR = ("steps", "sawtooth", "drive", "noise")


def steady(mbit: float, *, delay_s: float = 0.01) -> Trace:
    rate = Steps.constant(mbit * BYTES_PER_MBIT)
    return Trace(name="steady", up=rate, down=rate, delay_s=Steps.constant(delay_s), length_s=1.0)


def course(trace: Trace, *, deadline_s: float | None = None) -> Course:
    return Course(frames=max(50, round(trace.length_s / 0.2)), period_s=0.2, deadline_s=deadline_s)


def test_bytes_queue_behind_others_and_arrive_in_order() -> None:
    way = Direction(Steps.constant(1000.0), Steps([0.0, 1.0], [0.5, 0.1], period_s=10.0))
    assert way.send(500, 0.0) == pytest.approx(1.0)  # leaves at 0.5, under the longer delay
    assert way.send(600, 0.1) == pytest.approx(1.2)  # leaves at 1.1
    assert way.send(0, 5.0) == pytest.approx(5.1)


def test_an_outage_holds_bytes_and_its_end_lets_them_go() -> None:
    way = Direction(Steps([0.0, 1.0, 4.0], [1000.0, 0.0, 1000.0], period_s=100.0), Steps.constant(0.0))
    assert way.send(1500, 0.0) == pytest.approx(4.5)


def test_payload_takes_what_the_rate_makes_of_it_and_its_last_byte_ends_it() -> None:
    events, air = Events(), Air(steady(8.0))
    arrived: list[float] = []
    sender = Sender(events, air.up, air.down)
    sender.put(1, _MIB, lambda: arrived.append(events.now_s))
    events.pass_to(10.0)
    assert arrived
    assert _MIB / 1e6 + 0.01 <= arrived[0] <= 1.1 * (_MIB / 1e6) + 0.1
    assert sender.unacked_bytes == sender.left_bytes(1) == 0


def test_nothing_more_is_sent_of_a_frame_that_is_over() -> None:
    events, air = Events(), Air(steady(8.0))
    sender = Sender(events, air.up, air.down)
    sender.put(1, _MIB, lambda: pytest.fail("it was dropped"))
    events.pass_to(0.3)
    sender.drop(1)
    events.pass_to(0.4)
    sender.put(2, 1000, lambda: None)
    began_s = events.now_s
    while sender.left_bytes(2):
        events.step(10.0)
    assert events.now_s - began_s < 0.5, "at most a window of the dropped frame is ahead"


def test_a_silent_worker_is_lost_after_three_seconds_and_back_soon_after_the_link() -> None:
    rate = Steps([0.0, 1.0, 8.0], [1e6, 0.0, 1e6], period_s=1000.0)
    trace = Trace(name="hole", up=rate, down=rate, delay_s=Steps.constant(0.01), length_s=1000.0)
    events = Events()
    line = Line(events, Air(trace), IGNORED)
    while line.is_up:
        events.step(100.0)
    assert 3.0 <= events.now_s <= 5.0
    while not line.is_up:
        events.step(100.0)
    assert 8.0 < events.now_s < 13.0


@pytest.mark.parametrize("name", FOUR)
def test_no_fixed_cut_is_faster_than_the_oracle_at_any_frame_that_finds_the_link_idle(name: str) -> None:
    trace = builtin_trace(name)
    oracle = Oracle(trace, TRUTH)
    for candidate in PLANNER.frozen.candidates:
        run = keeping(candidate, trace, TRUTH, PLANNER, course(trace))
        for each in run.answers:
            assert each.is_home or each.took_s >= oracle.best(each.frame, each.start_s).took_s - 1e-9


def test_the_oracle_takes_the_least_of_what_can_be_computed_by_hand() -> None:
    best = Oracle(steady(80.0), TRUTH).best(0, 0.0)
    cloud_s = 60_000 / 1e7 + 0.01 + 0.010 + 400 / 1e7 + 0.01
    assert best.candidate.cut == "cloud"
    assert best.took_s == pytest.approx(cloud_s)
    slow = Oracle(steady(1.6), TRUTH).best(0, 0.0)
    assert slow.candidate.cut == "after:middle"
    assert slow.took_s == pytest.approx(0.1 + 8_000 / 2e5 + 0.01 + 0.005 + 400 / 2e5 + 0.01)


@pytest.mark.parametrize("name", FOUR)
def test_the_policy_is_near_the_oracle_and_as_fast_as_every_fixed_cut(name: str) -> None:
    contest = hold(builtin_trace(name), TRUTH, PLANNER, course(builtin_trace(name)))
    assert contest.policy.regret(contest.oracle) <= 0.10
    assert contest.policy.regret(contest.best_fixed) <= 0.02


def test_a_step_of_the_rate_moves_the_cut_at_most_twice() -> None:
    trace = builtin_trace("steps")
    run = adapting(trace, TRUTH, PLANNER, Course(frames=500, period_s=0.2))
    steps = 500 * 0.2 / 10
    assert 1 < run.switches <= 2 * steps
    assert len(run.decisions) == run.switches + 1
    assert all(each.reason for each in run.decisions)


def test_noise_of_a_fifth_moves_nothing_for_ten_minutes() -> None:
    run = adapting(builtin_trace("noise"), TRUTH, PLANNER, Course(frames=3000, period_s=0.2))
    assert run.switches <= 1


def test_jitter_makes_no_more_requests_late_than_the_oracle_has() -> None:
    trace = builtin_trace("jitter")
    limits = course(trace, deadline_s=0.5)
    assert adapting(trace, TRUTH, PLANNER, limits).misses <= foreseeing(trace, TRUTH, limits).misses + 3


def test_a_profile_that_is_off_by_two_is_noticed() -> None:
    trace = steady(8.0)
    truth = Truth(PLANNER.frozen, [EDGE], here=2.0)
    limits = Course(frames=200, period_s=0.4)
    assert adapting(trace, truth, PLANNER, limits).regret(foreseeing(trace, truth, limits)) < 0.1


def test_the_same_course_gives_the_same_answers_and_noise_is_that_of_the_frame() -> None:
    truth = Truth(PLANNER.frozen, [EDGE], noise=0.1, seed=3)
    trace = builtin_trace("drive")
    limits = Course(frames=60, period_s=0.2, seed=3)
    assert adapting(trace, truth, PLANNER, limits) == adapting(trace, truth, PLANNER, limits)
    local = next(each for each in truth.candidates if each.is_local)
    assert len({truth.of(local, frame).head_s for frame in range(20)}) == 20


def test_only_some_fixed_cuts_are_played_out_where_that_is_asked_and_both_ends_always() -> None:
    some = promising(builtin_trace("steps"), TRUTH, PLANNER, Course(frames=50, period_s=0.2), most=1)
    assert {each.cut for each in some} >= {"local", "cloud"}


def test_a_runtime_without_a_profile_is_refused() -> None:
    with pytest.raises(UsageError, match="no profile of eager"):
        Truth(PLANNER.frozen, [])


@pytest.fixture
def both(tmp_path: Path) -> list[str]:
    for name, each in (("edge", EDGE), ("cloud", CLOUD)):
        (tmp_path / f"{name}.json").write_text(each.dumps(), encoding="utf-8")
    return ["--edge", str(tmp_path / "edge.json"), "--cloud", str(tmp_path / "cloud.json")]


def test_the_command_prints_who_took_how_long_and_why_it_switched(
    both: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "log.csv"
    trace.write_text("seconds,up_mbit\n0,50\n4,1\n8,50\n", encoding="utf-8")
    assert main(["simulate", "--trace", str(trace), *both, "--decisions", "--deadline", "400ms"]) == 0
    out = capsys.readouterr().out
    assert "log: 60 requests, one every 200 ms, each within 400 ms" in out
    assert "than the oracle" in out
    assert "Mbit/s" in out.split("than the oracle")[1]


def test_the_command_prints_json(both: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--trace", "steps", "noise", *both, "--frames", "60", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "cleft.simulate/1"
    assert [each["trace"] for each in document["contests"]] == ["steps", "noise"]
    assert document["contests"][0]["frames"] == 60


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_command_draws(both: list[str], tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"steps.{suffix}"
    assert main(["simulate", "--trace", "steps", *both, "--frames", "60", "--plot", str(path)]) == 0
    assert path.stat().st_size > 1000


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--trace", "stairs"], "no such file, and none of the built-in traces: steps, sawtooth"),
        (["--trace", "steps", "noise", "--trace-down", "x"], "give one --trace"),
        (["--trace", "steps", "--plot", "a.jpg"], "ends in .png or .svg"),
        (["--trace", "steps", "--plot", "/nowhere/a.png"], "no such folder"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(
    both: list[str], capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert main(["simulate", *more, *both]) != 0
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_without_profiles_the_command_says_how_to_make_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--trace", "drive", "--model", "digits"]) != 0
    assert "cleft-plan profile digits" in capsys.readouterr().err
