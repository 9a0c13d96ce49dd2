"""Several plans measured against each other: one session answers one input by each of them in turn, round by round.

A machine's speed drifts and a link's rate wanders; plans timed one after the other would each be judged by another
hour. Here every round answers by every plan once, in an order drawn anew, so that drift falls on all alike. Round 0 is
the warm-up: first runs are slower, and the rate at which payload is sent is still being learned. Which rounds count is
for the reader to decide, since every answer says its round.

A trial ends in time: a run that would not fit into what is left, by how long that plan took before, is left out and
told. A worker that is lost ends it, for an answer finished on the device would say nothing of the plan.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edge.advisor import Selected
from edge.answer import Answer
from edge.session import Session
from partitioner.errors import UsageError
from partitioner.inputs import Sample
from partitioner.records import Fields, RecordError, read

NEVER_S = 1e9
_MAX_CHARS = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPlan:
    """A cut and what crosses it; it is run in rounds 0 to ``rounds``."""

    cut: str
    codec: str | None
    rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Plans to be measured against each other, over one link and on a device of one speed."""

    plans: tuple[TrialPlan, ...]
    cloud: str | None
    slowdown: float
    seed: int
    time_limit_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One answer of a trial; ``plan`` and ``round`` count from 0, and round 0 is the warm-up."""

    plan: int
    round: int
    answer: Answer


def read_trial(text: str, defaults: Trial, *, rounds: int) -> Trial:
    """A trial as one JSON object: ``{"plans": [{"cut": "after:layer2", "codec": "none", "rounds": 5}, ...]}``.

    ``codec`` and ``rounds`` may be left out, and so may ``cloud``, ``slowdown``, ``seed`` and ``time_limit_s`` beside
    ``plans``; ``defaults`` and ``rounds`` stand in.

    Raises:
        UsageError: it cannot be read; all faults are named.
    """

    def plan(fields: Fields) -> TrialPlan:
        return TrialPlan(
            cut=fields.text("cut"),
            codec=fields.text("codec") if fields.raw("codec") is not None else None,
            rounds=fields.whole("rounds") if fields.raw("rounds") is not None else rounds,
        )

    def trial(fields: Fields) -> Trial:
        def given(key: str, stands_in: float) -> float:
            return fields.number(key) if fields.raw(key) is not None else stands_in

        return Trial(
            plans=fields.records("plans", plan),
            cloud=fields.text("cloud") if fields.raw("cloud") is not None else defaults.cloud,
            slowdown=given("slowdown", defaults.slowdown),
            seed=fields.whole("seed") if fields.raw("seed") is not None else defaults.seed,
            time_limit_s=given("time_limit_s", defaults.time_limit_s),
        )

    try:
        found = read(text, trial, max_chars=_MAX_CHARS)
    except RecordError as error:
        raise UsageError(f"this is no trial: {error}") from error
    if not found.plans:
        raise UsageError("this is no trial: it names no plans")
    return found


def turns(plans: Sequence[TrialPlan], seed: int) -> Iterator[tuple[int, int]]:
    """(round, plan) of every run: round 0 in the order given, every later one in an order of its own."""
    shuffler = random.Random(seed)
    yield from ((0, index) for index in range(len(plans)))
    for number in range(1, max((plan.rounds for plan in plans), default=0) + 1):
        order = [index for index, plan in enumerate(plans) if number <= plan.rounds]
        shuffler.shuffle(order)
        yield from ((number, index) for index in order)


def run_trial(
    session: Session,
    sample: Sample,
    trial: Trial,
    *,
    left_out: dict[int, int],
    now: Callable[[], float] = time.monotonic,
) -> Iterator[Measured]:
    """Answers as they come; afterwards ``left_out`` holds, by plan, how many of its runs the time did not allow.

    Raises:
        CleftError: a plan cannot be run, or the worker is gone.
    """
    ends_s = now() + trial.time_limit_s
    ready: dict[int, Selected] = {}
    longest_s: dict[int, float] = {}
    left = [plan.rounds + 1 for plan in trial.plans]
    for number, index in turns(trial.plans, trial.seed):
        begun_s = now()
        fits = [begun_s + longest_s.get(each, 0.0) <= ends_s for each in range(len(left))]
        if not any(left[each] and fits[each] for each in range(len(left))):
            break
        if not fits[index]:
            continue
        if index not in ready:
            plan = trial.plans[index]
            ready[index] = session.ready(sample, cut=plan.cut, codec=plan.codec)
            begun_s = now()
        answer = session.answer(sample, ready[index])
        longest_s[index] = max(longest_s.get(index, 0.0), now() - begun_s)
        left[index] -= 1
        yield Measured(plan=index, round=number, answer=answer)
    left_out.update({index: runs for index, runs in enumerate(left) if runs})


def record_of(measured: Measured) -> Mapping[str, object]:
    """What machines read of one answer: its plan and round, seconds by what they were spent on, bytes."""
    answer, times = measured.answer, measured.answer.times
    return {
        "plan": measured.plan,
        "round": measured.round,
        "cut": answer.cut,
        "cut_id": answer.cut_id,
        "codec": answer.codec,
        "total_s": times.total_s,
        "preprocess_s": times.preprocess_s,
        "head_s": times.head_s,
        "encode_s": times.encode_s,
        "wire_s": times.wire_s,
        "queue_s": times.queue_s,
        "decode_s": times.decode_s,
        "tail_s": times.tail_s,
        "up_bytes": answer.up_bytes,
        "down_bytes": answer.down_bytes,
        "slowdown": answer.slowdown,
    }
