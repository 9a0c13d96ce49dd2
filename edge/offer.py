"""What one model offers applications in the terms of the Open Inference Protocol: its metadata, and requests as inputs.

Sizes that vary are -1 in the metadata and are checked against the model's graph when a request comes. A model that says
how it prepares pictures takes, in place of its tensors, the one input ``source``: an encoded picture as ``UINT8 [n]``
or ``BYTES [1]``, or its pixels as ``UINT8 [h, w, c]``. So the original bytes can go to the worker where that is
cheaper.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edge.answer import Answer
from edge.lanes import Pending
from edge.sample import to_sample
from partitioner.bundle import Bundle
from partitioner.errors import InputError, UsageError
from partitioner.graph import Value
from partitioner.inputs import Sample
from partitioner.plan import SOURCE
from partitioner.runtimes import Array
from protos.contents import BYTES, datatype_of, parameter, read_inputs, refuse_shared_memory, write_outputs
from protos.errors import Unsupported
from protos.inference import ModelInferRequest, ModelInferResponse, ModelMetadataResponse

VERSION = "1"
PLATFORM = "cleft"
_SOURCE_FORMS = "UINT8 [-1] or BYTES [1]: an encoded picture; UINT8 [-1, -1, -1]: its pixels (height, width, channels)"
_ENCODED_RANKS = (1, 3)


class Answering(Protocol):
    """What answers a model's requests: a session."""

    def submit(self, given: object, *, deadline_s: float | None = None) -> Pending:
        """Queue one input; its future gets the answer, or the error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One model by the name that applications call it. ``answering`` is None where it is not ready, for ``reason``."""

    name: str
    bundle: Bundle | None
    answering: Answering | None = None
    reason: str = ""

    @property
    def is_ready(self) -> bool:
        """Whether its requests are answered."""
        return self.answering is not None


def check_datatypes(bundle: Bundle) -> None:
    """Check that the protocol has a datatype for everything the model takes and gives.

    Raises:
        UsageError: it has none for a tensor; names it.
    """
    graph = bundle.graph
    values = [each.value for each in graph.inputs] + [graph.value_of(name) for name in graph.output_names]
    for value in values:
        if datatype_of(value.dtype) is None:
            raise UsageError(
                f"{bundle.name}: {value.name} is {value.dtype}, for which the Open Inference Protocol has no datatype"
            )


def is_version(bundle: Bundle, version: str) -> bool:
    """Whether this is how a request may name the model's one version."""
    return version in ("", VERSION, bundle.digest)


def metadata_of(name: str, bundle: Bundle) -> ModelMetadataResponse:
    """The model's inputs and outputs; sizes that vary are -1."""
    graph = bundle.graph
    found = ModelMetadataResponse(name=name, versions=[VERSION], platform=PLATFORM)
    found.parameters["digest"].CopyFrom(parameter(bundle.digest))
    if takes_source(bundle):
        found.parameters[SOURCE].CopyFrom(parameter(_SOURCE_FORMS))
    for each in graph.inputs:
        found.inputs.add(name=each.name, datatype=datatype_of(each.value.dtype) or "", shape=_sizes(each.value))
    for output in graph.outputs:
        if output.name is not None:
            value = graph.value_of(output.name)
            found.outputs.add(name=output.path, datatype=datatype_of(value.dtype) or "", shape=_sizes(value))
    return found


def takes_source(bundle: Bundle) -> bool:
    """Whether the model takes the picture itself."""
    return bundle.preprocess is not None and SOURCE not in bundle.graph.input_names


def read_request(bundle: Bundle, request: ModelInferRequest) -> Sample:
    """A request's inputs, checked against the model.

    Raises:
        WireError: the request contradicts itself, or asks for what is not offered.
        InputError: it does not fit the model.
    """
    check_wanted(bundle, request)
    found = read_inputs(request)
    if tuple(found) == (SOURCE,) and takes_source(bundle):
        return to_sample(_picture(found[SOURCE]), bundle)
    tensors: dict[str, Array] = {}
    for name, value in found.items():
        if isinstance(value, list):
            raise InputError(f"input {name!r} is {BYTES}: models take numbers")
        tensors[name] = value
    return to_sample(tensors, bundle)


def check_wanted(bundle: Bundle, request: ModelInferRequest) -> None:
    """Check what a request wants back.

    Raises:
        InputError: an output that the model has not, or one twice.
        Unsupported: what is not offered here: classification, shared memory, sequences.
    """
    if "sequence_id" in request.parameters:
        raise Unsupported("sequences are not offered here: every request stands alone")
    known = [output.path for output in bundle.graph.outputs if output.name is not None]
    seen: set[str] = set()
    for wanted in request.outputs:
        refuse_shared_memory(wanted.name, wanted.parameters)
        if "classification" in wanted.parameters:
            raise Unsupported(f"output {wanted.name!r}: classification is not offered here: ask for the scores")
        if wanted.name not in known:
            raise InputError(f"the model has no output {wanted.name!r}; it has {', '.join(known)}")
        if wanted.name in seen:
            raise InputError(f"output {wanted.name!r} is asked for twice")
        seen.add(wanted.name)


def write_response(name: str, request: ModelInferRequest, answer: Answer) -> ModelInferResponse:
    """The answer with the outputs that the request wants, in its order; all of them where it names none.

    Raises:
        Unsupported: the protocol has no datatype for one.
    """
    response = ModelInferResponse(model_name=name, model_version=VERSION, id=request.id)
    for key, value in (("cut", answer.cut), ("codec", answer.codec), ("where", str(answer.where))):
        response.parameters[key].CopyFrom(parameter(value))
    response.parameters["fallback"].CopyFrom(parameter(answer.is_fallback))
    outputs: Mapping[str, Array] = answer.outputs
    if request.outputs:
        outputs = {wanted.name: answer.outputs[wanted.name] for wanted in request.outputs}
    write_outputs(response, outputs)
    return response


def _picture(given: Array | list[bytes]) -> Array:
    """The picture in the input ``source``, as what a session takes for one."""
    if isinstance(given, list):
        if len(given) != 1:
            raise InputError(f"{SOURCE} holds {len(given)} pictures: send one a request")
        return np.frombuffer(given[0], np.uint8)
    if given.dtype != np.uint8 or given.ndim not in _ENCODED_RANKS:
        raise InputError(f"{SOURCE} takes {_SOURCE_FORMS}; {given.dtype} {list(given.shape)} came")
    return given


def _sizes(value: Value) -> list[int]:
    return [dim if isinstance(dim, int) else -1 for dim in value.shape]
