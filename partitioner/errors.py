"""What can go wrong in the partitioner.

    CleftError                    anything a user can do something about: one line, exit code 1
    ├── UsageError                the command line or an argument makes no sense (exit code 2)
    ├── ModelError                a model cannot be found, captured or rebuilt
    │   └── UnsupportedOperator   the graph names an operator that no allow-list holds
    ├── BundleError               a bundle is missing, truncated, corrupt or of another version
    ├── InputError                an input does not fit the model: shape, dtype, file, size
    ├── SegmentError              a segment cannot be built or run
    ├── ProfileError              a profile is missing, corrupt, of another version, or of another model
    └── PlanError                 no plan satisfies what was asked, or a plan contradicts its model

Each message says what happened and what to do about it. ``edge`` and ``cloud`` derive their roots from ``CleftError``.
"""

from __future__ import annotations


class CleftError(Exception):
    """Anything a user can do something about; shown as one line."""

    exit_code = 1


class UsageError(CleftError):
    """The command line or an argument makes no sense."""

    exit_code = 2


class ModelError(CleftError):
    """A model cannot be found, captured or rebuilt."""


class UnsupportedOperator(ModelError):
    """The graph names an operator that no allow-list holds."""

    def __init__(self, op: str, *, reason: str = "it is not on the allow-list") -> None:
        super().__init__(f"operator {op!r} is refused: {reason}")
        self.op = op


class BundleError(CleftError):
    """A bundle is missing, truncated, corrupt or of another version."""


class InputError(CleftError):
    """An input does not fit the model: shape, dtype, file or size."""


class SegmentError(CleftError):
    """A segment cannot be built or run."""


class ProfileError(CleftError):
    """A profile, a fit or a radio is missing, corrupt, of another version, or of another model."""


class PlanError(CleftError):
    """No plan satisfies what was asked, or a plan contradicts its model."""
