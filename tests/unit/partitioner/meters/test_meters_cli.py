from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from partitioner.cli import main
from tests.recorded_boards import board, put

FIELDS = {"kind", "available", "reason", "source", "scope", "power_w", "period_s", "step_w", "step_j"}
ENERGY = "sys/class/powercap/intel-rapl:0/energy_uj"


def answer(capsys, *words: str) -> dict[str, object]:
    assert main(["meters", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_it_shows_what_is_there_and_why_the_rest_is_not(tmp_path, capsys):
    assert main(["meters", "--root", str(board("agx-orin", tmp_path))]) == 0
    out = capsys.readouterr().out
    (row,) = (line.split() for line in out.splitlines() if line.startswith("ina3221"))
    assert row[1:8] == ["board", "8.71", "W", "7.00", "ms", "0.580", "W"]
    assert "rails VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0" in out
    assert "  rapl: no packages under" in out
    assert out.splitlines()[-1] == "auto takes ina3221"


def test_the_machine_output_has_every_field_and_null_for_what_is_not_known(tmp_path, capsys):
    found = answer(capsys, "--root", str(board("laptop", tmp_path)))
    assert (found["schema"], found["auto"]) == ("cleft.meters/1", "battery")
    by_kind = {each["kind"]: each for each in found["meters"]}
    assert all(set(each) == FIELDS for each in by_kind.values())
    gauge, none = by_kind["battery"], by_kind["ina3221"]
    assert gauge["available"] is True
    assert gauge["power_w"] == pytest.approx(7.428)
    assert (gauge["scope"], gauge["period_s"], gauge["step_w"], gauge["step_j"]) == ("board", 1.0, None, None)
    assert (none["available"], none["power_w"], none["source"]) == (False, None, None)
    assert "no Jetson" in none["reason"]


def test_a_counter_is_shown_as_the_power_of_a_moment(tmp_path, capsys):
    root = board("x86-server", tmp_path)
    ended, ticks = threading.Event(), []

    def count() -> None:
        while not ended.wait(0.002):
            ticks.append(1)
            put(root, ENERGY, 41936478219 + 40_000 * len(ticks))

    thread = threading.Thread(target=count)
    thread.start()
    try:
        (zone,) = answer(capsys, "rapl", "--root", str(root))["meters"]
    finally:
        ended.set()
        thread.join()
    assert zone["available"] is True
    assert 0.5 < zone["power_w"] <= 21  # 40 mJ each 2 ms are 20 W; fewer where this machine is busy


def test_a_counter_that_stands_still_is_unavailable_and_not_chosen(tmp_path, capsys):
    found = answer(capsys, "--root", str(board("x86-server", tmp_path)))
    (zone,) = (each for each in found["meters"] if each["kind"] == "rapl")
    assert found["auto"] != "rapl"
    assert (zone["available"], zone["power_w"]) == (False, None)
    assert "rapl is stuck: package-0 + package-1 told the same" in zone["reason"]


def test_no_meter_at_all_is_an_answer(tmp_path, capsys, monkeypatch):
    from partitioner.meters import finding

    monkeypatch.setattr(finding.find_meters, "__kwdefaults__", {"kinds": finding.KINDS[:1]})
    assert main(["meters", "--root", str(tmp_path)]) == 0
    assert "no meter works here: energy may be assumed from a data sheet" in capsys.readouterr().out
    assert answer(capsys, "--root", str(tmp_path))["auto"] is None


def test_a_meter_that_is_named_must_be_there(tmp_path, capsys):
    root = str(board("laptop", tmp_path))
    (named,) = answer(capsys, "battery", "battery", "--root", root)["meters"]
    assert named["kind"] == "battery"
    assert main(["meters", "battery", "rapl", "--root", root]) == 1
    assert "cleft-plan: error: rapl: no packages under" in capsys.readouterr().err
    assert main(["meters", "batery", "--root", root]) == 1
    assert "did you mean 'battery'?" in capsys.readouterr().err


def test_a_meter_that_is_named_must_tell_something(tmp_path, capsys):
    root = str(board("x86-server", tmp_path))
    assert main(["meters", "rapl", "--root", root, "--json"]) == 1
    (zone,) = json.loads(capsys.readouterr().out)["meters"]
    assert "rapl is stuck" in zone["reason"]


def test_watching_tells_a_line_each_time(tmp_path, capsys):
    root = str(board("macbook", tmp_path))
    assert main(["meters", "--watch", "--every", "20ms", "--count", "3", "--root", root]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == ["battery 4.72 W"] * 3
    assert main(["meters", "battery", "--watch", "--every", "20ms", "--count", "2", "--root", root, "--json"]) == 0
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["meters"][0]["power_w"] for each in documents] == pytest.approx([4.721, 4.721])


def test_a_tree_that_is_not_there_is_an_error_and_no_empty_board(tmp_path, capsys):
    assert main(["meters", "--root", str(tmp_path / "nosuch")]) == 1
    assert "there is no folder" in capsys.readouterr().err


def test_watching_ends_with_an_interrupt(tmp_path):
    command = "import sys; from partitioner.cli import main; sys.exit(main())"
    root = str(board("macbook", tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", command, "meters", "battery", "--watch", "--every", "20ms", "--root", root],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "battery 4.72 W" in process.stdout.readline()
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")


def test_a_gauge_that_is_plugged_in_while_it_is_watched_says_so(tmp_path, capsys):
    root = board("laptop", tmp_path)
    from partitioner.cli.meters import look
    from partitioner.meters.finding import close_all, find_meters

    found = find_meters(root)
    put(root, "/sys/class/power_supply/AC/online", 1)
    (gauge,) = (each for each in look(found, 0.0) if each.kind == "battery")
    close_all(found)
    assert gauge.power_w is None
    assert gauge.info is not None
    assert "AC feeds the device" in gauge.reason
