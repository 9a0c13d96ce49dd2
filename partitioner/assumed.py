"""Energy from two constants where nobody measured any: a device's power at rest and at work, times measured times.

All of it is marked assumed. A device draws more or less as its layers keep it busy, so this tells cuts apart by their
time alone. A deeper front does all that a shallower one does, and noise only ever makes a run longer, so a front takes
no more than any that is deeper.
"""

from __future__ import annotations

import itertools
import math

from partitioner.energy import EnergyProfile, PrefixEnergy, Quantity
from partitioner.errors import UsageError
from partitioner.profile import Profile


def assumed_energy(profile: Profile, *, idle_w: float, active_w: float, source: str) -> EnergyProfile:
    """What the fronts and layers of a profile take at a constant power; ``source`` says where the figures are from.

    Raises:
        UsageError: a power is negative or not finite, or the device draws less at work than at rest, or nothing.
    """
    if not (0 <= idle_w <= active_w < math.inf and active_w > 0):
        raise UsageError(
            f"a device does not take {idle_w:g} W at rest and {active_w:g} W at work: give what it takes at rest, "
            "0 or more, and at work, over 0 and no less than at rest"
        )
    net_w = active_w - idle_w
    deepest_first_s = itertools.accumulate((cut.prefix.median_s for cut in reversed(profile.cuts)), min)
    prefixes_s = reversed(list(deepest_first_s))
    layers_s = [layer.forward.median_s for layer in profile.layers]
    scale = profile.whole.median_s / sum(layers_s) if sum(layers_s) > 0 else 1.0
    return EnergyProfile(
        meter="assumed",
        source=source,
        scope="board",
        period_s=0.0,
        resolution_j=0.0,
        idle_w=_assumed(idle_w),
        active_w=_assumed(active_w),
        whole_j=_assumed(active_w * profile.whole.median_s),
        prefixes=tuple(
            PrefixEnergy(
                cut_id=cut.id,
                total_j=_assumed(active_w * prefix_s),
                net_j=_assumed(net_w * prefix_s),
            )
            for cut, prefix_s in zip(profile.cuts, prefixes_s, strict=True)
        ),
        layers=tuple(_assumed(active_w * each_s * scale) for each_s in layers_s),
    )


def _assumed(value: float) -> Quantity:
    return Quantity(value=value, origin="assumed")
