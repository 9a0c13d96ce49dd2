"""Which profiles go together: one model, one binding, the same cuts; of a side one machine, each runtime once."""

from __future__ import annotations

from collections.abc import Sequence

from partitioner.errors import ProfileError, UsageError
from partitioner.profile import Profile


def check_sides(edge: Sequence[Profile], cloud: Sequence[Profile]) -> None:
    """Check that the profiles of both sides, one for each runtime, belong together.

    Raises:
        ProfileError: they do not; all differences are named.
        UsageError: a side has none.
    """
    if not (edge and cloud):
        raise UsageError("a plan takes a profile of the device and one of the worker")
    for side, profiles in (("edge", edge), ("cloud", cloud)):
        if len(models := {profile.model_digest: _model(profile) for profile in profiles}) > 1:
            raise ProfileError(f"the {side}'s profiles are of different models: {' and '.join(models.values())}")
        seen = [runtime_of(profile) for profile in profiles]
        if twice := sorted({name for name in seen if seen.count(name) > 1}):
            raise ProfileError(
                f"the {side} has two profiles of one runtime ({', '.join(twice)}); give one for each runtime"
            )
        if len({profile.slowdown for profile in profiles}) > 1:
            raise ProfileError(f"the {side}'s profiles emulate different slow-downs; give one for all of them")
        if len(machines := dict.fromkeys(each.device.cpu or each.device.machine for each in profiles)) > 1:
            raise ProfileError(f"the {side}'s profiles are of different machines: {' and '.join(machines)}")
    for profile in edge:
        for other in cloud:
            check_pair(profile, other)


def check_pair(edge: Profile, cloud: Profile) -> None:
    """Check that two profiles are of one model, one binding and the same cuts.

    Raises:
        ProfileError: they are not; all differences are named.
    """
    faults = []
    if edge.model_digest != cloud.model_digest:
        faults.append(f"the edge's is of {_model(edge)}, the cloud's of {_model(cloud)}")
    else:
        if dict(edge.binding) != dict(cloud.binding):
            faults.append(f"their sizes differ: {_bound(edge)} and {_bound(cloud)}")
        if [layer.id for layer in edge.layers] != [layer.id for layer in cloud.layers]:
            faults.append("they list different layers")
        ids = {cut.id for cut in edge.cuts}, {cut.id for cut in cloud.cuts}
        if only := ids[0] ^ ids[1]:
            faults.append(f"they list different cuts: {len(only)} are in one of them only")
    if faults:
        raise ProfileError(
            f"these profiles do not belong together: {'; '.join(faults)}; profile one bundle on both sides"
        )


def runtime_of(profile: Profile) -> str:
    """What tells the runtimes of one side apart."""
    return profile.runtime.label


def _model(profile: Profile) -> str:
    return f"{profile.model_name} ({profile.model_digest[:12]})"


def _bound(profile: Profile) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(profile.binding.items())) or "none"
