from __future__ import annotations

from dataclasses import replace

import pytest
from crossing_fakes import LOST, MADE, NEVER_S, PLAN, SENT, FakeForecast, FakeWorker, FakeWorkers, Scene, reply

from edge.cargo import Cargo
from edge.crossing import Crossing
from edge.errors import BadReply, DeadlineExceeded, FrameCancelled, NoWorker, WorkerLost, WorkerRefused
from edge.frames import Progress, Reply
from partitioner.errors import SegmentError


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_an_answer_in_time_is_the_answer_and_the_device_does_nothing(scene: Scene) -> None:
    workers = scene.workers(reply())
    crossed = scene.cross(workers, deadline_s=1.0)
    assert crossed.reply is not None
    assert scene.homes == 0
    assert workers.successes == 1
    assert scene.counted() == {}


def test_the_device_begins_in_time_to_be_home_by_the_deadline(scene: Scene) -> None:
    workers = scene.workers(reply(), takes_s=NEVER_S)
    begun_s = scene.clock.now_s
    crossed = scene.cross(workers, deadline_s=1.0)
    assert crossed.made is MADE
    assert isinstance(crossed.why, DeadlineExceeded)
    assert 0.95 < scene.clock.now_s - begun_s < 1.0
    assert workers.up[0].flights[0].is_cancelled
    assert scene.counted() == {"hedged": 1, "cancelled": 1}
    assert len(workers.failures) == 1


@pytest.mark.parametrize(
    "progress",
    [
        Progress(acked_bytes=3, total_bytes=9, waited_s=0.9),
        Progress(acked_bytes=9, total_bytes=9, waited_s=0.02, is_held=True),
        Progress(acked_bytes=9, total_bytes=9, waited_s=0.9),
    ],
    ids=["half sent", "there for a moment", "answer under way"],
)
def test_a_frame_that_the_link_made_late_does_not_speak_against_the_worker(scene: Scene, progress: Progress) -> None:
    workers = scene.workers(reply(), reply(), takes_s=NEVER_S)
    workers.up[0].progress = progress
    scene.cross(workers, deadline_s=1.0)
    scene.cross(workers, deadline_s=0.05)
    assert not workers.failures


def test_an_answer_that_comes_while_the_device_finishes_wins(scene: Scene) -> None:
    workers = scene.workers(reply(), takes_s=0.95)
    crossed = scene.cross(workers, deadline_s=1.0)
    assert crossed.reply is not None
    assert scene.homes == 1
    assert not workers.up[0].flights[0].is_cancelled
    assert scene.counted() == {"hedged": 1}


def test_the_wait_for_the_engine_is_part_of_the_way_home(scene: Scene) -> None:
    begun_s = scene.clock.now_s
    scene.cross(scene.workers(reply(), takes_s=NEVER_S), deadline_s=1.0, forecast=FakeForecast(home_s=0.5))
    assert scene.clock.now_s - begun_s == pytest.approx(1.0 - 0.5 * 1.2 - 0.01 + scene.home_s)


def test_half_the_deadline_is_the_worker_s_where_nobody_knows_the_device_s_time(scene: Scene) -> None:
    begun_s = scene.clock.now_s
    scene.cross(scene.workers(reply(), takes_s=NEVER_S), deadline_s=1.0, forecast=FakeForecast(home_s=None))
    assert scene.clock.now_s - begun_s == pytest.approx(0.5 + scene.home_s)


def test_a_device_that_could_not_be_in_time_does_not_run_against_the_worker(scene: Scene) -> None:
    workers = scene.workers(reply(), takes_s=0.04)
    assert scene.cross(workers, deadline_s=0.05, forecast=FakeForecast(home_s=0.1)).reply is not None
    assert scene.homes == 0


def test_where_nobody_could_be_in_time_the_device_answers_all_the_same(scene: Scene) -> None:
    crossed = scene.cross(scene.workers(reply(), takes_s=NEVER_S), deadline_s=0.05)
    assert crossed.made is MADE


def test_what_comes_after_its_deadline_is_not_sent(scene: Scene) -> None:
    workers = scene.workers(reply())
    crossed = scene.cross(workers, deadline_s=0.0)
    assert crossed.made is MADE
    assert workers.up[0].flights == []
    assert workers.failures == []


def test_home_is_gone_to_where_that_is_predicted_to_be_sooner_and_the_frame_goes_on(scene: Scene) -> None:
    workers = scene.workers(reply(), takes_s=NEVER_S)
    begun_s = scene.clock.now_s
    crossed = scene.cross(workers, forecast=FakeForecast(home_s=0.1, remaining=lambda: 30.0))
    assert crossed.made is MADE
    assert scene.clock.now_s - begun_s < 0.3
    assert scene.counted() == {"hedged": 1, "cancelled": 1}
    assert not workers.failures


def test_a_frame_that_is_predicted_to_miss_its_deadline_is_withdrawn_before_the_device_begins(scene: Scene) -> None:
    workers = scene.workers(reply(), takes_s=NEVER_S)
    scene.cross(workers, deadline_s=5.0, forecast=FakeForecast(home_s=0.1, remaining=lambda: 30.0))
    assert workers.up[0].flights[0].is_cancelled
    assert scene.counted() == {"cancelled": 1}
    assert not workers.failures


def test_a_frame_that_is_about_to_be_answered_is_waited_for(scene: Scene) -> None:
    workers = scene.workers(reply(), takes_s=2.0)
    remaining = FakeForecast(home_s=0.1, remaining=lambda: 0.1)
    assert scene.cross(workers, forecast=remaining).reply is not None
    assert scene.homes == 0


def test_a_lost_session_sends_the_frame_to_another_worker_at_once(scene: Scene) -> None:
    workers = scene.workers(LOST, others=1)
    crossed = scene.cross(workers)
    assert crossed.reply is not None
    assert scene.counted() == {"resent": 1, "failed_over": 1}
    assert scene.homes == 0


def test_a_lost_session_sends_the_frame_again_once_the_worker_was_dialled_anew(scene: Scene) -> None:
    workers = scene.workers(LOST)
    workers.back = FakeWorker(scene.clock, "a:1", [reply()])
    assert scene.cross(workers).reply is not None
    assert scene.counted() == {"resent": 1}


def test_a_worker_that_stays_away_is_waited_for_no_longer_than_the_way_home_allows(scene: Scene) -> None:
    workers = scene.workers(LOST)
    workers.patience_s = 10.0
    begun_s = scene.clock.now_s
    crossed = scene.cross(workers, deadline_s=1.0)
    assert crossed.made is MADE
    assert crossed.why is LOST
    assert scene.clock.now_s - begun_s < 1.0


def test_without_any_worker_the_device_answers(scene: Scene) -> None:
    crossed = scene.cross(FakeWorkers(scene.clock, []))
    assert crossed.made is MADE
    assert isinstance(crossed.why, NoWorker)


def test_a_frame_whose_payload_came_corrupt_is_sent_again_to_the_same_worker(scene: Scene) -> None:
    workers = scene.workers(WorkerRefused("CORRUPT", "checksum"), reply(), others=1)
    assert scene.cross(workers).reply is not None
    assert len(workers.up[0].flights) == 2
    assert scene.counted() == {"refused": 1, "resent": 1}


def test_a_plan_that_the_worker_forgot_is_proposed_again(scene: Scene) -> None:
    workers = scene.workers(WorkerRefused("UNKNOWN_PLAN", "who?"), reply())
    assert scene.cross(workers).reply is not None
    assert workers.up[0].forgotten == 1


def test_an_answer_that_makes_no_sense_is_asked_for_again_and_never_given_out(scene: Scene) -> None:
    workers = scene.workers(reply(3.0), reply(2.0))

    def check(found: Reply) -> None:
        if found.tensors["y"][0] != 2.0:
            raise BadReply("nonsense")

    crossed = scene.cross(workers, check=check)
    assert crossed.reply is not None
    assert crossed.reply.tensors["y"][0] == 2.0


def test_nonsense_without_end_is_answered_by_the_device(scene: Scene) -> None:
    workers = scene.workers(*[BadReply("nonsense") for _ in range(8)])
    assert scene.cross(workers).made is MADE
    assert len(workers.up[0].flights) == 3


def test_an_overloaded_worker_is_not_asked_again_for_this_frame(scene: Scene) -> None:
    refused = WorkerRefused("OVERLOADED", "full", retry_after_s=2.0)
    workers = scene.workers(refused)
    assert scene.cross(workers).made is MADE
    assert len(workers.up[0].flights) == 1
    assert workers.failures == [refused]
    another = scene.workers(refused, others=1)
    assert scene.cross(another).reply is not None


def test_a_plan_that_is_not_ready_in_time_makes_its_request_late_at_most(scene: Scene) -> None:
    workers = scene.workers(reply())
    workers.up[0].prepares_s = 60.0
    begun_s = scene.clock.now_s
    crossed = scene.cross(workers, deadline_s=1.0)
    assert crossed.made is MADE
    assert scene.clock.now_s - begun_s < 1.0
    assert not workers.failures


def test_without_a_finish_the_error_is_raised(scene: Scene) -> None:
    with pytest.raises(WorkerLost):
        scene.cross(scene.workers(LOST), can_finish=False)
    with pytest.raises(DeadlineExceeded):
        scene.cross(scene.workers(reply(), takes_s=NEVER_S), deadline_s=0.2, can_finish=False)
    with pytest.raises(NoWorker):
        scene.cross(FakeWorkers(scene.clock, []), can_finish=False)


def test_a_refusal_that_every_frame_meets_is_reported_until_the_worker_has_served_once(scene: Scene) -> None:
    with pytest.raises(WorkerRefused, match="UNSUPPORTED"):
        scene.cross(scene.workers(WorkerRefused("UNSUPPORTED", "old")))
    workers = scene.workers(reply(), WorkerRefused("UNSUPPORTED", "old"))
    crossing: Crossing[FakeWorker] = Crossing(workers, counters=scene.counters, now=scene.clock)
    cargo = Cargo(plan=PLAN, stage=0, tensors=SENT, codecs={}, expires_s=None, forecast=FakeForecast())
    assert crossing.cross(cargo, check=lambda found: None, finish=scene.finish).reply is not None
    assert crossing.cross(cargo, check=lambda found: None, finish=scene.finish).made is MADE


def test_where_the_device_fails_while_the_frame_is_in_flight_the_worker_still_answers(scene: Scene) -> None:
    scene.home_error = SegmentError("out of memory")
    assert scene.cross(scene.workers(reply(), takes_s=0.95), deadline_s=1.0).reply is not None


def test_an_input_that_the_model_fails_on_everywhere_speaks_against_no_worker(scene: Scene) -> None:
    scene.home_error = SegmentError("index out of range")
    workers = scene.workers(WorkerRefused("INTERNAL", "index out of range"))
    with pytest.raises(SegmentError):
        scene.cross(workers)
    assert (len(workers.failures), workers.successes) == (1, 1)


def test_a_session_that_closes_sends_nothing_again(scene: Scene) -> None:
    workers = scene.workers(FrameCancelled("the session was closed"), others=1)
    crossing: Crossing[FakeWorker] = Crossing(workers, counters=scene.counters, now=scene.clock)
    crossing.close()
    cargo = Cargo(plan=PLAN, stage=0, tensors=SENT, codecs={}, expires_s=None, forecast=FakeForecast())
    with pytest.raises(FrameCancelled, match="closed"):
        crossing.cross(cargo, check=lambda found: None, finish=scene.finish)
    assert scene.homes == 0


def test_a_healthy_slow_link_is_given_all_the_time_it_needs(scene: Scene) -> None:
    workers = scene.workers(replace(reply(), wire_s=200.0), takes_s=200.0)
    assert scene.cross(workers, forecast=FakeForecast(home_s=None)).reply is not None
