"""Profiles kept between runs, so that a device and a worker measure themselves once.

A profile is found again by what it depends on: the model, the machine, the runtime with its device, threads and
versions, and the sizes it was bound to. A cache that cannot be read or written costs a log line, never an answer.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path

from partitioner.bundle import cache_dir
from partitioner.errors import ProfileError
from partitioner.files import replace_text
from partitioner.measure.device import device_info
from partitioner.profile import Profile
from partitioner.profiles import load_profile
from partitioner.runtimes import RuntimeInfo

_LOG = logging.getLogger(__name__)


def kept_path(digest: str, info: RuntimeInfo, sizes: Mapping[str, int], *, samples: str = "") -> Path:
    """Where a profile of this model, on this machine and runtime, with these sizes (and samples) is kept."""
    machine = dataclasses.asdict(device_info(info.device))
    facts: list[object] = [
        machine,
        info.name,
        info.device,
        info.threads,
        sorted(info.versions.items()),
        sorted(sizes.items()),
    ]
    facts += [samples] if samples else []
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    return cache_dir() / "profiles" / f"{digest}-{key}.json"


def recall(path: Path, digest: str) -> Profile | None:
    """The profile that was kept, or None."""
    if not path.exists():
        return None
    try:
        profile = load_profile(path)
    except ProfileError as error:
        _LOG.warning("a kept profile is not used: %s", error)
        return None
    return profile if profile.model_digest == digest else None


def keep(path: Path, text: str) -> None:
    """Keep a profile's JSON text."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, text)
    except OSError as error:
        _LOG.warning("the profile was not kept: %s", error)
