"""A worker on its way to ready: what it tells while models load, and what it serves when some cannot."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

sys.path.append(str(Path(__file__).parents[1] / "unit" / "cloud"))

from by_hand import until
from loopback import DIGEST, WAIT_S, FakeBundle, FakeEngine, LiveWorker, Talker, good_frame, live_worker, test_config

from cloud.errors import NoModelError
from cloud.store import Broken
from partitioner.errors import BundleError
from partitioner.plan import Segment
from protos.channel import WorkerStub, dial
from protos.errors import Unreachable

OTHER = "e" * 64


def health_of(channel: grpc.Channel, service: str = "") -> int:
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest.SerializeToString,
        health_pb2.HealthCheckResponse.FromString,
    )
    return int(check(health_pb2.HealthCheckRequest(service=service), timeout=WAIT_S).status)


def test_it_tells_that_models_load_and_lets_nobody_in_until_they_have():
    opening, go_on = threading.Event(), threading.Event()

    def open_engine(bundle: FakeBundle) -> FakeEngine:
        if bundle.digest == OTHER:
            opening.set()
            assert go_on.wait(WAIT_S)
        return FakeEngine()

    worker = LiveWorker(test_config(), FakeEngine(), open_engine=open_engine)
    states = health_pb2.HealthCheckResponse
    try:
        starting = worker.begin(worker.server.start([FakeBundle(), FakeBundle(digest=OTHER)]))
        assert opening.wait(WAIT_S)
        port = worker.server.port
        with dial(f"127.0.0.1:{port}") as channel:
            until(lambda: health_of(channel, DIGEST) == states.SERVING, "the first model")
            assert health_of(channel) == health_of(channel, OTHER) == states.NOT_SERVING
            models = {each.digest: each for each in WorkerStub(channel).status(timeout_s=WAIT_S).models}
            assert models[DIGEST].ready
            assert (models[OTHER].ready, models[OTHER].reason) == (False, "loading...")
            with Talker(f"127.0.0.1:{port}") as early, pytest.raises(Unreachable, match="loading"):
                early.hello()
            go_on.set()
            assert starting.result(WAIT_S) == port
            assert health_of(channel) == health_of(channel, OTHER) == states.SERVING
        good_frame(f"127.0.0.1:{port}")
    finally:
        go_on.set()
        worker.stop()


class Damaged(FakeEngine):
    """Its weights turn out to be unreadable when they are first needed."""

    def segment(self, segment: Segment):
        raise BundleError("weights.safetensors is damaged")


def test_what_cannot_be_served_is_listed_with_its_reason_and_the_rest_is_served():
    def open_engine(bundle: FakeBundle) -> FakeEngine:
        return Damaged() if bundle.digest == OTHER else FakeEngine()

    worker = LiveWorker(test_config(), FakeEngine(), open_engine=open_engine)
    broken = Broken(name="old.bundle", reason="old.bundle is no bundle")
    try:
        worker.port = worker.call(
            worker.server.start([FakeBundle(digest=OTHER, name="damaged"), FakeBundle()], broken=[broken])
        )
        good_frame(worker.target)
        with dial(worker.target) as channel:
            models = WorkerStub(channel).status(timeout_s=WAIT_S).models
        assert {(each.name, each.ready, each.reason) for each in models} == {
            ("double", True, ""),
            ("damaged", False, "weights.safetensors is damaged"),
            ("old.bundle", False, "old.bundle is no bundle"),
        }
    finally:
        worker.stop()


def test_a_worker_with_nothing_to_serve_says_why_and_ends():
    worker = LiveWorker(test_config(), FakeEngine(), open_engine=lambda bundle: Damaged())
    starting = worker.begin(worker.server.start([FakeBundle()], broken=[Broken(name="old", reason="gone")]))
    try:
        with pytest.raises(NoModelError, match=r"old: gone; double: weights.safetensors is damaged"):
            starting.result(WAIT_S)
    finally:
        worker.stop()


def test_the_whole_model_is_run_before_it_is_ready():
    class Whole(FakeEngine):
        def segment(self, segment: Segment):
            wanted = Segment(model_digest=segment.model_digest, inputs=("x",), outputs=("y",))
            return super().segment(wanted)

    engine = Whole()
    with live_worker(engine=engine):
        assert engine.ran == [0.0]
