"""Files of tokens and certificates: what is taken, what is refused, and what happens when they change."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from protos.certificates import check_pair, check_roots
from protos.secrets import SecurityError, Tokens, Watched, read_tokens
from protos.security import ServerSecurity
from tests.certificates import Authority, put

SECRET = "s3cret-of-ours"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_every_token_of_a_file_is_taken_and_nothing_else(tmp_path):
    tokens = Tokens(put(tmp_path / "tokens", f"# devices\n\n  {SECRET}  \nsecond==\n"))
    assert len(tokens) == 2
    assert SECRET in tokens
    assert "second==" in tokens
    for other in ("", "# devices", SECRET + "x", SECRET[:-1], SECRET.upper(), "zweite", "\udcff", b"second==", None):
        assert other not in tokens
    assert SECRET not in repr(tokens) + str(vars(tokens) if hasattr(tokens, "__dict__") else "")


def test_a_token_file_of_another_system_is_read(tmp_path):
    path = tmp_path / "tokens"
    path.write_bytes(f"\ufeff{SECRET}\r\nsecond\r\n".encode())
    assert read_tokens(path) == (SECRET, "second")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"# none yet\n", "holds no token"),
        (b"good\ntwo words\n", "line 2"),
        (b"t\xc3\xb6ken\n", "line 1"),
        (b"\xff\xfe", "is not text"),
        (b"x" * 300_000, "over 256 KiB"),
        (b"x" * 2_000, "line 1"),
    ],
)
def test_a_file_that_holds_no_tokens_is_refused(tmp_path, content, says):
    path = tmp_path / "tokens"
    path.write_bytes(content)
    with pytest.raises(SecurityError, match=says) as caught:
        read_tokens(path)
    assert not any(word in str(caught.value) for word in ("two words", "öken"))


def test_a_missing_token_file_is_named(tmp_path):
    with pytest.raises(SecurityError, match=r"none: No such file"):
        ServerSecurity(token_file=tmp_path / "none")


def test_what_cannot_be_read_twice_is_refused(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, Path(os.devnull)):
        with pytest.raises(SecurityError, match="no regular file"):
            read_tokens(path)


def test_a_changed_file_counts_from_then_on(tmp_path):
    path = put(tmp_path / "tokens", "old\n")
    watched = Watched(path, load=lambda: Tokens(path))
    assert "old" in watched.current()
    assert watched.current() is watched.current()
    put(path, "old\nnew\n")
    assert all(each in watched.current() for each in ("old", "new"))
    put(path, "new\n")
    assert "old" not in watched.current()
    stamp = path.stat()
    put(path, "nex\n")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert "nex" in watched.current()


def test_a_change_that_cannot_be_used_leaves_what_was_good_and_says_so_once(tmp_path, caplog):
    path = put(tmp_path / "tokens", "old\n")
    watched = Watched(path, load=lambda: Tokens(path))
    put(path, f"{SECRET} {SECRET}\n")
    for _ in range(3):
        assert "old" in watched.current()
    assert len(caplog.records) == 1
    assert "stays in force" in caplog.text
    assert SECRET not in caplog.text
    path.unlink()
    assert "old" in watched.current()
    put(path, "new\n")
    assert "new" in watched.current()


def test_a_certificate_is_renewed_only_with_its_key(authority, tmp_path, caplog):
    pair, fresh = authority.issue("worker"), authority.issue("fresh")
    watched = Watched(pair.cert, pair.key, load=lambda: check_pair(pair.cert, pair.key))
    old = watched.current()
    put(pair.cert, fresh.cert.read_text())
    assert watched.current() == old
    assert "is not the key of the certificate" in caplog.text
    put(pair.key, fresh.key.read_text())
    assert watched.current() == (fresh.key.read_bytes(), fresh.cert.read_bytes())


def test_who_can_read_a_secret_is_watched(tmp_path, authority, caplog):
    pair = authority.issue("worker")
    token = put(tmp_path / "token", "abc\n")
    for path in (pair.cert, authority.file):
        path.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        ServerSecurity(cert_file=pair.cert, key_file=pair.key, client_ca_file=authority.file, token_file=token)
    assert not caplog.records
    pair.key.chmod(0o644)
    token.chmod(0o604)
    with caplog.at_level(logging.WARNING):
        ServerSecurity(cert_file=pair.cert, key_file=pair.key, client_ca_file=authority.file, token_file=token)
    assert [each.args[0] for each in caplog.records if each.args] == [pair.key, token]


def test_files_that_gRPC_would_choke_on_are_named(tmp_path, authority):  # noqa: N802 - its name
    pair, other = authority.issue("worker"), authority.issue("other")
    nonsense = put(tmp_path / "nonsense.pem", "-----BEGIN NONSENSE-----\n")
    damaged = put(tmp_path / "damaged.pem", pair.key.read_text().replace("A", "B"))
    for cert, key, says in [
        (pair.cert, other.key, "other.key.pem is not the key of the certificate in .*worker.cert.pem"),
        (pair.key, pair.key, "worker.key.pem holds no certificate"),
        (nonsense, pair.key, "nonsense.pem holds no certificate"),
        (pair.cert, pair.cert, "worker.cert.pem holds no private key"),
        (pair.cert, damaged, "damaged"),
        (tmp_path / "none", pair.key, "none: No such file"),
    ]:
        with pytest.raises(SecurityError, match=says):
            check_pair(cert, key)
    for path in (nonsense, pair.key):
        with pytest.raises(SecurityError, match="holds no certificate"):
            check_roots(path)


def test_a_key_with_a_password_is_refused_without_asking_for_it(tmp_path, authority):
    from cryptography.hazmat.primitives import serialization

    pair = authority.issue("worker")
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )
    with pytest.raises(SecurityError, match="has a password"):
        check_pair(pair.cert, put(tmp_path / "locked.pem", locked.decode()))
