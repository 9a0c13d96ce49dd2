"""Every limit and option of a worker, as one value."""

from __future__ import annotations

from dataclasses import dataclass

from protos.security import is_loopback
from protos.tensors import DEFAULT_LIMITS, MIB, Limits

DEFAULT_PORT = 50051


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """How a worker listens, computes and protects itself.

    What one session may hold is bounded in frames, plans and bytes, and what all together hold in different plans and
    in bytes;
    frames of all sessions wait in ``max_queued_frames`` places, and the rest is refused. At most ``max_batch`` frames
    run as one, which wait for each other for up to ``batch_wait_s``, and never while the machine is idle.
    """

    name: str = "cleft-cloud"
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    device: str = "auto"
    threads: int = 1
    allow_ops: tuple[str, ...] = ()
    liveness_s: float = 3.0
    stall_s: float = 30.0
    grace_s: float = 10.0
    linger_s: float = 1.0
    limits: Limits = DEFAULT_LIMITS
    max_sessions: int = 2048
    max_plans: int = 256
    max_worker_plans: int = 1024
    max_proposals: int = 8
    max_stages: int = 16
    max_names: int = 1024
    max_frames_in_flight: int = 32
    max_session_bytes: int = 1024 * MIB
    max_worker_bytes: int = 4096 * MIB
    max_queued_frames: int = 256
    max_batch: int = 16
    batch_wait_s: float = 0.0
    profile_budget_s: float = 30.0
    max_profile_budget_s: float = 600.0

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the worker."""
        return is_loopback(self.host)


def address(host: str, port: int) -> str:
    """``host:port``, an IPv6 host in brackets whether it came in them or not."""
    bare = host.removeprefix("[").removesuffix("]")
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"
