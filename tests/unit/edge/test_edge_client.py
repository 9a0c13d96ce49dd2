from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from edge.client import Client
from edge.config import Limits, Timeouts
from edge.errors import (
    BadReply,
    DeadlineExceeded,
    FrameCancelled,
    WorkerLost,
    WorkerRefused,
)
from partitioner.plan import Plan
from partitioner.runtimes import Array
from protos import messages as pb
from protos import tensors as packing
from protos.documents import pack_document

Start = Callable[..., "FakeWorker"]  # noqa: F821 - the class of conftest.py


def test_a_frame_comes_back_computed_and_timed(fake_worker: Start, plan: Plan, ones: Array) -> None:
    with Client.dial(fake_worker().target) as client:
        assert client.propose(plan) == 0.25
        reply = client.run(plan.plan_id, 1, {"h": ones}, {"h": "none"})
    np.testing.assert_array_equal(reply.tensors["h.out"], ones * 2)
    headers = [packing.pack({name: ones})[0][0] for name in ("h", "h.out")]
    assert (reply.up_bytes, reply.down_bytes) == tuple(ones.nbytes + header.ByteSize() for header in headers)
    assert reply.worker.compute_s == 2e-4
    assert reply.load.queued_frames == 3
    assert reply.wire_s > 0


def test_a_plan_is_proposed_once_however_often_it_is_asked_for(fake_worker: Start, plan: Plan) -> None:
    worker = fake_worker()
    with Client.dial(worker.target) as client:
        for _ in range(3):
            client.propose(plan)
    assert worker.seen.count("propose") == 1


def test_several_frames_in_flight_each_get_their_own_answer(fake_worker: Start, plan: Plan) -> None:
    arrays = [np.full((300, 300), value, np.float32) for value in range(8)]
    with Client.dial(fake_worker().target, limits=Limits(frames_in_flight=8)) as client:
        client.propose(plan)
        frames = [client.submit(plan.plan_id, 1, {"h": array}, {}) for array in arrays]
        for frame, array in zip(reversed(frames), reversed(arrays), strict=True):
            np.testing.assert_array_equal(frame.result().tensors["h.out"], array * 2)


def test_what_was_sent_is_unchanged_afterwards(fake_worker: Start, plan: Plan, ones: Array) -> None:
    ones.flags.writeable = False
    with Client.dial(fake_worker().target) as client:
        client.propose(plan)
        for codec in ("none", "fp16", "int8", "int8+zstd"):
            client.run(plan.plan_id, 1, {"h": ones}, {"h": codec})
    assert (ones == 1).all()


def test_an_empty_frame_is_answered(fake_worker: Start, plan: Plan) -> None:
    empty = np.zeros((0, 4), np.float32)
    with Client.dial(fake_worker().target) as client:
        client.propose(plan)
        assert client.run(plan.plan_id, 1, {"h": empty}, {}).tensors["h.out"].shape == (0, 4)


def test_a_refusal_names_its_code_and_the_session_goes_on(fake_worker: Start, plan: Plan, ones: Array) -> None:
    refused: list[int] = []

    def refuse_first(worker: object, message: pb.ToWorker, send: Callable[[pb.ToEdge], None]) -> bool:
        if message.WhichOneof("body") != "run" or refused:
            return message.WhichOneof("body") == "chunk" and message.chunk.frame_id in refused
        refused.append(message.run.frame_id)
        send(pb.ToEdge(failed=pb.Failed(frame_id=refused[0], code=pb.Code.CODE_OVERLOADED, detail="full")))
        return True

    with Client.dial(fake_worker(on_message=refuse_first).target) as client:
        client.propose(plan)
        with pytest.raises(WorkerRefused, match="full") as caught:
            client.run(plan.plan_id, 1, {"h": ones}, {})
        assert caught.value.code == "OVERLOADED"
        assert client.run(plan.plan_id, 1, {"h": ones}, {}).tensors


def test_a_plan_of_an_unknown_model_is_refused_in_one_line(fake_worker: Start, plan: Plan) -> None:
    def refuse(worker: object, message: pb.ToWorker, send: Callable[[pb.ToEdge], None]) -> bool:
        if message.WhichOneof("body") != "propose":
            return False
        failed = pb.Failed(plan_id=message.propose.plan_id, code=pb.Code.CODE_UNKNOWN_MODEL, detail="no such model")
        send(pb.ToEdge(failed=failed))
        return True

    with Client.dial(fake_worker(on_message=refuse).target) as client, pytest.raises(WorkerRefused) as caught:
        client.propose(plan)
    assert caught.value.code == "UNKNOWN_MODEL"
    assert "\n" not in str(caught.value)


def test_a_frame_over_the_workers_limit_never_leaves(fake_worker: Start, plan: Plan, ones: Array) -> None:
    worker = fake_worker(max_frame_bytes=1000)
    with Client.dial(worker.target) as client:
        client.propose(plan)
        with pytest.raises(WorkerRefused, match="TOO_LARGE"):
            client.run(plan.plan_id, 1, {"h": ones}, {})
    assert "run" not in worker.seen


def test_an_answer_over_our_limit_is_refused_before_it_is_received(fake_worker: Start, plan: Plan) -> None:
    with Client.dial(fake_worker().target, limits=Limits(reply_bytes=100)) as client:
        client.propose(plan)
        with pytest.raises(BadReply):
            client.run(plan.plan_id, 1, {"h": np.ones(1000, np.float32)}, {})


def test_a_corrupt_answer_fails_its_frame_and_no_other(fake_worker: Start, plan: Plan, ones: Array) -> None:
    flipped_ids: list[int] = []

    def flip(worker: object, message: pb.ToWorker, send: Callable[[pb.ToEdge], None]) -> bool:
        if message.WhichOneof("body") != "run" or flipped_ids:
            return message.WhichOneof("body") == "chunk" and message.chunk.frame_id in flipped_ids
        flipped_ids.append(message.run.frame_id)

        def flipped(reply: pb.ToEdge) -> None:
            if reply.WhichOneof("body") == "chunk":
                reply.chunk.data = bytes([reply.chunk.data[0] ^ 1]) + reply.chunk.data[1:]
            send(reply)

        worker.reply(message.run, bytes(message.run.payload_bytes), flipped)  # type: ignore[attr-defined]
        return True

    zeros = np.zeros(100, np.float32)
    with Client.dial(fake_worker(on_message=flip).target) as client:
        client.propose(plan)
        with pytest.raises(BadReply, match="checksum"):
            client.run(plan.plan_id, 1, {"h": zeros}, {})
        assert client.run(plan.plan_id, 1, {"h": ones}, {}).tensors


def test_a_late_answer_is_given_up_at_the_deadline_and_withdrawn(fake_worker: Start, plan: Plan, ones: Array) -> None:
    worker = fake_worker(on_message=lambda _worker, message, _send: message.WhichOneof("body") in ("run", "chunk"))
    with Client.dial(worker.target) as client:
        client.propose(plan)
        start = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="no answer within 200 ms;"):
            client.run(plan.plan_id, 1, {"h": ones}, {}, deadline_s=0.2)
        assert time.monotonic() - start < 1
        worker.wait_for("cancel")
        client.probe(up_bytes=0, reply_bytes=0)(5)
        assert client.unacked_bytes == 0, "what was sent before a probe has arrived when its echo has"


def test_a_withdrawn_frame_frees_its_slot(fake_worker: Start, plan: Plan, ones: Array) -> None:
    worker = fake_worker(on_message=lambda _worker, message, _send: message.WhichOneof("body") in ("run", "chunk"))
    with Client.dial(worker.target, limits=Limits(frames_in_flight=1)) as client:
        client.propose(plan)
        frame = client.submit(plan.plan_id, 1, {"h": ones}, {})
        with pytest.raises(DeadlineExceeded):
            client.submit(plan.plan_id, 1, {"h": ones}, {}, deadline_s=0.05)
        frame.cancel()
        with pytest.raises(FrameCancelled):
            frame.result()
        client.submit(plan.plan_id, 1, {"h": ones}, {}).cancel()


def test_every_frame_in_flight_learns_that_the_session_broke(fake_worker: Start, plan: Plan, ones: Array) -> None:
    worker = fake_worker(on_message=lambda _worker, message, _send: message.WhichOneof("body") in ("run", "chunk"))
    with Client.dial(worker.target) as client:
        client.propose(plan)
        frames = [client.submit(plan.plan_id, 1, {"h": ones}, {}) for _ in range(3)]
        worker.wait_for("run", count=3)
        worker.drop_sessions()
        for frame in frames:
            with pytest.raises(WorkerLost):
                frame.result()
        with pytest.raises(WorkerLost):
            client.submit(plan.plan_id, 1, {"h": ones}, {})


def test_a_frozen_worker_is_noticed_within_its_liveness(fake_worker: Start, plan: Plan, quick: Timeouts) -> None:
    frozen = threading.Event()
    worker = fake_worker(on_message=lambda _worker, _message, _send: frozen.is_set(), liveness_s=0.6)
    with Client.dial(worker.target, timeouts=quick) as client:
        client.propose(plan)
        frozen.set()
        start = time.monotonic()
        with pytest.raises(WorkerLost, match="nothing heard"):
            client.run(plan.plan_id, 1, {"h": np.ones(4, np.float32)}, {})
        assert time.monotonic() - start < 1.5


def test_a_slow_frame_on_a_living_session_is_never_taken_for_a_dead_worker(
    fake_worker: Start, plan: Plan, quick: Timeouts
) -> None:
    runs: list[pb.Run] = []
    later: list[threading.Timer] = []

    def answer_late(worker: object, message: pb.ToWorker, send: Callable[[pb.ToEdge], None]) -> bool:
        if message.WhichOneof("body") == "run":
            run = message.run
            runs.append(run)
            payload = bytes(run.payload_bytes)
            later.append(threading.Timer(1.5, lambda: worker.reply(run, payload, send)))  # type: ignore[attr-defined]
            later[-1].start()
        return message.WhichOneof("body") in ("run", "chunk")

    worker = fake_worker(on_message=answer_late, liveness_s=0.6)
    with Client.dial(worker.target, timeouts=quick) as client:
        client.propose(plan)
        assert client.run(plan.plan_id, 1, {"h": np.zeros(4, np.float32)}, {}).tensors
        assert client.failure is None
    assert worker.seen.count("heartbeat") >= 4


def test_closing_withdraws_what_is_in_flight(fake_worker: Start, plan: Plan, ones: Array) -> None:
    worker = fake_worker(on_message=lambda _worker, message, _send: message.WhichOneof("body") in ("run", "chunk"))
    client = Client.dial(worker.target)
    client.propose(plan)
    frame = client.submit(plan.plan_id, 1, {"h": ones}, {})
    client.close()
    client.close()
    with pytest.raises(FrameCancelled):
        frame.result()


def test_status_profile_and_link_are_told(fake_worker: Start) -> None:
    document = '{"schema": "cleft.profile/2", "name": "é"}'
    progress: list[float] = []
    with Client.dial(fake_worker(profile_pieces=lambda: pack_document(document)).target) as client:
        assert client.info is not None
        assert client.info.models[0].name == "fake"
        assert client.status().frames_answered == 7
        assert client.fetch_profile("ab" * 32, on_progress=progress.append) == document
        assert progress == [0.5]
        with pytest.raises(WorkerRefused, match="no such model"):
            client.fetch_profile("cd" * 32)
        link = client.measure_link(budget_s=0.5)
    assert 0 < link.rtt_s < 0.1
    assert link.up_bytes_per_s > 1e6
    assert link.down_bytes_per_s > 1e6


def test_a_profile_that_comes_slowly_keeps_the_session_it_starves(fake_worker: Start, quick: Timeouts) -> None:
    starved, moment = threading.Event(), threading.Event()
    packed = b"".join(pack_document("a profile"))

    def pieces() -> Iterator[bytes]:
        starved.set()
        for byte in packed:
            moment.wait(0.1)
            yield bytes([byte])

    worker = fake_worker(
        on_message=lambda _worker, _message, _send: starved.is_set(), liveness_s=0.6, profile_pieces=pieces
    )
    with Client.dial(worker.target, timeouts=quick) as client:
        assert client.fetch_profile("ab" * 32) == "a profile"
        assert client.failure is None


def test_a_profile_longer_than_its_limit_is_refused(fake_worker: Start) -> None:
    worker = fake_worker(profile_pieces=lambda: pack_document(" " * 100_000))
    with (
        Client.dial(worker.target, limits=Limits(document_bytes=1000)) as client,
        pytest.raises(BadReply, match="longer than 1000 bytes"),
    ):
        client.fetch_profile("ab" * 32)


@pytest.mark.parametrize("more_bytes", [-1_000_000, -1, 1])
def test_echoes_of_another_length_than_asked_measure_nothing(fake_worker: Start, more_bytes: int) -> None:
    def echo(_worker: object, message: pb.ToWorker, send: Callable[[pb.ToEdge], None]) -> bool:
        if not message.HasField("probe") or not message.probe.reply_bytes:
            return False
        data = bytes(max(0, message.probe.reply_bytes + more_bytes))
        send(pb.ToEdge(probe=pb.Probe(probe_id=message.probe.probe_id, data=data)))
        return True

    worker = fake_worker(on_message=echo)
    with Client.dial(worker.target) as client, pytest.raises(BadReply, match=worker.target):
        client.measure_link(budget_s=0.2)
