"""Cuts of a model: which there are, what crosses each, and the plan that runs one.

A cut keeps a set of layers on the edge that is closed under precedence; the candidates are the prefixes of the layers'
topological order. Every closed set can be run: what must cross follows from the graph (``subgraph``), and outputs that
are made early stay on the edge. Of two cuts that cost the same work and cross as much, only the earlier is listed.
A cut through branches that is no prefix is called ``upto:A+B``: layers A and B and all that they depend on.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property

from partitioner.cutprofile import ALL_CLOUD, ALL_LOCAL, TensorSpec
from partitioner.dims import Binding, shape_of
from partitioner.errors import PlanError
from partitioner.graph import Graph, Layer, Value
from partitioner.layergraph import UPTO, LayerGraph, closed_set_id, layer_graph
from partitioner.layers import peak_bytes
from partitioner.plan import SOURCE, Plan, Segment, Stage
from partitioner.subgraph import crossing, extract, weight_bytes

LOCAL = ALL_LOCAL
CLOUD = ALL_CLOUD


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """One place to cut a model: ``depth`` layers stay on the edge, those of indices ``edge_layers``.

    ``crossing`` goes up, ``reply`` comes down (outputs that the cloud makes); ``edge_outputs`` are made on the edge.
    """

    id: str
    name: str
    aliases: tuple[str, ...]
    depth: int
    edge_layers: frozenset[int]
    crossing: tuple[Value, ...]
    reply: tuple[str, ...]
    edge_outputs: tuple[str, ...]

    @property
    def is_local(self) -> bool:
        """Whether nothing crosses."""
        return not self.reply


@dataclass(frozen=True, slots=True, kw_only=True)
class CutCost:
    """What the graph says of a cut under a binding of its sizes; times are measured, not said here."""

    up_bytes: int
    down_bytes: int
    edge_flops: int
    cloud_flops: int
    edge_weight_bytes: int
    cloud_weight_bytes: int
    edge_peak_bytes: int
    cloud_peak_bytes: int


class Cuts:
    """The candidate cuts of one model."""

    def __init__(self, graph: Graph, model_digest: str, *, binding: Binding | None = None) -> None:
        self.graph = graph
        self.model_digest = model_digest
        self.binding = dict(graph.example_binding if binding is None else binding)
        self._names = _names(graph.layers)

    @cached_property
    def candidates(self) -> tuple[Cut, ...]:
        """Cuts from all-cloud (depth 0) to all-local (every layer), by depth."""
        found: list[Cut] = []
        seen: set[tuple[object, ...]] = set()
        last = len(self.graph.layers)
        flops = [self.graph.flops_of(layer, self.binding) for layer in self.graph.layers]
        for depth in range(last + 1):
            cut = self._cut(range(depth))
            work = (sum(flops[:depth]), tuple(value.name for value in cut.crossing))
            if cut.is_local and depth < last:
                continue  # every output is made already: this is all-local with dead layers left out
            if depth not in (0, last) and work in seen:
                continue
            seen.add(work)
            found.append(cut)
        return tuple(found)

    @cached_property
    def layer_graph(self) -> LayerGraph:
        """The layers and what flows between them."""
        return layer_graph(self.graph, self.binding)

    def from_layers(self, layer_ids: Iterable[str]) -> Cut:
        """The cut that keeps these layers on the edge; a candidate where they are one's.

        Raises:
            PlanError: a layer is unknown, or depends on one that is not among them.
        """
        edge = frozenset(self._index(name) for name in layer_ids)
        needs = sorted(self.layer_graph.closure(edge) - edge)
        if needs:
            layers = self.graph.layers
            reader = next(index for index in sorted(edge) if needs[0] in self.layer_graph.closure([index]))
            raise PlanError(f"layer {layers[reader].id!r} cannot stay on the device without {layers[needs[0]].id!r}")
        cut = self._cut(edge)
        if cut.is_local:
            return self.candidates[-1]
        return next((known for known in self.candidates if known.id == cut.id), cut)

    def find(self, name: str) -> Cut:
        """A cut by its id, name or alias, or the closed set that ``upto:A+B`` names.

        Raises:
            PlanError: there is none.
        """
        for cut in self.candidates:
            if name in (cut.id, cut.name, *cut.aliases):
                return cut
        for depth, names in self._names.items():
            if name in names:
                return self._cut(range(depth))
        if name.startswith(UPTO):
            closed = self.layer_graph.closure(self._ends(name.removeprefix(UPTO)))
            return self.from_layers(self.graph.layers[index].id for index in closed)
        known = [each for cut in self.candidates for each in (cut.name, *cut.aliases)]
        near = difflib.get_close_matches(name, known, n=2)
        hint = f": did you mean {' or '.join(near)}?" if near else ""
        raise PlanError(f"the model has no cut {name!r}{hint} (cleft-plan cuts lists them)")

    def plan(self, cut: Cut, *, codec: str | Mapping[str, str] = "none", from_source: bool = False) -> Plan:
        """The plan that runs a cut.

        Args:
            codec: codec of every tensor that crosses, or of each by name; one that is not named stays exact.
            from_source: send the original input bytes and preprocess them in the cloud; only where all is done there.

        Raises:
            PlanError: the original bytes cannot be sent at this cut, or a codec is for what does not cross.
        """
        head, tail = self.segments(cut)
        if tail is None:
            return Plan(model_digest=self.model_digest, stages=(Stage(place="edge", segment=head),))
        if from_source:
            if cut.depth or not isinstance(codec, str):
                raise PlanError(f"{cut.name}: the original bytes can only be sent where all layers run in the cloud")
            source = Segment(model_digest=self.model_digest, inputs=(SOURCE,), outputs=(SOURCE,))
            whole = Segment(model_digest=self.model_digest, inputs=(), outputs=tail.outputs, preprocess=True)
            return Plan(
                model_digest=self.model_digest,
                stages=(
                    Stage(place="edge", segment=source, codecs={SOURCE: codec}),
                    Stage(place="cloud", segment=whole),
                ),
            )
        if isinstance(codec, str):
            codec = dict.fromkeys(tail.inputs, codec)
        if unknown := sorted(set(codec) - set(tail.inputs)):
            raise PlanError(
                f"no {' and no '.join(unknown)} crosses at {cut.name}; what crosses there: {', '.join(tail.inputs)}"
            )
        return Plan(
            model_digest=self.model_digest,
            stages=(Stage(place="edge", segment=head, codecs=dict(codec)), Stage(place="cloud", segment=tail)),
        )

    def segments(self, cut: Cut) -> tuple[Segment, Segment | None]:
        """The edge's segment and the cloud's (None where all is local)."""
        sent = tuple(value.name for value in cut.crossing)
        outputs = tuple(dict.fromkeys((*sent, *cut.edge_outputs)))
        head = Segment(model_digest=self.model_digest, inputs=self.graph.input_names, outputs=outputs)
        if cut.is_local:
            return head, None
        return head, Segment(model_digest=self.model_digest, inputs=sent, outputs=cut.reply)

    def whole(self) -> Segment:
        """The whole model as one segment."""
        return Segment(model_digest=self.model_digest, inputs=self.graph.input_names, outputs=self.graph.output_names)

    def cost(self, cut: Cut) -> CutCost:
        """Bytes, work and memory of a cut."""
        head, tail = self.segments(cut)
        near = extract(self.graph, head)
        far = extract(self.graph, tail) if tail is not None else None
        layers = self.graph.layers
        return CutCost(
            up_bytes=sum(value.nbytes(self.binding) for value in cut.crossing),
            down_bytes=sum(self._nbytes(name) for name in cut.reply),
            edge_flops=self._flops([layers[index] for index in cut.edge_layers]),
            cloud_flops=self._flops([each for index, each in enumerate(layers) if index not in cut.edge_layers]),
            edge_weight_bytes=weight_bytes(self.graph, near.weights),
            cloud_weight_bytes=weight_bytes(self.graph, far.weights) if far is not None else 0,
            edge_peak_bytes=peak_bytes(near.nodes, near.inputs, near.outputs, self.binding),
            cloud_peak_bytes=peak_bytes(far.nodes, far.inputs, far.outputs, self.binding) if far is not None else 0,
        )

    def reply(self, cut: Cut) -> tuple[Value, ...]:
        """What comes down; a number is a tensor of no axes."""
        return tuple(self.graph.value_of(name) for name in cut.reply)

    def specs(self, values: Iterable[Value]) -> tuple[TensorSpec, ...]:
        """Tensors with their sizes bound."""
        bound = self.binding
        return tuple(
            TensorSpec(name=each.name, dtype=each.dtype, shape=shape_of(each.shape, bound), nbytes=each.nbytes(bound))
            for each in values
        )

    def _cut(self, kept: Collection[int]) -> Cut:
        """The cut of a closed set of layers, by their indices."""
        layers = [self.graph.layers[index] for index in sorted(kept)]
        edge = frozenset(self.graph.input_names).union(*(layer.nodes for layer in layers))
        made = self._made_on_edge(edge)
        reply = tuple(name for name in self.graph.output_names if name not in made)
        sent = crossing(self.graph, edge, reply, self.binding) if reply else ()
        names = self._names_of(frozenset(kept))
        if not reply:
            names = (LOCAL, *names)
        elif not kept:
            names = (CLOUD,)
        return Cut(
            id=cut_id(layers),
            name=names[0],
            aliases=names[1:],
            depth=len(kept) if reply else len(self.graph.layers),
            edge_layers=frozenset(kept if reply else range(len(self.graph.layers))),
            crossing=tuple(self.graph.value_of(name) for name in sent),
            reply=reply,
            edge_outputs=tuple(name for name in self.graph.output_names if name in made),
        )

    def _names_of(self, kept: Set[int]) -> tuple[str, ...]:
        if kept == set(range(len(kept))):
            return self._names[len(kept)]
        return (self.layer_graph.name_of(kept),)

    def _ends(self, text: str) -> list[int]:
        """The layers that ``A+B`` names; a name of the model's own may hold a plus."""
        ends: list[int] = []
        name = ""
        for part in text.split("+"):
            name = f"{name}+{part}" if name else part
            if name in self._index_of:
                ends.append(self._index_of[name])
                name = ""
        return [*ends, self._index(name)] if name or not ends else ends

    def _index(self, layer_id: str) -> int:
        index = self._index_of.get(layer_id)
        if index is None:
            near = difflib.get_close_matches(layer_id, self._index_of, n=2)
            hint = f": did you mean {' or '.join(near)}?" if near else ""
            raise PlanError(f"the model has no layer {layer_id!r}{hint} (cleft-plan cuts lists cuts after each)")
        return index

    @cached_property
    def _index_of(self) -> dict[str, int]:
        return {layer.id: index for index, layer in enumerate(self.graph.layers)}

    def _made_on_edge(self, edge: frozenset[str]) -> frozenset[str]:
        """Outputs that the edge can compute: of its layers, of inputs' shapes, or of weights alone."""
        return frozenset(name for name in self.graph.output_names if is_made_on(self.graph, name, edge))

    def _flops(self, layers: Sequence[Layer]) -> int:
        return sum(self.graph.flops_of(layer, self.binding) for layer in layers)

    def _nbytes(self, name: str) -> int:
        return self.graph.value_of(name).nbytes(self.binding)


def is_made_on(graph: Graph, name: str, edge: frozenset[str]) -> bool:
    """Whether everything that an output depends on is on the edge already, or is replicated."""
    stack = [name]
    seen: set[str] = set()
    while stack:
        each = stack.pop()
        if each in seen or each in edge:
            continue
        seen.add(each)
        if each in graph.layer_of:
            return False
        node = graph.node.get(each)
        if node is not None:
            stack.extend(node.refs())
    return True


def cut_id(layers: Iterable[Layer]) -> str:
    """Hash of the layers that stay on the edge."""
    return closed_set_id(layer.id for layer in layers)


def _names(layers: Sequence[Layer]) -> Mapping[int, tuple[str, ...]]:
    """For each depth, what the cut is called: after the outermost module that ends there, then the inner ones."""
    last_of: dict[str, int] = {}
    for index, layer in enumerate(layers):
        for ancestor in _ancestors(layer.path):
            last_of[ancestor] = index
    names: dict[int, tuple[str, ...]] = {0: ()}
    for index, layer in enumerate(layers):
        ended = [ancestor for ancestor in _ancestors(layer.path) if last_of[ancestor] == index]
        names[index + 1] = tuple(dict.fromkeys(f"after:{each}" for each in (*ended, layer.id)))
    return names


def _ancestors(path: str) -> list[str]:
    """``layer3``, ``layer3.0``, ``layer3.0.conv1``: outermost first, the root left out."""
    parts = path.split(".") if path else []
    return [".".join(parts[: count + 1]) for count in range(len(parts))]
