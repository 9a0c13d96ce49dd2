"""What a meter of the user's own says: a number in a line of CSV, in JSON or alone, with its unit. No file, no socket.

The unit stands at the end of a name (``power_w``, ``Power (mW)``, ``energy_kwh``), or behind the number; ``power``
alone is watts. Where several numbers have one, power goes before energy, and one of several powers has to be picked:
``#apower`` or ``#switch.0.apower`` behind the meter's name.

A value that is pushed holds until the next one comes, like that of a sensor, and for no longer than a few periods: a
meter that fell silent must not be taken for a device that draws the same all the time.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from partitioner.meters import MeterError, Reading

MOST_CHARS = 64 * 1024
PATIENCE_S = 10.0
"""How long a meter may take for its first values."""
ARRIVALS = 3
"""So many times must something have come before the period is known."""
SILENT_S = 5.0
SILENT_PERIODS = 10

_POWER_UNITS = {"w": 1.0, "watt": 1.0, "watts": 1.0, "mw": 1e-3, "milliwatts": 1e-3, "uw": 1e-6, "kw": 1e3}
_ENERGY_UNITS = {"j": 1.0, "joule": 1.0, "joules": 1.0, "mj": 1e-3, "uj": 1e-6, "kj": 1e3, "wh": 3600.0, "kwh": 3.6e6}
_POWER_NAMES = ("power", "apower", "activepower")
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([A-Za-z]*)", re.IGNORECASE)
_SHOWN = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """What a meter said: watts now, or joules so far."""

    power_w: float | None = None
    counter_j: float | None = None

    def reading(self, begin_s: float, end_s: float) -> Reading:
        """The value as it holds between two times."""
        return Reading(begin_s=begin_s, end_s=end_s, power_w=self.power_w, counter_j=self.counter_j)


MOST_W = 1e6
MOST_J = 1e15
"""A megawatt, and what it makes in thirty years: more is no device, but a number of something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What a number is of, and how many watts or joules one of it is."""

    is_power: bool
    scale: float

    def value(self, number: float) -> Value:
        """The number in watts or joules.

        Raises:
            MeterError: it is negative, no number, or more than any device takes.
        """
        if number < 0:
            raise MeterError(f"it tells {number:g}; power and energy are 0 or more (is it wired the wrong way round?)")
        scaled = number * self.scale
        if not scaled <= (MOST_W if self.is_power else MOST_J):
            raise MeterError(f"it tells {number:g}, which is no power or energy of a device")
        return Value(power_w=scaled) if self.is_power else Value(counter_j=scaled)


WATTS = Unit(is_power=True, scale=1.0)


def unit_of(name: str) -> Unit | None:
    """The unit that a name ends in, if any."""
    words = re.findall(r"[a-z]+", name.lower())
    last = words[-1] if words else ""
    if last in _POWER_UNITS:
        return Unit(is_power=True, scale=_POWER_UNITS[last])
    if last in _ENERGY_UNITS:
        return Unit(is_power=False, scale=_ENERGY_UNITS[last])
    return WATTS if "".join(words) in _POWER_NAMES else None


def chosen(names: Iterable[str], pick: str) -> tuple[str, Unit]:
    """Which of these names to take, and its unit; what is picked without a unit is watts.

    Raises:
        MeterError: none of them will do, or several.
    """
    found = list(names)
    if pick:
        fitting = [name for name in found if name == pick] or [name for name in found if name.endswith(f".{pick}")]
        if len(fitting) != 1:
            raise MeterError(f"{len(fitting) or 'none'} of its values {_listed(fitting or found)} is #{pick}: pick one")
        return fitting[0], unit_of(_last(fitting[0])) or WATTS
    units = {name: unit for name in found if (unit := unit_of(_last(name))) is not None}
    for is_power in (True, False):
        fitting = [name for name, unit in units.items() if unit.is_power == is_power]
        if len(fitting) == 1:
            return fitting[0], units[fitting[0]]
        if fitting:
            raise MeterError(f"it tells {_listed(fitting)}: pick one, as in #{fitting[0]}")
    raise MeterError(f"none of its values {_listed(found)} has a unit in its name: pick one, as in #NAME")


def value_in(text: str | bytes, pick: str = "") -> Value:
    """The value in a message: a number alone or with its unit, or JSON.

    Raises:
        MeterError: there is none, or it is not clear which.
    """
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    if len(text) > MOST_CHARS:
        raise MeterError(f"it says more than {MOST_CHARS} characters")
    if (plain := _NUMBER.fullmatch(text.strip())) is not None and not pick:
        unit = unit_of(plain[2]) if plain[2] else WATTS
        if unit is None:
            raise MeterError(f"it says {text.strip()[:_SHOWN]!r}, whose unit is neither of power nor of energy")
        return unit.value(float(plain[1]))
    try:
        numbers = dict(_numbers(json.loads(text)))
    except (ValueError, RecursionError) as error:
        raise MeterError(f"it says {text.strip()[:_SHOWN]!r}, which is neither a number nor JSON") from error
    if list(numbers) == [""] and not pick:
        return WATTS.value(numbers[""])
    name, unit = chosen(numbers, pick)
    return unit.value(numbers[name])


class Columns:
    """The header of CSV, or none where there is a single column of watts; tells the value in a row."""

    def __init__(self, first_line: str, pick: str = "") -> None:
        """Reads the header.

        Raises:
            MeterError: no column is to be taken, or several.
        """
        self._separator = next((each for each in ("\t", ";", ",") if each in first_line), ",")
        cells = self._cells(first_line)
        self.has_header = _number(cells[0]) is None or any(_number(cell) is None for cell in cells)
        if not self.has_header and (len(cells) > 1 or pick):
            raise MeterError("its columns have no names: write a first line such as time,power_w")
        self._place, self._unit, self.name = 0, WATTS, "watts"
        if self.has_header:
            self.name, self._unit = chosen(cells, pick)
            self._place = cells.index(self.name)

    def value(self, line: str) -> Value:
        """The value in a row.

        Raises:
            MeterError: the row is too short, or holds no number there.
        """
        cells = self._cells(line)
        number = _number(cells[self._place]) if self._place < len(cells) else None
        if number is None:
            raise MeterError(f"its line {line[:_SHOWN]!r} has no number for {self.name}")
        return self._unit.value(number)

    def _cells(self, line: str) -> list[str]:
        cells = [cell.strip().strip('"') for cell in line.split(self._separator)]
        return cells if self._separator == "," else [cell.replace(",", ".") for cell in cells]


class Arrivals:
    """When values came: how far apart they are, and whether it has been too long since the last. No clock inside."""

    def __init__(self) -> None:
        self._times_s: list[float] = []
        self._counts: list[int] = []
        self.period_s = 0.0

    @property
    def are_enough(self) -> bool:
        """Whether the period is known."""
        return len(self._times_s) >= ARRIVALS

    def note(self, at_s: float, count: int = 1) -> None:
        """So many values have come together."""
        if not self.are_enough:
            self._counts.append(count)
            self._times_s.append(at_s)
            self.period_s = self._period_s()
        else:
            self._times_s[-1] = at_s

    def check(self, now_s: float) -> None:
        """Refuse a meter that fell silent.

        Raises:
            MeterError: nothing has come for several periods.
        """
        silent_s = now_s - self._times_s[-1]
        if silent_s > max(SILENT_S, SILENT_PERIODS * self.period_s):
            raise MeterError(f"it has said nothing for {silent_s:.0f} s")

    def _period_s(self) -> float:
        """What came together came at one pace; a gap counts as many values as it ended in."""
        pairs = zip(self._times_s, self._times_s[1:], self._counts[1:], strict=False)
        gaps = [(later - earlier) / count for earlier, later, count in pairs]
        return statistics.median(gaps) if gaps else 0.0


def split_pick(argument: str) -> tuple[str, str]:
    """What stands before the last ``#``, and what is picked behind it."""
    before, sharp, pick = argument.rpartition("#")
    return (before, pick) if sharp else (argument, "")


def _numbers(value: object, path: str = "") -> Iterator[tuple[str, float]]:
    """Every number in JSON, under the names that lead to it; a number in quotes is one too."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _numbers(item, f"{path}.{place}" if path else str(place))
    elif isinstance(value, int | float | str) and not isinstance(value, bool):
        number = _number(str(value))
        if number is not None:
            yield path, number


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number


def _last(path: str) -> str:
    """The name at the end of a path that may end in places of a list."""
    return next((part for part in reversed(path.split(".")) if not part.isdigit()), path)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:6]) or "(nothing)"
    return f"{shown}, ..." if len(names) > 6 else shown
