"""A live worker as a service: draining, status, health, its own profile, and the port it listens on."""

from __future__ import annotations

import asyncio
import errno
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

from by_hand import HELD, X, refusal, until
from loopback import (
    DIGEST,
    WAIT_S,
    FakeBundle,
    FakeEngine,
    FakeProfile,
    Steps,
    Talker,
    good_frame,
    live_worker,
    plan_for,
    test_config,
)

from protos import messages as pb
from protos.channel import WorkerStub, dial
from protos.documents import unpack_document
from protos.errors import (
    Draining,
    InvalidMessage,
    UnknownModel,
    WireError,
)


@pytest.fixture(scope="module")
def worker():
    with live_worker() as live:
        yield live


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


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


def test_a_disk_that_is_full_costs_a_line_in_the_log_and_not_the_profile(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("CLEFT_CACHE_DIR", str(tmp_path))

    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def measure(bundle: object, engine: object, *, budget_s: float, binding: dict[str, int]) -> Steps:
        yield 0.5
        return FakeProfile(text="{}")

    monkeypatch.setattr("partitioner.measure.cache.replace_text", full)
    with live_worker(measure=measure) as worker, dial(worker.target) as channel:
        for _ in range(2):
            updates = list(WorkerStub(channel).profile(pb.ProfileRequest(model_digest=DIGEST), timeout_s=WAIT_S))
            packed = b"".join(update.document for update in updates)
            assert unpack_document(packed, max_bytes=100) == "{}"
        good_frame(worker.target)
    assert "No space left" in caplog.text


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
