"""Profiles and fits in files: read strictly, written atomically."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from partitioner.errors import ProfileError
from partitioner.files import replace_text
from partitioner.profile import MAX_TEXT_CHARS, Profile

if TYPE_CHECKING:
    from partitioner.predict import Fit


def load_profile(path: str | os.PathLike[str]) -> Profile:
    """Read a profile from a file.

    Raises:
        ProfileError: the file cannot be read, is too large, or holds no profile of this version.
    """
    text = _text(path, hint="`cleft-plan profile MODEL -o FILE` makes one")
    try:
        return Profile.loads(text)
    except ProfileError as error:
        raise ProfileError(f"{os.fspath(path)}: {error}") from error


def load_fit(path: str | os.PathLike[str]) -> Fit:
    """Read a fit from a file.

    Raises:
        ProfileError: the file cannot be read, is too large, or holds no fit of this version.
    """
    from partitioner.predict import Fit

    text = _text(path, hint="`cleft-plan fit PROFILE... -o FILE` makes one")
    try:
        return Fit.loads(text)
    except ProfileError as error:
        raise ProfileError(f"{os.fspath(path)}: {error}") from error


def _text(path: str | os.PathLike[str], *, hint: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(MAX_TEXT_CHARS + 1)
    except OSError as error:
        raise ProfileError(f"{os.fspath(path)}: {error.strerror}; {hint}") from error


def dump_profile(profile: Profile, path: str | os.PathLike[str]) -> None:
    """Write a profile to a file; whoever reads it meanwhile sees the old one or the new one."""
    replace_text(Path(path), profile.dumps())
