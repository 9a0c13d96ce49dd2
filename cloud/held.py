"""The plans that the sessions of a worker hold: each is made ready and kept once, however many sessions hold it.

A fleet of like devices proposes the same few plans. The second device of a kind is answered at once, and what bounds
the worker's memory is how many *different* plans are held, not how many devices hold them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from cloud.batching import Batcher
from cloud.store import Prepared
from partitioner.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyPlan:
    """A plan that Run may name; a stage that is not the worker's has no segment and no batcher."""

    plan: Plan
    stages: tuple[Prepared | None, ...]
    batchers: tuple[Batcher | None, ...]
    prepare_s: float


class HeldPlans:
    """Plans by id, with how many sessions hold each. Belongs to one event loop."""

    def __init__(self, *, most: int) -> None:
        self.most = most
        self._plans: dict[str, ReadyPlan] = {}
        self._holders: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._plans)

    @property
    def is_full(self) -> bool:
        """Whether no plan that nobody holds should be made ready."""
        return len(self._plans) >= self.most

    def get(self, plan_id: str) -> ReadyPlan | None:
        """A plan that some session holds."""
        return self._plans.get(plan_id)

    def hold(self, ready: ReadyPlan) -> ReadyPlan:
        """One more session holds a plan; returns the one that all share."""
        plan_id = ready.plan.plan_id
        self._holders[plan_id] += 1
        return self._plans.setdefault(plan_id, ready)

    def release(self, plan_id: str) -> None:
        """A session holds a plan no more."""
        self._holders[plan_id] -= 1
        if not self._holders[plan_id]:
            del self._holders[plan_id], self._plans[plan_id]
