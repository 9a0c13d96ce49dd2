from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protos import messages as pb
from protos import pieces

IDS = st.integers(0, 2**63 - 1)
DATA = st.binary(max_size=300)


@given(IDS, IDS, DATA)
def test_a_piece_is_written_as_protobuf_writes_the_chunk(frame_id: int, offset_bytes: int, data: bytes) -> None:
    chunk = pb.Chunk(frame_id=frame_id, offset_bytes=offset_bytes, data=data)
    for envelope, piece in (
        (pb.ToWorker(chunk=chunk), pieces.to_worker(frame_id, offset_bytes, memoryview(data))),
        (pb.ToEdge(chunk=chunk), pieces.to_edge(frame_id, offset_bytes, data)),
    ):
        assert pieces.write(piece) == envelope.SerializeToString()
        assert piece.WhichOneof("body") == "chunk"


@given(IDS, IDS, st.binary(min_size=1, max_size=300))
def test_what_protobuf_writes_is_read_back(frame_id: int, offset_bytes: int, data: bytes) -> None:
    written = pb.ToWorker(chunk=pb.Chunk(frame_id=frame_id, offset_bytes=offset_bytes, data=data)).SerializeToString()
    read = pieces.reader(pb.ToWorker.FromString)(written)
    assert read.WhichOneof("body") == "chunk"
    assert (read.chunk.frame_id, read.chunk.offset_bytes, bytes(read.chunk.data)) == (frame_id, offset_bytes, data)


@st.composite
def bent(draw: st.DrawFn) -> bytes:
    """A chunk as it travels with a few bytes changed, cut off or added, mostly near its beginning."""
    chunk = pb.Chunk(frame_id=draw(IDS), offset_bytes=draw(IDS), data=draw(st.binary(min_size=60, max_size=200)))
    data = bytearray(pb.ToWorker(chunk=chunk).SerializeToString())
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, min(30, len(data) - 1)))] = draw(st.integers(0, 255))
    del data[draw(st.integers(0, len(data))) :]
    return bytes(data) + draw(st.binary(max_size=80))


@given(bent())
def test_whatever_comes_is_read_as_protobuf_reads_it_or_left_to_it(data: bytes) -> None:
    piece = pieces.read_piece(data)
    if piece is None:
        return
    message = pb.ToWorker.FromString(data)
    assert message.WhichOneof("body") == "chunk"
    chunk = message.chunk
    assert (chunk.frame_id, chunk.offset_bytes, chunk.data) == (piece.frame_id, piece.offset_bytes, bytes(piece.data))


def test_other_messages_are_read_as_before() -> None:
    ack = pb.ToWorker(ack=pb.Ack(frame_id=3, received_bytes=5))
    probe = pb.ToWorker(probe=pb.Probe(probe_id=1, data=bytes(100)))
    for message in (ack, probe):
        assert pieces.reader(pb.ToWorker.FromString)(pieces.write(message)) == message
