"""What a plan must keep: flags that every command which chooses shares."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from partitioner.cli import arguments
from partitioner.optimize.constraints import Constraints


def add_constraint_arguments(parser: argparse.ArgumentParser, *, has_profiles: bool = True) -> None:
    """Declare the arguments that ``constraints_of`` reads.

    Args:
        has_profiles: whether saved profiles are planned from, which may tell of energy, for one frame.
    """
    group = parser.add_argument_group("constraints", "memory is weights and the peak of what is computed")
    group.add_argument("--max-edge-memory", type=arguments.size_bytes, metavar="N", help="on the device, such as 64MB")
    group.add_argument("--max-cloud-memory", type=arguments.size_bytes, metavar="N", help="on the worker")
    if has_profiles:
        group.add_argument(
            "--deadline", type=arguments.duration_s, metavar="TIME", help="latency at most, such as 50ms"
        )
        group.add_argument(
            "--max-energy",
            type=arguments.energy_j,
            metavar="J",
            help="what a frame takes from the device at most, such as 0.5J",
        )
    group.add_argument(
        "--max-leakage",
        type=arguments.share,
        metavar="X",
        help="the input and what crosses have a distance correlation of at most this, 0 (independent) to 1 (a copy); "
        "an indicator, no guarantee (cleft-plan leakage measures it)",
    )
    group.add_argument(
        "--min-inversion-error",
        type=arguments.share,
        metavar="X",
        help="a small trained inverter that sees what crosses gets at least this much of the input wrong, 0 (a copy) "
        "to 1 (no better than the mean input); an indicator likewise",
    )
    group.add_argument("--max-upload", type=arguments.size_bytes, metavar="N", help="bytes that leave the device")
    group.add_argument(
        "--pin",
        action="append",
        default=[],
        metavar="LAYER",
        help="keep a layer, or all layers of a module, on the device; may be given again",
    )
    group.add_argument(
        "--min-depth",
        metavar="N|CUT",
        help="keep at least the first N layers, or those of a cut such as after:layer1, on the device",
    )


def constraints_of(
    args: argparse.Namespace, depth_of: Callable[[str], int], *, has_profiles: bool = True
) -> Constraints:
    """The constraints that the arguments describe, without bounds on the answer.

    Args:
        depth_of: the number of layers that a cut of this name keeps.
        has_profiles: as it was declared.
    """
    depth = args.min_depth or "0"
    is_number = depth.isascii() and depth.isdigit() and len(depth) <= 9
    return Constraints(
        max_edge_bytes=args.max_edge_memory,
        max_cloud_bytes=args.max_cloud_memory,
        deadline_s=args.deadline if has_profiles else None,
        max_energy_j=args.max_energy if has_profiles else None,
        max_leakage=args.max_leakage,
        min_inversion_error=args.min_inversion_error,
        max_up_bytes=args.max_upload,
        pinned=tuple(args.pin),
        min_depth=int(depth) if is_number else depth_of(depth),
    )
