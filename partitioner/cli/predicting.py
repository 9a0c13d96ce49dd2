"""Planning for a side that was never measured, or hardly: its profile is predicted by a fit (``cleft-plan fit``)."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from partitioner.errors import UsageError
from partitioner.profile import Profile
from partitioner.profiles import load_fit

if TYPE_CHECKING:
    from partitioner.bundle import Bundle
    from partitioner.dims import Binding
    from partitioner.predict import Fit


def add_predict_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that ``with_predictions`` reads."""
    group = parser.add_argument_group(
        "prediction", "of a side that never ran the model; its layers come from the other side's profile, or --bundle"
    )
    group.add_argument(
        "--predict",
        action="append",
        default=[],
        metavar="FIT",
        help="predict the device's times (cleft-plan fit); what an --edge profile of the same runtime measured stands, "
        "and calibrates the rest",
    )
    group.add_argument(
        "--predict-cloud", action="append", default=[], metavar="FIT", help="predict the worker's times likewise"
    )
    group.add_argument(
        "--bundle", type=Path, metavar="DIR", help="the model (cleft-plan pack), where no side has a profile of it"
    )


def with_predictions(
    args: argparse.Namespace, edge: Sequence[Profile], cloud: Sequence[Profile]
) -> tuple[list[Profile], list[Profile]]:
    """The profiles of both sides, with what is to be predicted.

    Raises:
        UsageError: there is nothing to predict from.
        ProfileError: a fit cannot be read, or does not go with the profiles.
        BundleError: the bundle cannot be opened.
    """
    if not (args.predict or args.predict_cloud):
        return list(edge), list(cloud)
    structure = _structure(args, (*edge, *cloud))
    return (
        _side(edge, structure, [load_fit(path) for path in args.predict]),
        _side(cloud, structure, [load_fit(path) for path in args.predict_cloud]),
    )


def _side(profiles: Sequence[Profile], structure: Profile, fits: Sequence[Fit]) -> list[Profile]:
    from partitioner.predict import predicted

    measured = {profile.runtime.label: profile for profile in profiles}
    names = [fit.runtime.label for fit in fits]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"two fits are of one runtime ({', '.join(twice)}); give one for each runtime")
    made = {name: predicted(structure, fit, measured=measured.get(name)) for name, fit in zip(names, fits, strict=True)}
    return [*(made.pop(profile.runtime.label, profile) for profile in profiles), *made.values()]


def _structure(args: argparse.Namespace, profiles: Sequence[Profile]) -> Profile:
    """The layers and cuts of the model: of a profile, or of its bundle."""
    if args.bundle is None:
        if not profiles:
            raise UsageError("nothing says what the model's layers are: give a profile of one side, or --bundle DIR")
        is_new = (all(layer.window is not None for layer in profile.layers) for profile in profiles)
        return next((profile for profile, is_it in zip(profiles, is_new, strict=True) if is_it), profiles[0])
    from partitioner.bundle import Bundle

    bundle = Bundle.open(args.bundle)
    return structure_from(bundle, profiles[0].binding if profiles else bundle.graph.example_binding)


def structure_from(bundle: Bundle, binding: Binding) -> Profile:
    """What a bundle says of its model; a picture is taken to be of the size that the model takes, a byte a value."""
    from partitioner.dims import shape_of
    from partitioner.structure import structure_of

    given = bundle.graph.inputs[0].value
    pixels = None if bundle.preprocess is None else math.prod(shape_of(given.shape, binding))
    return structure_of(
        bundle.graph,
        digest=bundle.digest,
        name=bundle.name,
        weights=bundle.manifest.weights,
        binding=binding,
        pixels=pixels,
    )
