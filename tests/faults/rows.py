"""The table: every fault to survive, what is owed, and which tests show it; ``make chaos`` adds what was found.

A test beside this file says its row with ``@pytest.mark.row(number)``; tests elsewhere are listed here by node id.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pytest

_WIDTH = 132


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A fault and what is owed. ``tests``: node ids elsewhere; ``note``: what is not shown, and why."""

    fault: str
    owed: str
    tests: tuple[str, ...] = ()
    note: str = ""


_SESSIONS = "tests/integration/test_worker_sessions.py::"
_LIMITS = "tests/integration/test_worker_limits.py::"
_EDGE = "tests/integration/edge/"
_STEPS = _EDGE + "test_adaptation.py::"
_PLANNER = "tests/unit/partitioner/"

ROWS: Mapping[int, Row] = MappingProxyType(
    {
        1: Row(
            fault="worker SIGKILL mid-frame",
            owed="no lost, wrong or double answer; in its deadline; another worker within 1 s",
        ),
        2: Row(
            fault="worker frozen, half-open TCP, black hole",
            owed="noticed within 3 s; fallback within the deadline; split again within 5 s of return",
        ),
        3: Row(fault="a TCP reset every second", owed="99.9 % in time, all answered"),
        4: Row(
            fault="rate steps 50 -> 2 -> 50 Mbit/s",
            owed="right plan within max(3 frames, 2 s) down, max(5, 3 s) up; 2 switches a step; no flap",
            tests=(
                _STEPS + "test_the_plan_follows_a_step_of_the_rate_down_and_up",
                _STEPS + "test_noise_of_a_fifth_moves_nothing",
            ),
        ),
        5: Row(
            fault="delay 20 +- 20 ms, 200 +- 100 ms",
            owed="deadline misses within 1 % of an oracle's",
            tests=(_STEPS + "test_jitter_costs_no_more_deadlines_than_an_oracle_planner_misses",),
        ),
        6: Row(fault="sliced, truncated, cut streams", owed="bit-equal answers or a retry; never a partial frame"),
        7: Row(
            fault="one flipped bit",
            owed="in payload: that frame refused and recovered, the stream lives; else: reconnect, all recovered",
            tests=(_SESSIONS + "test_a_flipped_bit_fails_that_frame_alone",),
        ),
        8: Row(
            fault="random, oversized, nested, lying messages",
            owed="refused by code before allocation; others unharmed; no crash, no leak",
            tests=(
                "tests/property/test_wire_decoder.py",
                "tests/property/test_wire_worker.py",
                "tests/property/test_wire_pieces.py",
                "tests/property/test_wire_states.py",
                "tests/property/test_wire_edge.py",
                "tests/unit/protos/test_tensors.py::test_a_lie_is_refused_before_anything_is_allocated",
                "tests/unit/protos/test_tensors.py::test_too_many_tensors_are_refused",
            ),
        ),
        9: Row(
            fault="decompression bomb",
            owed="refused before allocation",
            tests=(
                "tests/unit/protos/test_codecs.py::test_a_bomb_is_refused_by_what_it_announces",
                "tests/unit/protos/test_tensors.py::test_what_unpacks_to_more_than_the_limit_is_refused_although_it_is_small",
                "tests/unit/protos/test_documents.py::test_a_document_over_the_limit_is_refused_by_what_it_announces",
            ),
        ),
        10: Row(
            fault="other weights, other graph, other version on one side",
            owed="refused at the handshake; 0 wrong answers",
            tests=(
                _EDGE + "test_edge_session.py::test_a_model_that_the_worker_does_not_serve_is_refused_at_the_handshake",
            ),
        ),
        11: Row(
            fault="cut switched with frames in flight", owed="each finishes with the cut it began with; order kept"
        ),
        12: Row(fault="a cut not warmed up yet", owed="late once at most; never blocks other cuts"),
        13: Row(
            fault="duplicate, reordered, replayed frame ids",
            owed="at most one effect, exactly one answer",
            tests=(
                _SESSIONS + "test_a_second_run_of_a_frame_under_way_has_no_effect",
                _SESSIONS + "test_chunks_with_a_gap_fail_that_frame_alone",
                "tests/unit/edge/test_edge_inflight.py",
            ),
        ),
        14: Row(
            fault="client vanishes; cancels at every stage",
            owed="compute stops at the next segment; slots, memory, counters return to zero",
            tests=(
                _LIMITS + "test_cancelling_stops_the_model_between_two_layers",
                _LIMITS + "test_a_client_that_vanishes_frees_the_model_and_its_place",
                _LIMITS + "test_a_session_that_ends_amid_a_frame_lets_go_of_its_segments",
                "tests/integration/test_worker_load.py::test_nothing_is_left_of_a_frame_that_nobody_wants",
            ),
        ),
        15: Row(
            fault="load 5x capacity",
            owed="goodput >= 90 % of peak; the excess refused in under 50 ms; the edge shifts work home",
            tests=(
                "tests/integration/test_worker_load.py::test_a_client_with_many_frames_does_not_keep_others_waiting",
                "tests/integration/test_worker_load.py::test_a_frame_that_cannot_be_in_time_is_refused_before_its_payload_comes",
            ),
        ),
        16: Row(fault="SIGTERM, rolling restart", owed="a drain message, 0 failed frames, exit within the grace"),
        17: Row(
            fault="slow reader, slow writer",
            owed="memory bounded by credits; other sessions' p99 within 1.2x",
            tests=(_LIMITS + "test_a_client_that_takes_nothing_is_let_go_and_holds_little",),
        ),
        18: Row(
            fault="backend error, out of memory, corrupt model, disk full",
            owed="not ready with a reason; what worked keeps working",
            tests=(
                _SESSIONS + "test_a_model_that_breaks_says_so_without_its_secrets",
                "tests/unit/cloud/test_store.py::test_a_model_whose_engine_fails_is_listed_with_the_reason",
                "tests/integration/test_worker_load.py::test_a_model_that_finds_no_memory_fails_that_frame_and_goes_on",
                "tests/integration/test_worker_ready.py::test_what_cannot_be_served_is_listed_with_its_reason_and_the_rest_is_served",
                _EDGE + "test_edge_advisor.py::test_a_cache_that_cannot_be_written_costs_nothing_but_time",
            ),
        ),
        19: Row(fault="clock jumps an hour", owed="no effect: monotonic time only"),
        20: Row(
            fault="certificate expired, rotated, wrong; token wrong or missing",
            owed="clear error, no retry storm, rotation without a dropped frame",
            tests=("tests/integration/test_secured_worker.py", "tests/unit/protos/test_security.py"),
        ),
        21: Row(
            fault="default keepalive against an idle stream for hours",
            owed="our defaults never earn too_many_pings",
            tests=("tests/unit/protos/test_status.py::test_the_client_pings_no_more_often_than_the_server_allows",),
        ),
        22: Row(fault="two busy neighbours on the CPU", owed="under 2.5x slower (OpenMP passive), noticed, re-planned"),
        23: Row(
            fault="device throttles, profile off by 2x",
            owed="noticed within 20 frames; corrected",
            tests=("tests/unit/edge/test_edge_correction.py",),
        ),
        24: Row(
            fault="energy sensor missing, stuck, negative",
            owed='"unavailable" or "assumed", never a silent 0 J',
            tests=(
                _PLANNER + "meters/test_spoilt_boards.py",
                _PLANNER + "test_profile_energy_cli.py",
                _PLANNER + "test_energy_measured.py::test_a_meter_that_freezes_while_the_model_runs_is_refused",
            ),
        ),
        25: Row(fault="soak: 1,000 reconnects", owed="memory and descriptors flat; 0 unanswered"),
        26: Row(
            fault="a healthy slow link: 3 MiB over 1.1 and over 0.13 Mbit/s",
            owed="completes, or is cancelled by its own deadline; never declared dead",
            tests=(
                _EDGE + "test_edge_faults.py::test_a_frame_slower_than_the_liveness_completes_on_a_healthy_slow_link",
            ),
        ),
        27: Row(
            fault="local fallback, resend and tail run over the same buffers",
            owed="checksums of what was sent are unchanged afterwards",
        ),
    }
)


def elsewhere() -> list[str]:
    """The node ids that are not beside this file, each once."""
    return list(dict.fromkeys(test for row in ROWS.values() for test in row.tests))


def summary(reports: Iterable[object]) -> list[str]:
    """The table, from the reports of a run."""
    found: dict[int, list[pytest.TestReport]] = {number: [] for number in ROWS}
    for report in reports:
        if not isinstance(report, pytest.TestReport) or (report.when != "call" and report.passed):
            continue
        named = {value for name, value in report.user_properties if name == "row"}
        for number, row in ROWS.items():
            if number in named or any(report.nodeid.startswith(test) for test in row.tests):
                found[number].append(report)
    lines = ["faults to survive"]
    for number, row in ROWS.items():
        lines += _lines(number, row, found[number])
    return lines


def _lines(number: int, row: Row, reports: list[pytest.TestReport]) -> list[str]:
    figures = [str(value) for report in reports for name, value in report.user_properties if name == "figure"]
    counts = {
        "failed": sum(each.failed for each in reports),
        "passed": sum(each.passed for each in reports),
        "skipped": sum(each.skipped for each in reports),
    }
    if counts["failed"]:
        verdict = "FAILED"
    elif counts["passed"]:
        verdict = "ok"
    else:
        verdict = "not shown"
    told = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "no test ran"
    measured = "; ".join(figures) or row.note or "-"
    head = f"{number:>2}  {verdict:<9}  {row.fault}  ({told})"
    body = [f"owed: {row.owed}", f"found: {measured}"]
    return [
        head,
        *(
            line
            for text in body
            for line in textwrap.wrap(text, _WIDTH, initial_indent=" " * 15, subsequent_indent=" " * 17)
        ),
    ]


if __name__ == "__main__":
    print(" ".join(elsewhere()))
