"""Certificates and token files of tests."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path

import trustme

HOSTS = ("127.0.0.1", "localhost")
_LONG_AGO = datetime.datetime(2019, 1, 1, tzinfo=datetime.timezone.utc)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate and its key."""

    cert: Path
    key: Path

    def replace_with(self, other: Pair) -> None:
        """As a renewal does it: each file at once, one after the other."""
        put(self.key, other.key.read_text())
        put(self.cert, other.cert.read_text())


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority that writes into a folder."""

    folder: Path
    name: str = "authority"
    _ca: trustme.CA = field(default_factory=trustme.CA)

    @property
    def file(self) -> Path:
        """Its own certificate."""
        path = self.folder / f"{self.name}.pem"
        if not path.exists():
            self._ca.cert_pem.write_to_path(path)
        return path

    def issue(self, name: str, *hosts: str, is_expired: bool = False) -> Pair:
        """A certificate for these hosts, or for this machine."""
        made = self._ca.issue_cert(
            *(hosts or HOSTS),
            not_before=_LONG_AGO if is_expired else None,
            not_after=_LONG_AGO + datetime.timedelta(days=365) if is_expired else None,
        )
        pair = Pair(cert=self.folder / f"{name}.cert.pem", key=self.folder / f"{name}.key.pem")
        put(pair.cert, "".join(each.bytes().decode() for each in made.cert_chain_pems))
        put(pair.key, made.private_key_pem.bytes().decode())
        return pair


def put(path: Path, text: str) -> Path:
    """Write a file that only its owner reads, in one step."""
    fresh = path.with_name(path.name + ".new")
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.replace(path)
    return path
