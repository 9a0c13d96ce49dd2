"""The shipped model on the held-out handwritten digits: accuracy whole, split, and through each transform.

Packing (``+zstd``) is lossless; one packed codec is enough to show its bytes.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from partitioner.children import Address, Record, device, number
from partitioner.errors import CleftError

CUT = "after:stage2.0"
CODECS = ("none", "fp16", "int8", "int8+zstd")


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitsRow:
    """How the shipped model did, cut and coded one way; ``up_bytes`` is the median picture's."""

    cut: str
    codec: str
    accuracy: float
    same_answers: float
    max_rel_diff: float
    up_bytes: int


def steps() -> int:
    """How often ``answers`` calls ``advance``."""
    return 1 + len(CODECS)


def answers(address: Address, advance: Callable[[str], None]) -> Iterator[DigitsRow]:
    """One row for the whole model on the device, then one per codec.

    Raises:
        CleftError: a child process failed, or scikit-learn is missing.
    """
    from partitioner.zoo.digits_data import held_out

    pixels, labels = held_out()
    truth = [str(label) for label in labels]
    with tempfile.TemporaryDirectory(prefix="cleft-demo-") as folder:
        path = Path(folder) / "digits.npy"
        np.save(path, pixels)
        common = ["--model", "digits", "--cloud", f"{address[0]}:{address[1]}", "--input", str(path)]
        advance(f"digits: {len(truth)} held-out pictures on the device")
        alone = device([*common, "--cut", "local"])
        whole = [_winner(record) for record in alone]
        yield _row("local", "none", alone, truth, whole)
        for codec in CODECS:
            advance(f"digits: {len(truth)} held-out pictures, split, {codec}")
            yield _row(CUT, codec, device([*common, "--cut", CUT, "--codec", codec]), truth, whole)


def _row(cut: str, codec: str, records: Sequence[Record], truth: Sequence[str], whole: Sequence[str]) -> DigitsRow:
    winners = [_winner(record) for record in records]
    return DigitsRow(
        cut=cut,
        codec=codec,
        accuracy=_share(winners, truth),
        same_answers=_share(winners, whole),
        max_rel_diff=max(number(record, "max_rel_diff") for record in records),
        up_bytes=int(statistics.median(number(record, "up_bytes") for record in records)),
    )


def _winner(record: Record) -> str:
    match record.get("top5"):
        case [{"label": label}, *_]:
            return str(label)
    raise CleftError("the device's answer has no labels")


def _share(found: Sequence[str], wanted: Sequence[str]) -> float:
    return sum(a == b for a, b in zip(found, wanted, strict=True)) / len(wanted)
