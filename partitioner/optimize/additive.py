"""The additive model of a split: layer times that add, and for each flow the codecs it may travel by.

Under a link it becomes a ``SplitProblem``: each flow crosses by whichever codec is cheapest there, encoding and
decoding included. A closed set with a codec for each flow that crosses is a *line*: ``offset_s`` whatever the link, and
``nbytes`` that cost 1/uplink each, the way down counted in bytes of the way up.

Layer times do not add, so this model proposes cuts, and ``cost`` judges them with measured times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from partitioner.optimize.problem import BoolArray, FloatArray, IntArray, SplitProblem, Wiring


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One way to send a flow: its bytes, and what encoding and decoding take together."""

    codec: str = "none"
    nbytes: float
    work_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A closed set, a codec for each flow that crosses (by its index), and its price ``offset_s + nbytes * x`` where a
    byte sent up takes ``x`` seconds.
    """

    edge: frozenset[int]
    codecs: Mapping[int, str] = field(hash=False)
    offset_s: float
    nbytes: float

    def price(self, s_per_byte: float) -> float:
        """Seconds at a rate; a line without bytes costs the same on a dead link."""
        return self.offset_s + (self.nbytes * s_per_byte if self.nbytes else 0.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class AdditiveModel:
    """Seconds of each layer on either side (n,), the ways each flow may be sent up, and how each output comes down.

    ``replies`` maps the index of an output's flow to its one way down. ``fixed_s`` is paid once where anything is
    remote (round trip, queue). A flow without options never crosses.
    """

    wiring: Wiring
    edge_s: FloatArray
    cloud_s: FloatArray
    options: tuple[tuple[Option, ...], ...]
    replies: Mapping[int, Option]
    pinned: BoolArray
    fixed_s: float = 0.0

    @staticmethod
    def plain(
        wiring: Wiring,
        *,
        edge_s: Sequence[float],
        cloud_s: Sequence[float],
        nbytes: Sequence[float],
        reply_bytes: Mapping[int, float],
        fixed_s: float = 0.0,
        pinned: Set[int] = frozenset(),
    ) -> AdditiveModel:
        """A model whose flows are sent as they are."""
        return AdditiveModel(
            wiring=wiring,
            edge_s=np.array(edge_s, dtype=np.float64),
            cloud_s=np.array(cloud_s, dtype=np.float64),
            options=tuple((Option(nbytes=each),) for each in nbytes),
            replies={flow: Option(nbytes=each) for flow, each in reply_bytes.items()},
            pinned=wiring.mask(pinned),
            fixed_s=fixed_s,
        )

    def at(self, up_s_per_byte: float, down_s_per_byte: float) -> SplitProblem:
        """The problem on a link of these rates; infinite ones forbid what has any bytes."""
        up_s = np.full(self.wiring.flows, np.inf)
        np.minimum.at(up_s, self._flow, self._work_s + _times(self._nbytes, up_s_per_byte))
        return SplitProblem(
            wiring=self.wiring,
            edge_s=self.edge_s,
            cloud_s=self.cloud_s,
            up_s=up_s,
            down_s=self._reply_s + _times(self._reply_bytes, down_s_per_byte),
            fixed_s=self.fixed_s,
            pinned=self.pinned,
        )

    def line(self, edge: Set[int], *, up_s_per_byte: float, down_per_up: float) -> Line:
        """The line of a closed set with the codecs that are cheapest at a rate, fewer bytes where they are equal.

        Args:
            down_per_up: how many times faster the way down is than the way up.
        """
        kept = self.wiring.mask(edge)
        offset_s = float(self.edge_s[kept].sum())
        if self.wiring.is_local(kept):
            return Line(edge=frozenset(edge), codecs={}, offset_s=offset_s, nbytes=0.0)
        chosen: dict[int, Option] = {}
        for flow in np.flatnonzero(self.wiring.crosses(kept)).tolist():
            costs = [
                (option.work_s + _time(option.nbytes, up_s_per_byte), option.nbytes) for option in self.options[flow]
            ]
            chosen[flow] = self.options[flow][costs.index(min(costs))]
        far = ~self.wiring.is_near(kept)
        offset_s += float(self.cloud_s[~kept].sum()) + float(self._reply_s[far].sum()) + self.fixed_s
        offset_s += sum(option.work_s for option in chosen.values())
        down_bytes = float(self._reply_bytes[far].sum())
        return Line(
            edge=frozenset(edge),
            codecs={flow: option.codec for flow, option in chosen.items()},
            offset_s=offset_s,
            nbytes=sum(option.nbytes for option in chosen.values()) + down_bytes / down_per_up,
        )

    @cached_property
    def _flow(self) -> IntArray:
        return np.array([flow for flow, ways in enumerate(self.options) for _ in ways], dtype=np.int64)

    @cached_property
    def _nbytes(self) -> FloatArray:
        return np.array([option.nbytes for ways in self.options for option in ways], dtype=np.float64)

    @cached_property
    def _work_s(self) -> FloatArray:
        return np.array([option.work_s for ways in self.options for option in ways], dtype=np.float64)

    @cached_property
    def _reply_s(self) -> FloatArray:
        return self._by_flow({flow: option.work_s for flow, option in self.replies.items()})

    @cached_property
    def _reply_bytes(self) -> FloatArray:
        return self._by_flow({flow: option.nbytes for flow, option in self.replies.items()})

    def _by_flow(self, found: Mapping[int, float]) -> FloatArray:
        array = np.zeros(self.wiring.flows)
        array[list(found)] = list(found.values())
        return array


def _times(nbytes: FloatArray, s_per_byte: float) -> FloatArray:
    """Seconds that bytes take; none take no time on a dead link either."""
    return np.multiply(nbytes, s_per_byte, where=nbytes > 0, out=np.zeros_like(nbytes))


def _time(nbytes: float, s_per_byte: float) -> float:
    return nbytes * s_per_byte if nbytes else 0.0
