"""``cleft-plan leakage``: how much of the input each cut gives away, measured on sample inputs."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from partitioner.cli import arguments
from partitioner.cli.energy import finish
from partitioner.cli.models import add_bind_argument, add_model_arguments, binding_of, open_model
from partitioner.cli.output import print_json, print_table, warn
from partitioner.cli.profile import add_engine_arguments
from partitioner.errors import ProfileError, UsageError
from partitioner.files import check_writable
from partitioner.leakage import bounded
from partitioner.units import size

if TYPE_CHECKING:
    from partitioner.bundle import Bundle
    from partitioner.leakage import CutLeakage, LeakageProfile
    from partitioner.measure.leakage.inversion import Network
    from partitioner.profile import Profile
    from partitioner.samples import SampleSet
    from partitioner.segments import Cut, Cuts

HELP = "estimate how much of the input each cut gives away: an indicator, no guarantee"
SCHEMA = "cleft.leakage/1"
EXAMPLES = """\
examples:
  cleft-plan leakage digits
  cleft-plan leakage resnet18.bundle --samples pictures/ --profile edge.json -o edge.json
  cleft-plan cut --edge edge.json --cloud cloud.json --max-leakage 0.7

Two figures: the distance correlation of inputs and crossing features (1: the input itself, 0: independent of it), and
the error of a small inverter trained to rebuild the input (0: a perfect copy, 1: no better than the mean input). A
stronger attacker, with more samples or more time, does better: with fewer samples the inverter learns less, and cuts
look safer than they are. That a cut keeps within a bound promises nothing.

'>=' and '~' mark cuts that were not reached: no less than the nearest measured cut before, and the larger of both
neighbours. The figures are the model's and the samples', not the device's: measure them where the samples are, and
write them into any profile of the same bundle.
"""
_FEW_SAMPLES = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model_arguments(parser)
    add_bind_argument(parser)
    parser.add_argument(
        "--samples",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR|FILE",
        help="pictures, .npy or .npz files: 20 inputs or more, better hundreds ('digits' has its own)",
    )
    parser.add_argument(
        "--budget", type=arguments.duration_s, default=60.0, metavar="TIME", help="how long to measure (default: 60s)"
    )
    parser.add_argument(
        "--cut", action="append", default=[], metavar="NAME", help="measure this cut before all others; repeatable"
    )
    parser.add_argument(
        "--seed", type=arguments.not_negative_int, default=0, metavar="N", help="of the inverters (default: 0)"
    )
    add_engine_arguments(parser)
    group = parser.add_argument_group("profile", "where planning finds the figures")
    group.add_argument("--profile", type=Path, metavar="FILE", help="a profile of the same bundle to add them to")
    group.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="where the profile goes, also in its own place"
    )
    parser.add_argument("--json", action="store_true", help=f"print JSON of schema {SCHEMA}")


def run(args: argparse.Namespace) -> int:
    """Measure, show, and write into a profile."""
    from partitioner.measure.leakage import MOST_SAMPLES, leakage_steps
    from partitioner.runtimes.opening import open_engine
    from partitioner.segments import Cuts

    if (args.profile is None) != (args.output is None):
        raise UsageError("--profile FILE is the profile to add to, and -o FILE is where it goes: give both or none")
    if args.output is not None:
        check_writable(args.output, flag="-o")
    bundle = open_model(args)
    profile = _profile(args.profile, bundle)
    samples = _samples(args, bundle)
    binding = binding_of(args, bundle.graph)
    engine = open_engine(
        bundle, runtime=args.runtime, device=args.device, threads=args.threads, allow_ops=args.allow_ops
    )
    steps = leakage_steps(
        bundle,
        engine,
        samples,
        budget_s=args.budget,
        binding=binding,
        first=args.cut,
        network=_network(args.threads),
        seed=args.seed,
    )
    found = finish(steps, f"leakage of {bundle.name}")
    if found.samples < len(samples.samples):
        warn(f"{found.samples} of {len(samples.samples)} samples were used, spread evenly: {MOST_SAMPLES} at most are")
    elif found.samples < _FEW_SAMPLES:
        warn(f"{found.samples} samples are few: the inverters learn little, and the cuts seem safer than they are")
    if profile is not None:
        from partitioner.profiles import dump_profile

        dump_profile(dataclasses.replace(profile, leakage=found), args.output)
    _show(args, bundle, Cuts(bundle.graph, bundle.digest, binding=binding), found)
    return 0


def _samples(args: argparse.Namespace, bundle: Bundle) -> SampleSet:
    """The samples named, or those that ship for the model that ships."""
    from partitioner.samples import SampleSet, read_samples
    from partitioner.zoo import DIGITS

    is_ours = bundle.name == DIGITS and bundle.preprocess is not None and bundle.labels == tuple("0123456789")
    if not args.samples and is_ours:
        from partitioner.inputs import Sample
        from partitioner.zoo.digits_data import held_out

        pixels, _ = held_out()
        return SampleSet(
            samples=tuple(
                Sample(name=f"held out [{index}]", source=each, nbytes_original=each.nbytes)
                for index, each in enumerate(pixels)
            )
        )
    if not args.samples:
        raise UsageError("leakage is measured on real inputs: give --samples DIR, with 20 or more, better hundreds")
    return read_samples(
        args.samples, bundle_inputs=[each.value for each in bundle.graph.inputs], preprocess=bundle.preprocess
    )


def _network(threads: int) -> Network | None:
    """What trains a network, where torch is installed."""
    try:
        import torch
    except ImportError:
        warn("torch is not installed, so no inverter is trained: pip install 'cleft[torch]'")
        return None
    from partitioner.measure.leakage.network import train

    torch.set_num_threads(threads)
    return train


def _profile(path: Path | None, bundle: Bundle) -> Profile | None:
    from partitioner.profiles import load_profile

    if path is None:
        return None
    profile = load_profile(path)
    if profile.model_digest != bundle.digest:
        raise ProfileError(
            f"{path} is a profile of {profile.model_name} ({profile.model_digest[:12]}), not of {bundle.name} "
            f"({bundle.digest[:12]}): name the bundle that it was made of"
        )
    return profile


def _show(args: argparse.Namespace, bundle: Bundle, cuts: Cuts, found: LeakageProfile) -> None:
    listed = [*cuts.candidates, *dict.fromkeys(cut for cut in map(cuts.find, args.cut) if cut not in cuts.candidates)]
    figures = bounded(found, {cut.id: cut.edge_layers for cut in listed})
    if args.json:
        print_json(
            {
                "schema": SCHEMA,
                "model": {"name": bundle.name, "digest": bundle.digest},
                "samples": found.samples,
                "inverter": found.inverter,
                "seed": args.seed,
                "cuts": [_json(cut, figures[cut.id]) for cut in listed],
            }
        )
        return
    rows = [
        (
            cut.name,
            size(sum(value.nbytes(cuts.binding) for value in cut.crossing)) if cut.crossing else "-",
            *_cells(figures[cut.id]),
            figures[cut.id].inverter or "-",
        )
        for cut in listed
    ]
    headings = ("cut", "crosses", "correlation", "+/-", "inversion error", "+/-", "inverter")
    print_table(headings, rows, left=(0, 6), optional=(6, 5, 3, 1))
    print(f"\n{found.samples} samples; inverter: {found.inverter}")
    print("an indicator, no guarantee: a stronger attacker may rebuild more")
    if args.output is not None:
        print(f"written to {args.output}")


def _cells(figures: CutLeakage) -> tuple[str, str, str, str]:
    correlation = ("~" if figures.how == "bounded" else "") + f"{figures.distance_correlation:.3f}"
    spread = f"{figures.interval:.3f}" if figures.how == "measured" else ""
    if figures.inversion_error is None:
        return correlation, spread, "-", ""
    error = (">=" if figures.inversion_how == "bounded" else "") + f"{figures.inversion_error:.3f}"
    return (
        correlation,
        spread,
        error,
        f"{figures.inversion_interval:.3f}" if figures.inversion_how == "measured" else "",
    )


def _json(cut: Cut, figures: CutLeakage) -> dict[str, object]:
    return {
        "id": cut.id,
        "name": cut.name,
        "depth": cut.depth,
        "distance_correlation": figures.distance_correlation,
        "interval": figures.interval,
        "how": figures.how,
        "inversion_error": figures.inversion_error,
        "inversion_interval": figures.inversion_interval,
        "inversion_how": figures.inversion_how,
        "inverter": figures.inverter,
    }
