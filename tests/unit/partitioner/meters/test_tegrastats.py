from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from partitioner.meters import MeterError, tegrastats
from partitioner.meters.tegrastats import Tegrastats, parse_rails

ENOUGH_S = 10.0
ORIN_NANO = (
    "11-20-2026 19:24:09 RAM 2480/7620MB (lfb 3x4MB) SWAP 0/3810MB (cached 0MB) CPU [3%@729,0%@729,1%@729,off,off,off] "
    "EMC_FREQ 0%@2133 GR3D_FREQ 0%@[305] NVDEC off VIC_FREQ 115 APE 174 cpu@45.437C soc2@44.718C tj@45.656C "
    "VDD_IN 4970mW/4890mW VDD_CPU_GPU_CV 556mW/540mW VDD_SOC 1430mW/1430mW"
)
AGX_ORIN = (
    "RAM 13983/62780MB (lfb 424x4MB) SWAP 0/31390MB (cached 0MB) CPU [90%@2201,100%@2201] GR3D_FREQ 14%@[407,407] "
    "NVDLA0_FREQ @1600 APE 174 Tboard@62C GPU@69.125C tj@77.281C VDD_GPU_SOC 3150mW/2971mW VDD_CPU_CV 14312mW/12415mW "
    "VIN_SYS_5V0 4968mW/5048mW VDDQ_VDD2_1V8AO 1091mW/1091mW"
)
NANO = (
    "RAM 1409/3964MB (lfb 28x4MB) SWAP 0/1982MB (cached 0MB) IRAM 0/252kB(lfb 252kB) CPU [22%@518,67%@518,off,off] "
    "EMC_FREQ 0%@1600 GR3D_FREQ 0%@76 APE 25 PLL@28.5C CPU@32C PMIC@50C GPU@30.5C "
    "POM_5V_IN 2003/1990 POM_5V_GPU 0/0 POM_5V_CPU 320/320"
)
XAVIER = (
    "RAM 2000/31919MB CPU [1%@1190] EMC_FREQ 0% MTS fg 1% bg 1% GPU 0/0 CPU 311/311 SOC 933/933 CV 0/0 VDDRQ 155/155"
)
NO_RAILS = "RAM 3468/3983MB (lfb 48x4MB) SWAP 873/8192MB (cached 295MB) cpu [17%,13%,29%,5%]@408 EMC 1%@408 APE 25"


@pytest.mark.parametrize(
    ("line", "rails"),
    [
        (ORIN_NANO, {"VDD_IN": 4.97, "VDD_CPU_GPU_CV": 0.556, "VDD_SOC": 1.43}),
        (AGX_ORIN, {"VDD_GPU_SOC": 3.15, "VDD_CPU_CV": 14.312, "VIN_SYS_5V0": 4.968, "VDDQ_VDD2_1V8AO": 1.091}),
        (NANO, {"POM_5V_IN": 2.003, "POM_5V_GPU": 0, "POM_5V_CPU": 0.32}),
        (XAVIER, {"GPU": 0, "CPU": 0.311, "SOC": 0.933, "CV": 0, "VDDRQ": 0.155}),
        ("VDD_GPU -392mW/-12mW VIN 23423mW", {"VDD_GPU": -0.392, "VIN": 23.423}),
        (NO_RAILS, {}),
        ("VDD_IN 4970mW/48", {}),
        ("VDD_IN 49", {}),
        ("", {}),
    ],
)
def test_a_line_tells_the_rails_of_now_and_nothing_else_is_one(line, rails):
    assert parse_rails(line) == pytest.approx(rails)


class Board:
    """A board whose ``tegrastats`` prints what the test says."""

    def __init__(self, root: Path, script: str = 'exec cat "$0.lines"') -> None:
        self.root = root
        program = root / "usr/bin/tegrastats"
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\necho "$@" > "$0.arguments"\n{script}\n')
        program.chmod(0o755)
        os.mkfifo(f"{program}.lines")
        self.arguments = Path(f"{program}.arguments")
        self._lines = os.open(f"{program}.lines", os.O_RDWR)

    def say(self, line: str) -> None:
        os.write(self._lines, f"{line}\n".encode())

    def close(self) -> None:
        os.close(self._lines)


@pytest.fixture
def nano(tmp_path: Path) -> Iterator[Board]:
    made = Board(tmp_path)
    yield made
    made.close()


@contextmanager
def opened(board: Board) -> Iterator[Tegrastats]:
    meter = tegrastats.find(board.root)
    try:
        yield meter
    finally:
        meter.close()


def eventually(holds: Callable[[], bool]) -> None:
    tick = threading.Event()
    for _ in range(int(ENOUGH_S / 0.005)):
        if holds():
            return
        tick.wait(0.005)
    raise AssertionError("it never came")


def test_the_newest_line_is_the_power_of_now(nano):
    nano.say(ORIN_NANO)
    with opened(nano) as meter:
        assert (meter.info.source, meter.info.scope) == ("rail VDD_IN", "board")
        assert meter.read().power_w == pytest.approx(4.97)
        nano.say(ORIN_NANO.replace("VDD_IN 4970mW", "VDD_IN 9120mW"))
        eventually(lambda: meter.read().power_w == pytest.approx(9.12))
    assert nano.arguments.read_text().split() == ["--interval", "100"]
    assert meter.info.period_s == pytest.approx(0.1)


def test_without_an_input_rail_the_others_are_summed_once(nano):
    nano.say(AGX_ORIN)
    with opened(nano) as meter:
        assert meter.info.source == "rails VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0"
        assert meter.read().power_w == pytest.approx(3.15 + 14.312 + 4.968)


def test_the_process_and_its_thread_end_with_the_meter(nano):
    nano.say(NANO)
    with opened(nano) as meter:
        (process,) = psutil.Process().children()
        assert meter.read().power_w == pytest.approx(2.003)
    assert not process.is_running()
    assert meter._process.returncode == -signal.SIGTERM
    assert not [each for each in threading.enumerate() if each.name == "cleft-tegrastats"]


def test_a_process_that_does_not_listen_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(tegrastats, "_GRACE_S", 0.05)
    board = Board(tmp_path, script=f"trap '' TERM\necho '{NANO}'\nread line < \"$0.lines\"")
    with opened(board):
        (process,) = psutil.Process().children()
    assert not process.is_running()
    board.close()


def test_what_the_program_started_ends_with_it(tmp_path):
    """It holds the output open, which is read until its end."""
    board = Board(tmp_path, script=f"echo '{NANO}'\nsleep 600")
    with opened(board) as meter:
        eventually(lambda: bool(psutil.Process().children()[0].children()))
        (child,) = psutil.Process().children()[0].children()
        assert meter.read().power_w == pytest.approx(2.003)
    eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    meter.close()
    board.close()


def test_a_line_without_rails_is_a_reason(nano):
    nano.say(NO_RAILS)
    with pytest.raises(MeterError, match="names no power rails: run as root"):
        tegrastats.find(nano.root)
    assert psutil.Process().children() == []


def test_a_program_that_ends_at_once_is_a_reason(tmp_path):
    board = Board(tmp_path, script="exit 1")
    with pytest.raises(MeterError, match="tegrastats ended, or told nothing"):
        tegrastats.find(board.root)
    board.close()


def test_a_program_that_says_nothing_is_given_up(nano, monkeypatch):
    monkeypatch.setattr(tegrastats, "FIRST_LINE_S", 0.05)
    with pytest.raises(MeterError, match=r"told nothing for 0\.05 s"):
        tegrastats.find(nano.root)


def test_a_program_that_cannot_be_run_is_a_reason(tmp_path):
    program = tmp_path / "usr/bin/tegrastats"
    program.parent.mkdir(parents=True)
    program.write_text("no program")
    with pytest.raises(MeterError, match=r"usr/bin/tegrastats: Permission denied"):
        tegrastats.find(tmp_path)
    with pytest.raises(MeterError, match="no usr/bin/tegrastats here"):
        tegrastats.find(tmp_path / "sys")


def test_one_that_ends_while_it_is_read_is_an_error(nano):
    nano.say(NANO)
    with opened(nano) as meter:
        (process,) = psutil.Process().children()
        process.kill()

        def is_refused() -> bool:
            try:
                meter.read()
            except MeterError as error:
                return "tegrastats ended" in str(error)
            return False

        eventually(is_refused)


def test_one_that_falls_silent_is_stuck(nano, monkeypatch):
    nano.say(NANO)
    with opened(nano) as meter:
        monkeypatch.setattr(tegrastats, "STALE_S", 0.0)
        with pytest.raises(MeterError, match="tegrastats is stuck: its newest line is"):
            meter.read()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (NANO.replace("POM_5V_IN 2003", "POM_5V_IN 0"), "tells 0 W of a board that runs"),
        (NANO.replace("POM_5V_IN 2003", "POM_5V_IN -40"), "tells -0.04 W of a board that runs"),
        (NO_RAILS, "does not tell of POM_5V_IN any more"),
    ],
)
def test_what_cannot_be_is_refused_not_zero(nano, line, words):
    nano.say(NANO)
    with opened(nano) as meter:
        assert meter.read().power_w == pytest.approx(2.003)
        nano.say(line)

        def is_refused() -> bool:
            try:
                meter.read()
            except MeterError as error:
                return words in str(error)
            return False

        eventually(is_refused)
