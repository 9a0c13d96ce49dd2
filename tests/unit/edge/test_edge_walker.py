from __future__ import annotations

import time
from typing import cast

from edge.errors import DeadlineExceeded, WorkerLost
from edge.outlook import pace_key
from edge.runner import Runner
from edge.walker import Walker
from partitioner.graph import Graph
from partitioner.inputs import Sample
from partitioner.plan import Plan, Segment, Stage


def test_a_rehearsal_goes_by_the_second_run_for_the_first_is_slower() -> None:
    class Cold:
        runs = 0

        def tensors_of(self, sample: Sample) -> dict[str, object]:
            return {}

        def compute(self, segment: Segment, values: object) -> dict[str, object]:
            self.runs += 1
            if self.runs == 1:
                time.sleep(0.1)
            return {}

    digest = "ab" * 32
    segment = Segment(model_digest=digest, inputs=("x",), outputs=("y",))
    plan = Plan(model_digest=digest, stages=(Stage(segment=segment, place="cloud", codecs={}),))
    sample = Sample(name="x", tensors={}, nbytes_original=0)
    walker = Walker(cast(Graph, None), cast(Runner, Cold()), may_fall_back=True, notify=print)
    walker.rehearse(plan, sample, slowdown=1.0)
    took_s = walker.paces.of(pace_key(plan.plan_id, sample))
    assert took_s is not None
    assert took_s < 0.1


def test_people_are_told_once_of_a_loss_and_not_of_every_late_answer() -> None:
    said: list[str] = []
    walker = Walker(cast(Graph, None), cast(Runner, None), may_fall_back=True, notify=said.append)
    for _ in range(3):
        walker.note_down(DeadlineExceeded(0.1))
        walker.is_worker_down = False  # as after an answer
    assert len(said) == 1
    for _ in range(3):
        walker.note_down(WorkerLost("a:1", reason="it broke"))
        walker.note_down(DeadlineExceeded(0.1))
    assert len(said) == 2
    assert "until the worker is back" in said[1]
