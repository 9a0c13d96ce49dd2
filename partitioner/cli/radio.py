"""What the device and its radio take: flags that every command which plans from profiles shares."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import replace

from partitioner.cli import arguments
from partitioner.cost import RadioUse
from partitioner.errors import ProfileError, UsageError
from partitioner.link import Link
from partitioner.profile import Profile
from partitioner.radio import MAX_TEXT_CHARS, NO_RADIO, RADIOS, RadioModel


def add_radio_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that ``radio_of`` and ``with_power`` read."""
    group = parser.add_argument_group(
        "energy", "of the device, by frame; it takes a profile with energy, or --edge-power"
    )
    group.add_argument(
        "--radio",
        metavar="NAME|FILE",
        help=f"{', '.join(RADIOS)}, or a file of cleft-edge calibrate-radio (default: that of --link; none: what the "
        "network takes is part of idling)",
    )
    group.add_argument(
        "--frame-interval",
        type=arguments.duration_s,
        metavar="TIME",
        help="a frame comes this often: count what the radio takes to stay awake in between, and to wake up",
    )
    group.add_argument(
        "--edge-power",
        metavar="DEVICE|idle=2W,active=5W",
        help="what the device takes, in place of what its profile says: energy is then assumed",
    )


def radio_of(args: argparse.Namespace) -> RadioUse:
    """The radio that the arguments describe, and how often it is used.

    Raises:
        UsageError: it is neither a preset nor a file that can be read.
        ProfileError: the file holds no radio.
    """
    preset: str | None = getattr(args, "link", None)
    return _use(args, preset or NO_RADIO.name)


def radio_for(args: argparse.Namespace, link: Link) -> RadioUse:
    """The radio that is used on a link: the one that was asked for, else the preset of its name, else none.

    Raises:
        UsageError: as ``radio_of``.
    """
    return _use(args, link.name if link.name in RADIOS else NO_RADIO.name)


def _use(args: argparse.Namespace, default: str) -> RadioUse:
    name = default if args.radio is None else args.radio
    return RadioUse(model=RADIOS.get(name) or _load(name), frame_interval_s=args.frame_interval)


def with_power(args: argparse.Namespace, profiles: Iterable[Profile]) -> list[Profile]:
    """The device's profiles with the energy that ``--edge-power`` assumes, where it is given.

    Raises:
        UsageError: it describes no power.
    """
    if args.edge_power is None:
        return list(profiles)
    from partitioner.assumed import assumed_energy
    from partitioner.sheets import sheet_of

    sheet = sheet_of(args.edge_power)
    return [
        replace(
            profile,
            energy=assumed_energy(profile, idle_w=sheet.idle_w, active_w=sheet.active_w, source=sheet.source),
        )
        for profile in profiles
    ]


def _load(path: str) -> RadioModel:
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_TEXT_CHARS + 1)
    except OSError as error:
        raise UsageError(
            f"--radio {path}: {error.strerror}; give {', '.join(RADIOS)}, or a file of `cleft-edge calibrate-radio`"
        ) from error
    try:
        return RadioModel.loads(text)
    except ProfileError as error:
        raise ProfileError(f"--radio {path}: {error}") from error
