"""A small model's profiles, in round numbers that a reader can add up."""

from __future__ import annotations

from dataclasses import replace

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

DIGEST = "5f" * 32
SOURCE_BYTES = 60_000

# name, floats crossing, edge's prefix, cloud's suffix; times in ms
_CUTS = (
    ("cloud", 150_528, 0.0, 6.0),
    ("after:stem", 200_704, 4.0, 5.0),
    ("after:block1", 50_176, 12.0, 3.5),
    ("after:block2", 4_096, 20.0, 1.0),
    ("local", 0, 160.0, 0.0),
)


def timing(ms: float, *, how: str = "measured") -> Timing:
    return Timing(median_s=ms / 1e3, spread_s=ms / 1e5, samples=20, how=how)  # type: ignore[arg-type]


def codec(name: str, up_bytes: int, *, ms: float, error: float = 0.0) -> CodecCost:
    return CodecCost(codec=name, up_bytes=up_bytes, encode_s=ms / 1e3, decode_s=ms / 2e3, deviation=error)


def cut(index: int) -> CutProfile:
    name, floats, prefix_ms, suffix_ms = _CUTS[index]
    is_local = name == "local"
    tensor = TensorSpec(name=f"t{index}", dtype="float32", shape=(1, floats), nbytes=4 * floats)
    codecs = [codec("none", 4 * floats, ms=0.1), codec("int8", floats, ms=0.4, error=0.01)]
    if name == "cloud":
        codecs.append(codec("source", SOURCE_BYTES, ms=0.0))
    return CutProfile(
        id=f"id{index}",
        name=name,
        aliases=("block2.relu",) if name == "after:block2" else (),
        depth=2 * index,
        crossing=() if is_local else (tensor,),
        reply=() if is_local else (TensorSpec(name="logits", dtype="float32", shape=(1, 1000), nbytes=4000),),
        edge_outputs=("logits",) if is_local else (),
        edge_flops=10**6 * index,
        cloud_flops=10**6 * (4 - index),
        edge_weight_bytes=4000 * index,
        cloud_weight_bytes=4000 * (4 - index),
        edge_peak_bytes=10**6,
        cloud_peak_bytes=10**6,
        prefix=timing(prefix_ms),
        suffix=timing(suffix_ms),
        codecs=() if is_local else tuple(codecs),
        reply_cost=codec("none", 0 if is_local else 4000, ms=0.02),
    )


def edge_profile() -> Profile:
    return Profile(
        model_digest=DIGEST,
        model_name="toy",
        weights="given",
        device=DeviceInfo(name="edge", machine="aarch64", cpu="Cortex-A76", cores=4),
        runtime=RuntimeRecord(name="eager", device="cpu", threads=1, versions={"torch": "2.13.0"}),
        binding={"b": 1},
        layers=(
            LayerProfile(
                id="l0",
                name="stem",
                kind="conv",
                forward=timing(4.0),
                flops=10**6,
                weight_bytes=4000,
                output_bytes=802_816,
                window=1,
                groups=1,
            ),
        ),
        flows=(
            Flow(
                name="x",
                dtype="float32",
                shape=(1, 150_528),
                nbytes=602_112,
                producer=-1,
                consumers=(0,),
                is_output=False,
            ),
        ),
        cuts=tuple(cut(index) for index in range(len(_CUTS))),
        whole=timing(160.0),
        source=SourceProfile(kind="file", nbytes=SOURCE_BYTES, how="measured", preprocess=timing(8.0)),
        samples=1,
        samples_how="measured",
        peak_rss_bytes=10**8,
        noise_ratio=0.02,
        noisy=False,
        created="2026-01-02T03:04:05Z",
    )


def cloud_profile() -> Profile:
    edge = edge_profile()
    return replace(
        edge,
        device=DeviceInfo(name="cloud", machine="x86_64", cpu="EPYC", cores=64),
        whole=timing(6.0),
        source=replace(edge.source, preprocess=timing(1.0)),
    )
