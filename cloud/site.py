"""What all sessions of a worker share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from cloud.batching import Batchers
from cloud.config import Config
from cloud.held import HeldPlans
from cloud.store import Store
from cloud.worker import Worker
from protos import messages as pb
from protos.status import one_line


@dataclass(slots=True, kw_only=True)
class Tally:
    """What a worker has done so far, and what its sessions hold now.

    ``counts`` has, by name, all that was refused, dropped, cancelled or let go of since the start.
    """

    sessions: int = 0
    bytes_held: int = 0
    frames_answered: int = 0
    frames_failed: int = 0
    calls_refused: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def note_refused_call(self) -> None:
        """A call came without a token that is taken."""
        self.calls_refused += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A worker: its options, models, compute thread, batches, plans and counters; ``clock`` is monotonic."""

    config: Config
    store: Store
    worker: Worker
    batchers: Batchers
    plans: HeldPlans
    tally: Tally
    clock: Callable[[], float]

    def models(self) -> list[pb.ModelInfo]:
        """What is served, as messages."""
        return [
            pb.ModelInfo(
                digest=model.digest,
                name=one_line(model.bundle.name),
                ready=model.engine is not None,
                reason=one_line(model.reason),
                runtime="" if model.engine is None else model.engine.info.name,
            )
            for model in self.store.models
        ] + [pb.ModelInfo(name=one_line(each.name), reason=one_line(each.reason)) for each in self.store.broken]

    def load(self, client: Hashable = None) -> pb.Load:
        """How busy the compute thread is, as a message; to a client also what others than it cause."""
        load = self.worker.load_for(client)
        message = pb.Load(queued_frames=load.queued_jobs, busy_ratio=load.busy_ratio, job_s=load.job_s)
        if client is not None:
            message.others_busy_ratio = load.others_busy_ratio
            message.others_queued_frames = load.others_queued_jobs
        return message

    def counters(self) -> dict[str, int]:
        """All that was counted since the start, by name."""
        return {
            "sessions": self.tally.sessions,
            "unauthenticated": self.tally.calls_refused,
            **self.worker.counts,
            **self.tally.counts,
        }
