"""A board whose power follows what a thread of this process really computes, so that recovered joules can be checked.

A thread reads the CPU clock of the watched thread and the wall clock every few milliseconds, and writes what a sensor
would show of the time between: the power at rest, and as much more as the share of that time in which the watched
thread computed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from partitioner.meters import Meter, Reading
from partitioner.plan import Segment
from partitioner.runtimes import Array, Engine, RunnableSegment
from tests.recorded_boards import put

INA3221 = "sys/bus/i2c/devices/1-0040"
RAPL = "sys/class/powercap/intel-rapl:0"

SUPPLY_MV = 5000
STEP_MA = 8
RANGE_UJ = 262_143_328_850
LEFT_UJ = 3_000_000
"""Until the counter starts over."""


class LiveBoard:
    """Rewrites the files below a root while its block runs: an INA3221's rail, or a package's counter that wraps."""

    def __init__(self, root: Path, kind: str, *, rest_w: float, work_w: float, period_s: float = 0.004) -> None:
        self.root = root
        self.rest_w, self.work_w = rest_w, work_w
        self.turns = 0
        self._kind = kind
        self._period_s = period_s
        self._total_uj = RANGE_UJ - LEFT_UJ
        self._clock = time.pthread_getcpuclockid(threading.get_ident())
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live-board", daemon=True)
        self._last_s = self._times_s()
        self._put_tree()

    def __enter__(self) -> LiveBoard:
        self._last_s = self._times_s()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _put_tree(self) -> None:
        if self._kind == "rapl":
            put(self.root, f"{RAPL}/name", "package-0")
            put(self.root, f"{RAPL}/max_energy_range_uj", RANGE_UJ)
            put(self.root, f"{RAPL}/energy_uj", self._total_uj)
            return
        put(self.root, f"{INA3221}/name", "ina3221")
        rail = f"{INA3221}/hwmon/hwmon1"
        put(self.root, f"{rail}/in1_label", "VDD_IN")
        put(self.root, f"{rail}/in1_input", SUPPLY_MV)
        put(self.root, f"{rail}/shunt1_resistor", 40 * 1000 // STEP_MA)
        put(self.root, f"{rail}/update_interval", round(self._period_s * 1e3))
        put(self.root, f"{rail}/samples", 1)
        self._put_power(self.rest_w)

    def _put_power(self, power_w: float) -> None:
        milliamperes = STEP_MA * round(power_w / SUPPLY_MV * 1e6 / STEP_MA)
        put(self.root, f"{INA3221}/hwmon/hwmon1/curr1_input", milliamperes)

    def refresh(self) -> None:
        """Show what was drawn since it was last shown."""
        (last_s, last_cpu_s), self._last_s = self._last_s, self._times_s()
        passed_s, cpu_s = self._last_s[0] - last_s, self._last_s[1] - last_cpu_s
        power_w = self.rest_w + min(1.0, cpu_s / max(passed_s, 1e-9)) * (self.work_w - self.rest_w)
        if self._kind == "rapl":
            self._total_uj += round(power_w * passed_s * 1e6)
            self.turns = self._total_uj // (RANGE_UJ + 1)
            put(self.root, f"{RAPL}/energy_uj", self._total_uj % (RANGE_UJ + 1))
        else:
            self._put_power(power_w)

    def _times_s(self) -> tuple[float, float]:
        return time.perf_counter(), time.clock_gettime(self._clock)

    def _run(self) -> None:
        while not self._ended.wait(self._period_s):
            self.refresh()


class Refreshed:
    """A meter of a board that shows what is true at each reading, as drivers do, however late a thread wakes."""

    def __init__(self, board: LiveBoard, meter: Meter) -> None:
        self.info = meter.info
        self._board, self._meter = board, meter

    def read(self) -> Reading:
        self._board.refresh()
        return self._meter.read()

    def close(self) -> None:
        self._meter.close()


@dataclass(slots=True)
class Spent:
    """What the runs of a segment took, by clocks of the test's own."""

    runs: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0


@dataclass(slots=True)
class CountingSegment:
    """A segment that is run back to back: what it takes, with what lies between its runs."""

    inner: RunnableSegment
    spent: Spent
    last_s: tuple[float, float] | None = None

    def __call__(self, tensors: Mapping[str, Array]) -> dict[str, Array]:
        wall_s, cpu_s = self.last_s or (time.perf_counter(), time.thread_time())
        made = self.inner(tensors)
        self.last_s = time.perf_counter(), time.thread_time()
        self.spent.wall_s += self.last_s[0] - wall_s
        self.spent.cpu_s += self.last_s[1] - cpu_s
        self.spent.runs += 1
        return made

    def settle(self) -> None:
        self.inner.settle()


@dataclass(slots=True)
class CountingEngine:
    """An engine that says what each segment took; ``order`` are the segments as they were asked for."""

    inner: Engine
    spent: dict[tuple[str, ...], Spent] = field(default_factory=dict)
    order: list[tuple[str, ...]] = field(default_factory=list)

    def segment(self, segment: Segment) -> CountingSegment:
        self.order.append(segment.outputs)
        spent = self.spent.setdefault(segment.outputs, Spent())
        return CountingSegment(self.inner.segment(segment), spent)
