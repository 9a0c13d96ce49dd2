"""The small model of ``synthetic_profiles`` with energies and leakages in round numbers."""

from __future__ import annotations

from dataclasses import replace

from partitioner.energy import EnergyProfile, PrefixEnergy, Quantity
from partitioner.leakage import CutLeakage, LeakageProfile
from partitioner.link import Link
from partitioner.profile import Profile

LINK = Link(up_bytes_per_s=1e6, down_bytes_per_s=2e6, rtt_s=0.1)


IDLE_W, ACTIVE_W = 2.0, 5.0


HEADS_J = {"cloud": 0.0, "after:stem": 0.03, "after:block1": 0.07, "after:block2": 0.11, "local": 0.9}


LEAKS = {"cloud": 1.0, "after:stem": 0.9, "after:block1": 0.5, "after:block2": 0.2}


ERRORS = {"cloud": 0.0, "after:stem": 0.1, "after:block1": 0.4, "after:block2": 0.8}


def measured(value: float) -> Quantity:
    return Quantity(value=value, origin="measured")


def metered(profile: Profile, heads_j: dict[str, float] = HEADS_J) -> Profile:
    """The profile with energies of its fronts that were measured one by one."""
    return replace(
        profile,
        energy=EnergyProfile(
            meter="csv",
            source="bench meter",
            scope="board",
            period_s=0.01,
            resolution_j=0.001,
            idle_w=measured(IDLE_W),
            active_w=measured(ACTIVE_W),
            whole_j=measured(heads_j["local"]),
            prefixes=tuple(
                PrefixEnergy(cut_id=cut.id, total_j=measured(heads_j[cut.name]), net_j=measured(heads_j[cut.name] / 2))
                for cut in profile.cuts
            ),
            layers=tuple(measured(heads_j["local"]) for _ in profile.layers),
        ),
    )


def leaking(profile: Profile, *, cuts: tuple[str, ...] = tuple(LEAKS), has_inverter: bool = True) -> Profile:
    """The profile with what some of its cuts give away."""
    found = tuple(
        CutLeakage(
            cut_id=cut.id,
            distance_correlation=LEAKS[cut.name],
            inversion_error=ERRORS[cut.name] if has_inverter else None,
        )
        for cut in profile.cuts
        if cut.name in cuts
    )
    return replace(profile, leakage=LeakageProfile(samples=64, inverter="none", cuts=found))
