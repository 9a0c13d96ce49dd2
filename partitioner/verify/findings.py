"""What was found for one model over one link on one device: predictions beside measured times, and what they cost.

The best of many noisy medians is too good to be true, so the chosen plan is not judged by the first measurements.
Those name the *finalists*: the chosen plan and the fastest others. All finalists then run again, equally often and
interleaved, and regret is taken from these new runs alone. What is left of the bias (the minimum over a few medians)
makes regret larger, never smaller.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from partitioner.errors import ProfileError
from partitioner.link import Link
from partitioner.profile import ALL_CLOUD, ALL_LOCAL
from partitioner.records import Fields, RecordError, read, to_json

SCHEMA = "cleft.finding/1"
FIRST_CHARS = f'{{"schema": "{SCHEMA}"'
"""Of a finding as a line of JSON."""
FINALISTS = 5
NEAR = 1.25
"""A plan within this factor of the fastest may be a finalist."""
WITHIN = 0.10
_MAX_CHARS = 2**24


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One plan: ``rank`` by prediction, from 0; seconds of its first runs and, of a finalist, of its last ones."""

    rank: int
    cut: str
    codec: str
    predicted_s: float
    first_s: tuple[float, ...]
    last_s: tuple[float, ...] = ()
    up_bytes: int

    @property
    def measured_s(self) -> float:
        """Median of all runs."""
        return statistics.median((*self.first_s, *self.last_s))

    @property
    def error(self) -> float:
        """How far the prediction was off, as a share of the measured time; below 0 where it was too fast."""
        return self.predicted_s / self.measured_s - 1

    @property
    def is_local(self) -> bool:
        """Whether nothing leaves the device."""
        return self.cut == ALL_LOCAL

    @property
    def is_all_cloud(self) -> bool:
        """Whether the original input is sent as it is, or packed without loss; tensors, where there is nothing else."""
        return self.cut == ALL_CLOUD and ":" not in self.codec


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One configuration. ``plans`` by rank: the first is the chosen one. ``link`` is the link as measured.

    ``runtime`` ran the device; ``max_deviation`` bounded what codecs do to the answer, None where all were exact.
    ``is_predicted``: the device was not profiled, its times came from other models.
    """

    schema: str = SCHEMA
    model: str
    weights: str
    runtime: str
    is_predicted: bool = False
    max_deviation: float | None
    link: Link
    slowdown: float
    plans: tuple[Tried, ...]
    left_out: int
    took_s: float

    @property
    def chosen(self) -> Tried:
        """What the planner would run."""
        return self.plans[0]

    @property
    def best(self) -> Tried:
        """The fastest finalist by its last runs."""
        return min((plan for plan in self.plans if plan.last_s), key=lambda plan: statistics.median(plan.last_s))

    @property
    def regret(self) -> float:
        """(time of the chosen plan) / (time of the best plan) - 1, by the last runs."""
        return statistics.median(self.chosen.last_s) / statistics.median(self.best.last_s) - 1

    @property
    def is_best_chosen(self) -> bool:
        """Whether nothing measured was faster than the chosen plan."""
        return self.best is self.chosen

    @property
    def errors(self) -> tuple[float, ...]:
        """How far the prediction of each plan was off, without sign."""
        return tuple(abs(plan.error) for plan in self.plans)

    @property
    def over_cloud(self) -> float:
        """How many times faster the chosen plan is than all-cloud at its best, the input not re-encoded."""
        return min(plan.measured_s for plan in self.plans if plan.is_all_cloud) / self.chosen.measured_s

    @property
    def over_local(self) -> float:
        """How many times faster the chosen plan is than the device alone."""
        return min(plan.measured_s for plan in self.plans if plan.is_local) / self.chosen.measured_s

    @property
    def key(self) -> tuple[str, str, float]:
        """Which configuration it is."""
        return self.model, self.link.name, self.slowdown

    def to_json(self) -> dict[str, object]:
        """The finding as JSON values, with what follows from it."""
        plans = [
            {**cast("dict[str, object]", to_json(plan)), "measured_s": plan.measured_s, "error": plan.error}
            for plan in self.plans
        ]
        return {
            "schema": SCHEMA,
            "model": self.model,
            "weights": self.weights,
            "runtime": self.runtime,
            "predicted": self.is_predicted,
            "max_deviation": self.max_deviation,
            "link": self.link.to_json(),
            "slowdown": self.slowdown,
            "chosen": _name(self.chosen),
            "best": _name(self.best),
            "regret": self.regret,
            "best_chosen": self.is_best_chosen,
            "median_error": statistics.median(self.errors),
            "worst_error": max(self.errors),
            "over_all_cloud": self.over_cloud,
            "over_all_local": self.over_local,
            "left_out": self.left_out,
            "took_s": self.took_s,
            "plans": plans,
        }


def load_finding(text: str) -> Finding:
    """A finding as ``to_json`` wrote it.

    Raises:
        ProfileError: the text is none.
    """
    try:
        return read(text, _finding, max_chars=_MAX_CHARS)
    except RecordError as error:
        raise ProfileError(f"this is no finding of {SCHEMA}: {error}") from error


def finalists(plans: Sequence[Tried]) -> tuple[int, ...]:
    """Positions of the chosen plan, which is the first, and of the fastest others by their first runs."""
    fastest_s = min(plan.measured_s for plan in plans)
    others = [index for index, plan in enumerate(plans) if index and plan.measured_s <= NEAR * fastest_s]
    others.sort(key=lambda index: plans[index].measured_s)
    return (0, *others[: FINALISTS - 1])


def counted(times_s: Sequence[float], *, is_first: bool) -> tuple[float, ...]:
    """The runs that count: without the first, where there are enough or where it was the first of all."""
    return tuple(times_s[1:] if len(times_s) > 2 or (is_first and len(times_s) == 2) else times_s)


def _name(plan: Tried) -> Mapping[str, object]:
    return {"cut": plan.cut, "codec": plan.codec, "predicted_s": plan.predicted_s, "measured_s": plan.measured_s}


def _finding(fields: Fields) -> Finding:
    fields.text("schema", among=(SCHEMA,))
    plans = fields.records("plans", _tried)
    if not plans or not plans[0].last_s:
        fields.fault("plans", "has no chosen plan that was measured")
    return Finding(
        model=fields.text("model"),
        weights=fields.text("weights"),
        runtime=fields.text("runtime"),
        is_predicted=fields.raw("predicted") is not None and fields.flag("predicted"),
        max_deviation=fields.optional_number("max_deviation"),
        link=fields.record("link", _link),
        slowdown=fields.number("slowdown", is_over_zero=True),
        plans=plans,
        left_out=fields.whole("left_out"),
        took_s=fields.number("took_s"),
    )


def _tried(fields: Fields) -> Tried:
    return Tried(
        rank=fields.whole("rank"),
        cut=fields.text("cut"),
        codec=fields.text("codec"),
        predicted_s=fields.number("predicted_s", is_over_zero=True),
        first_s=_times(fields, "first_s", least=1),
        last_s=_times(fields, "last_s", least=0),
        up_bytes=fields.whole("up_bytes"),
    )


def _times(fields: Fields, key: str, *, least: int) -> tuple[float, ...]:
    found = tuple(each for each in fields.items(key) if isinstance(each, float | int) and each > 0)
    if len(found) < least or len(found) != len(fields.items(key)):
        fields.fault(key, "is not a list of times over 0")
        return (1.0,)
    return found


def _link(fields: Fields) -> Link:
    return Link(
        name=fields.text("name"),
        up_bytes_per_s=fields.number("up_bytes_per_s", is_over_zero=True),
        down_bytes_per_s=fields.number("down_bytes_per_s", is_over_zero=True),
        rtt_s=fields.number("rtt_s"),
    )
