"""The Raspberry Pi 5's power chip, as ``vcgencmd pmic_read_adc`` tells: volts and amperes of twelve rails.

What hangs on the 5 V input itself (USB, HATs, a drive) passes none of these rails, and conversion loses some more. A
line that was fitted against a meter in the supply makes the board's power of their sum; a fit of one's own is given as
``CLEFT_PMIC_FIT=1.1451,0.5879``, a factor and watts. The input has a voltage and no current, and counts for nothing.

Each reading starts a process, which takes some 25 ms, so few are asked for. Both forms of output are read:
``VDD_CORE_A current(7)=0.56A`` and ``VDD_CORE_A=0.56A``.

Source: jfikar, "RPi5-power" (github.com/jfikar/RPi5-power), with the fit and recorded output.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from partitioner.environment import PREFIX
from partitioner.meters import MeterError, MeterForbidden, MeterInfo, Reading

PLACES = ("usr/bin/vcgencmd", "usr/local/bin/vcgencmd", "opt/vc/bin/vcgencmd")
PERIOD_S = 0.2
"""How often a new value is worth a process of its own."""
TIMEOUT_S = 2.0
FIT_VARIABLE = f"{PREFIX}PMIC_FIT"
_LINE = re.compile(r"\s*(\w+)_([AV])(?:\s+(?:current|volt)\(\d+\))?\s*=\s*(\S+?)[AV]?\s*")
_INPUT = "EXT5V"
_CORE = "VDD_CORE"
_MOST_W = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The board's power from the sum of its rails: ``factor`` times it, and ``offset_w`` more."""

    factor: float = 1.1451
    offset_w: float = 0.5879
    origin: str = "published fit"

    def board_w(self, rails_w: float) -> float:
        """Power of the whole board."""
        return rails_w * self.factor + self.offset_w


def parse(text: str) -> dict[str, float]:
    """The power of each rail that has both a voltage and a current.

    Raises:
        MeterError: a value is no number, or negative; or the processor's own rail is not among them.
    """
    found: dict[str, dict[str, float]] = {"A": {}, "V": {}}
    for line in text.splitlines():
        if (matched := _LINE.fullmatch(line)) is not None:
            found[matched[2]][matched[1]] = _value(line, matched[3])
    rails = {
        rail: found["V"][rail] * amps for rail, amps in found["A"].items() if rail in found["V"] and rail != _INPUT
    }
    if _CORE not in rails:
        said = " ".join(text.split())[:80]
        raise MeterError(f"vcgencmd pmic_read_adc tells no current and voltage of {_CORE}, but {said!r}")
    return rails


class Pmic:
    """The power of the board, from its rails."""

    def __init__(self, command: Path, fit: Fit) -> None:
        """Reads once, to see that it can.

        Raises:
            MeterError: it cannot.
        """
        self._command = command
        self._fit = fit
        rails = parse(self._ask())
        self.info = MeterInfo(
            kind="pmic",
            source=f"{len(rails)} rails x {fit.factor:g} + {fit.offset_w:g} W ({fit.origin})",
            scope="board",
            period_s=PERIOD_S,
        )

    def read(self) -> Reading:
        """The power now.

        Raises:
            MeterError: it cannot be read, or tells what cannot be.
        """
        begin_s = time.perf_counter()
        text = self._ask()
        end_s = time.perf_counter()
        power_w = self._fit.board_w(sum(parse(text).values()))
        if not 0 < power_w <= _MOST_W:
            raise MeterError(f"the rails tell {power_w:.3g} W, which no such board takes")
        return Reading(begin_s=begin_s, end_s=end_s, power_w=power_w)

    def close(self) -> None:
        """Nothing is held."""

    def _ask(self) -> str:
        try:
            done = subprocess.run(
                [self._command, "pmic_read_adc"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise MeterError(f"vcgencmd said nothing for {TIMEOUT_S:g} s") from error
        except OSError as error:
            raise MeterError(f"{self._command} cannot be run: {error.strerror}") from error
        said = " ".join(f"{done.stdout} {done.stderr}".split())
        if "not registered" in said:
            raise MeterError("this Raspberry Pi has no power sensor; the Pi 5 is the first with one")
        if done.returncode or "error=" in done.stdout or "failed to open" in said.lower():
            reason = said[:80] or done.returncode
            raise MeterForbidden(f"vcgencmd failed ({reason}): run as root, or join the group video")
        return done.stdout


def find(root: Path) -> Pmic:
    """The power chip of the Raspberry Pi below ``root``.

    Raises:
        MeterError: there is none, it may not be read, or ``CLEFT_PMIC_FIT`` is no fit.
    """
    for place in PLACES:
        if (command := root / place).is_file():
            return Pmic(command, _fit(os.environ.get(FIT_VARIABLE, "")))
    raise MeterError("there is no vcgencmd; this is no Raspberry Pi")


def _fit(text: str) -> Fit:
    if not text.strip():
        return Fit()
    try:
        factor, offset_w = (float(part) for part in text.split(","))
    except ValueError:
        factor = offset_w = math.nan
    if not (0 < factor < math.inf and math.isfinite(offset_w)):
        raise MeterError(f"{FIT_VARIABLE}={text!r} is no fit: give a factor over 0 and watts, such as 1.1451,0.5879")
    return Fit(factor=factor, offset_w=offset_w, origin="fit of your own")


def _value(line: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise MeterError(f"vcgencmd tells {' '.join(line.split())!r}, which is no current or voltage")
    return value
