"""What gRPC's core writes about failed TLS handshakes, as lines of our log.

gRPC gives a server no other word of a client that showed no certificate, or spoke plain text to a TLS port. Its core
writes about it to the process's stderr, beside much else that nobody wants. So while this lasts stderr is a pipe: lines
about handshakes become records (at most one a second), other lines of the core are dropped, all else passes through.
Costs a thread. The level is read when gRPC is imported, so this comes before that.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

_LOG = logging.getLogger(__name__)
_CORE = re.compile(r"^[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+\s+\d+ (?P<place>[\w./-]+:\d+)\] (?P<text>.*)")
_HANDSHAKE = re.compile(
    r"Handshake failed with error \w+: (?:error:[0-9a-f]+:SSL routines:OPENSSL_internal:)?(?P<why>.+)"
)
_LOG_EVERY_S = 1.0
_PUMP_S = 1.0
"""A child process may hold the pipe open for longer."""
_REASONS = (
    ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "the client showed no certificate"),
    ("WRONG_VERSION_NUMBER", "the client speaks plain text"),
    ("HTTP_REQUEST", "the client speaks plain text"),
    ("ALERT_UNKNOWN_CA", "the client does not trust our certificate"),
    ("ALERT_CERTIFICATE_EXPIRED", "the client found our certificate expired"),
    ("CERTIFICATE_VERIFY_FAILED", "the peer's certificate is not trusted"),
)


class Handshakes:
    """Turns what the core says into records."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._logged_s: float | None = None
        self._unlogged = 0

    def take(self, line: str) -> bool:
        """Whether a line is the core's; one about a handshake is logged."""
        found = _CORE.match(line)
        if found is None:
            return False
        if failed := _HANDSHAKE.search(found["text"]):
            self._note(failed["why"])
        return True

    def _note(self, why: str) -> None:
        now_s = self._now()
        if self._logged_s is not None and now_s - self._logged_s < _LOG_EVERY_S:
            self._unlogged += 1
            return
        more = f"; {self._unlogged} more since the last line" if self._unlogged else ""
        self._logged_s, self._unlogged = now_s, 0
        told = next((text for name, text in _REASONS if name in why), "it broke off")
        _LOG.warning("a TLS handshake failed: %s (%s%s)", told, why.strip(), more)


@contextmanager
def handshakes_logged() -> Iterator[None]:
    """While this lasts, failed TLS handshakes are logged."""
    os.environ["GRPC_VERBOSITY"] = "INFO"
    sys.stderr.flush()
    real = os.dup(2)
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(writing)
    pump = threading.Thread(target=_pump, args=(reading, real), name="cleft-core-log", daemon=True)
    handlers = _handlers_on_stderr()
    own = open(os.dup(real), "w", buffering=1, errors="replace")  # noqa: SIM115 - closed below
    for handler in handlers:
        handler.setStream(own)
    pump.start()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(real, 2)
        pump.join(_PUMP_S)
        for handler in handlers:
            handler.setStream(sys.__stderr__ or sys.stderr)
        own.close()
        os.close(real)


def _handlers_on_stderr() -> list[logging.StreamHandler[TextIO]]:
    found = logging.getLogger().handlers
    return [each for each in found if isinstance(each, logging.StreamHandler) and each.stream is sys.__stderr__]


def _pump(reading: int, real: int) -> None:
    """Until every writer is gone."""
    handshakes = Handshakes()
    with open(reading, errors="replace", newline="\n") as lines:
        for line in lines:
            if not handshakes.take(line):
                os.write(real, line.encode("utf-8", "replace"))
