"""Capture: from a torch module to a graph and its weights, once.

``torch.export`` records what the module does, ``run_decompositions({})`` makes it functional: in-place operators would
overwrite tensors that cross a cut. Functional graphs are bit-equal and cost 0.4 to 2 % at run time. What remains is
read node by node (``nodes``), sizes become expressions of named symbols (``sizes``), weights are stored once however
often they are shared (``weights``).

A bundle is stateless: where the module updates buffers of its own while running, those updates are dropped, and noted.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.export.graph_signature import InputKind, OutputKind

from partitioner import layers
from partitioner.errors import CleftError, ModelError
from partitioner.graph import Graph, Input, Node, Output
from partitioner.trace.dynamic import DynamicSizes, lengthen, to_export
from partitioner.trace.nodes import NodeReader
from partitioner.trace.outputs import output_tree
from partitioner.trace.sizes import Sizes
from partitioner.trace.weights import WeightStore, save

_BY_VALUES = "data-dependent"
_PLACE = re.compile(r'File "[^"]*", line ([0-9]+), in [^\n]*\n([^\n]*)')
_SHOWN_CHARS = 300

__all__ = ["Capture", "Example", "capture", "load_exported", "save"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """Inputs that a module is captured with."""

    args: tuple[object, ...] = ()
    kwargs: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """A captured model: the graph, its weights by key, and what the user should know.

    ``examples`` are the integer and boolean inputs it was captured with: unlike floats they cannot be made up, since
    offsets have to ascend and indices to exist.
    """

    graph: Graph
    weights: Mapping[str, torch.Tensor]
    notes: tuple[str, ...]
    examples: Mapping[str, npt.NDArray[np.generic]]

    @property
    def producer(self) -> dict[str, str]:
        """Versions that made the graph."""
        return {"torch": str(torch.__version__)}


def capture(module: torch.nn.Module, example: Example, *, dynamic: DynamicSizes | None = None) -> Capture:
    """Capture a module in inference mode.

    Args:
        example: inputs of the shapes it will be used with, on the CPU.
        dynamic: names of the sizes that vary, by input.

    Raises:
        ModelError: ``torch.export`` refuses the module, or the graph holds something that cannot be written down.
    """
    notes: list[str] = []
    try:
        with _quiet():
            module = module.eval().cpu()
            args, kwargs = example.args, dict(example.kwargs or {})
            shapes = None
            if dynamic:
                args, kwargs = lengthen(module, args, kwargs, dynamic)
                shapes = to_export(module, args, kwargs, dynamic)
            program = torch.export.export(module, args, kwargs, dynamic_shapes=shapes, strict=False)
            return _read(program.run_decompositions({}), dynamic, notes)
    except CleftError:
        raise
    except Exception as error:
        raise ModelError(f"torch.export cannot capture this model: {_reason(error)}") from error


def load_exported(path: str, *, dynamic: DynamicSizes | None = None) -> Capture:
    """Capture from a ``.pt2`` file. Loading one can run code from it: only for files that the user trusts.

    Raises:
        ModelError: the file is no exported program.
    """
    try:
        with _quiet():
            return _read(torch.export.load(path).run_decompositions({}), dynamic, [])
    except CleftError:
        raise
    except Exception as error:
        raise ModelError(f"{path} is no exported program that this torch reads: {_reason(error)}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No gradients, and nothing printed, logged or warned of by torch or the model: an error says what matters."""
    logger = logging.getLogger("torch")
    level = logger.level
    unread = io.StringIO()
    with torch.no_grad(), warnings.catch_warnings(), redirect_stdout(unread), redirect_stderr(unread):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)


def _read(program: torch.export.ExportedProgram, dynamic: DynamicSizes | None, notes: list[str]) -> Capture:
    signature = program.graph_signature
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    user_inputs = [
        placeholders[spec.arg.name]
        for spec in signature.input_specs
        if spec.kind is InputKind.USER_INPUT and isinstance(placeholders[spec.arg.name].meta.get("val"), torch.Tensor)
    ]
    sizes = Sizes(program, user_inputs, dynamic)
    reader = NodeReader(program.graph_module, sizes)
    store = WeightStore(sizes)
    for spec in signature.input_specs:
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
            store.add(spec.arg.name, str(spec.target), _tensor(program, str(spec.target)))
        elif spec.kind is not InputKind.USER_INPUT:
            raise ModelError(f"the model holds {spec.target!r} of kind {spec.kind.name}, which no bundle can hold")
        elif (constant := getattr(spec.arg, "value", None)) is not None:
            notes.append(f"input {spec.arg.name!r} is fixed to {constant!r}")
            reader.constants[spec.arg.name] = constant
    nodes, results = reader.read()
    outputs = _outputs(program, results, notes)
    examples = _examples(program, user_inputs)
    inputs = _inputs(user_inputs, examples, sizes)
    nodes = _reachable(nodes, outputs)
    used = {name for node in nodes for name in node.refs()} | {output.name for output in outputs}
    symbols = sizes.symbols()
    ordered, grouped = layers.group(
        nodes,
        [each.value for each in inputs],
        outputs,
        {symbol.name: symbol.example for symbol in symbols},
        frozenset(symbol.name for symbol in symbols if symbol.from_data),
    )
    graph = Graph(
        symbols=symbols,
        inputs=inputs,
        weights=store.weights(used),
        nodes=ordered,
        outputs=outputs,
        tree=output_tree(program, len(outputs)),
        layers=grouped,
    )
    return Capture(graph=graph, weights=store.tensors(used), notes=tuple(notes), examples=examples)


def _examples(
    program: torch.export.ExportedProgram, placeholders: Sequence[torch.fx.Node]
) -> dict[str, npt.NDArray[np.generic]]:
    """The integer and boolean example inputs, by name."""
    leaves = [leaf for leaf in torch.utils._pytree.tree_leaves(program.example_inputs) if torch.is_tensor(leaf)]
    if len(leaves) != len(placeholders):
        return {}
    return {
        node.name: leaf.detach().cpu().contiguous().numpy()
        for node, leaf in zip(placeholders, leaves, strict=True)
        if not leaf.is_floating_point() and not leaf.is_complex()
    }


def _inputs(
    placeholders: Sequence[torch.fx.Node], examples: Mapping[str, npt.NDArray[np.generic]], sizes: Sizes
) -> tuple[Input, ...]:
    inputs: list[Input] = []
    for node in placeholders:
        example = examples.get(node.name)
        low, high = (0, 1) if example is None or not example.size else (int(example.min()), int(example.max()))
        inputs.append(Input(value=sizes.value(node.name, node.meta["val"]), low=low, high=high))
    return tuple(inputs)


def _outputs(program: torch.export.ExportedProgram, results: Sequence[object], notes: list[str]) -> tuple[Output, ...]:
    specs = program.graph_signature.output_specs
    mutated = [spec.target for spec in specs if spec.kind is not OutputKind.USER_OUTPUT]
    if mutated:
        shown = ", ".join(sorted(str(each) for each in mutated)[:4])
        notes.append(f"the model changes {shown} while it runs; a bundle is stateless and drops that")
    wanted = [result for spec, result in zip(specs, results, strict=True) if spec.kind is OutputKind.USER_OUTPUT]
    paths = _output_paths(program, len(wanted))
    outputs: list[Output] = []
    for path, result in zip(paths, wanted, strict=True):
        if isinstance(result, torch.fx.Node):
            outputs.append(Output(path=path, name=result.name))
        elif result is None or isinstance(result, bool | int | float | str):
            outputs.append(Output(path=path, constant=result))
        else:
            raise ModelError(f"the model returns {result!r} at {path}, which no bundle can hold")
    return tuple(outputs)


def _output_paths(program: torch.export.ExportedProgram, count: int) -> list[str]:
    spec = program.call_spec.out_spec
    if spec is None:
        return [f"output.{index}" for index in range(count)]
    indexed = torch.utils._pytree.tree_unflatten(list(range(count)), spec)
    found, _ = torch.utils._pytree.tree_flatten_with_path(indexed)
    names = {leaf: ".".join(_key(each) for each in path) for path, leaf in found}
    return [names.get(index) or "output" for index in range(count)]


def _key(entry: object) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)


def _tensor(program: torch.export.ExportedProgram, target: str) -> torch.Tensor:
    found = program.state_dict.get(target)
    if found is None:
        found = program.constants.get(target)
    if not isinstance(found, torch.Tensor):
        raise ModelError(f"the model's {target!r} is no tensor, and cannot be stored")
    return found


def _reachable(nodes: Sequence[Node], outputs: Sequence[Output]) -> list[Node]:
    """Nodes that some output depends on."""
    wanted = {output.name for output in outputs}
    kept: list[Node] = []
    for node in reversed(nodes):
        if node.name in wanted:
            wanted.update(node.refs())
            kept.append(node)
    return kept[::-1]


def _reason(error: Exception) -> str:
    """What torch says first and what it suggests, on one line; and what to do where the model goes by values."""
    text = str(error).partition("The error above occurred")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if "Suggested fixes:" in lines:
        return " ".join([lines[0], *lines[lines.index("Suggested fixes:") :]][:6])
    said = lines[0].partition(".  ")[0].rstrip(".")
    if _BY_VALUES not in said:
        return said if len(said) <= _SHOWN_CHARS else f"{said[:_SHOWN_CHARS]}..."
    places = _PLACE.findall(text)
    where = f" (line {places[-1][0]}: {places[-1][1].strip()})" if places else ""
    return f"{said}{where}; what goes by the values of tensors takes torch.cond in place of a branch"
