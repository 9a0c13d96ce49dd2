"""How devices, links and origins are called, in pictures and tables alike."""

from __future__ import annotations

from partitioner.link import Link
from partitioner.profile import Profile
from partitioner.units import digits

MARKS = {"measured": "", "modelled": "~", "assumed": "?", "calibrated": "*", "predicted": "^"}
"""Put after a number that was not measured."""


def device_of(profile: Profile) -> str:
    """A device and its runtime in a few words."""
    runtime = profile.runtime
    threads = f"{runtime.threads} thread{'s' if runtime.threads != 1 else ''}"
    machine = profile.device.cpu or profile.device.machine or profile.device.name
    slowed = f", {profile.slowdown:g} times slower" if profile.slowdown != 1 else ""
    return f"{machine}{slowed} ({runtime.name}, {threads})"


def link_name(link: Link) -> str:
    """A link by its name, or by its rates."""
    return link.name or f"{digits(link.up_mbit)}/{digits(link.down_mbit)} Mbit/s"


def told_apart(a: Profile, b: Profile) -> tuple[str, str]:
    """Two profiles in a few words each: what is not the same about them."""
    left, right = device_of(a), device_of(b)
    if left != right:
        return f"A: {left}", f"B: {right}"
    versions = [name for name in sorted(a.runtime.versions) if a.runtime.versions[name] != b.runtime.versions.get(name)]
    if versions:
        name = versions[0]
        return (
            f"A: {name} {a.runtime.versions[name]}",
            f"B: {name} {b.runtime.versions.get(name, '') or 'not there'}",
        )
    return f"A: {left}, {a.created}", f"B: {right}, {b.created}"
