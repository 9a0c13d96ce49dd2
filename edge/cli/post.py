"""``--post package.module:callable``: the user's own last step, on the device."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from partitioner.errors import InputError, UsageError

if TYPE_CHECKING:
    from partitioner.runtimes import Array

Post = Callable[[Mapping[str, "Array"]], object]


def load_post(spec: str) -> Post:
    """The callable; it takes the outputs by name, and what it returns is printed. It may lie in the caller's directory.

    Raises:
        UsageError: there is no such callable.
    """
    module_name, colon, name = spec.partition(":")
    if not (colon and module_name and name.isidentifier()):
        raise UsageError(f"--post {spec!r} is not of the form package.module:callable")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
    try:
        found = getattr(importlib.import_module(module_name), name, None)
    except Exception as error:
        raise UsageError(f"--post {spec}: {module_name} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise UsageError(f"--post {spec}: {module_name} has no callable {name!r}")

    def post(outputs: Mapping[str, Array]) -> object:
        try:
            return found(outputs)
        except Exception as error:
            raise InputError(f"--post {spec} failed: {type(error).__name__}: {error}") from error

    return post
