"""Quantities as people read them: three significant digits, with a unit."""

from __future__ import annotations

import math


def digits(value: float) -> str:
    """Three significant digits, or all digits before the point where there are more."""
    if value == 0:
        return "0"
    magnitude = abs(value)
    places = 3 if magnitude < 0.9995 else 2 if magnitude < 9.995 else 1 if magnitude < 99.95 else 0
    return f"{value:.{places}f}"


def ms(seconds: float) -> str:
    """A time in milliseconds: ``0.482 ms``, ``12.3 ms``, ``1234 ms``."""
    return f"{digits(seconds * 1e3)} ms"


def joules(value_j: float, *, step_j: float = 0.0) -> str:
    """An energy: ``1.20 J``, ``48.2 mJ``; no digit stands below ``step_j``, and nothing over 0 is written as 0."""
    if 0 < value_j < step_j / 2:
        return f"<{joules(step_j)}"
    unit, scale = next(
        ((unit, scale) for unit, scale in (("J", 1.0), ("mJ", 1e-3), ("µJ", 1e-6)) if abs(value_j) >= 0.9995 * scale),
        ("nJ", 1e-9) if value_j else ("J", 1.0),
    )
    text = digits(value_j / scale)
    places = -math.floor(math.log10(step_j / scale)) if step_j > 0 else len(text)
    if places < len(text.partition(".")[2]):
        text = f"{round(value_j / scale, places):.{max(0, places)}f}"
    return f"{text} {unit}"


def size(nbytes: float) -> str:
    """A size in decimal units: ``512 B``, ``80.3 kB``, ``1.20 MB``."""
    if abs(nbytes) < 999.5:
        return f"{nbytes:.0f} B"
    for unit, scale in (("kB", 1e3), ("MB", 1e6)):
        if abs(nbytes) < 999.5 * scale:
            return f"{digits(nbytes / scale)} {unit}"
    return f"{digits(nbytes / 1e9)} GB"


def size_flag(nbytes: int, *, is_rounded: bool = False) -> str:
    """A size as a flag takes it back: exact (``1kB``, ``64KiB``, ``11852448``), or rounded up to four digits."""
    from fractions import Fraction

    if is_rounded:
        step = 10 ** max(0, len(str(nbytes)) - 4)
        nbytes = -(-nbytes // step) * step
    texts = [str(nbytes)]
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        text = f"{nbytes / scale:.6g}"
        if nbytes >= scale and Fraction(text) * scale == nbytes:
            texts.append(text + unit)
    return min(texts[1:] or texts, key=len)


def mbit(bytes_per_s: float) -> str:
    """A rate in Mbit/s."""
    return f"{digits(bytes_per_s * 8e-6)} Mbit/s"
