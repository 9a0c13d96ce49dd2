"""The session with the worker in simulated time: frames and answers both ways, heartbeats, silence, dialling again.

It tells an observer what a real client would: acknowledged chunks, chunks of answers, echoes, waiting, loss. A worker
is lost after ``liveness_s`` without any message, and dialled again with the pauses of ``edge.backoff``. What was under
way is gone with the connection. A dial is three round trips of small messages over the same link, which loses nothing;
one that takes longer than the limit is given up.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from edge.backoff import Backoff
from edge.bandwidth import Delivery, LinkObserver
from edge.config import TIMEOUTS, Timeouts
from edge.simulate.transfer import MESSAGE_BYTES, Sender
from edge.simulate.world import Air, Events

_BEATS_PER_INTERVAL = 3
_TICKS_PER_INTERVAL = 12
_SLACK = 3.0
_HANDSHAKE_TRIPS = 3
_HELLO_BYTES = 500


class Line:
    """The session with one worker; up from the start."""

    def __init__(
        self,
        events: Events,
        air: Air,
        observer: LinkObserver,
        *,
        timeouts: Timeouts = TIMEOUTS,
        seed: int = 0,
    ) -> None:
        self._events = events
        self._air = air
        self._observer = observer
        self._timeouts = timeouts
        self._backoff = Backoff(timeouts, jitter=random.Random(f"redial {seed}").random)
        self._wanted: set[int] = set()
        self._era = 0
        self._has_failed = False
        self._begun_s = self._lost_s = events.now_s
        self._took_s = math.inf
        self._frames, self._replies = self._senders()
        self._open()
        self._beat()
        self._tick()

    @property
    def is_up(self) -> bool:
        """Whether there is a session."""
        return self._is_up

    def left_bytes(self, frame_id: int) -> int:
        """How much of a frame's payload the worker has not acknowledged."""
        return self._frames.left_bytes(frame_id)

    @property
    def era(self) -> int:
        """Counts the connections."""
        return self._era

    @property
    def waited_s(self) -> float:
        """For how long no acknowledgement has come, nor has any chunk left on an idle link."""
        return self._events.now_s - self._moved_s

    @property
    def patience_s(self) -> float:
        """How long a request waits for the worker to be dialled again (``edge.keeper``)."""
        if self._is_up or self._has_failed:
            return self._timeouts.glance_s
        limit_s = min(self._timeouts.dial_s, max(self._timeouts.again_s, _SLACK * self._took_s))
        return max(self._timeouts.glance_s, limit_s - (self._events.now_s - self._lost_s))

    def send(
        self, frame_id: int, *, up_bytes: int, there_s: float, down_bytes: int, on_answer: Callable[[], None]
    ) -> None:
        """Send a frame that takes the worker ``there_s``; ``on_answer`` is called when all of the answer is here."""
        worker = self._replies
        self._wanted.add(frame_id)

        def reply() -> None:
            if frame_id in self._wanted:
                worker.put(frame_id, down_bytes, on_answer)

        def arrived() -> None:
            self._events.at(self._events.now_s + there_s, reply)

        if not self._frames.unacked_bytes:
            self._moved_s = self._events.now_s
        self._frames.put(frame_id, up_bytes, arrived)

    def cancel(self, frame_id: int) -> None:
        """The frame is over, whatever became of it; nothing more of it is sent."""
        self._wanted.discard(frame_id)
        self._frames.drop(frame_id)
        self._replies.drop(frame_id)

    def probe(self, size_bytes: int, on_echo: Callable[[float], None]) -> None:
        """Send a probe as a message of its own; ``on_echo`` takes its round trip when the echo is here."""
        sent_s, era = self._events.now_s, self._era

        def echoed() -> None:
            if era == self._era:
                self._heard_s = self._events.now_s
                on_echo(self._events.now_s - sent_s)

        def arrived() -> None:
            if era == self._era:
                self._events.at(self._air.down.send(MESSAGE_BYTES, self._events.now_s), echoed)

        self._events.at(self._air.up.send(size_bytes + MESSAGE_BYTES, sent_s), arrived)

    def _open(self) -> None:
        now_s = self._events.now_s
        self._is_up = True
        self._heard_s = self._moved_s = now_s
        self._last_chunk = (-1, now_s)
        self._frames, self._replies = self._senders()

    def _senders(self) -> tuple[Sender, Sender]:
        """What a new connection sends up, and down."""
        up, down = self._air.up, self._air.down
        return (
            Sender(self._events, up, down, on_delivery=self._delivered),
            Sender(self._events, down, up, on_chunk=self._received),
        )

    def _delivered(self, delivery: Delivery) -> None:
        self._heard_s = self._moved_s = self._events.now_s
        self._observer.delivered(delivery)

    def _received(self, frame_id: int, size_bytes: int) -> None:
        """Part of an answer: the time since the part before it tells of the way down."""
        now_s = self._events.now_s
        self._heard_s = now_s
        before_id, before_s = self._last_chunk
        if before_id == frame_id:
            self._observer.received(size_bytes, now_s - before_s, now_s)
        self._last_chunk = frame_id, now_s

    def _beat(self) -> None:
        """The worker's heartbeats; ours only keep it content."""
        if self._is_up:
            era, now_s = self._era, self._events.now_s
            self._events.at(self._air.down.send(MESSAGE_BYTES, now_s), lambda: self._note_life(era))
        self._events.at(self._events.now_s + self._timeouts.liveness_s / _BEATS_PER_INTERVAL, self._beat)

    def _note_life(self, era: int) -> None:
        if era == self._era:
            self._heard_s = self._events.now_s

    def _tick(self) -> None:
        now_s = self._events.now_s
        if self._is_up and now_s - self._heard_s > self._timeouts.liveness_s:
            self._lose()
        elif self._is_up and self._frames.unacked_bytes:
            self._observer.waiting(self._frames.unacked_bytes, self.waited_s, now_s)
        self._events.at(now_s + self._timeouts.liveness_s / _TICKS_PER_INTERVAL, self._tick)

    def _lose(self) -> None:
        self._is_up = self._has_failed = False
        self._lost_s = self._events.now_s
        self._frames.close()
        self._replies.close()
        self._observer.lost(self._events.now_s)
        self._dial()

    def _dial(self) -> None:
        """Try once; the next try begins a pause after this one did, or when this one is given up."""
        self._era += 1
        self._air.clear()
        era, self._begun_s = self._era, self._events.now_s
        self._shake_hands(era, _HANDSHAKE_TRIPS)
        again_s = self._begun_s + max(self._backoff.pause_s(), self._timeouts.dial_s)
        self._events.at(again_s, lambda: self._dial_again(era))

    def _dial_again(self, era: int) -> None:
        if not self._is_up and era == self._era:
            self._has_failed = True
            self._dial()

    def _shake_hands(self, era: int, trips: int) -> None:
        if era != self._era:
            return
        if not trips:
            self._backoff.reset()
            self._took_s = min(self._took_s, self._events.now_s - self._begun_s)
            self._open()
            return
        there_s = self._air.up.send(_HELLO_BYTES, self._events.now_s)
        if there_s < math.inf:
            back_s = self._air.down.send(_HELLO_BYTES, there_s)
            self._events.at(back_s, lambda: self._shake_hands(era, trips - 1))
