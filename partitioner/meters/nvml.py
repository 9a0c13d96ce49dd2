"""NVIDIA cards, as their driver tells through NVML: millijoules since it was loaded, of all cards together.

The counter is what to trust. Cards before Volta have none, and tell power instead: a mean over up to a second, which
some server cards sample for a quarter of the time. The driver of one machine cannot be recorded in files, so nothing is
found below another root.

Source: NVIDIA, NVML API reference, ``nvmlDeviceGetTotalEnergyConsumption`` and ``nvmlDeviceGetPowerUsage``.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

from partitioner.meters import MeterError, MeterInfo, Reading

COUNTER_PERIOD_S = 0.1
POWER_PERIOD_S = 1.0


class Library(Protocol):
    """What is used of the module ``pynvml``."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> None:  # noqa: N802, D102 - NVML's own names
        ...

    def nvmlShutdown(self) -> None:  # noqa: N802, D102
        ...

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802, D102
        ...

    def nvmlDeviceGetHandleByIndex(self, index: int) -> object:  # noqa: N802, D102
        ...

    def nvmlDeviceGetName(self, handle: object) -> str | bytes:  # noqa: N802, D102
        ...

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: object) -> int:  # noqa: N802, D102
        ...

    def nvmlDeviceGetPowerUsage(self, handle: object) -> int:  # noqa: N802, D102
        ...


class Nvml:
    """The energy of all cards of this machine; the library is open until ``close``."""

    def __init__(self, library: Library) -> None:
        """Opens the library, and reads once to see what the cards tell.

        Raises:
            MeterError: there is no driver or no card, or one of them tells neither energy nor power.
        """
        self._library = library
        try:
            library.nvmlInit()
        except library.NVMLError as error:
            raise MeterError(f"the NVIDIA driver does not answer: {error}") from error
        self._is_open = True
        try:
            self._cards = self._find_cards()
            self._is_counter = self._counts()
            if not self._is_counter:
                self._powers()
        except library.NVMLError as error:
            self.close()
            raise MeterError(f"the cards tell neither energy nor power: {error}") from error
        except MeterError:
            self.close()
            raise
        self.info = MeterInfo(
            kind="nvml",
            source=f"{'energy' if self._is_counter else 'power'} of {_named(self._names)}",
            scope="accelerator",
            period_s=COUNTER_PERIOD_S if self._is_counter else POWER_PERIOD_S,
            step_j=1e-3 if self._is_counter else 0.0,
            step_w=0.0 if self._is_counter else 1e-3,
        )
        self._last_mj: list[int] = []

    def read(self) -> Reading:
        """Joules of all cards so far, or their power now.

        Raises:
            MeterError: a card does not answer any more, or its counter ran backward.
        """
        try:
            begin_s = time.perf_counter()
            told = self._energies() if self._is_counter else self._powers()
            end_s = time.perf_counter()
        except self._library.NVMLError as error:
            raise MeterError(f"a card does not answer any more: {error}") from error
        if not self._is_counter:
            return Reading(begin_s=begin_s, end_s=end_s, power_w=sum(told) * 1e-3)
        if any(new < old for new, old in zip(told, self._last_mj, strict=False)):
            raise MeterError("a card's energy counter ran backward: its driver was loaded anew")
        self._last_mj = told
        return Reading(begin_s=begin_s, end_s=end_s, counter_j=sum(told) * 1e-3)

    def close(self) -> None:
        """Close the library; safe to call twice."""
        if self._is_open:
            self._is_open = False
            self._library.nvmlShutdown()

    def _find_cards(self) -> list[object]:
        count = self._library.nvmlDeviceGetCount()
        if not count:
            raise MeterError("the NVIDIA driver knows no card")
        cards = [self._library.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
        self._names = [_text(self._library.nvmlDeviceGetName(card)) for card in cards]
        return cards

    def _counts(self) -> bool:
        try:
            self._energies()
        except self._library.NVMLError:
            return False
        return True

    def _energies(self) -> list[int]:
        return [self._library.nvmlDeviceGetTotalEnergyConsumption(card) for card in self._cards]

    def _powers(self) -> list[int]:
        return [self._library.nvmlDeviceGetPowerUsage(card) for card in self._cards]


def find(root: Path) -> Nvml:
    """The cards of this machine.

    Raises:
        MeterError: there are none, or the library for asking is not installed.
    """
    if root != Path("/"):
        raise MeterError("cards are asked for through this machine's driver, and not found below another root")
    try:
        library = cast(Library, importlib.import_module("pynvml"))
    except ModuleNotFoundError as error:
        raise MeterError("this needs nvidia-ml-py: pip install 'cleft[nvml]'") from error
    return Nvml(library)


def _named(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} cards: {', '.join(sorted(set(names)))}"


def _text(name: str | bytes) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name
