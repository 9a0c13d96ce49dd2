"""What the page knows, as JSON values: the planner's frozen columns, the layers, and where all of it was measured.

The page prices with the very doubles that ``Planner.at`` prices with: every column is written as Python writes a float,
which a browser reads back bit for bit. Of the candidates that the planner dropped those stay that are the best of their
own cut for some link, so that the cost of every cut can be drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from partitioner.cost import TERMS, Candidate, CandidateTable, FloatArray, Load
from partitioner.energy import ORIGINS, Origin, weakest
from partitioner.errors import UsageError
from partitioner.link import PRESETS, Link
from partitioner.optimize.constraints import feasible
from partitioner.optimize.objectives import OBJECTIVES, Lexicographic, Objective, Weighted
from partitioner.optimize.pareto import front
from partitioner.planner import Planner
from partitioner.profile import Profile, noise_of
from partitioner.units import ms

SCHEMA = "cleft.page/1"

_PRICED = ("compute_s", "edge_s", "cloud_s", "tail_s", "remote", "up_bytes", "down_bytes", "deviation")
_DRAINED = ("head_j", "codec_j", "idle_w")
_LINKED = ("up_s", "rtt_s", "queue_s", "down_s")
"""Terms that a link or a load makes; the others are columns."""


def facts_of(
    planner: Planner, edge: Profile, cloud: Profile | None, *, link: Link, load: Load, title: str
) -> dict[str, object]:
    """Everything that the page shows, as ``cleft.page/1``.

    Raises:
        UsageError: the planner's objective is none that the page can compute.
    """
    table = planner.everything
    frozen = {id(candidate) for candidate in planner.frozen.candidates}
    rows = _shown(table, frozen)
    shown = table.take(np.array(rows, dtype=np.int64))
    places = {id(candidate): place for place, candidate in enumerate(shown.candidates)}
    firm = replace(planner.constraints, max_leakage=None).limits(table)
    return {
        "schema": SCHEMA,
        "title": title,
        "model": {"name": table.model_name, "digest": table.model_digest, "weights": edge.weights},
        "edge": _side(edge),
        "cloud": None if cloud is None else _side(cloud),
        "link": link.to_json(),
        "load": load.to_json(),
        "presets": [each.to_json() for each in PRESETS.values()],
        "objective": _objective(planner.objective),
        "objectives": [_objective(each) for each in _offered(planner)],
        "deadline_s": planner.constraints.deadline_s,
        "max_leakage": planner.constraints.max_leakage,
        "max_energy_j": planner.constraints.max_energy_j,
        "limits": [limit.write(limit.asked) for limit in firm],
        "terms": list(TERMS),
        "columns": _columns(shown),
        "radio": _radio(table),
        "has_energy": planner.frozen.has_energy,
        "has_leakage": table.has_leakage,
        "candidates": _candidates(shown, feasible(firm, len(table))[rows].tolist()),
        "frozen": [places[id(candidate)] for candidate in planner.frozen.candidates],
        "has_choice_of_runtimes": table.has_choice_of_runtimes,
        "layers": _layers(edge),
        "notes": list(_notes(table, edge, cloud)),
    }


def _shown(table: CandidateTable, frozen: set[int]) -> list[int]:
    """Rows that are frozen, or that nothing beats within their own cut; all, where more bytes may cost less energy."""
    if table.has_energy and table.radio.stays_awake:
        return list(range(len(table)))
    by_cut: dict[str, list[int]] = {}
    for row, candidate in enumerate(table.candidates):
        by_cut.setdefault(candidate.cut_id, []).append(row)
    terms = _terms(table)
    kept = {row for row, candidate in enumerate(table.candidates) if id(candidate) in frozen}
    for rows in by_cut.values():
        kept.update(rows[each] for each in front(terms[rows]).tolist())
    return sorted(kept)


def _terms(table: CandidateTable) -> FloatArray:
    """(n, k): what links, loads, objectives and limits weigh."""
    rest_s = table.compute_s - table.edge_s - table.cloud_s
    known = [getattr(table, name) for name in (*_PRICED, "edge_bytes", "cloud_bytes") if name != "compute_s"]
    drained = [np.nan_to_num(each, nan=np.inf) for each in (table.head_j + table.codec_j, table.idle_w)]
    return np.stack([rest_s, *known, *drained], axis=1)


def _columns(table: CandidateTable) -> dict[str, list[float | None]]:
    """Numbers by name, null where nobody knows."""
    columns = {name: _known(getattr(table, name)) for name in (*_PRICED, *_DRAINED)}
    fixed = {term: _known(table.fixed_s[:, place]) for place, term in enumerate(TERMS) if term not in _LINKED}
    return columns | fixed


def _known(values: FloatArray) -> list[float | None]:
    return [None if np.isnan(value) else value for value in values.tolist()]


def _radio(table: CandidateTable) -> dict[str, object]:
    radio = table.radio.model
    return {
        "name": radio.name,
        "base_w": radio.base_w,
        "up_w_per_mbit": radio.up_w_per_mbit,
        "down_w_per_mbit": radio.down_w_per_mbit,
        "max_up_mbit": radio.max_up_mbit,
        "max_down_mbit": radio.max_down_mbit,
        "promotion_j": radio.promotion_s * radio.promotion_w,
        "tail_s": radio.tail_s,
        "tail_w": radio.tail_w,
        "frame_interval_s": table.radio.frame_interval_s if table.radio.stays_awake else None,
    }


def _candidates(table: CandidateTable, allowed: Sequence[bool]) -> list[dict[str, object]]:
    return [
        {
            "cut": candidate.cut,
            "cut_id": candidate.cut_id,
            "label": candidate.label,
            "codec": candidate.codec,
            "depth": candidate.depth,
            "is_local": candidate.is_local,
            "is_all_cloud": candidate.is_all_cloud,
            "is_branch": candidate.edge_layers is not None,
            "edge_runtime": candidate.edge_runtime,
            "cloud_runtime": candidate.cloud_runtime,
            "mark": candidate.mark,
            "energy_origin": _origin(table, row),
            "leakage": _leakage(candidate),
            "is_allowed": allowed[row],
        }
        for row, candidate in enumerate(table.candidates)
    ]


def _origin(table: CandidateTable, row: int) -> Origin | None:
    """Where a candidate's energy comes from, the radio counted; None where nobody knows it."""
    if np.isnan(table.head_j[row]):
        return None
    own = ORIGINS[int(table.energy_rank[row])]
    return weakest(own, table.radio.model.origin) if table.remote[row] else own


def _leakage(candidate: Candidate) -> dict[str, object] | None:
    known = candidate.leakage
    if known is None or candidate.is_local:
        return None
    return {
        "distance_correlation": known.distance_correlation,
        "how": known.how,
        "inversion_error": known.inversion_error,
        "inversion_how": known.inversion_how,
    }


def _offered(planner: Planner) -> Iterator[Objective]:
    """What one can plan for here: the planner's own objective first where it is made of several."""
    if planner.objective.name not in OBJECTIVES:
        yield planner.objective
    for each in OBJECTIVES.values():
        is_lossy = bool((planner.frozen.deviation > 0).any())
        if {"energy": planner.frozen.has_energy, "deviation": is_lossy}.get(each.name, True):
            yield each


def _objective(objective: Objective) -> dict[str, object]:
    if isinstance(objective, Weighted):
        parts = [[_objective(each), weight] for each, weight in objective.parts]
        return {"kind": "weighted", "name": objective.name, "parts": parts}
    if isinstance(objective, Lexicographic):
        order = [_objective(each) for each in objective.order]
        return {"kind": "lexicographic", "name": objective.name, "order": order, "tolerance": objective.tolerance}
    if objective.name not in OBJECTIVES:
        raise UsageError(f"the page cannot plan by {objective.name}; choose from {', '.join(OBJECTIVES)}")
    return {"kind": objective.name, "name": objective.name}


def _side(profile: Profile) -> dict[str, object]:
    runtime = profile.runtime
    return {
        "device": profile.device.name,
        "cpu": profile.device.cpu or profile.device.machine,
        "accelerator": profile.device.accelerator,
        "runtime": runtime.name,
        "runs_on": runtime.device,
        "threads": runtime.threads,
        "slowdown": profile.slowdown,
        "whole_s": profile.whole.median_s,
        "whole_how": profile.whole.how,
        "created": profile.created,
    }


def _layers(edge: Profile) -> dict[str, list[object]]:
    return {
        "name": [layer.name or layer.id for layer in edge.layers],
        "kind": [layer.kind for layer in edge.layers],
        "forward_s": [layer.forward.median_s for layer in edge.layers],
        "forward_how": [layer.forward.how for layer in edge.layers],
        "output_bytes": [layer.output_bytes for layer in edge.layers],
        "weight_bytes": [layer.weight_bytes for layer in edge.layers],
        "energy_j": [each.value for each in edge.energy.layers] if edge.energy else [],
        "energy_origin": [each.origin for each in edge.energy.layers] if edge.energy else [],
    }


def _notes(table: CandidateTable, edge: Profile, cloud: Profile | None) -> Iterator[str]:
    yield from table.notes
    sides = {"the device": edge} | ({} if cloud is None else {"the worker": cloud})
    if not table.notes and (noise := noise_of(sides)):
        yield noise
    if edge.weights == "random":
        yield "the weights are random: answers mean nothing, times do"
    total_s = sum(layer.forward.median_s for layer in edge.layers)
    if edge.layers and edge.whole.median_s and edge.whole.how == "measured":
        yield (
            f"layers, timed one by one, add up to {ms(total_s)}; the whole model takes {ms(edge.whole.median_s)}. "
            "Cuts are priced with measured prefixes and suffixes, not with such sums"
        )
