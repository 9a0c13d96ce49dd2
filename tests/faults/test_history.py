"""The judge sees what it is there to see: each forged history fails for its own fault, and a true one passes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from history import Given, History, Owed, Verdict, hash_of, judge

from partitioner.runtimes import Array

FRAMES = 4
DEADLINE_S = 1.0


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 0.1
        return self.now_s


def given(number: int) -> dict[str, Array]:
    return {"x": np.full((2, 2), number, np.float32)}


def double(inputs: Given) -> dict[str, Array]:
    return {"y": inputs["x"] * 2}


def asked() -> History:
    history = History(now=Clock())
    for number in range(FRAMES):
        assert history.ask(given(number), deadline_s=DEADLINE_S) == number
    return history


def answer_all(history: History, *ids: int) -> History:
    for each in ids:
        history.note(each, double(given(each)))
    return history


def faults(verdict: Verdict) -> dict[str, tuple[int, ...]]:
    kinds = ("failed", "lost", "doubled", "unasked", "wrong", "late", "disordered")
    return {kind: found for kind in kinds if (found := getattr(verdict, kind))}


def test_a_true_history_is_clean() -> None:
    verdict = judge(answer_all(asked(), 0, 1, 2, 3), double)
    assert verdict.is_clean
    assert (verdict.asked, verdict.answered, verdict.in_time_ratio) == (4, 4, 1.0)


def doubled() -> History:
    return answer_all(asked(), 0, 1, 1, 2, 3)


def lost() -> History:
    return answer_all(asked(), 0, 1, 3)


def wrong() -> History:
    history = answer_all(asked(), 0, 1, 2)
    history.note(3, {"y": np.full((2, 2), 6.001, np.float32)})
    return history


def swapped() -> History:
    """The right answers to the wrong questions."""
    history = answer_all(asked(), 0, 1)
    history.note(2, double(given(3)))
    history.note(3, double(given(2)))
    return history


def not_a_number() -> History:
    history = answer_all(asked(), 0, 1, 2)
    history.note(3, {"y": np.full((2, 2), np.nan, np.float32)})
    return history


def other_outputs() -> History:
    history = answer_all(asked(), 0, 1, 2)
    history.note(3, {"z": np.full((2, 2), 6, np.float32)})
    return history


def late() -> History:
    history = answer_all(asked(), 0, 1, 2)
    history.note(3, double(given(3)), at_s=100.0)
    return history


def reordered() -> History:
    return answer_all(asked(), 0, 2, 1, 3)


def unasked() -> History:
    return answer_all(asked(), 0, 1, 2, 3, 9)


def failed() -> History:
    history = answer_all(asked(), 0, 1, 2)
    history.fail(3, RuntimeError("no"))
    return history


def failed_and_answered() -> History:
    history = answer_all(asked(), 0, 1, 2, 3)
    history.fail(3, RuntimeError("no"))
    return history


@pytest.mark.parametrize(
    ("forged", "found"),
    [
        (doubled, {"doubled": (1,)}),
        (lost, {"lost": (2,)}),
        (wrong, {"wrong": (3,)}),
        (swapped, {"wrong": (2, 3)}),
        (not_a_number, {"wrong": (3,)}),
        (other_outputs, {"wrong": (3,)}),
        (late, {"late": (3,)}),
        (reordered, {"disordered": (1,)}),
        (unasked, {"unasked": (9,)}),
        (failed, {"failed": (3,)}),
        (failed_and_answered, {"failed": (3,), "doubled": (3,)}),
    ],
)
def test_a_forged_history_fails_for_its_fault_and_no_other(
    forged: Callable[[], History], found: dict[str, tuple[int, ...]]
) -> None:
    verdict = judge(forged(), double)
    assert faults(verdict) == found
    assert not verdict.is_clean
    assert all(kind in str(verdict) for kind in found)


def test_what_is_not_owed_is_not_held_against_a_history() -> None:
    assert judge(reordered(), double, Owed(is_in_order=False)).is_clean
    assert judge(lost(), double, Owed(is_every_one=False)).is_clean
    assert not judge(doubled(), double, Owed(is_every_one=False)).is_clean


def test_a_codec_is_judged_by_its_own_bound_and_no_other() -> None:
    history = asked()
    for number in range(FRAMES):
        history.note(number, {"y": double(given(number))["y"] * 1.004}, codec="int8" if number < 3 else "none")
    assert judge(history, double, Owed(bounds={"int8": 0.01})).wrong == (3,)


def test_a_busy_machine_is_given_its_slack_and_no_more() -> None:
    assert judge(late(), double, Owed(slack_s=200.0)).is_clean
    assert judge(late(), double, Owed(slack_s=1.0)).late == (3,)
    assert judge(late(), double).in_time_ratio == 0.75


def test_a_hash_is_of_names_types_shapes_and_bytes() -> None:
    array = np.arange(4, dtype=np.float32)
    others = [{"y": array}, {"x": array.reshape(2, 2)}, {"x": array.astype(np.int32)}, {"x": array + 1}, {}]
    assert hash_of({"x": array}) == hash_of({"x": np.array(array)})
    assert len({hash_of({"x": array}), *map(hash_of, others)}) == 6
