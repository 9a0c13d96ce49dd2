"""Probes of one session's link: what is sent, the echo that answers it, and what several tell together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from edge import linkmeter
from edge.errors import BadReply, WorkerLost
from edge.inflight import InFlight
from edge.stream import Stream
from partitioner.link import Link
from protos import messages as pb

_PROBE_BYTES = 256 * 1024
_MEASURE_MAX_BYTES = 8 * 1024 * 1024


class Echoes:
    """Sends probes on a stream. Thread-safe; ``ids`` are those of everything that the session numbers."""

    def __init__(self, stream: Stream, in_flight: InFlight, *, ids: Iterator[int], target: str) -> None:
        self._stream = stream
        self._in_flight = in_flight
        self._ids = ids
        self._target = target

    def probe(self, *, up_bytes: int, reply_bytes: int) -> Callable[[float], linkmeter.Echo | None]:
        """Send one probe; the result waits for its echo, and raises ``BadReply`` for one of another length.

        Raises:
            EdgeError: the session has ended.
        """
        probe_id = next(self._ids)
        waiting = self._in_flight.probe(probe_id)
        message = pb.Probe(probe_id=probe_id, data=bytes(up_bytes), reply_bytes=reply_bytes)
        sent_s = time.monotonic()
        self._stream.put(pb.ToWorker(probe=message))
        if self._stream.failure is not None:
            waiting.finish(self._stream.failure)

        def wait(timeout_s: float) -> linkmeter.Echo | None:
            if not waiting.wait(timeout_s):
                return None
            down_bytes = int(waiting.value)
            if down_bytes != reply_bytes:
                raise BadReply(f"the worker at {self._target} echoed {down_bytes} bytes where {reply_bytes} were asked")
            return linkmeter.Echo(sent_s=sent_s, arrived_s=waiting.done_s, up_bytes=up_bytes, down_bytes=down_bytes)

        return wait

    def measure(self, *, budget_s: float) -> Link:
        """Measure round trip and goodput each way, in about ``budget_s`` seconds and at most 8 MiB each way.

        Raises:
            WorkerLost: the session ended, or echoes stayed away.
            BadReply: the echoes are not what was asked.
        """
        try:
            return linkmeter.measure(
                self,
                now=time.monotonic,
                sleep=time.sleep,
                budget_s=budget_s,
                max_bytes=_MEASURE_MAX_BYTES,
                max_probe_bytes=_PROBE_BYTES,
            )
        except linkmeter.LinkSilent as error:
            raise WorkerLost(self._target, reason=str(error)) from error
