"""The judge: what was asked and what was answered, and whether that is what was owed.

Whatever happens to workers and links, each input asked is answered at most once, and exactly once where that is owed;
in order where order was asked; equal to a local oracle within the bound of the codec that it crossed with; and within
its deadline where one was given. A history is written while a system runs, from any thread, and judged afterwards by
what is written in it alone.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from edge.answer import Answer, max_rel_diff
from partitioner.runtimes import Array

Given = Mapping[str, Array]
Oracle = Callable[[Given], Mapping[str, Array]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An input, when it was asked, and how long the answer may take."""

    id: int
    given: Given
    input_hash: str
    asked_s: float
    deadline_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """An answer: to what, by which cut of which model, who computed it, and when."""

    id: int
    outputs: Mapping[str, Array]
    result_hash: str
    digest: str
    cut: str
    codec: str
    by: str
    answered_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An id that ended in an error."""

    id: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """What a run owes. ``slack_s``: how much a busy machine may add to a deadline."""

    is_every_one: bool = True
    is_in_order: bool = True
    bounds: Mapping[str, float] = field(default_factory=dict)
    bound: float = 1e-5
    slack_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found; the tuples hold ids."""

    asked: int
    answered: int
    failed: tuple[int, ...]
    lost: tuple[int, ...]
    doubled: tuple[int, ...]
    unasked: tuple[int, ...]
    wrong: tuple[int, ...]
    late: tuple[int, ...]
    disordered: tuple[int, ...]
    worst_difference: float
    by: Mapping[str, int]

    @property
    def is_clean(self) -> bool:
        """Whether all that was owed was given."""
        return not any(
            (self.failed, self.lost, self.doubled, self.unasked, self.wrong, self.late, self.disordered),
        )

    @property
    def in_time_ratio(self) -> float:
        """The share of what was asked that was answered in time."""
        return 1.0 - len({*self.late, *self.lost, *self.failed}) / self.asked if self.asked else 1.0

    def __str__(self) -> str:
        kinds = ("failed", "lost", "doubled", "unasked", "wrong", "late", "disordered")
        bad = [f"{len(found)} {kind} {list(found)[:5]}" for kind in kinds if (found := getattr(self, kind))]
        by = ", ".join(f"{count} {who}" for who, count in sorted(self.by.items()))
        return f"{self.answered} of {self.asked} answered ({by})" + "".join(f"; {each}" for each in bad)


class History:
    """What happened, in the order in which it happened. Thread-safe."""

    def __init__(self, *, digest: str = "", now: Callable[[], float] = time.monotonic) -> None:
        self._digest = digest
        self._now = now
        self._lock = threading.Lock()
        self.asked: list[Asked] = []
        self.answered: list[Answered] = []
        self.failed: list[Failed] = []

    def ask(self, given: Given, *, deadline_s: float | None = None) -> int:
        """An input is asked now; its id."""
        input_hash = hash_of(given)
        with self._lock:
            asked = Asked(
                id=len(self.asked), given=given, input_hash=input_hash, asked_s=self._now(), deadline_s=deadline_s
            )
            self.asked.append(asked)
        return asked.id

    def answer(self, frame_id: int, answer: Answer) -> Answered:
        """An answer came now."""
        now_s = self._now()
        by = "fallback" if answer.is_fallback else answer.where
        return self.note(frame_id, answer.outputs, cut=answer.cut, codec=answer.codec, by=by, at_s=now_s)

    def note(
        self,
        frame_id: int,
        outputs: Mapping[str, Array],
        *,
        cut: str = "",
        codec: str = "none",
        by: str = "edge",
        at_s: float | None = None,
    ) -> Answered:
        """The same, of outputs alone."""
        answered = Answered(
            id=frame_id,
            outputs={name: np.array(value) for name, value in outputs.items()},
            result_hash=hash_of(outputs),
            digest=self._digest,
            cut=cut,
            codec=codec,
            by=by,
            answered_s=self._now() if at_s is None else at_s,
        )
        with self._lock:
            self.answered.append(answered)
        return answered

    def fail(self, frame_id: int, error: BaseException) -> None:
        """An id ended in an error."""
        with self._lock:
            self.failed.append(Failed(id=frame_id, error=str(error)))


def judge(history: History, oracle: Oracle, owed: Owed | None = None) -> Verdict:
    """Compare a history that is over with what was owed."""
    owed = owed or Owed()
    asked = {each.id: each for each in history.asked}
    counts = Counter(each.id for each in history.answered)
    failed = {each.id for each in history.failed}
    known: dict[str, Mapping[str, Array]] = {}
    wrong, late, worst = set(), set(), 0.0
    for each in history.answered:
        question = asked.get(each.id)
        if question is None:
            continue
        if question.input_hash not in known:
            known[question.input_hash] = oracle(question.given)
        difference = max_rel_diff(each.outputs, known[question.input_hash])
        worst = max(worst, difference)
        if not difference <= owed.bounds.get(each.codec, owed.bound):
            wrong.add(each.id)
        if question.deadline_s is not None:
            if each.answered_s - question.asked_s > question.deadline_s + owed.slack_s:
                late.add(each.id)
    order = [each.id for each in history.answered]
    missing = {each for each in asked if not counts[each] and each not in failed}
    return Verdict(
        asked=len(asked),
        answered=len(counts.keys() & asked.keys()),
        failed=tuple(sorted(failed)) if owed.is_every_one else (),
        lost=tuple(sorted(missing)) if owed.is_every_one else (),
        doubled=tuple(sorted(each for each, count in counts.items() if count + (each in failed) > 1)),
        unasked=tuple(sorted(counts.keys() - asked.keys())),
        wrong=tuple(sorted(wrong)),
        late=tuple(sorted(late)),
        disordered=tuple(after for before, after in itertools.pairwise(order) if after < before)
        if owed.is_in_order
        else (),
        worst_difference=worst,
        by=Counter(each.by for each in history.answered),
    )


def hash_of(tensors: Mapping[str, Array]) -> str:
    """Names, types, shapes and bytes, as one hash."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
