"""Cuts that no profile measured: priced from layer times, as much off as their neighbours are.

Layer times do not add up to a segment's, but what they are off by changes slowly with how much is computed. So a
segment's time is the sum of its layers' times the ratio of measured to summed time at the prefixes (or suffixes) of
nearly the same sum. Bytes are exact; codecs cost what they cost on the same tensor at another cut, or on the one
nearest in size (then nobody knows what a lossy one does to the answer, and it stays out). Memory is weights (counted
for each layer, also where layers share them) and the most that is alive at once between layers. Times are marked
calibrated. Energy is modelled: the layers' joules, brought between the fronts of the nearest sums, so that a cut which
keeps more on the device never takes less.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from partitioner.codecmix import EXACT
from partitioner.difference import INCOMPARABLE
from partitioner.energy import EnergyProfile, PrefixEnergy, Quantity, weakest
from partitioner.layergraph import INPUT, Flow, LayerGraph
from partitioner.plan import SOURCE
from partitioner.profile import CodecCost, CutProfile, Profile, TensorCodecs, TensorSpec, Timing

FloatArray = npt.NDArray[np.float64]


def graph_of(profile: Profile) -> LayerGraph:
    """The layers and flows of a profile."""
    return LayerGraph(layers=tuple(layer.id for layer in profile.layers), flows=profile.flows)


def layer_times_s(profile: Profile) -> FloatArray:
    """What each layer takes, scaled so that all of them take what the whole model does: (n,)."""
    times_s = np.array([layer.forward.median_s for layer in profile.layers], dtype=np.float64)
    total_s = float(times_s.sum())
    return times_s * (profile.whole.median_s / total_s) if total_s > 0 else times_s


def codecs_by_flow(profile: Profile) -> dict[str, tuple[CodecCost, ...]]:
    """What each codec costs on each flow, measured on it or on the tensor nearest in size."""
    near = _Neighbours.of(profile)
    return {flow.name: near.codecs_of(flow) for flow in profile.flows}


def with_cuts(profile: Profile, graph: LayerGraph, closed_sets: Iterable[frozenset[int]]) -> Profile:
    """The profile with cuts of its own for these closed sets; none of them may be a cut of it already."""
    near = _Neighbours.of(profile)
    sets = list(closed_sets)
    added = tuple(_cut(profile, graph, near, edge) for edge in sets)
    energy = profile.energy
    if energy is not None:
        ids = [cut.id for cut in added]
        energy = replace(energy, prefixes=(*energy.prefixes, *_prefixes(profile, energy, ids, sets)))
    return replace(profile, cuts=(*profile.cuts, *added), energy=energy)


def _prefixes(
    profile: Profile, energy: EnergyProfile, ids: Sequence[str], sets: Sequence[frozenset[int]]
) -> Iterator[PrefixEnergy]:
    """What closed sets take: between the fronts whose layers' joules add up to nearly the same."""
    layers_j = np.array([each.value for each in energy.layers], dtype=np.float64)
    before_j = np.concatenate([[0.0], np.cumsum(layers_j)])
    known = {each.cut_id: each for each in energy.prefixes}
    fronts = [(min(cut.depth, len(layers_j)), known[cut.id]) for cut in profile.cuts if cut.id in known]
    sums_j = before_j[[depth for depth, _ in fronts]]
    order = np.argsort(sums_j, kind="stable")
    total_j = np.array([front.total_j.value for _, front in fronts])[order]
    net_j = np.array([front.net_j.value for _, front in fronts])[order]
    origins = [quantity.origin for quantity in energy.layers] + [front.total_j.origin for _, front in fronts]
    origin = weakest("modelled", *origins)
    for cut_id, edge in zip(ids, sets, strict=True):
        sum_j = layers_j[sorted(edge)].sum()
        yield PrefixEnergy(
            cut_id=cut_id,
            total_j=Quantity(value=float(np.interp(sum_j, sums_j[order], total_j)), origin=origin),
            net_j=Quantity(value=float(np.interp(sum_j, sums_j[order], net_j)), origin=origin),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Neighbours:
    """What was measured: times by the sums of layer times, codecs by tensor."""

    layer_s: FloatArray
    prefix_s: tuple[FloatArray, FloatArray]
    suffix_s: tuple[FloatArray, FloatArray]
    codecs: Mapping[str, tuple[CodecCost, ...]]
    sizes: Sequence[tuple[int, str]]

    @staticmethod
    def of(profile: Profile) -> _Neighbours:
        layer_s = layer_times_s(profile)
        before_s = np.concatenate([[0.0], np.cumsum(layer_s)])
        depths = [min(cut.depth, len(layer_s)) for cut in profile.cuts]
        codecs: dict[str, tuple[CodecCost, ...]] = {}
        nbytes: dict[str, int] = {}
        for cut in profile.cuts:
            tensors = cut.tensor_codecs
            if len(cut.crossing) == 1:
                tensors = (TensorCodecs(name=cut.crossing[0].name, codecs=cut.codecs),)
            for each in tensors:
                codecs.setdefault(each.name, tuple(cost for cost in each.codecs if not cost.codec.startswith(SOURCE)))
            nbytes.update((spec.name, spec.nbytes) for spec in cut.crossing)
        return _Neighbours(
            layer_s=layer_s,
            prefix_s=_ratios(before_s[depths], [cut.prefix.median_s for cut in profile.cuts]),
            suffix_s=_ratios(before_s[-1] - before_s[depths], [cut.suffix.median_s for cut in profile.cuts]),
            codecs=codecs,
            sizes=sorted((nbytes[name], name) for name in codecs),
        )

    def codecs_of(self, flow: Flow) -> tuple[CodecCost, ...]:
        """What each codec costs on a tensor."""
        if (known := self.codecs.get(flow.name)) is not None:
            return known
        if not self.sizes:
            return (CodecCost(codec="none", up_bytes=flow.nbytes, encode_s=0.0, decode_s=0.0, deviation=0.0),)
        nbytes, name = min(self.sizes, key=lambda each: abs(each[0] - flow.nbytes))
        ratio = flow.nbytes / nbytes if nbytes else 1.0
        return tuple(
            replace(
                cost.slowed(ratio),
                up_bytes=round(cost.up_bytes * ratio),
                deviation=0.0 if cost.codec in EXACT else None,
                accuracy=None,
            )
            for cost in self.codecs[name]
        )


def _ratios(sums_s: FloatArray, measured_s: Sequence[float]) -> tuple[FloatArray, FloatArray]:
    """Sums of layer times, ascending, and how many times more was measured at each."""
    order = np.argsort(sums_s, kind="stable")
    sums_s, found_s = sums_s[order], np.array(measured_s)[order]
    known = sums_s > 0
    return sums_s[known], found_s[known] / sums_s[known]


def _at(sum_: float, ratios: tuple[FloatArray, FloatArray]) -> float:
    return float(sum_ * np.interp(sum_, *ratios)) if len(ratios[0]) else float(sum_)


def _inferred(sum_s: float, ratios: tuple[FloatArray, FloatArray], neighbours: Iterable[Timing]) -> Timing:
    """A time between others: predicted where they are."""
    is_predicted = any(each.how == "predicted" for each in neighbours)
    return Timing(median_s=_at(sum_s, ratios), samples=0, how="predicted" if is_predicted else "calibrated")


def _cut(profile: Profile, graph: LayerGraph, near: _Neighbours, edge: frozenset[int]) -> CutProfile:
    far = graph.needed - edge
    sent, reply = graph.crossing(edge), graph.reply(edge)
    tensors = tuple(TensorCodecs(name=flow.name, codecs=near.codecs_of(flow)) for flow in sent)
    layers = profile.layers
    return CutProfile(
        id=graph.id_of(edge),
        name=graph.name_of(edge),
        depth=len(edge),
        crossing=tuple(_spec(flow) for flow in sent),
        reply=tuple(_spec(flow) for flow in reply),
        edge_outputs=tuple(flow.name for flow in graph.flows if flow.is_output and flow.producer in edge),
        edge_flops=sum(layers[index].flops for index in edge),
        cloud_flops=sum(layers[index].flops for index in far),
        edge_weight_bytes=sum(layers[index].weight_bytes for index in edge),
        cloud_weight_bytes=sum(layers[index].weight_bytes for index in far),
        edge_peak_bytes=_peak_bytes(graph, edge),
        cloud_peak_bytes=_peak_bytes(graph, far),
        prefix=_inferred(near.layer_s[sorted(edge)].sum(), near.prefix_s, (cut.prefix for cut in profile.cuts)),
        suffix=_inferred(near.layer_s[sorted(far)].sum(), near.suffix_s, (cut.suffix for cut in profile.cuts)),
        codecs=_together(tensors),
        tensor_codecs=tensors if len(tensors) > 1 else (),
        reply_cost=_reply_cost(profile, reply),
    )


def _together(tensors: Sequence[TensorCodecs]) -> tuple[CodecCost, ...]:
    """Each codec that every tensor has, on all of them."""
    names = [cost.codec for cost in tensors[0].codecs] if tensors else []
    found = []
    for name in names:
        costs = [cost for each in tensors for cost in each.codecs if cost.codec == name]
        if len(costs) < len(tensors):
            continue
        deviations = [cost.deviation for cost in costs if cost.deviation is not None]
        found.append(
            CodecCost(
                codec=name,
                up_bytes=sum(cost.up_bytes for cost in costs),
                encode_s=sum(cost.encode_s for cost in costs),
                decode_s=sum(cost.decode_s for cost in costs),
                deviation=min(sum(deviations), INCOMPARABLE) if len(deviations) == len(costs) else None,
            )
        )
    return tuple(found)


def _reply_cost(profile: Profile, reply: Sequence[Flow]) -> CodecCost:
    """The cost of a measured cut's reply of the same tensors, or of the whole one's in proportion to its bytes."""
    names = {flow.name for flow in reply}
    for cut in profile.cuts:
        if cut.reply and {spec.name for spec in cut.reply} == names:
            return cut.reply_cost
    whole = profile.cuts[0]
    all_bytes = sum(spec.nbytes for spec in whole.reply)
    ratio = sum(flow.nbytes for flow in reply) / all_bytes if all_bytes else 1.0
    return replace(whole.reply_cost.slowed(ratio), up_bytes=round(whole.reply_cost.up_bytes * ratio))


def _peak_bytes(graph: LayerGraph, layers: Set[int]) -> int:
    """The most bytes of flows alive at once while these layers run in order."""
    steps: dict[int, int] = {}
    for flow in graph.flows:
        readers = [index for index in flow.consumers if index in layers]
        is_made = flow.producer in layers
        if not (is_made or readers):
            continue
        stays = is_made and (flow.is_output or len(readers) < len(flow.consumers))
        begin = flow.producer if is_made else INPUT
        end = len(graph.layers) if stays else max(readers, default=flow.producer)
        steps[begin] = steps.get(begin, 0) + flow.nbytes
        steps[end + 1] = steps.get(end + 1, 0) - flow.nbytes
    alive = peak = 0
    for _, change in sorted(steps.items()):
        alive += change
        peak = max(peak, alive)
    return peak


def _spec(flow: Flow) -> TensorSpec:
    return TensorSpec(name=flow.name, dtype=flow.dtype, shape=flow.shape, nbytes=flow.nbytes)
