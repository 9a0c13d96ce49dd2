"""When to move the cut: at once when it matters, never for noise.

The planner prices every candidate for the link as it is thought to be; the best one is better than the one in use by
its *gain*. The estimate's band says what that gain would be on a slower and on a faster link, and half its width is
taken off: what remains is sure enough to act on. Sure gains add up, as shares of the price, from one decision to the
next; a loss takes them away. When they come to ``patience`` the cut moves. So a tenfold step of the rate moves it at
the first decision, a few percent after several, and noise around a point where two plans cost the same never (the sum
is a CUSUM chart: Page, "Continuous inspection schemes", Biometrika 1954). Patience doubles with each recent move, and
no more than ``max_switches`` fit into ``window_s``, so no step of the rate costs more moves than that.

Neither holds when the worker is lost (the device goes on alone at once) or is back. No clock here: time is an argument.

``patience`` and ``doubt`` were chosen by ``cleft-edge simulate`` with a ResNet-18 profile, 5 to 24 times slowed: in
total latency within 6 % of the oracle over steps, sawtooth, noise and jitter, 0 to 18 % over drives with outages, and
never over 4 % behind the best fixed cut (mostly 0 to 23 % before it). Ten minutes of +-20 % noise moved no cut at ten
rates around the points where two plans cost the same. A choice takes some 30 microseconds at a hundred candidates.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass

from edge.bandwidth import Estimate
from partitioner.cost import Candidate, CandidateTable, Load
from partitioner.link import BYTES_PER_MBIT, Link
from partitioner.optimize.constraints import Infeasible
from partitioner.planner import Planner

NO_WORKER = "no worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    """How much it takes to move the cut. Gains are shares of the price of the best plan."""

    least_gain: float = 0.02
    """A gain below this adds nothing."""
    least_gain_s: float = 0.0005
    patience: float = 0.2
    """Sum of sure gains that moves the cut."""
    max_switches: int = 2
    window_s: float = 4.0
    """In so long the cut moves at most ``max_switches`` times."""
    memory_s: float = 60.0
    """For so long a move for a gain below ``small`` makes the next one harder."""
    small: float = 0.3
    doubt: float = 0.5
    """How many times the doubt about a gain is taken off it."""
    small_bytes: int = 64 * 1024
    """A plan that sends no more than this learns too little of the link from its own frames."""
    unseen: float = 4.0
    """A link so many times as fast as it is thought to be may go unnoticed by the frames of a plan that sends
    ``small_bytes``; by those of one that sends less, as many times more."""
    idle_s: float = 10.0
    """Without a decision for so long nothing is probed."""
    probe_s: float = 1.0
    """Between two probes."""
    look_s: float = 0.25
    """How often is asked whether another link, or another load, would change the choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The plan for a request. ``gain``: what it saves of the former plan's time, as a share of its own.

    ``reason`` says why it was chosen: of a plan that stays, when it was.
    """

    candidate: Candidate
    predicted_s: float
    is_switch: bool
    reason: str
    gain: float = 0.0


class Policy:
    """Chooses plans for one kind of input. Not thread-safe."""

    def __init__(self, settings: PolicySettings | None = None) -> None:
        self._settings = settings or PolicySettings()
        self._rows: tuple[CandidateTable, dict[Hashable, int]] | None = None
        self._switched: deque[tuple[float, float]] = deque(maxlen=32)
        self._sum = 0.0
        self._reason = "first choice"
        self._link: Link | None = None
        self._load: Load | None = None
        self._was_lost = False
        self._decided_s = -math.inf
        self._looked_s = -math.inf
        self._probed_s = -math.inf
        self._is_link_bound = False
        self._is_load_bound = False

    @property
    def is_load_bound(self) -> bool:
        """Whether nothing runs on the worker because it is busy."""
        return self._is_load_bound

    def decide(
        self,
        planner: Planner,
        *,
        estimate: Estimate,
        load: Load,
        is_reachable: bool,
        current: Candidate | None,
        now_s: float,
    ) -> Choice:
        """The plan for a request that begins now."""
        self._decided_s = now_s
        table = planner.feasible
        rows = self._rows_of(table)
        here = None if current is None else rows.get(plan_key(current))
        if not is_reachable:
            return self._alone(table, here, current, estimate, load, now_s)
        fastest, best_s = _best(planner, estimate.link, load)
        best = rows[plan_key(fastest)]
        is_back, self._was_lost = self._was_lost, False
        if here is None or best == here:
            self._look(planner, table, best, estimate, load, now_s)
            self._sum = 0.0
            if here is None:
                return self._first(table, best, best_s, current, estimate, load, now_s)
            return Choice(candidate=table.candidates[here], predicted_s=best_s, is_switch=False, reason=self._reason)
        here_s = _price_s(table, here, estimate.link, load)
        gain_s = here_s - best_s
        spread_s = estimate.doubt_s(
            float(table.remote[here] - table.remote[best]),
            float(table.up_bytes[here] - table.up_bytes[best]),
            float(table.down_bytes[here] - table.down_bytes[best]),
        )
        if self._is_due(gain_s, spread_s, best_s, is_back=is_back, now_s=now_s):
            reason = self._why(table, here, best, estimate, load, is_back=is_back)
            return self._switch(table, best, best_s, gain_s / best_s, reason, estimate, load, now_s)
        self._look(planner, table, here, estimate, load, now_s)
        return Choice(candidate=table.candidates[here], predicted_s=here_s, is_switch=False, reason=self._reason)

    def is_active(self, now_s: float) -> bool:
        """Whether there are requests."""
        return now_s - self._decided_s <= self._settings.idle_s

    def wants_probe(self, now_s: float) -> bool:
        """Whether a faster link would change the plan, and the one in use does not tell; then it is due now."""
        settings = self._settings
        if not self._is_link_bound or not self.is_active(now_s):
            return False
        if now_s - self._probed_s < settings.probe_s * 0.9:
            return False
        self._probed_s = now_s
        return True

    def _is_due(self, gain_s: float, spread_s: float, best_s: float, *, is_back: bool, now_s: float) -> bool:
        """Whether sure gains have come to what it takes."""
        settings = self._settings
        if is_back and gain_s > settings.least_gain_s:
            return True
        sure = (gain_s - settings.doubt * spread_s) / best_s - settings.least_gain
        if gain_s <= settings.least_gain_s:
            sure = min(sure, 0.0)
        self._sum = max(0.0, self._sum + sure)
        small = sum(1 for at_s, gain in self._switched if now_s - at_s < settings.memory_s and gain < settings.small)
        within = sum(1 for at_s, _ in self._switched if now_s - at_s < settings.window_s)
        return self._sum >= settings.patience * 2.0 ** min(small, 4) and within < settings.max_switches

    def _alone(
        self,
        table: CandidateTable,
        here: int | None,
        current: Candidate | None,
        estimate: Estimate,
        load: Load,
        now_s: float,
    ) -> Choice:
        """The device's own plan, for as long as there is no worker."""
        local = next((row for row, candidate in enumerate(table.candidates) if candidate.is_local), None)
        self._was_lost, self._is_link_bound, self._is_load_bound = True, False, False
        if local is None:
            row = here if here is not None else 0
            return Choice(
                candidate=table.candidates[row],
                predicted_s=_price_s(table, row, estimate.link, load),
                is_switch=False,
                reason=f"{NO_WORKER}, and no plan without one",
            )
        local_s = _price_s(table, local, estimate.link, load)
        if local == here:
            return Choice(candidate=table.candidates[local], predicted_s=local_s, is_switch=False, reason=self._reason)
        self._reason = f"{NO_WORKER} can be reached: {table.candidates[local].cut} takes {_time(local_s)}"
        self._link, self._load, self._sum = estimate.link, load, 0.0
        return Choice(
            candidate=table.candidates[local],
            predicted_s=local_s,
            is_switch=current is not None,
            reason=self._reason,
        )

    def _first(
        self,
        table: CandidateTable,
        best: int,
        best_s: float,
        current: Candidate | None,
        estimate: Estimate,
        load: Load,
        now_s: float,
    ) -> Choice:
        self._link, self._load = estimate.link, load
        name = table.candidates[best].label
        self._reason = f"{_rates(estimate.link)}: {name} takes {_time(best_s)}"
        if current is not None and current.cut_id != table.candidates[best].cut_id:
            self._switched.append((now_s, math.inf))
            self._reason = f"{current.label} is no longer among the plans; {self._reason}"
            return Choice(candidate=table.candidates[best], predicted_s=best_s, is_switch=True, reason=self._reason)
        return Choice(candidate=table.candidates[best], predicted_s=best_s, is_switch=False, reason=self._reason)

    def _switch(
        self,
        table: CandidateTable,
        best: int,
        best_s: float,
        gain: float,
        reason: str,
        estimate: Estimate,
        load: Load,
        now_s: float,
    ) -> Choice:
        self._switched.append((now_s, gain))
        self._link, self._load, self._reason, self._sum = estimate.link, load, reason, 0.0
        self._looked_s = -math.inf
        return Choice(candidate=table.candidates[best], predicted_s=best_s, is_switch=True, reason=reason, gain=gain)

    def _why(
        self, table: CandidateTable, here: int, best: int, estimate: Estimate, load: Load, *, is_back: bool
    ) -> str:
        """What changed most of the gain since the plan in use was chosen."""
        link = estimate.link
        here_s, best_s = _price_s(table, here, link, load), _price_s(table, best, link, load)
        took = f"{table.candidates[here].label} would take {_time(here_s)}"
        prices = f"{took}, {table.candidates[best].label} {_time(best_s)}"
        if is_back:
            return f"the worker is back: {prices}"
        before, load_before = self._link or link, self._load or load
        old_rate = Link(
            up_bytes_per_s=before.up_bytes_per_s, down_bytes_per_s=before.down_bytes_per_s, rtt_s=link.rtt_s
        )
        old_rtt = Link(up_bytes_per_s=link.up_bytes_per_s, down_bytes_per_s=link.down_bytes_per_s, rtt_s=before.rtt_s)
        causes = (
            (old_rate, load, f"up {before.up_mbit:.3g} -> {link.up_mbit:.3g} Mbit/s"),
            (old_rtt, load, f"round trip {_time(before.rtt_s)} -> {_time(link.rtt_s)}"),
            (link, load_before, f"worker's queue {_time(load_before.queue_s)} -> {_time(load.queue_s)}"),
        )
        gain_s = here_s - best_s
        changes = [
            (gain_s - (_price_s(table, here, at, by) - _price_s(table, best, at, by)), text) for at, by, text in causes
        ]
        most_s, text = max(changes)
        return f"{text if most_s > 0.1 * gain_s else 'times as measured'}: {prices}"

    def _look(
        self, planner: Planner, table: CandidateTable, row: int, estimate: Estimate, load: Load, now_s: float
    ) -> None:
        """Whether another link or an idle worker would change the plan, where the plan in use cannot tell."""
        settings = self._settings
        if now_s - self._looked_s < settings.look_s:
            return
        self._looked_s = now_s
        self._is_link_bound = self._is_load_bound = False
        if table.up_bytes[row] > settings.small_bytes:
            return
        here_s = _price_s(table, row, estimate.link, load)
        ideal = Link(up_bytes_per_s=1e9, down_bytes_per_s=1e9, rtt_s=min(estimate.high.rtt_s, 0.001))
        if table.up_bytes[row] > 0:  # what it sends would tell of a much faster link
            unseen = settings.unseen * settings.small_bytes / float(table.up_bytes[row])
            ideal = Link(
                up_bytes_per_s=unseen * estimate.link.up_bytes_per_s,
                down_bytes_per_s=unseen * estimate.link.down_bytes_per_s,
                rtt_s=estimate.link.rtt_s,
            )
            here_s = _price_s(table, row, ideal, load)
        self._is_link_bound = _best(planner, ideal, load)[1] < (1 - settings.least_gain) * here_s
        if table.candidates[row].is_local and not load.is_idle:
            self._is_load_bound = _best(planner, estimate.link, Load())[1] < (1 - settings.least_gain) * here_s

    def _rows_of(self, table: CandidateTable) -> dict[Hashable, int]:
        if self._rows is None or self._rows[0] is not table:
            self._rows = table, rows_of(table)
        return self._rows[1]


def plan_key(candidate: Candidate) -> Hashable:
    """What tells a candidate from others of one model, in this table and in another."""
    return candidate.cut_id, candidate.codec, candidate.edge_runtime, candidate.cloud_runtime


def rows_of(table: CandidateTable) -> dict[Hashable, int]:
    """The row of each candidate, by its key."""
    return {plan_key(candidate): row for row, candidate in enumerate(table.candidates)}


def _best(planner: Planner, link: Link, load: Load) -> tuple[Candidate, float]:
    """The candidate to choose, and its price; the fastest where none is in time."""
    try:
        decision = planner.at(link, load)
    except Infeasible:
        prices_s = planner.frozen.price(link, load)
        row = int(prices_s.argmin())
        return planner.frozen.candidates[row], float(prices_s[row])
    return decision.candidate, decision.predicted_s


def _price_s(table: CandidateTable, row: int, link: Link, load: Load) -> float:
    """What ``CandidateTable.price`` says of one row."""
    return float(
        table.compute_s[row]
        + table.tail_s[row] * load.slowdown
        + table.remote[row] * (link.rtt_s + load.queue_s)
        + table.up_bytes[row] / link.up_bytes_per_s
        + table.down_bytes[row] / link.down_bytes_per_s
    )


def _rates(link: Link) -> str:
    return f"up {link.up_bytes_per_s / BYTES_PER_MBIT:.3g} Mbit/s, round trip {_time(link.rtt_s)}"


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"
