"""What an image model answers while it is verified: a photograph of ordinary size, or random pixels in its place."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from partitioner import preprocess
from partitioner.bundle import Bundle
from partitioner.dims import shape_of

_PHOTOGRAPH = ("sklearn", "datasets/images/flower.jpg")


def photograph() -> Path | None:
    """A photograph that comes with a package of ours (extra ``demo``), 143 kB as JPEG; None without the package."""
    package, path = _PHOTOGRAPH
    found = importlib.util.find_spec(package)
    places = (found.submodule_search_locations or []) if found else []
    return next((file for place in places if (file := Path(place) / path).is_file()), None)


def made_up(bundle: Bundle, path: Path) -> Path:
    """Random pixels of the size that the model sees, written to ``path``: nothing compresses them."""
    assert bundle.preprocess is not None
    channels = 1 if preprocess.check(bundle.preprocess).mode == "L" else 3
    height, width = shape_of(bundle.graph.inputs[0].value.shape, bundle.graph.example_binding)[-2:]
    np.save(path, np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8))
    return path
