"""The same requests answered by the policy, by every fixed cut and by the oracle, each over its own copy of the trace.

A request is due every period, and begins when it is due or when the one before it is answered, whichever is later; its
latency counts from its beginning, as a caller sees it. All contestants answer the same number of requests with the same
noise. Regret is total latency over that of another contestant, less one: below zero the policy was faster.

The fixed cuts are candidates that no other beats at every rate and load (``Planner.frozen``), all-local and all-cloud
among them; where only some are played out, those that take least over a link without acknowledgements and losses. A
fixed remote cut is a session with a named cut: it goes home for a deadline that it would miss, and, where the worker is
lost (3 s of silence), once its patience with dialling again is over; while the worker is lost it answers by its head
and the rest at home. In an outage without a deadline its first request waits until then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from edge.simulate.device import Answered, Device
from edge.simulate.oracle import Oracle
from edge.simulate.trace import Trace
from edge.simulate.truth import Truth
from partitioner.cost import Candidate
from partitioner.planner import Planner


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What is asked: ``frames`` requests, one every ``period_s``; 0: each as soon as the one before it is answered."""

    frames: int
    period_s: float
    deadline_s: float | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A change of plan by the policy, and why."""

    at_s: float
    frame: int
    candidate: Candidate
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How a contestant answered; ``decisions`` are the switches of a policy, with their reasons."""

    name: str
    candidate: Candidate | None
    answers: tuple[Answered, ...]
    deadline_s: float | None
    decisions: tuple[Switch, ...] = ()

    @property
    def total_s(self) -> float:
        """All latencies together."""
        return sum(each.took_s for each in self.answers)

    @property
    def mean_s(self) -> float:
        """Mean latency."""
        return self.total_s / len(self.answers)

    def quantile_s(self, share: float) -> float:
        """The latency that a share of the requests does not exceed."""
        ranked = sorted(each.took_s for each in self.answers)
        return ranked[max(0, math.ceil(share * len(ranked)) - 1)]

    @property
    def misses(self) -> int:
        """Requests answered after their deadline."""
        limit_s = math.inf if self.deadline_s is None else self.deadline_s
        return sum(each.took_s > limit_s for each in self.answers)

    @property
    def switches(self) -> int:
        """How often a request began by another plan than the one before it."""
        return sum(before.candidate != after.candidate for before, after in pairwise(self.answers))

    @property
    def finished_home(self) -> int:
        """Requests whose remote part the device did."""
        return sum(each.is_home for each in self.answers)

    def regret(self, other: Run) -> float:
        """How much longer it took in all than another, as a share of that."""
        return self.total_s / other.total_s - 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Everybody's run over one trace."""

    trace: Trace
    course: Course
    policy: Run
    oracle: Run
    fixed: tuple[Run, ...]

    @property
    def best_fixed(self) -> Run:
        """The fixed cut of least total latency, which nobody knows beforehand."""
        return min(self.fixed, key=lambda run: run.total_s)


def hold(
    trace: Trace,
    truth: Truth,
    planner: Planner,
    course: Course,
    *,
    most: int | None = None,
    on_run: Callable[[], None] = lambda: None,
) -> Contest:
    """Let all contestants answer; of the fixed cuts the ``most`` promising ones and both extremes."""
    runs: list[Run] = []
    for each in promising(trace, truth, planner, course, most=most):
        runs.append(keeping(each, trace, truth, planner, course))
        on_run()
    return Contest(
        trace=trace,
        course=course,
        policy=adapting(trace, truth, planner, course),
        oracle=foreseeing(trace, truth, course),
        fixed=tuple(runs),
    )


def promising(
    trace: Trace, truth: Truth, planner: Planner, course: Course, *, most: int | None = None
) -> tuple[Candidate, ...]:
    """The fixed cuts that take least where bytes flow freely, least first, and the first all-local and all-cloud."""
    everybody = planner.frozen.candidates
    if most is None or len(everybody) <= most:
        return everybody
    oracle = Oracle(trace, truth)
    ranked = sorted(everybody, key=lambda each: _free_s(each, oracle, truth, course))
    ends = [next((each for each in ranked if is_end(each)), None) for is_end in (_is_local, _is_all_cloud)]
    return (*ranked[:most], *(each for each in ends if each is not None and each not in ranked[:most]))


def adapting(trace: Trace, truth: Truth, planner: Planner, course: Course) -> Run:
    """The policy's run."""
    device = Device(trace, truth, planner, seed=course.seed)
    answers = _answers(course, device.answer)
    return Run(
        name="policy",
        candidate=None,
        answers=answers,
        deadline_s=course.deadline_s,
        decisions=tuple(_switches(answers)),
    )


def keeping(candidate: Candidate, trace: Trace, truth: Truth, planner: Planner, course: Course) -> Run:
    """The run of a session whose cut is named."""
    device = Device(trace, truth, planner, fixed=candidate, seed=course.seed)
    return Run(
        name=candidate.label,
        candidate=candidate,
        answers=_answers(course, device.answer),
        deadline_s=course.deadline_s,
    )


def foreseeing(trace: Trace, truth: Truth, course: Course) -> Run:
    """The oracle's run."""
    oracle = Oracle(trace, truth)

    def answer(frame: int, start_s: float, _deadline_s: float | None) -> Answered:
        best = oracle.best(frame, start_s)
        return Answered(
            frame=frame, candidate=best.candidate, start_s=start_s, took_s=best.took_s, is_home=False, reason=""
        )

    return Run(name="oracle", candidate=None, answers=_answers(course, answer), deadline_s=course.deadline_s)


def _free_s(candidate: Candidate, oracle: Oracle, truth: Truth, course: Course) -> float:
    """What all requests take by a plan where no chunk waits for an acknowledgement, and no worker is lost."""
    free_s = total_s = 0.0
    for frame in range(course.frames):
        start_s = max(free_s, frame * course.period_s)
        took_s = oracle.took_s(truth.of(candidate, frame), start_s)
        total_s, free_s = total_s + took_s, start_s + took_s
    return total_s


def _is_local(candidate: Candidate) -> bool:
    return candidate.is_local


def _is_all_cloud(candidate: Candidate) -> bool:
    return candidate.is_all_cloud


Answering = Callable[[int, float, "float | None"], Answered]


def _answers(course: Course, answer: Answering) -> tuple[Answered, ...]:
    found: list[Answered] = []
    free_s = 0.0
    for frame in range(course.frames):
        found.append(answer(frame, max(free_s, frame * course.period_s), course.deadline_s))
        free_s = found[-1].start_s + found[-1].took_s
    return tuple(found)


def _switches(answers: Iterable[Answered]) -> Iterator[Switch]:
    """The first plan and each that differs from the one before it."""
    before: Candidate | None = None
    for each in answers:
        if each.candidate != before:
            yield Switch(at_s=each.start_s, frame=each.frame, candidate=each.candidate, reason=each.reason)
        before = each.candidate
