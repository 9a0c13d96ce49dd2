"""The oracle: knows the whole trace and every true time, and takes for each frame the plan that ends it first.

Its rule, exactly: at a frame's start, every candidate is followed to its end with the rates, delays, and device and
worker times that will really be; the one that ends first is taken, of equal ones the first. Bytes leave as fast as the
rate allows from the moment they are encoded: no chunk waits for an acknowledgement, none has a header, and nothing is
left of earlier frames. It never finishes elsewhere than its plan says, and looks no further than this frame's end. So
no plan of one cut can answer the frame sooner from that start.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.simulate.trace import Trace
from edge.simulate.truth import Truth, Work
from edge.simulate.world import Air
from partitioner.cost import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """The best plan for a frame, and how long it takes."""

    candidate: Candidate
    took_s: float


class Oracle:
    """Answers by the best plan there is."""

    def __init__(self, trace: Trace, truth: Truth) -> None:
        self._trace = trace
        self._truth = truth

    def best(self, frame: int, start_s: float) -> Foreseen:
        """The best plan for a frame that starts at a time."""
        return min(
            (
                Foreseen(candidate=each, took_s=self.took_s(self._truth.of(each, frame), start_s))
                for each in self._truth.candidates
            ),
            key=lambda foreseen: foreseen.took_s,
        )

    def took_s(self, work: Work, start_s: float) -> float:
        """How long a frame takes over an idle link; infinite where it never ends."""
        if work.is_local:
            return work.head_s
        air = Air(self._trace)
        there_s = air.up.send(work.up_bytes, start_s + work.head_s + work.encode_s)
        if there_s == float("inf"):
            return there_s
        return air.down.send(work.down_bytes, there_s + work.there_s) + work.decode_s - start_s
