"""Which plans are measured, and what follows from made-up measurements, each by its definition."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partitioner.cli import main
from partitioner.cli.verify import _is_asked
from partitioner.errors import ProfileError
from partitioner.link import PRESETS
from partitioner.verify import Settings, Subject, sampling
from partitioner.verify.findings import Finding, Tried, counted, finalists, load_finding
from partitioner.verify.summary import summarise, verdict

predictions = st.lists(st.floats(0.001, 20.0), min_size=3, max_size=120).map(sorted)


@given(predictions, st.floats(0.1, 60.0), st.data())
def test_what_must_be_measured_is_and_the_rest_fits_the_time(
    predicted_s: list[float], limit_s: float, data: st.DataObject
) -> None:
    ranks = st.integers(0, len(predicted_s) - 1)
    always = [0, data.draw(ranks), data.draw(ranks)]
    runs = sampling.sample(predicted_s, always=always, limit_s=limit_s)
    assert set(always) <= set(runs)
    assert all(1 <= count <= sampling.runs_of(predicted_s[rank]) for rank, count in runs.items())
    optional = {rank: count for rank, count in runs.items() if rank not in always}
    if optional:
        is_stretched = all(count == 1 for count in runs.values())
        most_s = sampling.STRETCH * limit_s if is_stretched and max(optional) < sampling.BEST else limit_s
        assert sum(count * predicted_s[rank] for rank, count in runs.items()) <= most_s + 1e-9


@given(predictions)
def test_with_time_enough_every_plan_is_measured(predicted_s: list[float]) -> None:
    runs = sampling.sample(predicted_s, always=[0], limit_s=1e6)
    assert runs == {rank: sampling.runs_of(each) for rank, each in enumerate(predicted_s)}


def test_the_ten_best_come_before_a_sample_of_the_rest_that_is_even() -> None:
    predicted_s = [0.1 + rank * 1e-4 for rank in range(100)]
    runs = sampling.sample(predicted_s, always=[0, 99], limit_s=18 * 0.6)
    assert set(range(10)) <= set(runs)
    rest = sorted(rank for rank in runs if 10 <= rank < 99)
    gaps = [after - before for before, after in zip([9, *rest], [*rest, 99], strict=True)]
    assert len(rest) >= 6
    assert max(gaps) <= 2 * 90 / len(rest)


def test_the_ten_best_are_measured_once_in_more_time_before_any_is_left_out() -> None:
    predicted_s = [2.0] * 20
    assert sampling.sample(predicted_s, always=[0], limit_s=10.0) == dict.fromkeys(range(10), 1)
    assert sampling.sample(predicted_s, always=[0], limit_s=4.0) == dict.fromkeys(range(4), 1)


def test_a_slow_plan_is_not_left_out_for_being_run_often() -> None:
    predicted_s = [2.0] * 10
    assert sampling.sample(predicted_s, always=[0], limit_s=21.6) == dict.fromkeys(range(10), 1)


@given(st.lists(st.integers(), unique=True, max_size=60))
def test_spreading_loses_nothing(ranks: list[int]) -> None:
    assert sorted(sampling.spread(ranks)) == sorted(ranks)


def tried(
    rank: int, cut: str, predicted_s: float, first: list[float], last: list[float] | None = None, codec: str = "none"
) -> Tried:
    return Tried(
        rank=rank,
        cut=cut,
        codec=codec,
        predicted_s=predicted_s,
        first_s=tuple(first),
        last_s=tuple(last or ()),
        up_bytes=100,
    )


def finding(*plans: Tried, model: str = "net") -> Finding:
    return Finding(
        model=model,
        weights="random",
        runtime="eager",
        max_deviation=None,
        link=PRESETS["4g"],
        slowdown=4.0,
        plans=plans,
        left_out=3,
        took_s=12.0,
    )


SPLIT_WINS = finding(
    tried(0, "after:a", 0.100, [0.110, 0.112, 0.108], [0.104, 0.105, 0.106]),
    tried(1, "after:b", 0.105, [0.090, 0.140, 0.100], [0.100, 0.101, 0.300]),
    tried(4, "cloud", 0.300, [0.330, 0.310]),
    tried(5, "cloud", 0.310, [0.210], codec="source"),
    tried(6, "cloud", 0.320, [0.190], codec="source:jpeg90"),
    tried(9, "local", 0.500, [0.400]),
)
CHOICE_WINS = finding(
    tried(0, "local", 0.2, [0.2], [0.2, 0.2, 0.2]), tried(1, "cloud", 0.4, [0.4], [0.21] * 3), model="other"
)


def test_regret_is_of_the_last_runs_alone() -> None:
    assert SPLIT_WINS.best.cut == "after:b"
    assert SPLIT_WINS.regret == pytest.approx(0.105 / 0.101 - 1)
    assert not SPLIT_WINS.is_best_chosen
    assert CHOICE_WINS.regret == 0.0
    assert CHOICE_WINS.is_best_chosen


def test_a_plan_s_time_is_the_median_of_all_its_runs() -> None:
    chosen = SPLIT_WINS.chosen
    assert chosen.measured_s == statistics.median([0.110, 0.112, 0.108, 0.104, 0.105, 0.106])
    assert chosen.error == pytest.approx(0.100 / 0.107 - 1)


def test_all_cloud_is_taken_at_its_best_without_re_encoding_and_all_local_as_it_is() -> None:
    assert SPLIT_WINS.over_cloud == pytest.approx(0.210 / 0.107)
    assert SPLIT_WINS.over_local == pytest.approx(0.400 / 0.107)


def test_finalists_are_the_chosen_plan_and_the_fastest_others_however_slow_the_chosen_one() -> None:
    plans = [tried(rank, f"after:{rank}", 0.1, [seconds]) for rank, seconds in enumerate([9.0, 1.2, 1.0, 1.3, 1.1])]
    assert finalists(plans) == (0, 2, 4, 1)
    many = [tried(rank, f"after:{rank}", 0.1, [1.0 + rank * 1e-3]) for rank in range(20)]
    assert finalists(many) == (0, 1, 2, 3, 4)


def test_first_runs_are_left_out_where_others_can_stand_for_the_plan() -> None:
    assert counted([9.0, 1.0, 2.0, 3.0], is_first=False) == (1.0, 2.0, 3.0)
    assert counted([9.0, 1.0], is_first=False) == (9.0, 1.0)
    assert counted([9.0, 1.0], is_first=True) == (1.0,)
    assert counted([9.0], is_first=True) == (9.0,)


def test_a_summary_counts_and_takes_medians() -> None:
    found = [SPLIT_WINS, CHOICE_WINS]
    summary = summarise(found)
    assert (summary.configurations, summary.within_10_percent, summary.best_chosen) == (2, 2, 1)
    assert summary.median_regret == pytest.approx((0.105 / 0.101 - 1) / 2)
    assert summary.median_error == statistics.median([error for each in found for error in each.errors])
    assert summary.plans_measured == 8
    assert summary.plans_left_out == 6
    assert "in 2 of 2 configurations" in verdict(summary)[0]


def test_a_finding_is_read_back_equal() -> None:
    for each in (SPLIT_WINS, CHOICE_WINS, replace(SPLIT_WINS, is_predicted=True)):
        assert load_finding(json.dumps(each.to_json())) == each


def test_a_finding_from_before_devices_were_predicted_was_of_a_measured_one() -> None:
    values = SPLIT_WINS.to_json()
    del values["predicted"]
    assert load_finding(json.dumps(values)) == SPLIT_WINS


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": "cleft.finding/9"}, "schema"),
        ({"plans": []}, "no chosen plan"),
        ({"slowdown": -1}, "slowdown"),
        ({"link": None}, "link"),
    ],
)
def test_what_is_no_finding_is_refused_in_one_line(change: dict[str, object], says: str) -> None:
    with pytest.raises(ProfileError, match=says) as refused:
        load_finding(json.dumps({**SPLIT_WINS.to_json(), **change}))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("runtime", "max_deviation", "is_asked"),
    [("eager", None, True), ("auto", None, True), ("ort", None, False), ("eager", 0.02, False)],
)
def test_a_finding_of_another_runtime_or_bound_is_not_taken_for_this_one(
    runtime: str, max_deviation: float | None, is_asked: bool
) -> None:
    settings = Settings(
        links=(PRESETS["4g"],),
        slowdowns=(4.0,),
        codecs=None,
        max_deviation=max_deviation,
        runtime=runtime,
        profile_budget_s=1.0,
        time_per_config_s=1.0,
    )
    subjects = [Subject(spec="net", name="net", input=None)]
    assert _is_asked(SPLIT_WINS, subjects, settings) == is_asked
    assert not _is_asked(replace(SPLIT_WINS, is_predicted=True), subjects, settings)


def test_a_codec_that_is_not_is_told_before_anything_is_packed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "digits", "--codecs", "none,int9"]) == 2
    said = capsys.readouterr().err
    assert "there is no codec int9 (did you mean int" in said
    assert "source:fit-webp80" in said
