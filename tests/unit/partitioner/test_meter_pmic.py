"""The Pi's power chip: what `vcgencmd` prints, in both forms, and everything it may print instead."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from partitioner.meters import MeterError
from partitioner.meters.pmic import Fit, find, parse

AMPS = {
    "3V7_WL_SW": 0.01,
    "3V3_SYS": 0.1,
    "1V8_SYS": 0.2,
    "DDR_VDD2": 0.02,
    "DDR_VDDQ": 0.0,
    "1V1_SYS": 0.2,
    "0V8_SW": 0.3,
    "VDD_CORE": 2.0,
    "3V3_DAC": 0.0,
    "3V3_ADC": 0.0,
    "0V8_AON": 0.005,
    "HDMI": 0.02,
}
VOLTS = {
    "3V7_WL_SW": 3.7,
    "3V3_SYS": 3.3,
    "1V8_SYS": 1.8,
    "DDR_VDD2": 1.1,
    "DDR_VDDQ": 0.6,
    "1V1_SYS": 1.1,
    "0V8_SW": 0.8,
    "VDD_CORE": 0.9,
    "3V3_DAC": 3.3,
    "3V3_ADC": 3.3,
    "0V8_AON": 0.8,
    "HDMI": 5.1,
    "EXT5V": 5.15,
    "BATT": 3.0,
}
RAILS_W = 0.037 + 0.33 + 0.36 + 0.022 + 0.22 + 0.24 + 1.8 + 0.004 + 0.102


def printed() -> str:
    """As the Pi prints it: aligned to the right, channels numbered with gaps, currents before voltages."""
    amps = [f"{rail + '_A':>12} current({place})={value:.8f}A" for place, (rail, value) in enumerate(AMPS.items())]
    volts = [f"{rail + '_V':>12} volt({place + 12})={value:.8f}V" for place, (rail, value) in enumerate(VOLTS.items())]
    return "\n".join(amps + volts) + "\n"


def printed_short() -> str:
    amps = [f"{rail}_A={value:.4f}A" for rail, value in AMPS.items()]
    return "\n".join([*(f"{rail}_V={value:.4f}V" for rail, value in VOLTS.items()), *amps]) + "\n"


def tree(root: Path, output: str, *, code: int = 0, place: str = "usr/bin/vcgencmd") -> Path:
    """A recorded tree, whose `vcgencmd` prints this."""
    command = root / place
    command.parent.mkdir(parents=True, exist_ok=True)
    (root / "output").write_text(output)
    command.write_text(f"#!/bin/sh\n[ \"$1\" = pmic_read_adc ] || exit 9\ncat '{root}/output'\nexit {code}\n")
    command.chmod(0o755)
    return root


@pytest.mark.parametrize("form", [printed, printed_short])
def test_power_is_the_sum_of_the_rails_through_the_published_fit(tmp_path: Path, form, monkeypatch) -> None:
    monkeypatch.delenv("CLEFT_PMIC_FIT", raising=False)
    meter = find(tree(tmp_path, form()))
    reading = meter.read()
    assert reading.power_w == pytest.approx(RAILS_W * 1.1451 + 0.5879, rel=1e-4)
    assert reading.counter_j is None
    assert reading.begin_s < reading.end_s
    assert meter.info.scope == "board"
    assert meter.info.source == "12 rails x 1.1451 + 0.5879 W (published fit)"
    meter.close()


def test_a_fit_of_ones_own_takes_its_place(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CLEFT_PMIC_FIT", " 1.2, 0.25 ")
    meter = find(tree(tmp_path, printed(), place="opt/vc/bin/vcgencmd"))
    assert meter.read().power_w == pytest.approx(RAILS_W * 1.2 + 0.25, rel=1e-6)
    assert "fit of your own" in meter.info.source


@pytest.mark.parametrize("fit", ["1.2", "1.2,0.3,4", "a,b", "0,1", "-1,0", "nan,0", "1,inf", ","])
def test_a_fit_that_is_none_is_refused(tmp_path: Path, monkeypatch, fit: str) -> None:
    monkeypatch.setenv("CLEFT_PMIC_FIT", fit)
    with pytest.raises(MeterError, match="CLEFT_PMIC_FIT"):
        find(tree(tmp_path, printed()))


def test_the_input_and_what_lacks_a_current_or_a_voltage_count_for_nothing() -> None:
    text = "VDD_CORE_A=1.0A\nVDD_CORE_V=0.9V\nEXT5V_V=5.1V\nEXT5V_A=1.0A\nHDMI_A=0.5A\nBATT_V=3.0V\nnoise\n"
    assert parse(text) == {"VDD_CORE": pytest.approx(0.9)}


@pytest.mark.parametrize(
    ("output", "code", "reason"),
    [
        ('error=1 error_msg="Command not registered"\n', 0, "Pi 5 is the first"),
        ("VCHI initialization failed: failed to open vchiq\n", 255, "join the group video"),
        ("", 1, "vcgencmd failed"),
        ("", 0, "no current and voltage of VDD_CORE"),
        ("3V3_SYS_A=1A\n3V3_SYS_V=3.3V\n", 0, "no current and voltage of VDD_CORE"),
        (printed().replace("current(7)=2.00000000A", "current(7)=-2.00000000A"), 0, "no current or voltage"),
        (printed().replace("current(7)=2.00000000A", "current(7)=nanA"), 0, "no current or voltage"),
        (printed().replace("current(7)=2.00000000A", "current(7)=A"), 0, "VDD_CORE"),
    ],
)
def test_what_is_no_power_is_an_error_and_never_0_watts(tmp_path: Path, output: str, code: int, reason: str) -> None:
    with pytest.raises(MeterError, match=reason):
        find(tree(tmp_path, output, code=code))


def test_a_sensor_that_breaks_later_is_told_of(tmp_path: Path) -> None:
    meter = find(tree(tmp_path, printed()))
    (tmp_path / "output").write_text(printed().replace("current(7)=2.0", "current(7)=900.0"))
    with pytest.raises(MeterError, match="no such board takes"):
        meter.read()
    (tmp_path / "usr/bin/vcgencmd").unlink()
    with pytest.raises(MeterError, match="cannot be run: No such file"):
        meter.read()


def test_a_machine_without_the_command_is_no_pi(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="no Raspberry Pi"):
        find(tmp_path)


def test_the_published_line() -> None:
    assert Fit().board_w(10.0) == pytest.approx(12.0389)
    assert math.isclose(Fit().board_w(0.0), 0.5879)
