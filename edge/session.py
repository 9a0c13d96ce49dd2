"""Split inference as one call: ``with Session("torchvision:resnet18", cloud="host:port") as s: answer = s(x)``.

A session holds the bundle, the device's engine and sessions with workers. It picks a plan for every request
(``plans``), and has it walked from input to answer on one thread (``walker``): the caller's own, or one of a few lanes
where several requests are to overlap (``lanes``). When no worker answers in time, the device finishes the request *from
the cut*: no input is lost, every request ends exactly once, and the answer says where it was made.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType

from edge.advisor import AUTO, OnProgress, Selected, Wish, select
from edge.answer import Answer, assemble
from edge.answering import answered
from edge.client import Client
from edge.clock import DeviceClock
from edge.config import TIMEOUTS, Timeouts, limited_s
from edge.errors import FrameCancelled
from edge.evidence import Evidence
from edge.keeper import WorkerHealth
from edge.lanes import Lanes, Live, Pending, Streamed
from edge.parts import Options, Parts
from edge.plans import Chosen
from edge.sample import to_sample
from edge.steering import Decided, Steering
from edge.telemetry import Counters
from edge.turnstile import NotWanted, Until
from partitioner.bundle import Bundle
from partitioner.codecmix import Bound
from partitioner.errors import UsageError
from partitioner.leakage import LeakageProfile
from partitioner.optimize.constraints import ANYTHING, Constraints
from partitioner.runtimes import Array, Engine
from partitioner.runtimes.opening import AUTO as AUTO_RUNTIME
from partitioner.samples import NO_SAMPLES, SampleSet
from partitioner.segments import Cuts
from protos.security import PLAINTEXT, ClientSecurity


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
        constraints: what the plan must keep on memory, bytes and layers that stay on the device, and on ``leakage``.
        samples: inputs to judge codecs on, with or without labels; default: a random one.
        leakage: what each cut of this model gives away, as ``cleft-plan leakage`` measured it.
        runtime: ``eager``, ``ort``, or ``auto`` for the fastest that is admitted; the embedded worker gets it too.
        slowdown: emulate a device that many times slower.
        deadline_s: per request, from when its plan is chosen; of one that was queued, from when it was submitted.
        fallback: finish on the device what the worker does not.
        profile_budget_s: for measuring each side, where that is still to be done.
        fresh_profiles: measure both sides again, although there are profiles.
        pin_plan: drop the weights that the plan does not need here; this gives up the fallback.
        depth: how many requests of ``submit`` and ``stream`` are under way at once.
        most_waiting: how many requests of ``submit`` wait for their turn before the next has to wait to be taken.
        live: what ``submit`` and ``stream`` do where no more can wait: ``block``, or ``drop-oldest``.
        start_alone: open although no worker can be reached, where the device can answer; it is measured and used once
            it can.
        adapt: with cut ``auto``, choose anew for every request as link, load and device change.
        security: TLS and the token towards the workers; plain text stays on this machine unless it says otherwise.
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
        leakage: LeakageProfile | None = None,
        runtime: str = AUTO_RUNTIME,
        device: str = "auto",
        threads: int = 1,
        allow_ops: Sequence[str] = (),
        slowdown: float = 1.0,
        deadline_s: float | None = None,
        fallback: bool = True,
        pin_plan: bool = False,
        depth: int = 4,
        most_waiting: int | None = None,
        live: Live = "block",
        start_alone: bool = False,
        adapt: bool = True,
        profile_budget_s: float = 20.0,
        fresh_profiles: bool = False,
        timeouts: Timeouts = TIMEOUTS,
        security: ClientSecurity = PLAINTEXT,
        notify: Callable[[str], None] = lambda line: None,
        on_progress: OnProgress = lambda what, share: None,
    ) -> None:
        bound = Bound(max_deviation=max_deviation, min_accuracy=min_accuracy, max_accuracy_drop=max_accuracy_drop)
        chosen = None if codecs is None else tuple(codecs)
        self._model = model
        self._options = Options(
            targets=(cloud,) if isinstance(cloud, str) else tuple(cloud or ()),
            wish=Wish(cut=cut, codec=codec, codecs=chosen, bound=bound, constraints=constraints),
            samples=samples,
            leakage=leakage,
            runtime=runtime,
            engine={"device": device, "threads": threads, "allow_ops": tuple(allow_ops)},
            clock=DeviceClock(slowdown=slowdown),
            deadline_s=None if deadline_s is None else limited_s(deadline_s),
            may_fall_back=fallback and not pin_plan,
            is_pinned=pin_plan,
            is_adaptive=adapt and not pin_plan,
            may_start_alone=start_alone,
            depth=depth,
            profile_budget_s=profile_budget_s,
            fresh_profiles=fresh_profiles,
            timeouts=timeouts,
            security=security,
            notify=notify,
            on_progress=on_progress,
        )
        self._counters = Counters()
        self._steering = Steering(counters=self._counters)
        self._orders = itertools.count()
        self._lanes = Lanes(
            self._answer_one,
            depth=depth,
            live=live,
            counters=self._counters,
            next_order=self._orders.__next__,
            most_waiting=most_waiting,
        )
        self._resources = ExitStack()
        self._opened: Parts | None = None

    def open(self) -> Session:
        """Open the bundle and the engine, and reach a worker where one is needed; what failed may be tried again.

        Raises:
            CleftError: the model, the device or the worker cannot be had.
        """
        if self._opened is not None:
            return self
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            self._opened = Parts(
                self._model,
                self._options,
                counters=self._counters,
                steering=self._steering,
                resources=self._resources,
            )
        except BaseException:
            self._resources.close()
            raise
        return self

    def close(self, *, is_abrupt: bool = False) -> None:
        """Answer what was submitted, unless told otherwise, then end the sessions and the embedded worker."""
        self._lanes.close(is_abrupt=is_abrupt, is_waiting=not is_abrupt)
        self._resources.close()
        self._lanes.close()

    def __enter__(self) -> Session:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(is_abrupt=error is not None)

    @property
    def bundle(self) -> Bundle:
        """The model."""
        return self._parts.bundle

    @property
    def cuts(self) -> Cuts:
        """Where it can be cut."""
        return self._parts.cuts

    @property
    def engine(self) -> Engine:
        """The device's engine."""
        return self._parts.runner.engine

    @property
    def clock(self) -> DeviceClock:
        """How the device's times are taken."""
        return self._options.clock

    @property
    def client(self) -> Client:
        """The session with the best worker that can be reached.

        Raises:
            EdgeError: none can.
        """
        return self._parts.client

    @property
    def constraints(self) -> Constraints:
        """What the plan must keep."""
        return self._options.wish.constraints

    def evidence(self) -> Evidence:
        """Both profiles and the link; measured once."""
        return self._parts.findings.evidence()

    def evidence_for(self, given: object) -> Evidence:
        """The same, at the sizes and with the preparing of an input like this one."""
        sample = to_sample(given, self.bundle)
        return self._parts.findings.at(sample, self._parts.sizes(sample))

    def prepare(self) -> None:
        """Measure now what plans are chosen by, so that no request waits for it; without a worker, this device alone.

        Raises:
            CleftError: the worker tells nothing, or nothing that can be read.
        """
        self._parts.prepare()

    def select(self, given: object) -> Selected:
        """The plan that a request with an input like this one would take now, made ready.

        Raises:
            CleftError: there is none, or the worker refuses it.
        """
        return self._parts.plans.ready(to_sample(given, self.bundle)).selected

    def ready(self, given: object, *, cut: str, codec: str | None = None) -> Selected:
        """The plan of this cut and codec, made ready whatever the session would choose; ``answer`` runs it.

        Raises:
            CleftError: there is none, or the worker refuses it.
        """
        sample = to_sample(given, self.bundle)
        selected = select(self.cuts, Wish(cut=cut, codec=codec), sample, evidence=self.evidence)
        if not selected.plan.is_local:
            self.client.propose(selected.plan)
        self._parts.ready(selected, sample)
        return selected

    def __call__(self, given: object, *, deadline_s: float | None = None) -> Answer:
        """Answer one input: an array, a mapping of names to arrays, or a picture's bytes or pixels.

        Raises:
            InputError: it does not fit the model.
            UsageError: the deadline makes no sense.
            EdgeError: the worker was needed and could not be had; only without ``fallback``.
        """
        limit_s = self._limit_s(deadline_s)
        self._counters.add(offered=1)
        return self._answer_one(given, deadline_s=limit_s, order=next(self._orders))

    def submit(self, given: object, *, deadline_s: float | None = None) -> Pending:
        """The same on one of ``depth`` lanes; the future raises ``Dropped`` where a newer input took its place.

        Its ``withdraw`` takes the request back, begun or not. The input must not change until it is answered.

        Raises:
            UsageError: the deadline makes no sense.
            FrameCancelled: the session was closed.
        """
        return self._lanes.submit(given, deadline_s=self._limit_s(deadline_s))

    def stream(self, inputs: Iterable[object], *, deadline_s: float | None = None) -> Iterator[Streamed]:
        """Answers to many inputs in their order, several under way at once; see ``lanes``."""
        return self._lanes.stream(inputs, deadline_s=self._limit_s(deadline_s))

    def answer(self, given: object, selected: Selected, *, deadline_s: float | None = None) -> Answer:
        """Answer one input by a plan that is ready; raises what a call raises."""
        sample = to_sample(given, self.bundle)
        chosen = Chosen(selected=selected)
        return answered(self._parts, sample, chosen, deadline_s=self._limit_s(deadline_s), order=next(self._orders))

    def whole(self, given: object) -> dict[str, Array]:
        """The whole model's outputs for an input, computed here without any cut, timing or emulated slowness."""
        runner = self._parts.runner
        values = runner.tensors_of(to_sample(given, self.bundle))
        return assemble(self.bundle.graph, runner.compute(self.cuts.whole(), values))[0]

    def counters(self) -> dict[str, int]:
        """What the session has done so far, by the names of ``telemetry.COUNTERS``."""
        return self._counters.snapshot()

    def workers(self) -> tuple[WorkerHealth, ...]:
        """How each worker is kept, in the order given; none where none is needed."""
        fleet = self._parts.fleet
        return () if fleet is None else fleet.health()

    def decisions(self) -> tuple[Decided, ...]:
        """The last changes of the plan, and why; oldest first."""
        return self._steering.decisions

    @property
    def _parts(self) -> Parts:
        if self._opened is None:
            raise UsageError("the session is not open: use it in a with block, or call open()")
        return self._opened

    def _limit_s(self, deadline_s: float | None) -> float | None:
        return self._options.deadline_s if deadline_s is None else limited_s(deadline_s)

    def _answer_one(self, given: object, *, deadline_s: float | None, order: int, until: Until | None = None) -> Answer:
        """One request, from its input to its answer, on the calling thread."""
        try:
            sample = to_sample(given, self.bundle)
            chosen = self._parts.plans.of(sample)
            answer = answered(self._parts, sample, chosen, deadline_s=deadline_s, order=order, until=until)
        except NotWanted:
            self._counters.add(withdrawn=1)
            raise FrameCancelled("the request was withdrawn") from None
        except BaseException:
            self._counters.add(failed=1)
            raise
        is_late = deadline_s is not None and answer.times.total_s > deadline_s
        self._counters.add(answered=1, finished_here=int(answer.is_fallback), late=int(is_late))
        return answer
