"""The best plan for any link and load: candidates are made and frozen once, then priced in one vectorised pass.

Candidates are the measured prefixes with every admitted codec and runtime and, in a model with branches, the cuts that
are optimal for some uplink rate where layer times add (the min-cut envelope); what breaks a limit that no link changes
is left out, and what another candidate beats in every way. All-local and all-cloud stay whatever beats them, so the
chosen plan is never predicted to cost more than either.

Freezing takes milliseconds, ``at`` about ten microseconds for a hundred candidates and ``table`` a few hundred (see
``tests/benchmarks/test_planner.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from partitioner.branches import additive_table, with_branches
from partitioner.codecmix import EXACT
from partitioner.cost import (
    IDLE,
    NOT_COUNTED,
    BoolArray,
    Breakdown,
    Candidate,
    CandidateTable,
    EnergyBreakdown,
    IntArray,
    Load,
    RadioUse,
)
from partitioner.errors import UsageError
from partitioner.link import Link
from partitioner.optimize.additive import AdditiveModel
from partitioner.optimize.constraints import ANYTHING, Constraints, Infeasible, Limit, feasible
from partitioner.optimize.objectives import Latency, Objective
from partitioner.optimize.pareto import front
from partitioner.optimize.rates import Breakpoint, breakpoints
from partitioner.optimize.scan import CHOSEN, Priced
from partitioner.profile import Profile

__all__ = ["DOWN_PER_UP", "Breakpoint", "Decision", "Planner", "Trade"]

DOWN_PER_UP = 2.0
"""How many times faster the way down is, where nobody says: 1.8 to 2.9 on the preset links."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was chosen for a link and a load: a row of a table, its latency and its score."""

    table: CandidateTable
    row: int
    link: Link
    load: Load
    predicted_s: float
    score: float

    @property
    def candidate(self) -> Candidate:
        """The chosen candidate."""
        return self.table.candidates[self.row]

    @property
    def priced(self) -> Priced:
        """The chosen candidate with all that it costs."""
        one = self.table.take(np.array([self.row]))
        return Priced(
            candidate=self.candidate,
            breakdown=self.breakdown,
            stage_s=float(one.slowest_stage(self.link, self.load)[0]),
            energy=self.energy,
            score=self.score,
            why=CHOSEN,
        )

    @property
    def energy(self) -> EnergyBreakdown | None:
        """Where its energy goes; None where nobody knows."""
        return self.table.take(np.array([self.row])).energy_breakdowns(self.link, self.load)[0]

    @property
    def breakdown(self) -> Breakdown:
        """Where its time goes."""
        return self.table.breakdown(self.row, self.link, self.load)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """A candidate of a Pareto front and its score by each objective."""

    candidate: Candidate
    scores: tuple[float, ...]


class Planner:
    """Frozen candidates of one model on one pair of devices.

    Args:
        table: every candidate there is.
        constraints: what a plan must keep.
        objective: what makes it good.
        wider: makes the table to look in for what would be feasible, where the first leaves candidates out.

    Raises:
        Infeasible: no candidate keeps the limits that do not depend on the link.
        UsageError: a pin names no layer, or nobody knows what is limited.
    """

    def __init__(
        self,
        table: CandidateTable,
        *,
        constraints: Constraints | None = None,
        objective: Objective | None = None,
        wider: Callable[[], CandidateTable] | None = None,
    ) -> None:
        self.everything = table
        self.constraints = constraints or ANYTHING
        self.objective = objective or Latency()
        self._wider = wider
        kept = feasible(self.constraints.limits(table), len(table))
        if not kept.any():
            raise self._infeasible(None, IDLE)
        self.feasible = table.take(np.flatnonzero(kept))
        self.frozen = self.feasible.take(_unbeaten(self.feasible))
        self._is_simple = isinstance(self.objective, Latency) and not self.constraints.depends_on_link

    @staticmethod
    def from_profiles(
        edge: Profile | Sequence[Profile],
        cloud: Profile | Sequence[Profile],
        *,
        codecs: Collection[str] | None = EXACT,
        constraints: Constraints | None = None,
        objective: Objective | None = None,
        source_bytes: int | None = None,
        down_per_up: float = DOWN_PER_UP,
        load: Load = IDLE,
        closed_sets: Collection[frozenset[int]] = (),
        radio: RadioUse = NOT_COUNTED,
    ) -> Planner:
        """Plan from measured profiles.

        Args:
            edge: of the device; several, one for each runtime: the fastest pair wins.
            cloud: of the worker, likewise.
            codecs: admitted codecs; None admits every measured one. A constraint on the answer admits them all, within
                it.
            constraints: what a plan must keep.
            objective: what makes it good; latency, where it is not given.
            source_bytes: size of the original input in place of the profile's.
            down_per_up: along which ratio of rates cuts through branches are looked for.
            load: under which load they are.
            closed_sets: further cuts to price, by the layers that they keep on the device.
            radio: what the network takes beside the device's idle power.

        Raises:
            ProfileError: the profiles do not belong together.
            UsageError: a codec was measured at no cut, a pin names no layer, or nobody knows what is limited.
            Infeasible: no candidate keeps the limits.
        """
        asked = constraints or ANYTHING
        near = (edge,) if isinstance(edge, Profile) else tuple(edge)
        far = (cloud,) if isinstance(cloud, Profile) else tuple(cloud)

        def table(kept: Constraints, *, is_wide: bool) -> CandidateTable:
            return with_branches(
                near,
                far,
                codecs=None if asked.bounds_the_answer and codecs == EXACT else codecs,
                source_bytes=source_bytes,
                kept=kept,
                down_per_up=down_per_up,
                slowdown=load.slowdown,
                closed_sets=closed_sets,
                is_wide=is_wide,
                radio=radio,
            )

        def wider() -> CandidateTable:
            return table(Constraints(pinned=asked.pinned, min_depth=asked.min_depth), is_wide=True)

        is_wide = not isinstance(objective or Latency(), Latency)
        return Planner(
            table(asked, is_wide=is_wide),
            constraints=asked,
            objective=objective,
            wider=cache(wider) if asked.leaves_out_candidates else None,
        )

    @staticmethod
    def from_additive(
        model: AdditiveModel,
        *,
        constraints: Constraints | None = None,
        objective: Objective | None = None,
        down_per_up: float = DOWN_PER_UP,
        load: Load = IDLE,
    ) -> Planner:
        """Plan for layer times that add up, without profiles; arguments are those of ``from_profiles``.

        For latency without limits, at any rate along ``down_per_up`` and under ``load``, ``at`` then finds the optimum;
        of hundreds of layers without a waist it may be up to 0.1 % off (``optimize.proposals.lines``).
        """
        asked = constraints or ANYTHING
        table = additive_table(
            model,
            kept=asked,
            down_per_up=down_per_up,
            slowdown=load.slowdown,
            is_wide=not isinstance(objective or Latency(), Latency),
        )
        return Planner(table, constraints=asked, objective=objective)

    def at(self, link: Link, load: Load = IDLE) -> Decision:
        """The best plan for a link and a load; of equally good ones the fastest, then the earliest cut.

        Raises:
            Infeasible: none keeps the limits that depend on the link.
            UsageError: energy is asked for, and nobody knows it.
        """
        table = self.frozen
        if self._is_simple:
            prices_s = table.price(link, load)
            row = int(prices_s.argmin())
            predicted_s = float(prices_s[row])
            return Decision(table, row, link, load, predicted_s, predicted_s)
        prices_s = table.price(link, load)
        among = None
        if self.constraints.depends_on_link:
            among = feasible(self.constraints.on_link(table, link, load), len(table))
            if not among.any():
                raise self._infeasible(link, load)
        scores = self.objective.scores(table, link, load, among=among)
        standing = scores if among is None else np.where(among, scores, np.inf)
        row = int(np.where(standing == standing.min(), prices_s, np.inf).argmin())
        return Decision(table, row, link, load, float(prices_s[row]), float(scores[row]))

    def table(
        self, *, down_per_up: float = DOWN_PER_UP, rtt_s: float = 0.0, load: Load = IDLE
    ) -> tuple[Breakpoint, ...]:
        """The best plan by latency or energy for every uplink rate, slowest first.

        Args:
            down_per_up: how many times faster the way down is.
            rtt_s: round trip, whatever the rate.
            load: of the worker.

        Raises:
            UsageError: it is planned for something else, or a figure makes no sense, or nobody knows the energy.
        """
        axis = Link(up_bytes_per_s=1.0, down_bytes_per_s=down_per_up, rtt_s=rtt_s)
        return breakpoints(self.frozen, axis, load, objective=self.objective, constraints=self.constraints)

    def allowed(self, link: Link, load: Load = IDLE) -> BoolArray:
        """Which rows of ``everything`` keep all constraints on a link.

        Raises:
            Infeasible: none does.
        """
        kept = feasible(self._limits(self.everything, link, load), len(self.everything))
        if not kept.any():
            raise self._infeasible(link, load)
        return kept

    def front(self, objectives: Sequence[Objective], link: Link, load: Load = IDLE) -> tuple[Trade, ...]:
        """What no other plan is at least as good as by every objective, best by the first one first.

        Raises:
            Infeasible: none keeps the limits that depend on the link.
            UsageError: there is no objective, or energy is one, and nobody knows it.
        """
        if not objectives:
            raise UsageError("a front takes at least one objective")
        table = self.feasible
        kept = np.flatnonzero(feasible(self.constraints.on_link(table, link, load), len(table)))
        if not len(kept):
            raise self._infeasible(link, load)
        scores = np.stack([each.scores(table, link, load) for each in objectives], axis=1)[kept]
        return tuple(
            Trade(candidate=table.candidates[kept[row]], scores=tuple(scores[row].tolist())) for row in front(scores)
        )

    def _infeasible(self, link: Link | None, load: Load) -> Infeasible:
        table = self.everything if self._wider is None else self._wider()
        limits = self._limits(table, link, load)
        if feasible(limits, len(table)).any():  # by luck: other cuts were looked at
            table, limits = self.everything, self._limits(self.everything, link, load)
        return Infeasible.of(limits, table)

    def _limits(self, table: CandidateTable, link: Link | None, load: Load) -> tuple[Limit, ...]:
        timed = () if link is None else self.constraints.on_link(table, link, load)
        return (*self.constraints.limits(table), *timed)


def _unbeaten(table: CandidateTable) -> IntArray:
    """Rows that no other beats in every term that a link, a load or an objective weighs, and both extremes.

    Energy rises with the joules and the idle power of a row and with the terms of its latency, but where a radio that
    is kept busy need not wake up: there nothing beats.
    """
    if table.has_energy and table.radio.stays_awake:
        return np.arange(len(table), dtype=np.int64)
    rest_s = table.compute_s - table.edge_s - table.cloud_s
    terms = [table.edge_s, table.cloud_s, table.tail_s, rest_s, table.remote, table.up_bytes, table.down_bytes]
    if table.has_energy:
        terms += [np.nan_to_num(each, nan=np.inf) for each in (table.head_j + table.codec_j, table.idle_w)]
    kept = set(front(np.stack([*terms, table.deviation], axis=1)).tolist())
    kept.update(row for row, candidate in enumerate(table.candidates) if candidate.is_local)
    whole = [row for row, candidate in enumerate(table.candidates) if candidate.is_all_cloud]
    kept.update(whole[:1])
    return np.array(sorted(kept), dtype=np.int64)
