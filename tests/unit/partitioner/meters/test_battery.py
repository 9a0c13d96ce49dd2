from __future__ import annotations

import pytest

from partitioner.meters import MeterError, battery
from tests.recorded_boards import board, put

SUPPLY = "/sys/class/power_supply"


@pytest.mark.parametrize(
    ("name", "source", "power_w"),
    [
        ("laptop", "BAT0 + BAT1", 7.428),
        ("macbook", "macsmc-battery", 4.721),
        ("handheld", "axp20x-battery", 3.845 * 0.521),
    ],
)
def test_what_flows_out_is_the_devices_power_whatever_its_sign(tmp_path, name, source, power_w):
    meter = battery.find(board(name, tmp_path))
    assert (meter.info.source, meter.info.scope) == (source, "board")
    assert meter.read().power_w == pytest.approx(power_w)


def test_volts_times_amperes_where_power_is_not_told(tmp_path):
    root = board("macbook", tmp_path)
    for content in ("", "unknown", 0):
        put(root, f"{SUPPLY}/macsmc-battery/power_now", content)
        assert battery.find(root).read().power_w == pytest.approx(12.233 * 0.386)


def test_batteries_that_discharge_together_add_up(tmp_path):
    root = board("laptop", tmp_path)
    put(root, f"{SUPPLY}/BAT1/status", "Discharging")
    put(root, f"{SUPPLY}/BAT1/power_now", 1_500_000)
    assert battery.find(root).read().power_w == pytest.approx(8.928)


@pytest.mark.parametrize("state", ["Charging", "Full", "Not charging", "Unknown", ""])
def test_one_that_does_not_discharge_is_unavailable(tmp_path, state):
    root = board("macbook", tmp_path)
    put(root, f"{SUPPLY}/macsmc-battery/status", state)
    with pytest.raises(MeterError, match="it measures the device only while discharging"):
        battery.find(root)


def test_one_that_charges_the_other_is_unavailable(tmp_path):
    root = board("laptop", tmp_path)
    put(root, f"{SUPPLY}/BAT1/status", "Charging")
    with pytest.raises(MeterError, match="BAT0 is discharging, BAT1 is charging"):
        battery.find(root)


def test_plugging_in_ends_the_measurement(tmp_path):
    root = board("laptop", tmp_path)
    meter = battery.find(root)
    put(root, f"{SUPPLY}/AC/online", 1)
    with pytest.raises(MeterError, match="AC feeds the device: unplug it"):
        meter.read()
    put(root, f"{SUPPLY}/AC/online", 0)
    assert meter.read().power_w == pytest.approx(7.428)
    put(root, f"{SUPPLY}/BAT0/status", "Charging")
    with pytest.raises(MeterError, match="BAT0 is charging"):
        meter.read()


def test_a_gauge_that_tells_nothing_is_refused_not_zero(tmp_path):
    root = board("handheld", tmp_path)
    put(root, f"{SUPPLY}/axp20x-battery/current_now", 0)
    with pytest.raises(MeterError, match="tells 0 W while discharging"):
        battery.find(root)
    (root / SUPPLY.lstrip("/") / "axp20x-battery" / "current_now").unlink()
    with pytest.raises(MeterError, match=r"power_now: No such file"):
        battery.find(root)


def test_a_gauge_that_tells_no_number_is_named(tmp_path):
    put(board("laptop", tmp_path), f"{SUPPLY}/BAT0/power_now", "nan")
    with pytest.raises(MeterError, match=r"BAT0/power_now: holds 'nan'"):
        battery.find(tmp_path)


@pytest.mark.parametrize("kind", ["USB", "USB_PD", "Wireless"])
def test_a_charger_too_weak_to_charge_feeds_the_device_all_the_same(tmp_path, kind):
    root = board("laptop", tmp_path)
    port = f"{SUPPLY}/ucsi-source-psy-USBC000:001"
    put(root, f"{port}/type", kind)
    assert battery.find(root).read().power_w == pytest.approx(7.428)
    put(root, f"{port}/online", 1)
    with pytest.raises(MeterError, match="USBC000:001 feeds the device: unplug it"):
        battery.find(root)


def test_the_battery_of_a_mouse_is_not_the_devices(tmp_path):
    root = board("laptop", tmp_path)
    for name in ("BAT0", "BAT1"):
        put(root, f"{SUPPLY}/{name}/present", 0)
    with pytest.raises(MeterError, match="no battery of the device"):
        battery.find(root)


@pytest.mark.parametrize("name", ["orin-nano", "x86-server"])
def test_no_battery_is_a_reason(tmp_path, name):
    with pytest.raises(MeterError, match="no battery of the device under"):
        battery.find(board(name, tmp_path))


def test_a_gauge_that_vanishes_is_an_error(tmp_path):
    root = board("handheld", tmp_path)
    meter = battery.find(root)
    for path in (root / SUPPLY.lstrip("/") / "axp20x-battery").iterdir():
        path.unlink()
    with pytest.raises(MeterError, match="axp20x-battery is unknown"):
        meter.read()
