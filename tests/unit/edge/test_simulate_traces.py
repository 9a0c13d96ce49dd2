"""A trace is what its file says: rates, order, repetition; and what is none is refused with its line."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from edge.simulate.builtin import BUILTIN, builtin_trace
from edge.simulate.steps import Steps
from edge.simulate.trace import PACKET_BYTES, read_trace
from partitioner.errors import UsageError
from partitioner.link import BYTES_PER_MBIT
from partitioner.planner import DOWN_PER_UP


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def drawn(seed: int) -> Steps:
    draw = random.Random(seed)
    count = draw.randrange(1, 8)
    starts = [0.0, *sorted(draw.uniform(0.1, 9.9) for _ in range(count - 1))]
    values = [draw.choice([0.0, draw.uniform(0.1, 5.0)]) for _ in range(count)]
    return Steps(starts, values, period_s=10.0)


def moved(steps: Steps, start_s: float, end_s: float, *, parts: int = 20_000) -> float:
    """By definition: the value times a short while, summed."""
    while_s = (end_s - start_s) / parts
    return sum(steps.at(start_s + (index + 0.5) * while_s) for index in range(parts)) * while_s


@pytest.mark.parametrize("seed", range(12))
def test_what_moves_is_the_integral_of_the_rate(seed: int) -> None:
    steps = drawn(seed)
    start_s, end_s = 3.3, 27.9
    assert steps.sum(end_s) - steps.sum(start_s) == pytest.approx(moved(steps, start_s, end_s), abs=0.05)


@pytest.mark.parametrize("seed", range(12))
def test_bytes_have_moved_when_it_says_and_not_before(seed: int) -> None:
    steps, draw = drawn(seed), random.Random(seed)
    for _ in range(50):
        start_s, amount = draw.uniform(0.0, 40.0), draw.uniform(0.01, 30.0)
        done_s = steps.when_s(start_s, amount)
        if not steps.mean:
            assert done_s == float("inf")
            continue
        assert steps.sum(done_s) - steps.sum(start_s) == pytest.approx(amount, rel=1e-6)
        assert steps.sum(done_s - 1e-6) - steps.sum(start_s) < amount


def test_nothing_moves_in_an_outage() -> None:
    steps = Steps([0.0, 1.0, 3.0], [10.0, 0.0, 10.0], period_s=4.0)
    assert steps.when_s(0.5, 5.0) == pytest.approx(1.0)
    assert steps.when_s(0.5, 6.0) == pytest.approx(3.1)
    assert steps.when_s(1.5, 1.0) == pytest.approx(3.1)
    assert steps.when_s(0.0, 20.0) == pytest.approx(4.0)


def test_a_mahimahi_line_is_a_packet_that_can_leave_then(tmp_path: Path) -> None:
    trace = read_trace(written(tmp_path / "a.up", "1\n1\n3\n10\n"))
    packets = [trace.up.when_s(0.0, PACKET_BYTES * count) for count in (1, 2, 3, 4, 5, 8)]
    assert packets == pytest.approx([0.0005, 0.001, 0.003, 0.010, 0.0105, 0.020])
    assert trace.length_s == pytest.approx(0.010)
    assert trace.down.mean == pytest.approx(DOWN_PER_UP * trace.up.mean)


def test_a_mahimahi_file_of_twelve_mbit_is_one(tmp_path: Path) -> None:
    lines = "".join(f"{each}\n" for each in range(1, 1001))
    trace = read_trace(written(tmp_path / "12.up", lines), written(tmp_path / "12.down", "5\n"))
    assert trace.up.mean == pytest.approx(12 * BYTES_PER_MBIT)
    assert trace.down.mean == pytest.approx(PACKET_BYTES / 0.005)


def test_a_csv_holds_each_line_until_the_next(tmp_path: Path) -> None:
    text = "seconds,up_mbit,down_mbit,rtt_ms\n0,10,20,30\n2,0,1,40\n5,1.5,2,50\n"
    trace = read_trace(written(tmp_path / "drive.csv", text))
    assert [trace.up.at(when) / BYTES_PER_MBIT for when in (0, 1.9, 2, 4.9, 5, 7.9, 8)] == [10, 10, 0, 0, 1.5, 1.5, 10]
    assert [trace.delay_s.at(when) for when in (0, 2, 5)] == pytest.approx([0.015, 0.020, 0.025])
    assert (trace.name, trace.length_s, trace.has_outage) == ("drive", 8.0, True)


def test_a_round_trip_that_is_given_goes_before_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "seconds,up_mbit,rtt_ms\n0,10,30\n")
    assert read_trace(path, rtt_s=0.1).delay_s.at(0.3) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no packet can ever leave"),
        ("1\n2\nx\n", "line 3: 'x' is not a whole number"),
        ("5\n4\n", "line 2: 4 ms comes after 5 ms"),
        ("1\n-2\n", "line 2: '-2' is not a whole number"),
        ("seconds,down_mbit\n0,1\n", "line 1: no column up_mbit"),
        ("seconds,up_mbit,color\n0,1,2\n", "line 1: unknown column 'color'"),
        ("seconds,up_mbit\n", "no line follows"),
        ("seconds,up_mbit\n1,1\n", "line 2: a trace starts at 0 seconds"),
        ("seconds,up_mbit\n0,1\n0,2\n", "line 3: 0 s does not come after 0 s"),
        ("seconds,up_mbit\n0,1\n1,fast\n", "line 3: up_mbit is 'fast', not a number"),
        ("seconds,up_mbit\n0,1\n1,nan\n", "line 3: up_mbit is nan"),
        ("seconds,up_mbit\n0,1\n1,-1\n", "line 3: up_mbit is -1"),
        ("seconds,up_mbit\n0,1,2\n", "line 2: 3 values under 2 columns"),
        ("seconds,up_mbit\n0,0\n", "nothing ever moves"),
    ],
)
def test_what_is_no_trace_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_trace(written(tmp_path / "bad", text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="missing: No such file"):
        read_trace(tmp_path / "missing")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_trace(tmp_path / "binary")


@pytest.mark.parametrize("name", BUILTIN)
def test_a_built_in_trace_is_the_same_for_the_same_seed(name: str) -> None:
    one, again = builtin_trace(name, seed=3), builtin_trace(name, seed=3)
    assert (one.up.values, one.delay_s.values) == (again.up.values, again.delay_s.values)
    if name in ("drive", "noise", "jitter"):
        other = builtin_trace(name, seed=4)
        assert (one.up.values, one.delay_s.values) != (other.up.values, other.delay_s.values)


def test_the_built_in_traces_are_as_documented() -> None:
    steps, noise, drive, jitter = (builtin_trace(name) for name in ("steps", "noise", "drive", "jitter"))
    assert [steps.up.at(when) / BYTES_PER_MBIT for when in (0, 9.9, 10, 19.9, 20)] == [50, 50, 2, 2, 50]
    assert 0.8 <= min(noise.up.values) / (20 * BYTES_PER_MBIT) < max(noise.up.values) / (20 * BYTES_PER_MBIT) <= 1.2
    assert drive.has_outage
    assert drive.length_s == 120
    assert not any(each.has_outage for each in (steps, noise, jitter))
    assert 0 <= jitter.delay_s.least < 0.04 < 0.1 <= min(jitter.delay_s.at(30 + i / 20) for i in range(600))
