from __future__ import annotations

import numpy as np
import pytest

from edge.frames import Progress
from edge.outlook import Outlook, Paces, pace_key
from edge.turnstile import Turnstile
from partitioner.inputs import Sample

KEY = ("plan", 0)
PROGRESS = Progress(acked_bytes=0, total_bytes=1, waited_s=0.0)


def test_nobody_knows_how_long_a_suffix_takes_that_never_ran() -> None:
    outlook = Outlook(KEY, paces=Paces(), turnstile=Turnstile())
    assert outlook.home_s is None
    assert outlook.remaining_s("a:1", PROGRESS) is None


def test_the_longest_of_the_last_runs_counts_but_for_one_accident_and_older_ones_are_forgotten() -> None:
    paces = Paces()
    outlook = Outlook(KEY, paces=paces, turnstile=Turnstile())
    expected = {0.2: 0.2, 0.5: 0.5, 0.1: 0.2, 9.0: 0.5, 8.0: 8.0}
    for took_s, home_s in expected.items():
        paces.note(KEY, took_s)
        assert outlook.home_s == home_s
    paces.note(("another", 0), 99.0)
    for _ in range(5):
        paces.note(KEY, 0.3)
    assert outlook.home_s == 0.3


def test_the_wait_for_the_engine_is_part_of_the_way_home() -> None:
    paces = Paces()
    paces.note(KEY, 0.2)

    class Busy(Turnstile):
        likely_wait_s = 0.4  # type: ignore[assignment]

    assert Outlook(KEY, paces=paces, turnstile=Busy()).home_s == pytest.approx(0.6)


def test_what_a_short_input_took_says_nothing_of_a_long_one() -> None:
    short, longer, long = (
        Sample(name="x", tensors={"x": np.zeros(size, np.float32)}, nbytes_original=4 * size)
        for size in (100, 101, 1000)
    )
    paces = Paces()
    paces.note(pace_key("plan", short), 0.01)
    assert paces.of(pace_key("plan", longer)) == 0.01
    assert paces.of(pace_key("plan", long)) is None
