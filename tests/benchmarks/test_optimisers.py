"""How the optimisers grow with the graph, and why the max-flow is our own.

``CLEFT_BENCH=full pytest -m benchmark -s tests/benchmarks/test_optimisers.py`` prints the tables at full size. A fresh
min-cut counts everything but reading the graph: what the wiring derives, the costs on a link, the cut. Times are this
thread's own, the least of a few runs, since what else the machine does only ever adds.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from partitioner.optimize import chain, maxflow, mincut
from partitioner.optimize.blocks import Block
from partitioner.optimize.envelope import envelope
from partitioner.optimize.maxflow import Network
from partitioner.optimize.problem import Wiring
from tests.property.test_envelope_properties import at, check_spans, random_model
from tests.split_problems import chain_wiring, inception_wiring, skipping_wiring, towers_wiring

FULL = os.environ.get("CLEFT_BENCH") == "full"
SIZES = (30, 100, 300, 1000, 3000) if FULL else (30, 100, 1000)
RUNS = 7 if FULL else 5
SLACK = 1 if FULL else 3
"""With the other tests, on machines busy with something else, the bounds are this many times wider."""

MIN_CUT_S, ENVELOPE_S = 20e-3 * SLACK, 0.5 * SLACK
KINDS: dict[str, Callable[[int], Wiring]] = {
    "chain": chain_wiring,
    "inception": inception_wiring,
    "towers": towers_wiring,
    "skips": lambda layers: skipping_wiring(np.random.default_rng(layers), layers),
}
RATES = (1e-8, 1e-6, 1e-5)
CLOSE = 1e-9
TOLERANCE = 1e-3
"""Of the envelope of random skips, whose branches each decide for themselves: it has hundreds of spans."""

pytestmark = pytest.mark.benchmark


def least_s(work: Callable[[], object], runs: int = RUNS, *, clock: Callable[[], float] = time.thread_time) -> float:
    times_s = []
    for _ in range(runs):
        begin_s = clock()
        work()
        times_s.append(clock() - begin_s)
    return min(times_s)


def test_a_fresh_min_cut_of_a_thousand_layers_takes_milliseconds() -> None:
    print("\nfresh min-cut, ms     " + "".join(f"{size:>9d}" for size in SIZES) + "   layers")
    for kind, wire in KINDS.items():
        row_s = {}
        for size in SIZES:
            model = random_model(np.random.default_rng(size), wire(size), codecs=3)

            def fresh(s_per_byte: float, model: object = model) -> mincut.Split:
                return mincut.solve(replace(model, wiring=replace(model.wiring)).at(s_per_byte, s_per_byte / 2))

            for rate in RATES:
                found = fresh(rate)
                assert model.wiring.is_closed(model.wiring.mask(found.edge))
                assert found.bound_s == pytest.approx(found.price_s, rel=CLOSE)
                taken_s = least_s(lambda: fresh(rate))  # noqa: B023
                row_s[size] = max(row_s.get(size, 0.0), taken_s)
        print(f"{kind:<22}" + "".join(f"{row_s[size] * 1e3:9.2f}" for size in SIZES))
        assert row_s[1000] < MIN_CUT_S


def test_the_whole_envelope_of_a_thousand_layers_takes_a_fraction_of_a_second() -> None:
    print("\nwhole envelope, ms    " + "".join(f"{size:>16d}" for size in SIZES) + "   layers (spans)")
    for kind, wire in KINDS.items():
        tolerance = TOLERANCE if kind == "skips" else 0.0
        cells, row_s = [], {}
        for size in SIZES:
            model = random_model(np.random.default_rng(size), wire(size), codecs=3)
            spans = envelope(model, down_per_up=2.0, tolerance=tolerance)
            check_spans(spans)
            for rate in RATES:
                fresh_s = mincut.solve(model.at(rate, rate / 2)).price_s
                assert at(spans, rate).price(rate) == pytest.approx(fresh_s, rel=tolerance + CLOSE)
            row_s[size] = least_s(lambda: envelope(model, down_per_up=2.0, tolerance=tolerance), runs=2)  # noqa: B023
            cells.append(f"{row_s[size] * 1e3:9.1f} ({len(spans):4d})")
        print(f"{kind:<22}" + "".join(cells))
        assert row_s[1000] < ENVELOPE_S


def whole_network(layers: int) -> Network:
    """All layers of a graph of skips as one block, on a link on which the cut is hard to find."""
    generator = np.random.default_rng(layers)
    model = random_model(generator, skipping_wiring(generator, layers))
    problem = model.at(1e-6, 5e-7)
    block = Block(begin=0, end=layers, bound_s=0.0)
    return mincut.network(problem, block, most_s=2 * chain.solve(problem).price_s)


def by_ortools(network: Network) -> float:
    from ortools.graph.python.max_flow import SimpleMaxFlow

    capacities, step_s, _ = maxflow.scaled(network)
    solver = SimpleMaxFlow()
    solver.add_arcs_with_capacity(network.tails.astype(np.int32), network.heads.astype(np.int32), capacities)
    assert solver.solve(network.source, network.sink) == SimpleMaxFlow.OPTIMAL
    return float(solver.optimal_flow() * step_s)


def by_scipy(network: Network) -> float:
    """Capacities are 32-bit, and so is the flow: they keep 2^30 steps in all."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_flow

    finite = np.isfinite(network.capacity_s)
    step_s = float(network.capacity_s[finite].sum()) / 2**30
    steps = np.where(finite, np.rint(network.capacity_s / step_s), 2**30).astype(np.int32)
    matrix = csr_array((steps, (network.tails, network.heads)), shape=(network.nodes, network.nodes), dtype=np.int32)
    return float(maximum_flow(matrix, network.source, network.sink).flow_value * step_s)


def by_networkx(network: Network) -> float:
    import networkx

    graph = networkx.DiGraph()
    for tail, head, capacity_s in zip(
        network.tails.tolist(), network.heads.tolist(), network.capacity_s.tolist(), strict=True
    ):
        known_s = graph[tail][head]["capacity"] if graph.has_edge(tail, head) else 0.0
        graph.add_edge(tail, head, capacity=known_s + capacity_s)
    return float(networkx.maximum_flow_value(graph, network.source, network.sink))


LIBRARIES = {"ortools": by_ortools, "scipy": by_scipy, "networkx": by_networkx}


def import_s(statement: str) -> float:
    """What an import adds to a process that has numpy."""

    def process(code: str) -> float:
        return least_s(
            lambda: subprocess.run([sys.executable, "-c", code], check=True, timeout=60),
            runs=3,
            clock=time.perf_counter,
        )

    return process(f"import numpy; {statement}") - process("import numpy")


def test_the_max_flow_is_that_of_the_libraries() -> None:
    layers = 1000 if FULL else 100
    network = whole_network(layers)
    flow_s = maxflow.min_cut(network).flow_s
    print(f"\n{layers} layers, {network.nodes} nodes, {len(network.tails)} arcs, as one network")
    print(f"{'ours':<10}{least_s(lambda: maxflow.min_cut(network)) * 1e3:9.2f} ms")
    statements = {
        "ortools": "from ortools.graph.python import max_flow",
        "scipy": "import scipy.sparse.csgraph",
        "networkx": "import networkx",
    }
    for name, solve in LIBRARIES.items():
        if importlib.util.find_spec(name) is None:
            print(f"{name:<10} not measured: it is not installed")
            continue
        assert solve(network) == pytest.approx(flow_s, rel=1e-4 if name == "scipy" else 1e-9)
        imported = f"   import {import_s(statements[name]) * 1e3:.0f} ms" if FULL else ""
        print(f"{name:<10}{least_s(lambda: solve(network), runs=3) * 1e3:9.2f} ms{imported}")  # noqa: B023
