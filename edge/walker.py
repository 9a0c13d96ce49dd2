"""Running a plan: its stages in order, here or there, over one pool of named tensors.

Whatever the plan's shape, this is the whole interpreter. A request is walked by one thread from its input to its
answer; what went up stays in the pool, unchanged, until the answer is there, so the device can finish the request from
the cut whatever becomes of the worker (``edge.crossing``).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edge.answer import check_reply
from edge.cargo import Cargo, Crossed, Finish, Forecast
from edge.client import Client
from edge.crossing import Crossing
from edge.errors import EdgeError, NoWorker, WorkerLost, WorkerUnreachable
from edge.frames import Reply
from edge.outlook import PaceKey, Paces, pace_key
from edge.runner import Ran, Runner
from edge.spending import Spent
from edge.turnstile import Either, NotWanted, Until
from partitioner.graph import Graph
from partitioner.inputs import Sample
from partitioner.plan import SOURCE, Plan, Segment
from partitioner.runtimes import Array
from protos.pictures import PICTURES

_TELL_EVERY_S = 60.0
"""People are told no oftener that a worker fails which is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request: its place among all, until when it is to be answered (monotonic), and what is predicted of it.

    ``pace_key`` is what finishing it is learnt by; ``until`` comes when nobody wants the answer any more.
    """

    order: int
    pace_key: PaceKey
    expires_s: float | None
    forecast: Forecast
    until: Until | None = None


class Walker:
    """Runs plans on this device and, through ``crossing`` where there is one, on workers. Thread-safe.

    Args:
        may_fall_back: finish here what no worker does.
        notify: takes lines for people.
    """

    def __init__(self, graph: Graph, runner: Runner, *, may_fall_back: bool, notify: Callable[[str], None]) -> None:
        self._graph = graph
        self._runner = runner
        self._may_fall_back = may_fall_back
        self._notify = notify
        self.crossing: Crossing[Client] | None = None
        self.paces = Paces()
        self.is_worker_down = False
        self._told_s = -math.inf

    def walk(self, plan: Plan, sample: Sample, spent: Spent, request: Request) -> dict[str, Array]:
        """Every tensor that running a plan on a sample makes, by name.

        Raises:
            InputError: the sample does not fit the model.
            EdgeError: a worker was needed and could not be had.
            NotWanted: the request's ``until`` came first.
        """
        values: dict[str, Array] = dict(sample.tensors or {})
        if sample.source is not None:
            values[SOURCE] = sample.source
            if SOURCE not in plan.stages[0].segment.inputs:
                values.update(self._prepared(sample, spent))
        chosen: dict[str, str] = {}
        for index, stage in enumerate(plan.stages):
            if stage.place == "edge":
                ran = self._runner.run(stage.segment, values, order=request.order, until=request.until)
                made = _counted(ran, spent)
            else:
                spent.ahead_s = spent.preprocess_s + spent.head_s
                made = self._run_there(plan, index, values, chosen, spent, request)
            values.update(made)
            chosen.update(stage.codecs)
        if plan.is_local:
            spent.ahead_s = spent.preprocess_s + spent.head_s
        return values

    def rehearse(self, plan: Plan, sample: Sample, *, slowdown: float) -> None:
        """Run all of a plan here, to know how long its later stages take; of these the first run does not count."""
        values: dict[str, Array] = dict(self._runner.tensors_of(sample))
        if sample.source is not None:
            values[SOURCE] = sample.source
        for stage in plan.stages:
            took_s = 0.0
            if stage.segment.preprocess and sample.source is not None:
                took_s = self._runner.preprocess(sample.source)[1]
            made = self._runner.compute(stage.segment, values)
            if stage.place == "cloud":
                begun_s = time.perf_counter()
                self._runner.compute(stage.segment, values)
                self.paces.note(pace_key(plan.plan_id, sample), took_s + slowdown * (time.perf_counter() - begun_s))
            values.update(made)

    def may_finish(self, error: EdgeError) -> bool:
        """Whether the device answers what the worker does not."""
        return self._may_fall_back and (self.crossing is None or self.crossing.may_finish(error))

    def note_down(self, error: EdgeError) -> None:
        """Tell people that the worker is not there, once, or that it fails, now and then."""
        if isinstance(error, WorkerLost | WorkerUnreachable | NoWorker):
            if not self.is_worker_down:
                self._notify(f"{error}; this device finishes the rest until the worker is back")
            self.is_worker_down = True
        elif not self.is_worker_down and time.monotonic() - self._told_s >= _TELL_EVERY_S:
            self._told_s = time.monotonic()
            self._notify(f"{error}; this device finishes what the worker does not")

    def _prepared(self, sample: Sample, spent: Spent) -> dict[str, Array]:
        assert sample.source is not None
        tensors, took_s = self._runner.preprocess(sample.source)
        spent.preprocess_s += took_s
        return tensors

    def _run_there(
        self,
        plan: Plan,
        index: int,
        values: Mapping[str, Array],
        chosen: Mapping[str, str],
        spent: Spent,
        request: Request,
    ) -> dict[str, Array]:
        assert self.crossing is not None
        segment = plan.stages[index].segment
        names = (SOURCE,) if segment.preprocess else segment.inputs
        sent = {name: values[name] for name in names}
        going, codecs = sent, chosen
        if segment.preprocess and chosen.get(SOURCE) in PICTURES:
            going, codecs = self._reencoded(sent[SOURCE], chosen[SOURCE], spent), {}
        home: list[Ran] = []
        cargo = Cargo(
            plan=plan,
            stage=index,
            tensors=going,
            codecs=codecs,
            expires_s=request.expires_s,
            forecast=request.forecast,
            until=request.until,
        )
        start_s = time.perf_counter()
        crossed = self.crossing.cross(
            cargo,
            check=lambda reply: check_reply(self._graph, segment, reply.tensors),
            finish=self._finisher(segment, sent, request, home) if self._may_fall_back else None,
        )
        if crossed.reply is not None:
            return self._answered(crossed, crossed.reply, spent)
        assert crossed.made is not None
        assert crossed.why is not None
        self.note_down(crossed.why)
        spent.is_fallback = True
        spent.wire_s += max(0.0, time.perf_counter() - start_s - home[-1].compute_s - home[-1].preprocess_s)
        self.paces.note(request.pace_key, home[-1].compute_s + home[-1].preprocess_s)
        return _counted(home[-1], spent)

    def _finisher(self, segment: Segment, sent: Mapping[str, Array], request: Request, home: list[Ran]) -> Finish:
        """What finishes a request here, over the tensors that were sent; leaves what it took in ``home``."""

        def finish(until: Until) -> dict[str, Array] | None:
            needless = until if request.until is None else Either(until, request.until)
            try:
                home.append(self._runner.run(segment, sent, order=request.order, is_finish=True, until=needless))
            except NotWanted:
                if request.until is not None and request.until.is_answered:
                    raise
                return None
            return home[-1].outputs

        return finish

    def _answered(self, crossed: Crossed, reply: Reply, spent: Spent) -> dict[str, Array]:
        self.is_worker_down = False
        spent.take(reply, crossed.target)
        return reply.tensors

    def _reencoded(self, source: Array, name: str, spent: Spent) -> dict[str, Array]:
        """The original input as it is to be sent; the device keeps the one that it was given."""
        picture, took_s = self._runner.reencode(source, name)
        spent.encode_s += took_s
        return {SOURCE: picture}


def _counted(ran: Ran, spent: Spent) -> dict[str, Array]:
    spent.head_s += ran.compute_s
    spent.preprocess_s += ran.preprocess_s
    return ran.outputs
