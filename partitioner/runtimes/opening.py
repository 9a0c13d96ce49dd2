"""Which runtime opens a bundle: the one asked for, or the fastest of those that are admitted.

The eager runtime needs torch; another is admitted where it is installed, the bundle has its file, and it passes the
bundle's check (``check``). Which of two admitted ones is faster is found by a short race of the whole model. Both
happen in a child process (``trial``), so that neither the whole model nor a runtime that loses is ever loaded here.
Verdicts and races are remembered in the cache by everything they depend on; a cache that cannot be written costs time,
never an answer. ``CLEFT_RUNTIME`` in the environment names what ``auto`` stands for.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import logging
import math
import os
import platform
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict, cast

from partitioner.bundle import CHECK, ONNX_MODEL, Bundle, cache_dir
from partitioner.errors import CleftError, ModelError, UsageError
from partitioner.runtimes import EAGER, ORT, RUNTIMES, Engine
from partitioner.runtimes.trial import Question, ask
from partitioner.units import ms

_LOG = logging.getLogger(__name__)

AUTO = "auto"
_PACKAGES = {EAGER: "torch", ORT: "onnxruntime"}
_MISSING = {
    EAGER: "torch is not installed: pip install 'cleft[torch]'",
    ORT: "ONNX Runtime is not installed: pip install 'cleft[ort]'",
}


class EngineOptions(TypedDict):
    """How an engine is opened, whichever runtime it is of."""

    device: str
    threads: int
    allow_ops: Collection[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The runtime that opens a bundle, and why each of the others does not.

    ``faulty`` are those of the others that were meant to be there: a file of theirs is damaged, or a check failed.
    """

    runtime: str
    others: Mapping[str, str] = field(default_factory=dict)
    faulty: frozenset[str] = frozenset()

    def lines(self, name: str, *, is_every: bool) -> list[str]:
        """Why a model of this name runs in none of the others, for people; of the faulty ones only, or of every."""
        return [
            f"{name}: runs in {self.runtime}, not in {other}: {why}"
            for other, why in self.others.items()
            if is_every or other in self.faulty
        ]


def open_engine(
    bundle: Bundle,
    *,
    runtime: str = AUTO,
    device: str = "auto",
    threads: int = 1,
    allow_ops: Collection[str] = (),
) -> Engine:
    """Open a bundle for running; a runtime that ``auto`` leaves out for a fault is warned of in the log.

    Args:
        runtime: ``eager``, ``ort``, or ``auto`` for the fastest admitted one.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: threads of one operator.
        allow_ops: operator namespaces beyond ``aten``, for the eager runtime.

    Raises:
        UsageError: there is no such device, or as many threads make no sense.
        ModelError: the runtime is not installed or not admitted; the reason is one line.
    """
    chosen = choose(bundle, runtime=runtime, device=device, threads=threads, allow_ops=allow_ops)
    for line in chosen.lines(bundle.name, is_every=False):
        _LOG.warning("%s", line)
    return load(bundle, chosen.runtime, device=device, threads=threads, allow_ops=allow_ops)


def choose(
    bundle: Bundle,
    *,
    runtime: str = AUTO,
    device: str = "auto",
    threads: int = 1,
    allow_ops: Collection[str] = (),
) -> Choice:
    """Which runtime opens the bundle, without opening it for good.

    Raises:
        ModelError: the runtime asked for is not admitted, or none is.
    """
    if runtime == AUTO:
        runtime = _meant_by_auto()
    if runtime != AUTO:
        if (why := refusal(bundle, runtime, device=device, threads=threads)) is not None:
            raise ModelError(f"{bundle.name} cannot be opened with --runtime {runtime}: {why}")
        return Choice(runtime=runtime)
    refused = {each: refusal(bundle, each, device=device, threads=threads) for each in RUNTIMES}
    others = {each: why for each, why in refused.items() if why is not None}
    admitted = [each for each in RUNTIMES if each not in others]
    if not admitted:
        raise ModelError(f"no runtime can open {bundle.name}: {'; '.join(others.values())}")
    if len(admitted) == 1:
        return Choice(
            runtime=admitted[0], others=others, faulty=frozenset(each for each in others if _is_expected(bundle, each))
        )
    times_s = _race(bundle, admitted, device=device, threads=threads, allow_ops=tuple(allow_ops))
    if not times_s:
        why = "it failed in a race with the other, which has passed its check"
        return Choice(runtime=ORT, others={EAGER: why}, faulty=frozenset({EAGER}))
    fastest = min(times_s, key=lambda each: times_s[each])
    slower = {
        name: f"{name} is slower, {ms(time_s)} against {ms(times_s[fastest])}" for name, time_s in times_s.items()
    }
    return Choice(runtime=fastest, others={name: why for name, why in slower.items() if name != fastest})


def refusal(bundle: Bundle, runtime: str, *, device: str = "auto", threads: int = 1) -> str | None:
    """Why a runtime may not open this bundle here, in one line; None where it is admitted."""
    if importlib.util.find_spec(_PACKAGES[runtime]) is None:
        return _MISSING[runtime]
    if runtime == EAGER:
        return None
    try:
        _ = bundle.runtime_file(runtime), bundle.check  # both whole, or no verdict is asked for and kept
        place = _place(bundle, "verdict", runtime, device=device, threads=threads)
        known = _recall(place)
        if isinstance(known, dict) and isinstance(fault := known.get("fault", ""), str | None) and fault != "":
            return fault
    except CleftError as error:
        return str(error)
    question = Question(
        bundle=str(bundle.path.resolve()), runtimes=(runtime,), is_race=False, device=device, threads=threads
    )
    answer = ask(question)
    if runtime not in answer:
        return "its check could not be run in a process of its own"
    if answer[runtime] is None or not device.startswith("cuda"):  # the driver that a GPU lacks may come any time
        _keep(place, {"fault": answer[runtime]})
    return cast("str | None", answer[runtime])


def load(bundle: Bundle, runtime: str, *, device: str, threads: int, allow_ops: Collection[str]) -> Engine:
    """Open a bundle with a runtime, whether it is admitted or not."""
    if runtime == ORT:
        from partitioner.runtimes.ort import open_engine as open_ort

        return open_ort(bundle, device=device, threads=threads)
    from partitioner.runtimes.eager import open_engine as open_eager

    return open_eager(bundle, device=device, threads=threads, allow_ops=allow_ops)


def _is_expected(bundle: Bundle, runtime: str) -> bool:
    """Whether a runtime is installed and packed for, so that it should do."""
    return importlib.util.find_spec(_PACKAGES[runtime]) is not None and runtime in bundle.runtimes


def _meant_by_auto() -> str:
    named = os.environ.get("CLEFT_RUNTIME", AUTO)
    if named not in (AUTO, *RUNTIMES):
        raise UsageError(f"CLEFT_RUNTIME is {named!r}, which is none of {AUTO}, {', '.join(RUNTIMES)}")
    return named


def _race(
    bundle: Bundle, runtimes: list[str], *, device: str, threads: int, allow_ops: tuple[str, ...]
) -> dict[str, float]:
    """Seconds of the whole model by runtime; nothing where the race failed."""
    place = _place(bundle, "race", *runtimes, device=device, threads=threads)
    known = _recall(place)
    if isinstance(known, dict) and set(known) == set(runtimes) and all(map(_is_time, known.values())):
        return known
    question = Question(
        bundle=str(bundle.path.resolve()),
        runtimes=tuple(runtimes),
        is_race=True,
        device=device,
        threads=threads,
        allow_ops=allow_ops,
    )
    times_s = {name: float(cast(float, seconds)) for name, seconds in ask(question).items()}
    if times_s:
        _keep(place, times_s)
    return times_s


def _place(bundle: Bundle, what: str, *runtimes: str, device: str, threads: int) -> Path:
    """Where something is remembered about a bundle on this machine, by all that it depends on."""
    facts = [
        bundle.digest,
        [bundle.file_digest(name) for name in (ONNX_MODEL, CHECK)],
        [(name, _installed(_PACKAGES[name])) for name in runtimes],
        [device, threads, platform.machine(), platform.node(), os.cpu_count()],
    ]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    return cache_dir() / "runtimes" / f"{what}-{key}.json"


def _installed(package: str) -> list[str]:
    """What is installed of a package, with versions; ``onnxruntime`` comes as ``onnxruntime-gpu`` and others too."""
    found = importlib.util.find_spec(package)
    places = (found.submodule_search_locations or []) if found else []
    return sorted(each.name for place in places for each in Path(place).parent.glob(f"{package}*.dist-info"))


def _recall(path: Path) -> object:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        return cast(object, json.loads(path.read_bytes()))
    return None


def _is_time(value: object) -> bool:
    return isinstance(value, float | int) and 0 < value < math.inf


def _keep(path: Path, value: object) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = path.with_name(f".{path.name}.{os.getpid()}")
        staging.write_text(json.dumps(value))
        staging.replace(path)
    except OSError as error:
        _LOG.info("%s was not kept: %s", path, error)
