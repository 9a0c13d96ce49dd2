from __future__ import annotations

import threading

import pytest
from loopback import DIGEST, FakeBundle, FakeEngine

from cloud.store import Store, open_model, prepare, warm_up
from partitioner.errors import ModelError
from partitioner.plan import Segment
from protos.errors import InvalidMessage, Unsupported

SEGMENT = Segment(model_digest=DIGEST, inputs=("x",), outputs=("y",))


def test_a_model_whose_engine_fails_is_listed_with_the_reason(caplog):
    def fails(bundle: object) -> FakeEngine:
        raise ModelError("operator 'evil::op' is refused")

    def breaks(bundle: object) -> FakeEngine:
        raise MemoryError

    good = open_model(FakeBundle(), lambda bundle: FakeEngine())
    refused = open_model(FakeBundle(digest="e" * 64), fails)
    short = open_model(FakeBundle(digest="f" * 64), breaks)
    store = Store([good, refused, short])
    assert good.engine is not None
    assert (refused.engine, short.engine) == (None, None)
    assert "evil::op" in store.get("e" * 64).reason
    assert short.reason == "out of memory"
    with pytest.raises(Unsupported, match="evil::op"):
        prepare(refused, SEGMENT)
    assert DIGEST in store
    assert "a" * 64 not in store
    assert "Traceback" not in caplog.text


def test_a_segment_that_does_not_fit_is_refused():
    model = open_model(FakeBundle(), lambda bundle: FakeEngine())
    with pytest.raises(InvalidMessage, match="does not fit"):
        prepare(model, Segment(model_digest=DIGEST, inputs=("x",), outputs=("z",)))


def test_a_source_needs_a_preprocess_record():
    source = Segment(model_digest=DIGEST, inputs=(), outputs=("y",), preprocess=True)
    with pytest.raises(Unsupported, match="preprocess"):
        prepare(open_model(FakeBundle(), lambda bundle: FakeEngine()), source)
    record = {"kind": "image"}
    model = open_model(FakeBundle(preprocess=record), lambda bundle: FakeEngine())
    assert prepare(model, source).preprocess is record
    assert prepare(model, source, is_fitted=True).preprocess == {**record, "resize": None, "crop": None}


def test_warming_up_runs_the_segment_once():
    engine = FakeEngine()
    model = open_model(FakeBundle(), lambda bundle: engine)
    warm_up(model, prepare(model, SEGMENT), should_stop=threading.Event().is_set)
    assert engine.runs == 1
