"""Node by node from ``torch.fx`` to our graph.

What an operator costs and what it is (a view, a normalisation, element-wise) is asked of torch: its schema's alias
annotations, its tags, and ``FlopCounterMode`` over fake tensors. Checks that export leaves in the graph (``_assert_*``,
``_guards_fn``) are dropped, ``no_grad`` and ``autocast(enabled=False)`` regions are inlined, and conditionals and loops
keep their bodies as branches.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch.utils.flop_counter import FlopCounterMode

from partitioner.dims import Dim, product
from partitioner.errors import ModelError
from partitioner.graph import Arg, Branch, Node, NodeKind, Ref, Special, Value
from partitioner.trace.sizes import Sizes

_CHECKS = ("_assert", "sym_constrain_range", "_functional_sym_constrain", "_functional_assert")
_NORMS = frozenset({
    "batch_norm", "_native_batch_norm_legit_no_training", "_native_batch_norm_legit", "native_batch_norm", "layer_norm",
    "native_layer_norm", "group_norm", "native_group_norm", "instance_norm", "rms_norm", "_fused_rms_norm",
})  # fmt: skip
_CHEAP_COPIES = frozenset({"clone", "_to_copy", "lift_fresh_copy", "copy", "dropout", "contiguous", "alias_copy"})
_COPIES_OF_VIEWS = frozenset({"_unsafe_view", "_reshape_copy", "view_copy", "reshape"})
_BODIES = {"cond": 2, "while_loop": 2}


class NodeReader:
    """Reads the nodes of one captured program."""

    def __init__(self, module: torch.fx.GraphModule, sizes: Sizes) -> None:
        self.constants: dict[str, object] = {}
        self._module = module
        self._sizes = sizes
        self._aliases: dict[str, object] = {}
        self._kinds: dict[str, NodeKind] = {}

    def read(self) -> tuple[list[Node], list[object]]:
        """All nodes in running order, and what the graph returns (fx nodes or constants)."""
        nodes, results = self._read_module(self._module)
        for index, result in enumerate(results):
            if isinstance(result, torch.fx.Node):
                results[index] = self._resolve(result)
        return nodes, results

    def _read_module(self, module: torch.fx.GraphModule) -> tuple[list[Node], list[object]]:
        nodes: list[Node] = []
        results: list[object] = []
        for node in module.graph.nodes:
            if node.op == "output":
                returned = node.args[0]
                results = list(returned) if isinstance(returned, tuple | list) else [returned]
            elif node.op == "call_function":
                nodes.extend(self._call(module, node))
            elif node.op == "call_module" and "_guards" not in str(node.target):
                raise ModelError(f"the captured graph calls a module, {node.target}, which no bundle can hold")
        return nodes, results

    def _call(self, module: torch.fx.GraphModule, node: torch.fx.Node) -> list[Node]:
        target = node.target
        if isinstance(target, torch._ops.HigherOrderOperator):
            return self._higher_order(module, node, str(target))
        op = _op_name(target)
        if op.split(".")[1:2] and op.split(".")[1].startswith(_CHECKS):
            return []
        if op == "getitem" and isinstance(node.args[0], torch.fx.Node) and node.args[0].name in self._aliases:
            items = self._aliases[node.args[0].name]
            if isinstance(items, list) and isinstance(node.args[1], int):
                self._aliases[node.name] = items[node.args[1]]
                return []
        args = tuple(self._argument(arg) for arg in node.args)
        if op == "aten.as_strided.default":
            args = self._over_storage(node, args)
        return [self._node(node, op, args)]

    def _over_storage(self, node: torch.fx.Node, args: tuple[Arg, ...]) -> tuple[Arg, ...]:
        """Arguments of ``as_strided`` over the tensor that owns the storage: a view that crosses comes without it."""
        first = owner = self._resolve(node.args[0])
        while isinstance(owner, torch.fx.Node) and self._kinds.get(owner.name) == "view":
            base = self._resolve(owner.args[0])
            if not isinstance(base, torch.fx.Node) or not _share_storage(owner, base):
                break
            owner = base
        if owner is first or not isinstance(first, torch.fx.Node) or not isinstance(owner, torch.fx.Node):
            return args
        offset = args[3] if len(args) > 3 and args[3] is not None else first.meta["val"].storage_offset()
        if not isinstance(offset, int | Ref):
            raise ModelError("the model strides over a view that begins at a size that varies: copy the view first")
        return (Ref(owner.name), *args[1:3], offset)

    def _node(self, node: torch.fx.Node, op: str, args: tuple[Arg, ...]) -> Node:
        value, expression = self._result(node)
        kind = self._kind(node, op, is_scalar=_is_number(node.meta.get("val")))
        self._kinds[node.name] = kind
        return Node(
            name=node.name,
            op=op,
            args=args,
            kwargs={key: self._argument(arg) for key, arg in node.kwargs.items() if key != "pin_memory"},
            kind=kind,
            value=value,
            expression=expression,
            module=_module_path(node),
            flops=self._flops(node, kind, value),
            is_random=_is_random(node),
        )

    def _result(self, node: torch.fx.Node) -> tuple[Value | None, Dim | None]:
        result = node.meta.get("val")
        if isinstance(result, torch.Tensor):
            return self._sizes.value(node.name, result), None
        if isinstance(result, torch.SymInt) or (isinstance(result, int) and not isinstance(result, bool)):
            return None, self._sizes.dim(result)
        return None, None

    def _higher_order(self, module: torch.fx.GraphModule, node: torch.fx.Node, name: str) -> list[Node]:
        if name == "wrap_with_set_grad_enabled":
            return self._inline(module, node, node.args[1], node.args[2:])
        if name == "wrap_with_autocast" and node.args[2] is False:
            return self._inline(module, node, node.args[4], node.args[5:])
        if name in _BODIES:
            args = tuple(self._branch_or_argument(module, arg) for arg in node.args)
            return [replace(self._node(node, name, args), kind="compute")]
        raise ModelError(f"the model uses {name}, a control-flow operator that cannot be written down yet")

    def _inline(
        self, module: torch.fx.GraphModule, node: torch.fx.Node, body: object, operands: Sequence[object]
    ) -> list[Node]:
        inner = _body(module, body)
        placeholders = [each for each in inner.graph.nodes if each.op == "placeholder"]
        for placeholder, operand in zip(placeholders, operands, strict=True):
            self._aliases[placeholder.name] = self._resolve(operand) if isinstance(operand, torch.fx.Node) else operand
        prefix = f"{node.name}_"
        for each in inner.graph.nodes:
            if each.op not in ("placeholder", "output"):
                each.name = prefix + each.name
        nodes, results = self._read_module(inner)
        self._aliases[node.name] = [
            self._resolve(result) if isinstance(result, torch.fx.Node) else result for result in results
        ]
        return nodes

    def _branch_or_argument(self, module: torch.fx.GraphModule, arg: object) -> Arg:
        if isinstance(arg, torch.fx.Node) and arg.op == "get_attr":
            inner = _body(module, arg)
            reader = NodeReader(inner, self._sizes)
            nodes, results = reader.read()
            names = tuple(each.name for each in inner.graph.nodes if each.op == "placeholder")
            return Branch(names, tuple(nodes), tuple(reader._argument(result) for result in results))
        return self._argument(arg)

    def _resolve(self, node: object) -> object:
        found: object = node
        while isinstance(found, torch.fx.Node) and found.name in self._aliases:
            found = self._aliases[found.name]
        return found

    def _argument(self, arg: object) -> Arg:
        if isinstance(arg, torch.fx.Node):
            resolved = self._resolve(arg)
            if not isinstance(resolved, torch.fx.Node):
                return self._argument(resolved)
            if resolved.name in self.constants:
                return self._argument(self.constants[resolved.name])
            return Ref(resolved.name)
        if isinstance(arg, tuple | list):
            return tuple(self._argument(item) for item in arg)
        if isinstance(arg, float) and (arg != arg or arg in (float("inf"), float("-inf"))):
            return Special("float", str(arg))
        if arg is None or isinstance(arg, bool | int | float | str):
            return arg
        if isinstance(arg, complex):
            return Special("complex", str(arg))
        if isinstance(arg, torch.dtype):
            return Special("dtype", str(arg).removeprefix("torch."))
        if isinstance(arg, torch.device):
            return Special("device", "runtime")
        if isinstance(arg, torch.layout):
            return Special("layout", str(arg).removeprefix("torch."))
        if isinstance(arg, torch.memory_format):
            return Special("memory_format", str(arg).removeprefix("torch."))
        raise ModelError(f"an operator takes {arg!r}, of type {type(arg).__name__}, which no bundle can hold")

    def _kind(self, node: torch.fx.Node, op: str, *, is_scalar: bool) -> NodeKind:
        if is_scalar:
            return "scalar"
        target = node.target
        if op == "getitem" and isinstance(node.args[0], torch.fx.Node):
            kind = self._kinds.get(node.args[0].name, "compute")
            return "view" if kind == "view" else "compute"
        if not isinstance(target, torch._ops.OpOverload):
            return "compute"
        base = op.split(".")[1]
        if base in _NORMS:
            return "norm"
        if any(each.alias_info is not None and not each.alias_info.is_write for each in target._schema.returns):
            return "view"
        if base in _COPIES_OF_VIEWS:
            return "view"
        if torch.Tag.pointwise in target.tags or base in _CHEAP_COPIES:
            return "pointwise"
        return "compute"

    def _flops(self, node: torch.fx.Node, kind: NodeKind, value: Value | None) -> Dim:
        if kind in ("view", "scalar") or node.target is operator.getitem:
            return 0
        if kind == "compute" and (counted := self._count(node)) != 0:
            return counted
        if value is not None:
            return product(value.shape)
        first = node.meta.get("val")
        first = first[0] if isinstance(first, tuple | list) and first else None
        return product(self._sizes.value("", first).shape) if isinstance(first, torch.Tensor) else 0

    def _count(self, node: torch.fx.Node) -> Dim:
        """Multiply-adds of the heavy operators inside, each as two; 0 where torch knows no formula.

        Running an operator over fake tensors may decide something about a symbolic size, which must not fix that size
        for the rest of the capture.
        """
        if not isinstance(node.target, torch._ops.OpOverload):
            return 0
        args = cast("Sequence[object]", torch.fx.node.map_arg(node.args, lambda each: each.meta["val"]))
        kwargs = cast("Mapping[str, object]", torch.fx.node.map_arg(node.kwargs, lambda each: each.meta["val"]))
        if "scaled_dot_product_attention" in node.target._schema.name:
            query, _, value = (each.shape for each in args[:3] if isinstance(each, torch.Tensor))
            made = node.meta["val"] if isinstance(node.meta["val"], torch.Tensor) else node.meta["val"][0]
            # scores and weighted sum: 2 * batch * queries * keys * (width in + width out)
            return self._sizes.dim(2 * math.prod(made.shape[:-1]) * value[-2] * (query[-1] + value[-1]))
        mode = torch._guards.detect_fake_mode([node.meta.get("val"), args])
        if mode is None or mode.shape_env is None:
            return 0
        counter = FlopCounterMode(display=False)
        try:
            with mode, mode.shape_env.suppress_guards(), counter:
                node.target(*args, **kwargs)
            return self._sizes.dim(counter.get_total_flops())
        except Exception:  # a formula is missing or does not take symbols: the element count stands in
            return 0


def _op_name(target: object) -> str:
    if isinstance(target, torch._ops.OpOverload):
        return f"{target.namespace}.{target._schema.name.split('::')[-1]}.{target._overloadname}"
    if target is operator.getitem:
        return "getitem"
    if callable(target):
        module = getattr(target, "__module__", "") or ""
        name = getattr(target, "__name__", "")
        if module in ("_operator", "operator", "math", "torch", "torch.fx.experimental.sym_node", "builtins"):
            return f"py.{name}"
    raise ModelError(f"the captured graph calls {target!r}, which no bundle can hold")


def _module_path(node: torch.fx.Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    paths = [str(path) for path, _ in stack.values()]
    return paths[-1].removeprefix("_empty_nn_module_stack_from_metadata_hook") if paths else ""


def _share_storage(view: torch.fx.Node, base: torch.fx.Node) -> bool:
    """Whether both are the same memory; several results of one operator are asked for the first."""
    storages: list[int] = []
    for node in (view, base):
        value = node.meta.get("val")
        tensor = value[0] if isinstance(value, tuple | list) and value else value
        if not isinstance(tensor, torch.Tensor):
            return False
        storages.append(tensor.untyped_storage()._cdata)
    return storages[0] == storages[1]


def _is_number(value: object) -> bool:
    return isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool | int | float | bool)


def _is_random(node: torch.fx.Node) -> bool:
    if not isinstance(node.target, torch._ops.OpOverload) or torch.Tag.nondeterministic_seeded not in node.target.tags:
        return False
    base = node.target._schema.name.split("::")[-1]
    if base in ("dropout", "native_dropout"):
        return len(node.args) > 2 and node.args[2] is True
    return base != "scaled_dot_product_attention" or bool(_argument_of(node, 4, "dropout_p", 0.0))


def _argument_of(node: torch.fx.Node, index: int, name: str, otherwise: object) -> object:
    return node.args[index] if len(node.args) > index else node.kwargs.get(name, otherwise)


def _body(module: torch.fx.GraphModule, body: object) -> torch.fx.GraphModule:
    found: object = module
    if isinstance(body, torch.fx.Node) and body.op == "get_attr":
        for part in str(body.target).split("."):
            found = getattr(found, part)
    if found is module or not isinstance(found, torch.fx.GraphModule):
        raise ModelError("the body of a control-flow operator is missing from the captured graph")
    return found
