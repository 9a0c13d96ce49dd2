"""``cleft-plan profile --energy``: measured, assumed or unavailable, and never a figure that nobody knows."""

import json
import re
import time

import pytest
import torch

from partitioner.cli import energy, main
from partitioner.meters import MeterError, MeterForbidden, rapl
from partitioner.profile import Profile
from tests import every_cut
from tests.live_boards import INA3221, LiveBoard
from tests.recorded_boards import board, put

QUICK = ("--runtime", "eager", "--budget", "300ms", "--idle", "300ms", "--energy-budget", "1500ms")
BRIEF = ("--runtime", "eager", "--budget", "60ms", "--idle", "50ms", "--energy-budget", "200ms")
"""For what does not depend on the joules."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> str:
    torch.manual_seed(0)
    layers = [torch.nn.Sequential(torch.nn.Conv2d(16, 16, 3, padding=1), torch.nn.ReLU()) for _ in range(3)]
    path = tmp_path_factory.mktemp("chain") / "chain"
    every_cut.pack(torch.nn.Sequential(*layers).eval(), path, args=(torch.zeros(1, 16, 64, 64),))
    return str(path)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("CLEFT_SYSROOT", str(tmp_path))
    monkeypatch.setenv("PATH", "")  # nor any tool that tells power
    return tmp_path


def profile(capsys, *words: str) -> tuple[Profile, str]:
    assert main(["profile", *words, "--json"]) == 0
    shown = capsys.readouterr()
    return Profile.loads(shown.out), shown.err


def first_rows(text: str) -> dict[str, str]:
    """The lines of the first two tables, by their first word."""
    return {line.split()[0]: line for line in reversed(text.splitlines()) if line}


def test_a_meter_that_is_found_is_used_and_every_number_is_marked(bundle, root, capsys):
    with LiveBoard(root, "ina3221", rest_w=2.0, work_w=12.0):
        assert main(["profile", bundle, *QUICK, "-o", str(root / "edge.json")]) == 0
    shown = capsys.readouterr()
    assert "unavailable" not in shown.err
    energy = json.loads((root / "edge.json").read_text())["energy"]
    assert (energy["meter"], energy["scope"], energy["source"]) == ("ina3221", "board", "rail VDD_IN")
    assert energy["idle_w"]["value"] == pytest.approx(2.0, rel=0.2)
    assert 2.0 < energy["active_w"]["value"] <= 12.1
    assert energy["whole_j"]["origin"] == "measured"
    rows = first_rows(shown.out)
    assert re.search(r"\d J$|\d mJ$", rows["local"]), "measured: no mark"
    assert re.search(r"[nµm]J~$", rows["cloud"]), "modelled"
    assert re.search(r"[µm]J~$", rows["0.0"])
    assert "energy by ina3221 (rail VDD_IN): whole model" in shown.out
    assert "~ modelled" in shown.out
    assert "assumed" not in shown.out


def test_a_stuck_sensor_is_a_warning_and_energy_is_unavailable(bundle, root, capsys):
    """A recorded board never changes."""
    board("orin-nano", root)
    put(root, f"{INA3221}/hwmon/hwmon1/update_interval", 4)
    put(root, f"{INA3221}/hwmon/hwmon1/samples", 1)
    begun_s = time.monotonic()
    found, warned = profile(capsys, bundle, *BRIEF, "--energy", "ina3221")
    assert time.monotonic() - begun_s < 20
    assert found.energy is None
    assert "warning: energy is unavailable: ina3221 is stuck" in warned
    found, warned = profile(capsys, bundle, *BRIEF, "--power", "idle=2W,active=5W")
    assert "warning: energy is assumed: ina3221 is stuck" in warned
    assert found.energy is not None
    assert {found.energy.whole_j.origin, found.energy.idle_w.origin} == {"assumed"}
    assert found.energy.whole_j.value == pytest.approx(5.0 * found.whole.median_s)


def test_a_negative_sensor_is_no_meter(bundle, root, capsys):
    board("orin-nano", root)
    put(root, f"{INA3221}/hwmon/hwmon1/curr1_input", -300)
    assert main(["profile", bundle, *BRIEF, "--energy", "ina3221"]) == 1
    assert "ina3221: ina3221 tells -1.49 W" in capsys.readouterr().err
    found, warned = profile(capsys, bundle, *BRIEF, "--energy", "auto")
    assert found.energy is None
    assert "warning: energy is unavailable: no meter was found: ina3221: ina3221 tells -1.49 W" in warned


def test_a_slow_sensor_is_not_waited_for_beyond_the_budget(bundle, root, capsys):
    board("orin-nano", root)
    begun_s = time.monotonic()
    found, warned = profile(capsys, bundle, *BRIEF, "--energy", "ina3221")
    assert time.monotonic() - begun_s < 20
    assert found.energy is None
    assert "a new value only every 0.422 s: measuring with it takes --energy-budget" in warned


def test_the_meter_that_fell_silent_is_named(bundle, root, capsys, monkeypatch):
    def fail(*_):
        raise MeterError("it has said nothing for 6 s")

    monkeypatch.setattr(energy, "_measured", fail)
    board("orin-nano", root)
    _, warned = profile(capsys, bundle, *BRIEF, "--energy", "ina3221")
    assert "warning: energy is unavailable: ina3221: it has said nothing for 6 s" in warned


def test_a_meter_that_was_named_and_is_missing_is_an_error_before_anything_is_measured(bundle, root, capsys):
    begun_s = time.monotonic()
    assert main(["profile", bundle, "--energy", "rapl"]) == 1
    assert time.monotonic() - begun_s < 30, "the default budget is 60 s"
    assert capsys.readouterr().err.startswith("cleft-plan: error: rapl: ")


def test_a_meter_for_root_alone_is_told_of_once_and_the_profile_is_made(bundle, root, capsys, monkeypatch):
    def refuse(root):
        raise MeterForbidden("energy_uj may not be read")

    monkeypatch.setattr(rapl, "find", refuse)
    board("laptop", root)  # on battery, which is too slow to be used unasked
    found, warned = profile(capsys, bundle, *BRIEF)
    assert found.energy is None
    lines = [line for line in warned.splitlines() if "energy" in line]
    assert lines == ["warning: energy is unavailable: rapl: energy_uj may not be read"]
    for quiet in (("--energy", "none"), ("--power", "idle=2W,active=5W")):
        assert "energy" not in profile(capsys, bundle, *BRIEF, *quiet)[1]


def test_without_a_meter_nothing_is_said_or_made_up(bundle, root, capsys):
    found, warned = profile(capsys, bundle, *BRIEF)
    assert (found.energy, "energy" in warned) == (None, False)
    found, warned = profile(capsys, bundle, *BRIEF, "--energy", "auto")
    assert found.energy is None
    assert "warning: energy is unavailable: no meter was found: " in warned
    assert main(["profile", bundle, *BRIEF]) == 0
    assert "energy" not in capsys.readouterr().out


def test_energy_is_assumed_where_power_is_given(bundle, root, capsys):
    assert main(["profile", bundle, *BRIEF, "--energy", "none", "--power", "raspberry-pi-4b"]) == 0
    shown = capsys.readouterr()
    rows = first_rows(shown.out)
    assert rows["local"].endswith("J?")
    assert "? assumed: times are measured, power is not" in shown.out
    assert main(["profile", bundle, "--power", "idle=5W,active=2W"]) == 2
    assert "no less at work than at rest" in capsys.readouterr().err


def test_no_meter_is_used_unasked_in_a_budget_shorter_than_rest(bundle, root, capsys):
    board("orin-nano", root)
    put(root, f"{INA3221}/hwmon/hwmon1/update_interval", 4)
    put(root, f"{INA3221}/hwmon/hwmon1/samples", 1)
    begun_s = time.monotonic()
    found, warned = profile(capsys, bundle, "--runtime", "eager", "--budget", "300ms")
    assert time.monotonic() - begun_s < 9
    assert (found.energy, "energy" in warned) == (None, False)
