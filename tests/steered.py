"""Requests of a steered session over a wire in simulated time: head, frame, tail and answer, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from edge.policy import Choice
from edge.steering import Steering
from edge.telemetry import Counters
from partitioner.cost import Candidate, CandidateTable, Row
from partitioner.link import Link
from partitioner.planner import Planner
from tests.wires import Wire

TARGET = "worker:1"
KIND = "pictures"


def row(name: str, depth: int, *, up_bytes: float, head_ms: float, tail_ms: float, down_bytes: float = 4000) -> Row:
    """A candidate of this name."""
    return Row(
        candidate=Candidate(
            cut=name, cut_id=name, codec="none", depth=depth, up_bytes=up_bytes, down_bytes=down_bytes,
            is_calibrated=False,
        ),
        head_s=head_ms * 1e-3,
        tail_s=tail_ms * 1e-3,
    )  # fmt: skip


ROWS = (
    row("cloud", 0, up_bytes=600_000, head_ms=5, tail_ms=20),
    row("after:maxpool", 2, up_bytes=400_000, head_ms=40, tail_ms=18),
    row("after:layer2", 5, up_bytes=100_000, head_ms=200, tail_ms=9),
    row("local", 9, up_bytes=0, head_ms=385, tail_ms=0, down_bytes=0),
)


def planner_of(*rows: Row) -> Planner:
    """What is to be chosen from."""
    return Planner(CandidateTable.from_rows(rows or ROWS, model_name="toy", model_digest="ab" * 32))


@dataclass
class Ride:
    """A session on its way: ``device`` and ``worker`` are how many times slower they are than planned, at a time."""

    steps: list[tuple[float, float]]
    planner: Planner
    rtt_s: float = 0.02
    jitter_s: float = 0.0
    noise: float = 0.0
    seed: int = 0
    device: Callable[[float], float] = lambda now_s: 1.0
    worker: Callable[[float], float] = lambda now_s: 1.0
    is_reachable: Callable[[float], bool] = lambda now_s: True

    def __post_init__(self) -> None:
        self.counters = Counters()
        self.steering = Steering(counters=self.counters, now=lambda: self.wire.now_s)
        self.wire = Wire(
            self.steps, self.steering.observer(TARGET),
            rtt_s=self.rtt_s, jitter_s=self.jitter_s, noise=self.noise, seed=self.seed,
        )  # fmt: skip
        self.steering.prior(TARGET, Link.from_mbit(self.steps[0][1], 2 * self.steps[0][1], self.rtt_s * 1e3))
        self.probed_s = 0.0
        self.cuts: list[tuple[float, str]] = []
        self.times_s: list[float] = []

    def request(self) -> Choice:
        """One request."""
        wire, begun_s = self.wire, self.wire.now_s
        target = TARGET if self.is_reachable(begun_s) else None
        choice = self.steering.choose(KIND, self.planner, target=target)
        candidate = choice.candidate
        at = self.planner.everything.candidates.index(candidate)
        head_s = float(self.planner.everything.edge_s[at]) * self.device(begun_s)
        tail_s = float(self.planner.everything.tail_s[at]) * self.worker(begun_s)
        wire.now_s += head_s
        if not candidate.is_local:
            wire.frame(int(candidate.up_bytes))
            wire.now_s += tail_s + candidate.down_bytes / (2 * 125_000.0 * wire.mbit(wire.now_s))
        self.steering.note_answer(KIND, candidate, head_s=head_s, tail_s=None if candidate.is_local else tail_s)
        self.cuts.append((begun_s, candidate.cut))
        self.times_s.append(wire.now_s - begun_s)
        return choice

    def until(self, until_s: float, *, every_s: float = 0.0) -> None:
        """Requests one after the other, no two of them begun within ``every_s``; probes once a second as wanted."""
        while self.wire.now_s < until_s:
            begun_s = self.wire.now_s
            self.request()
            self.wire.now_s = max(self.wire.now_s, begun_s + every_s)
            if self.wire.now_s - self.probed_s >= 1.0 and self.is_reachable(self.wire.now_s):
                self.probed_s = self.wire.now_s
                if self.steering.wants_probe(TARGET):
                    self.wire.probe()

    def switches(self, begin_s: float, end_s: float) -> int:
        """How often the plan changed between these times."""
        within = [cut for at_s, cut in self.cuts if begin_s <= at_s < end_s]
        before = [cut for at_s, cut in self.cuts if at_s < begin_s][-1:]
        seen = before + within
        return sum(a != b for a, b in pairwise(seen))

    def when(self, cut: str, begin_s: float) -> tuple[int, float]:
        """After how many requests, and seconds, since a time this cut was in use."""
        later = [(at_s, name) for at_s, name in self.cuts if at_s >= begin_s]
        index = next(index for index, (_, name) in enumerate(later) if name == cut)
        return index, later[index][0] - begin_s
