"""Situations to ask the page and the planner about, and their answers side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from partitioner.cost import Load
from partitioner.link import PRESETS, Link
from partitioner.optimize.constraints import Infeasible
from partitioner.optimize.objectives import Objective
from partitioner.planner import Planner
from tests.browser.chromium import Chromium

LINK = PRESETS["4g"]
RATIO = LINK.down_bytes_per_s / LINK.up_bytes_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question."""

    link: Link
    load: Load
    deadline_s: float | None = None
    max_energy_j: float | None = None
    max_leakage: float | None = None

    @property
    def situation(self) -> dict[str, float]:
        """As the page takes it."""
        return {
            "upBytesPerS": self.link.up_bytes_per_s,
            "downBytesPerS": self.link.down_bytes_per_s,
            "rttS": self.link.rtt_s,
            "queueS": self.load.queue_s,
            "slowdown": self.load.slowdown,
        }


def situations(rng: np.random.Generator, count: int, *, is_round: bool = False) -> Iterator[Asked]:
    """Links from 3 kB/s to 160 MB/s under any load; round ones have rates that are powers of two, so that sums tie."""
    for _ in range(count):
        up, down = 10 ** rng.uniform(3.5, 8.2, 2)
        rtt_s, queue_s = rng.choice([0.0, *10 ** rng.uniform(-4, 0.5, 2)], 2)
        slowdown = rng.choice([1.0, rng.uniform(0.2, 30)])
        if is_round:
            up, down = 2.0 ** rng.integers(10, 24, 2)
            rtt_s, queue_s, slowdown = [*rng.choice([0.0, 0.25, 0.5], 2).tolist(), float(rng.integers(1, 5))]
        link = Link(up_bytes_per_s=float(up), down_bytes_per_s=float(down), rtt_s=float(rtt_s))
        yield Asked(link=link, load=Load(queue_s=float(queue_s), slowdown=float(slowdown)))


def bounded(rng: np.random.Generator, planner: Planner, asked: Asked, *, of_energy: bool) -> Asked:
    """The same within a deadline (and an energy): one that some candidate just meets, or lies anywhere about them."""
    table = planner.frozen
    found = {"deadline_s": table.price(asked.link, asked.load)}
    if of_energy:
        found["max_energy_j"] = table.energy(asked.link, asked.load)
    return replace(
        asked,
        **{
            name: float(rng.choice(values[np.isfinite(values)]) * rng.choice([1.0, 1.0, 0.7, 1.2]))
            for name, values in found.items()
        },
    )


def planned(planner: Planner, asked: list[Asked], objective: Objective) -> list[Mapping[str, object] | None]:
    """What ``Planner.at`` says within the limits of the first, as the page tells it; None where no plan keeps them."""
    first = asked[0]
    kept = replace(
        planner.constraints,
        deadline_s=first.deadline_s,
        max_energy_j=first.max_energy_j,
        max_leakage=first.max_leakage,
    )
    same = Planner(planner.everything, constraints=kept, objective=objective)
    return [_planned(same, each) for each in asked]


def _planned(planner: Planner, asked: Asked) -> Mapping[str, object] | None:
    try:
        decision = planner.at(asked.link, asked.load)
    except Infeasible:
        return None
    energy = decision.energy
    breakdown = decision.breakdown.to_json()
    return {
        "cut": decision.candidate.cut,
        "cut_id": decision.candidate.cut_id,
        "codec": decision.candidate.codec,
        "edge_runtime": decision.candidate.edge_runtime,
        "cloud_runtime": decision.candidate.cloud_runtime,
        "predicted_s": decision.predicted_s,
        "stage_s": decision.priced.stage_s,
        "energy_j": None if energy is None or math.isnan(energy.total_j) else energy.total_j,
        "breakdown": {name: value for name, value in breakdown.items() if name != "total_s"},
    }


def shown(browser: Chromium, asked: list[Asked], objective: Objective) -> list[Mapping[str, object] | None]:
    """What the page that is open says to each."""
    questions = [
        [
            each.situation,
            {
                "objective": objective.name,
                "deadlineS": each.deadline_s,
                "energyJ": each.max_energy_j,
                "leakage": each.max_leakage,
            },
        ]
        for each in asked
    ]
    return browser.call("(questions) => questions.map((each) => cleft.at(...each))", questions)  # type: ignore[return-value]
