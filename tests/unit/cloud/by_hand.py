"""Inputs and messages for a worker of ``loopback``, made by hand, and what a test asks about them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from typing import TypeVar, cast

import numpy as np
import pytest
from loopback import WAIT_S, FrameFailed, Talker

from partitioner.plan import Plan
from protos import messages as pb
from protos.tensors import pack

X = np.arange(32, dtype=np.float32).reshape(4, 8)
HELD = np.full((2, 8), 99, np.float32)
UNLUCKY = np.full((2, 8), 13, np.float32)
_T = TypeVar("_T")
HELLO = pb.Hello(protocol_version=1, session_id="s")


def until(fact: Callable[[], object], what: str = "it") -> None:
    """Wait for something that has no event of its own."""
    end_s = time.monotonic() + WAIT_S
    while not fact():
        assert time.monotonic() < end_s, f"{what} did not happen"
        threading.Event().wait(0.005)


def refusal(session: Talker, frame_id: int) -> FrameFailed:
    """How the worker refuses a frame."""
    with pytest.raises(FrameFailed) as caught:
        session.answer(frame_id)
    assert caught.value.failed.frame_id == frame_id
    return caught.value


def bad_run(plan: Plan, **changes: object) -> pb.Run:
    """A right message but for these fields."""
    headers, _, payload_bytes = pack({"x": X})
    fields = {"frame_id": 5, "plan_id": plan.plan_id, "stage": 1, "tensors": headers, "payload_bytes": payload_bytes}
    return pb.Run(**(fields | changes))


def header(array: np.ndarray, name: str = "x", codec: str = "none") -> dict[str, object]:
    """The fields of a message that carries one array."""
    headers, _, payload_bytes = pack({name: array}, {name: codec})
    return {"tensors": headers, "payload_bytes": payload_bytes}


def finished(steps: Generator[None, None, _T]) -> _T:
    """What comes of work in steps."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast(_T, end.value)
