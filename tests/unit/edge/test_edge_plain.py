from __future__ import annotations

import json
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch

from edge.cli.plain import plain
from edge.cli.settings import say

Pair = namedtuple("Pair", "left right")


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    label: str
    score: np.float32


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (np.bool_(True), True),
        (np.int64(3), 3),
        (np.uint8(200), 200),
        (np.float32(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.float64("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (np.float32("-inf"), "-Infinity"),
        (1 + 2j, [1.0, 2.0]),
        (np.complex64(1 + 2j), [1.0, 2.0]),
        (ml_dtypes.bfloat16(1.5), 1.5),
        (np.ones(2, ml_dtypes.bfloat16), [1.0, 1.0]),
        (np.array([[1, 2]]), [[1, 2]]),
        (np.array(7), 7),
        (np.array([np.nan, 1.0]), ["NaN", 1.0]),
        (np.zeros((0, 3)), []),
        (np.array(["a"]), ["a"]),
        ([(np.int32(1), "a"), {"b": np.array([2.5])}], [[1, "a"], {"b": [2.5]}]),
        (Pair(left=np.int8(1), right=None), [1, None]),
        ({np.int64(1): frozenset({2})}, {"1": [2]}),
        ([Box(label="cat", score=np.float32(0.25))], [{"label": "cat", "score": 0.25}]),
        (Path("a") / "b", "a/b"),
        (10**30, 10**30),
        (torch.tensor([1.0, 2.0]), [1.0, 2.0]),
        (np.datetime64("2026-01-02"), "2026-01-02"),
    ],
)
def test_whatever_comes_is_something_that_json_holds(value: object, expected: object) -> None:
    found = plain(value)
    assert found == expected
    assert type(found) is type(expected)
    assert json.loads(json.dumps(found, allow_nan=False)) == expected


def test_what_holds_itself_becomes_text() -> None:
    ring: list[object] = []
    ring.append(ring)
    assert isinstance(plain(ring), str)
    assert isinstance(plain(torch.ones(1, requires_grad=True)), str)


def test_a_line_for_people_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr("sys.stderr.write", written.append)
    say("no worker can be reached now")
    assert [each for each in written if each] == ["cleft-edge: no worker can be reached now\n"]
