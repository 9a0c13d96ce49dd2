"""A live worker on loopback, spoken to message by message."""

from __future__ import annotations

import asyncio
import gc
import queue
import socket
import sys
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2

sys.path.append(str(Path(__file__).parents[1] / "unit" / "cloud"))

from loopback import (
    DIGEST,
    WAIT_S,
    FakeBundle,
    FakeEngine,
    FakeProfile,
    FrameFailed,
    Steps,
    Talker,
    good_frame,
    live_worker,
    plan_for,
    plan_message,
    test_config,
)

from partitioner.plan import Plan, Segment, Stage
from protos import messages as pb
from protos.channel import WorkerStub, dial
from protos.documents import unpack_document
from protos.errors import (
    Cancelled,
    Draining,
    InvalidMessage,
    Overloaded,
    UnknownModel,
    Unreachable,
    Unsupported,
    WireError,
)
from protos.tensors import Limits, join, pack

X = np.arange(32, dtype=np.float32).reshape(4, 8)
HELD = np.full((2, 8), 99, np.float32)
UNLUCKY = np.full((2, 8), 13, np.float32)


@pytest.fixture(scope="module")
def worker():
    with live_worker() as live:
        yield live


@pytest.fixture
def talker(worker):
    with Talker(worker.target) as session:
        session.hello()
        yield session


def until(fact, what: str = "it") -> None:
    """Wait for something that has no event of its own."""
    end_s = time.monotonic() + WAIT_S
    while not fact():
        assert time.monotonic() < end_s, f"{what} did not happen"
        threading.Event().wait(0.005)


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def refusal(session: Talker, frame_id: int) -> FrameFailed:
    with pytest.raises(FrameFailed) as caught:
        session.answer(frame_id)
    assert caught.value.failed.frame_id == frame_id
    return caught.value


def test_a_welcome_says_what_is_served(worker):
    with Talker(worker.target) as session:
        welcome = session.hello()
    assert welcome.protocol_version == 1
    assert [(model.digest, model.ready) for model in welcome.models] == [(DIGEST, True)]
    assert "int8+zstd" in welcome.codecs
    assert welcome.max_frame_bytes > 0
    assert welcome.liveness_s > 0


@pytest.mark.parametrize("codec", ["none", "fp16", "int8", "int8+zstd"])
def test_frames_are_answered_with_the_codecs_of_the_plan(talker, codec):
    plan = plan_for(codec=codec)
    assert talker.propose(plan).ready.plan_id == plan.plan_id
    for frame_id in range(1, 4):
        talker.run(frame_id, plan, X * frame_id, codec=codec)
        y = talker.answer(frame_id)["y"]
        np.testing.assert_allclose(y, X * 2 * frame_id, atol=0 if codec == "none" else 0.01 * 62 * frame_id)


def test_several_plans_are_live_at_once_and_frames_overlap(talker):
    plans = [plan_for(codec=codec) for codec in ("none", "fp16")]
    for plan in plans:
        assert talker.propose(plan).HasField("ready")
    for frame_id in range(1, 11):
        talker.run(frame_id, plans[frame_id % 2], X)
    for frame_id in range(1, 11):
        np.testing.assert_array_equal(talker.answer(frame_id)["y"], X * 2)


def test_a_result_says_where_the_time_went(talker):
    plan = plan_for()
    talker.propose(plan)
    talker.run(1, plan, X)
    result = talker.hear("result").result
    timings = result.timings
    assert all(getattr(timings, field.name) >= 0 for field in pb.Timings.DESCRIPTOR.fields)
    assert timings.compute_s > 0
    assert 0 <= result.load.busy_ratio <= 1


def test_every_chunk_is_acknowledged(talker):
    plan = plan_for()
    talker.propose(plan)
    headers, buffers, payload_bytes = pack({"x": X})
    talker.say(run=pb.Run(frame_id=1, plan_id=plan.plan_id, stage=1, tensors=headers, payload_bytes=payload_bytes))
    talker.send(1, join(buffers), step=50)
    received = [talker.hear("ack").ack.received_bytes for _ in range(0, payload_bytes, 50)]
    assert received == [*range(50, payload_bytes, 50), payload_bytes]
    np.testing.assert_array_equal(talker.answer(1)["y"], X * 2)


def test_an_answer_withdrawn_when_all_of_it_was_sent_leaves_the_window_to_the_next(talker):
    plan = plan_for()
    talker.propose(plan)
    x = np.zeros((512, 8), np.float32)
    talker.run(1, plan, x)
    received_bytes = 0
    while received_bytes < x.nbytes:
        received_bytes += len(talker.hear("chunk").chunk.data)
    talker.say(cancel=pb.Cancel(frame_id=1))
    talker.run(2, plan, x + 1)
    np.testing.assert_array_equal(talker.answer(2)["y"], 2 * (x + 1))


def test_a_large_answer_waits_for_acknowledgements(talker):
    plan = plan_for()
    talker.propose(plan)
    x = np.zeros((200_000, 8), np.float32)
    talker.run(1, plan, x)
    result = talker.hear("result").result
    assert result.payload_bytes == x.nbytes
    first = talker.hear("chunk").chunk
    assert 0 < len(first.data) <= 256 * 1024
    talker.say(cancel=pb.Cancel(frame_id=1))
    failed = talker.hear("failed").failed
    assert (failed.frame_id, failed.code) == (1, pb.Code.CODE_CANCELLED)
    talker.run(2, plan, X)
    np.testing.assert_array_equal(talker.answer(2)["y"], X * 2)


def bad_run(plan: Plan, **changes: object) -> pb.Run:
    headers, _, payload_bytes = pack({"x": X})
    fields = {"frame_id": 5, "plan_id": plan.plan_id, "stage": 1, "tensors": headers, "payload_bytes": payload_bytes}
    return pb.Run(**(fields | changes))


def header(array: np.ndarray, name: str = "x", codec: str = "none") -> dict[str, object]:
    headers, _, payload_bytes = pack({name: array}, {name: codec})
    return {"tensors": headers, "payload_bytes": payload_bytes}


BAD_RUNS = {
    "an unknown plan": ({"plan_id": "0" * 32}, "UNKNOWN_PLAN"),
    "a stage of the device": ({"stage": 0}, "INVALID"),
    "a stage that is not": ({"stage": 9}, "INVALID"),
    "no tensors": ({"tensors": [], "payload_bytes": 0}, "INVALID"),
    "another name": (header(X, "z"), "INVALID"),
    "another type": (header(X.astype(np.float64)), "INVALID"),
    "another rank": (header(X[0]), "INVALID"),
    "another width": (header(X[:, :7]), "INVALID"),
    "another payload size": ({"payload_bytes": 3}, "INVALID"),
    "a payload over the limit": ({"payload_bytes": 2**62}, "TOO_LARGE"),
    "a deadline that is no number": ({"deadline_left_s": float("nan")}, "INVALID"),
    "a deadline in the past": ({"deadline_left_s": -1.0}, "INVALID"),
    "state": ({"state": pb.State(id="s")}, "UNSUPPORTED"),
}


@pytest.mark.parametrize("fault", BAD_RUNS)
def test_a_fault_of_a_frame_is_its_own_and_the_session_lives(talker, fault, caplog):
    changes, code = BAD_RUNS[fault]
    plan = plan_for()
    talker.propose(plan)
    talker.say(run=bad_run(plan, **changes))
    talker.say(chunk=pb.Chunk(frame_id=5, offset_bytes=0, data=b"late, and ignored"))
    assert refusal(talker, 5).code == code
    talker.run(6, plan, X)
    np.testing.assert_array_equal(talker.answer(6)["y"], X * 2)
    assert "Traceback" not in caplog.text


def test_a_flipped_bit_fails_that_frame_alone(talker):
    plan = plan_for()
    talker.propose(plan)
    headers, buffers, payload_bytes = pack({"x": X})
    broken = bytearray(join(buffers))
    broken[17] ^= 1
    talker.say(run=pb.Run(frame_id=1, plan_id=plan.plan_id, stage=1, tensors=headers, payload_bytes=payload_bytes))
    talker.send(1, bytes(broken))
    assert refusal(talker, 1).code == "CORRUPT"
    talker.run(1, plan, X)
    np.testing.assert_array_equal(talker.answer(1)["y"], X * 2)


def test_chunks_with_a_gap_fail_that_frame_alone(talker):
    plan = plan_for()
    talker.propose(plan)
    talker.say(run=bad_run(plan))
    talker.say(chunk=pb.Chunk(frame_id=5, offset_bytes=10, data=b"xx"))
    assert refusal(talker, 5).code == "INVALID"


def test_a_second_run_of_a_frame_under_way_has_no_effect(talker, worker):
    plan = plan_for()
    talker.propose(plan)
    runs = worker.engine.runs
    headers, buffers, payload_bytes = pack({"x": X})
    run = pb.Run(frame_id=1, plan_id=plan.plan_id, stage=1, tensors=headers, payload_bytes=payload_bytes)
    payload = join(buffers)
    talker.say(run=run)
    talker.send(1, payload[:64])
    talker.say(run=run)
    talker.send(1, payload[:32])
    talker.say(chunk=pb.Chunk(frame_id=1, offset_bytes=64, data=payload[64:]))
    np.testing.assert_array_equal(talker.answer(1)["y"], X * 2)
    assert worker.engine.runs == runs + 1


def test_a_model_that_breaks_says_so_without_its_secrets(talker, caplog):
    plan = plan_for()
    talker.propose(plan)
    talker.run(1, plan, UNLUCKY)
    failure = refusal(talker, 1)
    assert failure.code == "INTERNAL"
    assert "secret" not in failure.failed.detail
    talker.run(2, plan, X)
    talker.answer(2)


PROPOSALS = {
    "another model": (plan_for(digest="e" * 64), {}, "UNKNOWN_MODEL"),
    "an output that is not": (plan_for(outputs=("z",)), {}, "INVALID"),
    "a codec that is not": (plan_for(codec="gif"), {}, "UNSUPPORTED"),
    "an id of another plan": (plan_for(), {"plan_id": "0" * 32}, "INVALID"),
    "a source without a record": (
        Plan(
            model_digest=DIGEST,
            stages=(
                Stage(
                    place="cloud",
                    segment=Segment(model_digest=DIGEST, inputs=(), outputs=("y",), preprocess=True),
                ),
            ),
        ),
        {},
        "UNSUPPORTED",
    ),
}


@pytest.mark.parametrize("fault", PROPOSALS)
def test_a_proposal_that_cannot_be_served_is_refused_by_name(talker, fault):
    plan, changes, code = PROPOSALS[fault]
    fields = {"plan_id": plan.plan_id, "plan": plan_message(plan)} | changes
    talker.say(propose=pb.Propose(**fields))
    failed = talker.hear("failed", "ready").failed
    assert (failed.frame_id, failed.plan_id) == (0, fields["plan_id"])
    assert pb.Code.Name(failed.code) == f"CODE_{code}"
    assert talker.propose(plan_for()).HasField("ready")


def test_a_codec_that_the_client_cannot_read_is_refused(worker):
    with Talker(worker.target) as session:
        session.hello(codecs=["none", "fp16"])
        failed = session.propose(plan_for(codec="int8")).failed
        assert pb.Code.Name(failed.code) == "CODE_UNSUPPORTED"
        assert session.propose(plan_for(codec="fp16")).HasField("ready")


HELLO = pb.Hello(protocol_version=1, session_id="s")
VIOLATIONS = {
    "no hello": ([{"heartbeat": pb.Heartbeat(sequence=1)}], InvalidMessage),
    "two hellos": ([{"hello": HELLO}, {"hello": HELLO}], InvalidMessage),
    "version 0": ([{"hello": pb.Hello(session_id="s")}], Unsupported),
    "no session id": ([{"hello": pb.Hello(protocol_version=1)}], InvalidMessage),
    "a long session id": ([{"hello": pb.Hello(protocol_version=1, session_id="s" * 65)}], InvalidMessage),
    "an empty message": ([{"hello": HELLO}, {}], InvalidMessage),
    "frame 0": ([{"hello": HELLO}, {"run": pb.Run()}], InvalidMessage),
    "a chunk of nothing": ([{"hello": HELLO}, {"chunk": pb.Chunk(frame_id=3, data=b"x")}], InvalidMessage),
    "a chunk over the limit": (
        [{"hello": HELLO}, {"chunk": pb.Chunk(frame_id=3, data=bytes(300_000))}],
        InvalidMessage,
    ),
    "a probe over the limit": ([{"hello": HELLO}, {"probe": pb.Probe(reply_bytes=1 << 30)}], InvalidMessage),
}


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_a_violation_of_the_protocol_ends_that_session_with_its_reason(worker, violation, caplog):
    said, kind = VIOLATIONS[violation]
    with Talker(worker.target) as bystander, Talker(worker.target) as session:
        bystander.hello()
        for body in said:
            session.say(**body)
        with pytest.raises(kind):
            session.hear("failed")
        plan = plan_for()
        bystander.propose(plan)
        bystander.run(1, plan, X)
        np.testing.assert_array_equal(bystander.answer(1)["y"], X * 2)
    assert "Traceback" not in caplog.text


def test_probes_are_echoed(talker):
    talker.say(probe=pb.Probe(probe_id=7, data=bytes(1000), reply_bytes=5000))
    probe = talker.hear("probe").probe
    assert (probe.probe_id, probe.received_bytes, len(probe.data)) == (7, 1000, 5000)


def test_half_closing_finishes_what_is_under_way(worker):
    with Talker(worker.target) as session:
        session.hello()
        plan = plan_for()
        session.propose(plan)
        session.run(1, plan, X)
        session.half_close()
        np.testing.assert_array_equal(session.answer(1)["y"], X * 2)
        with pytest.raises(Cancelled, match="good order"):
            session.hear("failed")


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


def test_the_plans_of_all_sessions_are_bounded_and_come_free_with_their_sessions():
    with live_worker(test_config(max_worker_plans=2)) as worker:
        with Talker(worker.target) as first, Talker(worker.target) as second:
            first.hello()
            second.hello()
            assert first.propose(plan_for()).HasField("ready")
            assert second.propose(plan_for()).HasField("ready")
            refused = first.propose(plan_for(codec="fp16")).failed
            assert refused.code == pb.Code.CODE_OVERLOADED
            assert refused.retry_after_s > 0
            assert first.propose(plan_for()).HasField("ready")
        with Talker(worker.target) as third:
            third.hello()
            until(lambda: third.propose(plan_for(codec="fp16")).HasField("ready"), "a free place")


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


def test_draining_answers_what_is_under_way_and_refuses_the_rest():
    engine = FakeEngine()
    with live_worker(test_config(grace_s=WAIT_S), engine=engine) as worker, Talker(worker.target) as session:
        session.hello()
        plan = plan_for()
        session.propose(plan)
        session.run(1, plan, HELD)
        assert engine.entered.wait(WAIT_S)
        stopping = worker.begin(worker.server.stop(grace_s=WAIT_S))
        assert session.hear("drain").drain.grace_s > 0
        session.run(2, plan, X)
        assert refusal(session, 2).code == "DRAINING"
        with pytest.raises(WireError), Talker(worker.target) as late:
            late.hello()
        engine.let_go.set()
        np.testing.assert_array_equal(session.answer(1)["y"], HELD * 2)
        with pytest.raises(Draining):
            session.hear("failed")
        stopping.result(WAIT_S)


def test_draining_cuts_off_what_outlives_the_grace():
    engine = FakeEngine()
    with live_worker(engine=engine) as worker, Talker(worker.target) as session:
        session.hello()
        plan = plan_for()
        session.propose(plan)
        session.run(1, plan, HELD)
        assert engine.entered.wait(WAIT_S)
        start_s = time.monotonic()
        worker.begin(worker.server.stop(grace_s=0.2)).result(WAIT_S)
        assert time.monotonic() - start_s < 3
        assert engine.stopped.is_set()


def test_the_status_counts():
    with live_worker() as worker, dial(worker.target) as channel:
        stub = WorkerStub(channel)
        good_frame(worker.target)
        with Talker(worker.target) as session:
            session.hello()
            session.say(run=pb.Run(frame_id=1, plan_id="none"))
            refusal(session, 1)
            status = stub.status(timeout_s=WAIT_S)
        assert (status.frames_answered, status.frames_failed) == (1, 1)
        assert status.sessions >= 1
        assert status.uptime_s > 0
        assert not status.draining


def test_health_is_told_per_model():
    def engines(bundle: FakeBundle) -> FakeEngine:
        if bundle.digest == "e" * 64:
            raise MemoryError
        return FakeEngine()

    with live_worker(bundles=[FakeBundle(), FakeBundle(digest="e" * 64)], open_engine=engines) as worker:
        with dial(worker.target) as channel:
            check = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                health_pb2.HealthCheckRequest.SerializeToString,
                health_pb2.HealthCheckResponse.FromString,
            )
            serving = health_pb2.HealthCheckResponse
            found = {
                service: check(health_pb2.HealthCheckRequest(service=service), timeout=WAIT_S).status
                for service in ("", DIGEST, "e" * 64)
            }
            assert found == {"": serving.SERVING, DIGEST: serving.SERVING, "e" * 64: serving.NOT_SERVING}
            with pytest.raises(grpc.RpcError):
                check(health_pb2.HealthCheckRequest(service="f" * 64), timeout=WAIT_S)
        with Talker(worker.target) as session:
            reasons = {model.digest: model.reason for model in session.hello().models}
        assert reasons == {DIGEST: "", "e" * 64: "out of memory"}


def test_a_profile_is_measured_once_while_frames_go_on(tmp_path, monkeypatch):
    monkeypatch.setenv("CLEFT_CACHE_DIR", str(tmp_path))
    calls: list[tuple[float, dict[str, int], str]] = []

    def measure(bundle: object, engine: object, *, budget_s: float, binding: dict[str, int]) -> Steps:
        calls.append((budget_s, dict(binding), ""))
        for step in range(4):
            calls[-1] = (*calls[-1][:2], threading.current_thread().name)
            yield step / 4
        return FakeProfile(text="{" + " " * 100_000 + "}")

    with live_worker(measure=measure) as worker, dial(worker.target) as channel:
        stub = WorkerStub(channel)

        def fetch(**options: object) -> tuple[list[float], str]:
            request = pb.ProfileRequest(model_digest=DIGEST, **options)
            updates = list(stub.profile(request, timeout_s=WAIT_S))
            progress = [update.progress for update in updates if update.HasField("progress")]
            packed = b"".join(update.document for update in updates)
            return progress, unpack_document(packed, max_bytes=1 << 20)

        progress, document = fetch(budget_s=7.0, binding={"t": 5})
        assert progress == [0, 0.25, 0.5, 0.75]
        assert len(document) == 100_002
        assert calls == [(7.0, {"t": 5}, "cleft-compute")]
        assert fetch(binding={"t": 5}) == ([], document)
        assert len(calls) == 1
        assert fetch(fresh=True, binding={"t": 5})[0] == progress
        fetch()
        assert [binding for _, binding, _ in calls] == [{"t": 5}, {"t": 5}, {"t": 2}]
        assert len(list((tmp_path / "profiles").glob(f"{DIGEST}-*.json"))) == 2
        good_frame(worker.target)
        for request, kind in [
            (pb.ProfileRequest(model_digest="../../etc/passwd"), UnknownModel),
            (pb.ProfileRequest(model_digest=DIGEST, binding={"q": 1}), InvalidMessage),
            (pb.ProfileRequest(model_digest=DIGEST, binding={"t": 0}), InvalidMessage),
            (pb.ProfileRequest(model_digest=DIGEST, budget_s=float("inf")), InvalidMessage),
        ]:
            with pytest.raises(kind):
                list(stub.profile(request, timeout_s=WAIT_S))


def test_frames_that_wait_are_run_before_the_next_step_of_a_measurement(tmp_path, monkeypatch):
    monkeypatch.setenv("CLEFT_CACHE_DIR", str(tmp_path))
    engine = FakeEngine()
    begun, let_go = threading.Event(), threading.Event()
    runs_at_step: list[int] = []

    def measure(bundle: object, engine_: object, *, budget_s: float, binding: dict[str, int]) -> Steps:
        for step in range(3):
            runs_at_step.append(engine.runs)
            begun.set()
            assert let_go.wait(WAIT_S)
            yield step / 3
        return FakeProfile(text="{}")

    with live_worker(engine=engine, measure=measure) as worker, Talker(worker.target) as session:
        session.hello()
        session.propose(plan_for())
        before = engine.runs
        with dial(worker.target) as channel:
            stream = WorkerStub(channel).profile(pb.ProfileRequest(model_digest=DIGEST), timeout_s=WAIT_S)
            assert begun.wait(WAIT_S)
            for frame_id in range(1, 6):
                session.run(frame_id, plan_for(), X)
            until(lambda: WorkerStub(channel).status(timeout_s=WAIT_S).load.queued_frames == 5, "queueing")
            let_go.set()
            assert list(stream)
        for frame_id in range(1, 6):
            np.testing.assert_array_equal(session.answer(frame_id)["y"], X * 2)
    assert runs_at_step == [before, before + 5, before + 5]


def test_a_client_that_leaves_a_measurement_ends_it(tmp_path, monkeypatch):
    monkeypatch.setenv("CLEFT_CACHE_DIR", str(tmp_path))
    closed = threading.Event()

    def measure(bundle: object, engine: object, *, budget_s: float, binding: dict[str, int]) -> Steps:
        try:
            while True:
                yield 0.5
        finally:
            closed.set()

    with live_worker(measure=measure) as worker:
        with dial(worker.target) as channel:
            stream = WorkerStub(channel).profile(pb.ProfileRequest(model_digest=DIGEST), timeout_s=WAIT_S)
            next(stream)
            stream.cancel()
            assert closed.wait(WAIT_S)
        good_frame(worker.target)


def test_garbage_on_the_port_harms_nobody(worker, caplog):
    rng = np.random.default_rng(3)
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", worker.port), timeout=WAIT_S) as sock:
            sock.sendall(rng.bytes(2000))
    for start in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(100), b""):
        with socket.create_connection(("127.0.0.1", worker.port), timeout=WAIT_S) as sock:
            sock.sendall(start)
    good_frame(worker.target)
    assert "Traceback" not in caplog.text


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_address_is_listened_on(host):
    with live_worker(test_config(host=host)) as worker:
        good_frame(f"[::1]:{worker.port}")


def test_a_port_in_use_is_refused_in_one_line(worker):
    with pytest.raises(Exception, match="cannot listen on"), live_worker(test_config(port=worker.port)):
        pass


def test_nothing_is_left_behind():
    before = {thread.name for thread in threading.enumerate()}
    engine = FakeEngine()
    with live_worker(engine=engine) as worker:
        good_frame(worker.target)
    assert engine.threads == {"cleft-compute"}
    left = {thread.name for thread in threading.enumerate()} - before
    assert not {name for name in left if "_poll_wrapper" not in name}  # gRPC's own, one per process
    asyncio.run(asyncio.sleep(0))
