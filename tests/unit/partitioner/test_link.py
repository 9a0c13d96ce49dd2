from __future__ import annotations

import math

import pytest

from partitioner.errors import UsageError
from partitioner.link import PRESETS, Link


def test_megabits_become_bytes_and_come_back():
    link = Link.from_mbit(8, 16, 40)
    assert (link.up_bytes_per_s, link.down_bytes_per_s, link.rtt_s) == (1e6, 2e6, 0.04)
    assert (link.up_mbit, link.down_mbit) == (8, 16)


def test_presets_are_the_published_rates():
    rates = {name: (round(link.up_mbit, 9), round(link.down_mbit, 9)) for name, link in PRESETS.items()}
    assert rates == {"3g": (1.1, 2.03), "4g": (5.85, 13.76), "wifi": (18.88, 54.97)}


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_rate_that_moves_no_bytes_is_no_link(bad):
    with pytest.raises(UsageError, match="uplink rate"):
        Link(up_bytes_per_s=bad, down_bytes_per_s=1.0, rtt_s=0.0)
    with pytest.raises(UsageError, match="downlink rate"):
        Link(up_bytes_per_s=1.0, down_bytes_per_s=bad, rtt_s=0.0)


@pytest.mark.parametrize("bad", [-1e-9, math.nan, math.inf])
def test_every_fault_of_a_link_is_named(bad):
    with pytest.raises(UsageError, match=r"downlink rate.*round trip.*uplink spread"):
        Link(up_bytes_per_s=1.0, down_bytes_per_s=bad, rtt_s=bad, up_spread=bad)
