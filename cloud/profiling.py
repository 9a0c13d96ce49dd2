"""The worker measures itself: once per model and sizes, in slices between which frames have their turn.

Each step of the measurement is one job on the compute thread, so a frame waits for one step at most. Profiles are kept
in memory and in the cache directory; a file's name is made of digests alone. A disk that is full costs a log line.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Generator, Mapping
from pathlib import Path
from typing import Protocol, cast

from cloud.frames import to_wire
from cloud.site import Site
from cloud.store import Model, ServedBundle
from partitioner.measure import cache
from partitioner.runtimes import Engine
from protos.errors import InvalidMessage, UnknownModel, Unsupported

_REMEMBERED = 64


class Measured(Protocol):
    """A profile, as far as the wire needs it."""

    def dumps(self) -> str:
        """The JSON document."""


class Measure(Protocol):
    """Measures in steps: yields progress from 0 to 1 and returns the profile."""

    def __call__(
        self, bundle: ServedBundle, engine: Engine, *, budget_s: float, binding: Mapping[str, int]
    ) -> Generator[float, None, Measured]:
        """Begin."""


def measure_bundle(
    bundle: ServedBundle, engine: Engine, *, budget_s: float, binding: Mapping[str, int]
) -> Generator[float, None, Measured]:
    """``partitioner.measure``, imported on first use."""
    from partitioner.bundle import Bundle
    from partitioner.measure import measure_steps

    return measure_steps(cast(Bundle, bundle), engine, budget_s=budget_s, binding=binding, is_judged=False)


class Profiler:
    """Answers for the worker's own profiles; one measurement at a time."""

    def __init__(self, site: Site, *, measure: Measure = measure_bundle) -> None:
        self._site = site
        self._measure = measure
        self._documents: dict[Path, str] = {}
        self._lock: asyncio.Lock | None = None

    async def updates(
        self, digest: str, *, budget_s: float, binding: Mapping[str, int], is_fresh: bool
    ) -> AsyncIterator[float | str]:
        """Progress, then the document.

        Raises:
            UnknownModel: no such model here; Unsupported: it is not ready.
            InvalidMessage: the budget or the sizes make no sense.
        """
        model = self._site.store.get(digest)
        if model is None:
            raise UnknownModel(f"no model of digest {digest[:12]!r}... is served here")
        engine = model.engine
        if engine is None:
            raise Unsupported(f"model {model.bundle.name} is not ready: {model.reason}")
        if not (math.isfinite(budget_s) and budget_s >= 0):
            raise InvalidMessage("the budget is not a number of seconds")
        config = self._site.config
        budget_s = min(budget_s or config.profile_budget_s, config.max_profile_budget_s)
        sizes = _check_binding(model, binding)
        path = cache.kept_path(digest, engine.info, sizes)
        if self._lock is None:
            self._lock = asyncio.Lock()
        async with self._lock:
            document = None if is_fresh else self._documents.get(path) or _recall(path, digest)
            if document is None:
                steps = self._measure(model.bundle, engine, budget_s=budget_s, binding=sizes)
                async for step in self._steps(steps):
                    if isinstance(step, str):
                        document = step
                    else:
                        yield step
            if document is not None:
                if self._documents.get(path) != document:
                    self._remember(path, document)
                    cache.keep(path, document)
                yield document

    def _remember(self, path: Path, document: str) -> None:
        self._documents[path] = document
        if len(self._documents) > _REMEMBERED:
            del self._documents[next(iter(self._documents))]

    async def _steps(self, steps: Generator[float, None, Measured]) -> AsyncIterator[float | str]:
        """Each step as a job of its own; the generator is closed where it was run."""

        def step() -> float | str:
            try:
                return min(1.0, max(0.0, next(steps)))
            except StopIteration as end:
                return cast(Measured, end.value).dumps()

        worker = self._site.worker
        made: float | str = 0.0
        try:
            while not isinstance(made, str):
                try:
                    made = await worker.run(lambda ticket: step(), is_urgent=True, is_chore=True)
                except Exception as error:
                    raise to_wire(error) from error
                yield made
        finally:
            if not isinstance(made, str):
                with contextlib.suppress(Exception):
                    await asyncio.shield(worker.run(lambda ticket: steps.close(), is_urgent=True, is_chore=True))


def _recall(path: Path, digest: str) -> str | None:
    profile = cache.recall(path, digest)
    return None if profile is None else profile.dumps()


def _check_binding(model: Model, binding: Mapping[str, int]) -> dict[str, int]:
    """The sizes to measure with: those asked for, else those of the capture."""
    symbols = {symbol.name: symbol for symbol in model.bundle.graph.symbols}
    sizes = {name: symbol.example for name, symbol in symbols.items()}
    for name, size in binding.items():
        symbol = symbols.get(name)
        if symbol is None:
            raise InvalidMessage(f"the model has no size {name[:40]!r} that varies")
        if size < symbol.low or (symbol.high is not None and size > symbol.high):
            raise InvalidMessage(f"size {name} is {size}; it was captured for {symbol.low} to {symbol.high}")
        sizes[name] = size
    return sizes
