"""``cleft-plan profile``: measure a model on this device, within a budget of time."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from partitioner.cli import arguments
from partitioner.cli.energy import (
    add_energy_arguments,
    check_energy_arguments,
    energy_of,
    energy_text,
    finish,
    meter_of,
    print_energy,
)
from partitioner.cli.models import add_bind_argument, add_model_arguments, binding_of, open_model
from partitioner.cli.output import print_table, warn
from partitioner.cli.runtime import add_runtime_argument
from partitioner.cli.samples import add_sample_arguments, samples_of
from partitioner.codecmix import is_exact
from partitioner.difference import INCOMPARABLE
from partitioner.files import check_writable
from partitioner.units import digits, ms, size

if TYPE_CHECKING:
    from partitioner.profile import Profile

HELP = "measure a model on this device: layers, prefixes and suffixes at the cuts, codecs, memory"
EXAMPLES = """\
examples:
  cleft-plan profile torchvision:resnet18 --budget 30s -o edge.json
  cleft-plan profile resnet18.bundle --threads 2 --input photo.jpg --json
  cleft-plan profile resnet18.bundle --energy rapl --energy-budget 2m -o edge.json
  cleft-plan profile digits --samples pictures/ --sample-labels labels.csv -o edge.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model_arguments(parser)
    add_bind_argument(parser)
    parser.add_argument(
        "--budget", type=arguments.duration_s, default=60.0, metavar="TIME", help="how long to measure (default: 60s)"
    )
    add_sample_arguments(parser)
    add_engine_arguments(parser)
    add_energy_arguments(parser)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the profile here")
    parser.add_argument("--json", action="store_true", help="print the profile (schema cleft.profile/2)")


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how a model is run."""
    group = parser.add_argument_group("runtime")
    add_runtime_argument(group)
    group.add_argument("--device", default="auto", metavar="auto|cpu|cuda[:N]", help="where it runs (default: auto)")
    group.add_argument(
        "--threads", type=arguments.positive_int, default=1, metavar="N", help="threads of one operator (default: 1)"
    )
    group.add_argument(
        "--allow-ops",
        type=arguments.names,
        default=(),
        metavar="A,B",
        help="operator namespaces to allow beside aten, such as torchvision",
    )


def run(args: argparse.Namespace) -> int:
    """Measure, and show or write what was measured."""
    from partitioner.measure import measure_steps
    from partitioner.profiles import dump_profile
    from partitioner.runtimes.opening import open_engine

    if args.output is not None:
        check_writable(args.output, flag="-o")
    check_energy_arguments(args)
    bundle = open_model(args)
    engine = open_engine(
        bundle, runtime=args.runtime, device=args.device, threads=args.threads, allow_ops=args.allow_ops
    )
    samples = samples_of(args, bundle)
    with meter_of(args, device=engine.info.device) as meter:
        steps = measure_steps(
            bundle, engine, budget_s=args.budget, binding=binding_of(args, bundle.graph), samples=samples
        )
        profile = finish(steps, f"profiling {bundle.name}")
        profile = replace(profile, energy=energy_of(args, meter, bundle, engine, profile, samples))
    if profile.samples < len(samples.samples):
        warn(f"codecs were judged on {profile.samples} of {len(samples.samples)} samples: a larger --budget takes more")
    if profile.noisy:
        warn(
            f"this machine is noisy: whole runs spread by {profile.noise_ratio:.0%} of their median, "
            "so cuts that are closer than that cannot be told apart; try again when it is idle"
        )
    if args.output is not None:
        dump_profile(profile, args.output)
    if args.json:
        print(profile.dumps(), end="")
    else:
        _print(profile)
        if args.output is not None:
            print(f"written to {args.output}")
    return 0


def _print(profile: Profile) -> None:
    layers: list[tuple[str, ...]] = [
        (
            layer.name,
            layer.kind,
            digits(layer.forward.median_s * 1e3),
            digits(layer.forward.spread_s * 1e3),
            digits(layer.flops / 1e6),
            size(layer.weight_bytes),
            size(layer.output_bytes),
        )
        for layer in profile.layers
    ]
    headings: tuple[str, ...] = ("layer", "kind", "ms", "spread", "MFLOP", "weights", "output")
    if profile.energy is not None:
        headings = (*headings, "energy")
        layers = [
            (*row, energy_text(each, profile.energy)) for row, each in zip(layers, profile.energy.layers, strict=True)
        ]
    print_table(headings, layers, left=(0, 1), optional=(3, 1, 5, 6))
    print()
    cuts: list[tuple[str, ...]] = [
        (
            cut.name,
            digits(cut.prefix.median_s * 1e3),
            digits(cut.suffix.median_s * 1e3),
            cut.prefix.how,
            size(sum(tensor.nbytes for tensor in cut.crossing)) if cut.crossing else "-",
            *(size(found.up_bytes) if (found := cut.codec(name)) else "-" for name in ("none+zstd", "int8+zstd")),
            size(cut.edge_peak_bytes + cut.edge_weight_bytes),
        )
        for cut in profile.cuts
    ]
    headings = ("cut", "prefix ms", "suffix ms", "how", "crosses", "none+zstd", "int8+zstd", "edge memory")
    if profile.energy is not None:
        headings = (*headings, "prefix energy")
        totals = [each.total_j for each in profile.energy.prefixes]
        cuts = [(*row, energy_text(each, profile.energy)) for row, each in zip(cuts, totals, strict=True)]
    print_table(headings, cuts, left=(0, 3), optional=(7, 5, 3, 6))
    print()
    total_s = sum(layer.forward.median_s for layer in profile.layers)
    runtime = profile.runtime
    print(
        f"{profile.model_name} on {profile.device.cpu or profile.device.machine}, {runtime.name} on {runtime.device}, "
        f"{runtime.threads} thread{'s' if runtime.threads > 1 else ''}: whole model {ms(profile.whole.median_s)} "
        f"(spread {ms(profile.whole.spread_s)}, {profile.whole.samples} runs)"
    )
    if profile.whole.median_s > 0:
        print(f"the layers add up to {ms(total_s)}, {total_s / profile.whole.median_s - 1:+.1%} of the whole")
    print(f"peak memory of this process {size(profile.peak_rss_bytes)}")
    if profile.energy is not None:
        print_energy(profile.energy)
    _print_codecs(profile)


def _print_codecs(profile: Profile) -> None:
    judged = [
        (cut.name, cost)
        for cut in profile.cuts
        for cost in cut.codecs
        if cost.deviation is not None and not is_exact(cost.codec)
    ]
    if not judged:
        return
    print(f"\nwhat lossy codecs do to the answer to {profile.samples} sample{'s' if profile.samples > 1 else ''}:")
    rows = [
        (
            name,
            cost.codec,
            size(cost.up_bytes),
            "no bound" if cost.deviation == INCOMPARABLE else f"{cost.deviation:.1e}",
            "-" if cost.accuracy is None else f"{cost.accuracy:.2%}",
        )
        for name, cost in judged
        if not cost.codec.endswith("+zstd")
    ]
    print_table(("cut", "codec", "up", "deviation", "accuracy"), rows, left=(0, 1))
    missed = sum(cost.deviation is None for cut in profile.cuts for cost in cut.codecs if cost.codec == "int8")
    if missed:
        print(f"{missed} of {len(profile.cuts) - 1} cuts were not reached: a larger --budget, or fewer samples")
    if profile.accuracy is not None:
        print(f"exact, {profile.accuracy:.2%} of them are answered rightly")
