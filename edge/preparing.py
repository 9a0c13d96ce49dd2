"""What a session makes ready in the background: plans that are new, and what they are chosen by."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

from partitioner.errors import CleftError

_LOG = logging.getLogger(__name__)


class Preparer:
    """Does one thing after another on a thread of its own, which starts with the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_stopped = False

    def put(self, task: Callable[[], None]) -> None:
        """Have this done; what fails is logged."""
        with self._lock:
            if self._is_stopped:
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="cleft-preparer", daemon=True)
                self._thread.start()
            self._tasks.put(task)

    def stop(self) -> None:
        """Begin nothing more."""
        with self._lock:
            self._is_stopped = True
        self._tasks.put(None)

    def close(self) -> None:
        """The same, and wait for the end of what is being done."""
        self.stop()
        if self._thread is not None:
            self._thread.join()

    @property
    def _level(self) -> int:
        """What fails at the end of the session does so because of it."""
        return logging.DEBUG if self._is_stopped else logging.WARNING

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None and not self._is_stopped:
            try:
                task()
            except CleftError as error:
                _LOG.log(self._level, "a plan cannot be made ready: %s", error)
            except Exception:
                _LOG.log(self._level, "making a plan ready failed", exc_info=True)
