"""NVIDIA cards through a library that answers as NVML does, and with its errors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from partitioner.meters import MeterError
from partitioner.meters.nvml import Nvml, find


class LibraryError(Exception):
    pass


class Cards:
    """Cards of an NVML: millijoules and milliwatts of each; None: not supported. Counts openings."""

    NVMLError = LibraryError

    def __init__(self, *cards: tuple[int | None, int | None], driver: bool = True) -> None:
        self.cards = [*cards]
        self.driver = driver
        self.open = 0

    def nvmlInit(self) -> None:  # noqa: N802
        if not self.driver:
            raise LibraryError("NVML Shared Library Not Found")
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> object:  # noqa: N802
        return index

    def nvmlDeviceGetName(self, handle: object) -> str | bytes:  # noqa: N802
        return b"NVIDIA A2" if handle else "NVIDIA L4"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: object) -> int:  # noqa: N802
        return self._told(handle, 0)

    def nvmlDeviceGetPowerUsage(self, handle: object) -> int:  # noqa: N802
        return self._told(handle, 1)

    def _told(self, handle: object, what: int) -> int:
        assert self.open == 1
        assert isinstance(handle, int)
        value = self.cards[handle][what]
        if value is None:
            raise LibraryError("Not Supported")
        return value


def test_the_counter_is_in_millijoules_and_of_all_cards_together() -> None:
    library = Cards((5_000_000, 70_000), (1_500, 10_000))
    meter = Nvml(library)
    assert meter.info.scope == "accelerator"
    assert meter.info.source == "energy of 2 cards: NVIDIA A2, NVIDIA L4"
    first = meter.read()
    library.cards = [(5_001_250, 0), (1_750, 0)]
    second = meter.read()
    assert first.power_w is None
    assert first.counter_j is not None
    assert second.counter_j is not None
    assert second.counter_j - first.counter_j == pytest.approx(1.5)
    meter.close()
    meter.close()
    assert library.open == 0


def test_a_card_without_a_counter_tells_power() -> None:
    meter = Nvml(Cards((None, 70_250)))
    assert meter.read().power_w == pytest.approx(70.25)
    assert meter.read().counter_j is None
    assert meter.info.source == "power of NVIDIA L4"
    assert meter.info.period_s >= 1.0


def test_one_card_without_a_counter_makes_all_tell_power() -> None:
    meter = Nvml(Cards((5_000, 40_000), (None, 2_000)))
    assert meter.read().power_w == pytest.approx(42.0)


def test_a_counter_that_runs_backward_is_no_energy() -> None:
    library = Cards((5_000, 0), (7_000, 0))
    meter = Nvml(library)
    meter.read()
    library.cards = [(9_000, 0), (6_999, 0)]
    with pytest.raises(MeterError, match="backward"):
        meter.read()


def test_a_card_that_falls_off_the_bus_is_told_of() -> None:
    library = Cards((5_000, 0))
    meter = Nvml(library)
    library.cards = [(None, None)]
    with pytest.raises(MeterError, match="does not answer any more: Not Supported"):
        meter.read()


@pytest.mark.parametrize(
    ("library", "reason"),
    [
        (lambda: Cards(driver=False), "driver does not answer: NVML Shared Library Not Found"),
        (lambda: Cards(), "knows no card"),
        (lambda: Cards((None, None)), "neither energy nor power"),
    ],
)
def test_without_driver_card_or_sensor_there_is_no_meter_and_nothing_stays_open(
    library: Callable[[], Cards], reason: str
) -> None:
    made = library()
    with pytest.raises(MeterError, match=reason):
        Nvml(made)
    assert made.open == 0


def test_cards_are_not_looked_for_in_a_recorded_tree(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="another root"):
        find(tmp_path)


def test_the_library_is_named_where_it_is_missing(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(MeterError, match=r"cleft\[nvml\]"):
        find(Path("/"))


def test_the_real_library_has_all_that_is_asked_of_it() -> None:
    pynvml = pytest.importorskip("pynvml")
    missing = [name for name in dir(Cards) if name.startswith(("nvml", "NVML")) and not hasattr(pynvml, name)]
    assert not missing
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        with pytest.raises(MeterError, match="driver does not answer"):
            find(Path("/"))
    else:
        pynvml.nvmlShutdown()
        meter = find(Path("/"))
        meter.read()
        meter.close()
