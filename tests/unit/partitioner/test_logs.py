"""The log for people and for machines: one line a record, every field readable, no secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import datetime, timezone

import pytest

from partitioner.cli.logs import configure_logs

LOG = logging.getLogger("cleft.test.logs")


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(params=["text", "json"])
def log_format(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def configured(log_format: str, level: str = "debug", verbosity: int = 0) -> io.StringIO:
    stream = io.StringIO()
    configure_logs(log_format=log_format, level=level, verbosity=verbosity, stream=stream)
    return stream


def fail(depth: int) -> None:
    if depth:
        fail(depth - 1)
    raise ValueError("two\nlines")


def test_a_json_line_has_time_level_logger_and_message():
    stream = configured("json")
    before = datetime.now(timezone.utc)
    LOG.warning("took %d of %s", 3, "four\nü")
    found = json.loads(stream.getvalue())
    assert (found["level"], found["logger"], found["message"]) == ("warning", LOG.name, "took 3 of four\nü")
    assert found["time"].endswith("Z")
    moment = datetime.fromisoformat(found["time"].replace("Z", "+00:00"))
    assert abs((moment - before).total_seconds()) < 60


def test_fields_of_ours_stand_beside_the_message_and_never_replace_it():
    stream = configured("json")
    LOG.info(
        "switched",
        extra={"cleft": {"cut": "after:x", "gain": 0.25, "message": "no", "odd": {1}, "worst": float("inf")}},
    )
    found = json.loads(stream.getvalue())
    assert (found["cut"], found["gain"], found["message"], found["odd"]) == ("after:x", 0.25, "switched", "{1}")
    assert found["worst"] == "Infinity"


def test_every_record_is_one_line(log_format):
    stream = configured(log_format)
    LOG.error("a\nb\r\nc")
    try:
        fail(3)
    except ValueError:
        LOG.exception("it\nfailed")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert "ValueError" in lines[1]
    assert "test_logs.py" in lines[1]
    if log_format == "json":
        found = json.loads(lines[1])
        assert found["error"] == "ValueError: two\nlines"
        assert found["trace"].count("fail(depth - 1)") == 3


def test_what_looks_like_a_token_is_blotted_out(log_format):
    stream = configured(log_format)
    LOG.warning("sent %s", "authorization: Bearer s3cret-token==")
    LOG.warning("sent", extra={"cleft": {"header": "bearer s3cret-token"}})
    try:
        raise RuntimeError("Bearer s3cret-token")
    except RuntimeError:
        LOG.exception("failed")
    assert "s3cret" not in stream.getvalue()
    assert "Bearer ***" in stream.getvalue()


@pytest.mark.parametrize(
    ("level", "verbosity", "shown"),
    [
        ("warning", 0, ["warning", "error"]),
        ("error", 0, ["error"]),
        ("info", 0, ["info", "warning", "error"]),
        ("warning", 1, ["info", "warning", "error"]),
        ("debug", 1, ["debug", "info", "warning", "error"]),
        ("error", 2, ["debug", "info", "warning", "error"]),
    ],
)
def test_the_level_bounds_what_is_logged(level, verbosity, shown):
    stream = configured("json", level, verbosity)
    for name in ("debug", "info", "warning", "error"):
        getattr(LOG, name)(name)
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == shown


def test_configuring_twice_logs_once(log_format):
    configured("text")
    stream = configured(log_format)
    LOG.warning("once")
    assert len(stream.getvalue().splitlines()) == 1
