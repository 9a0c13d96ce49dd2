"""A battery's gauge: what the whole device draws while nothing else feeds it.

``power_now`` (uW), else ``voltage_now`` (uV) times ``current_now`` (uA). Drivers differ in the sign of what flows out,
so the state alone tells the direction: while it charges, or a charger is there, the gauge is no meter of the device. A
gauge renews its figure once a second at best, many far more rarely.

Source: Documentation/ABI/testing/sysfs-class-power.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from partitioner.meters import MeterError, MeterInfo, Reading
from partitioner.meters.sysfs import read_optional, read_text, read_whole

KIND = "battery"
PERIOD_S = 1.0
"""How long the kernel keeps a reading of an ACPI battery, at least."""
_FEEDS = ("mains", "usb", "wireless")
"""How the types of supplies begin that feed a device; a weak one does so while its battery discharges."""
_MICRO = 1e-6


class Battery:
    """The power out of all of a device's batteries."""

    def __init__(self, batteries: list[Path], chargers: list[Path]) -> None:
        self._batteries, self._chargers = batteries, chargers
        names = " + ".join(each.name for each in batteries)
        self.info = MeterInfo(kind=KIND, source=names, scope="board", period_s=PERIOD_S)

    def read(self) -> Reading:
        """Read those that are discharging.

        Raises:
            MeterError: none is, something else feeds the device, or a gauge tells nothing.
        """
        begin_s = time.perf_counter()
        power_w = sum(_power_w(each) for each in self._discharging())
        end_s = time.perf_counter()
        if power_w <= 0:
            raise MeterError(f"{self.info.source} tells 0 W while discharging: its gauge does not know")
        return Reading(begin_s=begin_s, end_s=end_s, power_w=power_w)

    def close(self) -> None:
        """Nothing is held."""

    def _discharging(self) -> list[Path]:
        for each in self._chargers:
            if read_optional(each / "online") == 1:
                raise MeterError(f"{each.name} feeds the device: unplug it to measure by the battery")
        states = {each: (read_text(each / "status") or "unknown").lower() for each in self._batteries}
        found = [each for each, state in states.items() if state == "discharging"]
        if not found or "charging" in states.values():
            told = ", ".join(f"{each.name} is {state}" for each, state in states.items())
            raise MeterError(f"{told}: it measures the device only while discharging")
        return found


def find(root: Path) -> Battery:
    """The batteries of this device.

    Raises:
        MeterError: there are none, or they are not discharging.
    """
    folder = root / "sys/class/power_supply"
    batteries = list(_batteries(folder))
    if not batteries:
        raise MeterError(f"no battery of the device under {folder}")
    meter = Battery(batteries, [each for each in sorted(folder.glob("*")) if _type(each).startswith(_FEEDS)])
    meter.read()
    return meter


def _batteries(folder: Path) -> Iterator[Path]:
    """Those of the device itself, not those of its mouse."""
    for each in sorted(folder.glob("*")):
        is_peripheral = (read_text(each / "scope") or "").lower() == "device"
        if _type(each) == "battery" and not is_peripheral and read_optional(each / "present") != 0:
            yield each


def _type(supply: Path) -> str:
    return (read_text(supply / "type") or "").lower()


def _power_w(battery: Path) -> float:
    power, current = battery / "power_now", battery / "current_now"
    if read_optional(power, unit="uW") or not current.exists():
        return abs(read_whole(power, unit="uW")) * _MICRO
    return abs(read_whole(current, unit="uA")) * _MICRO * read_whole(battery / "voltage_now", unit="uV") * _MICRO
