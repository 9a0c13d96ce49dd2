"""The seam behind which segments run: a runtime opens a bundle once and hands out segments.

Arrays at the seam are numpy (``ml_dtypes.bfloat16`` for bfloat16). A segment never writes to an array it was given, and
the caller must not write to an array it received until the frame is answered: it may share memory with the runtime's
own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from partitioner.graph import Value
from partitioner.plan import Segment

Array = npt.NDArray[np.generic]

EAGER = "eager"
ORT = "ort"
RUNTIMES = (EAGER, ORT)
"""Names of the runtimes, the one that every bundle has first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeInfo:
    """What identifies a runtime in a profile: two profiles compare only when these are known."""

    name: str
    device: str
    threads: int
    versions: Mapping[str, str]


class RunnableSegment(Protocol):
    """A segment that is ready to run. Calls are synchronous: when one returns, the device has finished."""

    @property
    def inputs(self) -> tuple[Value, ...]:
        """What goes in, in the order of ``Segment.inputs``; sizes may be symbolic."""

    @property
    def outputs(self) -> tuple[Value, ...]:
        """What comes out, in the order of ``Segment.outputs``."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that this segment reads."""

    def __call__(
        self, tensors: Mapping[str, Array], *, should_stop: Callable[[], bool] | None = None
    ) -> dict[str, Array]:
        """Run once.

        Args:
            tensors: one array per input, of the shape and dtype that ``inputs`` states.
            should_stop: asked between layers; where it answers true, ``SegmentError`` is raised.

        Raises:
            InputError: a tensor is missing, or its shape or dtype does not fit.
            SegmentError: the run failed or was stopped.
        """

    def settle(self) -> None:
        """Take the form in which it runs fastest now, where the runtime would get there only by and by."""

    @property
    def layers(self) -> tuple[int, ...]:
        """Indices of the graph's layers in the order they run; one entry per stretch of one layer."""

    def timeline(self, tensors: Mapping[str, Array]) -> tuple[float, list[float]]:
        """Run once and take the time: seconds of the run, and the second at which each entry of ``layers`` ended."""


class Engine(Protocol):
    """One bundle, opened on one device. Not thread-safe: one thread owns it."""

    @property
    def info(self) -> RuntimeInfo:
        """Which runtime this is."""

    @property
    def weight_bytes_held(self) -> int:
        """Bytes of weights in memory now; each weight counts once."""

    def segment(self, segment: Segment) -> RunnableSegment:
        """Make a segment ready; asking again for a recent one is free.

        Raises:
            SegmentError: the segment's names do not fit the graph.
        """

    def pin(self, segments: Sequence[Segment]) -> int:
        """Drop every weight that these segments do not read; returns the bytes held afterwards."""


class RowsRunnable(Protocol):
    """A form of a segment whose tensors may have any number of rows in front."""

    def __call__(
        self, tensors: Mapping[str, Array], *, should_stop: Callable[[], bool] | None = None
    ) -> dict[str, Array]:
        """Run once; as ``RunnableSegment``, for the rows of several frames."""


@runtime_checkable
class Batching(Protocol):
    """What an engine may offer beside: segments that take the rows of several frames at once."""

    def batched(self, segment: Segment) -> RowsRunnable | None:
        """A form of a segment for the rows of several frames at once; None where there is none.

        Whether its rows are those that the segment gives one by one is for the caller to check.
        """
