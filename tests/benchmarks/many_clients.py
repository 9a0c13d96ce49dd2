"""Many devices in one process: ``python many_clients.py HOST:PORT PLAN FRAME IDLE ACTIVE SECONDS``.

Every device has a connection of its own. The idle ones say Hello and then nothing but heartbeats; the active ones
propose the plan and send the frame again and again, each as soon as the last was answered. PLAN and FRAME are files
with a Propose and with a Run and its payload. Prints one JSON object: frames and latencies of each active device.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import grpc

from protos import messages as pb
from protos.channel import CHANNEL_OPTIONS, SERVICE

_STEP_BYTES = 65536


class Device:
    """One session on a connection of its own."""

    def __init__(self, target: str) -> None:
        own = ("grpc.use_local_subchannel_pool", 1)
        self._channel = grpc.aio.insecure_channel(target, options=(*CHANNEL_OPTIONS, own))
        self._call = self._channel.stream_stream(
            f"/{SERVICE}/Session",
            request_serializer=pb.ToWorker.SerializeToString,
            response_deserializer=pb.ToEdge.FromString,
        )()
        self.answers_s: list[float] = []
        self.refused = 0

    async def say(self, **body: object) -> None:
        await self._call.write(pb.ToWorker(**body))  # type: ignore[arg-type]

    async def hear(self, *kinds: str) -> pb.ToEdge:
        while True:
            message = await self._call.read()
            if message is grpc.aio.EOF:
                raise RuntimeError(f"the session ended: {await self._call.details()}")
            if message.WhichOneof("body") in kinds:
                return message

    async def greet(self, number: int) -> None:
        await self.say(hello=pb.Hello(protocol_version=1, session_id=f"device {number}"))
        await self.hear("welcome")

    async def idle(self, until_s: float, *, beat_s: float) -> None:
        """Nothing but heartbeats."""
        listening = asyncio.create_task(self.hear())
        while time.monotonic() < until_s and not listening.done():
            await self.say(heartbeat=pb.Heartbeat())
            await asyncio.sleep(beat_s)
        if listening.done():
            listening.result()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)

    async def work(self, propose: pb.Propose, run: pb.Run, payload: bytes, until_s: float) -> None:
        """Frames, one at a time."""
        await self.say(propose=propose)
        ready = await self.hear("ready", "failed")
        if not ready.HasField("ready"):
            raise RuntimeError(ready.failed.detail)
        frame_id = 0
        while (start_s := time.monotonic()) < until_s:
            frame_id += 1
            run.frame_id = frame_id
            await self.say(run=run)
            for at in range(0, len(payload), _STEP_BYTES):
                piece = payload[at : at + _STEP_BYTES]
                await self.say(chunk=pb.Chunk(frame_id=frame_id, offset_bytes=at, data=piece))
            if await self.answer():
                self.answers_s.append(time.monotonic() - start_s)
            else:
                self.refused += 1

    async def answer(self) -> bool:
        """Wait for the answer; whether it is a result."""
        message = await self.hear("result", "failed")
        if message.HasField("failed"):
            return False
        received = 0
        while received < message.result.payload_bytes:
            chunk = (await self.hear("chunk")).chunk
            received += len(chunk.data)
            await self.say(ack=pb.Ack(frame_id=chunk.frame_id, received_bytes=received))
        return True

    async def close(self) -> None:
        self._call.cancel()
        await self._channel.close()


async def main(target: str, plan: str, frame: str, idle: int, active: int, seconds: float) -> None:
    propose = pb.Propose.FromString(Path(plan).read_bytes())
    text = Path(frame).read_bytes()
    length = int.from_bytes(text[:8], "little")
    run, payload = pb.Run.FromString(text[8 : 8 + length]), text[8 + length :]
    devices = [Device(target) for _ in range(idle + active)]
    for start in range(0, len(devices), 50):
        batch = devices[start : start + 50]
        await asyncio.gather(*(each.greet(start + number) for number, each in enumerate(batch)))
    until_s = time.monotonic() + seconds
    working = devices[idle:]
    await asyncio.gather(
        *(each.idle(until_s, beat_s=1.0) for each in devices[:idle]),
        *(each.work(propose, pb.Run.FromString(run.SerializeToString()), payload, until_s) for each in working),
    )
    await asyncio.gather(*(each.close() for each in devices))
    print(json.dumps([{"answers_s": each.answers_s, "refused": each.refused} for each in working]))


if __name__ == "__main__":
    target, plan, frame, idle, active, seconds = sys.argv[1:7]
    asyncio.run(main(target, plan, frame, int(idle), int(active), float(seconds)))
