"""A segment as a flat list of calls over numbered slots.

Compiling resolves every operator, every constant and every name once; running is a loop that fills in arguments, calls,
stores the result and forgets what nobody reads any more. Unlike a generated module it holds no code, and it can stop or
take the time between layers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch

from partitioner.dims import evaluate
from partitioner.errors import SegmentError
from partitioner.graph import Arg, Branch, Node, Ref, Special, refs_in
from partitioner.runtimes.eager.operators import lookup

Slots = list[object]
_Fill = Callable[[Slots], object]


@dataclass(frozen=True, slots=True)
class Call:
    """One operator call; ``fills`` put what is known only at run time into copies of ``args`` and ``kwargs``."""

    function: Callable[..., object]
    args: tuple[object, ...]
    kwargs: Mapping[str, object]
    refs: tuple[tuple[int, int], ...]
    fills: tuple[tuple[int, _Fill], ...]
    keyword_fills: tuple[tuple[str, _Fill], ...]
    slot: int
    frees: tuple[int, ...]
    name: str


class Program:
    """Calls in order; ``layer_at`` says which layer each belongs to, -1 for none."""

    def __init__(
        self,
        nodes: Sequence[Node],
        *,
        given: Sequence[str],
        wanted: Sequence[str],
        device: torch.device,
        allowed: Collection[str] = (),
        layer_of: Mapping[str, int] | None = None,
    ) -> None:
        self._device = device
        self._allowed = allowed
        self._slot: dict[str, int] = {}
        for name in given:
            self._slot.setdefault(name, len(self._slot))
        for node in nodes:
            self._slot[node.name] = len(self._slot)
        self.given = tuple(self._slot[name] for name in given)
        self.wanted = tuple(self._slot[name] for name in wanted)
        self.slots = len(self._slot)
        frees = self._last_uses(nodes, wanted)
        self.calls = tuple(self._compile(node, frees[index]) for index, node in enumerate(nodes))
        self.layer_at = tuple((layer_of or {}).get(node.name, -1) for node in nodes)

    def run(self, arguments: Sequence[object], *, before: Callable[[int], None] | None = None) -> list[object]:
        """Run all calls.

        Args:
            arguments: one per name in ``given``.
            before: called before each call with its index; may raise to stop the run.
        """
        slots: Slots = [None] * self.slots
        for slot, argument in zip(self.given, arguments, strict=True):
            slots[slot] = argument
        for index, call in enumerate(self.calls):
            if before is not None:
                before(index)
            args = list(call.args)
            for position, slot in call.refs:
                args[position] = slots[slot]
            for position, fill in call.fills:
                args[position] = fill(slots)
            if call.keyword_fills:
                kwargs = dict(call.kwargs)
                for key, fill in call.keyword_fills:
                    kwargs[key] = fill(slots)
                slots[call.slot] = call.function(*args, **kwargs)
            else:
                slots[call.slot] = call.function(*args, **call.kwargs)
            for slot in call.frees:
                slots[slot] = None
        return [slots[slot] for slot in self.wanted]

    def _compile(self, node: Node, frees: tuple[int, ...]) -> Call:
        args: list[object] = []
        refs: list[tuple[int, int]] = []
        fills: list[tuple[int, _Fill]] = []
        for position, arg in enumerate(node.args):
            args.append(None)
            if isinstance(arg, Ref):
                refs.append((position, self._slot_of(arg.name)))
            elif any(refs_in(arg)):
                fills.append((position, self._fill(arg)))
            else:
                args[position] = self._constant(arg)
        kwargs = {key: self._constant(arg) for key, arg in node.kwargs.items() if not any(refs_in(arg))}
        keyword_fills = tuple((key, self._fill(arg)) for key, arg in node.kwargs.items() if any(refs_in(arg)))
        return Call(
            function=self._function(node),
            args=tuple(args),
            kwargs=kwargs,
            refs=tuple(refs),
            fills=tuple(fills),
            keyword_fills=keyword_fills,
            slot=self._slot[node.name],
            frees=frees,
            name=node.name,
        )

    def _function(self, node: Node) -> Callable[..., object]:
        if node.op == "cond":
            return _cond
        if node.op == "while_loop":
            return _while_loop
        return lookup(node.op, allowed=self._allowed)

    def _fill(self, arg: Arg) -> _Fill:
        if isinstance(arg, Ref):
            slot = self._slot_of(arg.name)
            return lambda slots: slots[slot]
        if isinstance(arg, tuple):
            fills = [self._fill(item) for item in arg]
            return lambda slots: [fill(slots) for fill in fills]
        constant = self._constant(arg)
        return lambda _: constant

    def _constant(self, arg: Arg) -> object:
        if isinstance(arg, tuple):
            return [self._constant(item) for item in arg]
        if isinstance(arg, Special):
            return self._special(arg)
        if isinstance(arg, Branch):
            return self._branch(arg)
        return arg

    def _special(self, arg: Special) -> object:
        if arg.kind == "device":
            return self._device
        if arg.kind == "float":
            return float(arg.text)
        if arg.kind == "complex":
            return complex(arg.text)
        found = getattr(torch, arg.text, None) if arg.text.isidentifier() else None
        kinds = {"dtype": torch.dtype, "layout": torch.layout, "memory_format": torch.memory_format}
        if not isinstance(found, kinds[arg.kind]):
            raise SegmentError(f"the graph names {arg.text!r}, which is no {arg.kind} of torch {torch.__version__}")
        return found

    def _branch(self, branch: Branch) -> Callable[..., tuple[object, ...]]:
        names = tuple(name for output in branch.outputs for name in refs_in(output))
        program = Program(branch.nodes, given=branch.inputs, wanted=names, device=self._device, allowed=self._allowed)
        constants = [None if any(refs_in(output)) else self._constant(output) for output in branch.outputs]

        def run(*arguments: object) -> tuple[object, ...]:
            results = iter(program.run(arguments))
            return tuple(
                next(results) if any(refs_in(output)) else constant
                for output, constant in zip(branch.outputs, constants, strict=True)
            )

        return run

    def _slot_of(self, name: str) -> int:
        try:
            return self._slot[name]
        except KeyError:
            raise SegmentError(f"the graph refers to {name!r}, which nothing makes") from None

    def _last_uses(self, nodes: Sequence[Node], wanted: Sequence[str]) -> list[tuple[int, ...]]:
        """For each node, the slots that nobody reads after it."""
        kept = {self._slot_of(name) for name in wanted} | set(self.given)
        last: dict[int, int] = {}
        for index, node in enumerate(nodes):
            last[self._slot[node.name]] = index
            for name in node.refs():
                last[self._slot_of(name)] = index
        frees: list[list[int]] = [[] for _ in nodes]
        for slot, index in last.items():
            if slot not in kept:
                frees[index].append(slot)
        return [tuple(each) for each in frees]


def size_of(node: Node, binding: Mapping[str, int]) -> int:
    """The number that a size node stands for."""
    if node.expression is None:
        raise SegmentError(f"{node.name} is no size")
    return evaluate(node.expression, binding)


def _cond(
    condition: object,
    yes: Callable[..., tuple[object, ...]],
    no: Callable[..., tuple[object, ...]],
    operands: Sequence[object] = (),
) -> tuple[object, ...]:
    return yes(*operands) if bool(condition) else no(*operands)


def _while_loop(
    condition: Callable[..., tuple[object, ...]],
    body: Callable[..., tuple[object, ...]],
    carried: Sequence[object],
    extra: Sequence[object] = (),
) -> tuple[object, ...]:
    state = tuple(carried)
    while bool(condition(*state, *extra)[0]):
        state = body(*state, *extra)
    return state
