"""A live worker on loopback, spoken to message by message."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "unit" / "cloud"))

from by_hand import HELLO, UNLUCKY, X, bad_run, header, refusal
from loopback import (
    DIGEST,
    Talker,
    live_worker,
    plan_for,
    plan_message,
)

from partitioner.plan import Plan, Segment, Stage
from protos import messages as pb
from protos.errors import (
    Cancelled,
    InvalidMessage,
    Unsupported,
)
from protos.tensors import join, pack


@pytest.fixture(scope="module")
def worker():
    with live_worker() as live:
        yield live


@pytest.fixture
def talker(worker):
    with Talker(worker.target) as session:
        session.hello()
        yield session


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


def test_what_comes_of_a_frame_that_is_over_is_acknowledged(talker):
    plan = plan_for()
    talker.propose(plan)
    talker.say(run=pb.Run(frame_id=1, plan_id=plan.plan_id, stage=9, payload_bytes=64))
    assert talker.hear("failed").failed.code == pb.Code.CODE_INVALID
    talker.say(chunk=pb.Chunk(frame_id=1, offset_bytes=0, data=bytes(48)))
    ack = talker.hear("ack").ack
    assert (ack.frame_id, ack.received_bytes) == (1, 48)


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
