"""Candidates and what they cost: a cut, a codec per crossing tensor and a runtime per side, frozen as ten terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from partitioner.cost.drain import FixedEnergy
from partitioner.difference import INCOMPARABLE
from partitioner.leakage import CutLeakage
from partitioner.profile import ALL_CLOUD, ALL_LOCAL

TERMS = (
    "head_s",
    "encode_s",
    "up_s",
    "rtt_s",
    "queue_s",
    "decode_s",
    "tail_s",
    "encode_reply_s",
    "down_s",
    "decode_reply_s",
)

_UNIFORM: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """Where the time of one frame goes."""

    head_s: float
    encode_s: float
    up_s: float
    rtt_s: float
    queue_s: float
    decode_s: float
    tail_s: float
    encode_reply_s: float
    down_s: float
    decode_reply_s: float
    total_s: float

    def to_json(self) -> dict[str, float]:
        """Every term and the total, in seconds."""
        return {name: getattr(self, name) for name in (*TERMS, "total_s")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A cut with its codecs and runtimes.

    ``codec`` is what every crossing tensor goes through, or a label such as ``a=int8,b=none`` where ``codecs`` names
    one each. ``edge_layers`` are indices in the order of the layers; None: the first ``depth`` ones. Memory counts
    weights and the peak of what is computed. ``is_calibrated``: one of its compute times was inferred, not measured;
    ``is_predicted``: from other models. ``leakage`` is what crosses, None where nobody knows.
    """

    cut: str
    cut_id: str
    codec: str
    codecs: Mapping[str, str] = field(default_factory=lambda: _UNIFORM, hash=False)
    depth: int
    edge_layers: frozenset[int] | None = None
    up_bytes: float
    down_bytes: float
    edge_bytes: int = 0
    cloud_bytes: int = 0
    deviation: float = 0.0
    accuracy: float | None = None
    is_calibrated: bool
    is_predicted: bool = False
    leakage: CutLeakage | None = None
    edge_runtime: str = ""
    cloud_runtime: str = ""

    @property
    def is_local(self) -> bool:
        """Whether nothing leaves the device."""
        return self.cut == ALL_LOCAL

    @property
    def is_all_cloud(self) -> bool:
        """Whether the whole model runs in the cloud."""
        return self.cut == ALL_CLOUD

    @property
    def label(self) -> str:
        """The cut's name for a column of a table: of a cut through branches only where the first of them ends."""
        first, *others = self.cut.split("+")
        return f"{first}+{len(others)} more" if others and self.edge_layers is not None else self.cut

    @property
    def runtimes(self) -> str:
        """Which runtime runs on the device, and which on the worker."""
        return self.edge_runtime if self.is_local else f"{self.edge_runtime} / {self.cloud_runtime}"

    @property
    def mark(self) -> str:
        """How a table marks its times: ``^`` where one is predicted, ``*`` where one is inferred."""
        return "^" if self.is_predicted else "*" if self.is_calibrated else ""

    @property
    def measured_deviation(self) -> float | None:
        """What the codecs do to the answer, max|a-b| / max|b| of its outputs; None where that has no bound."""
        return None if self.deviation == INCOMPARABLE else self.deviation

    def keeps(self, layers: frozenset[int]) -> bool:
        """Whether all these layers stay on the device."""
        if self.edge_layers is not None:
            return self.is_local or layers <= self.edge_layers
        return self.is_local or max(layers, default=-1) < self.depth


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The terms of one candidate that neither link nor load change; the tail for an idle worker.

    ``energy`` is the device's, None where nobody knows.
    """

    candidate: Candidate
    head_s: float
    encode_s: float = 0.0
    decode_s: float = 0.0
    tail_s: float = 0.0
    encode_reply_s: float = 0.0
    decode_reply_s: float = 0.0
    energy: FixedEnergy | None = None
