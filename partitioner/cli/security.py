"""Flags of TLS and tokens, shared by every command that dials a worker or listens.

Secrets come in files, never in flags: a command line is visible to every user of the machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from partitioner.errors import UsageError

if TYPE_CHECKING:
    from protos.security import ClientSecurity, ServerSecurity


def add_client_security_arguments(parser: argparse.ArgumentParser) -> None:
    """How the worker is trusted, and how it is shown who we are."""
    group = parser.add_argument_group("security of the connection to the worker")
    group.add_argument("--tls", action="store_true", help="encrypt; the other --tls flags imply it")
    group.add_argument(
        "--tls-ca", type=Path, metavar="FILE", help="who may vouch for the worker, in PEM (default: public authorities)"
    )
    group.add_argument("--tls-cert", type=Path, metavar="FILE", help="this device's certificate, for mutual TLS")
    group.add_argument("--tls-key", type=Path, metavar="FILE", help="its private key")
    group.add_argument("--tls-name", metavar="NAME", help="name in the worker's certificate (default: the host)")
    group.add_argument("--token-file", type=Path, metavar="FILE", help="file whose first token is sent with every call")
    group.add_argument(
        "--insecure", action="store_true", help="let plain text, a token included, leave this machine (default: refuse)"
    )


def client_security_of(args: argparse.Namespace) -> ClientSecurity:
    """What those flags ask for.

    Raises:
        UsageError: they contradict each other.
    """
    from protos.secrets import SecurityError
    from protos.security import ClientSecurity

    is_tls = args.tls or any((args.tls_ca, args.tls_cert, args.tls_key, args.tls_name))
    try:
        return ClientSecurity(
            is_tls=is_tls,
            ca_file=args.tls_ca,
            cert_file=args.tls_cert,
            key_file=args.tls_key,
            server_name=args.tls_name,
            token_file=args.token_file,
            is_plaintext_allowed=args.insecure,
        )
    except SecurityError as error:
        raise UsageError(error.detail) from error


def add_server_security_arguments(parser: argparse.ArgumentParser, *, prefix: str = "") -> None:
    """Who is let in. A ``prefix`` such as ``listen-`` keeps the flags apart from those of a client in one command."""
    group = parser.add_argument_group("security of the port")
    group.add_argument(
        f"--{prefix}tls-cert", type=Path, metavar="FILE", help="certificate with its chain, in PEM: encrypts everything"
    )
    group.add_argument(f"--{prefix}tls-key", type=Path, metavar="FILE", help="its private key")
    group.add_argument(
        f"--{prefix}tls-client-ca",
        type=Path,
        metavar="FILE",
        help="who may vouch for clients, in PEM: every client needs a certificate",
    )
    group.add_argument(
        f"--{prefix}token-file",
        type=Path,
        metavar="FILE",
        help="tokens, one a line, # begins a comment: every call needs one; read again when the file changes",
    )
    group.add_argument("--insecure-bind", action="store_true", help="listen beyond this machine although in plain text")


def server_security_of(args: argparse.Namespace, *, prefix: str = "") -> ServerSecurity:
    """What those flags ask for; the files are read.

    Raises:
        SecurityError: they contradict each other, or a file cannot be used.
    """
    from protos.security import ServerSecurity

    given = {key: getattr(args, f"{prefix}{key}".replace("-", "_")) for key in _SERVER_KEYS}
    return ServerSecurity(
        cert_file=given["tls_cert"],
        key_file=given["tls_key"],
        client_ca_file=given["tls_client_ca"],
        token_file=given["token_file"],
    )


_SERVER_KEYS = ("tls_cert", "tls_key", "tls_client_ca", "token_file")
