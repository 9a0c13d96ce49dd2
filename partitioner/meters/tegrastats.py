"""``tegrastats``: NVIDIA's own monitor of a Jetson, read as it prints; for where the sensors' files cannot be.

A line names each rail with its power now and its mean since the start, ``VDD_IN 4970mW/4970mW`` (JetPack 5 and later)
or ``POM_5V_IN 2003/2003`` (JetPack 4); only what is now counts. The process runs for as long as the meter is open.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

from partitioner.meters import MeterError, MeterInfo, Reading
from partitioner.meters.rails import counted

KIND = "tegrastats"
PERIOD_S = 0.1
FIRST_LINE_S = 5.0
STALE_S = 2.0
"""A line that is older than this tells nothing of now."""
_GRACE_S = 2.0
_PLACES = ("usr/bin/tegrastats", "usr/sbin/tegrastats", "home/nvidia/tegrastats")
_RAIL = re.compile(r"(?<!\S)([A-Z][A-Z0-9_]*) (?:(-?[0-9]+)mW(?:/-?[0-9]+mW)?|(-?[0-9]+)/-?[0-9]+)(?!\S)")


def parse_rails(line: str) -> dict[str, float]:
    """The rails of one line, each with its watts of now."""
    return {name: int(modern or older) * 1e-3 for name, modern, older in _RAIL.findall(line)}


class Tegrastats:
    """The power of a board, from the newest line."""

    def __init__(self, program: Path) -> None:
        """Start the program and wait for its first line.

        Raises:
            MeterError: it does not start, or names no rails.
        """
        self._latest: tuple[float, dict[str, float]] | None = None
        self._is_ready = threading.Event()
        try:
            self._process = subprocess.Popen(
                [os.fspath(program), "--interval", f"{PERIOD_S * 1e3:.0f}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise MeterError(f"{program}: {error.strerror}") from error
        self._thread = threading.Thread(target=self._follow, name="cleft-tegrastats", daemon=True)
        self._thread.start()
        try:
            self._is_ready.wait(FIRST_LINE_S)
            names = list(self._rails())
            if not names:
                raise MeterError(f"{program} names no power rails: run as root, or this board has no sensors")
        except BaseException:
            self.close()
            raise
        self._counted = [names[number] for number in counted(names)]
        rails = f"rail{'s' if len(self._counted) > 1 else ''} {' + '.join(self._counted)}"
        self.info = MeterInfo(kind=KIND, source=rails, scope="board", period_s=PERIOD_S)

    def read(self) -> Reading:
        """What the newest line tells.

        Raises:
            MeterError: the program ended or fell silent, or a board that runs draws nothing or less.
        """
        begin_s = time.perf_counter()
        rails = self._rails()
        if missing := [name for name in self._counted if name not in rails]:
            raise MeterError(f"{KIND} does not tell of {', '.join(missing)} any more")
        power_w = sum(rails[name] for name in self._counted)
        if power_w <= 0:
            raise MeterError(f"{KIND} tells {power_w:.3g} W of a board that runs: {self.info.source}")
        return Reading(begin_s=begin_s, end_s=time.perf_counter(), power_w=power_w)

    def close(self) -> None:
        """End the program, and whatever it started, which would hold its output open."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(self._process.pid, signal.SIGTERM)
                self._process.wait(_GRACE_S)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._thread.join()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _follow(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._latest = (time.perf_counter(), parse_rails(line))
            self._is_ready.set()
        self._is_ready.set()

    def _rails(self) -> dict[str, float]:
        latest = self._latest
        if latest is None or not self._thread.is_alive():
            raise MeterError(f"{KIND} ended, or told nothing for {FIRST_LINE_S:g} s")
        age_s = time.perf_counter() - latest[0]
        if age_s > STALE_S:
            raise MeterError(f"{KIND} is stuck: its newest line is {age_s:.1f} s old")
        return latest[1]


def find(root: Path) -> Tegrastats:
    """The monitor of this Jetson, started.

    Raises:
        MeterError: it is not installed, or tells of no rails.
    """
    for place in _PLACES:
        if (program := root / place).is_file():
            return Tegrastats(program)
    raise MeterError(f"no {_PLACES[0]} here: this is no Jetson")
