"""The best candidate of a frozen table: score all, take the smallest, of equal ones the fastest, of these the first.

The table lists the earliest cut first and, within a cut, fewer bytes first, so the first smallest keeps the device idle
longest. Each loser gets one reason: where latency decided, the term of the breakdown that costs most more than the
winner's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from partitioner.cost import IDLE, TERMS, BoolArray, Breakdown, Candidate, CandidateTable, EnergyBreakdown, Load
from partitioner.link import Link
from partitioner.optimize.objectives import UNKNOWN_J, Energy, Latency, Lexicographic, Objective, Throughput
from partitioner.units import joules, ms, size

CHOSEN = "chosen"

_REASONS = {
    "head_s": "computes {amount}{longer} on the device",
    "encode_s": "encodes {amount}{longer}",
    "up_s": "sends {amount}{more}",
    "rtt_s": "waits {amount}{longer} for a round trip",
    "queue_s": "waits {amount}{longer} for the worker",
    "decode_s": "decodes {amount}{longer} in the cloud",
    "tail_s": "computes {amount}{longer} in the cloud",
    "encode_reply_s": "encodes its reply {amount}{longer}",
    "down_s": "brings {amount}{more} back",
    "decode_reply_s": "decodes its reply {amount}{longer}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """A candidate for one link: what it costs, its score by the objective, and why it lost (``CHOSEN``: it did not).

    ``stage_s`` is the time between two answers of a stream of frames. ``energy`` is the device's, None where nobody
    knows.
    """

    candidate: Candidate
    breakdown: Breakdown
    stage_s: float
    energy: EnergyBreakdown | None = None
    score: float
    why: str

    @property
    def predicted_s(self) -> float:
        """Latency of one frame."""
        return self.breakdown.total_s

    @property
    def energy_j(self) -> float | None:
        """What one frame takes from the device."""
        return None if self.energy is None else self.energy.total_j

    def to_json(self) -> dict[str, object]:
        """One entry of ``candidates`` in ``cleft.cut/2``."""
        leaks = self.candidate.leakage
        return {
            "cut": self.candidate.cut,
            "cut_id": self.candidate.cut_id,
            "codec": self.candidate.codec,
            "codecs": dict(self.candidate.codecs),
            "edge_runtime": self.candidate.edge_runtime,
            "cloud_runtime": self.candidate.cloud_runtime,
            "predicted_s": self.predicted_s,
            "stage_s": self.stage_s,
            "score": self.score,
            "breakdown": self.breakdown.to_json(),
            "energy_j": self.energy_j,
            "energy": None if self.energy is None else self.energy.to_json(),
            "energy_origin": None if self.energy is None else self.energy.origin,
            "up_bytes": self.candidate.up_bytes,
            "down_bytes": self.candidate.down_bytes,
            "edge_bytes": self.candidate.edge_bytes,
            "cloud_bytes": self.candidate.cloud_bytes,
            "deviation": self.candidate.measured_deviation,
            "accuracy": self.candidate.accuracy,
            "leakage": None if leaks is None else leaks.distance_correlation,
            "leakage_how": None if leaks is None else leaks.how,
            "inversion_error": None if leaks is None else leaks.inversion_error,
            "inversion_how": None if leaks is None or leaks.inversion_error is None else leaks.inversion_how,
            "calibrated": self.candidate.is_calibrated,
            "predicted": self.candidate.is_predicted,
            "why": self.why,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The candidates that are allowed, best first: ``ranked[0]`` is the chosen one.

    Both extremes are there to compare with, allowed or not: ``all_cloud`` is the fastest way to run all of it there.
    ``alternatives`` are those of them that are allowed.
    """

    link: Link
    load: Load
    objective: Objective
    ranked: tuple[Priced, ...]
    all_local: Priced
    all_cloud: Priced
    alternatives: tuple[Priced, ...]

    @property
    def chosen(self) -> Priced:
        """The best."""
        return self.ranked[0]


def choose(
    table: CandidateTable,
    link: Link,
    load: Load = IDLE,
    *,
    objective: Objective | None = None,
    allowed: BoolArray | None = None,
) -> Choice:
    """Rank every candidate that is allowed and say why each loser lost; by latency, where no objective is given."""
    wanted = objective or Latency()
    totals_s, stages_s = table.price(link, load), table.slowest_stage(link, load)
    scores = wanted.scores(table, link, load, among=allowed)
    order = [row for row in np.lexsort((totals_s, scores)).tolist() if allowed is None or allowed[row]]
    breakdowns, energies = table.breakdowns(link, load), table.energy_breakdowns(link, load)
    best = order[0]

    def priced(row: int) -> Priced:
        why = CHOSEN
        if row != best and scores[row] != scores[best] and not isinstance(wanted, Latency):
            why = _by_score(wanted, float(scores[row]), float(scores[best]))
        elif row != best:
            why = reason((table.candidates[row], breakdowns[row]), chosen=(table.candidates[best], breakdowns[best]))
            why = why if isinstance(wanted, Latency) else f"as good by {wanted.name}, {why}"
        return Priced(
            candidate=table.candidates[row],
            breakdown=breakdowns[row],
            stage_s=float(stages_s[row]),
            energy=energies[row],
            score=float(scores[row]),
            why=why,
        )

    fastest = np.argsort(totals_s, kind="stable").tolist()
    local = next(row for row in fastest if table.candidates[row].is_local)
    remote = next(row for row in fastest if table.candidates[row].is_all_cloud)
    fit = [row for row in fastest if allowed is None or allowed[row]]
    whole = [next((row for row in fit if table.candidates[row].is_local), None)]
    whole.append(next((row for row in fit if table.candidates[row].is_all_cloud), None))
    return Choice(
        link=link,
        load=load,
        objective=wanted,
        ranked=tuple(priced(row) for row in order),
        all_local=priced(local),
        all_cloud=priced(remote),
        alternatives=tuple(priced(row) for row in whole if row is not None),
    )


def _by_score(objective: Objective, score: float, best: float) -> str:
    if isinstance(objective, Lexicographic):
        return f"rank {score:.0f}"
    if isinstance(objective, Throughput):
        return f"an answer every {ms(score)}{_or_more(ms(score), ms(best))}, not every {ms(best)}"
    if isinstance(objective, Energy):
        if score == UNKNOWN_J:
            return "nobody knows what it takes"
        return f"takes {joules(score)}{_or_more(joules(score), joules(best))}, not {joules(best)}"
    return f"{objective.name} is {score:.3g}{_or_more(f'{score:.3g}', f'{best:.3g}')}, not {best:.3g}"


def _or_more(score: str, best: str) -> str:
    """A word where rounding hides the difference."""
    return " and a little more" if score == best else ""


def reason(loser: tuple[Candidate, Breakdown], *, chosen: tuple[Candidate, Breakdown]) -> str:
    """Why a candidate lost, such as ``+38.0 ms: sends 803 kB more than after:layer3 (+41.2 ms)``."""
    candidate, breakdown = loser
    winner, best = chosen
    lost_s = breakdown.total_s - best.total_s
    term, more_s = max(
        ((name, getattr(breakdown, name) - getattr(best, name)) for name in TERMS), key=lambda difference: difference[1]
    )
    if lost_s == 0:
        return f"+0 ms: equal to {winner.label} ({winner.codec}), which leaves the device idle longer or sends no more"
    is_compared = getattr(best, term) > 0
    name = f"{winner.label} ({winner.codec})" if winner.cut == candidate.cut else winner.label
    moved_bytes = {"up_s": candidate.up_bytes - winner.up_bytes, "down_s": candidate.down_bytes - winner.down_bytes}
    phrase = _REASONS[term].format(
        amount=size(moved_bytes[term]) if term in moved_bytes else ms(more_s),
        longer=" longer" if is_compared else "",
        more=" more" if is_compared else "",
    )
    than = f" than {name}" if is_compared else ""
    share = f" (+{ms(more_s)})" if term in moved_bytes else ""
    return f"+{ms(lost_s)}: {phrase}{than}{share}"
