"""When a request that waits for a worker should go home: arithmetic alone, time is an argument.

At the latest when the device's own time from the cut and a margin are what is left of the deadline; sooner where the
rest of the frame's way is predicted to take clearly longer than finishing here.
"""

from __future__ import annotations

MARGIN_SHARE = 0.2
"""The device may take so much longer than it is thought to."""
MARGIN_S = 0.01
LOOK_S = 0.05
"""How often the rest of a frame's way is predicted anew."""
SOONER = 1.25
"""Home must be predicted to be so many times faster than the rest of the way."""


def home_at_s(expires_s: float, home_s: float) -> float:
    """When the device begins at the latest to finish in time what takes it ``home_s``."""
    return expires_s - (1 + MARGIN_SHARE) * home_s - MARGIN_S


def is_home_sooner(remaining_s: float, home_s: float) -> bool:
    """Whether finishing here is predicted to be clearly faster than the rest of a frame's way."""
    return remaining_s >= SOONER * home_s + MARGIN_S


def is_hopeless(remaining_s: float, left_s: float) -> bool:
    """Whether a frame is predicted to come clearly after its deadline."""
    return remaining_s > SOONER * max(0.0, left_s)
