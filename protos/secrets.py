"""Files that hold secrets: read again when they change, and never shown.

A certificate or token is rotated by replacing its file. A file counts as changed when its time, size or inode does, so
looking costs one ``stat``; a change that cannot be used (half written, empty, a key of another certificate) leaves what
was good in force and is logged once. Tokens are kept as digests alone: neither a log nor a ``repr`` can hold one, and
comparing digests in constant time tells nothing of length or content.

A token file holds one token a line (RFC 6750: letters, digits and ``-._~+/=``); empty lines and lines that begin with
``#`` are skipped. All are valid for a server; a client sends the first.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from protos.errors import WireError

_LOG = logging.getLogger(__name__)
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,1024}=*", re.ASCII)
_MAX_FILE_BYTES = 256 * 1024
_T = TypeVar("_T")

Signature = tuple[tuple[int, int, int], ...]


class SecurityError(WireError):
    """A file of keys or tokens cannot be used, or something would pass in plain text; concluded here, never sent."""


class Watched(Generic[_T]):
    """What some files say, made again when one of them changes. Thread-safe."""

    def __init__(self, *paths: Path, load: Callable[[], _T]) -> None:
        """Loads at once.

        Raises:
            SecurityError: a file cannot be read or used.
        """
        self._paths = paths
        self._load = load
        self._lock = threading.Lock()
        self._seen = self._signature()
        self._value = load()
        for path in paths:
            warn_if_open(path)

    def __repr__(self) -> str:
        return f"Watched({', '.join(map(str, self._paths))})"

    def current(self) -> _T:
        """The newest that is good."""
        with self._lock:
            found = self._signature()
            if found != self._seen:
                self._renew(found)
            return self._value

    def _renew(self, found: Signature) -> None:
        names = " and ".join(str(path) for path in self._paths)
        try:
            value = self._load()
        except SecurityError as error:
            self._seen = found
            _LOG.warning("%s changed and cannot be used, so what was read before stays in force: %s", names, error)
            return
        if self._signature() != found:
            return  # still being written: the next look reads it again
        self._seen, self._value = found, value
        _LOG.info("%s was read again", names)

    def _signature(self) -> Signature:
        return tuple(_signature(path) for path in self._paths)


class Tokens:
    """The digests of the tokens in a file."""

    def __init__(self, path: Path) -> None:
        """Reads the file.

        Raises:
            SecurityError: it cannot be read, or holds no token, or something else.
        """
        self._digests = tuple(_digest(token) for token in read_tokens(path))

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, token: object) -> bool:
        """Whether it is one of them; takes as long whichever it is."""
        presented = _digest(token if isinstance(token, str) else "")
        found = 0
        for digest in self._digests:
            found |= hmac.compare_digest(presented, digest)
        return bool(found)


def read_tokens(path: Path) -> tuple[str, ...]:
    """The tokens in a file, in order.

    Raises:
        SecurityError: it cannot be read, or holds no token, or something else.
    """
    try:
        lines = read_bytes(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise SecurityError(f"the token file {path} is not text") from None
    found = []
    for number, line in enumerate(lines, start=1):
        token = line.strip()
        if not token or token.startswith("#"):
            continue
        if not _TOKEN.fullmatch(token):
            raise SecurityError(
                f"line {number} of the token file {path} is no token: letters, digits and -._~+/= alone"
            )
        found.append(token)
    if not found:
        raise SecurityError(f"the token file {path} holds no token")
    return tuple(found)


def read_bytes(path: Path) -> bytes:
    """A small file's content.

    Raises:
        SecurityError: it cannot be read, is a pipe or the like, is empty or is too large.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise SecurityError(f"{path} is no regular file, and has to be read more than once")
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SecurityError(f"{path}: {error.strerror or error}") from None
    if not content.strip():
        raise SecurityError(f"{path} is empty")
    if len(content) > _MAX_FILE_BYTES:
        raise SecurityError(f"{path} is over {_MAX_FILE_BYTES // 1024} KiB: it is no file of certificates or tokens")
    return content


def warn_if_open(path: Path) -> None:
    """Log a warning when every user of this machine can read a file that holds secrets."""
    try:
        is_open = path.stat().st_mode & stat.S_IROTH
        content = path.read_bytes()
    except OSError:
        return
    if is_open and (b"CERTIFICATE-----" not in content or b"PRIVATE KEY-----" in content):
        _LOG.warning("every user of this machine can read %s: chmod o-r %s", path, path)


def _signature(path: Path) -> tuple[int, int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
