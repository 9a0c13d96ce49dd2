"""What a frame carries: tensors encoded for the wire, within what the worker takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge.clock import DeviceClock
from edge.errors import EdgeError, WorkerRefused
from partitioner.runtimes import Array
from protos import messages as pb
from protos import tensors as packing
from protos.errors import WireError


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """Headers and buffers of encoded tensors, and the device's time for encoding them."""

    headers: Sequence[pb.TensorHeader]
    payload: Sequence[packing.Buffer]
    payload_bytes: int
    encode_s: float

    @property
    def up_bytes(self) -> int:
        """What crosses: payload and headers."""
        return packing.frame_bytes(self.headers, self.payload_bytes)


def packed(tensors: Mapping[str, Array], chosen: Mapping[str, str], *, clock: DeviceClock, most_bytes: int) -> Parcel:
    """Encode tensors with their chosen codecs.

    Raises:
        WorkerRefused: they are larger than the worker takes.
        EdgeError: they cannot be sent.
    """
    try:
        with clock.step() as step:
            headers, payload, payload_bytes = packing.pack(tensors, chosen)
    except WireError as error:
        raise EdgeError(f"this cannot be sent: {error.detail}") from error
    if payload_bytes > most_bytes:
        raise WorkerRefused("TOO_LARGE", f"the frame has {payload_bytes} bytes, the worker takes {most_bytes}")
    return Parcel(headers=headers, payload=payload, payload_bytes=payload_bytes, encode_s=step.seconds)
