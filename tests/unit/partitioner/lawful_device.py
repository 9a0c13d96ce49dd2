"""A device that keeps a law: profiles of made-up networks on it, whose times are sums that a reader can write down.

A convolution of ``k`` by ``k`` over ``c`` channels takes 20 ps an operation (narrow ones up to 60), a pooling 1 ns for
each value that it reads, a dense layer what its weights take at 8 GB/s; all of them 0.1 ns for each byte of activations
and 5 us. A segment takes 80 us more and 0.25 ns for each byte that goes in or comes out. Runs one after another have
neither.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

from partitioner.layergraph import closed_set_id
from partitioner.profile import (
    CodecCost,
    CutProfile,
    DeviceInfo,
    Flow,
    LayerProfile,
    Profile,
    RuntimeRecord,
    SourceProfile,
    TensorSpec,
    Timing,
)

SIDE = 56


@dataclass(frozen=True, kw_only=True)
class Step:
    """One layer: what it is, and what it makes."""

    kind: str
    channels: int
    side: int
    flops: int
    weights: int
    window: int = 1
    groups: int = 1
    seconds: float


def network(seed: int, *, depth: int = 9, scale: float = 1.0) -> list[Step]:
    """A chain of convolutions, poolings and a dense layer at the end; ``scale`` multiplies its channels."""
    draw = random.Random(seed)
    channels, side = round(16 * scale), SIDE
    steps = [conv(3, channels, side, 3)]
    for _ in range(depth - 2):
        shape = draw.choice(("1x1", "3x3", "depthwise", "pool"))
        if shape == "pool" and side > 7:
            side //= 2
            steps.append(pool(channels, side))
        elif shape == "depthwise":
            steps.append(conv(channels, channels, side, 3, groups=channels))
        else:
            wider = round(channels * draw.choice((1, 1.5, 2)))
            steps.append(conv(channels, wider, side, 3 if shape == "3x3" else 1))
            channels = wider
    steps.append(_dense(channels * side * side, 100))
    return steps


def profile_of(steps: list[Step], name: str, *, weights_seed: int = 0, slower: float = 1.0) -> Profile:
    """The profile that the device's law gives; ``slower`` departs from it."""
    names = [f"layer{index}" for index in range(len(steps))]
    tensors = [TensorSpec(name="x", dtype="float32", shape=(1, 3, SIDE, SIDE), nbytes=12 * SIDE * SIDE)]
    for index, step in enumerate(steps):
        shape = (1, step.channels, step.side, step.side) if step.side > 1 else (1, step.channels)
        tensors.append(
            TensorSpec(name=f"t{index}", dtype="float32", shape=shape, nbytes=4 * step.channels * step.side**2)
        )
    seconds = [step.seconds * slower for step in steps]
    reply = tensors[-1]

    def run(begin: int, end: int) -> Timing:
        own_s = 8e-5 + 2.5e-10 * (tensors[begin].nbytes + tensors[end].nbytes) if end > begin else 0.0
        return Timing(median_s=sum(seconds[begin:end]) + own_s * slower, samples=9)

    def cut(depth: int) -> CutProfile:
        is_local = depth == len(steps)
        sent = tensors[depth]
        return CutProfile(
            id=closed_set_id(names[:depth]),
            name="local" if is_local else "cloud" if depth == 0 else f"after:{names[depth - 1]}",
            depth=depth,
            crossing=() if is_local else (sent,),
            reply=() if is_local else (reply,),
            edge_outputs=(reply.name,) if is_local else (),
            edge_flops=sum(step.flops for step in steps[:depth]),
            cloud_flops=sum(step.flops for step in steps[depth:]),
            edge_weight_bytes=0,
            cloud_weight_bytes=0,
            edge_peak_bytes=0,
            cloud_peak_bytes=0,
            prefix=run(0, depth),
            suffix=run(depth, len(steps)),
            codecs=() if is_local else (_codec("none", sent.nbytes, 1.0), _codec("none+zstd", sent.nbytes, 0.6)),
            reply_cost=_codec("none", 0 if is_local else reply.nbytes, 1.0),
        )

    return Profile(
        model_digest=hashlib.sha256(f"{name} {weights_seed}".encode()).hexdigest(),
        model_name=name,
        weights="random",
        device=DeviceInfo(name="lawful", machine="x86_64", cpu="Lawful 9000", cores=2),
        runtime=RuntimeRecord(name="ort", device="cpu", threads=1, versions={}),
        binding={},
        layers=tuple(
            LayerProfile(
                id=names[index],
                name=names[index],
                kind=step.kind,
                forward=Timing(median_s=seconds[index], samples=9),
                flops=step.flops,
                weight_bytes=4 * step.weights,
                output_bytes=tensors[index + 1].nbytes,
                window=step.window,
                groups=step.groups,
            )
            for index, step in enumerate(steps)
        ),
        flows=tuple(
            Flow(
                name=each.name,
                dtype="float32",
                shape=each.shape,
                nbytes=each.nbytes,
                producer=index - 1,
                consumers=(index,) if index < len(steps) else (),
                is_output=index == len(steps),
            )
            for index, each in enumerate(tensors)
        ),
        cuts=tuple(cut(depth) for depth in range(len(steps) + 1)),
        whole=Timing(median_s=sum(seconds), samples=9),
        source=SourceProfile(
            kind="pixels", nbytes=3 * SIDE * SIDE, how="assumed", preprocess=Timing(median_s=12e-9 * SIDE * SIDE)
        ),
        peak_rss_bytes=0,
        noise_ratio=0.0,
        noisy=False,
        created="2026-01-02T03:04:05Z",
    )


def profiles(count: int = 12) -> list[Profile]:
    """Different networks on the device."""
    return [profile_of(network(seed), f"net{seed}") for seed in range(count)]


def _codec(name: str, raw_bytes: int, ratio: float) -> CodecCost:
    """Encoding takes 0.1 ms and 1 ns a byte, decoding 0.2 ms and 0.5 ns."""
    return CodecCost(
        codec=name,
        up_bytes=round(raw_bytes * ratio),
        encode_s=1e-4 + 1e-9 * raw_bytes,
        decode_s=2e-4 + 0.5e-9 * raw_bytes,
        deviation=0.0,
    )


def conv(given: int, made: int, side: int, kernel: int, *, groups: int = 1) -> Step:
    inner = given // groups * kernel**2
    values = made * side**2
    flops = 2 * inner * values
    per_flop = 2e-11 * (1 + 2 / (1 + inner / 32))
    moved = 4 * (given + made) * side**2
    return Step(
        kind="conv2d+batch_norm+relu",
        channels=made,
        side=side,
        flops=flops + 2 * values,
        weights=inner * made + 5 * made,
        window=kernel**2,
        groups=groups,
        seconds=flops * per_flop + 1e-10 * moved + 5e-6,
    )


def pool(channels: int, side: int) -> Step:
    values = channels * side**2
    moved = 4 * channels * (4 + 1) * side**2
    return Step(
        kind="max_pool2d",
        channels=channels,
        side=side,
        flops=values,
        weights=0,
        window=4,
        seconds=4e-9 * values + 1e-10 * moved + 5e-6,
    )


def _dense(given: int, made: int) -> Step:
    weights = given * made
    return Step(
        kind="linear",
        channels=made,
        side=1,
        flops=2 * weights,
        weights=weights + made,
        seconds=4 * weights / 8e9 + 4e-10 * (given + made) + 5e-6,
    )
