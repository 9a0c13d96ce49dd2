"""A profile for sizes that it was not measured at, such as another length of text.

What the graph knows exactly is exact: bytes, work and memory of every cut. Times are inferred: a side of a cut takes
longer as its floating-point operations grow, coding as the bytes before it do. Work without operations (a table
look-up) keeps its time, and so do the fixed costs of a call, so far from the measured sizes this is an estimate; it is
marked as calibrated. Energy grows as its times do, and is modelled. Weights, leakage, and what is said of the original
input of a picture, stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from partitioner.energy import EnergyProfile
from partitioner.errors import ProfileError
from partitioner.graph import Layer
from partitioner.plan import SOURCE
from partitioner.profile import (
    CodecCost,
    CutProfile,
    How,
    LayerProfile,
    Profile,
    SourceProfile,
    TensorCodecs,
    TensorSpec,
    Timing,
)
from partitioner.segments import Cut, CutCost, Cuts


def rescaled(profile: Profile, old: Cuts, new: Cuts, *, costs: Mapping[str, CutCost] | None = None) -> Profile:
    """The profile at the sizes of ``new``; itself where those are its own.

    Args:
        profile: of the model that both describe.
        old: the cuts that are run; the profile lists these.
        new: the same model under the binding wanted.
        costs: ``costs_of(old, new)`` where it is known: on a model of hundreds of layers it takes most of the time.

    Raises:
        ProfileError: the profile lists other cuts, or is of another model.
        BundleError: a size has no value under the binding.
    """
    if dict(profile.binding) == new.binding:
        return profile
    cuts = {cut.id: cut for cut in old.candidates}
    if costs is None:
        costs = costs_of(old, new)
    by_id = {layer.id: layer for layer in new.graph.layers}
    is_known = all(cut.id in cuts for cut in profile.cuts) and all(layer.id in by_id for layer in profile.layers)
    if not is_known or profile.model_digest != new.model_digest:
        raise ProfileError(f"the profile of {profile.model_name} is not of these cuts: make a new one")
    layers = tuple(_layer(each, by_id[each.id], new) for each in profile.layers)
    flops = sum(each.flops for each in profile.layers), sum(each.flops for each in layers)
    energy = profile.energy
    if energy is not None:
        energy = energy.stretched(
            whole=_ratio(*flops),
            prefixes=_never_falling(
                energy, {each.id: _ratio(each.edge_flops, costs[each.id].edge_flops) for each in profile.cuts}
            ),
            layers=[_ratio(before.flops, after.flops) for before, after in zip(profile.layers, layers, strict=True)],
        )
    return replace(
        profile,
        binding=dict(new.binding),
        layers=layers,
        flows=new.layer_graph.flows if profile.flows else (),
        cuts=tuple(_cut(each, cuts[each.id], costs[each.id], new) for each in profile.cuts),
        whole=_stretched(profile.whole, _ratio(*flops)),
        source=_source(profile.source, new),
        energy=energy,
    )


def costs_of(old: Cuts, new: Cuts) -> dict[str, CutCost]:
    """What the graph says of the cuts of ``old`` under the binding of ``new``, by their ids."""
    return {cut.id: new.cost(cut) for cut in old.candidates}


def _cut(before: CutProfile, cut: Cut, cost: CutCost, new: Cuts) -> CutProfile:
    up_bytes = sum(spec.nbytes for spec in before.crossing)
    down_bytes = sum(spec.nbytes for spec in before.reply)
    plain = before.codec("none")
    up_header_bytes = max(0, plain.up_bytes - up_bytes) if plain is not None else 0
    down_header_bytes = max(0, before.reply_cost.up_bytes - down_bytes)
    return replace(
        before,
        crossing=new.specs(cut.crossing),
        reply=new.specs(new.reply(cut)),
        edge_flops=cost.edge_flops,
        cloud_flops=cost.cloud_flops,
        edge_peak_bytes=cost.edge_peak_bytes,
        cloud_peak_bytes=cost.cloud_peak_bytes,
        prefix=_stretched(before.prefix, _ratio(before.edge_flops, cost.edge_flops)),
        suffix=_stretched(before.suffix, _ratio(before.cloud_flops, cost.cloud_flops)),
        codecs=tuple(
            each if each.codec.startswith(SOURCE) else _coded(each, up_bytes, cost.up_bytes, up_header_bytes)
            for each in before.codecs
        ),
        tensor_codecs=_tensor_codecs(before, new.specs(cut.crossing)),
        reply_cost=_coded(before.reply_cost, down_bytes, cost.down_bytes, down_header_bytes),
    )


def _tensor_codecs(before: CutProfile, after: tuple[TensorSpec, ...]) -> tuple[TensorCodecs, ...]:
    found: list[TensorCodecs] = []
    for each, old, new in zip(before.tensor_codecs, before.crossing, after, strict=False):
        plain = next((cost for cost in each.codecs if cost.codec == "none"), None)
        header_bytes = max(0, plain.up_bytes - old.nbytes) if plain is not None else 0
        costs = tuple(_coded(cost, old.nbytes, new.nbytes, header_bytes) for cost in each.codecs)
        found.append(TensorCodecs(name=each.name, codecs=costs))
    return tuple(found)


def _layer(before: LayerProfile, layer: Layer, new: Cuts) -> LayerProfile:
    flops = new.graph.flops_of(layer, new.binding)
    made = [new.graph.values[name] for name in layer.nodes if name in new.graph.values]
    return replace(
        before,
        forward=_stretched(before.forward, _ratio(before.flops, flops)),
        flops=flops,
        output_bytes=made[-1].nbytes(new.binding) if made else 0,
    )


def _source(before: SourceProfile, new: Cuts) -> SourceProfile:
    """Input tensors grow with their sizes; a picture is what it is."""
    if before.kind != "tensor":
        return before
    return replace(before, nbytes=sum(each.value.nbytes(new.binding) for each in new.graph.inputs))


def _stretched(timing: Timing, ratio: float) -> Timing:
    how: How = "predicted" if timing.how == "predicted" else "calibrated"
    return replace(timing.slowed(ratio), how=how, samples=0)


def _ratio(before: int, after: int) -> float:
    """How much more there is to do; 1 where there was, or is, nothing that is counted."""
    return after / before if before and after else 1.0


def _coded(cost: CodecCost, before_bytes: int, after_bytes: int, header_bytes: int) -> CodecCost:
    """The cost of a codec for a set of tensors of another size; their headers stay as they are."""
    ratio = _ratio(before_bytes, after_bytes)
    payload_bytes = _grown(max(0, cost.up_bytes - header_bytes), before_bytes, after_bytes)
    return replace(cost.slowed(ratio), up_bytes=payload_bytes + min(cost.up_bytes, header_bytes))


def _grown(nbytes: int, before_bytes: int, after_bytes: int) -> int:
    """Encoded bytes in proportion, rounded to the nearest: exact where nothing is packed."""
    if before_bytes == 0:
        return after_bytes
    return (2 * nbytes * after_bytes + before_bytes) // (2 * before_bytes)


def _never_falling(energy: EnergyProfile, ratios: Mapping[str, float]) -> dict[str, float]:
    """The ratios of prefixes, less where one would take more than a deeper one; cuts are in order."""
    known = {each.cut_id: each.total_j.value for each in energy.prefixes}
    found, most_j = {}, math.inf
    for cut_id, ratio in reversed(list(ratios.items())):
        energy_j = known[cut_id]
        most_j = min(most_j, energy_j * ratio)
        found[cut_id] = most_j / energy_j if energy_j > 0 else ratio
    return found
