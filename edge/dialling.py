"""One attempt to open a session with a worker, on a thread of its own, that can be given up at any moment."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from edge.client import Client
from edge.errors import WorkerUnreachable
from partitioner.errors import CleftError

_LOG = logging.getLogger(__name__)


class Dial:
    """A session being dialled on a thread of its own; ``error`` is why there is none, once it ``is_done``."""

    def __init__(
        self, make: Callable[[], Client], prepare: Callable[[Client], None], *, target: str, now: Callable[[], float]
    ) -> None:
        self._make, self._prepare, self._now = make, prepare, now
        self._target = target
        self._lock = threading.Lock()
        self._is_cancelled = False
        self.client: Client | None = None
        self.error: CleftError | None = None
        self.begun_s = self.welcomed_s = self.ended_s = now()
        self.is_done = False
        self._thread: threading.Thread | None = None

    def start(self, on_end: Callable[[], None]) -> None:
        """Begin; ``on_end`` is called on the dial's own thread."""
        self._thread = threading.Thread(target=self._run, args=(on_end,), name="cleft-dialler", daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Give it up."""
        with self._lock:
            self._is_cancelled = True
            client = self.client
        if client is not None:
            client.close(is_abrupt=True)

    def join(self, timeout_s: float) -> None:
        """Wait for its thread to end."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self, on_end: Callable[[], None]) -> None:
        try:
            client = self._make()
            with self._lock:
                self.client = client
                is_cancelled = self._is_cancelled
            if is_cancelled:
                client.close(is_abrupt=True)
            client.greet()
            self.welcomed_s = self._now()
            self._prepare(client)
        except CleftError as error:
            self.error = error
        except Exception as error:
            _LOG.exception("dialling failed")
            self.error = WorkerUnreachable(self._target, reason=f"internal error: {error}")
        if self.error is not None and self.client is not None:
            self.client.close(is_abrupt=True)
        self.ended_s = self._now()
        self.is_done = True
        on_end()
