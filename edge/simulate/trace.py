"""What a link does over time, and the files that say so.

mahimahi: one whole number a line, the millisecond at which one packet of 1500 bytes can leave; the file repeats after
its last line. A millisecond's packets are spread over that millisecond. A file is of one direction.

CSV: a header ``seconds,up_mbit[,down_mbit][,rtt_ms]`` and one line for each time from which the values hold; the last
line's values hold as long as those of the line before it, then the file repeats. 0 Mbit/s is an outage.

Source: Netravali et al., "Mahimahi", USENIX ATC 2015, and mm-link(1).
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from edge.simulate.steps import Steps
from partitioner.errors import UsageError
from partitioner.link import BYTES_PER_MBIT
from partitioner.planner import DOWN_PER_UP

PACKET_BYTES = 1500
DEFAULT_RTT_S = 0.02
MAX_FILE_BYTES = 1 << 28
_COLUMNS = ("seconds", "up_mbit", "down_mbit", "rtt_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Rates in bytes per second and the delay one way in seconds, over time; ``length_s`` covers it once."""

    name: str
    up: Steps
    down: Steps
    delay_s: Steps
    length_s: float

    def with_rtt(self, rtt_s: float) -> Trace:
        """The same with this round trip at all times."""
        return replace(self, delay_s=Steps.constant(rtt_s / 2))

    @property
    def has_outage(self) -> bool:
        """Whether a direction stands still at times."""
        return min(self.up.least, self.down.least) == 0


def read_trace(up: Path, down: Path | None = None, *, rtt_s: float | None = None) -> Trace:
    """The trace of a file, or of one file for each direction.

    Args:
        up: mahimahi or CSV, told apart by the first line.
        down: mahimahi; without it the way down is ``DOWN_PER_UP`` times faster, unless a CSV says.
        rtt_s: round trip in place of the file's, or of ``DEFAULT_RTT_S`` where it says nothing.

    Raises:
        UsageError: a file cannot be read, or a line is none of a trace: the message names it.
    """
    lines = _lines(up)
    if lines and "," in lines[0]:
        if down is not None:
            raise UsageError(f"{up} is CSV, which has a column down_mbit: --trace-down is for mahimahi")
        found = _from_csv(up, lines)
    else:
        rates = _from_mahimahi(up, lines)
        other = rates.scaled(DOWN_PER_UP) if down is None else _from_mahimahi(down, _lines(down))
        found = Trace(
            name=up.stem,
            up=rates,
            down=other,
            delay_s=Steps.constant(DEFAULT_RTT_S / 2),
            length_s=max(rates.period_s, other.period_s),
        )
    return found if rtt_s is None else found.with_rtt(rtt_s)


def _lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"{path}: a trace of more than {MAX_FILE_BYTES >> 20} MiB is not read")
        return path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: this is no trace: it is not UTF-8 text") from error


def _from_mahimahi(path: Path, lines: list[str]) -> Steps:
    packets: Counter[int] = Counter()
    last_ms = 0
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if not (text.isascii() and text.isdigit() and len(text) <= 12):
            raise UsageError(f"{path}, line {number}: {text[:40]!r} is not a whole number of milliseconds")
        at_ms = int(text)
        if at_ms < last_ms:
            raise UsageError(f"{path}, line {number}: {at_ms} ms comes after {last_ms} ms; times must not fall")
        last_ms = at_ms
        packets[max(at_ms, 1)] += 1
    if not packets:
        raise UsageError(f"{path}: no packet can ever leave: a trace has one millisecond a line")
    starts_s, values = [0.0], [0.0]
    for at_ms, count in sorted(packets.items()):
        start_s, rate = (at_ms - 1) * 1e-3, count * PACKET_BYTES * 1e3
        if starts_s[-1] == start_s:
            values[-1] = rate
        else:
            starts_s.append(start_s)
            values.append(rate)
        starts_s.append(at_ms * 1e-3)
        values.append(0.0)
    return Steps(starts_s[:-1], values[:-1], period_s=last_ms * 1e-3 if last_ms else 1e-3).merged()


def _from_csv(path: Path, lines: list[str]) -> Trace:
    rows = csv.reader(lines)
    header = tuple(name.strip().lower() for name in next(rows))
    _check_header(path, header)
    found: list[dict[str, float]] = []
    for cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        found.append(_row(f"{path}, line {rows.line_num}", header, cells, found))
    if not found:
        raise UsageError(f"{path}: no line follows the header")
    starts_s = [row["seconds"] for row in found]
    period_s = starts_s[-1] + (starts_s[-1] - starts_s[-2] if len(starts_s) > 1 else 1.0)
    up = [row["up_mbit"] * BYTES_PER_MBIT for row in found]
    down = [row.get("down_mbit", row["up_mbit"] * DOWN_PER_UP) * BYTES_PER_MBIT for row in found]
    delays_s = [row.get("rtt_ms", DEFAULT_RTT_S * 1e3) * 0.5e-3 for row in found]
    if not any(up) or not any(down):
        raise UsageError(f"{path}: nothing ever moves in one direction: a rate must be over 0 somewhere")
    return Trace(
        name=path.stem,
        up=Steps(starts_s, up, period_s=period_s).merged(),
        down=Steps(starts_s, down, period_s=period_s).merged(),
        delay_s=Steps(starts_s, delays_s, period_s=period_s).merged(),
        length_s=period_s,
    )


def _check_header(path: Path, header: tuple[str, ...]) -> None:
    unknown = [name for name in header if name not in _COLUMNS]
    missing = [name for name in _COLUMNS[:2] if name not in header]
    faults = [f"no column {name}" for name in missing] + [f"unknown column {name!r}" for name in unknown]
    if len(set(header)) < len(header):
        faults.append("a column twice")
    if faults:
        raise UsageError(f"{path}, line 1: {', '.join(faults)}; a header is seconds,up_mbit[,down_mbit][,rtt_ms]")


def _row(where: str, header: tuple[str, ...], cells: list[str], before: list[dict[str, float]]) -> dict[str, float]:
    if len(cells) != len(header):
        raise UsageError(f"{where}: {len(cells)} values under {len(header)} columns")
    row: dict[str, float] = {}
    for name, cell in zip(header, cells, strict=True):
        try:
            row[name] = float(cell)
        except ValueError:
            raise UsageError(f"{where}: {name} is {cell.strip()[:40]!r}, not a number") from None
        if not 0 <= row[name] < 1e9 or not math.isfinite(row[name]):
            raise UsageError(f"{where}: {name} is {cell.strip()[:40]}, not a number of 0 or more, and under 1e9")
    if not before and row["seconds"] != 0:
        raise UsageError(f"{where}: a trace starts at 0 seconds, not at {row['seconds']:g}")
    if before and row["seconds"] <= before[-1]["seconds"]:
        raise UsageError(f"{where}: {row['seconds']:g} s does not come after {before[-1]['seconds']:g} s")
    return row
