"""What a graph says of a model without running it: its layers, their work and weights, and what every cut sends.

A profile has these beside its times; where nothing was ever run, they are what a prediction starts from. All that is
unknown is left at zero and marked ``predicted``.
"""

from __future__ import annotations

from dataclasses import replace

from partitioner.cutprofile import ALL_CLOUD, CodecCost, CutProfile, Timing
from partitioner.dims import Binding, shape_of
from partitioner.graph import Graph, Layer, Node
from partitioner.layers import short_op
from partitioner.plan import SOURCE
from partitioner.profile import DeviceInfo, LayerProfile, Profile, RuntimeRecord, SourceProfile, Weights
from partitioner.segments import Cut, CutCost, Cuts
from partitioner.subgraph import weight_bytes

UNKNOWN = Timing(median_s=0.0, samples=0, how="predicted")


def layer_of(graph: Graph, layer: Layer, binding: Binding, forward: Timing = UNKNOWN) -> LayerProfile:
    """A layer as the graph describes it, with the time that is known of it."""
    weights = {name for node in layer.nodes for name in graph.node[node].refs()} & set(graph.weight)
    made = [graph.values[name] for name in layer.nodes if name in graph.values]
    window, groups = _window(graph, layer, binding)
    return LayerProfile(
        id=layer.id,
        name=layer.id,
        kind=layer.kind,
        forward=forward,
        flops=graph.flops_of(layer, binding),
        weight_bytes=weight_bytes(graph, weights),
        output_bytes=made[-1].nbytes(binding) if made else 0,
        window=window,
        groups=groups,
    )


def structure_of(
    graph: Graph, *, digest: str, name: str, weights: Weights, binding: Binding, pixels: int | None
) -> Profile:
    """A profile of a model that nobody ran, for ``predict``: sizes are exact, times and packed sizes are missing.

    ``pixels``: bytes of the original picture, where the model prepares one; None where tensors are its input.
    """
    cuts = Cuts(graph, digest, binding=binding)
    given = sum(graph.values[each].nbytes(binding) for each in graph.input_names)
    source = SourceProfile(
        kind="tensor" if pixels is None else "pixels",
        nbytes=given if pixels is None else pixels,
        how="assumed",
        preprocess=None if pixels is None else UNKNOWN,
    )
    return Profile(
        model_digest=digest,
        model_name=name,
        weights=weights,
        device=DeviceInfo(name="", machine="", cpu="", cores=0),
        runtime=RuntimeRecord(name="", device="", threads=1, versions={}),
        binding=binding,
        layers=tuple(layer_of(graph, layer, binding) for layer in graph.layers),
        flows=cuts.layer_graph.flows,
        cuts=tuple(_cut(cuts, cut, source) for cut in cuts.candidates),
        whole=UNKNOWN,
        source=source,
        peak_rss_bytes=0,
        noise_ratio=0.0,
        noisy=False,
        created="",
    )


def cut_structure(cuts: Cuts, cut: Cut, cost: CutCost) -> CutProfile:
    """What the graph says of one cut: nothing timed, and what crosses sent as it is."""
    return CutProfile(
        id=cut.id,
        name=cut.name,
        aliases=cut.aliases,
        depth=cut.depth,
        crossing=cuts.specs(cut.crossing),
        reply=cuts.specs(cuts.reply(cut)),
        edge_outputs=cut.edge_outputs,
        edge_flops=cost.edge_flops,
        cloud_flops=cost.cloud_flops,
        edge_weight_bytes=cost.edge_weight_bytes,
        cloud_weight_bytes=cost.cloud_weight_bytes,
        edge_peak_bytes=cost.edge_peak_bytes,
        cloud_peak_bytes=cost.cloud_peak_bytes,
        prefix=UNKNOWN,
        suffix=UNKNOWN,
        codecs=(_as_it_is("none", cost.up_bytes),) if cut.crossing else (),
        reply_cost=_as_it_is("none", cost.down_bytes),
    )


def _cut(cuts: Cuts, cut: Cut, source: SourceProfile) -> CutProfile:
    found = cut_structure(cuts, cut, cuts.cost(cut))
    if cut.name != ALL_CLOUD or source.preprocess is None or not cut.crossing:
        return found
    return replace(found, codecs=(*found.codecs, _as_it_is(SOURCE, source.nbytes)))


def _as_it_is(codec: str, nbytes: int) -> CodecCost:
    return CodecCost(codec=codec, up_bytes=nbytes, encode_s=0.0, decode_s=0.0, deviation=0.0)


def _window(graph: Graph, layer: Layer, binding: Binding) -> tuple[int, int]:
    """Positions that one output reads, and groups of channels: of a convolution or pooling; 1 and 1 of other layers."""
    for name in layer.nodes:
        node = graph.node[name]
        op = short_op(node.op)
        if op.startswith("conv"):
            return _convolution(graph, node, binding, is_transposed="transpose" in op)
        if "pool" in op and "adaptive" not in op and len(node.args) > 1:
            return _area(node, axes=len(node.value.shape) - 2 if node.value else 2), 1
    return 1, 1


def _convolution(graph: Graph, node: Node, binding: Binding, *, is_transposed: bool) -> tuple[int, int]:
    given, kernel = (shape_of(graph.value_of(name).shape, binding) for name in node.refs()[:2])
    made = shape_of(node.value.shape, binding) if node.value else given
    whole = made if is_transposed else given  # a kernel's second axis has one group's channels of it
    window = 1
    for size in kernel[2:]:
        window *= size
    has_groups = len(whole) == len(kernel) > 2 and kernel[1] > 0
    return max(window, 1), max(whole[1] // kernel[1], 1) if has_groups else 1


def _area(node: Node, *, axes: int) -> int:
    """Of a pooling's kernel: a size for each axis, or one for all."""
    sizes = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
    whole = [size for size in sizes if isinstance(size, int)]
    area = 1
    for size in whole * (axes if len(whole) == 1 else 1):
        area *= size
    return max(area, 1)
