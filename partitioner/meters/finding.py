"""Which meters a device has, and opening one by name.

A kind is a line in ``KINDS`` and a function in a module of its own, which is imported when it is asked for. The files
of a device are looked for below a root: ``/``, or a recorded tree (``CLEFT_SYSROOT``).
"""

from __future__ import annotations

import difflib
import importlib
import os
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from partitioner.energy import SCOPES, Scope
from partitioner.environment import PREFIX
from partitioner.meters import Meter, MeterError, MeterForbidden
from partitioner.meters.sampling import STUCK_PERIODS

AUTO = "auto"
SLOW_S = 0.5
"""A meter with a longer period is taken by ``auto`` only where there is no quicker one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of meter and its maker, ``module:function``.

    The maker of a kind that is found on its own takes the root, a ``Path``. That of a kind with an ``argument`` (what
    it is, for people: ``FILE``) takes the text after the colon of its name. Either returns an open ``Meter``, or raises
    ``MeterError`` with the reason in a few words that follow "rapl: ...".
    """

    name: str
    maker: str
    argument: str = ""
    scope: Scope = "board"


KINDS: tuple[Kind, ...] = (
    Kind(name="csv", maker="partitioner.meters.csvfile:open_csv", argument="FILE"),
    Kind(name="http", maker="partitioner.meters.httppoll:open_http", argument="URL"),
    Kind(name="mqtt", maker="partitioner.meters.mqtt:open_mqtt", argument="HOST:PORT/TOPIC"),
    Kind(name="ina3221", maker="partitioner.meters.ina3221:find"),
    Kind(name="pmic", maker="partitioner.meters.pmic:find"),
    Kind(name="rapl", maker="partitioner.meters.rapl:find", scope="package"),
    Kind(name="tegrastats", maker="partitioner.meters.tegrastats:find"),
    Kind(name="battery", maker="partitioner.meters.battery:find"),
    Kind(name="nvml", maker="partitioner.meters.nvml:find", scope="accelerator"),
)
"""In the order of trust."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was looked for: an open meter, or the reason why there is none; ``is_forbidden``: there is, for others."""

    kind: str
    meter: Meter | None = None
    reason: str = ""
    is_forbidden: bool = False


def find_meters(root: Path | None = None, *, kinds: Sequence[Kind] = KINDS) -> tuple[Found, ...]:
    """Look for every kind that needs no argument; whoever asks closes the meters (``close_all``).

    ``root`` None is ``CLEFT_SYSROOT``, or ``/``.
    """
    found: list[Found] = []
    try:
        found.extend(_look(kind, _root(root)) for kind in kinds if not kind.argument)
    except BaseException:
        close_all(found)
        raise
    return tuple(found)


def close_all(found: Sequence[Found]) -> None:
    """Close every meter that was found."""
    for each in found:
        if each.meter is not None:
            each.meter.close()


def open_meter(
    name: str = AUTO, *, root: Path | None = None, blind: Collection[Scope] = (), is_quick: bool = False
) -> Meter:
    """Open a meter: a kind, a kind with its argument (``csv:watts.csv``), or ``auto``.

    ``auto`` is the first found of those that cover most: a board before a package before an accelerator. It passes over
    those of the ``blind`` scopes, which do not see what is to be measured, and with ``is_quick`` over the slow.

    Raises:
        MeterForbidden: ``auto`` finds none but such as this user may not read.
        MeterError: there is none, with each reason; or there is no such kind.
    """
    if name == AUTO:
        return _auto(_root(root), blind, is_quick=is_quick)
    stem, _, argument = name.partition(":")
    kind = next((each for each in KINDS if each.name == stem), None)
    if kind is None:
        near = difflib.get_close_matches(stem, [each.name for each in KINDS], n=1)
        known = ", ".join(f"{each.name}:{each.argument}" if each.argument else each.name for each in KINDS)
        raise MeterError(f"no meter {name!r}: " + (f"did you mean {near[0]!r}?" if near else f"choose from {known}"))
    if bool(argument) != bool(kind.argument):
        raise MeterError(f"meter {name!r}: write {kind.name}{':' if kind.argument else ''}{kind.argument}")
    try:
        return _make(kind, argument if kind.argument else _root(root))
    except (MeterError, OSError) as error:
        raise MeterError(f"{kind.name}: {error}") from error


def widest(found: Sequence[Found]) -> Meter | None:
    """The quick one that covers most, or of the slow ones the one that does; None where there is none."""
    return min((each.meter for each in found if each.meter is not None), key=_rank, default=None)


def _auto(root: Path, blind: Collection[Scope], *, is_quick: bool) -> Meter:
    """The widest, which is looked for no longer than something wider could be found."""
    found: list[Found] = []
    chosen: Meter | None = None
    try:
        for kind in KINDS:
            if not kind.argument:
                found.append(_tried(kind, root, blind, is_quick=is_quick))
                if (meter := found[-1].meter) is not None and _rank(meter) == (False, 0):
                    break
        chosen = widest(found)
    finally:
        close_all([each for each in found if each.meter is not chosen])
    if chosen is not None:
        return chosen
    if forbidden := [each for each in found if each.is_forbidden]:
        raise MeterForbidden(_reasons(forbidden))
    raise MeterError(f"no meter was found: {_reasons(found)}")


def _reasons(found: Sequence[Found]) -> str:
    return "; ".join(f"{each.kind}: {each.reason}" for each in found)


def _tried(kind: Kind, root: Path, blind: Collection[Scope], *, is_quick: bool) -> Found:
    """A meter that works, sees what is to be measured, and is not too slow; or the reason why there is none."""
    if kind.scope in blind:
        return Found(kind=kind.name, reason=f"covers the {kind.scope} alone")
    found = _look(kind, root)
    if found.meter is None:
        return found
    if is_quick and (period_s := found.meter.info.period_s) > SLOW_S:
        found.meter.close()
        return Found(kind=kind.name, reason=f"has a new value only every {period_s:.2g} s")
    return _working(kind, found.meter)


def _working(kind: Kind, meter: Meter) -> Found:
    """The meter, unless it is a counter that stands still, as guests of some hypervisors see it."""
    try:
        first = meter.read()
        end_s = first.end_s + STUCK_PERIODS * meter.info.period_s
        while first.counter_j is not None and (now := meter.read()).counter_j == first.counter_j:
            if now.end_s > end_s:
                raise MeterError(f"{meter.info.source} counts nothing")
            time.sleep(meter.info.period_s)
    except MeterError as error:
        meter.close()
        return Found(kind=kind.name, reason=str(error))
    return Found(kind=kind.name, meter=meter)


def _rank(meter: Meter) -> tuple[bool, int]:
    return meter.info.period_s > SLOW_S, SCOPES.index(meter.info.scope)


def _look(kind: Kind, root: Path) -> Found:
    try:
        return Found(kind=kind.name, meter=_make(kind, root))
    except (MeterError, OSError) as error:
        return Found(kind=kind.name, reason=str(error), is_forbidden=isinstance(error, MeterForbidden))


def _make(kind: Kind, argument: Path | str) -> Meter:
    module, _, function = kind.maker.partition(":")
    return cast(Meter, getattr(importlib.import_module(module), function)(argument))


def _root(root: Path | None) -> Path:
    found = Path(os.environ.get(f"{PREFIX}SYSROOT") or "/") if root is None else root
    if not found.is_dir():
        raise MeterError(f"there is no folder {found} to look for a device's files in")
    return found
