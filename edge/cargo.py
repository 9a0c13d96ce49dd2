"""What crosses to a worker, and what a crossing needs of the world: workers, their frames, a forecast, a way home.

These are the seams of ``edge.crossing``: the fleet and its clients stand behind them in the field, fakes in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from edge.errors import EdgeError
from edge.frames import Progress, Reply
from edge.turnstile import Until
from partitioner.plan import Plan
from partitioner.runtimes import Array

Check = Callable[[Reply], None]
"""Raises ``BadReply`` for an answer that the stage cannot have made."""
Finish = Callable[[Until], "dict[str, Array] | None"]
"""Runs the stage on this device; None where the frame was answered first."""


class Flight(Until, Protocol):
    """A frame in flight."""

    @property
    def is_done(self) -> bool:
        """Whether ``result`` returns or raises at once."""

    @property
    def progress(self) -> Progress:
        """How far it has come."""

    def result(self) -> Reply:
        """Its answer, waited for; raises ``EdgeError``."""

    def cancel(self) -> None:
        """Withdraw it; what is not sent yet never is."""


class Remote(Protocol):
    """A session with one worker."""

    @property
    def target(self) -> str:
        """Its address."""

    def submit(
        self,
        plan_id: str,
        stage: int,
        tensors: Mapping[str, Array],
        chosen: Mapping[str, str],
        *,
        deadline_s: float | None = None,
        slot_s: float | None = None,
    ) -> Flight:
        """Send a frame, once there is room for one more, for which it waits ``slot_s``; raises ``EdgeError``."""

    def forget(self, plan: Plan) -> None:
        """Propose this plan again."""


R = TypeVar("R", bound=Remote)


class Workers(Protocol[R]):
    """Sessions with workers, kept by others."""

    @property
    def patience_s(self) -> float:
        """How long a request should wait for a worker that was lost."""

    def current(self) -> R | None:
        """The best session now."""

    def other(self, than: R) -> R | None:
        """Another one now."""

    def wait(self, timeout_s: float) -> R | None:
        """The best session, once there is one."""

    def ready(self, client: R, plan: Plan, timeout_s: float) -> None:
        """Have a worker make a plan ready; free where it is. Raises ``EdgeError``."""

    def note_failure(self, client: R, error: EdgeError) -> None:
        """A frame failed there."""

    def note_success(self, client: R) -> None:
        """A frame was answered there."""


class Forecast(Protocol):
    """What is predicted of one request."""

    @property
    def home_s(self) -> float | None:
        """What the device needs from the cut to the end, the wait for its engine included; None: nobody knows."""

    def remaining_s(self, target: str, progress: Progress) -> float | None:
        """Time until a frame in flight is answered; None: nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cargo:
    """What is to cross. ``expires_s`` is the request's deadline by the crossing's clock, where it has one.

    ``until`` comes when nobody wants the answer any more.
    """

    plan: Plan
    stage: int
    tensors: Mapping[str, Array]
    codecs: Mapping[str, str]
    expires_s: float | None
    forecast: Forecast
    until: Until | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossed:
    """How it ended: with a worker's reply, or ``made`` on this device, which ``why`` says the reason of."""

    target: str = ""
    reply: Reply | None = None
    made: dict[str, Array] | None = None
    why: EdgeError | None = None
