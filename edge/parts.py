"""What a session is made of, opened in the one order that works and tied together.

The embedded worker is launched before the device's engine is loaded, so that both get ready at once, and it is a
process before any channel is dialled. What is opened is handed to an exit stack and closed in reverse.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from edge.advisor import AUTO, Advisor, OnProgress, Selected, Wish, live_load
from edge.client import Client
from edge.clock import DeviceClock
from edge.config import LIMITS, Timeouts
from edge.crossing import Crossing
from edge.embedded import EmbeddedWorker
from edge.errors import EdgeError, NoWorker
from edge.findings import Findings
from edge.fleet import Fleet
from edge.plans import Plans
from edge.preparing import Preparer
from edge.probing import Prober
from edge.runner import Runner
from edge.steering import Steering
from edge.telemetry import Counters
from edge.walker import Walker
from partitioner.bundle import Bundle
from partitioner.cost import IDLE, Load
from partitioner.errors import CleftError, InputError, SegmentError, UsageError
from partitioner.inputs import Sample
from partitioner.leakage import LeakageProfile
from partitioner.plan import SOURCE
from partitioner.runtimes.opening import EngineOptions, choose, load
from partitioner.samples import SampleSet
from partitioner.segments import Cuts
from partitioner.units import size
from protos.security import ClientSecurity


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a session was asked for; the words are those of ``Session``."""

    targets: tuple[str, ...]
    wish: Wish
    samples: SampleSet
    leakage: LeakageProfile | None
    runtime: str
    engine: EngineOptions
    clock: DeviceClock
    deadline_s: float | None
    may_fall_back: bool
    is_pinned: bool
    is_adaptive: bool
    may_start_alone: bool
    depth: int
    profile_budget_s: float
    fresh_profiles: bool
    timeouts: Timeouts
    security: ClientSecurity
    notify: Callable[[str], None]
    on_progress: OnProgress

    @property
    def may_serve_alone(self) -> bool:
        """Whether requests may come before a worker was ever there."""
        return self.may_start_alone and self.may_fall_back


class Parts:
    """The open parts of one session. Thread-safe; ``resources`` owns what must be closed."""

    def __init__(
        self, model: str | Bundle, options: Options, *, counters: Counters, steering: Steering, resources: ExitStack
    ) -> None:
        """Open them.

        Raises:
            CleftError: the model, the device or the worker cannot be had.
        """
        from partitioner import zoo

        self._options = options
        self._warming = threading.Lock()
        self._warmed: set[str] = set()
        self._has_pinned = False
        wish = options.wish
        self.steering = steering
        self.bundle = model if isinstance(model, Bundle) else zoo.resolve(model)
        self.cuts = Cuts(self.bundle.graph, self.bundle.digest)
        if wish.cut != AUTO:
            self.cuts.find(wish.cut)
        chosen = choose(self.bundle, runtime=options.runtime, **options.engine)
        for line in chosen.lines(self.bundle.name, is_every=False):
            options.notify(f"note: {line}")
        embedded = None
        if wish.needs_worker and not options.targets:
            embedded = EmbeddedWorker(self.bundle.path, arguments=_worker_arguments(options, chosen.runtime))
            resources.callback(embedded.stop)
            embedded.launch()
        engine = load(self.bundle, chosen.runtime, **options.engine)
        self.runner = Runner(engine, record=self.bundle.preprocess, clock=options.clock)
        self.walker = Walker(self.bundle.graph, self.runner, may_fall_back=options.may_fall_back, notify=options.notify)
        preparer = Preparer()
        resources.callback(preparer.close)  # after the sessions, whose end is the end of measuring a worker
        self.fleet: Fleet | None = None
        if wish.needs_worker:
            targets = (embedded.wait_ready(),) if embedded is not None else options.targets
            self.fleet = self._connected(targets, counters, resources)
        self.findings = Findings(
            self.bundle,
            self.cuts,
            self.runner,
            Advisor(
                self.bundle,
                engine,
                slowdown=options.clock.slowdown,
                budget_s=options.profile_budget_s,
                samples=options.samples,
                leakage=options.leakage,
                is_fresh=options.fresh_profiles,
                on_progress=options.on_progress,
            ),
            clock=options.clock,
            client=lambda: self.client,
            steering=steering,
            notify=options.notify,
        )
        is_steered = self.fleet is not None and options.is_adaptive and wish.cut == AUTO
        self.plans = Plans(
            self.cuts,
            wish,
            evidence=self.findings.at,
            sizes=self.sizes,
            ready=self.ready,
            stranded=self._stranded,
            preparer=preparer,
            fleet=self.fleet,
            steering=steering if is_steered else None,
            is_measured=lambda: self.findings.is_complete or not options.may_serve_alone,
            measure=self.prepare,
        )
        resources.callback(preparer.stop)
        if is_steered:
            prober = Prober(steering, self._current, counters=counters, load_of=lambda worker: self._load_now())
            resources.callback(prober.close)
            prober.start()

    @property
    def client(self) -> Client:
        """The session with the best worker that can be reached.

        Raises:
            EdgeError: none can.
        """
        if self.fleet is None:
            raise UsageError("nothing runs in the cloud with --cut local")
        client = self.fleet.current() or self.fleet.wait(self.fleet.patience_s)
        if client is None:
            raise NoWorker
        return client

    def sizes(self, sample: Sample) -> Mapping[str, int]:
        """The sizes that a plan for this input is chosen by; none where nothing varies or nothing is chosen."""
        return self.findings.sizes(sample) if self.plans.wish.is_measured else {}

    def prepare(self) -> None:
        """Measure what plans are chosen by, as far as it can be reached.

        Raises:
            CleftError: the worker tells nothing, or nothing that can be read.
        """
        if self.plans.wish.is_measured and self.fleet is not None:
            self.findings.prepare(with_worker=self.fleet.current() is not None)

    def ready(self, selected: Selected, sample: Sample) -> None:
        """Make a plan ready here: pinned where that was asked for, and run once, for first runs are slower."""
        if self._options.is_pinned:
            self._pin(selected)
        plan = selected.plan
        with self._warming:
            if plan.plan_id in self._warmed:
                return
            self._warmed.add(plan.plan_id)
        first = plan.stages[0]
        # Where this very input fails, answering it will tell.
        with contextlib.suppress(InputError, SegmentError):
            if self._options.deadline_s is not None and self._options.may_fall_back and not plan.is_local:
                self.walker.rehearse(plan, sample, slowdown=self._options.clock.slowdown)
            elif first.place == "edge" and SOURCE not in first.segment.inputs:
                self.runner.compute(first.segment, self.runner.tensors_of(sample))

    def _connected(self, targets: tuple[str, ...], counters: Counters, resources: ExitStack) -> Fleet:
        fleet = Fleet(
            targets,
            clock=self._options.clock,
            timeouts=self._options.timeouts,
            limits=replace(LIMITS, frames_in_flight=max(LIMITS.frames_in_flight, self._options.depth)),
            security=self._options.security,
            counters=counters,
            observer=self.steering.observer,
        )
        resources.callback(fleet.close)
        error = fleet.open(self.bundle.digest, self.bundle.name, is_patient=self._options.may_serve_alone)
        if error is not None:
            self._options.notify(f"{error}; this device answers alone until a worker is there")
        crossing: Crossing[Client] = Crossing(
            fleet, counters=counters, timeouts=self._options.timeouts, on_load=self.steering.note_load
        )
        resources.callback(crossing.close)
        self.walker.crossing = crossing
        return fleet

    def _current(self) -> Client | None:
        return None if self.fleet is None else self.fleet.current()

    def _load_now(self) -> Load:
        client = self._current()
        return IDLE if client is None else live_load(client.status())

    def _stranded(self, error: CleftError) -> bool:
        """Whether this device answers alone where choosing a plan ended in this error; tells people."""
        if not isinstance(error, EdgeError) or not self.walker.may_finish(error):
            return False
        self.walker.note_down(error)
        return True

    def _pin(self, selected: Selected) -> None:
        with self._warming:
            if self._has_pinned:
                return
            self._has_pinned = True
        wish = self.plans.wish
        codec = AUTO if wish.is_measured and wish.codec is None else wish.codec
        self.plans.wish = replace(wish, cut=selected.cut.name, codec=codec)
        kept = [stage.segment for stage in selected.plan.stages if stage.place == "edge"]
        held_bytes = self.runner.pin(kept)
        self._options.notify(
            f"plan pinned: this device holds {size(held_bytes)} of weights, and gives up finishing alone"
        )


def _worker_arguments(options: Options, runtime: str) -> list[str]:
    engine = options.engine
    arguments = ["--runtime", runtime, "--threads", str(engine["threads"]), "--device", engine["device"]]
    return [*arguments, *(f"--allow-ops={namespace}" for namespace in engine["allow_ops"])]
