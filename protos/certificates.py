"""PEM files, checked before gRPC sees them: it says little about a file that it cannot use, and says it late.

The system's ``ssl`` reads the same files and names what is wrong. It is imported when a file is checked, so plain text
never pays for it.
"""

from __future__ import annotations

from pathlib import Path

from protos.secrets import SecurityError, read_bytes


def check_pair(cert_file: Path, key_file: Path) -> tuple[bytes, bytes]:
    """Key and certificate chain as PEM, in this order, of files that belong together.

    Raises:
        SecurityError: one cannot be read, is not what it should be, or does not belong to the other.
    """
    import ssl

    chain, key = read_bytes(cert_file), read_bytes(key_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert_file, key_file, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise SecurityError(f"{key_file} is not the key of the certificate in {cert_file}") from None
        raise SecurityError(_unusable(cert_file, chain, key_file, key)) from None
    except OSError as error:
        raise SecurityError(f"{error.filename or cert_file}: {error.strerror or error}") from None
    except ValueError:
        raise SecurityError(f"the key in {key_file} has a password: decrypt it first") from None
    return key, chain


def check_roots(ca_file: Path) -> bytes:
    """Certificates of authorities as PEM.

    Raises:
        SecurityError: the file cannot be read, or holds none.
    """
    import ssl

    roots = read_bytes(ca_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=roots.decode("ascii", "replace"))
    except (ssl.SSLError, ValueError):
        raise SecurityError(f"{ca_file} holds no certificate in PEM form") from None
    return roots


def _no_password() -> str:
    raise ValueError


def _unusable(cert_file: Path, chain: bytes, key_file: Path, key: bytes) -> str:
    if b"-----BEGIN CERTIFICATE-----" not in chain:
        return f"{cert_file} holds no certificate in PEM form"
    if b"PRIVATE KEY-----" not in key:
        return f"{key_file} holds no private key in PEM form"
    return f"the certificate in {cert_file} or the key in {key_file} is damaged"
