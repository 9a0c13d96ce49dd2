"""The best candidate of a frozen table: price all, take the first smallest.

The table lists the earliest cut first and, within a cut, fewer bytes first, so the first smallest keeps the device idle
longest. Each loser gets one reason: the term of the breakdown that costs most more than the winner's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from partitioner.cost import IDLE, TERMS, Breakdown, Candidate, CandidateTable, Load
from partitioner.link import Link
from partitioner.units import ms, size

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
    """A candidate for one link: what it costs, and why it lost (``CHOSEN`` where it did not)."""

    candidate: Candidate
    breakdown: Breakdown
    why: str

    @property
    def predicted_s(self) -> float:
        """Latency of one frame."""
        return self.breakdown.total_s

    def to_json(self) -> dict[str, object]:
        """One entry of ``candidates`` in ``cleft.cut/2``."""
        return {
            "cut": self.candidate.cut,
            "cut_id": self.candidate.cut_id,
            "codec": self.candidate.codec,
            "predicted_s": self.predicted_s,
            "breakdown": self.breakdown.to_json(),
            "up_bytes": self.candidate.up_bytes,
            "down_bytes": self.candidate.down_bytes,
            "deviation": self.candidate.measured_deviation,
            "calibrated": self.candidate.is_calibrated,
            "why": self.why,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The chosen candidate and all of them, fastest first: ``ranked[0]`` is the chosen one."""

    link: Link
    ranked: tuple[Priced, ...]

    @property
    def chosen(self) -> Priced:
        """The fastest."""
        return self.ranked[0]

    @property
    def all_local(self) -> Priced:
        """Nothing leaves the device."""
        return next(priced for priced in self.ranked if priced.candidate.is_local)

    @property
    def all_cloud(self) -> Priced:
        """The fastest way to run all of it in the cloud."""
        return next(priced for priced in self.ranked if priced.candidate.is_all_cloud)


def choose(table: CandidateTable, link: Link, load: Load = IDLE) -> Choice:
    """Rank every candidate by predicted latency and say why each loser lost."""
    totals_s = table.price(link, load)
    order = np.argsort(totals_s, kind="stable").tolist()
    breakdowns = table.breakdowns(link, load)
    best = order[0]
    return Choice(
        link=link,
        ranked=tuple(
            Priced(
                candidate=table.candidates[index],
                breakdown=breakdowns[index],
                why=CHOSEN
                if index == best
                else reason(
                    (table.candidates[index], breakdowns[index]), chosen=(table.candidates[best], breakdowns[best])
                ),
            )
            for index in order
        ),
    )


def reason(loser: tuple[Candidate, Breakdown], *, chosen: tuple[Candidate, Breakdown]) -> str:
    """Why a candidate lost, such as ``+38.0 ms: sends 803 kB more than after:layer3 (+41.2 ms)``."""
    candidate, breakdown = loser
    winner, best = chosen
    lost_s = breakdown.total_s - best.total_s
    term, more_s = max(
        ((name, getattr(breakdown, name) - getattr(best, name)) for name in TERMS), key=lambda difference: difference[1]
    )
    if lost_s == 0:
        return f"+0 ms: equal to {winner.cut} ({winner.codec}), which leaves the device idle longer or sends no more"
    is_compared = getattr(best, term) > 0
    name = f"{winner.cut} ({winner.codec})" if winner.cut == candidate.cut else winner.cut
    moved_bytes = {"up_s": candidate.up_bytes - winner.up_bytes, "down_s": candidate.down_bytes - winner.down_bytes}
    phrase = _REASONS[term].format(
        amount=size(moved_bytes[term]) if term in moved_bytes else ms(more_s),
        longer=" longer" if is_compared else "",
        more=" more" if is_compared else "",
    )
    than = f" than {name}" if is_compared else ""
    share = f" (+{ms(more_s)})" if term in moved_bytes else ""
    return f"+{ms(lost_s)}: {phrase}{than}{share}"
