"""How long to wait before a worker is dialled again. Arithmetic alone: chance is an argument.

The pause counts from the beginning of the last dial, doubles up to a limit, and has jitter, so that devices do not come
back in step. Trying a closed port is cheap; the limit is what a worker that is back is kept waiting. A worker that
refuses *us* (a wrong token or certificate, another version, not our model) will do so again: the pause is long, and
ends all the same, for what is wrong may be mended meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable

from edge.config import Timeouts
from edge.errors import NotSecured, NotTrusted, WorkerRefused
from partitioner.errors import CleftError

_LASTING = frozenset({"UNAUTHENTICATED", "UNKNOWN_MODEL", "UNSUPPORTED"})


def is_lasting(error: CleftError | None) -> bool:
    """Whether dialling ended in what dialling again at once does not mend."""
    if isinstance(error, WorkerRefused):
        return error.code in _LASTING
    return isinstance(error, NotTrusted | NotSecured)


class Backoff:
    """The pauses between the dials of one worker. Not thread-safe."""

    def __init__(self, timeouts: Timeouts, *, jitter: Callable[[], float]) -> None:
        """``jitter`` gives numbers from 0 to 1."""
        self._timeouts = timeouts
        self._jitter = jitter
        self.reset()

    def reset(self) -> None:
        """The worker was reached, and stayed."""
        self._pause_s, self._lasting_s = self._timeouts.redial_s, self._timeouts.refused_s

    def pause_s(self) -> float:
        """From the beginning of a dial to that of the next."""
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, self._timeouts.redial_max_s)
        return self._share() * pause_s

    def more_s(self, error: CleftError) -> float:
        """From the end of a dial to the beginning of the next, for what the dial ended with."""
        if is_lasting(error):
            pause_s, self._lasting_s = self._lasting_s, min(2 * self._lasting_s, self._timeouts.refused_max_s)
            return self._share() * pause_s
        if isinstance(error, WorkerRefused):
            return self._share() * min(max(0.0, 2 * error.retry_after_s), self._timeouts.refused_max_s)
        return self._share() * self._timeouts.redial_s / 2

    def _share(self) -> float:
        return 0.5 + self._jitter()
