"""What the relay does wrong when told to, it does exactly: to which bytes, in which direction, and from when."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from partitioner.errors import UsageError
from partitioner.relay import Faults, Relay, Shape

BLACK_HOLE = Faults(is_black_hole=True)
SENT = bytes(range(251)) * 400


@contextmanager
def echo() -> Iterator[tuple[str, int]]:
    """A server that gives back what it gets, on any number of connections."""

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            serving.append(threading.Thread(target=serve, args=(connection,)))
            serving[-1].start()

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while data := connection.recv(1 << 16):
                connection.sendall(data)

    serving: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for each in serving:
                each.join()


@contextmanager
def link(shape: Shape | None = None, *, seed: int = 0) -> Iterator[tuple[Relay, Callable[[], socket.socket]]]:
    """A relay before an echo, and a way to dial it."""
    with echo() as target, Relay(target, shape, seed=seed) as relay:
        dialled: list[socket.socket] = []

        def dial() -> socket.socket:
            dialled.append(socket.create_connection((relay.host, relay.port), timeout=10))
            dialled[-1].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return dialled[-1]

        try:
            yield relay, dial
        finally:
            for each in dialled:
                each.close()


def take(end: socket.socket, size_bytes: int) -> bytes:
    """So many bytes, or fewer where the stream ends."""
    found = b""
    while len(found) < size_bytes and (data := end.recv(size_bytes - len(found))):
        found += data
    return found


def is_silent(end: socket.socket, *, wait_s: float = 0.15) -> bool:
    end.settimeout(wait_s)
    try:
        return not end.recv(1) and False
    except TimeoutError:
        return True
    finally:
        end.settimeout(10)


@pytest.mark.parametrize("broken", ["up", "down", "both"])
def test_a_black_hole_is_silent_and_what_was_under_way_arrives_after_it(broken: str) -> None:
    with link() as (relay, dial):
        client = dial()
        client.sendall(b"one")
        assert take(client, 3) == b"one"
        relay.spoil(**{way: BLACK_HOLE for way in ("up", "down") if broken in (way, "both")})
        client.sendall(b"two")
        assert is_silent(client)
        relay.spoil()
        assert take(client, 3) == b"two"


def test_a_black_hole_hides_the_end_of_a_connection_and_a_new_one_behind_it() -> None:
    with link() as (relay, dial):
        client = dial()
        client.sendall(b"x")
        assert take(client, 1) == b"x"
        relay.spoil(up=BLACK_HOLE, down=BLACK_HOLE)
        client.shutdown(socket.SHUT_WR)
        late = dial()
        late.sendall(b"y")
        assert is_silent(client)
        assert is_silent(late)
        relay.spoil()
        assert client.recv(1) == b""
        assert take(late, 1) == b"y"


@pytest.mark.parametrize("least_most", [(1, 64), (1, 1)])
def test_slices_lose_nothing_and_keep_the_order(least_most: tuple[int, int]) -> None:
    with link() as (relay, dial):
        relay.spoil(up=Faults(slice_bytes=least_most), down=Faults(slice_bytes=least_most))
        client, sent = dial(), SENT[:20_000]
        client.sendall(sent)
        assert take(client, len(sent)) == sent


def test_slices_are_as_thin_as_asked() -> None:
    from random import Random

    from partitioner.relay.lane import Lane

    lane = Lane(1e9, delay_s=0, jitter_s=0, random=Random(0))
    lane.spoil(Faults(slice_bytes=(1, 64)))
    slices = list(lane.slices(SENT))
    assert b"".join(slices) == SENT
    assert {len(each) for each in slices[:-1]} == set(range(1, 65))


@pytest.mark.parametrize("after", [0, 1, 70_000])
def test_a_cut_lets_exactly_that_many_bytes_through_and_resets(after: int) -> None:
    with link() as (relay, dial):
        relay.spoil(down=Faults(end_after_bytes=after))
        client = dial()
        client.sendall(SENT)
        assert take(client, len(SENT)) == SENT[:after]
        relay.spoil(down=Faults(cut_after_bytes=after))
        client = dial()
        client.sendall(SENT)
        with pytest.raises(ConnectionResetError):
            take(client, len(SENT))
        client = dial()  # once
        client.sendall(SENT)
        assert take(client, len(SENT)) == SENT


@pytest.mark.parametrize("bit", [0, 7, 8 * 50_000 + 3])
@pytest.mark.parametrize("way", ["up", "down"])
def test_one_bit_is_flipped_once(way: str, bit: int) -> None:
    with link() as (relay, dial):
        relay.spoil(**{way: Faults(flip_bit=bit)})
        client = dial()
        for is_first in (True, False):
            client.sendall(SENT)
            found = take(client, len(SENT))
            spoilt = bytearray(SENT)
            spoilt[bit // 8] ^= (1 << bit % 8) * is_first
            assert found == spoilt


def test_bytes_are_counted_from_when_the_fault_was_set() -> None:
    with link() as (relay, dial):
        client = dial()
        client.sendall(bytes(1000))
        take(client, 1000)
        relay.spoil(up=Faults(flip_bit=8))
        client.sendall(bytes(4))
        assert take(client, 4) == b"\0\1\0\0"
        assert relay.carried_bytes == (1004, 1004)


def test_every_connection_is_reset_or_as_many_as_asked() -> None:
    with link() as (relay, dial):
        clients = [dial() for _ in range(4)]
        for each in clients:
            each.sendall(b"x")
            assert take(each, 1) == b"x"
        assert relay.connections == 4
        assert relay.reset(most=1) == 1
        assert sum(not is_reset(each) for each in clients) == 3
        assert relay.reset() == 3
        assert all(map(is_reset, clients))


def test_connections_are_reset_again_and_again_until_told_otherwise() -> None:
    with link() as (relay, dial):
        relay.reset_every(0.05)
        for _ in range(3):
            client = dial()
            began = time.monotonic()
            with suppress(ConnectionResetError):
                assert client.recv(1) == b""
            assert time.monotonic() - began < 5
        relay.reset_every(None)
        client = dial()
        assert is_silent(client)
        client.sendall(b"x")
        assert take(client, 1) == b"x"


def test_a_slow_reader_takes_bytes_at_its_rate_and_holds_up_only_its_direction() -> None:
    with link() as (relay, dial):
        relay.spoil(up=Faults(read_bytes_per_s=40_000))
        client = dial()
        began = time.monotonic()
        client.sendall(bytes(20_000))
        assert len(take(client, 20_000)) == 20_000
        assert 0.4 < time.monotonic() - began < 3


def test_jitter_keeps_the_order_and_stays_within_its_bounds() -> None:
    shape = Shape(delay_s=0.02, jitter_s=0.02)
    with link(shape, seed=3) as (_, dial):
        client, took_s = dial(), []
        for number in range(20):
            began = time.monotonic()
            client.sendall(bytes([number]))
            assert take(client, 1) == bytes([number])
            took_s.append(time.monotonic() - began)
        client.sendall(SENT)
        assert take(client, len(SENT)) == SENT
    assert min(took_s) < 0.035
    assert max(took_s) > 0.045


def test_the_same_seed_makes_the_same_jitter() -> None:
    from random import Random

    from partitioner.relay.lane import Lane

    lanes = [Lane(1e9, delay_s=0.2, jitter_s=0.1, random=Random(7)) for _ in range(2)]
    arrivals = [[lane.send(0, 0.0) for _ in range(50)] for lane in lanes]
    assert arrivals[0] == arrivals[1]
    assert all(0.1 <= at <= 0.3 for at in arrivals[0])
    assert len(set(arrivals[0])) > 40


@pytest.mark.parametrize(
    "wrong",
    [
        {"slice_bytes": (0, 4)},
        {"slice_bytes": (5, 4)},
        {"flip_bit": -1},
        {"cut_after_bytes": -1},
        {"read_bytes_per_s": 0},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Faults(**wrong)  # type: ignore[arg-type]


def test_jitter_beyond_the_delay_is_refused() -> None:
    with pytest.raises(UsageError, match="jitter"):
        Shape(delay_s=0.01, jitter_s=0.02)


def is_reset(end: socket.socket) -> bool:
    end.settimeout(0.2)
    try:
        return end.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True
