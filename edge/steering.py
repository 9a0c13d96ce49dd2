"""The thread-safe shell over estimator, load, correction and policy: which plan a request takes, and when to give up.

One per session. Sessions with workers tell it of their links through ``observer``, walkers of what answers took; it
holds no thread, and its lock is never held while anything waits. A choice takes some tens of microseconds; freezing
the planner's table anew after a correction takes milliseconds, so that is done when an answer is noted, only for a
change that matters and at most once a second.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np

from edge.bandwidth import Estimate, Estimator, LinkObserver, Listener
from edge.burden import Burden, LoadSeen
from edge.correction import Correction
from edge.policy import Choice, Policy, PolicySettings, plan_key, rows_of
from edge.telemetry import Counters
from partitioner.cost import IDLE, TERMS, Candidate, CandidateTable, FloatArray, Load
from partitioner.link import Link
from partitioner.planner import Planner
from protos.chunks import chunk_bytes

_POLICY_LOG = logging.getLogger("edge.policy")
_KEPT_DECISIONS = 256
_KEPT_KINDS = 64
_REBUILD_S = 1.0
_MATTERS = math.log(1.08)
"""A factor that moved by less does not change the table."""
_HEAD, _TAIL = TERMS.index("head_s"), TERMS.index("tail_s")
_LEAST_SUFFIX = 0.02
"""Share of the whole model's time that any suffix takes, whatever head and whole differ by."""
_LATE_SHARE = 2.0
"""What is late by t, an acknowledgement or an answer, is expected to take this share of t longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """One decision: when (monotonic), for which kind of input, and what was chosen why."""

    at_s: float
    kind: Hashable
    target: str | None
    candidate: Candidate
    predicted_s: float
    is_switch: bool
    reason: str

    @property
    def line(self) -> str:
        """For a log."""
        return f"{self.candidate.label} ({self.candidate.codec}): {self.reason}"


@dataclass(slots=True)
class _Kind:
    """What is known of one kind of input."""

    policy: Policy
    planner: Planner | None = None
    corrected: Planner | None = None
    rows: dict[Hashable, int] = field(default_factory=dict)
    current: Candidate | None = None
    is_begun: bool = False
    heads: Correction = field(default_factory=Correction)
    tails: dict[str | None, Correction] = field(default_factory=dict)
    applied: FloatArray | None = None
    applied_s: float = -math.inf
    target: str | None = None


class Steering:
    """Chooses a plan for every request of a session. Thread-safe."""

    def __init__(
        self,
        *,
        counters: Counters,
        settings: PolicySettings | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counters = counters
        self._settings = settings or PolicySettings()
        self._now = now
        self._lock = threading.Lock()
        self._links: dict[str, Estimator] = {}
        self._burdens: dict[str, Burden] = {}
        self._kinds: OrderedDict[Hashable, _Kind] = OrderedDict()
        self._decisions: deque[Decided] = deque(maxlen=_KEPT_DECISIONS)

    @property
    def decisions(self) -> tuple[Decided, ...]:
        """The last decisions that changed something, oldest first."""
        with self._lock:
            return tuple(self._decisions)

    def observer(self, target: str) -> LinkObserver:
        """What a session with this worker tells of its link."""
        return Listener(lambda note: self._observe(target, note))

    def prior(self, target: str, link: Link) -> None:
        """The link to a worker was measured as a whole, now."""
        with self._lock:
            self._links[target] = Estimator(link, at_s=self._now())

    def estimate(self, target: str) -> Estimate:
        """The link to a worker as it is thought to be now."""
        with self._lock:
            return self._link(target).at(self._now())

    def load(self, target: str) -> Load:
        """The load that a frame for a worker would meet now."""
        with self._lock:
            return self._load(target)

    def choose(self, kind: Hashable, planner: Planner, *, target: str | None) -> Choice:
        """The plan for a request that begins now; ``target`` None: no worker can be reached."""
        now_s = self._now()
        with self._lock:
            state = self._kind(kind, planner, target)
            used = state.corrected or planner
            choice = state.policy.decide(
                used,
                estimate=self._link(target or state.target or "").at(now_s),
                load=IDLE if target is None else self._load(target),
                is_reachable=target is not None,
                current=state.current,
                now_s=now_s,
            )
            is_news = choice.is_switch or not state.is_begun
            state.current, state.is_begun = choice.candidate, True
            if target is not None:
                state.target = target
            if is_news:
                decided = Decided(
                    at_s=now_s,
                    kind=kind,
                    target=target,
                    candidate=choice.candidate,
                    predicted_s=choice.predicted_s,
                    is_switch=choice.is_switch,
                    reason=choice.reason,
                )
                self._decisions.append(decided)
        if is_news:
            self._tell(decided)
        return choice

    def prices_s(
        self, kind: Hashable, planner: Planner, candidates: Sequence[Candidate], *, target: str
    ) -> tuple[float, ...]:
        """What plans of a planner are predicted to take now, corrected; infinite for one that it does not have."""
        now_s = self._now()
        with self._lock:
            state = self._kind(kind, planner, target)
            table = (state.corrected or planner).everything
            all_s = table.price(self._link(target).at(now_s).link, self._load(target))
            rows = [state.rows.get(plan_key(each)) for each in candidates]
        return tuple(math.inf if row is None else float(all_s[row]) for row in rows)

    def note_answer(
        self,
        kind: Hashable,
        candidate: Candidate,
        *,
        head_s: float | None,
        tail_s: float | None,
        load: LoadSeen | None = None,
        target: str | None = None,
    ) -> None:
        """A request was answered: what the device took for the head and the worker for the tail, preparing included.

        None for what was not run as planned. ``load``: what the answer says of the worker.
        """
        now_s = self._now()
        with self._lock:
            state = self._kinds.get(kind)
            if state is None or state.planner is None:
                return
            target = target if target is not None else state.target
            row = state.rows.get(plan_key(candidate))
            if row is not None:
                predicted_s = state.planner.everything.fixed_s[row]
                plan = candidate.cut_id, candidate.edge_runtime
                if head_s is not None:
                    state.heads.note(plan, predicted_s=float(predicted_s[_HEAD]), measured_s=head_s, at_s=now_s)
                if tail_s is not None and not candidate.is_local:
                    tails = state.tails.setdefault(target, Correction())
                    far = candidate.cut_id, candidate.cloud_runtime
                    tails.note(far, predicted_s=float(predicted_s[_TAIL]), measured_s=tail_s, at_s=now_s)
            if load is not None and target is not None:
                self._burdens.setdefault(target, Burden()).seen(load, tail_s=tail_s or 0.0, at_s=now_s)
            self._correct(state, target, now_s)

    def note_load(self, target: str, load: Load) -> None:
        """A worker's load was told outside an answer: in a refusal, or in its status."""
        with self._lock:
            self._burdens.setdefault(target, Burden()).note(load, self._now())

    def home_s(self, planner: Planner, candidate: Candidate) -> float:
        """The device's own time for the whole request."""
        with self._lock:
            return self._edge_times_s(planner, candidate)[1]

    def suffix_s(self, planner: Planner, candidate: Candidate) -> float:
        """The device's own time from a candidate's cut to the end."""
        with self._lock:
            head_s, whole_s = self._edge_times_s(planner, candidate)
        return max(whole_s - head_s, _LEAST_SUFFIX * whole_s)

    def remaining_s(
        self, candidate: Candidate, *, target: str, left_up_bytes: float, waited_s: float, kind: Hashable = None
    ) -> float:
        """Predicted time until a frame in flight is answered.

        Args:
            left_up_bytes: of its payload, not acknowledged.
            waited_s: since it last came any further: a chunk was acknowledged, or the first one left.
        """
        now_s = self._now()
        with self._lock:
            link = self._link(target).at(now_s).link
            load = self._load(target)
            far_s = self._far_s(candidate, load, kind)
        pace = 1.0 / link.up_bytes_per_s
        down_s = candidate.down_bytes / link.down_bytes_per_s
        next_s = link.rtt_s + (far_s + down_s)
        if left_up_bytes > 0:
            pace = max(pace, (waited_s - link.rtt_s) / left_up_bytes)
            next_s = link.rtt_s + pace * min(left_up_bytes, chunk_bytes(1.0 / pace))
        due_s = left_up_bytes * pace + link.rtt_s + far_s + down_s - waited_s
        return max(due_s, _LATE_SHARE * (waited_s - next_s), 0.0)

    def wants_probe(self, target: str) -> bool:
        """Whether a small probe of the link is due now, because the link is why nothing is sent."""
        now_s = self._now()
        with self._lock:
            return any(each.policy.wants_probe(now_s) for each in self._kinds.values() if each.target == target)

    def wants_echo(self, target: str) -> bool:
        """Whether the round trip to a worker is of use: there are requests that may go there."""
        now_s = self._now()
        with self._lock:
            return any(each.policy.is_active(now_s) for each in self._kinds.values() if each.target == target)

    def wants_load(self, target: str) -> bool:
        """Whether the worker is to be asked how busy it is, because that is why nothing is sent."""
        now_s = self._now()
        with self._lock:
            return any(
                each.policy.is_load_bound and each.policy.is_active(now_s)
                for each in self._kinds.values()
                if each.target == target
            )

    def _tell(self, decided: Decided) -> None:
        if decided.is_switch:
            self._counters.add(switches=1)
        _POLICY_LOG.info(
            "%s",
            decided.line,
            extra={
                "cleft": {
                    "cut": decided.candidate.cut,
                    "codec": decided.candidate.codec,
                    "worker": decided.target,
                    "predicted_s": decided.predicted_s,
                    "is_switch": decided.is_switch,
                    "reason": decided.reason,
                }
            },
        )

    def _link(self, target: str) -> Estimator:
        if target not in self._links:
            self._links[target] = Estimator()
        return self._links[target]

    def _load(self, target: str) -> Load:
        burden = self._burdens.get(target)
        return IDLE if burden is None else burden.at(self._now())

    def _kind(self, kind: Hashable, planner: Planner, target: str | None) -> _Kind:
        state = self._kinds.get(kind)
        if state is None:
            state = self._kinds[kind] = _Kind(policy=Policy(self._settings))
            if len(self._kinds) > _KEPT_KINDS:
                self._kinds.popitem(last=False)
        self._kinds.move_to_end(kind)
        if state.planner is not planner:
            state.planner, state.corrected, state.applied = planner, None, None
            state.rows = rows_of(planner.everything)
        if target is not None and state.target != target:
            state.applied_s = -math.inf
        return state

    def _correct(self, state: _Kind, target: str | None, now_s: float) -> None:
        """Freeze the table anew where the factors have moved by what matters."""
        if state.planner is None or now_s - state.applied_s < _REBUILD_S:
            return
        table = state.planner.everything
        heads = state.heads.factors([(each.cut_id, each.edge_runtime) for each in table.candidates], now_s)
        tails = np.ones(len(table))
        if (known := state.tails.get(target)) is not None:
            tails = known.factors([(each.cut_id, each.cloud_runtime) for each in table.candidates], now_s)
        factors = np.log(np.stack([heads, tails]))
        before = np.zeros_like(factors) if state.applied is None else state.applied
        state.applied_s = now_s
        if np.abs(factors - before).max() < _MATTERS:
            return
        state.applied = factors
        state.corrected = Planner(
            table.scaled(heads, tails), constraints=state.planner.constraints, objective=state.planner.objective
        )

    def _edge_times_s(self, planner: Planner, candidate: Candidate) -> tuple[float, float]:
        """A candidate's head and the whole model, on the device as it is now."""
        state = next((each for each in self._kinds.values() if each.planner is planner), None)
        used = planner if state is None or state.corrected is None else state.corrected
        table = used.everything
        rows = state.rows if state is not None else rows_of(table)
        heads_s = table.fixed_s[:, _HEAD]
        whole_s = next(float(heads_s[row]) for row, each in enumerate(table.candidates) if each.is_local)
        row = rows.get(plan_key(candidate))
        return (0.0 if row is None else float(heads_s[row])), whole_s

    def _far_s(self, candidate: Candidate, load: Load, kind: Hashable) -> float:
        """What the worker takes for a candidate, from its last byte up to its first byte down."""
        states = [self._kinds[kind]] if kind in self._kinds else list(self._kinds.values())
        for state in states:
            row = state.rows.get(plan_key(candidate))
            if row is None or state.planner is None:
                continue
            table: CandidateTable = (state.corrected or state.planner).everything
            return float(table.cloud_s[row] + table.tail_s[row] * load.slowdown + load.queue_s)
        return load.queue_s

    def _observe(self, target: str, note: Callable[[Estimator], None]) -> None:
        with self._lock:
            note(self._link(target))
