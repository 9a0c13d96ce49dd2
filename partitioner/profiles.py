"""Profiles in files: read strictly, written atomically."""

from __future__ import annotations

import os
from pathlib import Path

from partitioner.errors import ProfileError
from partitioner.files import replace_text
from partitioner.profile import MAX_TEXT_CHARS, Profile


def load_profile(path: str | os.PathLike[str]) -> Profile:
    """Read a profile from a file.

    Raises:
        ProfileError: the file cannot be read, is too large, or holds no profile of this version.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_TEXT_CHARS + 1)
    except OSError as error:
        raise ProfileError(
            f"{os.fspath(path)}: {error.strerror}; `cleft-plan profile MODEL -o FILE` makes one"
        ) from error
    try:
        return Profile.loads(text)
    except ProfileError as error:
        raise ProfileError(f"{os.fspath(path)}: {error}") from error


def dump_profile(profile: Profile, path: str | os.PathLike[str]) -> None:
    """Write a profile to a file; whoever reads it meanwhile sees the old one or the new one."""
    replace_text(Path(path), profile.dumps())
