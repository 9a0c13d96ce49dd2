"""What crosses at cuts that are not run by themselves: all of it from a few runs of the whole model.

How far a tensor packs depends on what is in it (half of a rectified one is zeros), so a neighbour's ratio can be off by
a factor of two, and with it the whole price of a cut. One run that gives out every crossing tensor costs as much as one
head, however many cuts there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from partitioner.plan import Segment
from partitioner.runtimes import Array, Engine
from partitioner.segments import Cut, CutCost, Cuts

_HELD_BYTES = 256 << 20
"""Crossing tensors that one run may leave in memory."""

Crossing = tuple[Cut, dict[str, Array], dict[str, Array]]


def crossings(
    engine: Engine, cuts: Cuts, wanted: Sequence[Cut], tensors: Mapping[str, Array], costs: Mapping[str, CutCost]
) -> Iterator[Crossing]:
    """Each cut, in the order given, with what goes up and what comes back for these inputs.

    Raises:
        SegmentError: the runtime cannot give out tensors from the middle.
    """
    for group in _groups(wanted, costs):
        replies = {cut.id: [value.name for value in cuts.reply(cut)] for cut in group}
        names = dict.fromkeys(name for cut in group for name in (*_up(cut), *replies[cut.id]))
        made: dict[str, Array] = dict(tensors)
        if asked := tuple(name for name in names if name not in tensors):
            whole = cuts.whole()
            segment = Segment(model_digest=whole.model_digest, inputs=whole.inputs, outputs=asked)
            made.update(engine.segment(segment)(tensors))
        for cut in group:
            yield cut, {name: made[name] for name in _up(cut)}, {name: made[name] for name in replies[cut.id]}


def _up(cut: Cut) -> list[str]:
    return [value.name for value in cut.crossing]


def _groups(wanted: Sequence[Cut], costs: Mapping[str, CutCost]) -> Iterator[list[Cut]]:
    group: list[Cut] = []
    held_bytes = 0
    for cut in wanted:
        if group and held_bytes + costs[cut.id].up_bytes > _HELD_BYTES:
            yield group
            group, held_bytes = [], 0
        group.append(cut)
        held_bytes += costs[cut.id].up_bytes
    if group:
        yield group
