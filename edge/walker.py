"""Running a plan: its stages in order, here or there, over one pool of named tensors.

Whatever the plan's shape, this is the whole interpreter. What went up stays in the pool until the answer is there, so
where the worker is lost, refuses or answers nonsense, the device finishes the request from the cut.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from edge.answer import check_reply
from edge.connection import Connection
from edge.errors import EdgeError, WorkerLost, WorkerRefused, WorkerUnreachable
from edge.runner import Runner
from edge.spending import Spent
from partitioner.graph import Graph
from partitioner.inputs import Sample
from partitioner.plan import SOURCE, Plan, Segment
from partitioner.runtimes import Array
from protos.pictures import PICTURES

_EVERY_FRAME = frozenset({"UNKNOWN_MODEL", "UNSUPPORTED", "TOO_LARGE"})
"""Refusals that every frame would meet: reported, not papered over."""


class Walker:
    """Runs plans on this device and, through ``connection`` where there is one, on a worker.

    Args:
        may_fall_back: finish here what the worker does not.
        notify: takes lines for people.
    """

    def __init__(self, graph: Graph, runner: Runner, *, may_fall_back: bool, notify: Callable[[str], None]) -> None:
        self._graph = graph
        self._runner = runner
        self._may_fall_back = may_fall_back
        self._notify = notify
        self.connection: Connection | None = None
        self.is_worker_down = False
        self._has_been_served = False

    def walk(self, plan: Plan, sample: Sample, spent: Spent, *, deadline_s: float | None) -> dict[str, Array]:
        """Every tensor that running a plan on a sample makes, by name.

        Raises:
            InputError: the sample does not fit the model.
            EdgeError: the worker was needed and could not be had.
        """
        values: dict[str, Array] = dict(sample.tensors or {})
        if sample.source is not None:
            values[SOURCE] = sample.source
            if SOURCE not in plan.stages[0].segment.inputs:
                values.update(self._prepared(sample, spent))
        chosen: dict[str, str] = {}
        expires_s = None if deadline_s is None else time.monotonic() + deadline_s
        for index, stage in enumerate(plan.stages):
            if stage.place == "edge":
                made = self._run_here(stage.segment, values, spent)
            else:
                left_s = None if expires_s is None else max(0.0, expires_s - time.monotonic())
                made = self._run_there(plan, index, values, chosen, spent, left_s=left_s)
            values.update(made)
            chosen.update(stage.codecs)
        return values

    def _prepared(self, sample: Sample, spent: Spent) -> dict[str, Array]:
        assert sample.source is not None
        tensors, took_s = self._runner.preprocess(sample.source)
        spent.preprocess_s += took_s
        return tensors

    def _run_here(self, segment: Segment, values: Mapping[str, Array], spent: Spent) -> dict[str, Array]:
        ran = self._runner.run(segment, values)
        spent.head_s += ran.compute_s
        spent.preprocess_s += ran.preprocess_s
        return ran.outputs

    def _run_there(
        self,
        plan: Plan,
        index: int,
        values: Mapping[str, Array],
        chosen: Mapping[str, str],
        spent: Spent,
        *,
        left_s: float | None,
    ) -> dict[str, Array]:
        assert self.connection is not None
        segment = plan.stages[index].segment
        names = (SOURCE,) if segment.preprocess else segment.inputs
        sent = {name: values[name] for name in names}
        start_s = time.perf_counter()
        going, codecs = sent, chosen
        if segment.preprocess and chosen.get(SOURCE) in PICTURES:
            going, codecs = self._reencoded(sent[SOURCE], chosen[SOURCE], spent), {}
            left_s = None if left_s is None else max(0.0, left_s - (time.perf_counter() - start_s))
            start_s = time.perf_counter()
        try:
            reply = self.connection.ask(plan, index, going, codecs, deadline_s=left_s)
            check_reply(self._graph, segment, reply.tensors)
        except EdgeError as error:
            if not self.may_finish(error):
                raise
            spent.wire_s += time.perf_counter() - start_s
            spent.is_fallback = True
            self.note_down(error)
            return self._run_here(segment, sent, spent)
        self.is_worker_down = False
        self._has_been_served = True
        spent.take(reply)
        return reply.tensors

    def _reencoded(self, source: Array, name: str, spent: Spent) -> dict[str, Array]:
        """The original input as it is to be sent; the device keeps the one that it was given."""
        picture, took_s = self._runner.reencode(source, name)
        spent.encode_s += took_s
        return {SOURCE: picture}

    def may_finish(self, error: EdgeError) -> bool:
        """Whether the device answers what the worker does not.

        Not where a worker that never served this session refuses every frame: one that did may have come back as
        another.
        """
        is_for_good = isinstance(error, WorkerRefused) and error.code in _EVERY_FRAME
        return self._may_fall_back and not (is_for_good and not self._has_been_served)

    def note_down(self, error: EdgeError) -> None:
        """Tell people once that the worker is not there."""
        if not self.is_worker_down:
            is_gone = isinstance(error, WorkerLost | WorkerUnreachable)
            until = "the rest until the worker is back" if is_gone else "what the worker does not"
            self._notify(f"{error}; this device finishes {until}")
        self.is_worker_down = True
