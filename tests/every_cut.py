"""Runs a model cut in two the way two processes would: head, the wire's own bytes, a second engine, tail."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import ml_dtypes
import numpy as np
import torch

from partitioner import bundle as bundles
from partitioner import graphjson
from partitioner.bundle import Bundle
from partitioner.runtimes import Array
from partitioner.runtimes.eager import EagerEngine, open_engine
from partitioner.segments import Cut, Cuts
from partitioner.trace import Example, capture, save
from partitioner.trace.dynamic import parse
from protos import tensors

TOLERANCE = 1e-5


def pack(
    module: torch.nn.Module,
    path: Path,
    *,
    args: tuple[object, ...] = (),
    kwargs: Mapping[str, object] | None = None,
    dynamic: Sequence[str] = (),
) -> Bundle:
    """Capture a module and write its bundle."""
    captured = capture(module, Example(args=args, kwargs=kwargs), dynamic=parse(dynamic))
    return bundles.write(
        path,
        graph_text=graphjson.dumps(captured.graph, producer=captured.producer),
        weights=captured.weights,
        save_weights=save,
        name=type(module).__name__,
        origin="given",
        notes=captured.notes,
        examples=captured.examples,
    )


def exported(
    module: torch.nn.Module, args: tuple[object, ...] = (), kwargs: Mapping[str, object] | None = None
) -> torch.nn.Module:
    """The functional module of torch's own export: what a bundle must be bit-equal to."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module.eval(), args, dict(kwargs or {}), strict=False)
        return program.run_decompositions({}).module()


def tensor_leaves(tree: object) -> list[torch.Tensor]:
    """The tensors of what a module takes or returns, in torch's order."""
    return [leaf for leaf in torch.utils._pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def to_array(tensor: torch.Tensor) -> Array:
    """A tensor as the seam wants it; a copy."""
    tensor = tensor.detach().clone().resolve_conj().resolve_neg().contiguous()
    if tensor.dtype is torch.bfloat16:
        return tensor.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def feed(bundle: Bundle, args: object, kwargs: object = None) -> dict[str, Array]:
    """A model's inputs by the names of the bundle's."""
    leaves = tensor_leaves((args, kwargs or {}))
    return {name: to_array(leaf) for name, leaf in zip(bundle.graph.input_names, leaves, strict=True)}


def by_output(bundle: Bundle, answer: object) -> dict[str, object]:
    """What a module returned, by the names of the bundle's outputs (those that are not constants)."""
    leaves = torch.utils._pytree.tree_leaves(answer)
    outputs = bundle.graph.outputs
    assert len(leaves) == len(outputs)
    return {output.name: leaf for output, leaf in zip(outputs, leaves, strict=True) if output.name is not None}


def as_arrays(answer: Mapping[str, object]) -> dict[str, Array]:
    """Tensors and numbers as arrays."""
    return {name: to_array(v) if isinstance(v, torch.Tensor) else np.asarray(v) for name, v in answer.items()}


def over_the_wire(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """What the far side reads from the bytes of a frame."""
    headers, buffers, _ = tensors.pack(arrays)
    sent = [type(header).FromString(header.SerializeToString()) for header in headers]
    return tensors.unpack(sent, tensors.join(buffers))


def whole(engine: EagerEngine, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The whole model in one segment."""
    bundle = engine.bundle
    return engine.segment(Cuts(bundle.graph, bundle.digest).whole())(inputs)


def run_cut(near: EagerEngine, far: EagerEngine, cut: Cut, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Every output, the head's and the tail's."""
    head, tail = Cuts(near.bundle.graph, near.bundle.digest).segments(cut)
    made = near.segment(head)(inputs)
    answers = {name: made[name] for name in cut.edge_outputs}
    if tail is not None:
        sent = over_the_wire({value.name: made[value.name] for value in cut.crossing})
        answers |= over_the_wire(far.segment(tail)(sent))
    return answers


def max_rel_diff(ours: Array, theirs: Array) -> float:
    """max|a - b| / max|b|; 0 where both are the same to the bit, infinite where shape or dtype differ."""
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return float("inf")
    if ours.tobytes() == theirs.tobytes():
        return 0.0
    wide = np.complex128 if np.iscomplexobj(theirs) else np.float64
    a, b = ours.astype(wide), theirs.astype(wide)
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return float("inf")
    finite = np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return float("inf")
    if not finite.any():
        return 0.0
    largest = float(np.abs(b[finite]).max())
    return float(np.abs(a[finite] - b[finite]).max()) / largest if largest else float(np.abs(a[finite]).max())


def sample(cuts: Sequence[Cut], count: int | None) -> list[Cut]:
    """At most ``count`` cuts, evenly spread, the first and the last among them."""
    if count is None or len(cuts) <= count:
        return list(cuts)
    return [cuts[round(index * (len(cuts) - 1) / (count - 1))] for index in range(count)]


def faults(
    bundle: Bundle, inputs: Mapping[str, Array], truth: Mapping[str, Array], *, count: int | None = None
) -> list[str]:
    """One line per cut and output that is not the whole model's."""
    near, far = open_engine(bundle, device="cpu"), open_engine(bundle, device="cpu")
    found = []
    for name, array in whole(near, inputs).items():
        if array.tobytes() != truth[name].tobytes() or array.shape != truth[name].shape:
            found.append(f"whole: {name} is not bit-equal: {max_rel_diff(array, truth[name])}")
    cuts = Cuts(bundle.graph, bundle.digest).candidates
    for cut in sample(cuts, count):
        answers = run_cut(near, far, cut, inputs)
        if set(answers) != set(truth):
            found.append(f"{cut.name}: answers {sorted(answers)}, not {sorted(truth)}")
            continue
        found += [
            f"{cut.name}: {name} differs by {difference}"
            for name, array in answers.items()
            if not (difference := max_rel_diff(array, truth[name])) <= TOLERANCE
        ]
    return found
