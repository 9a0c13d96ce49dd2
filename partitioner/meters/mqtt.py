"""A meter that publishes to MQTT: ``mqtt:HOST/TOPIC``, ``mqtt:USER@HOST:PORT/TOPIC#PATH.OF.VALUE``.

A message is a number or JSON. The password is that of ``CLEFT_MQTT_PASSWORD``; port 8883 is spoken to in TLS. A message
that the broker had kept says what was long ago, and counts for nothing.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from partitioner.environment import PREFIX
from partitioner.meters import MeterError, MeterInfo, Reading
from partitioner.meters.external import ARRIVALS, PATIENCE_S, Arrivals, Value, split_pick, value_in

if TYPE_CHECKING:
    from paho.mqtt.client import Client

PORT = 1883
TLS_PORT = 8883
PASSWORD_VARIABLE = f"{PREFIX}MQTT_PASSWORD"
_TARGET = re.compile(r"(?:([^@/]+)@)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.%a-z]+\])(?::(\d{1,5}))?/(.+)")


class Mqtt:
    """The newest value of a topic; a thread of the library listens until ``close``."""

    def __init__(
        self,
        host: str,
        port: int,
        topic: str,
        pick: str = "",
        *,
        user: str = "",
        patience_s: float = PATIENCE_S,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Waits for a few messages, to learn how often they come.

        Raises:
            MeterError: the broker does not answer or refuses, or nobody publishes there.
        """
        self._topic, self._pick, self._now = topic, pick, now
        self._heard = threading.Condition()
        self._arrivals = Arrivals()
        self._value: Value | None = None
        self._error = ""
        where = f"{host}:{port}"
        self._client = self._connect(host, port, user, patience_s)
        try:
            self._wait(where, patience_s)
        except BaseException:
            self.close()
            raise
        self.info = MeterInfo(
            kind="mqtt", source=f"{topic} at {where}", scope="board", period_s=self._arrivals.period_s
        )

    def read(self) -> Reading:
        """The newest value.

        Raises:
            MeterError: a message cannot be read, none has come for long, or the broker is gone.
        """
        with self._heard:
            at_s = self._now()
            if self._error:
                raise MeterError(self._error)
            self._arrivals.check(at_s)
            assert self._value is not None
            return self._value.reading(at_s, at_s)

    def close(self) -> None:
        """Leave the broker; safe to call twice."""
        self._client.disconnect()
        self._client.loop_stop()

    def _connect(self, host: str, port: int, user: str, patience_s: float) -> Client:
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ModuleNotFoundError as error:
            raise MeterError("this needs paho-mqtt: pip install 'cleft[mqtt]'") from error
        client = Client(CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        if user:
            client.username_pw_set(user, os.environ.get(PASSWORD_VARIABLE))
        if port == TLS_PORT:
            client.tls_set()
        client.connect_timeout = patience_s
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        try:
            client.connect(host.strip("[]"), port)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise MeterError(f"no broker answers at {host}:{port}: {reason}") from error
        client.loop_start()
        return client

    def _wait(self, where: str, patience_s: float) -> None:
        with self._heard:
            self._heard.wait_for(lambda: self._arrivals.are_enough or bool(self._error), patience_s)
            if self._error:
                raise MeterError(self._error)
            if not self._arrivals.are_enough:
                raise MeterError(f"fewer than {ARRIVALS} messages on {self._topic} at {where} in {patience_s:g} s")

    def _on_connect(self, client: Client, _data: object, _flags: object, reason: object, _properties: object) -> None:
        if getattr(reason, "is_failure", False):
            self._fail(f"the broker refuses: {reason}")
            return
        client.subscribe(self._topic)

    def _on_message(self, _client: Client, _data: object, message: object) -> None:
        if getattr(message, "retain", False):
            return
        at_s = self._now()
        try:
            value = value_in(bytes(getattr(message, "payload", b"")), self._pick)
        except MeterError as error:
            self._fail(f"{self._topic}: {error}")
            return
        with self._heard:
            self._value = value
            self._arrivals.note(at_s)
            self._heard.notify_all()

    def _on_disconnect(
        self, _client: Client, _data: object, _flags: object, reason: object, _properties: object
    ) -> None:
        self._fail(f"the broker has gone: {reason}")

    def _fail(self, reason: str) -> None:
        with self._heard:
            self._error = self._error or reason
            self._heard.notify_all()


def open_mqtt(argument: str) -> Mqtt:
    """The meter ``mqtt:HOST/TOPIC``, with a user, a port and a path where they are wanted.

    Raises:
        MeterError: it is no such name, or as ``Mqtt``.
    """
    target, pick = split_pick(argument)
    matched = _TARGET.fullmatch(target)
    if matched is None or not 0 < int(matched[3] or PORT) < 65536:
        raise MeterError(f"{target!r} is no topic: write HOST/TOPIC or USER@HOST:PORT/TOPIC")
    return Mqtt(matched[2], int(matched[3] or PORT), matched[4], pick, user=matched[1] or "")
