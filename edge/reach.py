"""Why a worker cannot be reached, in one line: addresses, and one plain TCP connection once dialling has failed.

gRPC reports a closed port, a web server and a silent listener alike. Asking the system once more tells them apart.
"""

from __future__ import annotations

import os
import socket

from edge.errors import EdgeError, FrameCancelled, NotAWorker, WorkerRefused, WorkerUnreachable
from partitioner.errors import UsageError
from protos.errors import WireError

_MAX_PORT = 65535
_CONNECT_S = 3.0


def split_target(target: str) -> tuple[str, int]:
    """Host and port of ``host:port``; an IPv6 host stands in brackets.

    Raises:
        UsageError: it is not of that form.
    """
    host, colon, port = target.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    if is_bracketed:
        host = host[1:-1]
    is_host = bool(host) and (is_bracketed or ":" not in host) and not any(c.isspace() or c == "/" for c in host)
    if not (colon and is_host and port.isascii() and port.isdigit() and 0 < int(port) <= _MAX_PORT):
        raise UsageError(f"{target!r} is no worker's address: write HOST:PORT, as in 192.168.1.20:7700")
    return host, int(port)


def diagnose(target: str, *, silent_s: float | None = None) -> WorkerUnreachable:
    """What is at an address where no worker answered; ``silent_s`` is how long it had kept silent, if it had."""
    host, port = split_target(target)
    try:
        socket.create_connection((host, port), timeout=_CONNECT_S).close()
    except ConnectionRefusedError:
        return WorkerUnreachable(target, reason="the port is closed; is cleft-cloud serve running there?")
    except socket.gaierror:
        return WorkerUnreachable(target, reason=f"the name {host!r} is not known")
    except TimeoutError:
        return WorkerUnreachable(target, reason="no answer to a connection; a firewall may be in the way")
    except OSError as error:
        return WorkerUnreachable(target, reason=os.strerror(error.errno) if error.errno else "the connection failed")
    if silent_s is not None:
        return WorkerUnreachable(target, reason=f"something listens there, and says nothing within {silent_s:g} s")
    return NotAWorker(target, reason="something listens there, but it does not speak cleft's protocol")


def refusal(error: WireError) -> EdgeError:
    """The device's error for one that the worker sent."""
    if error.code == "CANCELLED":
        return FrameCancelled(f"the worker withdrew the frame: {error.detail}")
    return WorkerRefused(error.code, error.detail, retry_after_s=getattr(error, "retry_after_s", 0.0))
