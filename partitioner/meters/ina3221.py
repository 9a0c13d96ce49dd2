"""INA3221 chips: what a Jetson's own sensors tell of its rails.

JetPack 5 and later (``hwmon``): volts in ``in{n}_input`` (mV) and amperes in ``curr{n}_input`` (mA), named by
``in{n}_label``. JetPack 4 (``iio``): ``in_power{n}_input`` (mW), named by ``rail_name_{n}``. AGX Thor has an INA238
beside them for its input, with ``power1_input`` (uW). Channels 4 to 7 of an INA3221 are shunt voltages and their sum:
no rails.

A chip measures its channels in turn and averages: a new value comes after channels x samples x (bus + shunt conversion
time). The driver's ``update_interval`` is that whole time (drivers/hwmon/ina3221.c, ina3221_reg_to_interval_us); one
that is too short to hold so many samples is the time of one, and is multiplied. The shunt's step of 40 uV is the
current's.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from partitioner.meters import MeterError, MeterInfo, Reading
from partitioner.meters.rails import counted, is_connected
from partitioner.meters.sysfs import read_optional, read_text, read_whole

KIND = "ina3221"
LONGEST_PERIOD_S = 0.422
"""Of a chip that does not tell: the longest of the known boards."""
_LONGEST_INTERVAL_MS = 60_000
"""Three channels, 1024 samples and the slowest conversions take 50.7 s: what is longer is no interval."""
_CHIPS = ("ina3221", "ina238")
_CHANNELS = 3
_SHORTEST_CONVERSION_S = 2 * 140e-6
_SHUNT_STEP_UV = 40
_CONVERSION_S = tuple(step * 1e-6 for step in (140, 204, 332, 588, 1100, 2116, 4156, 8244))
_SAMPLES = (1, 4, 16, 64, 128, 256, 512, 1024)
_LABEL = re.compile(r"in([123])_label")
_ROUNDING_MS = 0.5
_SCALES = {"mV": 1e-3, "mA": 1e-3, "mW": 1e-3, "uW": 1e-6}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rail:
    """One rail: its power is the product of what the files hold, each in its unit."""

    name: str
    files: tuple[tuple[Path, str], ...]
    period_s: float
    shunt_uohm: int | None = None

    def read_w(self) -> float:
        """Read it now; a current may be a little below zero, a voltage may not."""
        power = 1.0
        for path, unit in self.files:
            value = read_whole(path, unit=unit)
            if unit == "mV" and value < 0:
                raise MeterError(f"{path} tells {value} mV")
            power *= value * _SCALES[unit]
        return power

    def step_w(self) -> float:
        """What one step of the shunt's voltage is worth at the voltage of now; 0 where nobody knows."""
        if self.shunt_uohm is None or self.shunt_uohm <= 0:
            return 0.0
        return _SHUNT_STEP_UV / self.shunt_uohm * max(0, read_whole(self.files[0][0], unit="mV")) * 1e-3


class Ina3221:
    """The power of a board, from the rails that make it up."""

    def __init__(self, rails: list[Rail]) -> None:
        self._rails = rails
        names = " + ".join(rail.name for rail in rails)
        steps_w = [rail.step_w() for rail in rails]
        self.info = MeterInfo(
            kind=KIND,
            source=f"rail {names}" if len(rails) == 1 else f"rails {names}",
            scope="board",
            period_s=max(rail.period_s for rail in rails),
            step_w=sum(steps_w) if all(steps_w) else 0.0,
        )

    def read(self) -> Reading:
        """Read all rails, one after the other.

        Raises:
            MeterError: a rail cannot be read, or a board that runs draws nothing or less.
        """
        begin_s = time.perf_counter()
        power_w = sum(rail.read_w() for rail in self._rails)
        end_s = time.perf_counter()
        if power_w <= 0:
            raise MeterError(f"{KIND} tells {power_w:.3g} W of a board that runs: {self.info.source}")
        return Reading(begin_s=begin_s, end_s=end_s, power_w=power_w)

    def close(self) -> None:
        """Nothing is held."""


def find(root: Path) -> Ina3221:
    """The sensors of this Jetson.

    Raises:
        MeterError: there are none, or they cannot be read.
    """
    rails = [rail for folder in _chips(root) for rail in _rails(folder)]
    if not rails:
        raise MeterError(f"no INA3221 under {root / 'sys/bus/i2c/devices'}: this is no Jetson with sensors")
    meter = Ina3221([rails[number] for number in counted([rail.name for rail in rails])])
    meter.read()
    return meter


def _chips(root: Path) -> Iterator[Path]:
    for name in sorted((root / "sys/bus/i2c/devices").glob("*/name")):
        if any(chip in (read_text(name) or "") for chip in _CHIPS):
            yield name.parent


def _rails(chip: Path) -> Iterator[Rail]:
    for folder in sorted(chip.glob("hwmon/hwmon*")):
        yield from _hwmon_rails(folder)
    for folder in sorted(chip.glob("iio:device*")):
        yield from _iio_rails(folder, period_s=_configured_period_s(chip))


def _hwmon_rails(folder: Path) -> Iterator[Rail]:
    if (power := folder / "power1_input").exists():
        name = read_text(folder / "in1_label") or read_text(folder / "label") or ""
        interval_ms = _interval_ms(folder)
        period_s = interval_ms * 1e-3 if interval_ms else LONGEST_PERIOD_S
        yield Rail(name=name, files=((power, "uW"),), period_s=period_s)
        return
    enabled = [number for number in range(1, _CHANNELS + 1) if read_optional(folder / f"in{number}_enable") != 0]
    period_s = _period_s(folder, channels=len(enabled))
    for label in sorted(folder.glob("in*_label")):
        found, name = _LABEL.fullmatch(label.name), read_text(label) or ""
        if found is None or int(found[1]) not in enabled or not is_connected(name):
            continue
        number = found[1]
        yield Rail(
            name=name,
            files=((folder / f"in{number}_input", "mV"), (folder / f"curr{number}_input", "mA")),
            period_s=period_s,
            shunt_uohm=read_optional(folder / f"shunt{number}_resistor"),
        )


def _period_s(folder: Path, *, channels: int) -> float:
    """How long a chip takes for a new value of every channel."""
    interval_ms = _interval_ms(folder)
    samples = min(max(1, read_optional(folder / "samples") or 1), _SAMPLES[-1])
    shortest_s = channels * samples * _SHORTEST_CONVERSION_S
    if interval_ms is None:
        return LONGEST_PERIOD_S
    holds_all = (interval_ms + _ROUNDING_MS) * 1e-3 >= shortest_s
    return max(interval_ms * 1e-3 * (1 if holds_all else samples), shortest_s)


def _interval_ms(folder: Path) -> int | None:
    told_ms = read_optional(folder / "update_interval", unit="ms")
    return told_ms if told_ms is not None and 0 <= told_ms <= _LONGEST_INTERVAL_MS else None


def _iio_rails(folder: Path, *, period_s: float) -> Iterator[Rail]:
    for label in sorted(folder.glob("rail_name_*")):
        number, name = label.name.removeprefix("rail_name_"), read_text(label) or ""
        if is_connected(name):
            yield Rail(name=name, files=((folder / f"in_power{number}_input", "mW"),), period_s=period_s)


def _configured_period_s(chip: Path) -> float:
    """The period by the chip's configuration register, as the device tree sets it."""
    try:
        register = int.from_bytes((chip / "of_node/ti,continuous-config").read_bytes(), "big") & 0xFFFF
    except OSError:
        return LONGEST_PERIOD_S
    channels = (register >> 12 & 7).bit_count()
    conversion_s = _CONVERSION_S[register >> 6 & 7] + _CONVERSION_S[register >> 3 & 7]
    return channels * _SAMPLES[register >> 9 & 7] * conversion_s or LONGEST_PERIOD_S
