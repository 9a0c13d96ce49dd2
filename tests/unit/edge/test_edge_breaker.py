from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge.breaker import BREAKER, Breaker


def opened() -> Breaker:
    breaker = Breaker()
    for _ in range(BREAKER.failures):
        breaker.failed(0.0)
    return breaker


def test_a_circuit_opens_at_the_last_of_several_failures_in_a_row_and_says_so_once() -> None:
    breaker = Breaker()
    said = [breaker.failed(0.0) for _ in range(BREAKER.failures + 2)]
    assert said == [False] * (BREAKER.failures - 1) + [True, False, False]


def test_failures_with_answers_between_them_open_nothing() -> None:
    breaker = Breaker()
    for _ in range(10):
        for _ in range(BREAKER.failures - 1):
            breaker.failed(0.0)
        breaker.succeeded()
    assert breaker.state(0.0) == "closed"
    assert breaker.admits(0.0, in_flight=3)


def test_an_open_circuit_admits_nothing_until_its_pause_is_over_and_then_one_at_a_time() -> None:
    breaker = opened()
    assert breaker.state(0.0) == "open"
    assert not breaker.admits(BREAKER.open_s - 1e-6, in_flight=0)
    assert breaker.state(BREAKER.open_s) == "half-open"
    assert breaker.admits(BREAKER.open_s, in_flight=0)
    assert not breaker.admits(BREAKER.open_s, in_flight=1)


def test_a_trial_that_is_answered_closes_the_circuit() -> None:
    breaker = opened()
    breaker.succeeded()
    assert breaker.state(0.0) == "closed"
    assert breaker.admits(0.0, in_flight=3)


def test_each_trial_that_fails_doubles_the_pause_up_to_its_limit() -> None:
    breaker, now_s, pauses_s = opened(), 0.0, []
    for _ in range(6):
        pauses_s.append(breaker.opens_in_s(now_s))
        now_s += pauses_s[-1]
        breaker.failed(now_s)
    assert pauses_s == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_late_failures_of_frames_sent_before_do_not_lengthen_the_pause() -> None:
    breaker = opened()
    breaker.failed(0.5)
    assert breaker.opens_in_s(0.5) == BREAKER.open_s - 0.5


def test_a_refusal_that_names_a_time_is_believed_though_the_circuit_stays_closed() -> None:
    breaker = Breaker()
    assert not breaker.failed(1.0, retry_after_s=0.25)
    assert breaker.state(1.0) == "closed"
    assert not breaker.admits(1.2, in_flight=0)
    assert breaker.admits(1.25, in_flight=2)


@given(st.lists(st.tuples(st.floats(0, 5), st.sampled_from(["ok", "fail"]), st.floats(-1, 1e9))))
def test_whatever_happens_a_worker_is_tried_again_within_the_longest_pause(
    events: list[tuple[float, str, float]],
) -> None:
    breaker, now_s = Breaker(), 0.0
    for passed_s, what, retry_s in events:
        now_s += passed_s
        if what == "ok":
            breaker.succeeded()
        else:
            breaker.failed(now_s, retry_after_s=retry_s)
        assert breaker.admits(now_s + BREAKER.open_max_s + 1e-6, in_flight=0)
