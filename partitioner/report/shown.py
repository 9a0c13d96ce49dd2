"""The numbers behind the pictures: what ``cleft-plan show`` prints, draws and gives to machines.

Everything about plans is priced by the planner's frozen table, so a picture cannot disagree with ``cut`` or ``table``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from partitioner.cost import TERMS, Candidate, EnergyBreakdown, FloatArray, Load
from partitioner.link import Link
from partitioner.optimize.objectives import Energy, Latency, Objective, Upload
from partitioner.optimize.scan import Choice, Priced, choose
from partitioner.planner import Breakpoint, Planner, Trade
from partitioner.profile import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A candidate over all rates: its latency is linear in the inverse of each."""

    candidate: Candidate
    fixed_s: float
    down_per_up: float

    def at(self, up_bytes_per_s: FloatArray) -> FloatArray:
        """Its latency in seconds, for each of these rates."""
        sent: FloatArray = (self.candidate.up_bytes + self.candidate.down_bytes / self.down_per_up) / up_bytes_per_s
        return self.fixed_s + sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """The best plan for every uplink rate, slowest first; ``lines`` has one entry per breakpoint that has a plan.

    The way down is ``down_per_up`` times faster, the round trip stays what it is. ``all_local`` and ``all_cloud`` are
    there to compare with.
    """

    down_per_up: float
    rtt_s: float
    points: tuple[Breakpoint, ...]
    lines: tuple[Line | None, ...]
    all_local: Line
    all_cloud: Line


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """What no plan beats by all of these objectives, among all allowed plans: ``scores`` is (plans, objectives)."""

    objectives: tuple[Objective, ...]
    trades: tuple[Trade, ...]
    candidates: tuple[Candidate, ...]
    scores: FloatArray

    def column(self, name: str) -> int:
        """Where an objective stands."""
        return [each.name for each in self.objectives].index(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plans:
    """What can be said of plans over one link: the best of every cut, earliest first, and how they compare.

    ``energies`` are what these cuts take from the device, None where nobody knows. ``rates`` is None where something
    else than latency is optimised.
    """

    link: Link
    load: Load
    choice: Choice
    cuts: tuple[Priced, ...]
    energies: tuple[EnergyBreakdown | None, ...]
    refused: int
    rates: Rates | None
    front: Front
    deadline_s: float | None
    notes: tuple[str, ...]

    @property
    def chosen(self) -> Candidate:
        """The plan that is best over the link."""
        return self.choice.chosen.candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One device's profile, and plans where the worker's is known."""

    edge: Profile
    plans: Plans | None = None


def plans_of(planner: Planner, link: Link, load: Load) -> Plans:
    """Price everything for one link and load; the front is by latency, energy where that is known, and bytes sent.

    Raises:
        Infeasible: no plan keeps what is asked.
    """
    table = planner.everything
    allowed = planner.allowed(link, load)
    choice = choose(table, link, load, objective=planner.objective, allowed=allowed)
    best: dict[str, Priced] = {}
    for priced in choice.ranked:
        best.setdefault(priced.candidate.cut_id, priced)
    order = dict.fromkeys(each.cut_id for each in table.candidates)
    cuts = tuple(best[cut_id] for cut_id in order if cut_id in best)
    row_of = {id(candidate): row for row, candidate in enumerate(table.candidates)}
    shown = table.take(np.array([row_of[id(each.candidate)] for each in cuts]))
    return Plans(
        link=link,
        load=load,
        choice=choice,
        cuts=cuts,
        energies=shown.energy_breakdowns(link, load),
        refused=len(order) - len(best),
        rates=_rates(planner, choice) if isinstance(planner.objective, Latency) else None,
        front=_front(planner, link, load),
        deadline_s=planner.constraints.deadline_s,
        notes=table.notes,
    )


def _front(planner: Planner, link: Link, load: Load) -> Front:
    """The front, among plans that are allowed and whose energy is known."""
    table = planner.everything
    by: list[Objective] = [Latency(), Energy(), Upload()] if table.has_energy else [Latency(), Upload()]
    kept = planner.allowed(link, load)
    if table.has_energy:
        kept &= ~np.isnan(table.energy(link, load))
    points = table.take(np.flatnonzero(kept))
    return Front(
        objectives=tuple(by),
        trades=planner.front(by, link, load),
        candidates=points.candidates,
        scores=np.stack([objective.scores(points, link, load) for objective in by], axis=1),
    )


def _rates(planner: Planner, choice: Choice) -> Rates:
    link, load = choice.link, choice.load
    down_per_up = link.down_bytes_per_s / link.up_bytes_per_s
    points = planner.table(down_per_up=down_per_up, rtt_s=link.rtt_s, load=load)
    table = planner.everything
    row_of = {id(candidate): row for row, candidate in enumerate(table.candidates)}

    def line(candidate: Candidate) -> Line:
        breakdown = table.breakdown(row_of[id(candidate)], link, load)
        fixed_s = sum(getattr(breakdown, term) for term in TERMS if term not in ("up_s", "down_s"))
        return Line(candidate=candidate, fixed_s=fixed_s, down_per_up=down_per_up)

    return Rates(
        down_per_up=down_per_up,
        rtt_s=link.rtt_s,
        points=points,
        lines=tuple(line(point.candidate) if point.candidate else None for point in points),
        all_local=line(choice.all_local.candidate),
        all_cloud=line(choice.all_cloud.candidate),
    )
