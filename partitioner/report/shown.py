"""The numbers behind the pictures: what ``cleft-plan show`` prints, draws and gives to machines.

Everything about plans is priced by the planner's frozen table, so a picture cannot disagree with ``cut`` or ``table``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from partitioner.cost import Candidate, CandidateTable, FloatArray, Load
from partitioner.energy import Origin, weakest
from partitioner.link import Link
from partitioner.optimize.objectives import Energy, Latency, Objective, Upload
from partitioner.optimize.scan import Choice, Priced, choose
from partitioner.planner import Breakpoint, Planner, Trade
from partitioner.profile import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A candidate over all uplink rates; the way down is ``down_per_up`` times faster, all else is the link's."""

    row: CandidateTable
    link: Link
    load: Load
    is_energy: bool

    @property
    def candidate(self) -> Candidate:
        """Whose it is."""
        return self.row.candidates[0]

    def at(self, up_bytes_per_s: FloatArray) -> FloatArray:
        """Its latency in seconds, or its energy in joules, for each of these rates."""
        down_per_up = self.link.down_bytes_per_s / self.link.up_bytes_per_s
        price = self.row.energy if self.is_energy else self.row.price
        links = (
            replace(self.link, up_bytes_per_s=rate, down_bytes_per_s=rate * down_per_up)
            for rate in up_bytes_per_s.tolist()
        )
        return np.array([price(link, self.load)[0] for link in links])


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """The best plan for every uplink rate, slowest first; ``lines`` has one entry per breakpoint that has a plan.

    Best is least latency, or least energy where ``is_energy``. The way down is ``down_per_up`` times faster, the round
    trip stays what it is. ``all_local`` and ``all_cloud`` are there to compare with.
    """

    down_per_up: float
    rtt_s: float
    is_energy: bool
    points: tuple[Breakpoint, ...]
    lines: tuple[Line | None, ...]
    all_local: Line
    all_cloud: Line

    @property
    def origin(self) -> Origin:
        """What the energies of the best plans rest on, at worst."""
        return weakest(*(point.energy_origin for point in self.points if point.energy_origin))


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """What no plan beats by all of these objectives, among all allowed plans.

    ``scores`` is (plans, objectives), and ``origins`` say what the energy of each rests on, None where nobody knows.
    """

    objectives: tuple[Objective, ...]
    trades: tuple[Trade, ...]
    candidates: tuple[Candidate, ...]
    scores: FloatArray
    origins: tuple[Origin | None, ...]

    @property
    def origin(self) -> Origin:
        """What the energies rest on, at worst."""
        return weakest(*(origin for origin in self.origins if origin))

    def column(self, name: str) -> int:
        """Where an objective stands."""
        return [each.name for each in self.objectives].index(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plans:
    """What can be said of plans over one link: the best of every cut, earliest first, and how they compare.

    ``table`` has every candidate, and ``refused`` cuts do not keep what is asked. ``rates`` is None where that which is
    optimised has no exact answer for every rate.
    """

    link: Link
    load: Load
    choice: Choice
    cuts: tuple[Priced, ...]
    refused: int
    rates: Rates | None
    front: Front
    deadline_s: float | None
    table: CandidateTable

    @property
    def chosen(self) -> Candidate:
        """The plan that is best over the link."""
        return self.choice.chosen.candidate

    @property
    def has_energy(self) -> bool:
        """Whether anybody knows what one of the cuts takes from the device."""
        return any(each.energy is not None for each in self.cuts)


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
    return Plans(
        link=link,
        load=load,
        choice=choice,
        cuts=cuts,
        refused=len(order) - len(best),
        rates=_rates(planner, choice),
        front=_front(planner, link, load),
        deadline_s=planner.constraints.deadline_s,
        table=table,
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
        origins=tuple(each.origin if each else None for each in points.energy_breakdowns(link, load)),
    )


def _rates(planner: Planner, choice: Choice) -> Rates | None:
    link, load = choice.link, choice.load
    table = planner.everything
    is_energy = isinstance(planner.objective, Energy)
    if not isinstance(planner.objective, Latency | Energy) or (is_energy and table.radio.stays_awake):
        return None
    down_per_up = link.down_bytes_per_s / link.up_bytes_per_s
    row_of = {id(candidate): row for row, candidate in enumerate(table.candidates)}

    def line(candidate: Candidate) -> Line:
        row = table.take(np.array([row_of[id(candidate)]]))
        return Line(row=row, link=link, load=load, is_energy=is_energy)

    points = planner.table(down_per_up=down_per_up, rtt_s=link.rtt_s, load=load)
    return Rates(
        down_per_up=down_per_up,
        rtt_s=link.rtt_s,
        is_energy=is_energy,
        points=points,
        lines=tuple(line(point.candidate) if point.candidate else None for point in points),
        all_local=line(choice.all_local.candidate),
        all_cloud=line(choice.all_cloud.candidate),
    )
