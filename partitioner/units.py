"""Quantities as people read them: three significant digits, with a unit."""

from __future__ import annotations


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


def size(nbytes: float) -> str:
    """A size in decimal units: ``512 B``, ``80.3 kB``, ``1.20 MB``."""
    if abs(nbytes) < 999.5:
        return f"{nbytes:.0f} B"
    for unit, scale in (("kB", 1e3), ("MB", 1e6)):
        if abs(nbytes) < 999.5 * scale:
            return f"{digits(nbytes / scale)} {unit}"
    return f"{digits(nbytes / 1e9)} GB"


def mbit(bytes_per_s: float) -> str:
    """A rate in Mbit/s."""
    return f"{digits(bytes_per_s * 8e-6)} Mbit/s"
