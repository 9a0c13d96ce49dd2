"""What is planned with and what is asked of a plan: flags that ``cut`` and ``table`` share."""

from __future__ import annotations

import argparse
import difflib

from partitioner.cli import arguments
from partitioner.cli.codecs import add_codec_arguments, bound_of, codecs_of
from partitioner.cli.constraints import add_constraint_arguments, constraints_of
from partitioner.cli.output import warn
from partitioner.cli.predicting import add_predict_arguments, with_predictions
from partitioner.cli.radio import add_radio_arguments, radio_of, with_power
from partitioner.cost import NO_ENERGY, Load, load_of
from partitioner.cost.load import MAX_BUSY_RATIO
from partitioner.errors import UsageError
from partitioner.optimize.objectives import Objective
from partitioner.planner import DOWN_PER_UP, Planner
from partitioner.profile import Profile
from partitioner.profiles import load_profile

Sides = tuple[list[Profile], list[Profile]]
"""Profiles of the device and of the worker, one for each runtime."""


def add_planning_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that ``planner_of`` and ``worker_load`` read."""
    parser.add_argument(
        "--edge",
        action="append",
        default=[],
        metavar="FILE",
        help="profile of the device (cleft-plan profile); again for each further runtime: the fastest pair is chosen",
    )
    parser.add_argument(
        "--cloud",
        action="append",
        default=[],
        metavar="FILE",
        help="profile of the worker (cleft-edge fetch-profile); again for each further runtime",
    )
    parser.add_argument(
        "--input-bytes",
        type=arguments.size_bytes,
        metavar="N",
        help="size of the original input (default: the profile's)",
    )
    parser.add_argument(
        "--edge-slowdown",
        type=arguments.positive,
        default=1.0,
        metavar="N",
        help="the device is N times slower than profiled",
    )
    add_predict_arguments(parser)
    _add_load_arguments(parser)
    add_radio_arguments(parser)
    add_constraint_arguments(parser)
    add_codec_arguments(parser)


def _add_load_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("load of the worker", "default: idle")
    group.add_argument(
        "--queue-ms", type=arguments.not_negative, default=0.0, metavar="MS", help="wait before a frame's tail runs"
    )
    group.add_argument(
        "--busy",
        type=arguments.share,
        default=0.0,
        metavar="X",
        help="share of time, 0 to 1, that it is busy with jobs as long as this model's tail; more than "
        f"{MAX_BUSY_RATIO:g} counts as that",
    )


def profiles_of(args: argparse.Namespace) -> Sides:
    """The profiles of the device, slowed down and with the power that is asked for, and of the worker; some predicted.

    Raises:
        CleftError: one cannot be read, or not be predicted.
    """
    measured = [load_profile(path) for path in args.edge], [load_profile(path) for path in args.cloud]
    edge, cloud = with_predictions(args, *measured)
    if args.edge_slowdown != 1:
        edge = [profile.slowed(args.edge_slowdown) for profile in edge]
    return with_power(args, edge), cloud


def worker_load(args: argparse.Namespace) -> Load:
    """The load that the arguments describe."""
    return Load(queue_s=args.queue_ms * 1e-3, slowdown=load_of(busy_ratio=args.busy).slowdown)


def planner_of(
    args: argparse.Namespace,
    *,
    objective: Objective | None,
    down_per_up: float = DOWN_PER_UP,
    sides: Sides | None = None,
) -> Planner:
    """The planner that the arguments describe; ``sides`` are their profiles, where these were read already.

    Raises:
        CleftError: a profile cannot be read, profiles do not belong together, or no plan keeps what is asked.
    """
    edge, cloud = sides or profiles_of(args)
    for flag, what, side in (("edge", "predict", edge), ("cloud", "predict-cloud", cloud)):
        if not side:
            raise UsageError(f"a plan takes --{flag} FILE, a profile of that side, or --{what} FIT (cleft-plan fit)")
    if args.busy > MAX_BUSY_RATIO:
        warn(f"--busy {args.busy:g} is taken as {MAX_BUSY_RATIO:g}: frames of a busier worker would wait without bound")
    radio = radio_of(args)
    if (args.radio, args.frame_interval) != (None, None) and all(profile.energy is None for profile in edge):
        warn(f"--radio and --frame-interval change nothing: {NO_ENERGY}")
    bound = bound_of(args)
    exact = edge[0].accuracy
    if bound.min_accuracy is not None and exact is not None and exact < bound.min_accuracy:
        warn(f"the exact model answers only {exact:.2%} rightly: --min-accuracy leaves nothing but exact codecs")
    asked = constraints_of(args, lambda name: _depth(name, edge[0]))
    return Planner.from_profiles(
        edge,
        cloud,
        codecs=codecs_of(args),
        constraints=asked.within(bound.max_deviation, bound.least_accuracy(edge[0].accuracy)),
        objective=objective,
        source_bytes=args.input_bytes,
        down_per_up=down_per_up,
        load=worker_load(args),
        radio=radio,
    )


def _depth(name: str, profile: Profile) -> int:
    for cut in profile.cuts:
        if name in (cut.id, cut.name, *cut.aliases):
            return cut.depth
    near = difflib.get_close_matches(name, [cut.name for cut in profile.cuts], n=2)
    hint = f": did you mean {' or '.join(near)}?" if near else ""
    raise UsageError(f"--min-depth: {name!r} is no number of layers and no cut of these profiles{hint}")
