"""Why nobody answers at an address, in one line: a TCP connection, then a TLS handshake, once dialling has failed.

gRPC reports a closed port, a web server and a silent listener alike, and says nothing when its peer wants TLS, or a
client's certificate. Asking the system once more tells them apart.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protos.security import PLAINTEXT, ClientSecurity

if TYPE_CHECKING:
    import ssl

_CONNECT_S = 3.0
_HANDSHAKE_S = 2.0


@dataclass(frozen=True, slots=True)
class Silence:
    """Why; ``is_other``: what listens there is no worker; ``is_untrusted``: it and we do not agree on TLS."""

    reason: str
    is_other: bool = False
    is_untrusted: bool = False


def silence_of(host: str, port: int, *, silent_s: float | None = None, security: ClientSecurity = PLAINTEXT) -> Silence:
    """What is at an address where no worker answered; ``silent_s`` is how long it had kept silent, if it had."""
    try:
        sock = socket.create_connection((host, port), timeout=_CONNECT_S)
    except ConnectionRefusedError:
        return Silence("the port is closed; is cleft-cloud serve running there?")
    except socket.gaierror:
        return Silence(f"the name {host!r} is not known")
    except TimeoutError:
        return Silence("no answer to a connection; a firewall may be in the way")
    except OSError as error:
        return Silence(os.strerror(error.errno) if error.errno else "the connection failed")
    with sock:
        if silent_s is not None:
            return Silence(f"something listens there, and says nothing within {silent_s:g} s")
        sock.settimeout(_HANDSHAKE_S)
        found = _as_tls(sock, host, security) if security.is_tls else _as_plaintext(sock)
    return found or Silence("something listens there, but it does not speak cleft's protocol", is_other=True)


def _as_plaintext(sock: socket.socket) -> Silence | None:
    """What a peer that hung up on plain text makes of TLS."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        sock.getpeername()  # the ssl module leaves open what it wraps after a reset
        with context.wrap_socket(sock):
            pass
    except OSError:
        return None
    return Silence("it speaks TLS: --tls, with --tls-ca FILE for an authority of your own", is_untrusted=True)


def _as_tls(sock: socket.socket, host: str, security: ClientSecurity) -> Silence | None:
    """What a peer that TLS failed with has against us, or we against it."""
    import ssl

    try:
        context = ssl.create_default_context(cafile=security.ca_file)
        if security.cert_file is not None:
            context.load_cert_chain(security.cert_file, security.key_file)
    except OSError:
        return None
    context.set_alpn_protocols(["h2"])
    name, is_through = security.server_name or host, False
    try:
        sock.getpeername()  # as above
        with context.wrap_socket(sock, server_hostname=name) as wrapped:
            # With TLS 1.3 the peer judges our certificate after we have finished.
            is_through = True
            return None if wrapped.recv(1) else _not_let_in(security)
    except ssl.SSLCertVerificationError as error:
        return Silence(_distrust(error, name, security), is_untrusted=True)
    except TimeoutError:
        return None
    except ssl.SSLEOFError:
        return _not_let_in(security) if is_through else None  # a proxy whose worker is down hangs up like this
    except ssl.SSLError as error:
        if "ALERT" in (error.reason or ""):
            return _not_let_in(security)
        return Silence("it does not speak TLS: leave --tls out, or is this another port?", is_untrusted=True)
    except OSError:
        return _not_let_in(security) if is_through else None


def _distrust(error: ssl.SSLCertVerificationError, name: str, security: ClientSecurity) -> str:
    """What is wrong with the certificate that it showed."""
    expired, not_yet, wrong_host, wrong_address = 10, 9, 62, 64  # X509_V_ERR_... of OpenSSL
    match error.verify_code:
        case code if code == expired:
            return "its certificate has expired"
        case code if code == not_yet:
            return "its certificate is not valid yet; is the clock right here?"
        case code if code in (wrong_host, wrong_address):
            return f"its certificate is not for {name}; --tls-name NAME expects another name"
    authority = f"the authorities in {security.ca_file}" if security.ca_file else "a public authority; --tls-ca FILE"
    return f"its certificate does not come from {authority} ({error.verify_message})"


def _not_let_in(security: ClientSecurity) -> Silence:
    if security.cert_file is None:
        return Silence("it wants a client's certificate: --tls-cert and --tls-key", is_untrusted=True)
    return Silence(
        f"it hung up on the certificate in {security.cert_file}: expired, or not from an authority that it knows",
        is_untrusted=True,
    )
