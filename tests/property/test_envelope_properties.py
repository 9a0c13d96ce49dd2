"""The envelope against a fresh min-cut at random rates, and against every closed set with every codec."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from partitioner.optimize import chain, exhaustive, mincut
from partitioner.optimize.additive import AdditiveModel, Line, Option
from partitioner.optimize.envelope import Span, envelope
from partitioner.optimize.problem import Split, SplitProblem, Wiring
from tests.split_problems import chain_wiring, random_wiring, skipping_wiring

CLOSE = 1e-9
RATES = (0.0, 1e-12, 1e-9, 1e-7, 1e-5, 1e-3, 1.0, 1e3)


def random_model(generator: np.random.Generator, wiring: Wiring, *, codecs: int = 1) -> AdditiveModel:
    """Flows of 100 B to 1 MB, each with an own choice of codecs: none, or fewer bytes for some work."""

    def ways(nbytes: float) -> tuple[Option, ...]:
        others = tuple(
            Option(
                codec=f"c{index}",
                nbytes=round(nbytes * generator.uniform(0.05, 0.9)),
                work_s=nbytes * 10.0 ** generator.uniform(-10, -7),
            )
            for index in range(int(generator.integers(0, codecs)))
        )
        return (Option(nbytes=nbytes), *others)

    sizes = np.rint(10.0 ** generator.uniform(2, 6, wiring.flows)) * (generator.random(wiring.flows) < 0.95)
    outputs = [*np.flatnonzero(generator.random(wiring.flows) < 0.1).tolist(), wiring.flows - 1]
    return AdditiveModel(
        wiring=wiring,
        edge_s=10.0 ** generator.uniform(-4, -1, wiring.layers),
        cloud_s=10.0 ** generator.uniform(-5, -2, wiring.layers),
        options=tuple(ways(float(each)) for each in sizes),
        replies={flow: Option(nbytes=float(generator.integers(1, 5000)), work_s=1e-5) for flow in outputs},
        pinned=generator.random(wiring.layers) < 0.02,
        fixed_s=float(generator.choice([0.0, 0.04])),
    )


def at(spans: tuple[Span, ...], s_per_byte: float) -> Line:
    """The line of the span that holds a rate."""
    [line] = [span.line for span in spans if span.begin_s_per_byte <= s_per_byte < span.end_s_per_byte]
    return line


def check_spans(spans: tuple[Span, ...]) -> None:
    """They follow each other from 0 to infinity, and the price is continuous, rising and concave."""
    assert (spans[0].begin_s_per_byte, spans[-1].end_s_per_byte) == (0.0, np.inf)
    for before, after in itertools.pairwise(spans):
        crossing = before.end_s_per_byte
        assert crossing == after.begin_s_per_byte > before.begin_s_per_byte
        assert before.line.price(crossing) == pytest.approx(after.line.price(crossing), rel=CLOSE)
        assert before.line.nbytes > after.line.nbytes
    assert spans[-1].line.nbytes == 0


@pytest.mark.parametrize("seed", range(3))
def test_the_envelope_is_a_fresh_min_cut_at_any_rate(seed: int) -> None:
    generator = np.random.default_rng(seed)
    for _ in range(12):
        wiring = random_wiring(generator, int(generator.integers(2, 60)), reach=6, inputs=2)
        model = random_model(generator, wiring, codecs=int(generator.integers(1, 4)))
        ratio = float(generator.choice([0.5, 1.0, 3.0]))
        spans = envelope(model, down_per_up=ratio)
        check_spans(spans)
        ends = [span.end_s_per_byte for span in spans[:-1]]
        rates = [*RATES, *(10.0 ** generator.uniform(-10, -3, 12)), *ends, *(end * 0.999 for end in ends)]
        for s_per_byte in rates:
            problem = model.at(s_per_byte, s_per_byte / ratio)
            line = at(spans, s_per_byte)
            fresh_s = mincut.solve(problem).price_s
            assert line.price(s_per_byte) == pytest.approx(fresh_s, rel=CLOSE)
            assert problem.price(line.edge) == pytest.approx(fresh_s, rel=CLOSE)


@pytest.mark.parametrize("seed", range(2))
def test_no_closed_set_with_any_codecs_is_under_the_envelope(seed: int) -> None:
    generator = np.random.default_rng([7, seed])
    for _ in range(25):
        wiring = random_wiring(generator, int(generator.integers(1, 6)))
        model = random_model(generator, wiring, codecs=2)
        spans = envelope(model, down_per_up=2.0)
        for s_per_byte in (*RATES, *(10.0 ** generator.uniform(-9, -4, 3))):
            best_s = min(price_by_hand(model, edge, s_per_byte) for edge in exhaustive.closed_sets(wiring))
            assert at(spans, s_per_byte).price(s_per_byte) == pytest.approx(best_s, rel=CLOSE)


def price_by_hand(model: AdditiveModel, edge: frozenset[int], s_per_byte: float) -> float:
    """The price of a closed set with the best of all choices of codecs, tried one by one."""
    if any(model.pinned[index] for index in set(range(model.wiring.layers)) - edge):
        return np.inf
    kept = model.wiring.mask(edge)
    total_s = float(model.edge_s[kept].sum())
    if kept.all():
        return total_s
    total_s += float(model.cloud_s[~kept].sum()) + model.fixed_s
    crossing = [model.options[flow] for flow in np.flatnonzero(model.wiring.crosses(kept))]
    total_s += min(
        sum(option.work_s + option.nbytes * s_per_byte for option in choice) for choice in itertools.product(*crossing)
    )
    replies = [option for flow, option in model.replies.items() if not model.wiring.is_near(kept)[flow]]
    return total_s + sum(option.work_s + option.nbytes * s_per_byte / 2.0 for option in replies)


def test_more_bandwidth_never_costs_latency() -> None:
    generator = np.random.default_rng(4)
    for _ in range(10):
        model = random_model(generator, random_wiring(generator, 30, reach=5), codecs=3)
        spans = envelope(model)
        rates = np.sort(10.0 ** generator.uniform(-9, -3, 40))
        prices_s = [at(spans, rate).price(rate) for rate in rates.tolist()]
        assert all(slow >= fast * (1 - 1e-12) for fast, slow in itertools.pairwise(prices_s))
        fresh_s = [mincut.solve(model.at(rate, rate)).price_s for rate in rates.tolist()]
        assert all(slow >= fast * (1 - CLOSE) for fast, slow in itertools.pairwise(fresh_s))


def test_a_tolerance_bounds_what_is_lost_at_every_rate() -> None:
    generator = np.random.default_rng(6)
    counts = np.zeros(2)
    for _ in range(8):
        model = random_model(generator, skipping_wiring(generator, 40, reach=5), codecs=2)
        whole, rough = envelope(model), envelope(model, tolerance=0.01)
        check_spans(rough)
        counts += len(whole), len(rough)
        for rate in 10.0 ** generator.uniform(-9, -3, 40):
            best_s = at(whole, rate).price(rate)
            assert best_s * (1 - CLOSE) <= at(rough, rate).price(rate) <= best_s * 1.01 * (1 + CLOSE)
    assert counts[1] < counts[0]


def test_patience_makes_a_tolerant_envelope_exact_or_as_close_as_it_reaches() -> None:
    generator = np.random.default_rng(6)
    asked: list[float] = []

    def counted(problem: SplitProblem) -> Split:
        asked.append(0.0)
        return mincut.solve(problem)

    for _ in range(8):
        model = random_model(generator, skipping_wiring(generator, 40, reach=5), codecs=2)
        whole = envelope(model, solve=counted)
        needed = len(asked)
        assert envelope(model, tolerance=0.01, patience=needed) == whole
        asked.clear()
        check_spans(envelope(model, tolerance=np.inf, patience=5, solve=counted))
        assert len(asked) == min(5, needed)
        asked.clear()


def test_a_chains_envelope_needs_no_min_cut() -> None:
    generator = np.random.default_rng(3)
    for _ in range(20):
        model = random_model(generator, chain_wiring(int(generator.integers(1, 30))), codecs=3)
        ours, theirs = envelope(model, solve=chain.solve), envelope(model)
        assert [span.line.edge for span in ours] == [span.line.edge for span in theirs]


def test_a_dead_link_leaves_all_local_and_a_perfect_one_the_least_work() -> None:
    model = AdditiveModel.plain(
        chain_wiring(2),
        edge_s=[0.1, 0.2],
        cloud_s=[0.01, 0.02],
        nbytes=[1000, 10, 5],
        reply_bytes={2: 5},
        fixed_s=0.05,
    )
    spans = envelope(model)
    assert [sorted(span.line.edge) for span in spans] == [[], [0], [0, 1]]
    assert [span.line.nbytes for span in spans] == [1005, 15, 0]
    assert 1 / spans[0].end_s_per_byte == pytest.approx(990 / (0.1 - 0.01))
    assert 1 / spans[1].end_s_per_byte == pytest.approx(15 / (0.3 - 0.1 - 0.02 - 0.05))


def test_a_pinned_layer_stays_at_every_rate() -> None:
    generator = np.random.default_rng(8)
    wiring = random_wiring(generator, 20)
    model = random_model(generator, wiring)
    model.pinned[5] = True
    assert all(5 in span.line.edge for span in envelope(model))
