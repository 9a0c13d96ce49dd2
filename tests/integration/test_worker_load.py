"""A live worker under the load of several clients: whose turn it is, what they are told, and what is left after."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "unit" / "cloud"))

from by_hand import HELD, X, header, refusal, until
from loopback import WAIT_S, FakeEngine, RowsEngine, Talker, live_worker, plan_for, test_config

from protos import messages as pb
from protos.errors import Overloaded

PLAN = plan_for()


@contextlib.contextmanager
def greeted(target: str) -> Iterator[Talker]:
    with Talker(target) as session:
        session.hello()
        assert session.propose(PLAN).HasField("ready")
        yield session


def site_of(worker):
    return worker.server._servicer._site


def queued(worker) -> int:
    return int(site_of(worker).worker.load.queued_jobs)


def is_empty(worker) -> bool:
    """Whether nothing of any frame is left."""
    site = site_of(worker)
    return site.tally.bytes_held == 0 and queued(worker) == 0 and not site.worker._running


def test_a_client_with_many_frames_does_not_keep_others_waiting():
    engine = FakeEngine()
    with live_worker(engine=engine) as worker, greeted(worker.target) as greedy, greeted(worker.target) as modest:
        greedy.run(1, PLAN, HELD)
        assert engine.entered.wait(WAIT_S)
        for frame_id in range(2, 22):
            greedy.run(frame_id, PLAN, X + 1000)
        until(lambda: queued(worker) == 20, "queueing")
        engine.ran.clear()
        modest.run(1, PLAN, X + 5)
        until(lambda: queued(worker) == 21, "queueing")
        engine.let_go.set()
        modest.answer(1)
        for frame_id in range(1, 22):
            greedy.answer(frame_id)
        assert engine.ran.index(5.0) <= 2


def test_everybody_is_told_what_others_cause():
    engine = FakeEngine()
    with live_worker(engine=engine) as worker, greeted(worker.target) as busy, greeted(worker.target) as other:
        busy.run(1, PLAN, HELD)
        assert engine.entered.wait(WAIT_S)
        for frame_id in range(2, 5):
            busy.run(frame_id, PLAN, X)
        until(lambda: queued(worker) == 3, "queueing")
        until(lambda: site_of(worker).worker.load.busy_ratio > 0.01, "load")
        other.say(run=pb.Run(frame_id=1, plan_id="unknown", stage=1, **header(X)))
        load = refusal(other, 1).failed.load
        assert load.others_queued_frames == load.queued_frames == 3
        assert load.others_busy_ratio == pytest.approx(load.busy_ratio, rel=0.1)
        busy.say(run=pb.Run(frame_id=9, plan_id="unknown", stage=1, **header(X)))
        load = refusal(busy, 9).failed.load
        assert (load.queued_frames, load.others_queued_frames) == (3, 0)
        assert load.others_busy_ratio < 0.1 * load.busy_ratio
        engine.let_go.set()
        busy.answer(1)
        assert not busy.stub.status(timeout_s=WAIT_S).load.HasField("others_busy_ratio")


def test_a_frame_that_cannot_be_in_time_is_refused_before_its_payload_comes():
    engine = FakeEngine()
    with live_worker(engine=engine) as worker, greeted(worker.target) as busy, greeted(worker.target) as other:
        busy.run(1, PLAN, HELD)
        assert engine.entered.wait(WAIT_S)
        until(lambda: site_of(worker).worker.load.busy_ratio > 0.01, "load")
        engine.let_go.set()
        busy.answer(1)  # it has taken long, so such frames are known to
        for number in range(2, 5):
            engine.entered.clear()
            engine.let_go.clear()
            busy.run(number, PLAN, HELD)
            assert engine.entered.wait(WAIT_S)
            deadline = {"deadline_left_s": 0.002}
            other.say(run=pb.Run(frame_id=number, plan_id=PLAN.plan_id, stage=1, **header(X), **deadline))
            failed = refusal(other, number).failed
            engine.let_go.set()
            busy.answer(number)
            if pb.Code.Name(failed.code) == "CODE_OVERLOADED":
                assert failed.retry_after_s > 0
                return
        raise AssertionError("every frame was let in")


def test_frames_of_several_clients_run_as_one_and_each_gets_its_own_answer():
    engine = RowsEngine()
    with live_worker(engine=engine) as worker, contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(greeted(worker.target)) for _ in range(6)]
        frame_id = 0
        while not site_of(worker).counters()["batched_frames"]:
            frame_id += 2
            engine.entered.clear()
            engine.let_go.clear()
            sessions[0].run(frame_id, PLAN, HELD)
            assert engine.entered.wait(WAIT_S)
            for number, session in enumerate(sessions):
                session.run(frame_id + 1, PLAN, X + number)
            until(lambda: queued(worker) == len(sessions), "queueing")
            engine.let_go.set()
            sessions[0].answer(frame_id)
            for number, session in enumerate(sessions):
                np.testing.assert_array_equal(session.answer(frame_id + 1)["y"], 2 * (X + number))
            assert frame_id < 200
        assert sessions[0].stub.status(timeout_s=WAIT_S).counters["batches"] > 0


def test_all_sessions_together_hold_no_more_memory_than_allowed():
    engine = FakeEngine()
    most_bytes = 2 * (X.nbytes + HELD.nbytes)  # payload and tensor of each
    with (
        live_worker(test_config(max_worker_bytes=most_bytes), engine=engine) as worker,
        greeted(worker.target) as first,
        greeted(worker.target) as second,
    ):
        first.run(1, PLAN, HELD)
        assert engine.entered.wait(WAIT_S)
        second.run(1, PLAN, X)
        until(lambda: queued(worker) == 1, "queueing")
        second.say(run=pb.Run(frame_id=2, plan_id=PLAN.plan_id, stage=1, **header(X)))
        failed = refusal(second, 2).failed
        assert "all sessions" in failed.detail
        assert failed.retry_after_s > 0
        engine.let_go.set()
        first.answer(1)
        second.answer(1)
        until(lambda: is_empty(worker), "letting go")
        second.run(3, PLAN, X)
        second.answer(3)


def begin(stage: str, session: Talker, engine: FakeEngine, worker) -> None:
    """Bring frame 7 to a stage of its life."""
    if stage == "no payload yet":
        session.say(run=pb.Run(frame_id=7, plan_id=PLAN.plan_id, stage=1, **header(X + 7)))
        session.say(chunk=pb.Chunk(frame_id=7, offset_bytes=0, data=b"0123"))
        until(lambda: site_of(worker).tally.bytes_held, "coming")
    elif stage == "waits":
        session.run(6, PLAN, HELD)
        assert engine.entered.wait(WAIT_S)
        session.run(7, PLAN, X + 7)
        until(lambda: queued(worker) == 1, "queueing")
    elif stage == "runs":
        session.run(7, PLAN, HELD)
        assert engine.entered.wait(WAIT_S)
    else:
        session.run(7, PLAN, np.full((200_000, 8), 7, np.float32))
        assert session.hear("chunk").chunk.data  # and is not acknowledged


@pytest.mark.parametrize("is_cancelled", [True, False], ids=["cancelled", "client gone"])
@pytest.mark.parametrize("stage", ["no payload yet", "waits", "runs", "answer on its way"])
def test_nothing_is_left_of_a_frame_that_nobody_wants(stage, is_cancelled):
    engine = FakeEngine()
    with live_worker(engine=engine) as worker:
        with greeted(worker.target) as session:
            begin(stage, session, engine, worker)
            if is_cancelled:
                for frame_id in (7, 6):  # the one that waits first, or it might begin
                    session.say(cancel=pb.Cancel(frame_id=frame_id))
                until(lambda: is_empty(worker), "letting go")
        until(lambda: is_empty(worker), "letting go")
        if stage in ("waits", "runs"):
            assert engine.stopped.wait(WAIT_S)
        until(lambda: not site_of(worker).plans, "letting go of plans")
        assert (7.0 in engine.ran) == (stage == "answer on its way")


def test_a_model_that_finds_no_memory_fails_that_frame_and_goes_on():
    with live_worker() as worker, greeted(worker.target) as session:
        session.run(1, PLAN, np.full((2, 8), 14, np.float32))
        assert refusal(session, 1).code == "TOO_LARGE"
        session.run(2, PLAN, X)
        np.testing.assert_array_equal(session.answer(2)["y"], 2 * X)


def test_every_refusal_is_counted_by_its_code():
    with live_worker(test_config(max_sessions=1)) as worker, greeted(worker.target) as session:
        session.run(1, PLAN, np.full((2, 8), 13, np.float32))
        refusal(session, 1)
        session.say(run=pb.Run(frame_id=2, plan_id="unknown", stage=1, **header(X)))
        refusal(session, 2)
        with Talker(worker.target) as another, pytest.raises(Overloaded):
            another.hello()
        counters = session.stub.status(timeout_s=WAIT_S).counters
        assert counters["refused_internal"] == 1
        assert counters["refused_unknown_plan"] == 1
        assert counters["sessions_refused"] == 1
        assert counters["sessions"] == 1
