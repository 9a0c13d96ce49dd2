"""What a segment computes, and what must cross a cut: walks over the graph, backwards from what is wanted.

A segment is everything between its inputs and its outputs, so walking back from the outputs until an input is met finds
it. Sizes are solved from the shapes of what crosses. Where they cannot be (the only tensor that had that size stays
behind), the number itself crosses: eight bytes instead of a tensor. Free nodes and views are made again on the side
that needs them.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass

from partitioner.dims import Binding, Dim, solvable, symbols_of
from partitioner.errors import SegmentError
from partitioner.graph import Graph, Node, Value
from partitioner.plan import Segment


@dataclass(frozen=True, kw_only=True)
class Subgraph:
    """A segment's part of the graph: nodes in running order, weights they read, and sizes that follow from the inputs.

    ``known`` names the symbols that the inputs determine.
    """

    inputs: tuple[Value, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    weights: tuple[str, ...]
    sizes: tuple[Node, ...]
    known: frozenset[str]


def extract(graph: Graph, segment: Segment) -> Subgraph:
    """The part of the graph that computes a segment.

    Raises:
        SegmentError: a name is not in the graph, is no tensor, or an output cannot be computed from these inputs.
    """
    names = graph.input_names if segment.preprocess else segment.inputs
    unknown = [name for name in names if not _is_known(graph, name) or name in graph.weight]
    unknown += [name for name in segment.outputs if not _is_known(graph, name)]
    if unknown:
        raise SegmentError(f"the model has no tensor named {unknown[0]!r}: was the plan made for another bundle?")
    if len(set(names)) != len(names) or len(set(segment.outputs)) != len(segment.outputs):
        raise SegmentError("a segment names a tensor twice")
    given = set(names)
    known = _solvable(graph, names)
    needed = _walk(graph, segment.outputs, given, known)
    missing = sorted(needed & (set(graph.input_names) - given))
    if missing:
        raise SegmentError(f"a segment needs {', '.join(missing)}, which its inputs do not hold")
    nodes = tuple(node for node in graph.nodes if node.name in needed)
    return Subgraph(
        inputs=tuple(graph.value_of(name) for name in names),
        outputs=segment.outputs,
        nodes=tuple(node for node in nodes if not _is_solved(node, known)),
        weights=tuple(weight.name for weight in graph.weights if weight.name in needed),
        sizes=tuple(node for node in nodes if _is_solved(node, known)),
        known=known,
    )


def crossing(graph: Graph, edge: Set[str], wanted: Iterable[str], binding: Binding) -> tuple[str, ...]:
    """Names of the tensors and numbers that must reach the far side, in the graph's order.

    Args:
        edge: names of inputs and nodes that the near side has computed.
        wanted: names that the far side must compute.
        binding: sizes by which views are weighed against their base.
    """
    wanted = tuple(wanted)
    sizes = frozenset(symbol.name for symbol in graph.symbols if not symbol.from_data)
    known = sizes | graph.from_data
    tensors: frozenset[str] = frozenset()
    roots: frozenset[str] = frozenset()
    while True:
        met = _frontier(graph, wanted, edge, known, roots)
        replayed, merged = _merge_views(graph, met, binding)
        if merged <= tensors and replayed <= roots:
            break
        tensors |= merged
        roots |= replayed
        known = sizes | _solvable(graph, tensors)
    sent = {*tensors, *_numbers(graph, wanted, tensors, sizes)}
    order = {name: index for index, name in enumerate((*graph.input_names, *graph.node))}
    return tuple(sorted(sent, key=order.__getitem__))


def _numbers(graph: Graph, wanted: tuple[str, ...], tensors: Set[str], sizes: frozenset[str]) -> list[str]:
    """Sizes that the far side needs and cannot solve from the tensors' shapes; the near side knows every one."""
    sent: list[str] = []
    while True:
        given = {*tensors, *sent}
        known = _solvable(graph, given)
        needed = _walk(graph, wanted, given, known | sizes)
        unsolved = [node for node in graph.nodes if node.name in needed and _is_open(node, sizes, known)]
        if not unsolved:
            return sent
        symbols = {symbol for node in unsolved for symbol in symbols_of(node.expression or 0)} - known
        plain = (node.name for node in graph.nodes if node.kind == "scalar" and node.expression in symbols)
        sent.append(next(plain, unsolved[0].name))


def _is_open(node: Node, sizes: Set[str], known: Set[str]) -> bool:
    return _is_solved(node, known | sizes) and not _is_solved(node, known)


def _solvable(graph: Graph, names: Iterable[str]) -> frozenset[str]:
    """Symbols that follow from the shapes of these tensors and from these numbers."""
    return solvable([_sizes_of(graph, name) for name in names], graph.example_binding)


def _sizes_of(graph: Graph, name: str) -> tuple[Dim, ...]:
    node = graph.node.get(name)
    if node is not None and node.kind == "scalar":
        return () if node.expression is None else (node.expression,)
    return graph.values[name].shape


def _frontier(
    graph: Graph, wanted: tuple[str, ...], edge: Set[str], known: Set[str], roots: Set[str]
) -> frozenset[str]:
    """Edge-made tensors at which the walk back from what is wanted stops; views of ``roots`` are made again instead."""
    found: set[str] = set()
    seen: set[str] = set()
    stack = list(wanted)
    while stack:
        name = stack.pop()
        if name in seen:
            continue
        seen.add(name)
        node = graph.node.get(name)
        is_replayed = graph.root(name) in roots and name not in roots
        if name in edge and name in graph.values and not is_replayed:
            found.add(name)
        elif node is not None and not _is_solved(node, known):
            stack.extend(node.refs())
    return frozenset(found)


def _is_known(graph: Graph, name: str) -> bool:
    """Whether the graph has a tensor or number of this name."""
    return name in graph.values or (name in graph.node and graph.node[name].kind == "scalar")


def _walk(graph: Graph, wanted: Iterable[str], given: Set[str], known: Set[str]) -> set[str]:
    """Every name met on the way back from what is wanted to what is given."""
    seen: set[str] = set()
    stack = list(wanted)
    while stack:
        name = stack.pop()
        if name in seen or name in given:
            continue
        seen.add(name)
        node = graph.node.get(name)
        if node is not None and not _is_solved(node, known):
            stack.extend(node.refs())
    return seen


def _is_solved(node: Node, known: Set[str]) -> bool:
    """Whether a node is a size that follows from the symbols that are known."""
    return node.kind == "scalar" and node.expression is not None and symbols_of(node.expression) <= known


def _merge_views(graph: Graph, names: frozenset[str], binding: Binding) -> tuple[frozenset[str], frozenset[str]]:
    """Replace views of one storage by its owner where that is fewer bytes: (such owners, what crosses)."""
    by_root: dict[str, list[str]] = {}
    for name in names:
        by_root.setdefault(graph.root(name), []).append(name)
    owners: set[str] = set()
    merged: set[str] = set()
    for root, views in by_root.items():
        apart = sum(graph.values[name].nbytes(binding) for name in views)
        mergeable = root in graph.values and root not in graph.weight
        if views != [root] and mergeable and graph.values[root].nbytes(binding) < apart:
            owners.add(root)
            merged.add(root)
        else:
            merged.update(views)
    return frozenset(owners), frozenset(merged)


def weight_bytes(graph: Graph, names: Iterable[str]) -> int:
    """Bytes of the weights of these names; those that share storage count once."""
    by_key = {graph.weight[name].key: graph.weight[name] for name in names}
    return sum(weight.value.nbytes({}) for weight in by_key.values())
