"""What runtimes besides the eager one need of a bundle, made when it is packed: their files and the check record."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

import numpy as np
import torch
from safetensors.numpy import save

from partitioner import inputs
from partitioner.bundle import CHECK, ONNX_MODEL, Bundle, add_optional
from partitioner.difference import relative_difference
from partitioner.errors import CleftError, ModelError, SegmentError
from partitioner.runtimes import ORT, Array, check
from partitioner.runtimes.eager import EagerEngine
from partitioner.runtimes.ort.onnxfile import OnnxFile
from partitioner.runtimes.ort.parts import part_of
from partitioner.segments import Cuts

_EXPORTER = ("onnx", "onnxscript")


def add_runtime_files(bundle: Bundle, *, allow_ops: tuple[str, ...] = ()) -> Bundle:
    """Add what ONNX Runtime needs; a model that cannot be exported gets the reason instead, and never an error."""
    missing = [name for name in _EXPORTER if importlib.util.find_spec(name) is None]
    if missing:
        reason = f"{missing[0]} was not installed when it was packed: pip install 'cleft[export]'"
        return add_optional(bundle, {}, without={ORT: reason})
    from partitioner.zoo.onnx_export import to_onnx

    try:
        record = _record(bundle, allow_ops)
        model = to_onnx(bundle, allow_ops=allow_ops)
        _check_cuts(bundle, model)
    except CleftError as error:
        return add_optional(bundle, {}, without={ORT: str(error)})
    except Exception as error:  # whatever torch or the model meets here, packing goes on without the file
        return add_optional(bundle, {}, without={ORT: f"its export failed: {type(error).__name__}"})
    return add_optional(bundle, {ONNX_MODEL: model, CHECK: save(record)})


def _check_cuts(bundle: Bundle, model: bytes) -> None:
    """Raise where a cut cannot be made in the exported graph, although it can be in ours."""
    cuts = Cuts(bundle.graph, bundle.digest)
    file = OnnxFile(model)
    for cut in cuts.candidates:
        for segment in cuts.segments(cut):
            if segment is None or segment.is_identity:
                continue
            try:
                part_of(file, bundle.graph, segment)
            except SegmentError as error:
                raise ModelError(f"its export cannot be cut at {cut.name}: {error}") from error


def _record(bundle: Bundle, allow_ops: tuple[str, ...]) -> dict[str, Array]:
    """The check record, from the eager runtime on one thread of the CPU."""
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        engine = EagerEngine(bundle, torch.device("cpu"), 1, allow_ops)
        given = _inputs(bundle)
        first, second = (check.record(bundle, engine, given) for _ in range(2))
    finally:
        torch.set_num_threads(threads)
    odd = sorted({array.dtype.name for array in first.values()} & {"bfloat16", "complex64", "complex128"})
    if odd:
        raise ModelError(f"it computes {odd[0]} tensors, which ONNX Runtime does not take")
    if any(relative_difference(array, second[name]) > check.TOLERANCE for name, array in first.items()):
        raise ModelError("it draws random numbers, which no two runtimes draw alike")
    return {name: np.array(array, order="C") for name, array in first.items()}


def _inputs(bundle: Bundle) -> Mapping[str, Array]:
    graph = bundle.graph
    drawn = inputs.random_samples(
        1,
        [each.value for each in graph.inputs],
        binding=graph.example_binding,
        ranges={each.name: (each.low, each.high + 1) for each in graph.inputs},
    )[0].tensors
    return {**(drawn or {}), **bundle.examples}
