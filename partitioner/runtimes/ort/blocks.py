"""Where a model is divided into blocks, so that the cut can move without building anything anew.

Every session ends in a copy out of the runtime's own memory layout and hides the operators behind it from the fusions
of the next, so blocks must be few and their ends narrow: of the cuts that send less than every shallower one, those are
taken that leave blocks of a fair share of the work, as long as what all of them cost stays a small share of the whole.
Another cut runs as blocks and a short piece.

Measured on one thread: twelve blocks cost MobileNetV2 28 % over one session; a block's end costs 0.1 ms and 0.25 ms a
megabyte. ``tests/benchmarks/test_runtimes.py`` holds the chain to 1.15 times the single session.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from partitioner.errors import SegmentError
from partitioner.plan import Segment
from partitioner.segments import Cut, Cuts
from partitioner.subgraph import extract

MOST_BLOCKS = 4
_LEAST_SHARE = 0.12
"""Of the model's work, in every block."""
MOST_COST = 0.08
"""Of the model's time, for all ends of blocks together."""
_END_S, _END_BYTES_PER_S = 1e-4, 4e9
_FLOP_PER_S, _MADE_BYTES_PER_S = 2e11, 1e10
"""Of a machine like the one that was measured; only the proportions matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A cut at which blocks meet: what crosses, and the outputs that are made before it."""

    depth: int
    crossing: frozenset[str]
    made: frozenset[str]


def bounds(cuts: Cuts, *, most_cost: float = MOST_COST) -> tuple[Bound, ...]:
    """The cuts at which blocks meet, by depth; all-cloud and all-local are not among them."""
    graph, binding = cuts.graph, cuts.binding
    work = [0.0]
    for layer in graph.layers:
        made = [graph.values[name].nbytes(binding) for name in layer.nodes if name in graph.values]
        seconds = graph.flops_of(layer, binding) / _FLOP_PER_S + sum(made[-1:]) / _MADE_BYTES_PER_S
        work.append(work[-1] + seconds)
    fewest: float = float("inf")
    found: list[tuple[int, Cut]] = []
    for cut in cuts.candidates:
        nbytes = sum(value.nbytes(binding) for value in cut.crossing)
        if not cut.is_local and cut.depth and nbytes < fewest:
            fewest = nbytes
            found.append((nbytes, cut))
    chosen: list[Cut] = []
    ends = [0.0, work[-1]]
    left_s = most_cost * work[-1]
    for nbytes, cut in sorted(found, key=lambda each: each[0]):
        at, cost_s = work[cut.depth], _END_S + nbytes / _END_BYTES_PER_S
        is_apart = all(abs(at - end) >= _LEAST_SHARE * work[-1] for end in ends)
        if len(chosen) < MOST_BLOCKS - 1 and is_apart and cost_s <= left_s:
            left_s -= cost_s
            ends.append(at)
            chosen.append(cut)
    return tuple(bound_of(cut) for cut in sorted(chosen, key=lambda each: each.depth))


def bound_of(cut: Cut) -> Bound:
    """What is known at a cut."""
    return Bound(
        depth=cut.depth,
        crossing=frozenset(value.name for value in cut.crossing),
        made=frozenset(cut.edge_outputs),
    )


def chain(cuts: Cuts, segment: Segment, bounds: Sequence[Bound]) -> tuple[Segment, ...]:
    """A segment as segments that run one after another, each over what those before it made.

    Only a bound that everything in the segment passes through is used; where none is, the segment stays whole.
    """
    graph = cuts.graph
    pieces: list[Segment] = []
    given = segment.inputs
    wanted = segment.outputs
    whole = {node.name for node in extract(graph, segment).nodes}
    for bound in bounds:
        early = tuple(name for name in wanted if name in bound.made and name not in given)
        inner = tuple(sorted(bound.crossing))
        if not bound.crossing or bound.crossing <= set(given):
            continue
        try:
            near = extract(graph, Segment(model_digest=segment.model_digest, inputs=given, outputs=inner))
            rest = tuple(name for name in wanted if name not in early)
            far = extract(graph, Segment(model_digest=segment.model_digest, inputs=inner, outputs=rest))
        except SegmentError:
            continue
        near_nodes = {node.name for node in near.nodes}
        if not rest or not near_nodes <= whole or not near_nodes or not far.nodes:
            continue
        outputs = tuple(dict.fromkeys((*inner, *early)))
        pieces.append(Segment(model_digest=segment.model_digest, inputs=given, outputs=outputs))
        given, wanted = inner, rest
    pieces.append(Segment(model_digest=segment.model_digest, inputs=given, outputs=wanted))
    return tuple(pieces)
