"""How long a radio is watched, and by which meters."""

from __future__ import annotations

import pytest

from edge.calibration import LINK_S, SHARES, Course, check_scope
from edge.errors import NotCalibrated
from partitioner.energy import Scope
from partitioner.meters import MeterInfo, Reading


class Idle:
    """A meter that is never asked."""

    def __init__(self, scope: Scope) -> None:
        self.info = MeterInfo(kind="test", source="a rail", scope=scope, period_s=0.1)

    def read(self) -> Reading:
        raise AssertionError

    def close(self) -> None:
        raise AssertionError


def test_a_step_lasts_until_a_slow_meter_has_told_often_enough() -> None:
    course = Course(step_s=4.0)
    assert (course.warm_s(0.01), course.read_s(0.01)) == (1.0, 4.0)
    assert (course.warm_s(1.0), course.read_s(1.0)) == (2.0, 20.0)


def test_the_time_that_it_takes_is_that_of_rests_steps_and_the_link() -> None:
    course = Course(idle_s=10.0, step_s=4.0, passes=3, up_mbit=(1.0, 2.0), down_mbit=())
    assert course.rates == 2 + len(SHARES)
    assert course.seconds(0.01) == pytest.approx(2 * 10.0 + LINK_S + 3 * (2 + len(SHARES)) * 5.0)


@pytest.mark.parametrize("scope", ["board", "unknown"])
def test_a_meter_of_the_board_sees_the_radio(scope: Scope) -> None:
    check_scope(Idle(scope))


@pytest.mark.parametrize("scope", ["package", "accelerator"])
def test_a_meter_of_a_part_does_not(scope: Scope) -> None:
    with pytest.raises(NotCalibrated, match=f"test covers the {scope} alone .a rail. and does not see the radio"):
        check_scope(Idle(scope))
