"""RAPL: the energy that an x86 processor counts for each of its packages, through the kernel's powercap files.

``energy_uj`` counts microjoules in steps of the processor's unit, anew about every millisecond, and starts over after
``max_energy_range_uj``. One turn is added back; whether there were two between reads is nowhere to be seen. A package
that draws at most ``MOST_W`` is therefore to be read every range / ``MOST_W`` seconds, which is 262 s at the usual
262 kJ (``MeterInfo.safe_s``).

Packages alone are summed: cores and graphics are part of them, and ``psys`` counts them again. Memory that has a zone
of its own is left out. AMD's processors show the same files.

Source: Documentation/power/powercap/powercap.rst; Intel SDM volume 3B, 15.10 (RAPL interfaces).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from partitioner.meters import MeterError, MeterInfo, Reading
from partitioner.meters.sysfs import read_text, read_whole

KIND = "rapl"
MOST_W = 1000.0
"""No package draws more for long."""
PERIOD_S = 1e-3
_SLACK_S = 0.1
"""Of the counter's own updates, in telling a turn from a counter that was reset."""
_COUNTS = 2**32
_UNIT_J = 1e-6


class Zone:
    """The counter of one package, without its turns."""

    def __init__(self, folder: Path) -> None:
        self.name = read_text(folder / "name") or folder.name
        self._path = folder / "energy_uj"
        self._range_uj = read_whole(folder / "max_energy_range_uj")
        if self._range_uj <= 0:
            raise MeterError(f"{folder / 'max_energy_range_uj'} holds {self._range_uj}: turns of it cannot be told")
        self._last_uj = self._read_uj()
        self._last_s = time.perf_counter()
        self._total_uj = 0

    @property
    def range_j(self) -> float:
        """After how much it starts over."""
        return self._range_uj * _UNIT_J

    def read_j(self) -> float:
        """Joules since it was opened.

        Raises:
            MeterError: it cannot be read, or moved by more than a package can draw.
        """
        now_uj, now_s = self._read_uj(), time.perf_counter()
        added_uj = now_uj - self._last_uj
        if added_uj < 0:
            added_uj += self._range_uj
        if added_uj * _UNIT_J > MOST_W * (now_s - self._last_s + _SLACK_S):
            raise MeterError(
                f"{self._path} went from {self._last_uj} to {now_uj} in {now_s - self._last_s:.3f} s: it was reset"
            )
        self._total_uj += added_uj
        self._last_uj, self._last_s = now_uj, now_s
        return self._total_uj * _UNIT_J

    def _read_uj(self) -> int:
        value_uj = read_whole(self._path)
        if not 0 <= value_uj <= self._range_uj:
            raise MeterError(f"{self._path} holds {value_uj}, out of its range of {self._range_uj}")
        return value_uj


class Rapl:
    """The energy of all packages together."""

    def __init__(self, zones: list[Zone]) -> None:
        self._zones = zones
        self.info = MeterInfo(
            kind=KIND,
            source=" + ".join(zone.name for zone in zones),
            scope="package",
            period_s=PERIOD_S,
            step_j=sum(max(zone.range_j / _COUNTS, _UNIT_J) for zone in zones),
            safe_s=min(zone.range_j for zone in zones) / MOST_W,
        )

    def read(self) -> Reading:
        """Read all packages, one after the other.

        Raises:
            MeterError: one cannot be read, or tells what cannot be.
        """
        begin_s = time.perf_counter()
        counter_j = sum(zone.read_j() for zone in self._zones)
        return Reading(begin_s=begin_s, end_s=time.perf_counter(), counter_j=counter_j)

    def close(self) -> None:
        """Nothing is held."""


def find(root: Path) -> Rapl:
    """The packages of this machine.

    Raises:
        MeterError: it counts none, or does not let us read them.
    """
    folder = root / "sys/class/powercap"
    packages = list(_packages(folder))
    if not packages:
        raise MeterError(f"no packages under {folder}: this is no x86, its driver is not loaded, or a guest sees none")
    return Rapl([Zone(package) for package in packages])


def _packages(folder: Path) -> Iterator[Path]:
    for zone in sorted(folder.glob("intel-rapl:*")):
        if (read_text(zone / "name") or "").startswith("package"):
            yield zone
