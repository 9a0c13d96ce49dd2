"""The relay is a link: rates, delays, order, ends and breaks are those of its shape."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from partitioner.errors import UsageError
from partitioner.relay import QUEUE_S, Relay, Shape


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[tuple[str, int]]:
    """Accepts one connection and hands it to ``serve``, which a reset may end; joined at the end."""

    def accept() -> None:
        connection, _ = listener.accept()
        with connection, suppress(ConnectionResetError):
            serve(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname()
        thread.join()


@contextmanager
def dialled(relay: Relay) -> Iterator[socket.socket]:
    with socket.create_connection((relay.host, relay.port), timeout=10) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield client


def received(connection: socket.socket) -> bytes:
    """Everything up to the end of the stream."""
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def echo(connection: socket.socket) -> None:
    while data := connection.recv(1 << 16):
        connection.sendall(data)


def pattern(size_bytes: int) -> bytes:
    return bytes(range(251)) * (size_bytes // 251) + bytes(range(size_bytes % 251))


@pytest.mark.parametrize(("rate", "size"), [(137_500, 16 << 10), (731_250, 96 << 10), (6_871_250, 1 << 20)])
def test_goodput_up_is_the_rate(rate: float, size: int) -> None:
    arrivals: list[tuple[float, int]] = []

    def serve(connection: socket.socket) -> None:
        while data := connection.recv(1 << 16):
            arrivals.append((time.perf_counter(), len(data)))

    with server(serve) as target, Relay(target, Shape(up_bytes_per_s=rate)) as relay, dialled(relay) as client:
        began = time.perf_counter()
        client.sendall(bytes(size))
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    assert sum(count for _, count in arrivals) == size
    assert size / (arrivals[-1][0] - began) == pytest.approx(rate, rel=0.1)


def test_goodput_down_is_the_rate_whatever_the_pieces() -> None:
    rate, piece, pieces = 500_000, 4096, 24

    def serve(connection: socket.socket) -> None:
        for _ in range(pieces):
            connection.sendall(bytes(piece))

    with server(serve) as target, Relay(target, Shape(down_bytes_per_s=rate)) as relay:
        began = time.perf_counter()
        with dialled(relay) as client:
            assert len(received(client)) == piece * pieces
        assert piece * pieces / (time.perf_counter() - began) == pytest.approx(rate, rel=0.1)


def test_a_round_trip_takes_two_delays() -> None:
    with server(echo) as target, Relay(target, Shape(delay_s=0.05)) as relay, dialled(relay) as client:
        began = time.perf_counter()
        client.sendall(b"ping")
        assert client.recv(4) == b"ping"
        assert 0.1 <= time.perf_counter() - began < 0.13


def test_delay_does_not_lower_the_rate() -> None:
    rate, size = 1_000_000, 200_000
    shape = Shape(up_bytes_per_s=rate, down_bytes_per_s=1e9, delay_s=0.1)
    with server(echo) as target, Relay(target, shape) as relay, dialled(relay) as client:
        began = time.perf_counter()
        client.sendall(bytes(size))
        client.shutdown(socket.SHUT_WR)
        assert len(received(client)) == size
        assert time.perf_counter() - began == pytest.approx(2 * 0.1 + size / rate, rel=0.1)


def test_bytes_and_their_order_survive_both_ways() -> None:
    sent = pattern(700_003)

    with server(echo) as target, Relay(target, Shape(delay_s=0.001)) as relay, dialled(relay) as client:
        sender = threading.Thread(target=lambda: (client.sendall(sent), client.shutdown(socket.SHUT_WR)))
        sender.start()
        assert received(client) == sent
        sender.join()


def test_half_close_lets_the_answer_through() -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall(str(len(received(connection))).encode())

    with server(serve) as target, Relay(target, Shape(delay_s=0.01)) as relay, dialled(relay) as client:
        client.sendall(bytes(5000))
        client.shutdown(socket.SHUT_WR)
        assert received(client) == b"5000"


def test_a_reset_by_the_server_resets_the_client() -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with server(serve) as target, Relay(target) as relay, dialled(relay) as client:
        client.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_a_reset_by_the_client_resets_the_server() -> None:
    was_reset = threading.Event()

    def serve(connection: socket.socket) -> None:
        connection.sendall(b"x")
        try:
            connection.recv(1)
        except ConnectionResetError:
            was_reset.set()

    with server(serve) as target, Relay(target) as relay, dialled(relay) as client:
        assert client.recv(1) == b"x"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        assert was_reset.wait(10)


def test_a_target_that_refuses_resets_the_client_and_spares_the_relay(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        target = closed.getsockname()
    with Relay(target) as relay:
        for _ in range(2):
            with pytest.raises(ConnectionResetError), dialled(relay) as client:  # it may come before connect returns
                client.recv(1)
    assert "cannot be reached" in caplog.text


def test_a_new_shape_holds_at_once() -> None:
    with server(echo) as target, Relay(target, Shape(up_bytes_per_s=2_000)) as relay, dialled(relay) as client:
        began = time.perf_counter()
        client.sendall(bytes(400_000))
        relay.reshape(Shape(up_bytes_per_s=2_000_000))
        client.shutdown(socket.SHUT_WR)
        assert len(received(client)) == 400_000
        assert 0.18 < time.perf_counter() - began < 1


def test_a_neighbour_waits_no_longer_than_the_queue() -> None:
    """A saturated lane holds back another connection by its backlog alone, not by all that the first wants to send."""

    def serve(first: socket.socket) -> None:
        with listener.accept()[0] as second:
            second.sendall(second.recv(1))

    def accept() -> None:
        with listener.accept()[0] as first:
            serve(first)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        with Relay(listener.getsockname(), Shape(up_bytes_per_s=200_000)) as relay, dialled(relay) as busy:
            busy.sendall(bytes(1 << 20))
            with dialled(relay) as client:
                began = time.perf_counter()
                client.sendall(b"!")
                assert client.recv(1) == b"!"
                assert time.perf_counter() - began < 3 * QUEUE_S
        thread.join()


def test_a_slow_reader_stops_the_sender() -> None:
    """What the relay holds for a sink that does not read is bounded, so the sender's own buffers fill."""
    release = threading.Event()

    def serve(connection: socket.socket) -> None:
        release.wait(10)

    with server(serve) as target, Relay(target) as relay, dialled(relay) as client:
        client.settimeout(0.5)
        sent_bytes = 0
        with suppress(TimeoutError):
            while sent_bytes < 256 << 20:
                sent_bytes += client.send(bytes(1 << 20))
        assert sent_bytes < 64 << 20
        release.set()


def test_closing_leaves_no_thread_even_with_traffic_under_way() -> None:
    with server(echo) as target:
        with Relay(target, Shape(up_bytes_per_s=10_000)) as relay, dialled(relay) as client:
            client.sendall(bytes(100_000))
            assert client.recv(1) == b"\0"
            relay.close()
            with pytest.raises(ConnectionResetError):
                received(client)
        assert "relay" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(
    "wrong", [{"up_bytes_per_s": 0}, {"down_bytes_per_s": -1}, {"delay_s": -0.1}, {"delay_s": float("nan")}]
)
def test_a_shape_that_is_no_link_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="rates above 0"):
        Shape(**wrong)


def test_a_port_in_use_is_one_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UsageError, match="cannot listen on"):
        Relay(("127.0.0.1", 1), listen=taken.getsockname())
