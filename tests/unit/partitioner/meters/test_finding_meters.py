from __future__ import annotations

import os
from pathlib import Path

import pytest

from partitioner.energy import Scope
from partitioner.environment import for_children
from partitioner.meters import Meter, MeterError, MeterForbidden, MeterInfo, Reading, finding
from partitioner.meters.finding import KINDS, Kind, close_all, find_meters, open_meter, widest
from tests.recorded_boards import board

RECORDED = {
    "agx-orin": "ina3221",
    "orin-nano": "ina3221",
    "agx-thor": "ina3221",
    "nano-jetpack4": "ina3221",
    "agx-xavier": "ina3221",
    "laptop": "battery",
    "macbook": "battery",
    "handheld": "battery",
}


class FakeMeter:
    def __init__(self, kind: str, scope: Scope, period_s: float = 0.01, *, step_j: float | None = None) -> None:
        self.info = MeterInfo(kind=kind, source=f"all of {kind}", scope=scope, period_s=period_s)
        self.is_open, self._step_j, self._counted_j = True, step_j, 0.0

    def read(self) -> Reading:
        if self._step_j is None:
            return Reading(begin_s=0, end_s=0, power_w=1)
        self._counted_j += self._step_j
        return Reading(begin_s=self._counted_j, end_s=self._counted_j, counter_j=self._counted_j)

    def close(self) -> None:
        self.is_open = False


class Standing(FakeMeter):
    """A counter that never moves, read a second apart."""

    def __init__(self, kind: str, scope: Scope) -> None:
        super().__init__(kind, scope, period_s=0.0)
        self._time_s = 0.0

    def read(self) -> Reading:
        self._time_s += 1
        return Reading(begin_s=self._time_s, end_s=self._time_s, counter_j=7.0)


MADE: dict[str, FakeMeter | BaseException] = {}
ASKED: list[object] = []


def make(name: str, argument: object) -> Meter:
    ASKED.append(argument)
    made = MADE[name]
    if isinstance(made, BaseException):
        raise made
    return made


def __getattr__(name: str) -> object:
    """``make_gpu`` makes the meter ``gpu``."""
    if not name.startswith("make_"):
        raise AttributeError(name)
    return lambda argument: make(name.removeprefix("make_"), argument)


@pytest.fixture
def kinds(monkeypatch):
    def are(**made: FakeMeter | BaseException) -> None:
        MADE.clear()
        ASKED.clear()
        MADE.update(made)
        found = [
            Kind(
                name=name,
                maker=f"{__name__}:make_{name}",
                scope=each.info.scope if isinstance(each, FakeMeter) else "board",
            )
            for name, each in made.items()
        ]
        arguments = (Kind(name="file", maker=f"{__name__}:make_file", argument="FILE"),)
        monkeypatch.setattr(finding, "KINDS", (*found, *arguments))

    return are


@pytest.mark.parametrize(("name", "kind"), RECORDED.items())
def test_each_board_is_measured_by_its_own_meter(tmp_path, name, kind):
    root = board(name, tmp_path)
    meter = open_meter(root=root)
    assert meter.info.kind == kind
    assert (meter.read().power_w or 0) > 0
    meter.close()
    available = [each.kind for each in find_meters(root) if each.meter is not None]
    assert available == [kind]


@pytest.mark.parametrize(("name", "kind"), [*RECORDED.items(), ("x86-server", "rapl")])
def test_a_kind_says_what_its_meter_covers(tmp_path, name, kind):
    meter = open_meter(kind, root=board(name, tmp_path))
    assert [each.scope for each in KINDS if each.name == kind] == [meter.info.scope]


def test_every_kind_that_is_not_there_says_why(tmp_path):
    found = find_meters(tmp_path)
    assert [each.kind for each in found] == [each.name for each in KINDS if not each.argument]
    for each in found:
        assert (each.meter is None) != (each.reason == "")
    near = [each for each in found if each.kind in ("ina3221", "rapl", "tegrastats", "battery")]
    assert len(near) == 4
    assert all(each.meter is None for each in near)
    close_all(found)


def test_the_root_comes_from_the_environment_and_reaches_children(tmp_path, monkeypatch):
    monkeypatch.setenv("CLEFT_SYSROOT", str(board("laptop", tmp_path)))
    assert open_meter("battery").info.source == "BAT0 + BAT1"
    assert for_children(os.environ)["CLEFT_SYSROOT"] == str(tmp_path)
    with pytest.raises(MeterError, match="no battery"):
        open_meter("battery", root=Path(tmp_path / "sys"))


def test_auto_takes_what_covers_most_and_closes_the_rest(kinds):
    kinds(gpu=FakeMeter("gpu", "accelerator"), cpu=FakeMeter("cpu", "package"), none=MeterError("it is gone"))
    assert open_meter().info.kind == "cpu"
    assert {name: made.is_open for name, made in MADE.items() if isinstance(made, FakeMeter)} == {
        "gpu": False,
        "cpu": True,
    }


def test_auto_looks_no_further_than_a_board(kinds):
    kinds(one=FakeMeter("one", "board"), two=FakeMeter("two", "board"))
    assert open_meter().info.kind == "one"
    assert len(ASKED) == 1


def test_a_slow_meter_is_taken_where_there_is_no_other(kinds):
    slow = FakeMeter("slow", "board", period_s=1.0)
    kinds(slow=slow, gpu=FakeMeter("gpu", "accelerator"))
    assert open_meter().info.kind == "gpu"
    assert not slow.is_open
    kinds(slow=FakeMeter("slow", "board", period_s=1.0), none=MeterError("no"))
    assert open_meter().info.kind == "slow"


def test_a_meter_that_does_not_see_what_is_measured_is_passed_over(kinds):
    package, slow = FakeMeter("cpu", "package"), FakeMeter("gauge", "board", period_s=1.0)
    kinds(cpu=package, gauge=slow)
    assert open_meter(blind=("package", "accelerator")) is slow
    assert len(ASKED) == 1, "the package was not even opened"
    with pytest.raises(MeterError, match="cpu: covers the package alone; gauge: has a new value only every 1 s"):
        open_meter(blind=("package",), is_quick=True)
    assert not slow.is_open


def test_a_meter_for_others_alone_is_told_of_where_there_is_no_other(kinds):
    kinds(gone=MeterError("is not here"), cpu=MeterForbidden("not for you"))
    with pytest.raises(MeterForbidden, match=r"^cpu: not for you$"):
        open_meter()
    kinds(cpu=MeterForbidden("not for you"), gpu=FakeMeter("gpu", "accelerator"))
    assert open_meter().info.kind == "gpu"


def test_a_counter_that_stands_still_is_passed_over(kinds):
    stands = Standing("cpu", "package")
    kinds(cpu=stands, gpu=FakeMeter("gpu", "accelerator", period_s=0.0, step_j=0.5))
    assert open_meter().info.kind == "gpu"
    assert not stands.is_open
    kinds(cpu=Standing("cpu", "package"))
    with pytest.raises(MeterError, match="no meter was found: cpu: all of cpu counts nothing"):
        open_meter()


def test_no_meter_names_every_reason(kinds):
    kinds(one=MeterError("is not here"), two=OSError(5, "Input/output error"))
    with pytest.raises(MeterError, match=r"one: is not here; two: .*Input/output error"):
        open_meter()
    with pytest.raises(MeterError, match=r"^one: is not here$"):
        open_meter("one")


def test_a_meter_with_an_argument_is_opened_by_name_alone(kinds):
    kinds(one=MeterError("no"))
    MADE["file"] = FakeMeter("file", "board")
    assert open_meter("file:/tmp/a:b").info.kind == "file"
    assert ASKED == ["/tmp/a:b"]
    assert [each.kind for each in find_meters(kinds=finding.KINDS)] == ["one"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("battry", "no meter 'battry': did you mean 'battery'?"),
        ("", "no meter '': choose from "),
        ("xyz", "no meter 'xyz': choose from "),
        ("rapl:0", "meter 'rapl:0': write rapl"),
    ],
)
def test_a_name_that_is_none_says_what_there_is(name, words):
    with pytest.raises(MeterError) as caught:
        open_meter(name)
    assert words in str(caught.value)
    if "choose from" in words:
        assert all(each.name in str(caught.value) for each in KINDS)


def test_an_argument_that_is_missing_is_asked_for(kinds):
    kinds(one=MeterError("no"))
    with pytest.raises(MeterError, match="meter 'file': write file:FILE"):
        open_meter("file")


def test_what_was_opened_is_closed_when_looking_fails(kinds):
    opened = FakeMeter("one", "package")
    for look in (lambda: find_meters(kinds=finding.KINDS), open_meter):
        opened.is_open = True
        kinds(one=opened, two=KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            look()
        assert not opened.is_open


def test_the_widest_of_none_is_none():
    assert widest([]) is None
