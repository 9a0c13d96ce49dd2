"""The minimum cut of a network whose capacities are seconds, by OR-tools' push-relabel on 64-bit integers.

Capacities are scaled by a power of two so that no sum of them can reach 2^62: checked, not hoped for. An infinite one
becomes more than all finite ones together, so that a cut through it is never the cheapest. Rounding costs at most half
a step an arc: under 1e-13 of the total for thousands of arcs.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import numpy as np

from partitioner.errors import PlanError
from partitioner.optimize.problem import BoolArray, FloatArray, IntArray

EXTRA = "mincut"
_MAX_SUM = 2**62


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network:
    """Directed arcs between nodes 0..nodes-1; ``capacity_s`` may be infinite."""

    nodes: int
    source: int
    sink: int
    tails: IntArray
    heads: IntArray
    capacity_s: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MinCut:
    """The nodes on the source's side (nodes,), and the most that flows, in seconds: what the arcs across carry."""

    near: BoolArray
    flow_s: float


def is_available() -> bool:
    """Whether the library is installed."""
    return importlib.util.find_spec("ortools") is not None


def min_cut(network: Network) -> MinCut:
    """The minimum cut with the fewest nodes on the source's side.

    Raises:
        PlanError: the library is not installed, or every cut is infinite.
    """
    try:
        from ortools.graph.python.max_flow import SimpleMaxFlow
    except ImportError as error:
        raise PlanError(f"cutting across branches needs the extra {EXTRA}: pip install 'cleft[{EXTRA}]'") from error
    capacities, step_s, infinite = scaled(network)
    solver = SimpleMaxFlow()
    solver.add_arcs_with_capacity(network.tails.astype(np.int32), network.heads.astype(np.int32), capacities)
    status = solver.solve(network.source, network.sink)
    flow = solver.optimal_flow()
    if status != SimpleMaxFlow.Status.OPTIMAL or flow >= infinite:
        raise PlanError("no split satisfies what was asked: every one sends what may not be sent")
    near = np.zeros(network.nodes, dtype=np.bool_)
    near[solver.get_source_side_min_cut()] = True
    near[network.source] = True
    return MinCut(near=near, flow_s=flow * step_s)


def scaled(network: Network) -> tuple[IntArray, float, int]:
    """Whole capacities, the seconds that one step of them is, and the capacity that stands for an infinite one.

    The sum of all capacities into or out of any node is under 2^62.
    """
    is_finite = np.isfinite(network.capacity_s)
    total_s = float(network.capacity_s[is_finite].sum())
    blocked = network.tails[~is_finite], network.heads[~is_finite]
    most = max((int(np.bincount(ends).max(initial=0)) for ends in blocked if len(ends)), default=0)
    exponent = int(np.floor(np.log2(_MAX_SUM / (most + 2)) - np.log2(total_s))) if total_s > 0 else 0
    scale = 2.0 ** min(exponent - 1, 1000)
    capacities = np.zeros(len(network.capacity_s), dtype=np.int64)
    capacities[is_finite] = np.rint(network.capacity_s[is_finite] * scale).astype(np.int64)
    infinite = int(capacities.sum()) + 1
    capacities[~is_finite] = infinite
    if infinite * (most + 2) >= _MAX_SUM:
        raise PlanError(f"costs of {total_s:g} s in all cannot be scaled to whole steps")
    return capacities, 1.0 / scale, infinite
