"""Malformed, random and lying messages against every call of a live worker, which must serve the next client."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[1] / "unit" / "cloud"))

from loopback import DIGEST, WAIT_S, FakeProfile, FrameFailed, Steps, Talker, good_frame, live_worker, plan_for

from protos import messages as pb
from protos.channel import SERVICE, dial
from protos.codecs import CODECS
from protos.errors import WireError
from protos.tensors import pack

QUICK = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
X = np.arange(32, dtype=np.float32).reshape(4, 8)
PLAN = plan_for()
UINTS = st.one_of(st.integers(0, 3), st.sampled_from([2**31, 2**32 - 1]))
LONGS = st.one_of(st.integers(0, 200), st.sampled_from([2**32, 2**63, 2**64 - 1]))
SHORT = st.one_of(st.sampled_from(["", "x", "y", DIGEST, PLAN.plan_id, "../../etc/passwd"]), st.text(max_size=10))
TRUE_HEADERS, _, TRUE_BYTES = pack({"x": X})

header = st.builds(
    pb.TensorHeader,
    name=SHORT,
    dtype=st.integers(0, 20),
    shape=st.lists(st.one_of(st.integers(-2, 9), st.sampled_from([2**62, -(2**63)])), max_size=4),
    codec=st.one_of(st.sampled_from(CODECS), SHORT),
    offset_bytes=LONGS,
    size_bytes=LONGS,
)
stage = st.builds(
    pb.Stage,
    place=st.integers(0, 4),
    segment=st.builds(
        pb.Segment,
        inputs=st.lists(SHORT, max_size=3),
        outputs=st.lists(SHORT, max_size=3),
        preprocess=st.booleans(),
    ),
    codecs=st.dictionaries(SHORT, SHORT, max_size=2),
)
body = st.one_of(
    st.builds(
        lambda **fields: {"run": pb.Run(**fields)},
        frame_id=st.integers(0, 4),
        plan_id=st.one_of(st.just(PLAN.plan_id), SHORT),
        stage=UINTS,
        deadline_left_s=st.floats(),
        tensors=st.one_of(st.just(TRUE_HEADERS), st.lists(header, max_size=3)),
        payload_bytes=st.one_of(st.just(TRUE_BYTES), LONGS),
    ),
    st.builds(
        lambda **fields: {"chunk": pb.Chunk(**fields)},
        frame_id=st.integers(0, 4),
        offset_bytes=LONGS,
        data=st.binary(max_size=150),
    ),
    st.builds(
        lambda **fields: {"propose": pb.Propose(**fields)},
        plan_id=SHORT,
        plan=st.builds(pb.Plan, model_digest=SHORT, stages=st.lists(stage, max_size=3)),
    ),
    st.builds(lambda **fields: {"ack": pb.Ack(**fields)}, frame_id=LONGS, received_bytes=LONGS),
    st.builds(lambda **fields: {"cancel": pb.Cancel(**fields)}, frame_id=st.integers(0, 4)),
    st.builds(
        lambda **fields: {"probe": pb.Probe(**fields)}, probe_id=LONGS, data=st.binary(max_size=99), reply_bytes=UINTS
    ),
    st.builds(lambda **fields: {"hello": pb.Hello(**fields)}, protocol_version=UINTS, session_id=SHORT),
    st.just({"heartbeat": pb.Heartbeat()}),
    st.just({}),
)


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    def measure(bundle: object, engine: object, *, budget_s: float, binding: dict[str, int]) -> Steps:
        yield 0.5
        return FakeProfile(text="{}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLEFT_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        with live_worker(measure=measure) as live:
            yield live


@pytest.fixture(autouse=True)
def quiet_and_serving(worker, caplog):
    """Whatever a test did: no traceback was logged, and the next client is served."""
    with caplog.at_level(logging.DEBUG):
        yield
    good_frame(worker.target)
    assert "Traceback" not in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def until_it_ends(session: Talker) -> None:
    """Take replies until the session ends or answers the probe that comes last."""
    session.say(probe=pb.Probe(probe_id=777))
    try:
        while session.hear("probe").probe.probe_id != 777:
            pass
    except WireError as error:
        ended = error
    else:
        return
    assert ended.code not in ("INTERNAL", "UNREACHABLE"), ended


@QUICK
@given(st.lists(body, max_size=8))
def test_any_messages_in_any_order_are_answered_or_end_the_session(worker, messages):
    with Talker(worker.target) as session:
        session.hello()
        session.propose(PLAN)
        for message in messages:
            session.say(**message)
        until_it_ends(session)


@QUICK
@given(st.lists(body, min_size=1, max_size=4))
def test_a_session_that_does_not_begin_with_hello_ends(worker, messages):
    with Talker(worker.target) as session:
        for message in messages:
            session.say(**message)
        until_it_ends(session)


def raw_call(kind: str, method: str, target: str, payloads: list[bytes]) -> grpc.StatusCode:
    """Make a call with bytes that no class of ours has made; its status."""
    with dial(target) as channel:
        call = getattr(channel, kind)(f"/{SERVICE}/{method}", lambda data: data, lambda data: data)
        try:
            if kind == "unary_unary":
                call(payloads[0], timeout=WAIT_S)
            else:
                for _ in call(iter(payloads) if kind == "stream_stream" else payloads[0], timeout=WAIT_S):
                    pass
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


REFUSALS = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


@QUICK
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=4))
def test_bytes_that_are_no_messages_are_refused_by_every_call(worker, payloads):
    assert raw_call("stream_stream", "Session", worker.target, payloads) in REFUSALS
    assert raw_call("unary_unary", "Status", worker.target, payloads) in REFUSALS
    assert raw_call("unary_stream", "Profile", worker.target, payloads) in REFUSALS


def test_a_call_that_is_not_is_unimplemented(worker):
    assert raw_call("unary_unary", "Evaluate", worker.target, [b""]) is grpc.StatusCode.UNIMPLEMENTED


def test_a_message_over_the_limit_is_refused(worker):
    huge = pb.ToWorker(chunk=pb.Chunk(frame_id=1, data=bytes(5 << 20))).SerializeToString()
    for kind, method in [("stream_stream", "Session"), ("unary_unary", "Status"), ("unary_stream", "Profile")]:
        assert raw_call(kind, method, worker.target, [huge]) is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_deeply_nested_bytes_are_refused(worker):
    nested = b""
    for _ in range(500):
        size = len(nested)
        length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
        nested = b"\x0a" + length + nested if size < 16_000 else nested
    assert raw_call("stream_stream", "Session", worker.target, [nested]) in REFUSALS


@QUICK
@given(SHORT, st.floats(), st.dictionaries(SHORT, st.integers(-(2**63), 2**63 - 1), max_size=2))
def test_any_profile_request_is_answered_or_refused(worker, digest, budget_s, binding):
    request = pb.ProfileRequest(model_digest=digest, budget_s=budget_s, binding=binding)
    assert raw_call("unary_stream", "Profile", worker.target, [request.SerializeToString()]) in REFUSALS


@QUICK
@given(st.integers(0, TRUE_BYTES), st.booleans())
def test_a_client_that_dies_in_the_middle_of_a_frame_leaves_nothing(worker, sent_bytes, is_proposed):
    with Talker(worker.target) as session:
        session.hello()
        if is_proposed:
            session.propose(PLAN)
        session.say(
            run=pb.Run(frame_id=1, plan_id=PLAN.plan_id, stage=1, tensors=TRUE_HEADERS, payload_bytes=TRUE_BYTES)
        )
        if is_proposed and sent_bytes:
            session.send(1, X.tobytes()[:sent_bytes])


def test_frames_after_a_refused_one_are_answered(worker):
    with Talker(worker.target) as session:
        session.hello()
        session.propose(PLAN)
        for frame_id in range(1, 20, 2):
            session.say(run=pb.Run(frame_id=frame_id, plan_id="nothing"))
            with pytest.raises(FrameFailed):
                session.answer(frame_id)
            session.run(frame_id + 1, PLAN, X)
            np.testing.assert_array_equal(session.answer(frame_id + 1)["y"], X * 2)
