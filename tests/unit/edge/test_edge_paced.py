"""Probes at a steady rate over a link in simulated time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edge.linkmeter import Echo, LinkSilent
from edge.paced import MOST_BYTES, MOST_UNDER_WAY, Paced

MBIT = 125_000.0


class Link:
    """Two queues of given rates; waiting never passes time, sleeping does. Counts what is under way."""

    def __init__(self, *, up: float, down: float, rtt_s: float = 0.02, is_silent: bool = False) -> None:
        self.up, self.down, self.rtt_s, self.is_silent = up, down, rtt_s, is_silent
        self.now_s = 50.0
        self.up_free_s = self.down_free_s = 0.0
        self.sizes: list[tuple[int, int]] = []
        self.arrivals: list[float] = []
        self.most_under_way = 0

    def now(self) -> float:
        return self.now_s

    def sleep(self, pause_s: float) -> None:
        assert pause_s >= 0
        self.now_s += max(pause_s, 1e-4)

    def probe(self, *, up_bytes: int, reply_bytes: int) -> Callable[[float], Echo | None]:
        self.sizes.append((up_bytes, reply_bytes))
        sent_s = self.now_s
        self.up_free_s = max(self.up_free_s, sent_s) + up_bytes / self.up
        self.down_free_s = max(self.down_free_s, self.up_free_s + self.rtt_s / 2) + reply_bytes / self.down
        arrived_s = self.down_free_s + self.rtt_s / 2
        self.arrivals.append(arrived_s)
        self.most_under_way = max(self.most_under_way, sum(each > sent_s for each in self.arrivals))

        def wait(timeout_s: float) -> Echo | None:
            if self.is_silent or arrived_s > self.now_s + timeout_s:
                self.now_s += timeout_s
                return None
            self.now_s = max(self.now_s, arrived_s)
            return Echo(sent_s=sent_s, arrived_s=arrived_s, up_bytes=up_bytes, down_bytes=reply_bytes)

        return wait


def paced(link: Link, mbit: float, *, is_up: bool = True) -> Paced:
    return Paced(link, mbit * MBIT, is_up=is_up, now=link.now, sleep=link.sleep)


@pytest.mark.parametrize("mbit", [0.1, 1.0, 8.0, 60.0, 400.0])
@pytest.mark.parametrize("is_up", [True, False])
def test_the_rate_that_was_asked_moves_the_way_that_was_asked(mbit: float, is_up: bool) -> None:
    link = Link(up=1000 * MBIT, down=1000 * MBIT)
    flow = paced(link, mbit, is_up=is_up)
    flow.run(0.5)
    moved = flow.run(2.0)
    flow.drain()
    there, back = (moved.up_bytes, moved.down_bytes) if is_up else (moved.down_bytes, moved.up_bytes)
    rate, _ = flow.rates(moved) if is_up else reversed(flow.rates(moved))
    assert rate / MBIT == pytest.approx(mbit, rel=0.005)
    assert there / MBIT / moved.took_s == pytest.approx(mbit, rel=0.05)
    assert back == 0
    assert moved.took_s == pytest.approx(2.0, abs=0.01)
    assert max(max(each) for each in link.sizes) <= MOST_BYTES
    assert link.most_under_way <= MOST_UNDER_WAY


def test_a_slower_link_is_filled_and_no_queue_grows_for_longer_than_a_second() -> None:
    link = Link(up=5 * MBIT, down=5 * MBIT)
    flow = paced(link, 20.0)
    flow.run(3.0)
    moved = flow.run(3.0)
    assert moved.up_bytes / MBIT / moved.took_s == pytest.approx(5.0, rel=0.05)
    begun_s = link.now_s
    flow.drain()
    assert link.now_s - begun_s < 20 / 5 + 0.1


def test_a_short_run_is_no_twentieth_off() -> None:
    link = Link(up=50 * MBIT, down=50 * MBIT)
    flow = paced(link, 5.0)
    flow.run(0.1)
    runs = [flow.run(0.4) for _ in range(5)]
    flow.drain()
    assert [flow.rates(moved)[0] / MBIT for moved in runs] == pytest.approx([5.0] * 5, rel=0.01)


@pytest.mark.parametrize("stall_s", [50.09, 50.3, 50.48])
def test_a_run_that_stalls_has_the_rate_that_moved_in_just_its_time(stall_s: float) -> None:
    """A quarter of the run, at its begin, in the middle or at its end: to a probe, of which there are twenty."""
    link = Link(up=50 * MBIT, down=50 * MBIT, rtt_s=0.002)

    def sleep(pause_s: float) -> None:
        link.sleep(pause_s)
        if stall_s <= link.now_s < stall_s + 0.1:
            link.now_s = stall_s + 0.1

    flow = Paced(link, 5.0 * MBIT, is_up=True, now=link.now, sleep=sleep)
    flow.run(0.1)
    moved = flow.run(0.4)
    flow.drain()
    rate, _ = flow.rates(moved)
    assert abs(rate * moved.took_s - moved.up_bytes) <= link.sizes[0][0]


def test_after_draining_nothing_is_under_way() -> None:
    link = Link(up=50 * MBIT, down=50 * MBIT, rtt_s=0.6)
    flow = paced(link, 5.0)
    flow.run(1.0)
    flow.drain()
    assert link.now_s >= max(link.arrivals)


def test_a_link_that_falls_silent_is_told_of() -> None:
    link = Link(up=50 * MBIT, down=50 * MBIT, is_silent=True)
    flow = paced(link, 5.0)
    with pytest.raises(LinkSilent):
        flow.run(60.0)
    assert link.now_s < 50 + 9
    with pytest.raises(LinkSilent):
        flow.drain()
