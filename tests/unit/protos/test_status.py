from __future__ import annotations

import grpc
import pytest

from protos import errors
from protos import messages as pb
from protos.channel import CHANNEL_OPTIONS, SERVER_OPTIONS, dial
from protos.status import error_of, from_failed, to_failed, to_status

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.WireError)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_survives_the_way_over_the_wire(kind):
    if kind in (errors.WireError, errors.Unreachable):
        return
    back = from_failed(to_failed(kind("it broke"), frame_id=7))
    assert type(back) is kind
    assert back.detail == "it broke"
    assert isinstance(to_status(back), grpc.StatusCode)
    assert to_status(back) is not grpc.StatusCode.OK


def test_every_code_of_the_messages_has_an_error_of_its_own():
    names = [name.removeprefix("CODE_") for name in pb.Code.keys() if name != "CODE_UNSPECIFIED"]  # noqa: SIM118
    kinds = {type(error_of(name, "")) for name in names}
    assert len(kinds) == len(names)
    assert {kind.code for kind in kinds} == set(names)


def test_retry_after_crosses():
    failed = to_failed(errors.Overloaded("busy", retry_after_s=0.25))
    back = from_failed(failed)
    assert isinstance(back, errors.Overloaded)
    assert back.retry_after_s == 0.25


def test_an_unknown_code_is_an_internal_failure():
    assert type(from_failed(pb.Failed(code=77, detail="?"))) is errors.InternalFailure


def test_a_detail_is_one_bounded_printable_line():
    failed = to_failed(errors.InvalidMessage("a\nb\x1b[31m\tc" + "x" * 5000))
    assert "\n" not in failed.detail
    assert failed.detail.isprintable()
    assert len(failed.detail) <= 500


@pytest.mark.parametrize("target", ["", "localhost", ":50051", "host:", "host:port", "host:0", "host:70000", "host:-1"])
def test_an_address_that_makes_no_sense_is_refused(target):
    with pytest.raises(errors.InvalidMessage, match="HOST:PORT"):
        dial(target)


def test_the_client_pings_no_more_often_than_the_server_allows():
    client, server = dict(CHANNEL_OPTIONS), dict(SERVER_OPTIONS)
    assert client["grpc.keepalive_time_ms"] > server["grpc.http2.min_ping_interval_without_data_ms"]
    assert server["grpc.http2.max_ping_strikes"] == 0
    assert server["grpc.so_reuseport"] == 0
