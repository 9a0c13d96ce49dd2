"""From operators to layers: fuse what nobody would cut inside.

Walking in running order, a node joins the layer of one of its producers when a cut between the two could not pay: it is
cheap (element-wise, a normalisation, a view), it does not grow the tensor, and nothing else wants what lies between
them. So convolution, batch norm, residual addition and activation become one layer, and a pooling or an upsampling
stays its own.

Layers are then put in a topological order, the earliest first, so that every prefix of them is a cut.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Sequence

from partitioner.dims import Binding
from partitioner.graph import Layer, Node, Output, Value, free_names, is_size

_CHEAP = frozenset({"pointwise", "norm", "view"})


def group(
    nodes: Sequence[Node],
    inputs: Sequence[Value],
    outputs: Sequence[Output],
    binding: Binding,
    from_data: frozenset[str],
) -> tuple[tuple[Node, ...], tuple[Layer, ...]]:
    """Group nodes into layers.

    Args:
        nodes: in running order; a tuple's items (``getitem``) anywhere after it.
        binding: sizes by which growth is judged.

    Returns:
        The nodes reordered (a layer's together, replicated nodes just before their first reader) and the layers.
    """
    names = tuple(value.name for value in inputs)
    free = free_names(tuple(nodes), names, from_data)
    grouping = _Grouping(nodes, free, outputs, binding, from_data)
    members = grouping.run()
    order = _topological(members, grouping.layer_deps)
    layers = _name([[grouping.by_name[name] for name in members[index]] for index in order])
    return _schedule(nodes, layers), layers


class _Grouping:
    """One pass over the nodes; ``members`` grows, ``home`` says which layer made a name."""

    def __init__(
        self,
        nodes: Sequence[Node],
        free: frozenset[str],
        outputs: Sequence[Output],
        binding: Binding,
        from_data: frozenset[str],
    ) -> None:
        self.by_name = {node.name: node for node in nodes}
        self.layer_deps: list[set[int]] = []
        self._nodes = [node for node in nodes if node.name not in free]
        self._binding = binding
        self._from_data = from_data
        self._members: list[list[str]] = []
        self._home: dict[str, int] = {}
        self._readers: Counter[str] = Counter()
        for node in nodes:
            self._readers.update(set(node.refs()))
        self._readers.update({output.name for output in outputs if output.name is not None})

    def run(self) -> list[list[str]]:
        for node in self._nodes:
            if node.kind == "scalar":
                continue
            sources = self._sources(node)
            index = self._joins(node, sources)
            if index is None:
                index = len(self._members)
                self._members.append([])
                self.layer_deps.append(set())
            self._members[index].append(node.name)
            self._home[node.name] = index
            self.layer_deps[index] |= {self._home[name] for name in sources} - {index}
        return self._members

    def _sources(self, node: Node) -> list[str]:
        """Names in layers that a node depends on, directly or through numbers computed from data."""
        found: list[str] = []
        stack = list(node.refs())
        while stack:
            name = stack.pop()
            if name in self._home:
                found.append(name)
            elif (number := self.by_name.get(name)) is not None and number.kind == "scalar":
                if not is_size(number, self._from_data):
                    stack.extend(number.refs())
        return list(dict.fromkeys(found))

    def _joins(self, node: Node, sources: list[str]) -> int | None:
        if node.op == "getitem" and sources:
            return self._home[sources[0]]
        if node.kind not in _CHEAP:
            return None
        for name in sorted(sources, key=lambda each: self._home[each], reverse=True):
            index = self._home[name]
            alone = self._readers[name] == 1 or (node.kind == "view" and not self._grows(node, name))
            if not alone or self._grows(node, name):
                continue
            if all(not self._reaches(self._home[other], index) for other in sources):
                return index
        return None

    def _grows(self, node: Node, name: str) -> bool:
        before, after = self.by_name[name].value, node.value
        if before is None or after is None:
            return False
        return after.nbytes(self._binding) > before.nbytes(self._binding)

    def _reaches(self, start: int, target: int) -> bool:
        """Whether layer ``start`` (another than ``target``) depends on layer ``target``."""
        if start == target:
            return False
        seen: set[int] = set()
        stack = [start]
        while stack:
            index = stack.pop()
            for dep in self.layer_deps[index]:
                if dep == target:
                    return True
                if dep not in seen:
                    seen.add(dep)
                    stack.append(dep)
        return False


def _topological(members: list[list[str]], deps: list[set[int]]) -> list[int]:
    """Kahn's algorithm, the layer that was begun first always next."""
    waiting = [len(each) for each in deps]
    readers: defaultdict[int, list[int]] = defaultdict(list)
    for index, each in enumerate(deps):
        for dep in each:
            readers[dep].append(index)
    ready = [index for index, count in enumerate(waiting) if count == 0]
    heapq.heapify(ready)
    order: list[int] = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for reader in readers[index]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heapq.heappush(ready, reader)
    assert len(order) == len(members), "layers form a cycle"
    return order


def _name(layers: Sequence[Sequence[Node]]) -> tuple[Layer, ...]:
    """Ids from module paths: the anchor is the costliest operator, or the first."""
    named: list[Layer] = []
    counts: Counter[str] = Counter()
    shared = Counter(_anchor(nodes).module for nodes in layers)
    containers = {each.rpartition(".")[0] for path in shared for each in _ancestors(path)}
    for nodes in layers:
        anchor = _anchor(nodes)
        op = short_op(anchor.op)
        base = anchor.module
        if shared[base] > 1 or base in containers or not base:
            base = f"{base}:{op}" if base else op
        number = counts[base]
        counts[base] += 1
        ops = [short_op(node.op) for node in nodes if node.op != "getitem" and (node is anchor or node.kind != "view")]
        named.append(
            Layer(
                id=base if number == 0 else f"{base}#{number}",
                path=anchor.module,
                kind="+".join(ops) or op,
                nodes=tuple(node.name for node in nodes),
            )
        )
    return tuple(named)


def _ancestors(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[: count + 1]) for count in range(len(parts))]


def _anchor(nodes: Sequence[Node]) -> Node:
    return next((node for node in nodes if node.kind == "compute" and node.op != "getitem"), nodes[0])


def short_op(op: str) -> str:
    """``conv2d`` for ``aten.conv2d.default``."""
    parts = op.split(".")
    name = parts[1] if len(parts) > 1 else parts[0]
    return "batch_norm" if name.startswith("_native_batch_norm") else name


def _schedule(nodes: Sequence[Node], layers: Sequence[Layer]) -> tuple[Node, ...]:
    """Nodes layer by layer, each replicated node just before the first that reads it."""
    by_name = {node.name: node for node in nodes}
    placed: dict[str, Node] = {}

    def place(name: str) -> None:
        stack = [name]
        while stack:
            node = by_name.get(stack[-1])
            if node is None or node.name in placed:
                stack.pop()
                continue
            waiting = [ref for ref in node.refs() if ref in by_name and ref not in placed]
            if waiting:
                stack.extend(waiting)
            else:
                placed[node.name] = by_name[stack.pop()]

    for layer in layers:
        for name in layer.nodes:
            place(name)
    for node in nodes:
        place(node.name)
    return tuple(placed.values())


def peak_bytes(nodes: Sequence[Node], given: Sequence[Value], wanted: Sequence[str], binding: Binding) -> int:
    """Most bytes of activations alive at once while these nodes run in order, by liveness; views count nothing.

    A tensor lives from when it is made until its last reader has run; what is given or wanted lives throughout.
    """
    kept = {value.name for value in given} | set(wanted)
    last_use: dict[str, int] = {}
    owner: dict[str, str] = {}
    for index, node in enumerate(nodes):
        owner[node.name] = node.name
        refs = list(node.refs())
        if node.kind == "view" and refs:
            owner[node.name] = owner.get(refs[0], refs[0])
        for name in (node.name, *refs):
            last_use[owner.get(name, name)] = index
    for name in wanted:
        last_use[owner.get(name, name)] = len(nodes)
    ends: defaultdict[int, list[str]] = defaultdict(list)
    for name, index in last_use.items():
        ends[index].append(name)
    alive = {value.name: value.nbytes(binding) for value in given}
    total = sum(alive.values())
    peak = total
    for index, node in enumerate(nodes):
        if node.value is not None and owner[node.name] == node.name:
            alive[node.name] = node.value.nbytes(binding)
            total += alive[node.name]
        peak = max(peak, total)
        for name in ends[index]:
            if name not in kept:
                total -= alive.pop(name, 0)
    return peak
