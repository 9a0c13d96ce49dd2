"""What ``cleft-edge run`` prints: a few lines per input, or one object each for machines (schema ``cleft.run/1``)."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass

import numpy as np

from edge.answer import Answer, top_labels, top_scores
from edge.cli.plain import plain
from edge.clock import DeviceClock
from partitioner.bundle import Bundle
from partitioner.cli.output import print_json
from partitioner.cli.shell import explain
from partitioner.runtimes import Array
from partitioner.segments import CLOUD, LOCAL
from partitioner.units import ms, size

SCHEMA = "cleft.run/1"
_SHOWN_S = 1e-6
_SHOWN_NUMBERS = 10
_RECORDED_NUMBERS = 16
_PLACES = {"edge": "on the device", "cloud": "in the cloud", "split": "split"}
_STEPS = (
    ("preprocess", "preprocess_s"),
    ("head", "head_s"),
    ("encode", "encode_s"),
    ("wire", "wire_s"),
    ("queue", "queue_s"),
    ("decode", "decode_s"),
    ("tail", "tail_s"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """What is told beside the answer. ``weight_bytes_held``: by this device, for the answer."""

    max_rel_diff: float | None = None
    post: object = None
    predicted_s: float | None = None
    weight_bytes_held: int


class Report:
    """Prints answers and failures as they come."""

    def __init__(self, bundle: Bundle, *, as_json: bool, clock: DeviceClock) -> None:
        self._labels = bundle.labels
        self._as_json = as_json
        self._clock = clock
        self.failures = 0
        if clock.note and not as_json:
            print(clock.note)

    def answer(self, name: str, answer: Answer, extra: Extra) -> None:
        """One input's answer."""
        top = top_labels(answer.outputs, self._labels)
        if self._as_json:
            print_json(self._record(name, answer, extra, top), indent=None)
        else:
            for line in self._lines(name, answer, extra, top):
                print(line)
        sys.stdout.flush()

    def failure(self, name: str, error: Exception) -> None:
        """One input that has no answer."""
        self.failures += 1
        line, _ = explain(error)
        if self._as_json:
            print_json({"schema": SCHEMA, "input": name, "error": line}, indent=None)
            sys.stdout.flush()
        print(f"cleft-edge: error: {line if name in line else f'{name}: {line}'}", file=sys.stderr)

    def _record(
        self, name: str, answer: Answer, extra: Extra, top: list[tuple[str, float]] | None
    ) -> dict[str, object]:
        record: dict[str, object] = {
            "schema": SCHEMA,
            "input": name,
            "cut": answer.cut,
            "cut_id": answer.cut_id,
            "codec": answer.codec,
            "where": answer.where,
            "fallback": answer.is_fallback,
            **asdict(answer.times),
            "up_bytes": answer.up_bytes,
            "down_bytes": answer.down_bytes,
            "slowdown": answer.slowdown,
            "weight_bytes_held": extra.weight_bytes_held,
            "outputs": {path: _described(array) for path, array in answer.outputs.items()},
        }
        if self._clock.note:
            record["note"] = self._clock.note
        if extra.predicted_s is not None:
            record["predicted_s"] = extra.predicted_s
        if top is not None:
            record["top5"] = [{"label": label, "probability": probability} for label, probability in top]
        if extra.max_rel_diff is not None:
            record["max_rel_diff"] = extra.max_rel_diff
        if extra.post is not None:
            record["post"] = plain(extra.post)
        return record

    def _lines(self, name: str, answer: Answer, extra: Extra, top: list[tuple[str, float]] | None) -> list[str]:
        times = answer.times
        place = _PLACES[answer.where]
        if answer.is_fallback:
            place += ", because the worker did not answer"
        split = "" if answer.cut in (LOCAL, CLOUD) else f" at {answer.cut}"
        codec = "" if answer.where == "edge" else f", codec {answer.codec}"
        expected = "" if extra.predicted_s is None else f" (predicted {ms(extra.predicted_s)})"
        lines = [f"{name}: {ms(times.total_s)}{expected}, {place}{split}{codec}"]
        if extra.post is not None:
            lines += [f"  {line}" for line in str(extra.post).splitlines()]
        elif top is not None:
            width = max(len(label) for label, _ in top)
            lines += [f"  {label:<{width}}  {probability:6.1%}" for label, probability in top]
        else:
            lines += [f"  {path}  {_shown(array)}" for path, array in answer.outputs.items()]
        spent = [f"{label} {ms(getattr(times, field))}" for label, field in _STEPS if getattr(times, field) >= _SHOWN_S]
        moved = f"; {size(answer.up_bytes)} up, {size(answer.down_bytes)} down" if answer.up_bytes else ""
        lines.append(f"  {', '.join(spent)}{moved}")
        if extra.max_rel_diff is not None:
            lines.append(f"  against the whole model: max_rel_diff {extra.max_rel_diff:.2e}")
        return lines


def _described(array: Array) -> dict[str, object]:
    """What it is, and its values where they are few."""
    found: dict[str, object] = {"dtype": array.dtype.name, "shape": list(array.shape)}
    if array.size <= _RECORDED_NUMBERS:
        found["values"] = plain(array)
    return found


def _shown(array: Array) -> str:
    """What it is, and its values where they are few, or the highest where they look like scores of classes."""
    dims = "x".join(map(str, array.shape)) or "scalar"
    what = f"{array.dtype.name} {dims}"
    if 0 < array.size <= _SHOWN_NUMBERS:
        return f"{what}: {', '.join(map(_number, array.ravel()))}"
    if (top := top_scores(array)) is not None:
        return f"{what}, highest {', '.join(f'[{index}] {score:.4g}' for index, score in top)}"
    return what


def _number(number: object) -> str:
    """Floats with four digits, anything else in full."""
    try:
        return str(number) if isinstance(number, np.integer | np.bool_) else f"{number:.4g}"
    except (TypeError, ValueError):
        return str(number)
