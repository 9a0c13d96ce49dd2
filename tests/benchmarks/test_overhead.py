"""What a split request costs beyond its parts, on loopback, and what a stream of them loses against its slowest stage.

The parts are measured apart, in one process and without the wire: running the head, packing what crosses, moving that
many bytes over a bare TCP connection and the answer's bytes back, unpacking, running the tail. The request is then
timed whole, against a worker in a process of its own, in alternation with its parts so that both meet the same
machine. The claim: a request costs at most 1 ms and 5 % more than its parts, for up to 1 MB crossing.

A stream's stages are the device's (head and encoding) and the worker's (decoding, tail and encoding), each timed while
requests go one by one. The claim: several at once are answered at 90 % or more of the rate of the slowest stage alone.
The device is emulated in one row, so that its stage waits instead of taking the worker's core.

``make overhead`` prints both tables at full size and holds them to the claims. At toy size, among other tests, the
bounds are those of a machine that does other things as well.
"""

from __future__ import annotations

import itertools
import os
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import edge
from edge.client import Client
from edge.embedded import EmbeddedWorker
from partitioner.bundle import Bundle
from partitioner.cli.output import plain_table
from partitioner.runtimes.eager import open_engine
from partitioner.segments import Cuts
from partitioner.zoo import resolve
from protos import tensors as packing

FULL = os.environ.get("CLEFT_BENCH") == "full"
FIXED_S = 1e-3 if FULL else 5e-3
SHARE = 0.05 if FULL else 0.25
PIPELINED = 0.90 if FULL else 0.70
ROUNDS = 60 if FULL else 12
WIDTHS = (4, 64, 256, 640, 1024) if FULL else (4, 256, 1024)
TRIES = 5
STREAMED = 200 if FULL else 40
HEADER_BYTES = 100
_SIDE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One size of what crosses; times are lower quartiles, since what else the machine does only ever adds."""

    crossing_bytes: int
    parts_s: float
    request_s: float

    @property
    def allowed_s(self) -> float:
        return self.parts_s * (1 + SHARE) + FIXED_S


class Wide(torch.nn.Module):
    """``width`` maps of 16 x 16 float32 (1 KiB each) cross in the middle."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.front = torch.nn.Conv2d(3, width, 3, padding=1)
        self.back = torch.nn.Conv2d(width, 8, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.back(torch.relu(self.front(x))).mean((2, 3))


def wide(width: int) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    torch.manual_seed(width)
    return Wide(width).eval(), (torch.randn(1, 3, _SIDE, _SIDE),)


class Deep(torch.nn.Module):
    """So many convolutions before the cut, and so many behind it."""

    def __init__(self, ahead: int, behind: int, *, width: int = 3) -> None:
        super().__init__()
        self.front = torch.nn.Sequential(*(torch.nn.Conv2d(3, 3, 3, padding=1) for _ in range(ahead)))
        sizes = [3, *([width] * behind)]
        self.back = torch.nn.Sequential(*(torch.nn.Conv2d(m, n, 3, padding=1) for m, n in itertools.pairwise(sizes)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.back(torch.relu(self.front(x))).mean((2, 3))


def device_bound() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    torch.manual_seed(1)
    return Deep(4, 1).eval(), (torch.randn(1, 3, 64, 64),)


def worker_bound() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    torch.manual_seed(2)
    return Deep(1, 16, width=16).eval(), (torch.randn(1, 3, 128, 128),)


for _width in WIDTHS:
    globals()[f"wide{_width}"] = lambda width=_width: wide(width)


@contextmanager
def echo_server() -> Iterator[socket.socket]:
    """A connection whose far end reads ``n`` bytes and answers ``m``; each request begins with both numbers."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                while header := connection.recv(16, socket.MSG_WAITALL):
                    up, down = int.from_bytes(header[:8], "little"), int.from_bytes(header[8:], "little")
                    connection.recv(up, socket.MSG_WAITALL)
                    connection.sendall(bytes(down))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with socket.create_connection(server.getsockname()) as near:
                near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                yield near
        finally:
            thread.join()


def move(connection: socket.socket, payload: list[packing.Buffer], down_bytes: int) -> None:
    size = sum(len(part) for part in payload)
    connection.sendall(size.to_bytes(8, "little") + down_bytes.to_bytes(8, "little"))
    for part in payload:
        connection.sendall(part)
    connection.recv(down_bytes, socket.MSG_WAITALL)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Bundle]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLEFT_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield [resolve(f"test_overhead:wide{width}") for width in WIDTHS]


def measure(bundle: Bundle, target: str, connection: socket.socket) -> Row:
    cuts = Cuts(bundle.graph, bundle.digest)
    cut = cuts.find("after:front")
    head, tail = cuts.segments(cut)
    assert tail is not None
    given = {bundle.graph.input_names[0]: np.random.default_rng(0).standard_normal((1, 3, _SIDE, _SIDE), np.float32)}
    with edge.Session(bundle, cloud=target, cut=cut.id, fallback=False) as session:
        engine = open_engine(bundle, device="cpu", threads=1)
        front, back = engine.segment(head), engine.segment(tail)

        def parts() -> dict[str, packing.codecs.Array]:
            crossing = front(given)
            headers, payload, _ = packing.pack(crossing)
            move(connection, payload, 32)
            outputs = back(packing.unpack(headers, packing.join(payload)))
            return packing.unpack(*(lambda packed: (packed[0], packing.join(packed[1])))(packing.pack(outputs)))

        expected = parts()
        answer = session(given)
        np.testing.assert_allclose(next(iter(answer.outputs.values())), next(iter(expected.values())), rtol=1e-5)
        parts_s, request_s = [], []
        for _ in range(ROUNDS):
            start_s = time.perf_counter()
            parts()
            middle_s = time.perf_counter()
            session(given)
            parts_s.append(middle_s - start_s)
            request_s.append(time.perf_counter() - middle_s)
    return Row(
        crossing_bytes=answer.up_bytes,
        parts_s=statistics.quantiles(parts_s, n=4)[0],
        request_s=statistics.quantiles(request_s, n=4)[0],
    )


def quietest(bundle: Bundle, target: str, connection: socket.socket) -> Row:
    """The row within its bound, or the best of several."""
    rows = []
    for _ in range(TRIES):
        rows.append(measure(bundle, target, connection))
        if rows[-1].request_s <= rows[-1].allowed_s:
            return rows[-1]
    return min(rows, key=lambda row: row.request_s - row.allowed_s)


@pytest.mark.benchmark
def test_a_split_request_costs_little_more_than_its_parts(bundles: list[Bundle]) -> None:
    more = [argument for bundle in bundles[1:] for argument in ("--model", str(bundle.path))]
    with EmbeddedWorker(bundles[0].path, arguments=(*more, "--threads", "1")) as worker, echo_server() as connection:
        rows = [quietest(bundle, worker.target, connection) for bundle in bundles]
    print()
    cells = [
        (
            f"{row.crossing_bytes / 1e3:.0f} kB",
            f"{row.parts_s * 1e3:.2f} ms",
            f"{row.request_s * 1e3:.2f} ms",
            f"{(row.request_s - row.parts_s) * 1e3:.2f} ms",
            f"{row.allowed_s * 1e3:.2f} ms",
        )
        for row in rows
    ]
    for line in plain_table(("crosses", "parts", "request", "overhead", "allowed"), cells):
        print(line)
    for row, width in zip(rows, WIDTHS, strict=True):
        assert 0 <= row.crossing_bytes - width * _SIDE * _SIDE * 4 < HEADER_BYTES
    assert all(row.request_s <= row.allowed_s for row in rows)


@pytest.mark.benchmark
def test_a_session_answers_nothing_slower_than_its_round_trip_allows(bundles: list[Bundle]) -> None:
    with EmbeddedWorker(bundles[0].path, arguments=("--threads", "1")) as worker, Client.dial(worker.target) as client:
        link = client.measure_link(budget_s=0.5)
    print(f"\nround trip {link.rtt_s * 1e3:.2f} ms, up {link.up_mbit:.0f} Mbit/s, down {link.down_mbit:.0f} Mbit/s")
    assert link.rtt_s < FIXED_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipelined:
    """A stream against its stages; ``efficiency`` is its rate as a share of the slowest stage's.

    The device's stage is its head and encoding, the worker's is decoding and its tail; the answer's few bytes are left
    out.
    """

    device_s: float
    worker_s: float
    each_s: float

    @property
    def efficiency(self) -> float:
        return max(self.device_s, self.worker_s) / self.each_s


def pipelined(session: edge.Session, given: dict[str, np.ndarray], count: int) -> Pipelined:
    alone = [session(given).times for _ in range(max(5, count // 4))]
    begun_s = time.perf_counter()
    answers = list(session.stream(given for _ in range(count)))
    each_s = (time.perf_counter() - begun_s) / count
    assert [each.id for each in answers if each.answer is not None] == list(range(count))
    return Pipelined(
        device_s=statistics.median(times.head_s + times.encode_s for times in alone),
        worker_s=statistics.median(times.decode_s + times.tail_s for times in alone),
        each_s=each_s,
    )


def streamed(bundle: Bundle, target: str, slowdown: float) -> Pipelined:
    """The stream within its bound, or the best of several."""
    cuts = [each for each in Cuts(bundle.graph, bundle.digest).candidates if each.name.startswith("after:front")]
    size = tuple(int(each) for each in bundle.graph.inputs[0].value.shape)
    given = {bundle.graph.input_names[0]: np.random.default_rng(0).standard_normal(size).astype(np.float32)}
    found: list[Pipelined] = []
    with edge.Session(bundle, cloud=target, cut=cuts[-1].id, slowdown=slowdown, fallback=False) as session:
        session(given)
        while len(found) < TRIES and (not found or found[-1].efficiency < PIPELINED):
            found.append(pipelined(session, given, STREAMED))
    return max(found, key=lambda each: each.efficiency)


@pytest.mark.benchmark
def test_a_stream_is_as_fast_as_its_slowest_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEFT_CACHE_DIR", str(tmp_path))
    slow_device, slow_worker = resolve("test_overhead:device_bound"), resolve("test_overhead:worker_bound")
    more = ("--model", str(slow_worker.path), "--threads", "1")
    with EmbeddedWorker(slow_device.path, arguments=more) as worker:
        rows = {
            "device, emulated": streamed(slow_device, worker.target, 8.0),
            "worker": streamed(slow_worker, worker.target, 1.0),
        }
    print()
    cells = [
        (name, *(f"{s * 1e3:.2f} ms" for s in (row.device_s, row.worker_s, row.each_s)), f"{row.efficiency:.0%}")
        for name, row in rows.items()
    ]
    for line in plain_table(("slowest stage", "device", "worker", "each in a stream", "of its rate"), cells):
        print(line)
    assert all(row.efficiency >= PIPELINED for row in rows.values())
