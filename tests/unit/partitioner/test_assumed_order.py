"""Assumed energies are in the order of depth too, whatever the noise of the times they are made of."""

from dataclasses import replace

from partitioner.assumed import assumed_energy
from partitioner.profile import Timing
from tests.unit.partitioner.synthetic_profiles import edge_profile


def test_a_front_that_was_measured_slower_than_a_deeper_one_takes_no_more():
    profile = edge_profile()
    times_s = (0.001, 0.005, 0.004, 0.006, 0.0059)
    cuts = tuple(replace(cut, prefix=Timing(median_s=each)) for cut, each in zip(profile.cuts, times_s, strict=True))
    energy = assumed_energy(replace(profile, cuts=cuts), idle_w=2.0, active_w=5.0, source="a sheet")
    assert [each.total_j.value for each in energy.prefixes] == [
        5.0 * each for each in (0.001, 0.004, 0.004, 0.0059, 0.0059)
    ]
    assert [each.net_j.value for each in energy.prefixes] == [
        3.0 * each for each in (0.001, 0.004, 0.004, 0.0059, 0.0059)
    ]
