"""What one request costs, summed while its plan is walked."""

from __future__ import annotations

from dataclasses import dataclass

from edge.answer import Times
from edge.frames import Reply


@dataclass(slots=True)
class Spent:
    """Seconds and bytes of one request so far; ``is_fallback`` where this device did the worker's part.

    ``ahead_s`` is this device's own work before anything crossed, or all of it where nothing does.
    """

    preprocess_s: float = 0.0
    head_s: float = 0.0
    encode_s: float = 0.0
    wire_s: float = 0.0
    queue_s: float = 0.0
    decode_s: float = 0.0
    tail_s: float = 0.0
    up_bytes: int = 0
    down_bytes: int = 0
    is_fallback: bool = False
    ahead_s: float = 0.0
    reply: Reply | None = None
    target: str = ""

    def take(self, reply: Reply, target: str) -> None:
        """Add what a stage in the cloud took, there and on the way."""
        self.reply, self.target = reply, target
        self.encode_s += reply.encode_s + reply.worker.encode_s
        self.decode_s += reply.decode_s + reply.worker.decode_s
        self.wire_s += reply.wire_s
        self.queue_s += reply.worker.queue_s
        self.preprocess_s += reply.worker.preprocess_s
        self.tail_s += reply.worker.compute_s
        self.up_bytes += reply.up_bytes
        self.down_bytes += reply.down_bytes

    @property
    def behind_s(self) -> float | None:
        """The worker's own work, preparing included; None where no worker answered."""
        return None if self.reply is None else self.reply.worker.preprocess_s + self.reply.worker.compute_s

    def times(self, *, total_s: float) -> Times:
        """The times of an answer."""
        return Times(
            total_s=total_s,
            preprocess_s=self.preprocess_s,
            head_s=self.head_s,
            encode_s=self.encode_s,
            wire_s=self.wire_s,
            queue_s=self.queue_s,
            decode_s=self.decode_s,
            tail_s=self.tail_s,
        )
