"""A bundle's graph as ONNX with our value names, and its weights as references into ``weights.safetensors``.

torch's own exporter translates a module that is rebuilt from the graph (``rebuild``). Nothing is optimised but small
constants: every operator is translated for itself, so whatever lies between two named values can be cut out later, and
the runtime optimises what it is given. An initializer that equals a weight to the byte becomes a reference to the
weight's bytes; one that was made on the way stays inside.

Cost: about one second per hundred operators (MobileNetV2 2 s, DenseNet-121 6 s).
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import torch

from partitioner.bundle import WEIGHTS, Bundle
from partitioner.dims import Dim, evaluate, shape_of, symbols_of
from partitioner.errors import BundleError, CleftError, ModelError
from partitioner.graph import Graph, Weight
from partitioner.runtimes.eager.weights import WeightTable
from partitioner.zoo.rebuild import Rebuilt, rebuild

if TYPE_CHECKING:
    import onnx
    import onnx_ir

OPSET = 18
_OURS = "cleft."
"""Before our names while torch exports, so that none of them is one that it gives."""
_FOLDED_BYTES = 16 * 2**10
"""Constants up to this size are computed here: ONNX Runtime fuses no batch norm with a convolution whose bias is a
``CastLike``, which made MobileNetV2 twice as slow."""
_SHOWN_CHARS = 160


def to_onnx(bundle: Bundle, *, allow_ops: tuple[str, ...] = ()) -> bytes:
    """The bundle's graph as the bytes of an ONNX model.

    Raises:
        ModelError: it cannot be exported; the reason is one line.
    """
    try:
        import onnxscript  # noqa: F401 - torch's exporter needs it, and it needs onnx
    except ImportError as error:
        raise ModelError(f"exporting needs {error.name}: pip install 'cleft[export]'") from error
    graph = bundle.graph
    _refuse(graph)
    weights = WeightTable(bundle, torch.device("cpu")).get([weight.name for weight in graph.weights])
    rebuilt = rebuild(graph, weights, allow_ops=allow_ops)
    try:
        with _quiet():
            model = _exported(graph, rebuilt, _examples(bundle))
    except CleftError:
        raise
    except Exception as error:
        raise ModelError(f"torch cannot export it: {_reason(error)}") from error
    made = [value.name for value in (*model.graph.input, *model.graph.output)]
    if made != [_OURS + name for name in (*graph.input_names, *rebuilt.names)]:
        raise ModelError("torch's exporter renamed or dropped values that a cut needs")
    _strip(model)
    _refer(model, {attribute: graph.weight[name] for attribute, name in rebuilt.weight_names.items()}, weights, bundle)
    _rename(model.graph, {}, count())
    return model.SerializeToString()


def _refuse(graph: Graph) -> None:
    odd = sorted({value.dtype for value in graph.values.values() if value.dtype.startswith("complex")})
    if odd:
        raise ModelError(f"it computes with {odd[0]} numbers, which ONNX operators do not take")


def _exported(graph: Graph, rebuilt: Rebuilt, examples: tuple[torch.Tensor, ...]) -> onnx.ModelProto:
    from onnxscript.optimizer import fold_constants, remove_unused_nodes

    program = torch.export.export(
        rebuilt.module, examples, dynamic_shapes=_dynamic(graph) if graph.symbols else None, strict=False
    )
    exported = torch.onnx.export(
        program,
        (),
        input_names=[_OURS + name for name in graph.input_names],
        output_names=[_OURS + name for name in rebuilt.names],
        opset_version=OPSET,
        dynamo=True,
        optimize=False,
        verbose=False,
    )
    assert exported is not None
    fold_constants(exported.model, should_fold=_may_fold, output_size_limit=_FOLDED_BYTES)
    remove_unused_nodes(exported.model)
    return exported.model_proto


def _may_fold(node: onnx_ir.Node) -> bool | None:
    """False for what reads a weight: its result would be a second copy of it in the file."""
    constants = (value.const_value for value in node.inputs if value is not None)
    return False if any(each is not None and each.nbytes > _FOLDED_BYTES for each in constants) else None


def _examples(bundle: Bundle) -> tuple[torch.Tensor, ...]:
    graph = bundle.graph
    generator = torch.Generator().manual_seed(0)
    found: list[torch.Tensor] = []
    for each in graph.inputs:
        if each.name in bundle.examples:
            found.append(torch.from_numpy(np.array(bundle.examples[each.name])))
            continue
        shape = shape_of(each.value.shape, graph.example_binding)
        dtype: torch.dtype = getattr(torch, each.value.dtype)
        drawn = torch.randn(shape, generator=generator)
        found.append(drawn.to(dtype) if dtype.is_floating_point else torch.full(shape, each.low, dtype=dtype))
    return tuple(found)


def _dynamic(graph: Graph) -> tuple[dict[int, object], ...]:
    """Which sizes of the inputs vary, as ``torch.export`` wants it said."""
    symbols = {
        symbol.name: torch.export.Dim(symbol.name, min=symbol.low, max=symbol.high)
        for symbol in graph.symbols
        if not symbol.from_data
    }
    return tuple(
        {axis: _dim(dim, symbols) for axis, dim in enumerate(each.value.shape) if isinstance(dim, str)}
        for each in graph.inputs
    )


def _dim(dim: Dim, symbols: Mapping[str, torch.export.Dim]) -> object:
    names = symbols_of(dim)
    if len(names) == 1:
        name = next(iter(names))
        zero, one, five = (evaluate(dim, {name: size}) for size in (0, 1, 5))
        if name in symbols and five == zero + 5 * (one - zero):
            scaled = symbols[name] if one - zero == 1 else (one - zero) * symbols[name]
            return scaled + zero if zero else scaled
    raise ModelError(f"its input size {dim} is no multiple of one size")


def _strip(model: onnx.ModelProto) -> None:
    """Drop what is for people: stack traces, the names of modules, shapes that are found again."""
    for message in (model, model.graph, *model.functions):
        message.ClearField("metadata_props")
        message.ClearField("doc_string")
    model.graph.ClearField("value_info")
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        for node in nodes:
            node.ClearField("metadata_props")
            node.ClearField("doc_string")
    for value in (*model.graph.input, *model.graph.output):
        value.ClearField("metadata_props")


def _rename(graph: onnx.GraphProto, known: dict[str, str], numbers: Iterator[int]) -> None:
    """Ours as they are, everything else by number; ``known`` holds what bodies read from around them."""
    names = dict(known)

    def renamed(name: str) -> str:
        if name and name not in names:
            names[name] = name.removeprefix(_OURS) if name.startswith(_OURS) else f"#{next(numbers)}"
        return names.get(name, "")

    for value in (*graph.input, *graph.output):
        value.name = renamed(value.name)
    for tensor in graph.initializer:
        tensor.name = renamed(tensor.name)
    for index, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{index}"
        for field in (node.input, node.output):
            field[:] = [renamed(name) for name in field]
        for attribute in node.attribute:
            for body in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                _rename(body, names, numbers)


def _refer(
    model: onnx.ModelProto, by_attribute: Mapping[str, Weight], weights: Mapping[str, torch.Tensor], bundle: Bundle
) -> None:
    """Replace the bytes of initializers that are weights by references to the weights file."""
    from onnx import TensorProto, numpy_helper

    places = _places(bundle)
    turned: list[onnx.NodeProto] = []
    for tensor in model.graph.initializer:
        tensor.ClearField("doc_string")
        tensor.ClearField("metadata_props")
        weight = by_attribute.get(tensor.name)
        if weight is None or 0 in weight.value.shape:
            continue
        ours = weights[weight.name].detach().contiguous().reshape(-1).view(torch.uint8).numpy()
        if numpy_helper.to_array(tensor).tobytes() != ours.tobytes():
            continue
        name, begin, nbytes = tensor.name, *places[weight.key]
        shape = tuple(tensor.dims)
        if weight.dim_order:
            turned.append(_turn(weight, name))
            shape = tuple(shape[axis] for axis in weight.dim_order)
            name = f"{name}_stored"
        data_type = tensor.data_type
        tensor.Clear()
        tensor.name, tensor.data_type = name, data_type
        tensor.dims.extend(shape)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", WEIGHTS), ("offset", str(begin)), ("length", str(nbytes))):
            tensor.external_data.add(key=key, value=value)
    nodes = [*turned, *model.graph.node]
    if turned:
        model.graph.ClearField("node")
        model.graph.node.extend(nodes)


def _turn(weight: Weight, name: str) -> onnx.NodeProto:
    """From a weight's order in the file to the order of its axes."""
    from onnx.helper import make_node

    order = list(weight.dim_order)
    return make_node("Transpose", [f"{name}_stored"], [name], perm=[order.index(axis) for axis in range(len(order))])


def _places(bundle: Bundle) -> dict[str, tuple[int, int]]:
    """Where each weight lies in the file: offset and length in bytes, by key."""
    with bundle.weights_path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header: dict[str, dict[str, list[int]]] = json.loads(file.read(length))
            spans = {key: entry["data_offsets"] for key, entry in header.items() if key != "__metadata__"}
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{bundle.weights_path} cannot be read: {error}") from error
    return {key: (8 + length + begin, end - begin) for key, (begin, end) in spans.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing printed, logged or warned of by the exporter: an error says what matters."""
    loggers = [logging.getLogger(name) for name in ("torch", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with torch.no_grad(), warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _reason(error: BaseException) -> str:
    """The innermost cause, as the first line of what it says."""
    while error.__cause__ is not None:
        error = error.__cause__
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return line if len(line) <= _SHOWN_CHARS else f"{line[:_SHOWN_CHARS]}..."
