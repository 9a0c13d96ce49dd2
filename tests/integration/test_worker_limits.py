"""What a live worker bounds: time, memory, plans and sessions, and what it lets go of."""

from __future__ import annotations

import gc
import queue
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "unit" / "cloud"))

from by_hand import HELD, HELLO, X, bad_run, header, refusal, until
from loopback import (
    WAIT_S,
    FakeEngine,
    Talker,
    good_frame,
    live_worker,
    plan_for,
    test_config,
)

from protos import messages as pb
from protos.channel import WorkerStub, dial
from protos.errors import (
    Overloaded,
    Unreachable,
)
from protos.tensors import Limits


def test_cancelling_stops_the_model_between_two_layers():
    engine = FakeEngine()
    with live_worker(engine=engine) as worker, Talker(worker.target) as session:
        session.hello()
        plan = plan_for()
        session.propose(plan)
        session.run(1, plan, HELD)
        assert engine.entered.wait(WAIT_S)
        session.say(cancel=pb.Cancel(frame_id=1))
        assert refusal(session, 1).code == "CANCELLED"
        assert engine.stopped.wait(WAIT_S)
        session.run(2, plan, X)
        session.answer(2)


def test_a_client_that_vanishes_frees_the_model_and_its_place():
    engine = FakeEngine()
    with live_worker(engine=engine) as worker:
        with Talker(worker.target) as session:
            session.hello()
            plan = plan_for()
            session.propose(plan)
            session.run(1, plan, HELD)
            assert engine.entered.wait(WAIT_S)
        assert engine.stopped.wait(WAIT_S)
        with dial(worker.target) as channel:
            stub = WorkerStub(channel)
            until(lambda: stub.status(timeout_s=WAIT_S).sessions == 0, "the session's end")
        good_frame(worker.target)


def test_a_deadline_stops_the_model_and_also_a_payload_that_never_comes():
    engine = FakeEngine()
    with live_worker(engine=engine) as worker, Talker(worker.target) as session:
        session.hello()
        plan = plan_for()
        session.propose(plan)
        session.run(1, plan, HELD, deadline_s=0.1)
        assert refusal(session, 1).code == "DEADLINE"
        assert engine.stopped.wait(WAIT_S)
        session.say(run=bad_run(plan, deadline_left_s=0.05))
        assert refusal(session, 5).code == "DEADLINE"


def test_a_full_worker_refuses_quickly_and_says_when_to_come_back():
    engine = FakeEngine()
    config = test_config(max_queued_frames=2)
    with live_worker(config, engine=engine) as worker, Talker(worker.target) as session:
        session.hello()
        plan = plan_for()
        session.propose(plan)
        session.run(1, plan, HELD)
        assert engine.entered.wait(WAIT_S)
        for frame_id in (2, 3, 4):
            session.run(frame_id, plan, X)
        failed = session.hear("failed").failed
        assert (failed.frame_id, failed.code) == (4, pb.Code.CODE_OVERLOADED)
        assert failed.retry_after_s > 0
        engine.let_go.set()
        for frame_id in (1, 2, 3):
            session.answer(frame_id)


def test_what_one_session_may_hold_is_bounded():
    config = test_config(
        max_frames_in_flight=2, max_session_bytes=100_000, max_plans=1, limits=Limits(max_frame_bytes=80_000)
    )
    with live_worker(config) as worker, Talker(worker.target) as session:
        assert session.hello().max_frame_bytes == 80_000
        plan = plan_for()
        session.propose(plan)
        assert session.propose(plan_for(codec="fp16")).HasField("ready")
        session.say(run=bad_run(plan, frame_id=9))
        assert refusal(session, 9).code == "UNKNOWN_PLAN"
        assert session.propose(plan).HasField("ready")
        session.say(run=bad_run(plan, frame_id=1, **header(np.zeros((3000, 8), np.float32))))
        assert refusal(session, 1).code == "TOO_LARGE"
        session.say(run=bad_run(plan, frame_id=2, **header(np.zeros((1400, 8), np.float32))))
        session.say(run=bad_run(plan, frame_id=3, **header(np.zeros((1400, 8), np.float32))))
        assert refusal(session, 3).code == "OVERLOADED"
        session.say(run=bad_run(plan, frame_id=4))
        session.say(run=bad_run(plan, frame_id=5))
        assert refusal(session, 5).code == "OVERLOADED"
        for frame_id in (2, 4):
            session.say(cancel=pb.Cancel(frame_id=frame_id))
            refusal(session, frame_id)
        session.run(6, plan, X)
        session.answer(6)


def test_the_plan_that_was_run_last_stays_the_longest():
    with live_worker(test_config(max_plans=2)) as worker, Talker(worker.target) as session:
        session.hello()
        plans = [plan_for(codec=codec) for codec in ("none", "fp16", "int8")]
        for plan in plans[:2]:
            assert session.propose(plan).HasField("ready")
        session.run(1, plans[0], X)
        session.answer(1)
        assert session.propose(plans[2]).HasField("ready")
        session.say(run=bad_run(plans[1], frame_id=2))
        assert refusal(session, 2).code == "UNKNOWN_PLAN"
        session.run(3, plans[0], X)
        session.answer(3)


def test_a_session_that_ends_lets_go_of_its_segments_at_once():
    engine = FakeEngine()
    gc.disable()
    try:
        with live_worker(engine=engine) as worker:
            with Talker(worker.target) as session:
                session.hello()
                for codec in ("none", "fp16", "int8"):
                    assert session.propose(plan_for(codec=codec)).HasField("ready")
                session.run(1, plan_for(), X)
                session.answer(1)
                assert len(engine.made) == 3
            until(lambda: not engine.made, "letting go")
    finally:
        gc.enable()


def test_a_session_that_ends_amid_a_frame_lets_go_of_its_segments():
    engine = FakeEngine()
    with live_worker(engine=engine) as worker:
        with Talker(worker.target) as session:
            session.hello()
            assert session.propose(plan_for()).HasField("ready")
            session.run(1, plan_for(), HELD)
            assert engine.entered.wait(WAIT_S)
        until(lambda: gc.collect() >= 0 and not engine.made, "letting go")


def test_the_different_plans_of_all_sessions_are_bounded_and_come_free_with_their_sessions():
    with live_worker(test_config(max_worker_plans=2)) as worker:
        with Talker(worker.target) as first, Talker(worker.target) as second:
            first.hello()
            second.hello()
            assert first.propose(plan_for()).HasField("ready")
            assert second.propose(plan_for(codec="int8")).HasField("ready")
            refused = first.propose(plan_for(codec="fp16")).failed
            assert refused.code == pb.Code.CODE_OVERLOADED
            assert refused.retry_after_s > 0
            assert first.propose(plan_for()).HasField("ready")
            assert first.propose(plan_for(codec="int8")).HasField("ready")
        with Talker(worker.target) as third:
            third.hello()
            until(lambda: third.propose(plan_for(codec="fp16")).HasField("ready"), "a free place")


def test_a_plan_that_another_session_holds_is_ready_at_once_and_stays_when_that_one_leaves():
    engine = FakeEngine()
    with live_worker(engine=engine) as worker, Talker(worker.target) as second:
        with Talker(worker.target) as first:
            first.hello()
            assert first.propose(plan_for()).HasField("ready")
            warmed = engine.runs
            second.hello()
            assert second.propose(plan_for()).HasField("ready")
            assert engine.runs == warmed
        second.run(1, plan_for(), X)
        np.testing.assert_array_equal(second.answer(1)["y"], X * 2)


def test_a_frame_that_could_never_be_held_is_refused_for_good():
    with live_worker(test_config(max_worker_bytes=100)) as worker, Talker(worker.target) as session:
        session.hello()
        session.propose(plan_for())
        session.run(1, plan_for(), X)
        assert refusal(session, 1).code == "TOO_LARGE"


def test_too_many_sessions_are_refused():
    with live_worker(test_config(max_sessions=1)) as worker, Talker(worker.target) as first:
        first.hello()
        with Talker(worker.target) as second, pytest.raises(Overloaded):
            second.hello()


def test_silence_ends_a_session_and_heartbeats_keep_it():
    with live_worker(test_config(liveness_s=0.3)) as worker:
        with Talker(worker.target) as silent:
            silent.hello()
            with pytest.raises(Unreachable, match=r"0\.3 s"):
                silent.hear("failed")
        with Talker(worker.target) as alive:
            alive.hello()
            for sequence in range(8):
                alive.hear("heartbeat")
                alive.say(heartbeat=pb.Heartbeat(sequence=sequence))
            assert alive.propose(plan_for()).HasField("ready")


def test_a_client_that_takes_nothing_is_let_go_and_holds_little():
    with live_worker(test_config(liveness_s=0.3, stall_s=0.5)) as worker, dial(worker.target) as channel:
        said: queue.SimpleQueue[pb.ToWorker | None] = queue.SimpleQueue()
        said.put(pb.ToWorker(hello=HELLO))
        for probe_id in range(400):
            said.put(pb.ToWorker(probe=pb.Probe(probe_id=probe_id, reply_bytes=256 * 1024)))
        stub = WorkerStub(channel)
        call = stub.session(iter(said.get, None))
        next(call)
        until(lambda: stub.status(timeout_s=WAIT_S).sessions == 0, "the session's end")
        good_frame(worker.target)
        said.put(None)
        call.cancel()
