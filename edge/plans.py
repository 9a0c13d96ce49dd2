"""The plans of a session: one for every kind of input, chosen anew for every request where measurements choose.

Inputs are of one kind when they are all pictures or all tensors and their sizes lie within a tenth of each other. The
first request of a kind pays for measuring and freezing the candidates; afterwards a choice takes some tens of
microseconds. A plan that was not used yet is made ready in the background, here (its first run is slower) and at the
worker, while the one before goes on: a request is late for it once at most, and none waits for another's plan. Those
that a slower or faster link would want are made ready with the first, while nothing is in their way. Nothing
is loaded again when the cut moves, for the engine holds the whole model's weights; and a request keeps the plan that it
began with.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from edge.advisor import AUTO, Selected, Wish, options, select, selected_of
from edge.client import Client
from edge.errors import NoWorker
from edge.evidence import Evidence
from edge.fleet import Fleet
from edge.preparing import Preparer
from edge.steering import Steering
from partitioner.cost import Candidate
from partitioner.errors import CleftError
from partitioner.inputs import Sample
from partitioner.planner import Planner
from partitioner.segments import LOCAL, Cuts

_KEPT_KINDS = 64
_STEPS_PER_DOUBLING = 8
_OTHER_RATES = (1 / 25, 1 / 5, 5.0)
"""Times the link's: the plans that are best there are made ready with the first one."""

Key = tuple[str, str]
EvidenceFor = Callable[[Sample, Mapping[str, int]], Evidence]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The plan of one request. ``candidate`` and ``planner`` are there where it was chosen by measurements.

    ``is_stranded``: this device answers for want of a worker.
    """

    selected: Selected
    kind: Hashable = None
    planner: Planner | None = None
    candidate: Candidate | None = None
    is_stranded: bool = False


@dataclass(slots=True)
class _Kind:
    """What is known of one kind of input: the plan that stays, or the candidates and those that are ready here."""

    kind: Hashable
    fixed: Chosen | None = None
    planner: Planner | None = None
    ready: dict[Key, Chosen] = field(default_factory=dict)
    preparing: set[Key] = field(default_factory=set)
    current: Chosen | None = None


class Plans:
    """Which plan a request takes. Thread-safe.

    Args:
        wish: what the user asked for.
        evidence: what was measured, for an input of these sizes.
        sizes: the sizes of a sample that a plan is chosen by.
        ready: makes a plan ready on this device, by a sample.
        stranded: whether the device answers alone where choosing ended in this error.
        preparer: makes plans ready in the background.
        fleet: the workers; None where none is needed.
        steering: chooses among candidates; None where the first choice stays.
        is_measured: whether a plan can be chosen now; until then this device answers alone, and a worker that is
            reached is measured in the background.
        measure: measures it.
    """

    def __init__(
        self,
        cuts: Cuts,
        wish: Wish,
        *,
        evidence: EvidenceFor,
        sizes: Callable[[Sample], Mapping[str, int]],
        ready: Callable[[Selected, Sample], None],
        stranded: Callable[[CleftError], bool],
        preparer: Preparer,
        fleet: Fleet | None,
        steering: Steering | None,
        is_measured: Callable[[], bool] = lambda: True,
        measure: Callable[[], None] = lambda: None,
    ) -> None:
        self.wish = wish
        self._cuts = cuts
        self._evidence = evidence
        self._sizes = sizes
        self._ready_here = ready
        self._is_stranded = stranded
        self._fleet = fleet
        self._steering = steering
        self._is_measured = is_measured
        self._measure = measure
        self._is_measuring = False
        self._lock = threading.Lock()
        self._building = threading.Lock()
        self._kinds: OrderedDict[Hashable, _Kind] = OrderedDict()
        self._preparer = preparer

    def of(self, sample: Sample) -> Chosen:
        """The plan for a request with this input.

        Raises:
            CleftError: there is none.
        """
        sizes = self._sizes(sample)
        kind = sample.source is not None, tuple(_step(each) for each in sizes.values())
        state = self._known(kind)
        if state is None:
            with self._building:
                state = self._known(kind) or self._build(kind, sample, sizes)
        if state.fixed is not None:
            return state.fixed
        return self._steered(state, sample)

    def ready(self, sample: Sample) -> Chosen:
        """The same, made ready at the worker too.

        Raises:
            CleftError: there is none, or the worker refuses it.
        """
        chosen = self.of(sample)
        plan = chosen.selected.plan
        if self._fleet is None or plan.is_local:
            return chosen
        try:
            client = self._fleet.current() or self._fleet.wait(self._fleet.patience_s)
            if client is None:
                raise NoWorker
            self._fleet.ready(client, plan)
        except CleftError as error:
            if not self._is_stranded(error):
                raise
        return chosen

    def _home(self, sample: Sample, sizes: Mapping[str, int]) -> Chosen:
        """What this device does for want of a worker."""
        home = select(self._cuts, Wish(cut=LOCAL), sample, evidence=lambda: self._evidence(sample, sizes))
        return Chosen(selected=home, is_stranded=True)

    def _measure_later(self) -> None:
        """Have a worker that is there measured in the background."""
        with self._lock:
            if self._is_measuring or self._fleet is None or self._fleet.current() is None:
                return
            self._is_measuring = True

        def measure() -> None:
            try:
                self._measure()
            finally:
                self._is_measuring = False

        self._preparer.put(measure)

    def _known(self, kind: Hashable) -> _Kind | None:
        with self._lock:
            state = self._kinds.get(kind)
            if state is not None:
                self._kinds.move_to_end(kind)
            return state

    def _build(self, kind: Hashable, sample: Sample, sizes: Mapping[str, int]) -> _Kind:
        """What is to be known of a new kind; what was found for want of a worker is not kept."""
        wish = self.wish
        is_steered = self._steering is not None and wish.cut == AUTO and wish.is_measured
        state = _Kind(kind=kind)
        if wish.is_measured and not self._is_measured():
            self._measure_later()
            state.fixed = self._home(sample, sizes)
            return state
        try:
            if is_steered and len(self._cuts.candidates) > 1:
                state.planner = options(self._cuts, wish, sample, self._evidence(sample, sizes))
            else:
                selected = select(self._cuts, wish, sample, evidence=lambda: self._evidence(sample, sizes))
                self._ready_here(selected, sample)
                state.fixed = Chosen(selected=selected)
        except CleftError as error:
            if not self._is_stranded(error):
                raise
            state.fixed = self._home(sample, sizes)
            return state
        with self._lock:
            self._kinds[kind] = state
            if len(self._kinds) > _KEPT_KINDS:
                self._kinds.popitem(last=False)
        return state

    def _steered(self, state: _Kind, sample: Sample) -> Chosen:
        """What the link and the load want now where it can run, else what ran before.

        Raises:
            NoWorker: there is none, and this device is not to answer for want of one.
        """
        assert self._steering is not None
        assert self._fleet is not None
        assert state.planner is not None
        client, ran = self._fleet.current(), state.current
        is_home = ran is not None and ran.selected.plan.is_local
        if client is None and not is_home and not self._is_stranded(NoWorker()):
            if ran is not None:
                return ran
            client = self._fleet.wait(self._fleet.patience_s)
            if client is None:
                raise NoWorker
        target = None if client is None else client.target
        candidate = self._steering.choose(state.kind, state.planner, target=target).candidate
        wanted = state.ready.get((candidate.cut_id, candidate.codec))
        if client is None:
            wanted = wanted or self._made(state, candidate, "")
            return replace(wanted, is_stranded=wanted.selected.plan.is_local and not is_home)
        if wanted is not None and self._can_run(client, wanted):
            state.current = wanted
        elif state.current is None or not self._can_run(client, state.current):
            if state.current is None:
                self._prepare_others(state, candidate, client, sample)
            state.current = wanted or self._made(state, candidate, client.target, sample)
        else:
            if wanted is None:
                self._prepare_later(state, candidate, client, sample)
            return self._meanwhile(state, state.current, client.target)
        return state.current

    def _meanwhile(self, state: _Kind, ran: Chosen, target: str) -> Chosen:
        """What runs until the plan that is wanted can: what ran before, or all of it here where that is faster now."""
        assert self._steering is not None
        assert state.planner is not None
        local = next((each for each in state.planner.frozen.candidates if each.is_local), None)
        if local is None or ran.candidate is None:
            return ran
        alone_s, ran_s = self._steering.prices_s(state.kind, state.planner, (local, ran.candidate), target=target)
        if ran_s <= alone_s:
            return ran
        return state.ready.get((local.cut_id, local.codec)) or self._made(state, local, target)

    def _can_run(self, client: Client, chosen: Chosen) -> bool:
        """Whether the worker has the plan; one that has it not is asked to make it ready."""
        assert self._fleet is not None
        plan = chosen.selected.plan
        return plan.is_local or self._fleet.is_ready(client, plan)

    def _made(self, state: _Kind, candidate: Candidate, target: str, sample: Sample | None = None) -> Chosen:
        """A candidate's plan; with a sample, ready on this device."""
        assert self._steering is not None
        assert state.planner is not None
        table = state.planner.everything
        alone = Planner(table.take(np.array([table.candidates.index(candidate)])))
        link = self._steering.estimate(target).link
        selected = selected_of(self._cuts, alone.at(link, self._steering.load(target)).priced, link)
        if sample is not None:
            self._ready_here(selected, sample)
        chosen = Chosen(selected=selected, kind=state.kind, planner=state.planner, candidate=candidate)
        state.ready[candidate.cut_id, candidate.codec] = chosen
        return chosen

    def _prepare_others(self, state: _Kind, first: Candidate, client: Client, sample: Sample) -> None:
        """Have the plans made ready that a much slower or faster link wants: a slow one holds up their proposal."""
        assert self._steering is not None
        assert state.planner is not None
        link = self._steering.estimate(client.target).link
        for factor in _OTHER_RATES:
            other = replace(
                link, up_bytes_per_s=factor * link.up_bytes_per_s, down_bytes_per_s=factor * link.down_bytes_per_s
            )
            with suppress(CleftError):
                candidate = state.planner.at(other).candidate
                if not candidate.is_local and candidate.cut_id != first.cut_id:
                    self._prepare_later(state, candidate, client, sample)

    def _prepare_later(self, state: _Kind, candidate: Candidate, client: Client, sample: Sample) -> None:
        """Have a plan made ready in the background, here and there."""
        key = candidate.cut_id, candidate.codec
        with self._lock:
            if key in state.preparing:
                return
            state.preparing.add(key)

        def prepare() -> None:
            try:
                self._can_run(client, self._made(state, candidate, client.target, sample))
            finally:
                with self._lock:
                    state.preparing.discard(key)

        self._preparer.put(prepare)


def _step(size: int) -> int:
    """The step of a geometric scale that a size is on: sizes on one share a plan."""
    return round(_STEPS_PER_DOUBLING * math.log2(max(size, 1)))
