"""A link in a box: a TCP relay in user space that shapes and breaks traffic. No root, no kernel modules.

``Shape`` is what a link does to all that passes it: rate, delay, jitter. ``Faults`` is what it does wrong in one
direction: a black hole, thin slices, a cut, a flipped bit, a reader that takes little. Both may change while traffic
flows, and all that is random comes from one seed.

    lane     one direction of the link, as arithmetic: when bytes leave and arrive, and what becomes of them
    flow     one direction of one connection: read, hold, deliver
    proxy    ``Relay``: the listener, its connections, resets
"""

from partitioner.relay.lane import NO_FAULTS, QUEUE_S, Faults, Shape
from partitioner.relay.proxy import Relay

__all__ = ["NO_FAULTS", "QUEUE_S", "Faults", "Relay", "Shape"]
