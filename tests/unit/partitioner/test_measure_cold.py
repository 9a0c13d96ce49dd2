"""What a pause does to a step, and that a codec's cold start is added once whatever its tensor's size."""

from __future__ import annotations

import statistics
import time

import numpy as np
import pytest

from partitioner.measure import codecs
from partitioner.measure.codecs import CodecMeasure, CodecMeter
from partitioner.measure.cold import Pause


def test_reading_memory_after_a_pause_takes_longer_than_at_once() -> None:
    pause = Pause()
    held = np.ones(64 << 10, np.float64)

    def read_s(*, cold: bool) -> float:
        if cold:
            pause()
        begun = time.perf_counter()
        held.sum()
        return time.perf_counter() - begun

    pairs = [(read_s(cold=True), read_s(cold=False)) for _ in range(15)]
    assert statistics.median(cold for cold, _ in pairs) > statistics.median(warm for _, warm in pairs)


def test_what_running_cold_adds_does_not_grow_with_the_tensors() -> None:
    measured = CodecMeasure(
        codec="none",
        payload_bytes=100,
        header_bytes=20,
        encode_s=0.001,
        decode_s=0.002,
        cold_encode_s=0.01,
        cold_decode_s=0.02,
    )
    cost = measured.scaled_to(1000, 100).to_record()
    assert cost.encode_s == pytest.approx(0.001 * 10 + 0.01)
    assert cost.decode_s == pytest.approx(0.002 * 10 + 0.02)
    assert cost.up_bytes == 1020


def test_of_tensors_packed_together_only_the_first_runs_cold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "_cold_s", lambda: (1.0, 2.0))
    found = CodecMeter(["none"]).measure({"a": np.ones(8, np.float32), "b": np.ones(8, np.float32)}, {})
    costs = {name: each[0].to_record() for name, each in found.tensors}
    assert costs["a"].encode_s >= 1.0
    assert costs["a"].decode_s >= 2.0
    assert costs["b"].encode_s < 0.5
    assert costs["b"].decode_s < 0.5
    assert found.codecs[0].to_record().encode_s >= 1.0
