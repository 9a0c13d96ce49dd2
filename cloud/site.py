"""What all sessions of a worker share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cloud.config import Config
from cloud.store import Store
from cloud.worker import Worker
from protos import messages as pb


@dataclass(slots=True, kw_only=True)
class Tally:
    """What a worker has done so far, and the plans that its sessions hold."""

    sessions: int = 0
    plans_held: int = 0
    frames_answered: int = 0
    frames_failed: int = 0
    calls_refused: int = 0

    def note_refused_call(self) -> None:
        """A call came without a token that is taken."""
        self.calls_refused += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A worker: its options, models, compute thread and counters; ``clock`` is monotonic."""

    config: Config
    store: Store
    worker: Worker
    tally: Tally
    clock: Callable[[], float]

    def models(self) -> list[pb.ModelInfo]:
        """What is served, as messages."""
        return [
            pb.ModelInfo(
                digest=model.digest,
                name=model.bundle.name,
                ready=model.engine is not None,
                reason=model.reason,
                runtime="" if model.engine is None else model.engine.info.name,
            )
            for model in self.store.models
        ]

    def load(self) -> pb.Load:
        """How busy the compute thread is, as a message."""
        load = self.worker.load
        return pb.Load(queued_frames=load.queued_jobs, busy_ratio=load.busy_ratio, job_s=load.job_s)
