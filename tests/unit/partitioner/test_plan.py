from __future__ import annotations

from dataclasses import replace

import pytest

from partitioner.plan import SOURCE, Plan, Segment, Stage

HEAD = Segment(model_digest="ab", inputs=("x",), outputs=("h", "skip"))
TAIL = Segment(model_digest="ab", inputs=("h", "skip"), outputs=("y",))


def plan(**codecs: str) -> Plan:
    return Plan(
        model_digest="ab",
        stages=(Stage(place="edge", segment=HEAD, codecs=codecs), Stage(place="cloud", segment=TAIL)),
    )


def test_plans_that_run_alike_have_one_id():
    assert plan(h="int8").plan_id == plan(h="int8").plan_id
    assert plan(h="int8", skip="fp16").plan_id == plan(skip="fp16", h="int8").plan_id
    assert plan(h="none").plan_id == plan().plan_id
    assert len(plan().plan_id) == 32


@pytest.mark.parametrize(
    "other",
    [
        plan(h="fp16"),
        plan(skip="int8"),
        replace(plan(h="int8"), model_digest="cd"),
        replace(plan(h="int8"), stages=plan(h="int8").stages[::-1]),
        replace(plan(h="int8"), stages=plan(h="int8").stages[:1]),
        Plan(
            model_digest="ab",
            stages=(
                Stage(place="edge", segment=replace(HEAD, outputs=("skip", "h")), codecs={"h": "int8"}),
                Stage(place="cloud", segment=TAIL),
            ),
        ),
    ],
)
def test_plans_that_run_otherwise_have_other_ids(other):
    assert other.plan_id != plan(h="int8").plan_id


def test_a_plan_is_local_when_nothing_leaves_the_device():
    assert Plan(model_digest="ab", stages=(Stage(place="edge", segment=HEAD),)).is_local
    assert not plan().is_local


def test_a_segment_that_computes_nothing_is_known_as_such():
    assert Segment(model_digest="ab", inputs=("x", "mask"), outputs=("x",)).is_identity
    assert not HEAD.is_identity
    assert not Segment(model_digest="ab", inputs=(SOURCE,), outputs=(SOURCE,), preprocess=True).is_identity
