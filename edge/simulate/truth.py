"""What a frame really costs on the device and the worker, as opposed to what a plan predicts.

The true times are those of two profiles, times a factor for each side that the planner is not told of, times a noise
drawn for each frame: log-normal, and the same frame has the same noise whoever answers it and by whatever cut.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from partitioner.cost import TERMS, Candidate, CandidateTable
from partitioner.errors import UsageError
from partitioner.profile import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One frame by one candidate: seconds here before sending, there, and here after; ``finish_s`` from the cut here.

    ``head_s`` is the whole model's where nothing is sent; ``tail_s`` is the part of ``there_s`` that computes.
    """

    head_s: float
    encode_s: float
    there_s: float
    tail_s: float
    decode_s: float
    finish_s: float
    up_bytes: int
    down_bytes: int
    is_local: bool

    def noisy(self, here: float, there: float) -> Work:
        """The same on a device and a worker that are slower by these factors for the moment."""
        return Work(
            head_s=self.head_s * here,
            encode_s=self.encode_s * here,
            there_s=self.there_s * there,
            tail_s=self.tail_s * there,
            decode_s=self.decode_s * here,
            finish_s=self.finish_s * here,
            up_bytes=self.up_bytes,
            down_bytes=self.down_bytes,
            is_local=self.is_local,
        )


class Truth:
    """What every frame costs by every candidate of a table.

    Args:
        edge: profiles of the device, one for each runtime of the table's candidates.
        here: true over predicted time on the device; ``there`` the same on the worker.
        noise: standard deviation of the logarithm of a frame's times.

    Raises:
        UsageError: a candidate's runtime has no profile.
    """

    def __init__(
        self,
        table: CandidateTable,
        edge: Iterable[Profile],
        *,
        here: float = 1.0,
        there: float = 1.0,
        noise: float = 0.0,
        seed: int = 0,
    ) -> None:
        finish_s = _finish_s(edge)
        self.candidates = table.candidates
        self._noise = noise
        self._seed = seed
        self._works: dict[Candidate, Work] = {}
        for candidate, terms in zip(table.candidates, table.fixed_s.tolist(), strict=True):
            term = dict(zip(TERMS, terms, strict=True))
            key = candidate.edge_runtime, candidate.cut_id
            if key not in finish_s:
                raise UsageError(f"no profile of {candidate.edge_runtime} has the cut {candidate.cut}")
            self._works[candidate] = Work(
                head_s=term["head_s"],
                encode_s=term["encode_s"],
                there_s=term["decode_s"] + term["tail_s"] + term["encode_reply_s"],
                tail_s=term["tail_s"],
                decode_s=term["decode_reply_s"],
                finish_s=0.0 if candidate.is_local else finish_s[key],
                up_bytes=math.ceil(candidate.up_bytes),
                down_bytes=math.ceil(candidate.down_bytes),
                is_local=candidate.is_local,
            ).noisy(here, there)

    def of(self, candidate: Candidate, frame: int) -> Work:
        """What the frame of this number costs."""
        work = self._works[candidate]
        if not self._noise:
            return work
        draw = random.Random(f"{self._seed} {frame}")
        here, there = (math.exp(draw.gauss(0.0, self._noise)) for _ in range(2))
        return work.noisy(here, there)


def _finish_s(edge: Iterable[Profile]) -> Mapping[tuple[str, str], float]:
    """By runtime and cut: the device's own time from the cut to the end, preparing the input where the cut sends it."""
    found: dict[tuple[str, str], float] = {}
    for profile in edge:
        prepare_s = profile.source.preprocess.median_s if profile.source.preprocess else 0.0
        for cut in profile.cuts:
            sends_source = cut.codec("source") is not None
            found[profile.runtime.name, cut.id] = cut.suffix.median_s + (prepare_s if sends_source else 0.0)
    return found
