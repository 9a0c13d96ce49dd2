"""A device whose layers and plans are worth drawing."""

from __future__ import annotations

from dataclasses import replace

from synthetic_profiles import cloud_profile, edge_profile, timing

from partitioner.assumed import assumed_energy
from partitioner.cost import IDLE, Load, RadioUse
from partitioner.link import PRESETS, Link
from partitioner.optimize.constraints import Constraints
from partitioner.optimize.objectives import Objective
from partitioner.planner import Planner
from partitioner.profile import LayerProfile, Profile
from partitioner.radio import RADIOS
from partitioner.report.shown import Plans, plans_of

WIFI = PRESETS["wifi"]


def profile(layers: int = 8, *, has_energy: bool = True) -> Profile:
    """The synthetic device, whose cuts stand after 0, 2, 4, 6 and 8 layers."""
    made = replace(
        edge_profile(),
        layers=tuple(
            LayerProfile(
                id=f"block{index // 4}.layer{index}",
                name=f"layer{index}",
                kind="conv",
                forward=timing(3.0 + index, how="calibrated" if index == 5 else "measured"),
                flops=1000 * index,
                weight_bytes=4 * index,
                output_bytes=10 ** (index % 7),
            )
            for index in range(layers)
        ),
    )
    if not has_energy:
        return made
    return replace(made, energy=assumed_energy(made, idle_w=2.0, active_w=5.0, source="a sheet"))


def planned(
    link: Link = WIFI,
    *,
    edge: Profile | None = None,
    constraints: Constraints | None = None,
    objective: Objective | None = None,
    load: Load = IDLE,
) -> tuple[Planner, Plans]:
    planner = Planner.from_profiles(
        edge or profile(),
        replace(cloud_profile(), layers=(edge or profile()).layers),
        codecs=None,
        constraints=constraints,
        objective=objective,
        radio=RadioUse(model=RADIOS["wifi"]),
    )
    return planner, plans_of(planner, link, load)
