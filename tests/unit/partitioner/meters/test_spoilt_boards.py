"""Whatever a board's files hold, a meter tells a power over zero, a counter that goes on, or a reason."""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partitioner.meters import Meter, MeterError, battery, ina3221, rapl, sysfs
from tests.recorded_boards import BOARDS, board, put

NAMES = sorted(path.stem for path in BOARDS.glob("*.txt"))
KINDS = (ina3221.find, rapl.find, battery.find)
MADE = ("", "0", "-1", "1", "NC", "VDD_IN", "unknown", "Discharging", "Charging", "4.2", "1e9", "9" * 19, "9" * 40)
CONTENTS = st.one_of(
    st.sampled_from(MADE),
    st.sampled_from(("gone", "folder")),
    st.integers(-(10**9), 10**12).map(str),
    st.binary(max_size=6).map(lambda data: f"hex:{data.hex()}"),
)


@pytest.fixture(scope="module", autouse=True)
def _no_pause():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sysfs, "_PAUSE_S", 0.0)
        yield


def spoil(root: Path, path: Path, content: str) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if content == "folder":
        path.mkdir()
    elif content != "gone":
        put(root, str(path.relative_to(root)), content)


def check(meter: Meter) -> None:
    try:
        first, second = meter.read(), meter.read()
    except MeterError:
        return
    for reading in (first, second):
        assert (reading.power_w is None) != (reading.counter_j is None)
        assert reading.power_w is None or 0 < reading.power_w < math.inf
    if first.counter_j is not None:
        assert second.counter_j is not None
        assert 0 <= first.counter_j <= second.counter_j < math.inf


@settings(max_examples=80)
@given(st.sampled_from(NAMES), st.lists(st.tuples(st.integers(0, 99), CONTENTS), min_size=1, max_size=4), st.booleans())
def test_it_is_a_power_or_a_reason_never_a_zero(name, spoilt, is_open_before):
    with tempfile.TemporaryDirectory() as folder:
        root = board(name, Path(folder))
        opened = [find(root) for find in KINDS if finds(find, root)] if is_open_before else []
        files = sorted(path for path in root.rglob("*") if path.is_file())
        for number, content in spoilt:
            spoil(root, files[number % len(files)], content)
        for find in KINDS:
            with contextlib.suppress(MeterError):
                opened.append(find(root))
        for meter in opened:
            info = meter.info
            assert info.period_s > 0
            assert 0 <= info.step_w < math.inf
            assert info.safe_s > 0
            check(meter)


def finds(find, root: Path) -> bool:
    try:
        find(root).close()
    except MeterError:
        return False
    return True
