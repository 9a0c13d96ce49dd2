"""Rows 10 to 14: what both sides must agree on, and frames that are switched, repeated, cancelled and abandoned."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from history import History, Oracle, Owed, judge
from rig import IS_FULL, Pool, inputs_of, meanwhile, until

import edge
from edge.client import Client
from edge.clock import DeviceClock
from edge.config import Timeouts
from edge.errors import EdgeError, WorkerRefused
from partitioner.bundle import Bundle
from partitioner.relay import Relay, Shape
from partitioner.segments import Cuts
from partitioner.zoo import resolve

Bundles = dict[str, Bundle]
Figure = Callable[[str], None]


@pytest.mark.row(10)
@pytest.mark.parametrize("other", ["other_ladder", "other_graph"])
def test_other_weights_or_another_graph_are_refused_at_the_handshake(
    other: str, pool: Pool, bundles: Bundles, figure: Figure
) -> None:
    (worker,) = pool.lease(1)
    bundle = resolve(f"fault_models:{other}")
    with pytest.raises(WorkerRefused) as caught, edge.Session(bundle, cloud=worker.target, cut="after:first"):
        pass
    assert caught.value.code == "UNKNOWN_MODEL"
    figure(f"{other}: {caught.value.code}")


@pytest.mark.row(10)
def test_another_version_of_the_protocol_is_refused_at_the_handshake(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from protos import messages as pb

    (worker,) = pool.lease(1)
    monkeypatch.setattr("edge.client.hello_message", lambda: pb.Hello(protocol_version=0, session_id="old"))
    with pytest.raises(WorkerRefused) as caught:
        Client.dial(worker.target)
    assert caught.value.code == "UNSUPPORTED"


@pytest.mark.row(11)
def test_frames_in_flight_finish_with_the_cut_that_they_began_with(
    pool: Pool, bundles: Bundles, oracle: Callable[[Bundle], Oracle], figure: Figure
) -> None:
    """Four threads keep switching between three cuts and a lossy codec, on one session over a link with delay."""
    bundle, each = bundles["ladder"], 150 if IS_FULL else 10
    (worker,) = pool.lease(1)
    ways = [("after:first", "none"), ("after:second", "none"), ("cloud", "none"), ("after:first", "int8")]
    history, mixed = History(digest=bundle.digest), []
    inputs = inputs_of(bundle, 8)
    with (
        Relay(worker.address, Shape(delay_s=0.01)) as relay,
        edge.Session(bundle, cloud=relay.address, cut="after:first") as session,
    ):
        plans = {way: session.ready(inputs[0], cut=way[0], codec=way[1]) for way in ways}

        def switch(offset: int) -> None:
            for number in range(each):
                cut, codec = ways[(number + offset) % len(ways)]
                given = inputs[(number * 3 + offset) % len(inputs)]
                frame_id = history.ask(given, deadline_s=10.0)
                answered = history.answer(frame_id, session.answer(given, plans[cut, codec], deadline_s=10.0))
                if (answered.cut, answered.codec) != (cut, codec):
                    mixed.append(answered)

        with meanwhile(*(lambda offset=offset: switch(offset) for offset in range(4))):
            pass
    verdict = judge(history, oracle(bundle), Owed(is_in_order=False, bounds={"int8": 0.05}))
    assert verdict.is_clean, str(verdict)
    assert not mixed
    assert verdict.by.get("fallback", 0) == 0
    figure(f"{verdict} by 4 plans in turn from 4 threads, each by its own")


@pytest.mark.row(11)
def test_a_stream_keeps_its_order_across_resets(
    pool: Pool, bundles: Bundles, oracle: Callable[[Bundle], Oracle], figure: Figure
) -> None:
    bundle, count = bundles["ladder"], 2000 if IS_FULL else 120
    (worker,) = pool.lease(1)
    history, inputs = History(digest=bundle.digest), inputs_of(bundle, 16)
    with (
        Relay(worker.address, Shape(delay_s=0.005, jitter_s=0.005)) as relay,
        edge.Session(bundle, cloud=relay.address, cut="after:first", depth=4) as session,
    ):
        relay.reset_every(0.3 if IS_FULL else 0.08)
        given = [inputs[number % len(inputs)] for number in range(count)]
        for number, each in enumerate(session.stream(given, deadline_s=10.0)):
            frame_id = history.ask(each.given)
            assert each.id == number == frame_id
            assert each.given is given[number]
            assert each.answer is not None, each.error
            history.answer(frame_id, each.answer)
    verdict = judge(history, oracle(bundle))
    assert verdict.is_clean, str(verdict)
    figure(f"a stream of 4 lanes under resets: {verdict}, in order")


@pytest.mark.row(12)
def test_a_cut_that_is_not_ready_yet_keeps_no_other_waiting(
    pool: Pool, bundles: Bundles, oracle: Callable[[Bundle], Oracle], figure: Figure
) -> None:
    """While a plan is made ready for the first time, frames of another go on; its own first frame is late at most."""
    bundle = bundles["grind"]
    (worker,) = pool.lease(1)
    cuts = Cuts(bundle.graph, bundle.digest)
    new = [cut.name for cut in cuts.candidates if cut.depth > 0 and not cut.is_local]
    given = inputs_of(bundle, 1)[0]
    warm_s: list[float] = []
    while_s: list[float] = []
    late_s: list[list[float]] = []
    with edge.Session(bundle, cloud=worker.target, cut="cloud") as session:
        known = session.ready(given, cut="cloud")

        def ask(into: list[float], count: int, done: threading.Event) -> None:
            while count > 0 or not done.is_set():
                began_s = time.monotonic()
                session.answer(given, known, deadline_s=20.0)
                into.append(time.monotonic() - began_s)
                count -= 1

        is_over = threading.Event()
        is_over.set()
        ask(warm_s, 8, is_over)
        is_over.clear()

        def switch() -> None:
            for name in new[:: max(1, len(new) // (8 if IS_FULL else 3))]:
                plan = session.ready(given, cut=name)
                late_s.append([])
                for _ in range(3):
                    began_s = time.monotonic()
                    session.answer(given, plan, deadline_s=20.0)
                    late_s[-1].append(time.monotonic() - began_s)
            is_over.set()

        with meanwhile(lambda: ask(while_s, 8, is_over)):
            switch()
    alone_s, slowest_s = float(np.median(warm_s)), max(while_s)
    figure(
        f"frames of a warm cut: {alone_s * 1e3:.0f} ms alone, {slowest_s * 1e3:.0f} ms at worst while others warmed up"
    )
    assert slowest_s < 6 * alone_s + (0.5 if IS_FULL else 1.5)


@pytest.mark.row(13)
def test_a_frame_sent_again_with_its_id_is_answered_once(
    pool: Pool, bundles: Bundles, oracle: Callable[[Bundle], Oracle], figure: Figure
) -> None:
    """Run and chunks said twice, in any order that a confused client might: one effect, one answer."""
    import sys

    from rig import ROOT

    sys.path.append(str(ROOT / "tests" / "unit" / "cloud"))
    from loopback import Talker, plan_message

    from protos import messages as pb
    from protos.tensors import join, pack

    bundle, count = bundles["grind"], 20 if IS_FULL else 3
    (worker,) = pool.lease(1)
    cuts = Cuts(bundle.graph, bundle.digest)
    plan = cuts.plan(cuts.find("cloud"))
    heard: dict[int, list[str]] = {}
    with Talker(worker.target) as session:
        session.hello()
        session.say(propose=pb.Propose(plan_id=plan.plan_id, plan=plan_message(plan)))
        assert session.hear("ready", "failed").HasField("ready")
        before = Client.dial(worker.target)
        with before:
            answered = before.status().frames_answered
            for frame_id, given in enumerate(inputs_of(bundle, count), 1):
                headers, buffers, size = pack(given)
                payload = join(buffers)
                run = pb.Run(frame_id=frame_id, plan_id=plan.plan_id, stage=1, tensors=headers, payload_bytes=size)
                first = pb.Chunk(frame_id=frame_id, offset_bytes=0, data=payload[:400])
                second = pb.Chunk(frame_id=frame_id, offset_bytes=400, data=payload[400:])
                for each in ({"run": run}, {"run": run}, {"chunk": first}, {"run": run}, {"chunk": first}):
                    session.say(**each)
                for each in ({"chunk": second}, {"chunk": first}, {"chunk": second}, {"run": run}):
                    session.say(**each)
            session.say(probe=pb.Probe(probe_id=1))
            session.hear("probe")

            def are_computed() -> bool:
                session.say(heartbeat=pb.Heartbeat(sequence=1))
                return before.status().frames_answered >= answered + count

            until(are_computed, "the answers", timeout_s=30.0)
            while len(heard) < count or any("whole" not in each for each in heard.values()):
                message = session.hear("result", "failed", "chunk")
                kind = message.WhichOneof("body")
                frame_id = getattr(message, kind).frame_id
                if kind == "chunk":
                    session.say(ack=pb.Ack(frame_id=frame_id, received_bytes=len(message.chunk.data)))
                heard.setdefault(frame_id, []).append("whole" if kind == "chunk" else kind)
            assert before.status().frames_answered == answered + count
    assert heard == {frame_id: ["result", "whole"] for frame_id in range(1, count + 1)}
    figure(f"{count} frames said four times each: computed {count} times, answered {count} times")


def at_rest(client: Client) -> bool:
    status = client.status()
    return status.sessions == 1 and status.queued_frames == 0


@pytest.mark.row(14)
def test_a_client_that_cancels_or_vanishes_at_any_stage_leaves_nothing(
    pool: Pool, bundles: Bundles, figure: Figure
) -> None:
    """Cancelled and cut off after ever longer: amid the upload, waiting, computing, amid the answer."""
    (worker,) = pool.lease(1)
    times = 60 if IS_FULL else 8
    found: dict[str, int] = {"cancelled": 0, "vanished": 0, "answered": 0}
    timeouts = Timeouts(close_s=0.5)
    with Client.dial(worker.target) as watcher, Relay(worker.address, Shape(up_bytes_per_s=4e6)) as relay:
        until(lambda: at_rest(watcher), "rest before")
        memory_bytes = 0
        for number in range(times):
            if (
                number == times // 3
            ):  # by then the worker has met every stage once, and its heap has the size that takes
                memory_bytes = worker.memory_bytes()
            bundle = bundles[("bulk", "grind", "spread")[number % 3]]
            cuts = Cuts(bundle.graph, bundle.digest)
            plan = cuts.plan(cuts.find("cloud"))
            given = inputs_of(bundle, 1)[0]
            client = Client(relay.address, clock=DeviceClock(), timeouts=timeouts)
            client.greet()
            with client:
                client.propose(plan)
                frames = [client.submit(plan.plan_id, 1, given, {}, deadline_s=20.0) for _ in range(3)]
                frames[0].wait(0.002 * 1.6 ** (number % 8))
                if number % 2:
                    for frame in frames:
                        frame.cancel()
                    found["cancelled"] += 1
                else:
                    relay.reset()
                    found["vanished"] += 1
                for frame in frames:
                    try:
                        frame.result()
                        found["answered"] += 1
                    except EdgeError:
                        pass
            until(lambda: at_rest(watcher), "rest", timeout_s=15.0)
        grown_bytes = worker.memory_bytes() - memory_bytes
        counters = watcher.status()
    figure(
        f"{found['cancelled']} cancelled, {found['vanished']} cut off: at rest after each, "
        f"{grown_bytes / 2**20:+.1f} MiB of memory, {counters.queued_frames} queued"
    )
    assert grown_bytes < 64 * 2**20
