"""What tests of a fleet of workers do over and over."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edge.client import Client
from edge.fleet import Fleet
from partitioner.errors import CleftError
from partitioner.plan import Plan
from protos import messages as pb

Start = Callable[..., "FakeWorker"]  # noqa: F821 - the class of conftest.py


Send = Callable[[pb.ToEdge], None]


DIGEST = "ab" * 32


FOUR = {"h": np.ones(4, np.float32)}


SOON_S = 10.0
"""Longer than anything here takes; a limit on a test that would hang."""


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def until(fleet: Fleet, claim: Callable[[], object]) -> None:
    """Wait for a claim that becomes true when the fleet changes."""
    with fleet._changed:
        assert fleet._changed.wait_for(claim, timeout=SOON_S), fleet.health()


def state(fleet: Fleet, index: int = 0) -> str:
    return fleet.health()[index].state


def answer(fleet: Fleet, client: Client, plan: Plan) -> float:
    fleet.ready(client, plan, SOON_S)
    reply = client.submit(plan.plan_id, 1, FOUR, {}).result()
    fleet.note_success(client)
    return float(reply.tensors["h.out"].sum())


def refusing(code: pb.Code, *, retry_after_s: float = 0.0) -> Callable[..., bool]:
    def on_message(_worker: object, message: pb.ToWorker, send: Send) -> bool:
        if message.WhichOneof("body") == "run":
            failed = pb.Failed(frame_id=message.run.frame_id, code=code, detail="no", retry_after_s=retry_after_s)
            send(pb.ToEdge(failed=failed))
        return message.WhichOneof("body") in ("run", "chunk")

    return on_message


def fail(fleet: Fleet, client: Client, plan: Plan, times: int = 1) -> None:
    """Have frames fail there, one after the other."""
    fleet.ready(client, plan, SOON_S)
    for _ in range(times):
        with pytest.raises(CleftError) as caught:
            client.submit(plan.plan_id, 1, FOUR, {}).result()
        fleet.note_failure(client, caught.value)
