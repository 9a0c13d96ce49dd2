from __future__ import annotations

import numpy as np
import pytest

from protos.chunks import MAX_CHUNK_BYTES, MIN_CHUNK_BYTES, Assembler, Cursor, Pacer, chunk_bytes, window_bytes
from protos.errors import InvalidMessage

KIB = 1024


def test_a_chunk_is_a_tenth_of_a_second_within_bounds():
    assert chunk_bytes(1_000_000) == 100_000
    assert chunk_bytes(1) == MIN_CHUNK_BYTES
    assert chunk_bytes(1e12) == MAX_CHUNK_BYTES


def test_the_window_is_the_largest_of_its_three_terms():
    assert window_bytes(1e6, 1.0) == 2_000_000
    assert window_bytes(1e6, 0.0) == 250_000
    assert window_bytes(100, 0.0) == 2 * MIN_CHUNK_BYTES


def acked_bytes(pacer: Pacer, frame_id: int, received_bytes: int, now_s: float) -> int:
    delivery = pacer.acked(frame_id, received_bytes, now_s)
    return 0 if delivery is None else delivery.size_bytes


class FakeLink:
    """A pipe of fixed rate and delay that delivers chunks in order and returns acknowledgements."""

    def __init__(self, rate_bytes_per_s: float, delay_s: float) -> None:
        self.rate, self.delay = rate_bytes_per_s, delay_s
        self.free_s = 0.0

    def ack_time_s(self, now_s: float, size: int) -> float:
        self.free_s = max(self.free_s, now_s) + size / self.rate
        return self.free_s + 2 * self.delay


def transfer(pacer: Pacer, link: FakeLink, payload_bytes: int, *, frame_id: int = 1, now_s: float = 0.0) -> float:
    """Send a payload through the link; returns when the last acknowledgement came."""
    sent = 0
    acks: list[tuple[float, int]] = []
    while sent < payload_bytes or acks:
        room = pacer.room_bytes()
        if sent < payload_bytes and room:
            size = min(room, payload_bytes - sent)
            sent += size
            pacer.sent(frame_id, sent, size, now_s)
            acks.append((link.ack_time_s(now_s, size), sent))
        else:
            now_s, received = acks.pop(0)
            pacer.acked(frame_id, received, now_s)
    assert pacer.unacked_bytes == 0
    return now_s


@pytest.mark.parametrize("rate", [16_000, 137_500, 731_000, 6_900_000, 125_000_000])
@pytest.mark.parametrize("delay_s", [0.0001, 0.0025, 0.05])
def test_the_rate_and_round_trip_of_a_link_are_found(rate, delay_s):
    pacer, link = Pacer(), FakeLink(rate, delay_s)
    assert not pacer.is_measured
    now_s = 0.0
    for frame_id in range(1, 6):
        now_s = transfer(pacer, link, max(20 * MIN_CHUNK_BYTES, rate // 2), frame_id=frame_id, now_s=now_s + 0.3)
    assert pacer.is_measured
    assert pacer.rate_bytes_per_s == pytest.approx(rate, rel=0.35)
    assert 2 * delay_s <= pacer.rtt_s <= (2 * delay_s + max(0.1, 2 * MIN_CHUNK_BYTES / rate)) * 1.2


@pytest.mark.parametrize(("rate", "delay_s"), [(137_500, 0.05), (731_000, 0.02), (6_900_000, 0.0025)])
def test_pacing_costs_little_over_sending_all_at_once(rate, delay_s):
    pacer, link = Pacer(), FakeLink(rate, delay_s)
    start_s = transfer(pacer, link, rate)
    took_s = transfer(pacer, link, 2 * rate, frame_id=2, now_s=start_s) - start_s
    assert took_s <= (2.0 + 2 * delay_s) * 1.1


def test_a_fast_link_is_learnt_in_one_megabyte():
    pacer, link = Pacer(), FakeLink(500e6, 0.0003)
    transfer(pacer, link, 1_000_000)
    assert pacer.chunk_bytes == MAX_CHUNK_BYTES
    assert pacer.window_bytes > 1_000_000


def test_a_chunk_may_always_go_when_nothing_is_in_flight():
    pacer = Pacer(rate_bytes_per_s=1.0)
    assert pacer.room_bytes() == MIN_CHUNK_BYTES


def test_a_silent_peer_stops_the_sender_at_the_window():
    pacer = Pacer()
    sent = 0
    while room := pacer.room_bytes():
        sent += room
        pacer.sent(1, sent, room, 0.0)
    assert sent == pacer.unacked_bytes <= pacer.window_bytes


def test_a_forgotten_frame_frees_its_share():
    pacer = Pacer()
    pacer.sent(1, 1000, 1000, 0.0)
    pacer.sent(2, 500, 500, 0.0)
    pacer.forget(1)
    assert pacer.unacked_bytes == 500
    assert pacer.acked(1, 1000, 1.0) is None
    assert acked_bytes(pacer, 2, 500, 1.0) == 500


def test_a_delivery_tells_when_its_bytes_left_and_whether_the_link_was_idle():
    pacer = Pacer()
    pacer.sent(1, 1000, 1000, 5.0)
    pacer.sent(1, 3000, 2000, 5.1)
    first, second = pacer.acked(1, 1000, 5.5), pacer.acked(1, 3000, 5.75)
    assert first is not None
    assert second is not None
    assert (first.size_bytes, first.begun_s, first.at_s, first.is_alone) == (1000, 5.0, 5.5, True)
    assert (second.size_bytes, second.begun_s, second.at_s, second.is_alone) == (2000, 5.1, 5.75, False)
    assert second.rtt_s == pytest.approx(0.65)


def test_one_acknowledgement_of_several_chunks_counts_from_the_first_of_them():
    pacer = Pacer()
    pacer.sent(1, 1000, 1000, 5.0)
    pacer.sent(1, 3000, 2000, 5.1)
    both = pacer.acked(1, 3000, 6.0)
    assert both is not None
    assert (both.size_bytes, both.begun_s, both.is_alone) == (3000, 5.0, True)
    assert both.rtt_s == pytest.approx(0.9)


def test_a_chunk_behind_one_that_was_withdrawn_is_not_alone_and_tells_when_that_has_passed():
    pacer = Pacer()
    pacer.sent(1, 1000, 1000, 0.0)
    assert pacer.withdraw(1)
    pacer.sent(2, 100, 100, 1.0)
    first, second = pacer.acked(1, 1000, 2.0), pacer.acked(2, 100, 2.1)
    assert (first is not None, second is not None) == (True, True)
    assert first.rate_bytes_per_s == pytest.approx(500)
    assert not second.is_alone
    assert not pacer.withdraw(1)
    pacer.sent(3, 1000, 1000, 3.0)
    pacer.withdraw(3)
    pacer.sent(4, 100, 100, 4.0)
    assert acked_bytes(pacer, 4, 100, 5.0) == 100
    assert pacer.unacked_bytes == 0


def test_behind_what_was_withdrawn_small_chunks_go_one_by_one():
    pacer = Pacer(rate_bytes_per_s=1e7)
    pacer.sent(1, 200_000, 200_000, 0.0)
    pacer.withdraw(1)
    assert pacer.room_bytes() == MIN_CHUNK_BYTES
    pacer.sent(2, MIN_CHUNK_BYTES, MIN_CHUNK_BYTES, 0.1)
    assert pacer.room_bytes() == 0
    pacer.acked(1, 200_000, 0.8)
    assert pacer.room_bytes() > MIN_CHUNK_BYTES


def test_lying_acknowledgements_release_no_more_than_was_sent():
    pacer = Pacer()
    pacer.sent(1, 1000, 1000, 0.0)
    assert pacer.acked(9, 2**63, 0.1) is None
    assert acked_bytes(pacer, 1, 2**63, 0.1) == 1000
    assert pacer.acked(1, 2**63, 0.2) is None
    assert pacer.unacked_bytes == 0


def test_a_payload_is_put_together_from_chunks_of_any_size():
    payload = np.random.default_rng(1).bytes(10_007)
    for size in (1, 7, 1024, 20_000):
        assembler = Assembler(len(payload))
        for start in range(0, len(payload), size):
            assert not assembler.is_complete
            assembler.add(start, payload[start : start + size])
        assert assembler.is_complete
        assert bytes(assembler.payload) == payload


def test_an_empty_payload_is_complete_at_once():
    assert Assembler(0).is_complete


def test_a_chunk_that_is_here_already_changes_nothing():
    assembler = Assembler(10)
    assembler.add(0, b"01234")
    assembler.add(0, b"xxxxx")
    assembler.add(2, b"xxx")
    assembler.add(5, b"56789")
    assembler.add(0, b"xxxxxxxxxx")
    assert bytes(assembler.payload) == b"0123456789"


@pytest.mark.parametrize(("offset", "data"), [(6, b"x"), (4, b"xx"), (5, b"x" * 6), (5, b""), (2**63, b"x")])
def test_gaps_overlaps_overruns_and_empty_chunks_are_refused(offset, data):
    assembler = Assembler(10)
    assembler.add(0, b"01234")
    with pytest.raises(InvalidMessage):
        assembler.add(offset, data)
    assert assembler.received_bytes == 5


def test_a_cursor_hands_out_the_buffers_in_one_row():
    buffers = [b"", b"abc", memoryview(b"defgh"), bytearray(b"i"), np.arange(3, dtype=np.uint8).data]
    whole = b"".join(bytes(buffer) for buffer in buffers)
    for size in (1, 2, 5, 100):
        cursor = Cursor(buffers)
        pieces = []
        while piece := cursor.take(size):
            pieces.append(piece)
        assert b"".join(pieces) == whole
        assert all(len(piece) == size for piece in pieces[:-1])
        assert (cursor.offset_bytes, cursor.left_bytes) == (len(whole), 0)
