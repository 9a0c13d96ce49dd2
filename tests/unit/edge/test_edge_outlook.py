from __future__ import annotations

import pytest

from edge.frames import Progress
from edge.outlook import Outlook, Paces
from edge.turnstile import Turnstile

PROGRESS = Progress(acked_bytes=0, total_bytes=1, waited_s=0.0)


def test_nobody_knows_how_long_a_suffix_takes_that_never_ran() -> None:
    outlook = Outlook("plan", paces=Paces(), turnstile=Turnstile())
    assert outlook.home_s is None
    assert outlook.remaining_s("a:1", PROGRESS) is None


def test_the_longest_of_the_last_runs_counts_and_older_ones_are_forgotten() -> None:
    paces = Paces()
    outlook = Outlook("plan", paces=paces, turnstile=Turnstile())
    for took_s in (0.2, 0.5, 0.1):
        paces.note("plan", took_s)
    paces.note("another", 9.0)
    assert outlook.home_s == 0.5
    for _ in range(4):
        paces.note("plan", 0.3)
    assert outlook.home_s == 0.3


def test_the_wait_for_the_engine_is_part_of_the_way_home() -> None:
    paces = Paces()
    paces.note("plan", 0.2)

    class Busy(Turnstile):
        likely_wait_s = 0.4  # type: ignore[assignment]

    assert Outlook("plan", paces=paces, turnstile=Busy()).home_s == pytest.approx(0.6)
