"""The session in simulated time: answers one request after another by the rules of the real one.

What decides is the real code: ``edge.steering`` with the estimator, policy and correction behind it, and the rules of
``edge.homing``. What is played here is the walk of a request (``edge.crossing`` with one worker): head, sending, then
waiting for the answer, for the time to start at home, for the loss of the worker, or for a prediction that home is
sooner; the suffix at home races the answer. A session whose cut is named goes home for a deadline or a lost worker
alone, because it predicts nothing. Every plan is taken to be ready on the worker.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from edge.bandwidth import IGNORED
from edge.homing import LOOK_S, home_at_s, is_home_sooner, is_hopeless
from edge.simulate.line import Line
from edge.simulate.probes import Probes
from edge.simulate.trace import Trace
from edge.simulate.truth import Truth, Work
from edge.simulate.world import Air, Events
from edge.steering import Steering
from edge.telemetry import Counters
from partitioner.cost import Candidate
from partitioner.link import Link
from partitioner.planner import Planner

KIND = "simulated"
TARGET = "simulated:1"
NAMED = "its cut is named"
_TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One request: by which plan it began and why, when, how long it took, and whether the device did the rest too."""

    frame: int
    candidate: Candidate
    start_s: float
    took_s: float
    is_home: bool
    reason: str = ""


class _How(Enum):
    """What became of a frame in flight."""

    ANSWERED = "answered"
    HOME = "the device came first"
    HOPELESS = "withdrawn"
    LOST = "the worker was lost"


class Device:
    """Answers requests over one trace, in the order of their time.

    Args:
        truth: what frames really cost.
        planner: what is believed of it.
        fixed: the plan of a session with a named cut.
    """

    def __init__(
        self, trace: Trace, truth: Truth, planner: Planner, *, fixed: Candidate | None = None, seed: int = 0
    ) -> None:
        self._truth = truth
        self._planner = planner
        self._fixed = fixed
        self._events = Events()
        self._steering = Steering(counters=Counters(), now=lambda: self._events.now_s)
        self._steering.prior(TARGET, _first_link(trace))
        observer = IGNORED if fixed is not None else self._steering.observer(TARGET)
        self._line = Line(self._events, Air(trace), observer, seed=seed)
        if fixed is None:
            Probes(self._events, self._line, self._steering, TARGET)

    def answer(self, frame: int, start_s: float, deadline_s: float | None) -> Answered:
        """Answer the next request, which begins at a time that is not before the last one's answer."""
        self._events.pass_to(start_s)
        candidate, reason = self._choose()
        work = self._truth.of(candidate, frame)
        self._events.pass_to(start_s + work.head_s)
        is_home = False
        if not candidate.is_local:
            expires_s = math.inf if deadline_s is None else start_s + deadline_s
            is_home = self._cross(frame, candidate, work, expires_s)
        if self._fixed is None:
            tail_s = None if is_home or candidate.is_local else work.tail_s
            self._steering.note_answer(KIND, candidate, head_s=work.head_s, tail_s=tail_s, target=TARGET)
        return Answered(
            frame=frame,
            candidate=candidate,
            start_s=start_s,
            took_s=self._events.now_s - start_s,
            is_home=is_home,
            reason=reason,
        )

    def _choose(self) -> tuple[Candidate, str]:
        if self._fixed is not None:
            return self._fixed, NAMED
        choice = self._steering.choose(KIND, self._planner, target=TARGET if self._line.is_up else None)
        return choice.candidate, choice.reason

    def _cross(self, frame: int, candidate: Candidate, work: Work, expires_s: float) -> bool:
        """From the cut to the answer; whether the device made it."""
        home_s = self._steering.suffix_s(self._planner, candidate) if self._fixed is None else work.finish_s
        latest_s = home_at_s(expires_s, home_s)
        if latest_s < self._events.now_s:
            latest_s = expires_s  # going home would never have been in time
        self._events.pass_to(self._events.now_s + work.encode_s)
        for _ in range(_TRIES):
            self._wait_for_worker(latest_s)
            if not self._line.is_up:
                break
            how = self._fly(frame, candidate, work, home_s=home_s, expires_s=expires_s, latest_s=latest_s)
            if how is _How.ANSWERED:
                self._events.pass_to(self._events.now_s + work.decode_s)
                return False
            if how is _How.HOME:
                return True
            if how is _How.HOPELESS:
                break
        self._events.pass_to(self._events.now_s + work.finish_s)
        return True

    def _wait_for_worker(self, latest_s: float) -> None:
        """Wait for a lost worker for as long as a request has patience."""
        until_s = min(latest_s, self._events.now_s + self._line.patience_s)
        while not self._line.is_up and self._events.now_s < until_s:
            self._events.step(until_s)

    def _fly(
        self, frame: int, candidate: Candidate, work: Work, *, home_s: float, expires_s: float, latest_s: float
    ) -> _How:
        """One frame to the worker and back, or to where the device comes first."""
        answered: list[float] = []
        self._line.send(
            frame,
            up_bytes=work.up_bytes,
            there_s=work.there_s,
            down_bytes=work.down_bytes,
            on_answer=lambda: answered.append(self._events.now_s),
        )
        era = self._line.era
        done_s = math.inf
        looked_s = self._events.now_s
        while not answered and self._events.now_s < done_s and (era == self._line.era or done_s < math.inf):
            if done_s == math.inf and self._events.now_s >= latest_s:
                done_s = self._events.now_s + work.finish_s
            elif done_s == math.inf and self._events.now_s >= looked_s + LOOK_S:
                looked_s = self._events.now_s
                remaining_s = self._remaining_s(frame, candidate)
                if is_home_sooner(remaining_s, home_s):
                    if is_hopeless(remaining_s, expires_s - self._events.now_s):
                        self._line.cancel(frame)
                        return _How.HOPELESS
                    done_s = self._events.now_s + work.finish_s
            look_s = min(max(latest_s, self._events.now_s), looked_s + LOOK_S)
            self._events.step(done_s if done_s < math.inf else look_s)
        self._line.cancel(frame)
        if answered:
            return _How.ANSWERED
        return _How.HOME if done_s < math.inf else _How.LOST

    def _remaining_s(self, frame: int, candidate: Candidate) -> float:
        """What the session predicts of a frame in flight; one with a named cut predicts nothing."""
        if self._fixed is not None:
            return -math.inf
        return self._steering.remaining_s(
            candidate,
            target=TARGET,
            left_up_bytes=self._line.left_bytes(frame),
            waited_s=self._line.waited_s,
            kind=KIND,
        )


def _first_link(trace: Trace) -> Link:
    """The link as a session measures it when it starts."""
    now_s = next((start_s for start_s, rate in zip(trace.up.starts_s, trace.up.values, strict=True) if rate), 0.0)
    return Link(
        up_bytes_per_s=trace.up.at(now_s),
        down_bytes_per_s=trace.down.at(now_s) or trace.down.mean,
        rtt_s=2 * trace.delay_s.at(now_s),
    )
