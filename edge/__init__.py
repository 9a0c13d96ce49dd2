"""The device: runs the front of a model, talks to a worker, and answers.

    with edge.Session("torchvision:resnet18", cloud="host:port", security=edge.ClientSecurity(is_tls=True)) as session:
        answer = session(x)

Names are imported on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.answer import Answer as Answer
    from edge.answer import Times as Times
    from edge.errors import Dropped as Dropped
    from edge.errors import EdgeError as EdgeError
    from edge.lanes import Streamed as Streamed
    from edge.session import Session as Session
    from protos.security import ClientSecurity as ClientSecurity

_HOMES = {
    "Answer": "edge.answer",
    "ClientSecurity": "protos.security",
    "Dropped": "edge.errors",
    "EdgeError": "edge.errors",
    "Session": "edge.session",
    "Streamed": "edge.lanes",
    "Times": "edge.answer",
}

__all__ = ["Answer", "ClientSecurity", "Dropped", "EdgeError", "Session", "Streamed", "Times"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'edge' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
