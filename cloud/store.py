"""The models a worker serves: bundles by digest, each with the engine that runs it.

Engines are opened and used on the compute thread alone. A model whose engine cannot be opened stays listed, not ready
and with the reason, and what works keeps working.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from partitioner.dims import shape_of
from partitioner.errors import BundleError, CleftError, SegmentError, UsageError
from partitioner.graph import Graph
from partitioner.plan import Segment
from partitioner.preprocess import fitted
from partitioner.runtimes import Engine, RunnableSegment
from protos.codecs import DTYPES
from protos.errors import InvalidMessage, Unsupported

_LOG = logging.getLogger(__name__)
LOADING = "loading..."


class ServedBundle(Protocol):
    """What the worker reads of a bundle."""

    @property
    def digest(self) -> str:
        """SHA-256 over graph, weights and preprocess."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def graph(self) -> Graph:
        """The operator graph."""

    @property
    def preprocess(self) -> Mapping[str, object] | None:
        """The preprocess record."""


OpenEngine = Callable[[ServedBundle], Engine]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model: ready where it has an engine, else ``reason`` says why not."""

    bundle: ServedBundle
    engine: Engine | None
    reason: str = ""

    @property
    def digest(self) -> str:
        """The bundle's digest."""
        return self.bundle.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A stage's segment, ready to run; with ``preprocess``, ``source`` comes in and this record runs first."""

    name: Segment
    segment: RunnableSegment
    preprocess: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """Something that was to be served and is no bundle that can be read."""

    name: str
    reason: str


def open_model(
    bundle: ServedBundle, open_engine: OpenEngine, *, should_stop: Callable[[], bool] = lambda: False
) -> Model:
    """Open a bundle's engine and run the whole model once; a failure is kept as the reason. Call on the compute thread.

    Raises:
        UsageError: no engine can be opened with these options, whatever the model.
    """
    try:
        model = Model(bundle=bundle, engine=open_engine(bundle))
        _warm_up_whole(model, should_stop)
        return model
    except UsageError:
        raise
    except CleftError as error:
        reason = str(error)
    except MemoryError:
        reason = "out of memory"
    except Exception as error:
        _LOG.exception("%s cannot be opened", bundle.name)
        reason = f"its engine failed: {type(error).__name__}"
    return Model(bundle=bundle, engine=None, reason=reason)


def prepare(model: Model, segment: Segment, *, is_fitted: bool = False) -> Prepared:
    """Make a segment ready; ``is_fitted``: its source comes resized and cropped. Call on the compute thread.

    Raises:
        Unsupported: the model is not ready, or has no preprocess record.
        InvalidMessage: the segment's names do not fit the graph.
    """
    if model.engine is None:
        raise Unsupported(f"model {model.bundle.name} is not ready: {model.reason}")
    record = None
    if segment.preprocess:
        record = model.bundle.preprocess
        if record is None:
            raise Unsupported(f"model {model.bundle.name} has no preprocess record: send tensors")
        if is_fitted:
            record = fitted(record)
        inputs = tuple(value.name for value in model.bundle.graph.inputs)
        segment = Segment(model_digest=segment.model_digest, inputs=inputs, outputs=segment.outputs)
    try:
        return Prepared(name=segment, segment=model.engine.segment(segment), preprocess=record)
    except SegmentError as error:
        raise InvalidMessage(f"the segment does not fit model {model.bundle.name}: {error}") from error


def warm_up(model: Model, prepared: Prepared, *, should_stop: Callable[[], bool]) -> None:
    """Run a segment once on zeros of the captured sizes, so that no frame pays for first use.

    Call on the compute thread. A failure is only logged: zeros need not make sense to a model.
    """
    binding = {symbol.name: symbol.example for symbol in model.bundle.graph.symbols}
    try:
        zeros = {
            value.name: np.zeros(shape_of(value.shape, binding), DTYPES[value.dtype])
            for value in prepared.segment.inputs
        }
        prepared.segment(zeros, should_stop=should_stop)
    except BundleError:
        raise
    except CleftError as error:
        _LOG.info("%s was not warmed up: %s", model.bundle.name, error)


def _warm_up_whole(model: Model, should_stop: Callable[[], bool]) -> None:
    """Have every weight in memory, and find out now whether they can be read.

    Raises:
        BundleError: they cannot.
    """
    graph = model.bundle.graph
    whole = Segment(model_digest=model.digest, inputs=graph.input_names, outputs=graph.output_names)
    try:
        prepared = prepare(model, whole)
    except (SegmentError, InvalidMessage) as error:
        _LOG.info("%s was not warmed up: %s", model.bundle.name, error)
    else:
        warm_up(model, prepared, should_stop=should_stop)


class Store:
    """Models by digest. Written by the event loop alone; ``is_loading`` until every one was tried."""

    def __init__(self, models: Iterable[Model], *, broken: Iterable[Broken] = ()) -> None:
        self._models = {model.digest: model for model in models}
        self.broken = tuple(broken)
        self.is_loading = True

    def put(self, model: Model) -> None:
        """A model has changed its state."""
        self._models[model.digest] = model

    def __contains__(self, digest: str) -> bool:
        return digest in self._models

    def get(self, digest: str) -> Model | None:
        """The model of a digest."""
        return self._models.get(digest)

    @property
    def models(self) -> tuple[Model, ...]:
        """All of them."""
        return tuple(self._models.values())
