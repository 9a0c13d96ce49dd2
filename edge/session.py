"""Split inference as one call: ``with Session("torchvision:resnet18", cloud="host:port") as s: answer = s(x)``.

A session holds the bundle, the device's engine and a connection; it picks a plan, once per kind of input, and has it
walked (``walker``). When the worker is lost, refuses or answers nonsense twice, the device finishes the request *from
the cut*: no input is lost, and the answer says so.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import statistics
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType

from edge.advisor import AUTO, Advisor, OnProgress, Selected, Wish, select
from edge.answer import Answer, Where, assemble
from edge.client import Client
from edge.clock import DeviceClock
from edge.config import TIMEOUTS, Timeouts
from edge.connection import Connection
from edge.embedded import EmbeddedWorker
from edge.errors import DeadlineExceeded, WorkerLost, WorkerRefused, WorkerUnreachable
from edge.evidence import Evidence
from edge.lanes import Lanes, Live, Streamed
from edge.runner import Runner
from edge.sample import sizes_of, to_sample
from edge.spending import Spent
from edge.telemetry import Counters
from edge.walker import Walker
from partitioner.bundle import Bundle
from partitioner.codecmix import Bound
from partitioner.errors import InputError, SegmentError, UsageError
from partitioner.inputs import Sample
from partitioner.optimize.constraints import ANYTHING, Constraints
from partitioner.plan import SOURCE
from partitioner.profile import CodecCost
from partitioner.runtimes import Array, Engine
from partitioner.runtimes.opening import AUTO as AUTO_RUNTIME
from partitioner.runtimes.opening import EngineOptions, choose, load
from partitioner.samples import NO_SAMPLES, SampleSet
from partitioner.segments import LOCAL, Cuts
from partitioner.units import size
from protos.security import PLAINTEXT, ClientSecurity

_PREPARE_RUNS = 3
_KEPT_PLANS = 64
_STEPS_PER_DOUBLING = 8


class Session:
    """One model, split between this device and one of several workers. Thread-safe.

    Args:
        model: a bundle, or a model spec as ``cleft-plan pack`` takes it.
        cloud: ``HOST:PORT`` of a worker, or of several, best first; without it a worker is started as a child process
            for as long as the session lasts.
        cut: ``auto``, ``local``, ``cloud``, or a cut's name or id.
        codec: of what crosses; ``auto`` chooses among ``codecs``. Without it a named cut sends exact numbers.
        codecs: those to choose among; by default only what is exact and, within a bound, every one.
        max_deviation: bound on what a codec was measured to do to the answer, in max|a-b| / max|a|.
        min_accuracy: bound on the share of labelled samples that a codec was measured to leave right.
        max_accuracy_drop: bound on how much less than the exact model's that share may be.
        constraints: what the plan must keep on memory, bytes and layers that stay on the device.
        samples: inputs to judge codecs on, with or without labels; default: a random one.
        runtime: ``eager``, ``ort``, or ``auto`` for the fastest that is admitted; the embedded worker gets it too.
        slowdown: emulate a device that many times slower.
        deadline_s: per request.
        fallback: finish on the device what the worker does not.
        profile_budget_s: for measuring each side, where that is still to be done.
        fresh_profiles: measure both sides again, although there are profiles.
        pin_plan: drop the weights that the plan does not need here; this gives up the fallback.
        depth: how many requests of ``submit`` and ``stream`` are under way at once.
        live: what ``submit`` and ``stream`` do where no more can wait: ``block``, or ``drop-oldest``.
        security: TLS and the token towards the worker; plain text stays on this machine unless it says otherwise.
        notify: takes lines for people.
        on_progress: takes what is being measured, and how far it is.
    """

    def __init__(
        self,
        model: str | Bundle,
        *,
        cloud: str | Sequence[str] | None = None,
        cut: str = AUTO,
        codec: str | None = None,
        codecs: Sequence[str] | None = None,
        max_deviation: float | None = None,
        min_accuracy: float | None = None,
        max_accuracy_drop: float | None = None,
        constraints: Constraints = ANYTHING,
        samples: SampleSet = NO_SAMPLES,
        runtime: str = AUTO_RUNTIME,
        device: str = "auto",
        threads: int = 1,
        allow_ops: Sequence[str] = (),
        slowdown: float = 1.0,
        deadline_s: float | None = None,
        fallback: bool = True,
        pin_plan: bool = False,
        depth: int = 4,
        live: Live = "block",
        profile_budget_s: float = 20.0,
        fresh_profiles: bool = False,
        timeouts: Timeouts = TIMEOUTS,
        security: ClientSecurity = PLAINTEXT,
        notify: Callable[[str], None] = lambda line: None,
        on_progress: OnProgress = lambda what, share: None,
    ) -> None:
        chosen = None if codecs is None else tuple(codecs)
        bound = Bound(max_deviation=max_deviation, min_accuracy=min_accuracy, max_accuracy_drop=max_accuracy_drop)
        self._wish = Wish(cut=cut, codec=codec, codecs=chosen, bound=bound, constraints=constraints)
        self._samples = samples
        self._model = model
        self._targets = (cloud,) if isinstance(cloud, str) else tuple(cloud or ())
        self._runtime, self._device = runtime, device
        self._threads, self._allow_ops = threads, tuple(allow_ops)
        self._clock = DeviceClock(slowdown=slowdown)
        self._deadline_s = deadline_s
        self._is_pinned = pin_plan
        self._may_fall_back = fallback and not pin_plan
        self._profile_budget_s = profile_budget_s
        self._fresh_profiles = fresh_profiles
        self._timeouts = timeouts
        self._security = security
        self._notify = notify
        self._on_progress = on_progress
        self._counters = Counters()
        self._orders = itertools.count()
        self._walking = threading.RLock()
        self._lanes = Lanes(
            self._answer_one,
            depth=depth,
            live=live,
            counters=self._counters,
            next_order=self._orders.__next__,
        )
        self._resources = ExitStack()
        self._selected: OrderedDict[tuple[bool, tuple[int, ...]], Selected] = OrderedDict()
        self._warmed: set[str] = set()
        self._has_pinned = False
        self._evidence: Evidence | None = None
        self._connection: Connection | None = None

    def open(self) -> Session:
        """Open the bundle and the engine, and reach the worker where one is needed.

        Raises:
            CleftError: the model, the device or the worker cannot be had.
        """
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Answer what was submitted, then end the session with the worker, and the embedded worker with it."""
        self._lanes.close()
        self._resources.close()
        self._connection = None

    def __enter__(self) -> Session:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def engine(self) -> Engine:
        """The device's engine."""
        return self._runner.engine

    @property
    def clock(self) -> DeviceClock:
        """How the device's times are taken."""
        return self._clock

    @property
    def client(self) -> Client:
        """The session with the worker.

        Raises:
            EdgeError: it cannot be reached.
        """
        if self._connection is None:
            raise UsageError("nothing runs in the cloud with --cut local")
        return self._connection.client

    @property
    def constraints(self) -> Constraints:
        """What the plan must keep."""
        return self._wish.constraints

    def evidence(self) -> Evidence:
        """Both profiles and the link; measured once."""
        if self._evidence is None:
            self._evidence = self._advisor.gather(self.client)
        return self._evidence

    def evidence_for(self, given: object) -> Evidence:
        """The same, at the sizes and with the preparing of an input like this one."""
        sample = to_sample(given, self.bundle)
        return self._evidence_for(sample, self._sizes(sample))

    def select(self, given: object) -> Selected:
        """The plan for inputs like this one, made ready.

        One is kept for pictures and one for tensors; where it is chosen by measurements, one for all sizes within a
        tenth of each other. A pinned cut stays.

        Raises:
            CleftError: there is none, or the worker refuses it.
        """
        sample = to_sample(given, self.bundle)
        sizes = self._sizes(sample)
        key = sample.source is not None, tuple(_step(each) for each in sizes.values())
        if (known := self._selected.get(key)) is not None:
            self._selected.move_to_end(key)
            return known
        try:
            selected = select(self.cuts, self._wish, sample, evidence=lambda: self._evidence_for(sample, sizes))
            if not selected.plan.is_local:
                self.client.propose(selected.plan)
        except (WorkerLost, WorkerUnreachable, WorkerRefused, DeadlineExceeded) as error:
            if not self._walker.may_finish(error):
                raise
            self._walker.note_down(error)
            return select(self.cuts, Wish(cut=LOCAL), sample, evidence=self.evidence)
        if self._is_pinned:
            self._pin(selected)
        self._warm(selected, sample)
        self._selected[key] = selected
        if len(self._selected) > _KEPT_PLANS:
            self._selected.popitem(last=False)
        return selected

    def ready(self, given: object, *, cut: str, codec: str | None = None) -> Selected:
        """The plan of this cut and codec, made ready whatever the session would choose; ``answer`` runs it.

        Raises:
            CleftError: there is none, or the worker refuses it.
        """
        sample = to_sample(given, self.bundle)
        selected = select(self.cuts, Wish(cut=cut, codec=codec), sample, evidence=self.evidence)
        if not selected.plan.is_local:
            self.client.propose(selected.plan)
        self._warm(selected, sample)
        return selected

    def __call__(self, given: object, *, deadline_s: float | None = None) -> Answer:
        """Answer one input: an array, a mapping of names to arrays, or a picture's bytes or pixels.

        Raises:
            InputError: it does not fit the model.
            EdgeError: the worker was needed and could not be had; only without ``fallback``.
        """
        self._counters.add(offered=1)
        return self._answer_one(given, deadline_s=deadline_s, order=next(self._orders))

    def submit(self, given: object, *, deadline_s: float | None = None) -> Future[Answer]:
        """The same on one of ``depth`` lanes; the future raises ``Dropped`` where a newer input took its place.

        Raises:
            FrameCancelled: the session was closed.
        """
        return self._lanes.submit(given, deadline_s=self._deadline_s if deadline_s is None else deadline_s)

    def stream(self, inputs: Iterable[object], *, deadline_s: float | None = None) -> Iterator[Streamed]:
        """Answers to many inputs in their order, several under way at once; see ``lanes``."""
        return self._lanes.stream(inputs, deadline_s=self._deadline_s if deadline_s is None else deadline_s)

    def counters(self) -> dict[str, int]:
        """What the session has done so far, by the names of ``telemetry.COUNTERS``."""
        return self._counters.snapshot()

    def _answer_one(self, given: object, *, deadline_s: float | None, order: int) -> Answer:
        try:
            with self._walking:
                sample = to_sample(given, self.bundle)
                answer = self.answer(sample, self.select(sample), deadline_s=deadline_s)
        except BaseException:
            self._counters.add(failed=1)
            raise
        self._counters.add(answered=1, finished_here=int(answer.is_fallback))
        return answer

    def answer(self, given: object, selected: Selected, *, deadline_s: float | None = None) -> Answer:
        """Answer one input by a plan that is ready; raises what a call raises."""
        sample = to_sample(given, self.bundle)
        spent = Spent(is_fallback=selected.plan.is_local and self._wish.needs_worker and self._walker.is_worker_down)
        start_s = time.perf_counter()
        deadline_s = self._deadline_s if deadline_s is None else deadline_s
        values = self._walker.walk(selected.plan, sample, spent, deadline_s=deadline_s)
        outputs, value = assemble(self.bundle.graph, values)
        return Answer(
            outputs=outputs,
            value=value,
            cut=selected.cut.name,
            cut_id=selected.cut.id,
            codec=selected.codec,
            where=_where(selected, spent),
            is_fallback=spent.is_fallback,
            times=spent.times(total_s=time.perf_counter() - start_s),
            up_bytes=spent.up_bytes,
            down_bytes=spent.down_bytes,
            slowdown=self._clock.slowdown,
        )

    def whole(self, given: object) -> dict[str, Array]:
        """The whole model's outputs for an input, computed here without any cut, timing or emulated slowness."""
        values = self._runner.tensors_of(to_sample(given, self.bundle))
        return assemble(self.bundle.graph, self._runner.compute(self.cuts.whole(), values))[0]

    def _open(self) -> None:
        from partitioner import zoo

        self.bundle = self._model if isinstance(self._model, Bundle) else zoo.resolve(self._model)
        self.cuts = Cuts(self.bundle.graph, self.bundle.digest)
        if self._wish.cut != AUTO:
            self.cuts.find(self._wish.cut)
        chosen = choose(self.bundle, runtime=self._runtime, **self._engine_options())
        for line in chosen.lines(self.bundle.name, is_every=False):
            self._notify(f"note: {line}")
        embedded = None
        if self._wish.needs_worker and not self._targets:
            embedded = EmbeddedWorker(self.bundle.path, arguments=self._worker_arguments(chosen.runtime))
            self._resources.callback(embedded.stop)
            embedded.launch()
        engine = load(self.bundle, chosen.runtime, **self._engine_options())
        self._runner = Runner(engine, record=self.bundle.preprocess, clock=self._clock)
        self._walker = Walker(self.bundle.graph, self._runner, may_fall_back=self._may_fall_back, notify=self._notify)
        self._advisor = Advisor(
            self.bundle,
            engine,
            slowdown=self._clock.slowdown,
            budget_s=self._profile_budget_s,
            samples=self._samples,
            is_fresh=self._fresh_profiles,
            on_progress=self._on_progress,
        )
        targets = (embedded.wait_ready(),) if embedded is not None else self._targets
        if self._wish.needs_worker:
            self._connection = Connection(
                targets[0], clock=self._clock, timeouts=self._timeouts, security=self._security
            )
            self._resources.callback(self._connection.close)
            self._walker.connection = self._connection
            self.client.require_model(self.bundle.digest, self.bundle.name)

    def _sizes(self, sample: Sample) -> dict[str, int]:
        """The sizes that a plan for this input is chosen by; none where nothing varies or nothing is chosen."""
        if not self.bundle.graph.symbols or not self._wish.is_measured:
            return {}
        return sizes_of(self._runner.tensors_of(sample), self.bundle.graph)

    def _evidence_for(self, sample: Sample, sizes: Mapping[str, int]) -> Evidence:
        """What was measured, at the sizes and with the preparing of this very input."""
        times_s = [0.0]
        if sample.source is not None:
            times_s = [self._runner.preprocess(sample.source)[1] for _ in range(_PREPARE_RUNS)]
        if self._evidence is None and (warning := self.evidence().warning):
            self._notify(warning)
        reencoded = self._reencodings(sample.source) if sample.source is not None else ()
        return self.evidence().at(self.cuts, sizes).with_input(sample, statistics.median(times_s), reencoded)

    def _reencodings(self, source: Array) -> tuple[CodecCost, ...]:
        """What it costs here to send this very input re-encoded without loss."""
        from partitioner.measure.sources import at_hand

        assert self.bundle.preprocess is not None
        costs = [each.to_record() for each in at_hand(self.bundle.preprocess, source.astype("uint8", copy=False))]
        return tuple(cost.slowed(self._clock.slowdown) for cost in costs)

    def _engine_options(self) -> EngineOptions:
        return {"device": self._device, "threads": self._threads, "allow_ops": self._allow_ops}

    def _worker_arguments(self, runtime: str) -> list[str]:
        arguments = ["--runtime", runtime, "--threads", str(self._threads), "--device", self._device]
        return [*arguments, *(f"--allow-ops={namespace}" for namespace in self._allow_ops)]

    def _warm(self, selected: Selected, sample: Sample) -> None:
        first = selected.plan.stages[0]
        if selected.plan.plan_id in self._warmed:
            return
        self._warmed.add(selected.plan.plan_id)
        if first.place == "edge" and SOURCE not in first.segment.inputs:
            # The first run of anything is slower. Where this very input fails, answering it will tell.
            with contextlib.suppress(InputError, SegmentError):
                self._runner.compute(first.segment, self._runner.tensors_of(sample))

    def _pin(self, selected: Selected) -> None:
        if self._has_pinned:
            return
        self._has_pinned = True
        codec = AUTO if self._wish.is_measured and self._wish.codec is None else self._wish.codec
        self._wish = replace(self._wish, cut=selected.cut.name, codec=codec)
        kept = [stage.segment for stage in selected.plan.stages if stage.place == "edge"]
        held_bytes = self._runner.pin(kept)
        self._notify(f"plan pinned: this device holds {size(held_bytes)} of weights, and gives up finishing alone")


def _where(selected: Selected, spent: Spent) -> Where:
    if spent.is_fallback or selected.plan.is_local:
        return "edge"
    return "split" if selected.cut.depth else "cloud"


def _step(size: int) -> int:
    """The step of a geometric scale that a size is on: sizes on one share a plan."""
    return round(_STEPS_PER_DOUBLING * math.log2(max(size, 1)))
