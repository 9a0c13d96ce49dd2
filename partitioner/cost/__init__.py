"""What a cut and a codec cost over a link: the one judge of plans.

    latency = head + [anything remote: encode + up_bytes/up + rtt + queue + decode + slowdown * tail
                                       + encode_reply + down_bytes/down + decode_reply]
    stage   = max(head + encode, up_bytes/up, decode + slowdown * tail + encode_reply, down_bytes/down)
    energy  = head + active_w * (preprocess + encode + decode_reply) + radio(up) + radio(down) + idle_w * wait

Head and tail are measured prefixes and suffixes, since layer times do not add. Preprocessing counts with the head, or
with the tail where the original input is sent (codec ``source``). All-local and all-cloud are always candidates.

Source: Kang et al., "Neurosurgeon", ASPLOS 2017 (predict, price every cut, pick); the terms are those of the wire.
"""

from partitioner.cost.candidates import TERMS, Breakdown, Candidate, Row
from partitioner.cost.drain import (
    ENERGY_TERMS,
    NO_ENERGY,
    NOT_COUNTED,
    EnergyBreakdown,
    EnergyLine,
    FixedEnergy,
    RadioUse,
)
from partitioner.cost.load import IDLE, Load, load_of
from partitioner.cost.pairing import check_pair, check_sides
from partitioner.cost.rows import Admitted
from partitioner.cost.table import BoolArray, CandidateTable, FloatArray, IntArray

__all__ = [
    "ENERGY_TERMS",
    "IDLE",
    "NOT_COUNTED",
    "NO_ENERGY",
    "TERMS",
    "Admitted",
    "BoolArray",
    "Breakdown",
    "Candidate",
    "CandidateTable",
    "EnergyBreakdown",
    "EnergyLine",
    "FixedEnergy",
    "FloatArray",
    "IntArray",
    "Load",
    "RadioUse",
    "Row",
    "check_pair",
    "check_sides",
    "load_of",
]
