"""``--energy`` of ``cleft-plan profile``: finding a meter, measuring with it, and what is printed of the energy.

Without the flag a quick meter is used where there is one. A meter that was named must be there; one that turns out not
to be believed costs a warning, and energy is then unavailable, or assumed where ``--power`` says from what.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, TypeVar

from partitioner.cli import arguments
from partitioner.cli.output import progress, warn
from partitioner.report.words import MARKS
from partitioner.units import digits, joules

if TYPE_CHECKING:
    from partitioner.bundle import Bundle
    from partitioner.energy import EnergyProfile, Quantity, Scope
    from partitioner.meters import Meter
    from partitioner.profile import Profile
    from partitioner.runtimes import Engine
    from partitioner.samples import SampleSet

AUTO = "auto"
NONE = "none"

_UNSURE = 0.15
"""Half of an interval over its value from which energies are called uncertain."""

T = TypeVar("T")


def add_energy_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    group = parser.add_argument_group("energy")
    group.add_argument(
        "--energy",
        metavar="auto|none|METER",
        help="the meter to measure with, as `cleft-plan meters` lists them (default: a quick one where there is one, "
        "when --budget is at least --idle)",
    )
    group.add_argument(
        "--energy-budget",
        type=arguments.duration_s,
        metavar="TIME",
        help="how long cuts run under the meter, after --idle (default: as long as --budget)",
    )
    group.add_argument(
        "--idle",
        type=arguments.duration_s,
        default=10.0,
        metavar="TIME",
        help="how long the device is watched at rest (default: 10s)",
    )
    group.add_argument(
        "--power",
        metavar="DEVICE|idle=2W,active=5W",
        help="what the device takes, where no meter tells: energy is then assumed",
    )


def check_energy_arguments(args: argparse.Namespace) -> None:
    """Refuse a power that means nothing before anything is measured."""
    if args.power is not None:
        from partitioner.sheets import sheet_of

        sheet_of(args.power)


@contextmanager
def meter_of(args: argparse.Namespace, *, device: str) -> Iterator[Meter | None]:
    """The meter to use for what runs on ``device``; None where there is none, which is warned of if it was wanted.

    Raises:
        MeterError: the meter that was named is not there.
    """
    meter = _open(args, device)
    try:
        yield meter
    finally:
        if meter is not None:
            meter.close()


def _open(args: argparse.Namespace, device: str) -> Meter | None:
    from partitioner.meters import MeterError, MeterForbidden
    from partitioner.meters.finding import open_meter

    is_asked = args.energy is not None
    if args.energy == NONE or (not is_asked and args.budget < args.idle):
        return None
    if args.energy not in (None, AUTO):
        return open_meter(args.energy)
    blind: Scope = "package" if device.startswith("cuda") else "accelerator"
    try:
        return open_meter(blind=(blind,), is_quick=not is_asked)
    except MeterError as error:
        if args.power is None and (is_asked or isinstance(error, MeterForbidden)):
            warn(f"energy is unavailable: {error}")
        return None


def energy_of(
    args: argparse.Namespace, meter: Meter | None, bundle: Bundle, engine: Engine, profile: Profile, samples: SampleSet
) -> EnergyProfile | None:
    """Energy that is measured where a meter can be believed, else assumed where ``--power`` is given, else None."""
    from partitioner.meters import MeterError

    if meter is not None:
        try:
            return _measured(args, meter, bundle, engine, profile, samples)
        except MeterError as error:
            reason = str(error) if meter.info.kind in str(error) else f"{meter.info.kind}: {error}"
            warn(f"energy is {'unavailable' if args.power is None else 'assumed'}: {reason}")
    if args.power is None:
        return None
    from partitioner.assumed import assumed_energy
    from partitioner.sheets import sheet_of

    sheet = sheet_of(args.power)
    return assumed_energy(profile, idle_w=sheet.idle_w, active_w=sheet.active_w, source=sheet.source)


def _measured(
    args: argparse.Namespace, meter: Meter, bundle: Bundle, engine: Engine, profile: Profile, samples: SampleSet
) -> EnergyProfile:
    from partitioner.measure.energy import Pace, energy_steps

    budget_s = args.budget if args.energy_budget is None else args.energy_budget
    pace = Pace(rest_s=args.idle)
    steps = energy_steps(bundle, engine, profile, meter, budget_s=budget_s, samples=samples, pace=pace)
    energy = finish(steps, f"energy of {bundle.name}")
    if energy.whole_j.interval > _UNSURE * energy.whole_j.value:
        warn(
            f"energy is uncertain: the whole model's is {joules(energy.whole_j.value)} ± "
            f"{joules(energy.whole_j.interval)}; try again when the machine is idle, or with a larger --energy-budget"
        )
    return energy


def finish(steps: Generator[float, None, T], label: str) -> T:
    """Take every step of a measurement under a progress bar; returns what it returns."""
    with closing(steps), progress(label, total=1.0) as advance:
        done = 0.0
        while True:
            try:
                share = next(steps)
            except StopIteration as end:
                found: T = end.value
                return found
            advance(max(0.0, share - done), "")
            done = max(done, share)


def energy_text(value: Quantity, energy: EnergyProfile) -> str:
    """Joules with the mark of where they come from, and no digit that the meter cannot tell."""
    ratio = energy.resolution_j / energy.whole_j.value if energy.whole_j.value > 0 else 0.0
    return f"{joules(value.value, step_j=ratio * value.value)}{MARKS[value.origin]}"


def print_energy(energy: EnergyProfile) -> None:
    """Print where the energy of a profile comes from, and what the marks mean."""
    print(
        f"energy by {energy.meter} ({energy.source}): whole model {energy_text(energy.whole_j, energy)}"
        f"{_interval(energy.whole_j, joules)}, {energy_text(energy.prefixes[-1].net_j, energy)} of it above rest; "
        f"{_watts(energy.idle_w)} at rest, {_watts(energy.active_w)} at work"
    )
    if energy.scope != "board":
        print(f"it covers {_SCOPES[energy.scope]}")
    prefixes = [each.total_j for each in energy.prefixes]
    if any(each.origin == "measured" for each in prefixes):
        count = sum(each.origin == "measured" for each in prefixes)
        hint = ", a larger --energy-budget measures more" if count < len(prefixes) - 1 else ""
        print(f"{count} of {len(prefixes)} cuts were measured{hint}")
    origins = {each.origin for each in (*energy.layers, *prefixes)}
    if "modelled" in origins:
        print("~ modelled from the cuts that were measured, by the times of layers")
    if "assumed" in origins:
        print("? assumed: times are measured, power is not")


_SCOPES = {
    "package": "the processor's package, not the whole board",
    "accelerator": "the accelerator, not the whole board",
    "unknown": "what the meter is connected to",
}


def _watts(value: Quantity) -> str:
    return f"{digits(value.value)}{MARKS[value.origin]} W{_interval(value, lambda watts: f'{digits(watts)} W')}"


def _interval(value: Quantity, text: Callable[[float], str]) -> str:
    return f" ± {text(value.interval)}" if value.interval > 0 else ""
