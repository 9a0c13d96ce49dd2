"""One request by the plan that was chosen for it: walked, timed, told to the steering, and put together."""

from __future__ import annotations

import time

from edge.answer import Answer, Where, assemble
from edge.outlook import Outlook, pace_key
from edge.parts import Parts
from edge.plans import Chosen
from edge.spending import Spent
from edge.turnstile import Until
from edge.walker import Request
from partitioner.inputs import Sample


def answered(
    parts: Parts,
    sample: Sample,
    chosen: Chosen,
    *,
    deadline_s: float | None,
    order: int,
    until: Until | None = None,
) -> Answer:
    """Answer one input on the calling thread; ``order`` is its place among the session's requests.

    Raises:
        InputError: it does not fit the model.
        EdgeError: the worker was needed and could not be had.
        NotWanted: ``until`` came first.
    """
    start_s = time.monotonic()
    selected = chosen.selected
    spent = Spent(is_fallback=chosen.is_stranded)
    key = pace_key(selected.plan.plan_id, sample)
    outlook = Outlook(
        key,
        paces=parts.walker.paces,
        turnstile=parts.runner.turnstile,
        steering=parts.steering,
        kind=chosen.kind,
        planner=chosen.planner,
        candidate=chosen.candidate,
    )
    expires_s = None if deadline_s is None else start_s + deadline_s
    request = Request(order=order, pace_key=key, expires_s=expires_s, forecast=outlook, until=until)
    values = parts.walker.walk(selected.plan, sample, spent, request)
    outputs, value = assemble(parts.bundle.graph, values)
    if chosen.candidate is not None:
        parts.steering.note_answer(
            chosen.kind,
            chosen.candidate,
            head_s=spent.ahead_s,
            tail_s=spent.behind_s,
            load=None if spent.reply is None else spent.reply.load,
            target=spent.target or None,
        )
    return Answer(
        outputs=outputs,
        value=value,
        cut=selected.cut.name,
        cut_id=selected.cut.id,
        codec=selected.codec,
        where=_where(chosen, spent),
        is_fallback=spent.is_fallback,
        times=spent.times(total_s=time.monotonic() - start_s),
        up_bytes=spent.up_bytes,
        down_bytes=spent.down_bytes,
        slowdown=parts.runner.clock.slowdown,
        predicted_s=selected.predicted_s(sample),
    )


def _where(chosen: Chosen, spent: Spent) -> Where:
    if spent.is_fallback or chosen.selected.plan.is_local:
        return "edge"
    return "split" if chosen.selected.cut.depth else "cloud"
