"""One long-lived stream to a worker, and the two threads that keep it.

gRPC drains the outbox on a thread of its own. The *reader* hands on what comes in, so it never computes. The *keeper*
sends heartbeats and judges silence: a worker is dead when no message of any kind came for the liveness interval, on
this call or on another of its connection, never because a frame is slow. When this process itself was held up
(suspended, starved) the silence is not held against the worker.

The first error ends the stream, and ends it once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

from edge.bandwidth import IGNORED, LinkObserver
from edge.errors import EdgeError, WorkerLost
from edge.outbox import Outbox
from protos import messages as pb
from protos import pieces
from protos.channel import ReplyStream
from protos.chunks import Pacer
from protos.errors import WireError

_LOG = logging.getLogger(__name__)
_BEATS_PER_INTERVAL = 3
_TICKS_PER_INTERVAL = 12

OpenCall = Callable[[Iterator[pb.ToWorker]], "ReplyStream[pb.ToEdge]"]


class Stream:
    """Messages to and from one worker."""

    def __init__(
        self,
        open_call: OpenCall,
        *,
        target: str,
        on_message: Callable[[pb.ToEdge], None],
        on_end: Callable[[EdgeError], None],
        explain: Callable[[WireError | None], EdgeError],
        observer: LinkObserver = IGNORED,
        pacer: Pacer | None = None,
    ) -> None:
        """``explain`` names the error behind a bad status, or behind an end without one; handlers run on the reader."""
        self.outbox: Outbox[pb.ToWorker] = Outbox(pacer or Pacer(), now=time.monotonic, make_chunk=pieces.to_worker)
        self._observer = observer
        self._target = target
        self._on_message = on_message
        self._on_end = on_end
        self._explain = explain
        self._lock = threading.Lock()
        self._failure: EdgeError | None = None
        self._closing = threading.Event()
        self._liveness_s = 0.0
        self._is_watching = False
        self._heard_s = 0.0
        self._call = open_call(iter(self.outbox))
        self._reader = threading.Thread(target=self._read, name="cleft-reader", daemon=True)
        self._keeper = threading.Thread(target=self._keep, name="cleft-keeper", daemon=True)

    @property
    def failure(self) -> EdgeError | None:
        """What ended the stream, once it has ended."""
        return self._failure

    def start(self, liveness_s: float) -> None:
        """Begin to read, and to send heartbeats: the worker counts our silence from the first message that it gets."""
        self._liveness_s = liveness_s
        self._reader.start()
        self._keeper.start()

    def watch(self, liveness_s: float) -> None:
        """Begin to judge silence, by this interval."""
        self._heard_s = time.monotonic()
        self._liveness_s = liveness_s
        self._is_watching = True

    def note_life(self) -> None:
        """The worker was heard on another call of the same connection, which may be why nothing comes here."""
        self._heard_s = time.monotonic()

    def put(self, message: pb.ToWorker) -> None:
        """Send a control message.

        Raises:
            EdgeError: the stream has ended.
        """
        if self._failure is not None:
            raise self._failure
        self.outbox.put(message)

    def end(self, error: EdgeError, *, is_abrupt: bool = True) -> None:
        """End the stream for this reason, unless it has ended already."""
        with self._lock:
            if self._failure is not None:
                return
            self._failure = error
        self._closing.set()
        self.outbox.close()
        if is_abrupt:
            self._call.cancel()
        self._on_end(error)

    def close(self, reason: EdgeError, *, wait_s: float, is_abrupt: bool = False) -> None:
        """End the stream, in good order unless told otherwise, and its threads with it."""
        self.end(reason, is_abrupt=is_abrupt)
        if self._reader.ident is not None and not is_abrupt:
            self._reader.join(wait_s)
        self._call.cancel()
        for thread in (self._reader, self._keeper):
            if thread.ident is not None:
                thread.join(wait_s)

    def _read(self) -> None:
        try:
            for message in self._call:
                self._heard_s = time.monotonic()
                self._on_message(message)
            self.end(self._explain(None))
        except WireError as error:
            if self._failure is None:
                self.end(self._explain(error))
        except Exception as error:
            _LOG.exception("the reader failed")
            self.end(WorkerLost(self._target, reason=f"internal error: {error}"))

    def _keep(self) -> None:
        sequence = 0
        last_s = beaten_s = time.monotonic()
        while not self._closing.wait((liveness_s := self._liveness_s) / _TICKS_PER_INTERVAL):
            tick_s, beat_s = liveness_s / _TICKS_PER_INTERVAL, liveness_s / _BEATS_PER_INTERVAL
            now_s = time.monotonic()
            if now_s - last_s > beat_s:
                self._heard_s = now_s
            last_s = now_s
            if self._is_watching and now_s - self._heard_s > liveness_s - tick_s:
                self.end(WorkerLost(self._target, reason=f"nothing heard for {liveness_s:g} s", is_silent=True))
                return
            unacked_bytes, waited_s = self.outbox.stalled(now_s)
            if unacked_bytes:
                self._observer.waiting(unacked_bytes, waited_s, now_s)
            if now_s - beaten_s > beat_s - tick_s:
                beaten_s, sequence = now_s, sequence + 1
                self.outbox.put(pb.ToWorker(heartbeat=pb.Heartbeat(sequence=sequence)))
