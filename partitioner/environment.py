"""Variables of the environment: which have a meaning of their own, and what a child process is to see.

A long-running program reads its settings from ``CLEFT_<FLAG>``. A program of ours that another one starts gets all of
them as flags, so it must not see those of its parent.
"""

from __future__ import annotations

from collections.abc import Mapping

PREFIX = "CLEFT_"
COMMON = frozenset({"CACHE_DIR", "MQTT_PASSWORD", "PMIC_FIT", "RUNTIME", "SYSROOT", "TRACEBACK"})
"""Names after the prefix that mean the same to every command and are no settings."""


def for_children(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a program of ours: waiting threads do not spin, and settings come as flags alone."""
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith(PREFIX) or name.removeprefix(PREFIX) in COMMON
    }
    return {"OMP_WAIT_POLICY": "PASSIVE", **kept}
