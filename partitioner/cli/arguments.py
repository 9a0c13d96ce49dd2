"""Argument types that several commands share: each turns text into a checked value, or says what it expected.

Use them as ``type=`` of ``add_argument``. Flags may speak milliseconds and megabits; what comes out is SI.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable

_DURATION_UNITS_S = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_SIZE_UNITS_BYTES = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "k": 2**10,
    "m": 2**20,
    "g": 2**30,
}
_ENERGY_UNITS_J = {"": 1.0, "uj": 1e-6, "mj": 1e-3, "j": 1.0, "kj": 1e3, "mwh": 3.6, "wh": 3600.0}
_QUANTITY = re.compile(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-z]*)\s*", re.IGNORECASE)
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.%a-z]+\]")
_ROUNDING = 1e-15
"""Of a decimal fraction times a unit: 1.001MB are 1001000 bytes, and 1.001 * 10**6 is a little less."""
_MOST = 1e15
"""Of a rate, a time or a factor: beyond anything measured, and prices made of it stay finite."""
_MOST_S = 1e9
"""Of a duration: a timer of the system takes little more."""
_EXAMPLE_TARGET = "HOST:PORT such as 127.0.0.1:50051 or [::1]:50051"


def positive(text: str) -> float:
    """A number over zero, up to 1e15."""
    return _number(text, lambda value: 0 < value <= _MOST, "a number over 0, and no more than 1e15")


def not_negative(text: str) -> float:
    """A number of zero or more, up to 1e15."""
    return _number(text, lambda value: 0 <= value <= _MOST, "a number of 0 or more, and no more than 1e15")


def share(text: str) -> float:
    """A number from 0 to 1, or percent: ``0.98``, ``98%``."""
    if text.strip().endswith("%"):
        return _number(text.strip()[:-1], lambda value: 0 <= value <= 100, "a share from 0% to 100%") / 100
    return _number(text, lambda value: 0 <= value <= 1, "a number from 0 to 1")


def at_least_one(text: str) -> float:
    """A number of one or more, up to 1e15, such as a slow-down."""
    return _number(text, lambda value: 1 <= value <= _MOST, "a number of 1 or more, and no more than 1e15")


def positive_int(text: str) -> int:
    """A whole number over zero."""
    return _whole(text, least=1)


def not_negative_int(text: str) -> int:
    """A whole number of zero or more."""
    return _whole(text, least=0)


def duration_s(text: str) -> float:
    """A time over zero: ``60s``, ``500ms``, ``2m``, ``1h``; a bare number is seconds."""
    value = _quantity(text, _DURATION_UNITS_S)
    if value is None or not (0 < value < math.inf):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 60s, 500ms or 2m")
    if value > _MOST_S:
        raise argparse.ArgumentTypeError(f"{text!r} is longer than 30 years")
    return value


def size_bytes(text: str) -> int:
    """A whole number of bytes: ``4096``, ``16KiB``, ``1.5MB``."""
    value = _quantity(text, _SIZE_UNITS_BYTES)
    if value is None or not (0 <= value < 2**53) or abs(value - round(value)) > value * _ROUNDING:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 4096, 16KiB or 1.5MB")
    return round(value)


def energy_j(text: str) -> float:
    """An energy over zero: ``0.5J``, ``250mJ``, ``2mWh``; a bare number is joules, and there are no megajoules."""
    value = None if "M" in text else _quantity(text, _ENERGY_UNITS_J)
    if value is None or not (0 < value <= _MOST):
        raise argparse.ArgumentTypeError(f"{text!r} is not an energy such as 0.5J, 250mJ or 2mWh")
    return value


def target(text: str) -> str:
    """``HOST:PORT`` with a port from 1 to 65535; an IPv6 address stands in brackets."""
    host, port = split_target(text)
    if port == 0:
        raise argparse.ArgumentTypeError(f"{text!r} has port 0; a port to connect to is 1-65535")
    return f"{host}:{port}"


def targets(text: str) -> tuple[str, ...]:
    """One or several ``HOST:PORT``, with commas between."""
    found = tuple(target(part) for part in text.split(",") if part.strip())
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} names nothing; give {_EXAMPLE_TARGET}")
    return found


def port(text: str) -> int:
    """A port to listen on, from 0 to 65535; 0 asks the system for a free one."""
    number = not_negative_int(text)
    if number > 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port: 0 to 65535")
    return number


def host(text: str) -> str:
    """A name or address to listen on; an IPv6 address may stand in brackets."""
    if not _HOST.fullmatch(text if ":" not in text or "[" in text else f"[{text}]"):
        raise argparse.ArgumentTypeError(f"{text!r} is no host: a name or an address such as 127.0.0.1, 0.0.0.0 or ::1")
    return text


def listen_target(text: str) -> str:
    """``HOST:PORT`` where port 0 asks the system for a free one."""
    host, port = split_target(text)
    return f"{host}:{port}"


def split_target(text: str) -> tuple[str, int]:
    """Host (an IPv6 address in brackets) and port of ``HOST:PORT``."""
    host, colon, port = text.strip().rpartition(":")
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is a URL; give {_EXAMPLE_TARGET}")
    if not colon or not port:
        raise argparse.ArgumentTypeError(f"{text!r} has no port; give {_EXAMPLE_TARGET}")
    if not _HOST.fullmatch(host):
        raise argparse.ArgumentTypeError(f"{text!r} has no valid host; give {_EXAMPLE_TARGET}")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} has no valid port (1-65535); give {_EXAMPLE_TARGET}")
    return host, int(port)


def names(text: str) -> tuple[str, ...]:
    """A comma-separated list, each name once, in the order given."""
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} names nothing; give a comma-separated list")
    return found


def shape(text: str) -> tuple[int, ...]:
    """A tensor shape such as ``1x3x224x224``; ``scalar`` is the empty shape."""
    if text == "scalar":
        return ()
    parts = re.split(r"[x,]", text)
    if not all(part.isascii() and part.isdigit() and 0 < len(part) <= 9 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape such as 1x3x224x224")
    return tuple(int(part) for part in parts)


def _number(text: str, is_allowed: Callable[[float], bool], wanted: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or not is_allowed(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return value


def _whole(text: str, *, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more")
    return value


def _quantity(text: str, units: dict[str, float] | dict[str, int]) -> float | None:
    found = _QUANTITY.fullmatch(text)
    if found is None or found[2].lower() not in units:
        return None
    return float(found[1]) * units[found[2].lower()]
