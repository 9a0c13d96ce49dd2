"""Constants of devices: found by name however it is spelt, given by hand, and never without a source."""

from __future__ import annotations

import pytest

from partitioner.errors import UsageError
from partitioner.sheets import SHEETS, sheet_of


def test_every_sheet_draws_more_at_work_and_names_its_source() -> None:
    for name, sheet in SHEETS.items():
        assert sheet.name == name
        assert 0 < sheet.idle_w < sheet.active_w < 50
        assert len(sheet.source) > 20


def test_the_documented_currents_are_at_the_supply_that_is_recommended() -> None:
    sheet = sheet_of("raspberry-pi-4b")
    assert sheet.idle_w == pytest.approx(0.6 * 5.1)
    assert sheet.active_w == pytest.approx(1.2 * 5.1)


@pytest.mark.parametrize("text", ["Raspberry Pi 3B+", "raspberry_pi_3b_plus", " raspberry-pi-3b-plus "])
def test_a_name_is_found_however_it_is_spelt(text: str) -> None:
    assert sheet_of(text) is SHEETS["raspberry-pi-3b-plus"]


@pytest.mark.parametrize("text", ["raspberry-pi-4", "Raspberry Pi 4", "raspberry-pi-4b"])
def test_a_beginning_that_one_device_has_is_enough(text: str) -> None:
    assert sheet_of(text) is SHEETS["raspberry-pi-4b"]


@pytest.mark.parametrize(("text", "others"), [("raspberry-pi-3", "3b or .*-3b-plus"), ("jetson", "-25w or .*-40w")])
def test_a_beginning_that_several_have_is_not_guessed(text: str, others: str) -> None:
    with pytest.raises(UsageError, match=f"did you mean .*{others}; or give its power"):
        sheet_of(text)


@pytest.mark.parametrize(
    ("text", "idle_w", "active_w"),
    [
        ("idle=2W,active=5W", 2.0, 5.0),
        ("active=5, idle=2", 2.0, 5.0),
        ("idle=750mW,active=1.5w", 0.75, 1.5),
        ("idle=3,active=3", 3.0, 3.0),
    ],
)
def test_power_may_be_given(text: str, idle_w: float, active_w: float) -> None:
    sheet = sheet_of(text)
    assert (sheet.idle_w, sheet.active_w) == (idle_w, active_w)
    assert "given" in sheet.source


@pytest.mark.parametrize(
    "text",
    [
        "idle=2W",
        "idle=5W,active=2W",
        "idle=0,active=2W",
        "idle=-1,active=2",
        "idle=1,idle=2",
        "idle=1,active=2,active=3",
        "idle=1,active=two",
        "idle=.,active=2",
        "idle=1.2.3,active=2",
        "idle=1,active=1e999",
        "idle=nan,active=2",
        "idle=1,active=1e6",
        "=",
        "",
        "  ",
    ],
)
def test_what_is_no_power_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"idle=2W,active=5W|is no device's power"):
        sheet_of(text)


def test_a_device_that_nobody_measured_is_not_guessed() -> None:
    with pytest.raises(UsageError, match="did you mean raspberry-pi"):
        sheet_of("raspberry-pi-5")
    with pytest.raises(UsageError, match=r"there are raspberry-pi-zero, .*give its power: idle=2W,active=5W"):
        sheet_of("cray-1")
