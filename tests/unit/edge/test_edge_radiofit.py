"""Fitting a radio: from readings that follow a known one exactly, with noise, or that no radio makes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from edge.errors import NotCalibrated
from edge.radiofit import Answer, Observed, Step, Trace, fit
from partitioner.meters import MeterInfo, Reading

METER = MeterInfo(kind="ina3221", source="rail VDD_IN", scope="board", period_s=0.01)
IDLE_W, BASE_W, UP_W, DOWN_W = 2.0, 0.5, 0.2, 0.05
RATES = ((1.0, 0.0), (4.0, 0.0), (10.0, 0.0), (0.0, 2.0), (0.0, 8.0), (0.0, 20.0))


def steps(
    *, base_w: float = BASE_W, up_w: float = UP_W, down_w: float = DOWN_W, noise_w: float = 0.0, passes: int = 1
) -> tuple[Step, ...]:
    random = np.random.default_rng(7)
    return tuple(
        Step(
            up_mbit=up,
            down_mbit=down,
            power_w=IDLE_W + base_w + up_w * up + down_w * down + noise_w * float(random.standard_normal()),
        )
        for _ in range(passes)
        for up, down in RATES
    )


def trace(*levels: tuple[float, float], noise_w: float = 0.0, period_s: float = 0.01, seed: int = 0) -> Trace:
    """Levels of (until, watts), read twice in each period, as sensors are."""
    random = np.random.default_rng(seed)
    times_s = np.arange(0.0, levels[-1][0], period_s / 2)
    powers_w = np.array([next(watts for until_s, watts in levels if at_s < until_s) for at_s in times_s])
    noise = np.repeat(random.standard_normal(len(times_s) // 2 + 1), 2)[: len(times_s)]
    return Trace(times_s=times_s, powers_w=powers_w + noise_w * noise)


REST = trace((2.0, IDLE_W))


def observed(**other: object) -> Observed:
    made = Observed(meter=METER, before=REST, steps=steps(), after=REST)
    return replace(made, **other)  # type: ignore[arg-type]


def test_a_radio_without_noise_is_found_exactly() -> None:
    fitted = fit(observed(), name="board")
    radio = fitted.radio
    assert (radio.name, radio.origin) == ("board", "measured")
    assert radio.up_w_per_mbit == pytest.approx(UP_W)
    assert radio.down_w_per_mbit == pytest.approx(DOWN_W)
    assert radio.base_w == pytest.approx(BASE_W)
    assert (radio.max_up_mbit, radio.max_down_mbit) == (10.0, 20.0)
    assert fitted.idle_w.value == pytest.approx(IDLE_W)
    assert fitted.residual_w == pytest.approx(0.0, abs=1e-9)
    assert "6 steps read from ina3221 (rail VDD_IN)" in radio.source


def test_intervals_hold_the_truth_in_about_95_of_100_cases() -> None:
    random = np.random.default_rng(3)
    hits = {"up_w_per_mbit": 0, "down_w_per_mbit": 0, "base_w": 0}
    truth = {"up_w_per_mbit": UP_W, "down_w_per_mbit": DOWN_W, "base_w": BASE_W}
    runs = 300
    for _ in range(runs):
        noisy = tuple(replace(each, power_w=each.power_w + 0.05 * float(random.standard_normal())) for each in steps())
        radio = fit(observed(steps=noisy), name="x").radio
        for field in hits:
            hits[field] += abs(getattr(radio, field) - truth[field]) <= radio.intervals[field]
    for field, count in hits.items():
        assert 0.91 <= count / runs <= 0.99, field


def test_a_slope_that_may_be_0_is_refused_and_never_written_down() -> None:
    with pytest.raises(NotCalibrated, match=r"rate down beyond doubt: .* mW per Mbit/s, give or take"):
        fit(observed(steps=steps(down_w=0.001, noise_w=0.05)), name="x")
    with pytest.raises(NotCalibrated, match="rate up beyond doubt"):
        fit(observed(steps=steps(up_w=0.0)), name="x")
    with pytest.raises(NotCalibrated, match="rate up beyond doubt"):
        fit(observed(steps=steps(up_w=-0.01)), name="x")


def test_a_base_that_may_be_0_is_0_with_its_doubt() -> None:
    fitted = fit(observed(steps=steps(base_w=0.0, noise_w=0.03, passes=4)), name="x")
    assert fitted.radio.base_w == 0.0
    assert fitted.radio.intervals["base_w"] > 0.005
    assert fitted.radio.up_w_per_mbit == pytest.approx(UP_W, rel=0.05)


def test_a_base_below_rest_is_no_radio() -> None:
    with pytest.raises(NotCalibrated, match="power is no line over the rate"):
        fit(observed(steps=steps(base_w=-0.15, down_w=0.1)), name="x")


def test_a_meter_that_does_not_see_the_radio_is_told_of() -> None:
    with pytest.raises(NotCalibrated, match="does not see the radio"):
        fit(observed(steps=steps(base_w=-0.2, up_w=0.0, down_w=0.0)), name="x")


@pytest.mark.parametrize("way", ["up", "down"])
def test_rates_that_hardly_differ_tell_no_slope(way: str) -> None:
    same = tuple(
        replace(each, **{f"{way}_mbit": 5.0}) if getattr(each, f"{way}_mbit") else each for each in steps(passes=2)
    )
    with pytest.raises(NotCalibrated, match=f"rates {way} hardly differ .*--{way}-mbit"):
        fit(observed(steps=same), name="x")


def test_too_few_steps_tell_nothing() -> None:
    with pytest.raises(NotCalibrated, match="3 steps tell nothing of three figures"):
        fit(observed(steps=steps()[:3]), name="x")


@pytest.mark.parametrize("noise_w", [0.0, 0.05])
def test_the_tail_ends_where_power_falls(noise_w: float) -> None:
    after = trace((0.6, IDLE_W + 0.4), (2.0, IDLE_W), noise_w=noise_w)
    fitted = fit(observed(after=after), name="x")
    assert fitted.radio.tail_s == pytest.approx(0.6, abs=0.02)
    assert fitted.radio.tail_w == pytest.approx(0.4, abs=0.02)
    assert fitted.idle_w.value == pytest.approx(IDLE_W, abs=0.02)


def test_a_meter_that_still_follows_the_last_step_is_no_tail() -> None:
    lagging = trace((0.04, IDLE_W + 2.5), (2.0, IDLE_W))
    fitted = fit(observed(after=lagging), name="x")
    assert (fitted.radio.tail_s, fitted.radio.tail_w) == (0.0, 0.0)
    assert fitted.idle_w.value == pytest.approx(IDLE_W)
    assert any("no tail" in note for note in fitted.notes)
    both = trace((0.04, IDLE_W + 2.5), (0.6, IDLE_W + 0.4), (2.0, IDLE_W))
    radio = fit(observed(after=both), name="x").radio
    assert radio.tail_s == pytest.approx(0.6, abs=0.02)
    assert radio.tail_w == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize("noise_w", [0.0, 0.05])
def test_a_slow_end_of_the_last_step_and_a_tail_of_two_levels_end_in_rest(noise_w: float) -> None:
    after = trace((0.15, IDLE_W + 2.0), (0.9, IDLE_W + 0.5), (1.2, IDLE_W + 0.3), (3.0, IDLE_W), noise_w=noise_w)
    fitted = fit(observed(after=after), name="x")
    assert fitted.radio.tail_s == pytest.approx(1.2, abs=0.03)
    assert fitted.radio.tail_w == pytest.approx(0.5, abs=0.03)
    assert fitted.idle_w.value == pytest.approx(IDLE_W, abs=0.02)


def test_a_blip_in_the_rest_is_no_tail() -> None:
    after = trace((1.0, IDLE_W), (1.1, IDLE_W + 3.0), (2.0, IDLE_W))
    assert fit(observed(after=after), name="x").radio.tail_s == 0.0


def test_a_tail_that_outlives_the_rest_is_not_taken_for_idling() -> None:
    with pytest.raises(NotCalibrated, match=r"still takes 400 mW more .* give a longer --idle"):
        fit(observed(after=trace((2.0, IDLE_W + 0.4))), name="x")


def test_a_radio_that_was_awake_at_first_is_let_fall_asleep() -> None:
    fitted = fit(observed(before=trace((1.2, IDLE_W + 0.4), (2.0, IDLE_W))), name="x")
    assert fitted.idle_w.value == pytest.approx(IDLE_W)


def test_noise_alone_is_no_tail() -> None:
    for seed in range(20):
        after = trace((2.0, IDLE_W), noise_w=0.1, seed=seed)
        assert fit(observed(after=after), name="x").radio.tail_s == 0.0


def test_a_rest_of_a_few_readings_is_too_short() -> None:
    with pytest.raises(NotCalibrated, match="6 readings in a rest are too few"):
        fit(observed(after=trace((0.03, IDLE_W))), name="x")


def test_drift_between_the_rests_is_part_of_the_doubt() -> None:
    fitted = fit(observed(after=trace((2.0, IDLE_W + 0.06))), name="x")
    assert fitted.idle_w.value == pytest.approx(IDLE_W + 0.03)
    assert fitted.idle_w.interval == pytest.approx(0.03)
    assert fitted.radio.intervals["base_w"] == pytest.approx(0.03)


def answers(*took_s: float, power_w: float | None = None) -> tuple[Answer, ...]:
    return tuple(Answer(took_s=each, power_w=power_w) for each in took_s)


def test_a_promotion_is_what_an_answer_takes_longer_after_a_rest() -> None:
    warm = answers(0.040, 0.042, 0.041)
    fitted = fit(observed(cold=answers(0.30, 0.302, power_w=1.1), warm=warm), name="x")
    assert fitted.radio.promotion_s == pytest.approx(0.26, abs=0.001)
    assert fitted.radio.promotion_w == pytest.approx(1.1)
    unread = fit(observed(cold=answers(0.30, 0.302), warm=warm), name="x")
    assert unread.radio.promotion_w == pytest.approx(BASE_W)
    assert any("its power is taken to be the base's" in note for note in unread.notes)


def test_a_network_that_answers_as_unevenly_in_traffic_shows_no_promotion() -> None:
    fitted = fit(observed(cold=answers(0.09, 0.09), warm=answers(0.04, 0.06, 0.04)), name="x")
    assert (fitted.radio.promotion_s, fitted.radio.promotion_w) == (0.0, 0.0)
    assert any("no promotion is seen" in note for note in fitted.notes)


def test_a_counter_is_power_between_its_readings() -> None:
    readings = [Reading(begin_s=at_s, end_s=at_s, counter_j=100 + 3.0 * at_s) for at_s in (5.0, 5.5, 5.5, 6.0, 7.0)]
    found = Trace.of(readings, 5.0, 6.0)
    assert found.powers_w.tolist() == pytest.approx([3.0, 3.0])
    assert found.times_s.tolist() == pytest.approx([0.25, 0.75])
    assert math.isclose(float(Trace.of([], 0.0, 1.0).powers_w.sum()), 0.0)
