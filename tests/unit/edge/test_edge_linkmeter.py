from __future__ import annotations

from collections.abc import Callable

import pytest

from edge import linkmeter
from edge.linkmeter import Echo, LinkSilent
from partitioner.link import Link

MBIT = 1e6 / 8
RESTED_S = 0.02


class VirtualLink:
    """Two FIFO queues with rates and a delay, in virtual time: waiting for an echo moves the clock to its arrival."""

    def __init__(
        self, *, up: float, down: float, rtt_s: float, loss_after: int | None = None, wake_s: float = 0.0
    ) -> None:
        self.up, self.down, self.rtt_s, self.wake_s = up, down, rtt_s, wake_s
        self.now_s = 0.0
        self.up_free_s = self.down_free_s = 0.0
        self.moved_bytes = 0
        self.largest_bytes = 0
        self.left = loss_after

    def now(self) -> float:
        return self.now_s

    def sleep(self, pause_s: float) -> None:
        self.now_s += pause_s

    def probe(self, *, up_bytes: int, reply_bytes: int) -> Callable[[float], Echo | None]:
        self.moved_bytes += up_bytes + reply_bytes
        self.largest_bytes = max(self.largest_bytes, up_bytes, reply_bytes)
        sent_s = self.now_s
        has_rested = sent_s - self.down_free_s > RESTED_S
        self.up_free_s = max(self.up_free_s, sent_s + (self.wake_s if has_rested else 0.0)) + up_bytes / self.up
        turned_s = self.up_free_s + self.rtt_s / 2
        self.down_free_s = max(self.down_free_s, turned_s) + reply_bytes / self.down
        arrived_s = self.down_free_s + self.rtt_s / 2
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                arrived_s = float("inf")

        def wait(timeout_s: float) -> Echo | None:
            if arrived_s > self.now_s + timeout_s:
                self.now_s += timeout_s
                return None
            self.now_s = max(self.now_s, arrived_s)
            return Echo(sent_s=sent_s, arrived_s=arrived_s, up_bytes=up_bytes, down_bytes=reply_bytes)

        return wait


def measured(link: VirtualLink, *, budget_s: float = 2.0) -> Link:
    return linkmeter.measure(
        link, now=link.now, sleep=link.sleep, budget_s=budget_s, max_bytes=8 << 20, max_probe_bytes=256 * 1024
    )


@pytest.mark.parametrize(
    ("up", "down", "rtt_ms"),
    [(0.5, 1.0, 100), (1.1, 2.03, 100), (5.85, 13.76, 40), (18.88, 54.97, 5), (8000, 8000, 0.2)],
)
def test_a_steady_link_is_measured_to_two_percent_within_the_budget(up: float, down: float, rtt_ms: float) -> None:
    link = VirtualLink(up=up * MBIT, down=down * MBIT, rtt_s=rtt_ms / 1000)
    found = measured(link)
    assert found.rtt_s == pytest.approx(rtt_ms / 1000, rel=0.02)
    assert found.up_bytes_per_s == pytest.approx(up * MBIT, rel=0.02)
    assert found.down_bytes_per_s == pytest.approx(down * MBIT, rel=0.02)
    assert link.now_s <= 2.2
    assert found.up_spread < 0.05


def test_the_round_trip_is_that_of_a_message_after_a_pause() -> None:
    link = VirtualLink(up=20 * MBIT, down=55 * MBIT, rtt_s=0.005, wake_s=0.001)
    assert measured(link).rtt_s == pytest.approx(0.006, rel=0.01)


def test_a_satellite_round_trip_is_not_taken_for_a_slow_link() -> None:
    link = VirtualLink(up=10 * MBIT, down=10 * MBIT, rtt_s=0.6)
    assert measured(link).up_bytes_per_s == pytest.approx(10 * MBIT, rel=0.05)


def test_a_round_trip_longer_than_the_budget_is_measured_all_the_same() -> None:
    link = VirtualLink(up=5 * MBIT, down=5 * MBIT, rtt_s=4.0)
    found = measured(link)
    assert found.rtt_s == pytest.approx(4.0, rel=0.01)
    assert found.up_bytes_per_s == pytest.approx(5 * MBIT, rel=0.05)
    assert found.down_bytes_per_s == pytest.approx(5 * MBIT, rel=0.05)


def test_bytes_and_probe_sizes_stay_within_their_limits_on_a_fast_link() -> None:
    link = VirtualLink(up=1e9, down=1e9, rtt_s=0.0001)
    measured(link)
    assert link.largest_bytes <= 256 * 1024
    assert link.moved_bytes <= 2 * (8 << 20)


@pytest.mark.parametrize("loss_after", [0, 5, 11, 30])
def test_a_link_that_falls_silent_is_reported_in_bounded_time(loss_after: int) -> None:
    link = VirtualLink(up=1 * MBIT, down=1 * MBIT, rtt_s=0.02, loss_after=loss_after)
    with pytest.raises(LinkSilent):
        measured(link)
    assert link.now_s < 9
