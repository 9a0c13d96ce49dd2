"""Why nobody answers at an address, in one line: one plain TCP connection once dialling has failed.

gRPC reports a closed port, a web server and a silent listener alike. Asking the system once more tells them apart.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

_CONNECT_S = 3.0


@dataclass(frozen=True, slots=True)
class Silence:
    """Why; ``is_other``: what listens there is no worker."""

    reason: str
    is_other: bool = False


def silence_of(host: str, port: int, *, silent_s: float | None = None) -> Silence:
    """What is at an address where no worker answered; ``silent_s`` is how long it had kept silent, if it had."""
    try:
        socket.create_connection((host, port), timeout=_CONNECT_S).close()
    except ConnectionRefusedError:
        return Silence("the port is closed; is cleft-cloud serve running there?")
    except socket.gaierror:
        return Silence(f"the name {host!r} is not known")
    except TimeoutError:
        return Silence("no answer to a connection; a firewall may be in the way")
    except OSError as error:
        return Silence(os.strerror(error.errno) if error.errno else "the connection failed")
    if silent_s is not None:
        return Silence(f"something listens there, and says nothing within {silent_s:g} s")
    return Silence("something listens there, but it does not speak cleft's protocol", is_other=True)
