"""Meters over the network, against a server of HTTP and a broker that speaks MQTT 3.1.1, both on this machine."""

from __future__ import annotations

import http.server
import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from partitioner.meters import MeterError
from partitioner.meters.httppoll import open_http
from partitioner.meters.mqtt import Mqtt, open_mqtt


@contextmanager
def plug(*answers: tuple[int, str]) -> Iterator[tuple[str, list[str]]]:
    """A smart plug: each request takes the next answer, the last one stays. Gives its URL and the paths asked for."""
    left, asked = [*answers], []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            code, text = left.pop(0) if len(left) > 1 else left[0]
            if code == 0:  # hang up without an answer
                return
            self.send_response(code)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()


def test_a_plug_is_asked_for_its_power_each_time() -> None:
    answers = [(200, json.dumps({"apower": watts, "voltage": 230})) for watts in (3.0, 4.5, 6.0)]
    with plug(*answers) as (url, asked):
        meter = open_http(f"{url}/rpc/Switch.GetStatus?id=0")
        assert meter.info.period_s >= 1.0
        assert [meter.read().power_w, meter.read().power_w] == [4.5, 6.0]
        assert asked == ["/rpc/Switch.GetStatus?id=0"] * 3
        meter.close()


def test_a_value_is_picked_and_a_counter_is_joules() -> None:
    with plug((200, '{"meters": [{"power": 1}, {"power": 2, "total_wh": 3}]}')) as (url, _):
        assert open_http(f"{url}/#meters.1.power").read().power_w == 2.0
        assert open_http(f"{url.removeprefix('http:')}/#total_wh").read().counter_j == pytest.approx(10_800.0)


def test_one_lost_answer_is_asked_for_again_and_two_are_an_error() -> None:
    with plug((200, "1"), (0, ""), (200, "2"), (0, "")) as (url, asked):
        meter = open_http(url)
        assert meter.read().power_w == 2.0
        assert len(asked) == 3
        with pytest.raises(MeterError, match="does not answer"):
            meter.read()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [((404, "no"), "HTTP status 404"), ((200, "<html>"), "neither a number nor JSON"), ((200, "-1"), "wrong way")],
)
def test_an_answer_that_is_no_power_says_why(answer: tuple[int, str], reason: str) -> None:
    with plug(answer) as (url, _), pytest.raises(MeterError, match=reason):
        open_http(url)


def test_a_plug_that_is_not_there_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(MeterError, match="does not answer: Connection refused"):
        open_http(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "192.168.1.20/status", "ftp://host/x"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(MeterError, match="no URL"):
        open_http(url)


class Broker:
    """One connection of MQTT 3.1.1 (OASIS, 2014): takes it or not, and publishes when told. Remembers what it heard."""

    def __init__(self, *, code: int = 0) -> None:
        self.code = code
        self.client_id = self.user = self.password = self.topic = ""
        self.subscribed = threading.Event()
        self.ended = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connection: socket.socket | None = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def publish(self, payload: str, *, is_kept: bool = False) -> None:
        assert self.connection is not None
        topic = self.topic.encode()
        body = struct.pack("!H", len(topic)) + topic + payload.encode()
        self.connection.sendall(bytes([0x31 if is_kept else 0x30, len(body)]) + body)

    def close(self) -> None:
        self.listener.close()
        if self.connection is not None:
            self.connection.close()
        self.thread.join()

    def _run(self) -> None:
        try:
            self.connection, _ = self.listener.accept()
            while packet := self._packet():
                self._answer(*packet)
        except OSError:
            pass
        self.ended.set()

    def _packet(self) -> tuple[int, bytes] | None:
        assert self.connection is not None
        head = self.connection.recv(2)
        if len(head) < 2 or head[0] >> 4 == 14:
            return None
        assert head[1] < 128, "packets of a test are short"
        body = b""
        while len(body) < head[1]:
            body += self.connection.recv(head[1] - len(body))
        return head[0] >> 4, body

    def _answer(self, kind: int, body: bytes) -> None:
        assert self.connection is not None
        if kind == 1:  # CONNECT
            assert body[:7] == b"\0\4MQTT\4"
            fields = self._strings(body[10:])
            self.client_id = fields[0]
            if body[7] & 0x80:
                self.user = fields[1]
            if body[7] & 0x40:
                self.password = fields[2]
            self.connection.sendall(bytes([0x20, 2, 0, self.code]))
        elif kind == 8:  # SUBSCRIBE
            self.topic = self._strings(body[2:-1])[0]
            self.connection.sendall(bytes([0x90, 3]) + body[:2] + b"\0")
            self.subscribed.set()
        elif kind == 12:  # PINGREQ
            self.connection.sendall(b"\xd0\0")

    @staticmethod
    def _strings(body: bytes) -> list[str]:
        found = []
        while body:
            (size,) = struct.unpack("!H", body[:2])
            found.append(body[2 : 2 + size].decode())
            body = body[2 + size :]
        return found


@contextmanager
def broker(**how: int) -> Iterator[Broker]:
    made = Broker(**how)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def publishing(site: Broker, *payloads: str) -> Iterator[None]:
    """Publish these once somebody has subscribed, on a thread of its own, since opening a meter waits for them."""

    def run() -> None:
        assert site.subscribed.wait(10)
        site.publish("999", is_kept=True)
        for payload in payloads:
            site.publish(payload)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def read_until(meter: Mqtt, power_w: float | None) -> None:
    """Read until it says this, for at most ten seconds."""
    pause = threading.Event()
    for _ in range(2000):
        if meter.read().power_w == power_w:
            return
        pause.wait(0.005)
    raise AssertionError("it never said so")


pytest.importorskip("paho.mqtt.client")


def test_a_topic_is_followed_and_what_was_kept_counts_for_nothing() -> None:
    with broker() as site, publishing(site, *('{"apower": 3.5}',) * 3):
        meter = open_mqtt(f"127.0.0.1:{site.port}/plugs/1/status")
        assert (site.topic, site.user) == ("plugs/1/status", "")
        assert meter.info.source == f"plugs/1/status at 127.0.0.1:{site.port}"
        assert meter.read().power_w == 3.5
        site.publish('{"apower": 4.5}')
        read_until(meter, 4.5)
        meter.close()
        meter.close()
        assert site.ended.wait(5)


def test_a_user_shows_the_password_of_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("CLEFT_MQTT_PASSWORD", "secret")
    with broker() as site, publishing(site, "1", "2", "3"):
        meter = open_mqtt(f"me@127.0.0.1:{site.port}/watts")
        assert (site.user, site.password) == ("me", "secret")
        assert meter.read().power_w == 3.0
        meter.close()


def test_a_broker_that_refuses_says_why() -> None:
    with broker(code=5) as site, pytest.raises(MeterError, match="refuses: Not authorized"):
        open_mqtt(f"127.0.0.1:{site.port}/watts")


def test_a_topic_that_nobody_publishes_is_no_meter() -> None:
    with broker() as site, pytest.raises(MeterError, match="fewer than 3 messages on watts"):
        Mqtt("127.0.0.1", site.port, "watts", patience_s=0.3)


def test_a_message_that_is_no_power_is_told_of_when_asked() -> None:
    with broker() as site, publishing(site, "1", "2", "idle"), pytest.raises(MeterError, match="'idle'"):
        open_mqtt(f"127.0.0.1:{site.port}/watts")


def test_a_broker_that_goes_away_is_told_of() -> None:
    with broker() as site, publishing(site, "1", "2", "3"):
        meter = open_mqtt(f"127.0.0.1:{site.port}/watts")
        assert site.connection is not None
        site.connection.shutdown(socket.SHUT_RDWR)
        with pytest.raises(MeterError, match="the broker has gone"):
            read_until(meter, None)
        meter.close()


def test_a_publisher_that_stops_is_told_of() -> None:
    now = [100.0]
    with broker() as site, publishing(site, "1", "2", "3"):
        meter = Mqtt("127.0.0.1", site.port, "watts", now=lambda: now[0])
        assert meter.read().at_s == 100.0
        now[0] += 6.0
        with pytest.raises(MeterError, match="said nothing for 6 s"):
            meter.read()
        meter.close()


def test_no_broker_and_no_topic_are_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(MeterError, match=r"no broker answers at 127\.0\.0\.1"):
        open_mqtt(f"127.0.0.1:{port}/watts")
    for text in ("host", "host/", "/topic", "host:0/t", "host:70000/t", "ho st/t", ""):
        with pytest.raises(MeterError, match="is no topic"):
            open_mqtt(text)
