"""Meters of the user's own: what their messages say, and files that grow, break off, or are replaced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from partitioner.meters import MeterError
from partitioner.meters.csvfile import CsvFile, open_csv
from partitioner.meters.external import Arrivals, Columns, Value, unit_of, value_in


@pytest.mark.parametrize(
    ("name", "is_power", "scale"),
    [
        ("power_w", True, 1.0),
        ("Power (mW)", True, 1e-3),
        ("Watts", True, 1.0),
        ("apower", True, 1.0),
        ("kW", True, 1e3),
        ("energy_j", False, 1.0),
        ("total_kWh", False, 3.6e6),
        ("Energy [Wh]", False, 3600.0),
        ("uj", False, 1e-6),
    ],
)
def test_the_unit_stands_at_the_end_of_a_name(name: str, is_power: bool, scale: float) -> None:
    unit = unit_of(name)
    assert unit is not None
    assert (unit.is_power, unit.scale) == (is_power, scale)


@pytest.mark.parametrize("name", ["voltage_v", "current_a", "time_s", "ApparentPower", "powers", "7", ""])
def test_a_name_without_a_unit_of_power_or_energy_is_neither(name: str) -> None:
    assert unit_of(name) is None


@pytest.mark.parametrize(
    ("text", "pick", "value"),
    [
        ("12.5", "", Value(power_w=12.5)),
        (b" 12.5\n", "", Value(power_w=12.5)),
        ("1250 mW", "", Value(power_w=1.25)),
        ("0.5Wh", "", Value(counter_j=1800.0)),
        ("0", "", Value(power_w=0.0)),
        ('"12.5"', "", Value(power_w=12.5)),
        ('{"power_mw": 900}', "", Value(power_w=0.9)),
        ('{"apower": 3.5, "voltage": 230.1, "current": 0.02, "aenergy": {"total": 17.2}}', "", Value(power_w=3.5)),
        ('{"StatusSNS": {"ENERGY": {"Total": 1.5, "Power": 7, "ApparentPower": 9}}}', "", Value(power_w=7.0)),
        ('{"switch:0": {"apower": 3.5}, "switch:1": {"apower": 4.5}}', "switch:1.apower", Value(power_w=4.5)),
        ('{"emeters": [{"power": 1}, {"power": 2}]}', "emeters.1.power", Value(power_w=2.0)),
        ('{"a": {"b": {"draw": 8}}}', "b.draw", Value(power_w=8.0)),
        ('{"state": "8.25"}', "state", Value(power_w=8.25)),
        ('{"energy_wh": 2}', "", Value(counter_j=7200.0)),
        ('{"energy_wh": 2, "power_w": 3}', "", Value(power_w=3.0)),
        ('{"energy_wh": 2, "power_w": 3}', "energy_wh", Value(counter_j=7200.0)),
    ],
)
def test_a_message_has_one_value(text: str | bytes, pick: str, value: Value) -> None:
    assert value_in(text, pick) == value


@pytest.mark.parametrize(
    ("text", "pick", "reason"),
    [
        ("", "", "neither a number nor JSON"),
        ("<html>", "", "neither a number nor JSON"),
        ("12.5 V", "", "neither of power nor of energy"),
        ("-3", "", "wired the wrong way"),
        ('{"power_w": -0.5}', "", "wired the wrong way"),
        ('{"power_w": NaN}', "", "which is no power or energy of a device"),
        ('{"power_w": 1e999}', "", "which is no power or energy of a device"),
        ('{"power_w": 1e7}', "", "which is no power or energy of a device"),
        ('{"energy_wh": 1e308}', "", "which is no power or energy of a device"),
        ('{"power_w": true}', "", "has a unit"),
        ("null", "", "has a unit"),
        ('{"volts": 230}', "", r"volts has a unit in its name: pick one"),
        ('[{"power": 1}, {"power": 2}]', "", "pick one, as in #0.power"),
        ('{"power_w": 1}', "watt", "is #watt"),
        ('{"a": {"x": 1}, "b": {"x": 2}}', "x", "2 of its values a.x, b.x is #x"),
        ("[" * 20_000, "", "neither a number nor JSON"),
        ("1" * 70_000, "", "more than"),
        ("7", "power", "#power"),
    ],
)
def test_a_message_that_is_not_clear_is_refused(text: str, pick: str, reason: str) -> None:
    with pytest.raises(MeterError, match=reason):
        value_in(text, pick)


@pytest.mark.parametrize(
    ("header", "pick", "line", "value"),
    [
        ("time,power_w", "", "17:00,3.5", Value(power_w=3.5)),
        ("Time;Power (mW);Volt (V)", "", "1;3500,5;5,1", Value(power_w=3.5005)),
        ("t\tenergy_j", "", "1\t12", Value(counter_j=12.0)),
        ('"time","power_w"', "", '"1","2"', Value(power_w=2.0)),
        ("a_w,b_w", "b_w", "1,2", Value(power_w=2.0)),
        ("time,draw", "draw", "1,2", Value(power_w=2.0)),
        ("3.5", "", "4.5", Value(power_w=4.5)),
    ],
)
def test_a_row_has_one_value(header: str, pick: str, line: str, value: Value) -> None:
    found = Columns(header, pick).value(line)
    assert found.power_w == pytest.approx(value.power_w)
    assert found.counter_j == pytest.approx(value.counter_j)


@pytest.mark.parametrize(
    ("header", "pick", "reason"),
    [
        ("1,2", "", "have no names"),
        ("a_w,b_w", "", "pick one, as in #a_w"),
        ("time,volts", "", "pick one, as in #NAME"),
        ("time,power_w", "watts", "pick one"),
    ],
)
def test_columns_that_are_not_clear_are_refused(header: str, pick: str, reason: str) -> None:
    with pytest.raises(MeterError, match=reason):
        Columns(header, pick)


def test_values_that_come_together_came_at_one_pace() -> None:
    arrivals = Arrivals()
    for at_s, count in ((10.0, 7), (11.0, 4), (12.0, 4)):
        arrivals.note(at_s, count)
    assert arrivals.period_s == pytest.approx(0.25)
    arrivals.check(12.0 + 4.9)
    with pytest.raises(MeterError, match="said nothing for 6 s"):
        arrivals.check(12.0 + 6.0)


def test_a_slow_meter_may_be_silent_for_longer() -> None:
    arrivals = Arrivals()
    for at_s in (0.0, 2.0, 4.0):
        arrivals.note(at_s)
    arrivals.check(4.0 + 19.0)
    with pytest.raises(MeterError, match="21 s"):
        arrivals.check(4.0 + 21.0)


class Writer:
    """A clock, and what is written when: each sleep takes its time and may write the next piece."""

    def __init__(self, path: Path, *pieces: str, every_s: float = 0.5) -> None:
        self.path = path
        self.pieces = [*pieces]
        self.every_s = every_s
        self.now_s = 100.0
        self.next_s = self.now_s + every_s

    def now(self) -> float:
        return self.now_s

    def sleep(self, pause_s: float) -> None:
        self.now_s += pause_s
        if self.pieces and self.now_s >= self.next_s:
            self.next_s += self.every_s
            self.write(self.pieces.pop(0))

    def write(self, text: str) -> None:
        with self.path.open("a") as file:
            file.write(text)

    def meter(self, pick: str = "") -> CsvFile:
        return CsvFile(self.path, pick, now=self.now, sleep=self.sleep)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "watts.csv"


def test_a_file_is_followed_from_where_it_ends(log: Path) -> None:
    log.write_text("time,power_w\n1,99\n2,99\n")
    writer = Writer(log, "3,5\n", "4,6\n", "5,7\n")
    meter = writer.meter()
    assert meter.info.kind == "csv"
    assert meter.info.source == f"power_w of {log}"
    assert meter.info.period_s == pytest.approx(0.5, abs=0.02)
    assert meter.read().power_w == 7.0
    writer.write("6,8\n7,9\n8,")
    reading = meter.read()
    assert (reading.power_w, reading.at_s) == (9.0, writer.now_s)
    writer.write("2.5\n# a remark\n\n")
    assert meter.read().power_w == 2.5
    meter.close()
    meter.close()


def test_a_line_that_was_half_written_when_it_was_opened_is_taken_whole(log: Path) -> None:
    log.write_text("time,power_w\n1,99\n2,1")
    meter = Writer(log, "5\n", "3,16\n", "4,17\n").meter()
    assert meter.read().power_w == 17.0
    meter.close()


def test_a_counter_of_watt_hours_is_joules(log: Path) -> None:
    log.write_text("energy_wh\n")
    writer = Writer(log, "1.0\n", "1.0\n", "1.5\n")
    meter = writer.meter()
    first = meter.read().counter_j
    writer.write("2.0\n")
    second = meter.read().counter_j
    assert first is not None
    assert second is not None
    assert second - first == pytest.approx(1800.0)
    meter.close()


def test_a_file_without_a_header_is_watts_and_may_be_empty_at_first(log: Path) -> None:
    log.touch()
    meter = Writer(log, "1\n", "2\n", "3\n").meter()
    assert meter.read().power_w == 3.0
    meter.close()


def test_a_file_that_is_written_anew_or_replaced_is_followed_from_its_start(log: Path, tmp_path: Path) -> None:
    log.write_text("time,power_w\n")
    writer = Writer(log, "1,1\n", "2,2\n", "3,3\n")
    meter = writer.meter()
    log.write_text("power_mw\n40\n")
    meter.read()
    assert meter.read().power_w == pytest.approx(0.04)
    other = tmp_path / "other.csv"
    other.write_text("time,power_w\n1,8\n2,9\n")
    os.replace(other, log)
    meter.read()
    assert meter.read().power_w == 9.0
    meter.close()


def test_a_file_that_does_not_grow_is_no_meter(log: Path) -> None:
    log.write_text("time,power_w\n1,99\n2,99\n")
    with pytest.raises(MeterError, match="does not grow"):
        Writer(log).meter()


def test_a_logger_that_stops_is_not_taken_for_constant_power(log: Path) -> None:
    log.write_text("time,power_w\n")
    writer = Writer(log, "1,1\n", "2,2\n", "3,3\n")
    meter = writer.meter()
    writer.now_s += 4.0
    assert meter.read().power_w == 3.0
    writer.now_s += 4.0
    with pytest.raises(MeterError, match="said nothing for 8 s"):
        meter.read()
    meter.close()


@pytest.mark.parametrize("line", ["4\n", "4,-1\n", "4,\n", "4,x\n", "4,nan\n", ",\n"])
def test_a_line_that_is_no_value_is_told_of(log: Path, line: str) -> None:
    log.write_text("time,power_w\n")
    writer = Writer(log, "1,1\n", "2,2\n", "3,3\n")
    meter = writer.meter()
    writer.write(line)
    with pytest.raises(MeterError):
        meter.read()
    meter.close()


def test_a_line_without_an_end_does_not_fill_memory(log: Path) -> None:
    log.write_text("time,power_w\n")
    writer = Writer(log, "1,1\n", "2,2\n", "3,3\n")
    meter = writer.meter()
    writer.write("9" * 70_000)
    with pytest.raises(MeterError, match="a line of more than"):
        meter.read()
    meter.close()


def test_a_pipe_is_followed_too(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    held = os.open(pipe, os.O_RDWR)  # so that it has a writer all the time, as a logger is one
    try:
        writer = Writer(pipe, "time,power_w\n1,4\n", "2,5\n", "3,6\n", every_s=0.1)
        meter = writer.meter("power_w")
        assert meter.read().power_w == 6.0
        assert meter.info.period_s == pytest.approx(0.1, abs=0.02)
        meter.close()
    finally:
        os.close(held)


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="No such file"):
        open_csv(str(tmp_path / "none.csv"))
    with pytest.raises(MeterError, match="is a directory"):
        open_csv(str(tmp_path))
    with pytest.raises(MeterError, match="names no file"):
        open_csv("#power_w")


def test_a_name_may_hold_the_sign_that_picks_a_column(tmp_path: Path) -> None:
    odd = tmp_path / "run#3.csv"
    odd.write_text("a_w,b_w\n")
    with pytest.raises(MeterError, match="pick one, as in #a_w"):
        open_csv(str(odd))
