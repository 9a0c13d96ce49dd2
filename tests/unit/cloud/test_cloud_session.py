"""One session of the worker, hand-driven: what it owes a client that is slow, and leaves behind of one that goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from by_hand import X
from loopback import WAIT_S, FakeBundle, FakeEngine, plan_for, plan_message, test_config

from cloud.batching import Batchers
from cloud.held import HeldPlans
from cloud.session import Session
from cloud.site import Site, Tally
from cloud.store import Model, Store
from cloud.worker import Worker
from protos import messages as pb
from protos.errors import Draining
from protos.tensors import join, pack

FRAMES = (1, 2, 3)


async def until(fact) -> None:
    end_s = time.monotonic() + WAIT_S
    while not fact():
        assert time.monotonic() < end_s
        await asyncio.sleep(0.001)


def requests() -> list[pb.ToWorker]:
    plan = plan_for()
    headers, buffers, payload_bytes = pack({"x": X})
    run = {"plan_id": plan.plan_id, "stage": 1, "tensors": headers, "payload_bytes": payload_bytes}
    frames = [
        message
        for frame_id in FRAMES
        for message in (
            pb.ToWorker(run=pb.Run(frame_id=frame_id, **run)),
            pb.ToWorker(chunk=pb.Chunk(frame_id=frame_id, data=join(buffers))),
        )
    ]
    hello = pb.Hello(protocol_version=1, session_id="s", takes_inline_results=True)
    return [
        pb.ToWorker(hello=hello),
        pb.ToWorker(propose=pb.Propose(plan_id=plan.plan_id, plan=plan_message(plan))),
        *frames,
    ]


@pytest.fixture
def site() -> Iterator[Site]:
    worker = Worker(max_queued=8)
    worker.start()
    yield Site(
        config=test_config(linger_s=0.01),
        store=Store([Model(bundle=FakeBundle(), engine=FakeEngine())]),
        worker=worker,
        batchers=Batchers(most=1),
        plans=HeldPlans(most=1),
        tally=Tally(),
        clock=time.monotonic,
    )
    assert worker.close(timeout_s=WAIT_S)


def test_a_drain_ends_only_when_every_answer_was_taken(site):
    async def scene() -> list[int]:
        session, taking, answered = Session(site), asyncio.Event(), []
        hello, propose, *frames = requests()

        async def messages() -> AsyncIterator[pb.ToWorker]:
            yield hello
            yield propose
            await until(lambda: site.plans)
            taking.clear()
            for message in frames:
                yield message
            await asyncio.Event().wait()

        async def write(message: pb.ToEdge) -> None:
            await taking.wait()
            if message.HasField("result"):
                answered.append(message.result.frame_id)

        taking.set()
        serving = asyncio.create_task(session.serve(messages(), write))
        await until(lambda: site.tally.frames_answered == len(FRAMES))
        session.drain(reason="test", grace_s=WAIT_S)
        assert (await asyncio.wait({serving}, timeout=0.2))[1] == {serving}
        taking.set()
        with pytest.raises(Draining):
            await asyncio.wait_for(serving, WAIT_S)
        return answered

    assert asyncio.run(scene()) == list(FRAMES)


def test_a_session_that_is_cancelled_while_it_ends_leaves_no_plan_behind(site):
    async def scene() -> None:
        async def messages() -> AsyncIterator[pb.ToWorker]:
            for message in requests()[:2]:
                yield message
            await asyncio.Event().wait()

        async def write(message: pb.ToEdge) -> None:
            pass

        serving = asyncio.create_task(Session(site).serve(messages(), write))
        await until(lambda: site.plans)
        while not serving.done():
            serving.cancel()
            await asyncio.sleep(0)
        assert not site.plans

    asyncio.run(scene())
