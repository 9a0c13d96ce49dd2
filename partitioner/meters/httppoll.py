"""A meter that answers HTTP with JSON or a number: ``http:URL``, ``http:URL#PATH.OF.VALUE``; a smart plug, for example.

Such plugs renew their value about once a second, so they are asked no more often than that. Proxies of the environment
are for the internet, and a meter is not there.
"""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable

from partitioner.meters import MeterError, MeterInfo, Reading
from partitioner.meters.external import MOST_CHARS, Value, split_pick, value_in

PERIOD_S = 1.0
TIMEOUT_S = 3.0
_TRIES = 2


class HttpPoll:
    """The value that a URL answers with."""

    def __init__(self, url: str, pick: str = "", *, now: Callable[[], float] = time.perf_counter) -> None:
        """Asks once, to see that it answers.

        Raises:
            MeterError: it does not, or not with a value.
        """
        self._url, self._pick, self._now = url, pick, now
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        begin_s = now()
        self._ask()
        took_s = now() - begin_s
        shown = f"#{pick} of {url}" if pick else url
        self.info = MeterInfo(kind="http", source=shown, scope="board", period_s=max(PERIOD_S, 2 * took_s))

    def read(self) -> Reading:
        """Ask now.

        Raises:
            MeterError: there is no answer, or none with a value.
        """
        begin_s = self._now()
        value = self._ask()
        return value.reading(begin_s, self._now())

    def close(self) -> None:
        """Nothing is held."""

    def _ask(self) -> Value:
        """Ask, and once more where a busy network lost the first."""
        for left in reversed(range(_TRIES)):
            try:
                with self._opener.open(self._url, timeout=TIMEOUT_S) as answer:
                    text = answer.read(MOST_CHARS + 1)
            except (OSError, http.client.HTTPException, ValueError) as error:
                if not left or isinstance(error, urllib.error.HTTPError):
                    raise MeterError(f"{self._url} does not answer: {_reason(error)}") from error
                continue
            try:
                return value_in(text, self._pick)
            except MeterError as error:
                raise MeterError(f"{self._url}: {error}") from error
        raise AssertionError("unreachable")


def open_http(argument: str) -> HttpPoll:
    """The meter ``http:URL``; ``http://HOST/PATH`` is one too.

    Raises:
        MeterError: it is no URL, or as ``HttpPoll``.
    """
    url, pick = split_pick(f"http:{argument}" if argument.startswith("//") else argument)
    if not url.lower().startswith(("http://", "https://")):
        raise MeterError(f"{url!r} is no URL such as http://192.168.1.20/status")
    return HttpPoll(url, pick)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"HTTP status {error.code}"
    reason = getattr(error, "reason", None)
    cause = reason if isinstance(reason, Exception) else error
    return str(getattr(cause, "strerror", None) or cause or type(cause).__name__)
