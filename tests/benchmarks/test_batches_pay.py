"""Micro-batching never lowers throughput: frames per second with it and without it, side by side.

Eight clients keep the compute thread busy with frames of one segment, each asking again as soon as it was answered;
rounds with batching allowed and with frames run one by one alternate in one process. What is timed is everything the
thread does for a frame: decode, run, encode. The claim: at no network does batching take more than a few percent of
the throughput, which is what noticing that it does not pay costs; where operators are small it gives a multiple.

``CLEFT_BENCH=full pytest -m benchmark -s tests/benchmarks/test_batches_pay.py`` adds networks of torchvision and prints
the table.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Mapping

import numpy as np
import pytest

from cloud.batching import Batchers
from cloud.frames import Work
from cloud.store import Model, Prepared, prepare
from cloud.worker import Worker
from partitioner.bundle import Bundle
from partitioner.cli.output import plain_table
from partitioner.dims import shape_of
from partitioner.runtimes import Array
from partitioner.runtimes.eager import open_engine
from partitioner.segments import Cuts
from partitioner.zoo import resolve
from protos.tensors import DEFAULT_LIMITS, join, pack

FULL = os.environ.get("CLEFT_BENCH") == "full"
ROUNDS, ROUND_S = (12, 2.0) if FULL else (5, 0.25)
CLIENTS = 8
LEAST = 0.93 if FULL else 0.85
NETWORKS = ("digits", "channel_shuffle") + (
    ("efficientnet_style", "unet", "torchvision:resnet18", "torchvision:mobilenet_v2", "torchvision:vit_b_16")
    if FULL
    else ()
)

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900 if FULL else 120)]


def tail_of(bundle: Bundle) -> tuple[Model, Prepared, dict[str, Array]]:
    """What is behind the cut in the middle, and what crosses there."""
    model = Model(bundle=bundle, engine=open_engine(bundle, device="cpu"))
    cuts = Cuts(bundle.graph, bundle.digest)
    split = [cut for cut in cuts.candidates if not cut.is_local]
    _, tail = cuts.segments(split[len(split) // 2])
    assert tail is not None
    prepared = prepare(model, tail)
    random = np.random.default_rng(1)
    binding: Mapping[str, int] = bundle.graph.example_binding
    crossing = {
        value.name: random.standard_normal(shape_of(value.shape, binding)).astype(value.dtype)
        for value in prepared.segment.inputs
    }
    return model, prepared, crossing


async def frames_per_s(worker: Worker, work: Work, group: object, round_s: float) -> float:
    done, until_s = 0, time.monotonic() + round_s

    async def client(number: int) -> None:
        nonlocal done
        while time.monotonic() < until_s:
            await worker.run(work, client=number, kind="frame", group=group)  # type: ignore[arg-type]
            done += 1

    start_s = time.monotonic()
    await asyncio.gather(*map(client, range(CLIENTS)))
    return done / (time.monotonic() - start_s)


def measure(bundle: Bundle) -> tuple[list[float], list[float], int]:
    """Frames per second with and without, round by round, and the batch size that was found to pay."""
    model, prepared, crossing = tail_of(bundle)
    headers, buffers, _ = pack(crossing)
    payload = join(buffers)
    work = Work(prepared=prepared, codecs={}, headers=headers, payload=lambda: payload, limits=DEFAULT_LIMITS)
    batcher = Batchers(most=CLIENTS).of(model, prepared)
    group = batcher.group(tuple((header.name, tuple(header.shape)) for header in headers))
    worker = Worker(max_queued=256)
    worker.start()
    together: list[float] = []
    apart: list[float] = []

    async def rounds() -> None:
        await frames_per_s(worker, work, group, 2 * ROUND_S)
        for _ in range(ROUNDS):
            together.append(await frames_per_s(worker, work, group, ROUND_S))
            apart.append(await frames_per_s(worker, work, None, ROUND_S))

    try:
        asyncio.run(rounds())
    finally:
        assert worker.close(timeout_s=20.0)
    return together, apart, group.sizes.best


def test_batching_never_lowers_throughput(packed_case):
    rows, ratios = [], {}
    for name in NETWORKS:
        bundle = resolve(name) if ":" in name or name == "digits" else packed_case(name)
        together, apart, size = measure(bundle)
        ratios[name] = statistics.median(one / other for one, other in zip(together, apart, strict=True))
        found = [f"{statistics.median(each):.0f}" for each in (apart, together)]
        rows.append((name, *found, f"{ratios[name]:.2f}", str(size)))
    headings = ("network", "frames/s apart", "frames/s with batches", "ratio", "batch")
    print("", *plain_table(headings, rows), sep="\n")
    assert min(ratios.values()) >= LEAST, ratios
    assert ratios["digits"] > 1.2
