"""A short race of runtimes over one bundle: the whole model, turn by turn, and the median of each.

``python -m partitioner.runtimes.race BUNDLE DEVICE THREADS RUNTIME... [--allow-ops A]`` prints seconds by runtime as
JSON. It runs as a child process: importing torch to find out that it is slower would cost a device 200 MiB for good.
"""

from __future__ import annotations

import json
import logging
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_LOG = logging.getLogger(__name__)

RUNS = 7
BUDGET_S = 5.0
"""No further turn is begun after this; a model that takes longer has run once."""
LIMIT_S = 180.0


def run_in_child(
    bundle: Path, runtimes: Sequence[str], *, device: str, threads: int, allow_ops: Sequence[str]
) -> dict[str, float]:
    """Seconds of the whole model by runtime; nothing where the child failed."""
    argv = [str(bundle.resolve()), device, str(threads), ",".join(runtimes), ",".join(allow_ops)]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "partitioner.runtimes.race", *argv],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=True,
        )
        found = json.loads(done.stdout)
        return {name: float(found[name]) for name in runtimes}
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        _LOG.warning("the runtimes %s could not be raced: %s", ", ".join(runtimes), error)
        return {}


def race(
    bundle: Path, runtimes: Sequence[str], *, device: str, threads: int, allow_ops: Sequence[str]
) -> dict[str, float]:
    """Median seconds of the whole model by runtime, over the input of the bundle's check record."""
    from partitioner.bundle import Bundle
    from partitioner.runtimes import check
    from partitioner.runtimes.opening import load
    from partitioner.segments import Cuts

    opened = Bundle.open(bundle)
    inputs = check.read_inputs(opened)
    whole = Cuts(opened.graph, opened.digest).whole()
    segments = {}
    for name in runtimes:
        engine = load(opened, name, device=device, threads=threads, allow_ops=allow_ops)
        segments[name] = engine.segment(whole)
        segments[name].settle()
        segments[name](inputs)
    times_s: dict[str, list[float]] = {name: [] for name in runtimes}
    begun_s = time.perf_counter()
    for turn in range(RUNS):
        if turn and time.perf_counter() - begun_s > BUDGET_S:
            break
        for name, segment in segments.items():
            start_s = time.perf_counter()
            segment(inputs)
            times_s[name].append(time.perf_counter() - start_s)
    return {name: statistics.median(each) for name, each in times_s.items()}


if __name__ == "__main__":
    bundle, device, threads, names, allowed = sys.argv[1:]
    print(
        json.dumps(
            race(
                Path(bundle),
                names.split(","),
                device=device,
                threads=int(threads),
                allow_ops=[each for each in allowed.split(",") if each],
            )
        )
    )
