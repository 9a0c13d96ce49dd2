"""Candidates beside the measured prefixes: cuts through branches that are optimal for some uplink rate.

Where layer times add, the best cut for every rate is on the min-cut envelope (``optimize.envelope``); the most frugal
one is on that of joules, where the device's energy is known and more than latency may be asked for. What is paid once
for anything remote only ever favours all-local, so one envelope without it serves every round trip and every queue. Its
cuts that are no prefixes join the measured ones, priced as ``cost.unmeasured`` says. A chain has none, and costs
nothing here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np

from partitioner.codecmix import EXACT
from partitioner.cost import NOT_COUNTED, Candidate, CandidateTable, FloatArray, RadioUse, Row, check_sides
from partitioner.cost.unmeasured import codecs_by_flow, graph_of, layer_times_s, with_cuts
from partitioner.energy import EnergyProfile
from partitioner.layergraph import INPUT, LayerGraph
from partitioner.optimize.additive import AdditiveModel, Line, Option
from partitioner.optimize.constraints import Constraints
from partitioner.optimize.problem import Wiring
from partitioner.optimize.proposals import fewer, lines, prefix_depths, proposals
from partitioner.plan import SOURCE
from partitioner.profile import ALL_CLOUD, ALL_LOCAL, CodecCost, Profile
from partitioner.radio import RadioModel


def with_branches(
    edge: Sequence[Profile],
    cloud: Sequence[Profile],
    *,
    codecs: Collection[str] | None,
    kept: Constraints,
    source_bytes: int | None,
    down_per_up: float,
    slowdown: float,
    closed_sets: Collection[frozenset[int]] = (),
    is_wide: bool = False,
    radio: RadioUse = NOT_COUNTED,
) -> CandidateTable:
    """Every admitted candidate of the profiles, cuts through branches among them.

    Args:
        edge: of the device, one for each runtime.
        cloud: of the worker, likewise.
        codecs: admitted codecs; None admits every measured one.
        kept: what the cuts through branches must keep on the device, and how far answers may be off.
        source_bytes: size of the original input in place of the profile's.
        down_per_up: how many times faster the way down is.
        slowdown: of the worker under its load.
        closed_sets: further cuts, by the layers that they keep on the device.
        is_wide: whether something else than latency may be asked for; what ``kept`` bounds may.
        radio: what the network takes beside the device's idle power.

    Raises:
        ProfileError: the profiles do not belong together.
        UsageError: a codec was measured at no cut, or a pin names no layer.
    """
    check_sides(edge, cloud)
    graph = graph_of(edge[0])
    found = {graph.id_of(each): each for each in closed_sets if _is_branch(graph, each)}
    if graph.flows and not graph.is_chain:
        weights = np.array([layer.weight_bytes for layer in edge[0].layers], dtype=np.float64)
        pinned = _pinned(kept, graph.layers)
        is_wide = is_wide or kept.is_wide
        for near in edge:
            for far in cloud:
                make = partial(_model, graph, near, far, codecs=codecs, kept=kept, pinned=pinned, slowdown=slowdown)
                model = make()
                sets = proposals(
                    model,
                    down_per_up=down_per_up,
                    is_wide=is_wide,
                    weight_bytes=weights if kept.bounds_memory else None,
                )
                is_possible = partial(_is_possible, graph, model, kept, weights)
                possible = list(filter(is_possible, sets))
                chosen = fewer(model, possible, down_per_up=down_per_up) if is_wide else possible
                if is_wide and near.energy is not None:
                    frugal = _frugal(make(energy=near.energy), near.energy, radio.model, down_per_up=down_per_up)
                    chosen = [*chosen, *filter(is_possible, frugal)]
                found |= {graph.id_of(each): each for each in chosen}
        edge = [with_cuts(near, graph, found.values()) for near in edge]
        cloud = [with_cuts(far, graph, found.values()) for far in cloud]
    return CandidateTable.from_profiles(
        edge,
        cloud,
        codecs=codecs,
        max_deviation=kept.max_deviation,
        min_accuracy=kept.min_accuracy,
        source_bytes=source_bytes,
        closed_sets=found,
        radio=radio,
    )


def additive_table(
    model: AdditiveModel,
    *,
    layers: Sequence[str] = (),
    kept: Constraints,
    down_per_up: float,
    slowdown: float,
    is_wide: bool = False,
) -> CandidateTable:
    """The candidates of a model whose layer times add: its prefixes and its envelope, by every codec of some rate."""
    names = tuple(layers) or tuple(f"layer{index}" for index in range(model.wiring.layers))
    pinned = model.pinned.copy()
    pinned[sorted(_pinned(kept, names))] = True
    loaded = replace(model, cloud_s=model.cloud_s * slowdown, pinned=pinned)
    is_wide = is_wide or kept.is_wide
    known = lines(loaded, down_per_up=down_per_up)
    sets = {frozenset(range(depth)) for depth in prefix_depths(loaded)}
    sets |= proposals(loaded, down_per_up=down_per_up, is_wide=True) if is_wide else {line.edge for line in known}
    rates = [0.0]
    if any(len(ways) > 1 for ways in model.options):
        rates += [np.inf, *_crossings(known)]
    found = {(line.edge, tuple(line.codecs.items())): line for line in known}
    for edge in sets:
        for rate in rates:
            line = model.line(edge, up_s_per_byte=rate, down_per_up=down_per_up)
            found.setdefault((line.edge, tuple(line.codecs.items())), line)
    rows = [_additive_row(model, line) for line in found.values()]
    return CandidateTable.from_rows(rows, model_name="additive", model_digest="", layers=names)


def _crossings(known: Sequence[Line]) -> Iterator[float]:
    """Seconds per byte at which one line of an envelope passes into the next."""
    for before, after in pairwise(known):
        yield (after.offset_s - before.offset_s) / (before.nbytes - after.nbytes)


def _pinned(kept: Constraints, layers: Sequence[str]) -> frozenset[int]:
    """The layers that every plan keeps on the device."""
    return frozenset(range(min(kept.min_depth, len(layers)))).union(*kept.kept(layers).values())


def _is_branch(graph: LayerGraph, edge: frozenset[int]) -> bool:
    """Whether a closed set is no prefix and leaves something to the cloud."""
    return edge != frozenset(range(len(edge))) and not graph.needed <= edge and bool(graph.crossing(edge))


def _is_possible(
    graph: LayerGraph, model: AdditiveModel, kept: Constraints, weights: FloatArray, edge: frozenset[int]
) -> bool:
    """Whether a closed set is a cut through branches within the limits on weights and bytes."""
    if not _is_branch(graph, edge):
        return False
    sides = ((kept.max_edge_bytes, edge), (kept.max_cloud_bytes, graph.needed - edge))
    has_room = all(most is None or weights[sorted(layers)].sum() <= most for most, layers in sides)
    return has_room and (kept.max_up_bytes is None or _least_bytes(model, edge) <= kept.max_up_bytes)


def _least_bytes(model: AdditiveModel, edge: frozenset[int]) -> float:
    """What a cut sends where every flow goes by the codec that packs it best."""
    sent = np.flatnonzero(model.wiring.crosses(model.wiring.mask(edge))).tolist()
    least: float = sum(min(option.nbytes for option in model.options[flow]) for flow in sent)
    return least


def _model(
    graph: LayerGraph,
    edge: Profile,
    cloud: Profile,
    *,
    codecs: Collection[str] | None,
    kept: Constraints,
    pinned: frozenset[int],
    slowdown: float,
    energy: EnergyProfile | None = None,
) -> AdditiveModel:
    """The additive model of two profiles; a lossy codec is an option where it alone keeps the bound on the answer.

    With ``energy``, joules of the device stand for seconds: what its layers take, and idling while the worker computes.
    """
    wiring = Wiring.from_graph(graph)
    near_w, far_w = (1.0, 1.0) if energy is None else (energy.active_w.value, energy.idle_w.value)
    layers_s = layer_times_s(edge) if energy is None else np.array([each.value for each in energy.layers])
    near, far = codecs_by_flow(edge), codecs_by_flow(cloud)
    options = tuple(
        tuple(
            Option(
                codec=cost.codec,
                nbytes=cost.up_bytes,
                work_s=near_w * cost.encode_s + far_w * there[cost.codec].decode_s,
            )
            for there in [{cost.codec: cost for cost in far[flow.name]}]
            for cost in near[flow.name]
            if cost.codec in there and _is_admitted(cost, codecs, kept)
        )
        or (Option(nbytes=flow.nbytes),)
        for flow in graph.flows
    )
    reply = edge.cuts[0].reply_cost
    return AdditiveModel(
        wiring=wiring,
        edge_s=layers_s * wiring.needed,
        cloud_s=far_w * layer_times_s(cloud) * wiring.needed * slowdown,
        options=options,
        replies={
            index: Option(codec=reply.codec, nbytes=flow.nbytes)
            for index, flow in enumerate(graph.flows)
            if flow.is_output and flow.producer != INPUT
        },
        pinned=wiring.mask(pinned),
    )


def _frugal(
    joules: AdditiveModel, energy: EnergyProfile, radio: RadioModel, *, down_per_up: float
) -> set[frozenset[int]]:
    """The closed sets that take least from the device at some rate.

    Along an axis of joules for an uplink byte these are an envelope like that of latency. A byte down costs a share of
    one up that depends on the rate, between that on slow links, where time alone counts, and that on the fastest ones.
    """
    idle_w = energy.idle_w.value
    waits = [
        idle_w + radio.base_w + w_per_mbit * (most or 0.0)
        for w_per_mbit, most in ((radio.up_w_per_mbit, radio.max_up_mbit), (radio.down_w_per_mbit, radio.max_down_mbit))
    ]
    ratios = {down_per_up, down_per_up * waits[0] / waits[1] if min(waits) > 0 else down_per_up}
    return {line.edge for ratio in ratios for line in lines(joules, down_per_up=ratio, is_rough=True)}


def _is_admitted(cost: CodecCost, codecs: Collection[str] | None, kept: Constraints) -> bool:
    if cost.codec.startswith(SOURCE) or not (codecs is None or cost.codec in codecs):
        return False
    if cost.codec in EXACT or kept.max_deviation is None:
        return True
    return cost.deviation is not None and cost.deviation <= kept.max_deviation


def _additive_row(model: AdditiveModel, line: Line) -> Row:
    edge = line.edge
    kept = model.wiring.mask(edge)
    depth = len(edge)
    is_prefix = edge == frozenset(range(depth))
    head_s = float(model.edge_s[kept].sum())
    if model.wiring.is_local(kept):
        return Row(candidate=_candidate(ALL_LOCAL, model.wiring.layers, None, "none", 0, 0), head_s=head_s)
    chosen = list(_chosen(model, line))
    down = [
        model.replies[flow] for flow in np.flatnonzero(~model.wiring.is_near(kept)).tolist() if flow in model.replies
    ]
    name = ALL_CLOUD if not edge else f"depth:{depth}" if is_prefix else f"upto:{','.join(map(str, sorted(edge)))}"
    codec = ",".join(option.codec for option in chosen) or "none"
    up_bytes, down_bytes = sum(each.nbytes for each in chosen), sum(each.nbytes for each in down)
    return Row(
        candidate=_candidate(name, depth, None if is_prefix else edge, codec, up_bytes, down_bytes),
        head_s=head_s,
        encode_s=sum(option.work_s for option in chosen),
        decode_s=model.fixed_s,
        tail_s=float(model.cloud_s[~kept].sum()),
        encode_reply_s=sum(option.work_s for option in down),
    )


def _chosen(model: AdditiveModel, line: Line) -> Iterator[Option]:
    for flow, codec in line.codecs.items():
        yield next(option for option in model.options[flow] if option.codec == codec)


def _candidate(
    name: str, depth: int, edge: frozenset[int] | None, codec: str, up_bytes: float, down_bytes: float
) -> Candidate:
    return Candidate(
        cut=name,
        cut_id=name,
        codec=codec,
        depth=depth,
        edge_layers=edge,
        up_bytes=up_bytes,
        down_bytes=down_bytes,
        is_calibrated=False,
    )
