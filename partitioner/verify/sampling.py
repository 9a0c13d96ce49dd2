"""Which plans to measure when not all can be: the best predicted, and an even sample of the rest.

A plan of a slow link takes seconds, and hundreds of plans are candidates. What must be measured comes first: the
chosen plan, both extremes, the ten best predicted. What time is left goes to an even sample of the others by predicted
rank, so that a fast plan which the prediction missed has its chance to be found. A fast plan is run more often than a
slow one, whose time is the link's and varies little.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

BEST = 10
STRETCH = 2.5
_READY_S = 0.15
"""To have a plan made ready on both sides."""
_RUNS = ((0.4, 4), (3.0, 2))
"""Predictions up to so many seconds get so many runs, longer ones a single run."""


def sample(predicted_s: Sequence[float], *, always: Sequence[int], limit_s: float, best: int = BEST) -> dict[int, int]:
    """Ranks of the plans that can be measured within ``limit_s``, each with its number of runs.

    Where even the best predicted do not fit, they are run less often; then once each in up to ``STRETCH`` times as
    long; then fewer of them.

    Args:
        predicted_s: predictions, the fastest first.
        always: ranks that are measured whatever they take.
        limit_s: time for all of them.
        best: how many of the best predicted are to be measured.
    """
    wanted = list(dict.fromkeys([*always, *range(min(best, len(predicted_s)))]))
    runs = _fitted(wanted, predicted_s, always=always, limit_s=limit_s)
    left_s = limit_s - _cost_s(runs, predicted_s)
    for rank in spread([rank for rank in range(len(predicted_s)) if rank not in wanted]):
        cost_s = _cost_s({rank: runs_of(predicted_s[rank])}, predicted_s)
        if cost_s <= left_s:
            runs[rank] = runs_of(predicted_s[rank])
            left_s -= cost_s
    return dict(sorted(runs.items()))


def runs_of(predicted_s: float) -> int:
    """How often a plan of this predicted time is run."""
    return next((runs for up_to_s, runs in _RUNS if predicted_s <= up_to_s), 1)


def spread(ranks: Sequence[int]) -> Iterator[int]:
    """The ranks in an order whose every beginning samples them evenly: the middle, the quarters, and so on."""
    spans = deque([(0, len(ranks))])
    while spans:
        low, high = spans.popleft()
        if low < high:
            middle = (low + high) // 2
            yield ranks[middle]
            spans += [(low, middle), (middle + 1, high)]


def _fitted(
    wanted: Sequence[int], predicted_s: Sequence[float], *, always: Sequence[int], limit_s: float
) -> dict[int, int]:
    """Runs of what is wanted: as many as they deserve, else two, else one, and the worst predicted go."""
    runs: dict[int, int] = {}
    for most in (_RUNS[0][1], 2, 1):
        runs = {rank: min(most, runs_of(predicted_s[rank])) for rank in wanted}
        if _cost_s(runs, predicted_s) <= limit_s:
            return runs
    for rank in sorted(set(wanted) - set(always), reverse=True):
        if _cost_s(runs, predicted_s) <= STRETCH * limit_s:
            break
        del runs[rank]
    return runs


def _cost_s(runs: dict[int, int], predicted_s: Sequence[float]) -> float:
    return sum(_READY_S + count * predicted_s[rank] for rank, count in runs.items())
