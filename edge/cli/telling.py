"""What became of a run's inputs, told one by one in their order: checked, post-processed, saved and printed.

An input that has no answer is a failure, and of its repeats only the first is told. One that a live source dropped for
a newer one is none: their number is told at the end.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edge.answer import max_rel_diff
from edge.cli.feeding import Told
from edge.cli.post import Post
from edge.cli.report import Extra, Report
from edge.cli.save import path_of, save_outputs
from edge.errors import Dropped, EdgeError
from edge.session import Session
from partitioner.errors import InputError, SegmentError


class Teller:
    """Prints and saves what became of inputs, one by one."""

    def __init__(
        self, args: argparse.Namespace, session: Session, report: Report, *, post: Post | None, is_alone: bool
    ) -> None:
        self._session = session
        self._report = report
        self._post = post
        self._is_checked = args.check
        self._save: Path | None = args.save
        self._is_alone = is_alone
        self._failed = 0
        self._offered = self._dropped = 0

    def tell(self, told: Told) -> None:
        """One input's answer, or why it has none; of an input's repeats the first failure alone."""
        self._offered += 1
        if isinstance(told.error, Dropped):
            self._dropped += 1
            return
        if self._failed == told.number:
            return
        try:
            self._answer(told)
        except (InputError, SegmentError, EdgeError) as error:
            self._failed = told.number
            self._report.failure(told.drawn.name, error)

    def end(self) -> None:
        """What is only known at the end."""
        if self._dropped:
            print(f"cleft-edge: {self._dropped} of {self._offered} inputs were dropped for newer ones", file=sys.stderr)

    def _answer(self, told: Told) -> None:
        if told.error is not None:
            raise told.error
        assert told.streamed is not None
        assert told.drawn.sample is not None
        answer, sample = told.streamed.answer, told.drawn.sample
        assert answer is not None
        extra = Extra(
            weight_bytes_held=self._session.engine.weight_bytes_held,  # before a check loads the rest
            max_rel_diff=max_rel_diff(answer.outputs, self._session.whole(sample)) if self._is_checked else None,
            post=self._post(answer.outputs) if self._post is not None else None,
            predicted_s=answer.predicted_s,
        )
        if self._save is not None:
            save_outputs(path_of(self._save, told.number, count=1 if self._is_alone else 2), answer.outputs)
        self._report.answer(told.drawn.name, answer, extra)
