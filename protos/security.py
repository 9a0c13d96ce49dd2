"""Who may talk to whom, and in the open or not: TLS, mutual TLS and bearer tokens, for both ends.

A client's files are read when it dials and its token at every call, a server's when they change (``secrets``), so
certificates and tokens are rotated by replacing files: connections that are open stay open, new ones use what is new.
Tokens of a server file are all valid at once, so a token is rotated without a gap: add the new one to the server's
file, replace the client's, remove the old one from the server's.

Plain text stays on this machine unless somebody says otherwise. gRPC has no way to renew a client's certificate on an
open channel; a client that dials again reads it anew.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import grpc

from protos.certificates import check_pair, check_roots
from protos.gate import HEALTH_METHODS, AsyncGate, Gate, Metadata, OnRefused
from protos.secrets import SecurityError, Tokens, Watched, read_tokens

AUTHORIZATION = "authorization"
SCHEME = "Bearer "


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _take_paths(security: object, *names: str) -> None:
    """Paths that were written as text become paths."""
    for name in names:
        if (given := getattr(security, name)) is not None:
            object.__setattr__(security, name, Path(given))


def _pair_faults(cert_file: Path | None, key_file: Path | None) -> list[str]:
    if (cert_file is None) == (key_file is None):
        return []
    given, missing = ("certificate", "key") if key_file is None else ("key", "certificate")
    return [f"a {given} without its {missing}: give both"]


class Listening(Protocol):
    """A gRPC server, of threads or of an event loop."""

    def add_insecure_port(self, address: str) -> int:
        """Listen in plain text; returns the port."""

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        """Listen with TLS; returns the port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSecurity:
    """How a client shows who it is and knows its peer.

    Args:
        is_tls: encrypt, and check the peer's certificate.
        ca_file: PEM certificates of who may vouch for the peer; default: the public ones that gRPC brings.
        cert_file: our own certificate with its chain in PEM, for mutual TLS.
        key_file: its private key.
        token_file: bearer tokens; the first is sent with every call.
        server_name: the name that the peer's certificate must hold; default: the host dialled.
        is_plaintext_allowed: plain text, token included, may leave this machine.

    Raises:
        SecurityError: the options contradict each other.
    """

    is_tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    token_file: Path | None = None
    server_name: str | None = None
    is_plaintext_allowed: bool = False

    def __post_init__(self) -> None:
        _take_paths(self, "ca_file", "cert_file", "key_file", "token_file")
        faults = _pair_faults(self.cert_file, self.key_file)
        if not self.is_tls and (self.ca_file or self.cert_file or self.key_file or self.server_name):
            faults.append("certificates and names are for TLS, which is off")
        if self.is_tls and self.is_plaintext_allowed:
            faults.append("TLS and plain text exclude each other")
        if faults:
            raise SecurityError("; ".join(faults))

    def check(self, host: str) -> None:
        """Refuse to send plain text to another machine without having been told to.

        Raises:
            SecurityError: that is what would happen.
        """
        if self.is_tls or self.is_plaintext_allowed or is_loopback(host):
            return
        sent = "the token and everything else" if self.token_file is not None else "everything"
        raise SecurityError(f"{sent} would go to {host} in plain text: --tls encrypts it, --insecure allows it")

    def credentials(self) -> grpc.ChannelCredentials | None:
        """What to dial with, its files read now; None for plain text.

        Raises:
            SecurityError: a file cannot be used.
        """
        if not self.is_tls:
            return None
        key_and_chain: tuple[bytes | None, bytes | None] = (None, None)
        if self.cert_file is not None and self.key_file is not None:
            key_and_chain = check_pair(self.cert_file, self.key_file)
        roots = check_roots(self.ca_file) if self.ca_file is not None else None
        return grpc.ssl_channel_credentials(roots, *key_and_chain)

    def options(self) -> tuple[tuple[str, int | str], ...]:
        """Channel options that go with the credentials."""
        return (("grpc.ssl_target_name_override", self.server_name),) if self.server_name else ()

    def metadata(self) -> Metadata:
        """What to send with a call: the token, read now.

        Raises:
            SecurityError: the token file cannot be used.
        """
        if self.token_file is None:
            return ()
        return ((AUTHORIZATION, SCHEME + read_tokens(self.token_file)[0]),)


PLAINTEXT = ClientSecurity()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSecurity:
    """Whom a server lets in. Its files are read at once, and again when they change.

    Args:
        cert_file: the server's certificate with its chain in PEM; with it every connection is encrypted.
        key_file: its private key.
        client_ca_file: PEM certificates of who may vouch for clients; with it every client needs a certificate.
        token_file: bearer tokens; with it every call needs one of them.

    Raises:
        SecurityError: the options contradict each other, or a file cannot be used.
    """

    cert_file: Path | None = None
    key_file: Path | None = None
    client_ca_file: Path | None = None
    token_file: Path | None = None
    _certificates: Watched[grpc.ServerCertificateConfiguration] | None = field(init=False, repr=False, compare=False)
    _tokens: Watched[Tokens] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _take_paths(self, "cert_file", "key_file", "client_ca_file", "token_file")
        faults = _pair_faults(self.cert_file, self.key_file)
        if self.client_ca_file is not None and self.cert_file is None:
            faults.append("clients can show certificates to a server that has one: give its certificate and key too")
        if faults:
            raise SecurityError("; ".join(faults))
        files = tuple(each for each in (self.cert_file, self.key_file, self.client_ca_file) if each is not None)
        certificates = Watched(*files, load=self._read_certificates) if files else None
        path = self.token_file
        tokens = Watched(path, load=lambda: Tokens(path)) if path is not None else None
        object.__setattr__(self, "_certificates", certificates)
        object.__setattr__(self, "_tokens", tokens)

    @property
    def is_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.cert_file is not None

    def check(self, host: str, *, is_plaintext_allowed: bool) -> str | None:
        """A warning about listening on ``host``, if it deserves one.

        Raises:
            SecurityError: other machines could connect in plain text, and nobody said that they may.
        """
        if is_loopback(host):
            return None
        if not self.is_tls:
            if not is_plaintext_allowed:
                raise SecurityError(
                    f"{host} can be reached from other machines, and nothing is encrypted: a TLS certificate and its "
                    "key encrypt it, --insecure-bind allows plain text"
                )
            who = "anyone who reaches it can read what passes, tokens included"
            if self.token_file is None:
                who = "anyone who reaches it can use it and read what passes"
            return f"listening on {host} in plain text: {who}"
        if self.client_ca_file is None and self.token_file is None:
            return f"listening on {host} for anyone who reaches it: --token-file or --tls-client-ca lets in fewer"
        return None

    def listen(self, server: Listening, address: str) -> int:
        """Add the address to a server; returns the port, or 0 where the address cannot be listened on."""
        try:
            if self._certificates is None:
                return server.add_insecure_port(address)
            return server.add_secure_port(address, self._credentials(self._certificates))
        except RuntimeError:
            return 0

    def interceptor(
        self, *, open_methods: frozenset[str] = HEALTH_METHODS, on_refused: OnRefused = lambda: None
    ) -> Gate:
        """What refuses calls without a token, for a server of threads; ``on_refused`` counts them."""
        return Gate(self.why_refused, open_methods=open_methods, on_refused=on_refused)

    def aio_interceptor(
        self, *, open_methods: frozenset[str] = HEALTH_METHODS, on_refused: OnRefused = lambda: None
    ) -> AsyncGate:
        """The same for a server of an event loop."""
        return AsyncGate(self.why_refused, open_methods=open_methods, on_refused=on_refused)

    def why_refused(self, metadata: Metadata) -> str | None:
        """Why a call with this metadata is refused; None when it is let in. Cheap: looks at one file's time."""
        if self._tokens is None:
            return None
        given = [value for key, value in metadata if key == AUTHORIZATION]
        if not given:
            return "a token is needed, and none was sent"
        value = given[0] if isinstance(given[0], str) else given[0].decode("latin-1")
        scheme, token = value[: len(SCHEME)], value[len(SCHEME) :]
        if len(given) > 1 or scheme.lower() != SCHEME.lower():
            return "a token is needed, in the form 'authorization: Bearer TOKEN'"
        return None if token in self._tokens.current() else "the token is not one that is taken"

    def _credentials(self, certificates: Watched[grpc.ServerCertificateConfiguration]) -> grpc.ServerCredentials:
        fetch: Callable[[], grpc.ServerCertificateConfiguration] = certificates.current
        return grpc.dynamic_ssl_server_credentials(
            fetch(), fetch, require_client_authentication=self.client_ca_file is not None
        )

    def _read_certificates(self) -> grpc.ServerCertificateConfiguration:
        assert self.cert_file is not None
        assert self.key_file is not None
        roots = check_roots(self.client_ca_file) if self.client_ca_file is not None else None
        return grpc.ssl_server_certificate_configuration([check_pair(self.cert_file, self.key_file)], roots)


OPEN = ServerSecurity()
