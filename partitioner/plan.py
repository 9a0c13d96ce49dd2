"""Plans: printable data that says which segment runs where.

A segment is named by the values that go in and the values that come out; the graph between them follows. A plan is a
list of stages, each a segment at a place with a codec for every output that leaves it. A cut has two stages; all-local
has one; all-cloud has an edge stage that passes its inputs on. The digest covers what runs, never what was predicted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

SOURCE = "source"
"""Name of the original input bytes, before preprocessing, where a tensor or a codec is named."""

Place = Literal["edge", "cloud"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """The part of one model's graph that computes ``outputs`` from ``inputs``.

    With ``preprocess`` the only input is ``SOURCE`` and the bundle's preprocess record runs first.
    """

    model_digest: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    preprocess: bool = False

    @property
    def is_identity(self) -> bool:
        """Whether the segment only passes its inputs on."""
        return not self.preprocess and set(self.outputs) <= set(self.inputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One segment at one place; an output that ``codecs`` does not name travels as ``"none"``."""

    place: Place
    segment: Segment
    codecs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Stages in order. All stages name the same model."""

    model_digest: str
    stages: tuple[Stage, ...]

    @property
    def plan_id(self) -> str:
        """SHA-256 (first 32 hex digits) of the canonical JSON of what runs."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def is_local(self) -> bool:
        """Whether nothing leaves the device."""
        return all(stage.place == "edge" for stage in self.stages)

    def to_json(self) -> dict[str, object]:
        """The plan as JSON values; what ``plan_id`` hashes."""
        return {
            "model_digest": self.model_digest,
            "stages": [
                {
                    "place": stage.place,
                    "inputs": list(stage.segment.inputs),
                    "outputs": list(stage.segment.outputs),
                    "preprocess": stage.segment.preprocess,
                    "codecs": {name: codec for name, codec in sorted(stage.codecs.items()) if codec != "none"},
                }
                for stage in self.stages
            ],
        }
