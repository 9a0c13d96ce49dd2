from __future__ import annotations

import pytest

from partitioner.meters import MeterError, sysfs
from tests.recorded_boards import put


@pytest.mark.parametrize(
    ("content", "value"), [("4968", 4968), (" 4968\n\n", 4968), ("-32", -32), ("+7", 7), ("12 mA", 12), ("12ma", 12)]
)
def test_a_whole_number_is_read_with_its_sign_and_unit(tmp_path, content, value):
    put(tmp_path, "curr1_input", content)
    assert sysfs.read_whole(tmp_path / "curr1_input", unit="mA") == value
    assert sysfs.read_optional(tmp_path / "curr1_input", unit="mA") == value


@pytest.mark.parametrize("content", ["", "12 mV", "1.5", "1e3", "nan", "12 mA 3", "½", "hex:ff00fe", "1_000"])
def test_anything_else_is_an_error_that_names_the_file(tmp_path, content):
    put(tmp_path, "curr1_input", content)
    with pytest.raises(MeterError, match=r"curr1_input: holds .*, not a whole number of mA"):
        sysfs.read_whole(tmp_path / "curr1_input", unit="mA")
    assert sysfs.read_optional(tmp_path / "curr1_input", unit="mA") is None


@pytest.mark.parametrize("half", ["", "\n", "-", None])
def test_a_file_that_is_half_written_or_gone_for_a_moment_is_read_again(tmp_path, monkeypatch, half):
    path = tmp_path / "in1_input"
    if half is not None:
        path.write_text(half)
    monkeypatch.setattr(sysfs.time, "sleep", lambda _: put(tmp_path, "in1_input", 5016))
    assert sysfs.read_whole(path, unit="mV") == 5016


def test_a_file_that_stays_half_written_is_given_up_soon(tmp_path, monkeypatch):
    pauses_s: list[float] = []
    monkeypatch.setattr(sysfs.time, "sleep", pauses_s.append)
    put(tmp_path, "in1_input", "-")
    with pytest.raises(MeterError, match="holds '-'"):
        sysfs.read_whole(tmp_path / "in1_input")
    assert 1 <= len(pauses_s) <= 10
    assert sum(pauses_s) < 0.05


def test_a_folder_is_no_number(tmp_path):
    with pytest.raises(MeterError, match="Is a directory"):
        sysfs.read_whole(tmp_path)


def test_a_text_is_stripped_and_a_missing_one_is_none(tmp_path):
    put(tmp_path, "name", " ina3221 ")
    (tmp_path / "compatible").write_bytes(b"ti,ina3221\0")
    assert sysfs.read_text(tmp_path / "name") == "ina3221"
    assert sysfs.read_text(tmp_path / "compatible") == "ti,ina3221"
    assert sysfs.read_text(tmp_path / "nothing") is None
