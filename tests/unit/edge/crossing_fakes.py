"""A clock that moves when somebody waits, and workers that do as they are told: no thread, no socket, no time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from edge.burden import LoadSeen
from edge.cargo import Cargo, Crossed, Finish
from edge.crossing import Crossing
from edge.errors import (
    DeadlineExceeded,
    EdgeError,
    WorkerLost,
)
from edge.frames import Progress, Reply, WorkerTimes
from edge.telemetry import Counters
from edge.turnstile import Until
from partitioner.errors import SegmentError
from partitioner.plan import Plan, Segment, Stage
from partitioner.runtimes import Array

PLAN = Plan(
    model_digest="ab" * 32,
    stages=(Stage(segment=Segment(model_digest="ab" * 32, inputs=("x",), outputs=("y",)), place="cloud", codecs={}),),
)
SENT: Mapping[str, Array] = {"x": np.arange(4.0)}
MADE: dict[str, Array] = {"y": np.ones(1)}
NEVER_S = float("inf")
LOST = WorkerLost("a:1", reason="it broke")
HELD = Progress(acked_bytes=1, total_bytes=1, waited_s=NEVER_S, is_held=True)


def reply(value: float = 2.0) -> Reply:
    return Reply(
        tensors={"y": np.full(1, value)},
        worker=WorkerTimes(),
        encode_s=0.0,
        wire_s=0.0,
        decode_s=0.0,
        up_bytes=1,
        down_bytes=1,
        load=LoadSeen(),
    )


@dataclass
class Clock:
    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class FakeFlight:
    clock: Clock
    done_s: float
    expires_s: float
    outcome: Reply | EdgeError
    progress: Progress
    is_cancelled: bool = False

    @property
    def is_done(self) -> bool:
        return self.is_cancelled or self.clock.now_s >= self.done_s

    @property
    def is_answered(self) -> bool:
        return self.is_done and not self.is_cancelled and isinstance(self.outcome, Reply)

    def wait(self, timeout_s: float) -> bool:
        self.clock.now_s = min(self.clock.now_s + timeout_s, max(self.clock.now_s, self.done_s))
        return self.is_done

    def result(self) -> Reply:
        assert not self.is_cancelled
        if self.done_s > self.expires_s:
            self.clock.now_s = max(self.clock.now_s, self.expires_s)
            raise DeadlineExceeded(self.expires_s)
        self.clock.now_s = max(self.clock.now_s, self.done_s)
        if isinstance(self.outcome, EdgeError):
            raise self.outcome
        return self.outcome

    def cancel(self) -> None:
        self.is_cancelled = True


@dataclass
class FakeWorker:
    """Answers frame after frame with the next of ``outcomes``, each after ``takes_s``."""

    clock: Clock
    target: str
    outcomes: list[Reply | EdgeError]
    takes_s: float = 0.01
    prepares_s: float = 0.0
    progress: Progress = HELD
    flights: list[FakeFlight] = field(default_factory=list)
    forgotten: int = 0

    def submit(
        self,
        plan_id: str,
        stage: int,
        tensors: Mapping[str, Array],
        chosen: Mapping[str, str],
        *,
        deadline_s: float | None = None,
        slot_s: float | None = None,
    ) -> FakeFlight:
        assert deadline_s is not None
        now_s = self.clock.now_s
        done_s, expires_s = now_s + self.takes_s, now_s + deadline_s
        self.flights.append(FakeFlight(self.clock, done_s, expires_s, self.outcomes.pop(0), self.progress))
        return self.flights[-1]

    def forget(self, plan: Plan) -> None:
        self.forgotten += 1


@dataclass
class FakeWorkers:
    """The first of ``up`` is current; one that lost a frame is gone; ``back`` comes when somebody waits."""

    clock: Clock
    up: list[FakeWorker]
    back: FakeWorker | None = None
    patience_s: float = 1.0
    failures: list[EdgeError] = field(default_factory=list)
    successes: int = 0

    def current(self) -> FakeWorker | None:
        return self.up[0] if self.up else None

    def other(self, than: FakeWorker) -> FakeWorker | None:
        return next((each for each in self.up if each is not than), None)

    def wait(self, timeout_s: float) -> FakeWorker | None:
        if self.back is None:
            self.clock.now_s += timeout_s
        return self.back

    def ready(self, client: FakeWorker, plan: Plan, timeout_s: float) -> None:
        self.clock.now_s += min(client.prepares_s, timeout_s)
        if client.prepares_s > timeout_s:
            raise DeadlineExceeded(timeout_s)

    def note_failure(self, client: FakeWorker, error: EdgeError) -> None:
        self.failures.append(error)

    def note_success(self, client: FakeWorker) -> None:
        self.successes += 1


@dataclass
class FakeForecast:
    home_s: float | None = 0.1
    remaining: Callable[[], float | None] = lambda: None

    def remaining_s(self, target: str, progress: Progress) -> float | None:
        return self.remaining()


@dataclass
class Scene:
    """One crossing: what the device does takes ``home_s`` and stops when the frame is answered."""

    clock: Clock = field(default_factory=Clock)
    counters: Counters = field(default_factory=Counters)
    home_s: float = 0.1
    home_error: EdgeError | SegmentError | None = None
    homes: int = 0

    def workers(self, *outcomes: Reply | EdgeError, takes_s: float = 0.01, others: int = 0) -> FakeWorkers:
        first = FakeWorker(self.clock, "a:1", list(outcomes), takes_s=takes_s)
        more = [FakeWorker(self.clock, f"b:{number}", [reply()]) for number in range(others)]
        return FakeWorkers(self.clock, [first, *more])

    def finish(self, until: Until) -> dict[str, Array] | None:
        self.homes += 1
        if self.home_error is not None:
            raise self.home_error
        if isinstance(until, FakeFlight):
            until.wait(self.home_s)
            return None if until.is_answered else MADE
        self.clock.now_s += self.home_s
        return MADE

    def cross(
        self,
        workers: FakeWorkers,
        *,
        deadline_s: float | None = None,
        forecast: FakeForecast | None = None,
        can_finish: bool = True,
        check: Callable[[Reply], None] = lambda reply: None,
    ) -> Crossed:
        cargo = Cargo(
            plan=PLAN,
            stage=0,
            tensors=SENT,
            codecs={},
            expires_s=None if deadline_s is None else self.clock.now_s + deadline_s,
            forecast=forecast or FakeForecast(home_s=self.home_s),
        )
        finish: Finish | None = self.finish if can_finish else None
        crossing: Crossing[FakeWorker] = Crossing(workers, counters=self.counters, now=self.clock)
        return crossing.cross(cargo, check=check, finish=finish)

    def counted(self) -> dict[str, int]:
        return {name: count for name, count in self.counters.snapshot().items() if count}
