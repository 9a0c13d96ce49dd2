"""The best row of a frozen table for every uplink rate: exact breakpoints, not samples.

Over the seconds that an uplink byte takes, latency is a line for every row, and energy one in spans (a radio's power
is clamped beyond the rates that it was fitted at); neither ever falls. So each limit ends a row somewhere, and the best
one is a lower envelope between such ends (``reach``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from partitioner.cost import NO_ENERGY, Candidate, CandidateTable, EnergyBreakdown, Load
from partitioner.energy import Origin
from partitioner.errors import UsageError
from partitioner.link import Link
from partitioner.optimize.constraints import Constraints
from partitioner.optimize.objectives import Energy, Latency, Objective
from partitioner.optimize.reach import Lines, Stretch, best_stretches, reach_of

_SLOWEST_BYTES_PER_S, _FASTEST_BYTES_PER_S = 1e-6, 1e18
"""Rates that stand for none and for any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakpoint:
    """The best candidate for uplink rates from ``from_`` to ``to_up_bytes_per_s``, None where no plan keeps the limits.

    Its latency falls from ``from_s`` (infinite where the rate is 0 and it sends anything) to ``to_s``, its energy from
    ``from_j`` to ``to_j`` (None where nobody knows, or the rate is 0 and it sends anything). Where there is no plan,
    the times are those of the fastest one.
    """

    from_up_bytes_per_s: float
    to_up_bytes_per_s: float
    candidate: Candidate | None
    from_s: float
    to_s: float
    from_j: float | None = None
    to_j: float | None = None
    energy_origin: Origin | None = None


def breakpoints(
    table: CandidateTable, axis: Link, load: Load, *, objective: Objective, constraints: Constraints
) -> tuple[Breakpoint, ...]:
    """The best candidates by latency or energy, slowest rate first.

    Args:
        table: the rows to choose among.
        axis: a link of one byte per second up, whose rate down is the ratio of both.
        load: of the worker.
        objective: latency or energy.
        constraints: of these, the limits that depend on the link.

    Raises:
        UsageError: it is another objective, or energy is asked for and nobody knows it.
    """
    if not isinstance(objective, Latency | Energy):
        raise UsageError(
            f"a table over all rates is of latency or energy, not of {objective.name}; use cut for one link"
        )
    latency = _latency_lines(table, axis, load)
    reach = np.full(len(table), np.inf)
    wanted = [latency]
    if constraints.deadline_s is not None:
        reach = reach_of([latency], constraints.deadline_s)
    if isinstance(objective, Energy) or constraints.max_energy_j is not None:
        joules = _energy_lines(table, axis, load)
        wanted = joules if isinstance(objective, Energy) else wanted
        if constraints.max_energy_j is not None:
            reach = np.minimum(reach, reach_of(joules, constraints.max_energy_j))
    stretches = reversed(best_stretches(wanted, reach))
    return tuple(_breakpoint(stretch, table, latency, axis=axis, load=load) for stretch in stretches)


def _latency_lines(table: CandidateTable, axis: Link, load: Load) -> Lines:
    return Lines(
        begin=0.0,
        end=np.inf,
        offsets=table.compute_s + table.tail_s * load.slowdown + table.remote * (axis.rtt_s + load.queue_s),
        slopes=table.up_bytes + table.down_bytes / axis.down_bytes_per_s,
    )


def _energy_lines(table: CandidateTable, axis: Link, load: Load) -> list[Lines]:
    if not table.has_energy:
        raise UsageError(f"energy cannot be compared: {NO_ENERGY}")
    if table.radio.stays_awake:
        raise UsageError(
            "energy over all rates is of single frames: leave out --frame-interval, or use cut for one link"
        )
    return [
        Lines(begin=each.begin, end=each.end, offsets=each.offsets_j, slopes=each.slopes_j)
        for each in table.energy_lines(down_per_up=axis.down_bytes_per_s, rtt_s=axis.rtt_s, load=load)
    ]


def _breakpoint(stretch: Stretch, table: CandidateTable, latency: Lines, *, axis: Link, load: Load) -> Breakpoint:
    """A stretch over 1/rate as one over rates."""
    row = stretch.row
    slow_s, fast_s = (_latency_s(latency, row, x) for x in (stretch.end, stretch.begin))
    slow = fast = None
    if row is not None and table.has_energy:
        slow, fast = (_energy(table, row, x, axis, load) for x in (stretch.end, stretch.begin))
    return Breakpoint(
        from_up_bytes_per_s=_inverse(stretch.end),
        to_up_bytes_per_s=_inverse(stretch.begin),
        candidate=None if row is None else table.candidates[row],
        from_s=slow_s,
        to_s=fast_s,
        from_j=slow.total_j if slow else None,
        to_j=fast.total_j if fast else None,
        energy_origin=fast.origin if fast else None,
    )


def _latency_s(latency: Lines, row: int | None, s_per_byte: float) -> float:
    """The latency of a row, or of the fastest one; who sends nothing needs no link."""
    rows = slice(None) if row is None else slice(row, row + 1)
    offsets, slopes = latency.offsets[rows], latency.slopes[rows]
    sending_s = np.multiply(slopes, s_per_byte, where=slopes > 0, out=np.zeros_like(slopes))
    return float((offsets + sending_s).min())


def _energy(table: CandidateTable, row: int, s_per_byte: float, axis: Link, load: Load) -> EnergyBreakdown | None:
    one = table.take(np.array([row]))
    if s_per_byte == np.inf and one.remote[0]:
        return None
    rate = min(max(_inverse(s_per_byte), _SLOWEST_BYTES_PER_S), _FASTEST_BYTES_PER_S)
    link = replace(axis, up_bytes_per_s=rate, down_bytes_per_s=rate * axis.down_bytes_per_s)
    return one.energy_breakdowns(link, load)[0]


def _inverse(value: float) -> float:
    return 0.0 if value == np.inf else np.inf if value == 0 else 1.0 / value
