"""One frame's work: its headers against the segment before a byte is taken, then decode, compute and encode.

``Work`` runs on the compute thread as one job, so a frame pays for one hand-over between threads.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cloud.jobs import Ticket
from cloud.store import Prepared
from partitioner.errors import BundleError, CleftError, InputError
from partitioner.plan import SOURCE
from partitioner.runtimes import Array
from protos import messages as pb
from protos.errors import InternalFailure, InvalidMessage, TooLarge, WireError
from protos.tensors import Buffer, Limits, header_dtype, pack, unpack

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A stage's outputs, encoded, and where the time went. ``buffers`` may share the outputs' memory."""

    headers: Sequence[pb.TensorHeader]
    buffers: Sequence[Buffer]
    payload_bytes: int
    queue_s: float
    decode_s: float
    preprocess_s: float
    compute_s: float
    encode_s: float


def check_inputs(prepared: Prepared, headers: Sequence[pb.TensorHeader]) -> None:
    """Refuse tensors that are not the segment's inputs: names, element types, ranks, fixed sizes.

    Raises:
        InvalidMessage: they do not fit.
    """
    given = {header.name: header for header in headers}
    expected = [SOURCE] if prepared.preprocess is not None else [value.name for value in prepared.segment.inputs]
    if given.keys() != set(expected):
        raise InvalidMessage(f"the stage takes {_names(expected)}; the frame has {_names(given)}")
    if prepared.preprocess is not None:
        header = given[SOURCE]
        if header_dtype(header) != "uint8" or len(header.shape) not in (1, 2, 3):
            raise InvalidMessage("the source is uint8: the bytes of a file, or (H, W, C) pixels")
        return
    for value in prepared.segment.inputs:
        header = given[value.name]
        shape, dtype = tuple(header.shape), header_dtype(header)
        fits = len(shape) == len(value.shape) and all(
            not isinstance(due, int) or size == due for size, due in zip(shape, value.shape, strict=True)
        )
        if dtype != value.dtype or not fits:
            raise InvalidMessage(
                f"tensor {value.name!r} is {list(value.shape)} {value.dtype}; the frame has {list(shape)} {dtype}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A frame's tensors, as the segment takes them."""

    tensors: Mapping[str, Array]
    decode_s: float
    preprocess_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One frame's work on the compute thread; ``payload`` is asked for when its turn comes."""

    prepared: Prepared
    codecs: Mapping[str, str]
    headers: Sequence[pb.TensorHeader]
    payload: Callable[[], Buffer]
    limits: Limits

    def __call__(self, ticket: Ticket) -> Answer:
        """Run the frame.

        Raises:
            WireError: whatever went wrong, in the words of the wire.
        """
        try:
            return self.compute(self.decode(), ticket)
        except Exception as error:
            raise to_wire(error) from error

    def decode(self) -> Decoded:
        """Unpack what came and preprocess it."""
        start_s = time.perf_counter()
        tensors = unpack(self.headers, self.payload(), limits=self.limits)
        decoded_s = time.perf_counter()
        if self.prepared.preprocess is not None:
            tensors = _preprocess(self.prepared.preprocess, tensors[SOURCE])
        return Decoded(tensors=tensors, decode_s=decoded_s - start_s, preprocess_s=time.perf_counter() - decoded_s)

    def compute(self, decoded: Decoded, ticket: Ticket) -> Answer:
        """Run the segment and encode its outputs."""
        start_s = time.perf_counter()
        outputs = self.prepared.segment(decoded.tensors, should_stop=ticket.should_stop)
        return self.encode(outputs, decoded, compute_s=time.perf_counter() - start_s, ticket=ticket)

    def encode(self, outputs: Mapping[str, Array], decoded: Decoded, *, compute_s: float, ticket: Ticket) -> Answer:
        """The answer that carries these outputs."""
        start_s = time.perf_counter()
        headers, buffers, payload_bytes = pack(outputs, self.codecs, limits=self.limits)
        return Answer(
            headers=headers,
            buffers=buffers,
            payload_bytes=payload_bytes,
            queue_s=ticket.queue_s,
            decode_s=decoded.decode_s,
            preprocess_s=decoded.preprocess_s,
            compute_s=compute_s,
            encode_s=time.perf_counter() - start_s,
        )


def to_wire(error: Exception) -> WireError:
    """An error of the models' side in the words of the wire; ours alone are logged with a traceback."""
    if isinstance(error, WireError):
        return error
    if isinstance(error, InputError):
        return InvalidMessage(str(error))
    if isinstance(error, MemoryError):
        return TooLarge("the worker has not enough memory for this frame")
    if isinstance(error, CleftError) and not isinstance(error, BundleError):
        return InternalFailure(str(error))
    _LOG.error("a job failed", exc_info=error)
    return InternalFailure(f"the worker failed ({type(error).__name__}); its log says more")


def _preprocess(record: Mapping[str, object], source: Array) -> dict[str, Array]:
    from partitioner import preprocess

    return dict(preprocess.apply(record, source.astype("uint8", copy=False)))


def _names(names: Sequence[str] | Mapping[str, object]) -> str:
    listed = list(names)
    return ", ".join(map(repr, listed[:8])) + (" and more" if len(listed) > 8 else "") if listed else "nothing"
