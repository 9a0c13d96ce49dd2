from __future__ import annotations

import asyncio

import pytest

from cloud.outbox import Outbox
from protos import messages as pb
from protos.chunks import Pacer


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def beat(sequence: int) -> pb.ToEdge:
    return pb.ToEdge(heartbeat=pb.Heartbeat(sequence=sequence))


async def drain(outbox: Outbox, clock: FakeClock, *, ack: bool) -> list[pb.ToEdge]:
    taken = []
    while True:
        getting = asyncio.create_task(outbox.get())
        await asyncio.sleep(0)
        if not getting.done():
            getting.cancel()
            return taken
        message = getting.result()
        if message is None:
            return taken
        taken.append(message)
        if ack and message.HasField("chunk"):
            clock.now_s += 0.001
            outbox.acked(message.chunk.frame_id, message.chunk.offset_bytes + len(message.chunk.data))


def test_messages_go_before_payload_and_payload_is_whole():
    async def scene() -> None:
        clock, sent = FakeClock(), []
        outbox = Outbox(clock=clock)
        payload = bytes(range(256)) * 4096
        outbox.put_frame(7, [payload[:1000], payload[1000:]], lambda: sent.append(7))
        outbox.put(beat(1))
        outbox.finish()
        taken = await drain(outbox, clock, ack=True)
        assert taken[0].heartbeat.sequence == 1
        assert b"".join(message.chunk.data for message in taken[1:]) == payload
        assert sent == [7]

    asyncio.run(scene())


def test_a_peer_that_acknowledges_nothing_gets_a_window_and_no_more():
    async def scene() -> None:
        clock = FakeClock()
        outbox = Outbox(clock=clock)
        outbox.put_frame(1, [bytes(50_000_000)], lambda: None)
        taken = await drain(outbox, clock, ack=False)
        assert 0 < sum(len(message.chunk.data) for message in taken) <= Pacer().window_bytes
        outbox.put(beat(1))
        assert (await outbox.get()).HasField("heartbeat")

    asyncio.run(scene())


def test_a_dropped_frame_stops_half_sent_and_the_next_one_goes():
    async def scene() -> None:
        clock = FakeClock()
        outbox = Outbox(clock=clock)
        outbox.put_frame(1, [bytes(1_000_000)], lambda: pytest.fail("it was not sent"))
        outbox.put_frame(2, [b"short"], lambda: None)
        await drain(outbox, clock, ack=False)
        outbox.drop(1)
        taken = await drain(outbox, clock, ack=True)
        assert [message.chunk.frame_id for message in taken] == [2]

    asyncio.run(scene())


def test_an_empty_payload_is_sent_at_once():
    async def scene() -> None:
        sent = []
        Outbox(clock=FakeClock()).put_frame(1, [b""], lambda: sent.append(1))
        assert sent == [1]

    asyncio.run(scene())


def test_the_reader_waits_for_a_peer_that_takes_nothing():
    async def scene() -> None:
        outbox = Outbox(clock=FakeClock())
        await asyncio.wait_for(outbox.until_room(), 1)
        for index in range(1000):
            outbox.put(beat(index))
        waiting = asyncio.create_task(outbox.until_room())
        await asyncio.sleep(0)
        assert not waiting.done()
        for _ in range(900):
            await outbox.get()
        await asyncio.wait_for(waiting, 1)

    asyncio.run(scene())
