"""What is found out about runtimes in a child process: whether one passes the check, and which is the fastest.

``python -m partitioner.runtimes.trial`` reads its question as JSON from stdin and prints the answer as JSON. Checking
runs the whole model and racing imports torch: done here, either would cost a device its memory for good.
"""

from __future__ import annotations

import json
import logging
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from partitioner.bundle import Bundle
from partitioner.errors import CleftError

_LOG = logging.getLogger(__name__)

RUNS = 7
BUDGET_S = 5.0
"""No further turn is begun after this; a model that takes longer has run once."""
LIMIT_S = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which bundle is tried with which runtimes; ``is_race`` asks for times, else for faults."""

    bundle: str
    runtimes: tuple[str, ...]
    is_race: bool
    device: str
    threads: int
    allow_ops: tuple[str, ...] = ()


def ask(question: Question) -> dict[str, object]:
    """Try in a child process: by runtime, median seconds of the whole model, or the fault (None: it passed).

    Nothing is in the answer where the child failed.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", "partitioner.runtimes.trial"],
            input=json.dumps(asdict(question)),
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        found = json.loads(done.stdout)
        return {name: found[name] for name in question.runtimes}
    except (OSError, subprocess.SubprocessError) as error:
        reason = str(error)
    except (ValueError, KeyError, TypeError):
        said = done.stderr.strip().splitlines()
        reason = said[-1] if said else f"it said nothing and ended with code {done.returncode}"
    _LOG.warning("the runtimes %s could not be tried: %s", ", ".join(question.runtimes), reason)
    return {}


def race(question: Question) -> dict[str, float]:
    """Median seconds of the whole model by runtime, turn by turn, over the input of the bundle's check record."""
    from partitioner.runtimes import check
    from partitioner.runtimes.opening import load
    from partitioner.segments import Cuts

    bundle = Bundle.open(question.bundle)
    inputs = check.read_inputs(bundle)
    whole = Cuts(bundle.graph, bundle.digest).whole()
    segments = {}
    for name in question.runtimes:
        engine = load(bundle, name, device=question.device, threads=question.threads, allow_ops=question.allow_ops)
        segments[name] = engine.segment(whole)
        segments[name].settle()
        segments[name](inputs)
    times_s: dict[str, list[float]] = {name: [] for name in question.runtimes}
    begun_s = time.perf_counter()
    for turn in range(RUNS):
        if turn and time.perf_counter() - begun_s > BUDGET_S:
            break
        for name, segment in segments.items():
            start_s = time.perf_counter()
            segment(inputs)
            times_s[name].append(time.perf_counter() - start_s)
    return {name: statistics.median(each) for name, each in times_s.items()}


def faults(question: Question) -> dict[str, str | None]:
    """Why each runtime may not run the bundle; None where it passes the check."""
    from partitioner.runtimes import check
    from partitioner.runtimes.opening import load

    found: dict[str, str | None] = {}
    bundle = Bundle.open(question.bundle)
    for name in question.runtimes:
        try:
            engine = load(bundle, name, device=question.device, threads=question.threads, allow_ops=question.allow_ops)
            found[name] = check.fault(bundle, engine)
        except CleftError as error:
            found[name] = str(error)
    return found


def _question(text: str) -> Question:
    fields = json.loads(text)
    fields.update({name: tuple(fields[name]) for name in ("runtimes", "allow_ops")})
    return Question(**fields)


def _answer(asked: Sequence[str]) -> str:
    question = _question("".join(asked))
    return json.dumps(race(question) if question.is_race else faults(question))


if __name__ == "__main__":
    print(_answer(sys.stdin.readlines()))
