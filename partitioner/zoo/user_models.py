"""A user's own model: ``package.module:callable``, found from the directory the command was started in.

That directory is *appended* to ``sys.path``: a ``cloud`` folder of the user's must not shadow ours.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

import torch

from partitioner.errors import CleftError, ModelError
from partitioner.trace import Example
from partitioner.zoo.examples import from_shapes
from partitioner.zoo.packing import Source


def load(spec: str, shapes: Sequence[str]) -> Source:
    """Import, call, and sort out what came back; what the user's code prints goes to stderr.

    Raises:
        ModelError: it cannot be imported, fails, or returns something else.
    """
    module_name, _, attribute = spec.partition(":")
    with redirect_stdout(sys.stderr):
        made = _call(_find(module_name, attribute), spec)
    example: Example | None = None
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], torch.nn.Module):
        made, inputs = made
        example = _example(inputs)
    if not isinstance(made, torch.nn.Module):
        raise ModelError(f"{spec} gave {type(made).__name__}, not a torch.nn.Module (or one with its example inputs)")
    if shapes:
        example = Example(args=from_shapes(shapes))
    if example is None:
        raise ModelError(f"{spec} gives no example inputs: pass --shape, such as --shape 1x3x224x224, once per input")
    return Source(module=made, example=example, name=attribute, origin="given")


def _find(module_name: str, attribute: str) -> object:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        raise ModelError(f"module {missing!r} is not to be found from here or among what is installed") from error
    except (Exception, SystemExit) as error:
        raise ModelError(f"importing {module_name} failed: {type(error).__name__}: {error}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ModelError(f"module {module_name} has no {attribute!r}")
        found = getattr(found, part)
    return found


def _call(found: object, spec: str) -> object:
    if isinstance(found, torch.nn.Module):
        return found
    if not callable(found):
        raise ModelError(f"{spec} is no callable")
    try:
        return found()
    except CleftError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(f"{spec} failed: {type(error).__name__}: {error}") from error


def _example(inputs: object) -> Example:
    if isinstance(inputs, dict):
        return Example(kwargs=inputs)
    if isinstance(inputs, list):
        return Example(args=tuple(inputs))
    return Example(args=inputs if isinstance(inputs, tuple) else (inputs,))
