"""Traces that come with the program, by name; each is drawn anew from a seed.

``steps``     50 Mbit/s for 10 s, then 2 for 10 s, over and over; round trip 20 ms.
``sawtooth``  1 to 50 Mbit/s and back in even ratios, 20 s each way, a step each half second; round trip 20 ms.
``drive``     two minutes on the road: each half second the rate is drawn from the one before it (a log-normal walk
              about 12 Mbit/s, 0.5 to 60), the round trip is 40 to 120 ms, and three outages last 2 to 6 s each. The
              shape follows LTE as seen from cars (Winstein et al., "Sprout", NSDI 2013): seconds of correlation, a
              tenfold range, and stretches in which nothing moves.
``noise``     20 Mbit/s, times 0.8 to 1.2 anew each 0.2 s; round trip 20 ms.
``jitter``    20 Mbit/s, each way 20 +- 20 ms for 30 s, then 200 +- 100 ms for 30 s, anew each 50 ms.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence

from edge.simulate.steps import Steps
from edge.simulate.trace import DEFAULT_RTT_S, Trace
from partitioner.errors import UsageError
from partitioner.link import BYTES_PER_MBIT
from partitioner.planner import DOWN_PER_UP

_DRIVE_S = 120.0
_DRIVE_STEP_S = 0.5
_DRIVE_MEAN_MBIT = 12.0
_DRIVE_BOUNDS_MBIT = (0.5, 60.0)
_OUTAGES = 3


def builtin_trace(name: str, *, seed: int = 0) -> Trace:
    """The trace of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in BUILTIN:
        raise UsageError(f"no trace {name!r}: give a file, or one of {', '.join(BUILTIN)}")
    return BUILTIN[name](random.Random(f"{name} {seed}"))


def _steps(_draw: random.Random) -> Trace:
    return _trace("steps", 10.0, [50.0, 2.0])


def _sawtooth(_draw: random.Random) -> Trace:
    rising = [50.0 ** (index / 40) for index in range(40)]
    return _trace("sawtooth", 0.5, [*rising, 50.0, *reversed(rising[1:])])


def _noise(draw: random.Random) -> Trace:
    return _trace("noise", 0.2, [20.0 * draw.uniform(0.8, 1.2) for _ in range(600)])


def _jitter(draw: random.Random) -> Trace:
    near = [draw.uniform(0.0, 0.04) for _ in range(600)]
    far = [draw.uniform(0.1, 0.3) for _ in range(600)]
    return _trace("jitter", 0.05, [20.0] * 1200, delays_s=near + far)


def _drive(draw: random.Random) -> Trace:
    count = round(_DRIVE_S / _DRIVE_STEP_S)
    low, high = _DRIVE_BOUNDS_MBIT
    mbit: list[float] = []
    level = 0.0
    for _ in range(count):
        level = 0.9 * level + draw.gauss(0.0, 0.4)
        mbit.append(min(max(_DRIVE_MEAN_MBIT * math.exp(level), low), high))
    for index in range(_OUTAGES):
        begin = round((index + draw.uniform(0.2, 0.6)) * count / _OUTAGES)
        for step in range(begin, begin + round(draw.uniform(2.0, 6.0) / _DRIVE_STEP_S)):
            mbit[step] = 0.0
    return _trace("drive", _DRIVE_STEP_S, mbit, delays_s=[draw.uniform(0.02, 0.06) for _ in range(count)])


def _trace(name: str, step_s: float, up_mbit: Sequence[float], *, delays_s: Sequence[float] | None = None) -> Trace:
    length_s = step_s * len(up_mbit)
    starts_s = [step_s * index for index in range(len(up_mbit))]
    up = Steps(starts_s, [each * BYTES_PER_MBIT for each in up_mbit], period_s=length_s)
    constant = Steps.constant(DEFAULT_RTT_S / 2)
    delay_s = constant if delays_s is None else Steps(starts_s, delays_s, period_s=length_s)
    return Trace(name=name, up=up.merged(), down=up.scaled(DOWN_PER_UP).merged(), delay_s=delay_s, length_s=length_s)


BUILTIN: Mapping[str, Callable[[random.Random], Trace]] = {
    "steps": _steps,
    "sawtooth": _sawtooth,
    "drive": _drive,
    "noise": _noise,
    "jitter": _jitter,
}
"""Traces by name."""
