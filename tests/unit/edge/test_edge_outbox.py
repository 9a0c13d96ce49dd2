from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from edge.outbox import Outbox
from protos.chunks import Pacer

Message = tuple[str, object]


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def box(clock: Clock | None = None) -> Outbox[Message]:
    return Outbox(Pacer(), now=clock or Clock(), make_chunk=lambda frame, at, data: ("chunk", (frame, at, bytes(data))))


def taken(outbox: Outbox[Message], count: int) -> list[Message]:
    messages: Iterator[Message] = iter(outbox)
    return [next(messages) for _ in range(count)]


def test_a_payload_goes_out_in_order_and_whole_as_it_is_acknowledged() -> None:
    clock = Clock()
    outbox = box(clock)
    payload = bytes(range(256)) * 4000
    outbox.put_frame(7, ("run", 7), [payload[:1000], payload[1000:1001], memoryview(payload)[1001:]])
    messages = iter(outbox)
    assert next(messages) == ("run", 7)
    received = b""
    while len(received) < len(payload):
        kind, (frame, at, data) = next(messages)  # type: ignore[misc]
        assert (kind, frame, at) == ("chunk", 7, len(received))
        received += data
        clock.now_s += 0.001
        outbox.acked(7, len(received))
    assert received == payload
    assert outbox.unacked_bytes == 0


def test_unacknowledged_bytes_stay_within_the_window() -> None:
    outbox = box()
    outbox.put_frame(1, ("run", 1), [bytes(10_000_000)])
    had_two, had_beat = threading.Event(), threading.Event()

    def drain() -> None:
        chunks = 0
        for kind, _ in outbox:
            chunks += kind == "chunk"
            if chunks == 2:
                had_two.set()
            if kind == "beat":
                had_beat.set()

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        assert had_two.wait(5)
        outbox.put(("beat", 0))
        assert had_beat.wait(5)
        assert 0 < outbox.unacked_bytes <= Pacer().window_bytes
    finally:
        outbox.close()
        thread.join()


def test_control_messages_go_before_payload() -> None:
    outbox = box()
    outbox.put_frame(1, ("run", 1), [bytes(1_000_000)])
    messages = iter(outbox)
    assert next(messages)[0] == "run"
    assert next(messages)[0] == "chunk"
    outbox.put(("beat", 1))
    outbox.put(("cancel", 2))
    assert [next(messages)[0] for _ in range(2)] == ["beat", "cancel"]


def test_a_dropped_frame_sends_nothing_more_and_the_next_goes_on() -> None:
    outbox = box()
    outbox.put_frame(1, ("run", 1), [bytes(1_000_000)])
    outbox.put_frame(2, ("run", 2), [b"abc"])
    messages = iter(outbox)
    assert [next(messages)[0] for _ in range(3)] == ["run", "run", "chunk"]
    outbox.drop(1)
    assert outbox.unacked_bytes == 0
    assert next(messages) == ("chunk", (2, 0, b"abc"))


@pytest.mark.parametrize(("frame", "received"), [(9, 10), (1, 0)])
def test_an_acknowledgement_of_nothing_under_way_changes_nothing(frame: int, received: int) -> None:
    outbox = box()
    outbox.put_frame(1, ("run", 1), [b"abc"])
    taken(outbox, 2)
    outbox.acked(frame, received)
    assert outbox.unacked_bytes == 3


def test_a_frame_without_payload_is_announced_only() -> None:
    outbox = box()
    outbox.put_frame(1, ("run", 1), [b""])
    outbox.put(("beat", 1))
    assert [kind for kind, _ in taken(outbox, 2)] == ["run", "beat"]


def test_closing_ends_the_iteration_and_wakes_who_waits() -> None:
    outbox = box()
    thread = threading.Thread(target=lambda: list(outbox))
    thread.start()
    outbox.close()
    thread.join(5)
    assert not thread.is_alive()
    outbox.put(("beat", 1))
    assert list(outbox) == []
