"""graph.json: what is written is read back, and what others wrote is trusted for nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from partitioner import bundle as bundles
from partitioner import graphjson
from partitioner.bundle import Bundle
from partitioner.errors import BundleError, CleftError, ModelError, UnsupportedOperator
from partitioner.runtimes.eager import open_engine
from partitioner.segments import Cuts

Edit = Callable[[dict[str, Any]], object]
EXAMPLES = ("unet", "text_encoder", "branches_on_data", "complex_numbers_cross", "a_loop", "sizes_through_floats")


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_graph_is_read_back_as_it_was(name: str, packed_case: Callable[[str], Bundle]) -> None:
    graph = packed_case(name).graph
    text = graphjson.dumps(graph, producer={"torch": "x"})
    assert graphjson.loads(text) == graph
    assert graphjson.dumps(graphjson.loads(text), producer={"torch": "x"}) == text


def test_unknown_keys_are_passed_over(record: dict[str, Any]) -> None:
    plain = graphjson.loads(json.dumps(record))
    record["later"] = record["nodes"][0]["later"] = {"a": 1}
    assert graphjson.loads(json.dumps(record)) == plain


FAULTS: dict[str, tuple[Edit, str]] = {
    "another version": (lambda g: g.update(schema="cleft.graph/9"), "pack the model again"),
    "a missing part": (lambda g: g.pop("layers"), "layers is missing"),
    "a reference to nothing": (lambda g: _arg(g, {"ref": "nobody"}), "before it is made"),
    "a reference to itself": (lambda g: _arg(g, {"ref": _first(g)["name"]}), "before it is made"),
    "a reference forward": (lambda g: _arg(g, {"ref": g["nodes"][-1]["name"]}), "before it is made"),
    "a name used twice": (lambda g: g["nodes"][1].update(name=_first(g)["name"]), "twice"),
    "a node named as an input": (lambda g: _first(g).update(name=g["inputs"][0]["name"]), "twice"),
    "an unknown dtype": (lambda g: g["inputs"][0].update(dtype="object"), "inputs[0].dtype"),
    "a negative size": (lambda g: g["inputs"][0].update(shape=[-1, 3]), "no size"),
    "a size that is a fraction": (lambda g: g["inputs"][0].update(shape=[1.5]), "no size"),
    "a size of an unknown symbol": (lambda g: g["inputs"][0].update(shape=["nosuch"]), "unknown symbols"),
    "code for a size": (lambda g: g["inputs"][0].update(shape=["__import__('os').system('true')"]), "cannot be read"),
    "a power bomb": (lambda g: _first(g).update(flops="9**9**9"), "cannot be read"),
    "a size of endless brackets": (lambda g: g["inputs"][0].update(shape=["(" * 900 + "1" + ")" * 900]), "read"),
    "a long size": (lambda g: g["inputs"][0].update(shape=["1+" * 2000 + "1"]), "longer than"),
    "an argument of no kind": (lambda g: _arg(g, {"eval": "1"}), "no argument"),
    "an argument of two kinds": (lambda g: _arg(g, {"ref": "x", "dtype": "float32"}), "no argument"),
    "deep lists": (lambda g: _arg(g, _nested(60)), "nested too deeply"),
    "deeper lists": (lambda g: _arg(g, _nested(900)), "nested too deeply"),
    "a branch that reads outside": (
        lambda g: _arg(
            g,
            {
                "branch": {
                    "inputs": [],
                    "nodes": [{"name": "a", "op": "getitem", "args": [{"ref": "x"}]}],
                    "outputs": [],
                }
            },
        ),
        "does not hold",
    ),
    "an unknown kind of node": (lambda g: _first(g).update(kind="magic"), "kind"),
    "an output nobody makes": (lambda g: g["outputs"][0].update(name="nobody"), "nothing makes"),
    "an output that is an object": (lambda g: g["outputs"][0].update(name=None, constant={"a": 1}), "plain value"),
    "a tree beyond the outputs": (lambda g: g.update(tree={"tuple": [99]}), "does not fit the outputs"),
    "a tree of endless lists": (lambda g: g.update(tree=_tree(80)), "does not fit the outputs"),
    "a layer of nobody": (lambda g: g["layers"][0].update(nodes=["nobody"]), "layers"),
    "a node in two layers": (lambda g: g["layers"].append({**g["layers"][0], "id": "again"}), "layers"),
    "layers in another order": (lambda g: g["layers"].reverse(), "order of the nodes"),
    "two layers of one id": (lambda g: g["layers"][1].update(id=g["layers"][0]["id"]), "id twice"),
    "axes in no order": (lambda g: g["weights"][0].update(dim_order=[0, 0, 1, 7]), "order of the axes"),
    "a number beyond 64 bits": (lambda g: g["inputs"][0].update(high=2**70), "inputs[0].high"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_graph_is_refused_in_one_line(fault: str, record: dict[str, Any]) -> None:
    edit, says = FAULTS[fault]
    edit(record)
    with pytest.raises(BundleError) as caught:
        assert Cuts(graphjson.loads(json.dumps(record)), "0" * 64).candidates
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_fault_is_named_at_once(record: dict[str, Any]) -> None:
    record["inputs"][0]["dtype"] = "object"
    record["layers"][1]["id"] = record["layers"][0]["id"]
    with pytest.raises(BundleError, match=r"dtype.*id twice"):
        graphjson.loads(json.dumps(record))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"schema": NaN}',
        "[" * 100_000,
        '{"a":' * 50_000,
        b"\xff\xfe",
        b"\x80\x04\x95pickle",
        "1" * 9999,
    ],
)
def test_what_is_no_json_is_refused_in_one_line(text: str | bytes) -> None:
    with pytest.raises(BundleError) as caught:
        graphjson.loads(text)
    assert "\n" not in str(caught.value)


OPERATORS = (
    "os.system", "posix.system.default", "builtins.eval.default", "builtins.exec", "eval", "__import__",
    "py.__import__", "py.eval", "py.exec", "py.getattr", "py.open", "py.", "py.__class__", "aten.from_file.default",
    "aten.add_.Tensor", "aten.relu_.default", "aten.copy_.default", "aten.set_.source_Storage", "aten.add.out",
    "aten.save.default", "aten.manual_seed.default", "aten.set_grad_enabled.default", "aten.backward.default",
    "aten.wait.default", "aten.to_here.default", "aten.warn.default", "aten._print.default",
    "aten._copy_from.default", "aten.__class__.default", "aten.__init__.__globals__", "aten.relu.__class__",
    "aten.relu._op", "aten.relu.decompose", "aten.nosuch.default", "aten.relu.nosuch", "aten.relu", "aten..default",
    "aten.relu.default.x", "torchvision.nms.default", "prim.device.default",
    "profiler._record_function_enter.default", "c10d.broadcast_.default", "rpc.rpc_sync.default",
    "inductor.accumulate_grad_.default", "static_runtime.fused_equally_split.default",
    "debugprims.load_tensor.default", "aten.relu.default\n", "ａten.relu.default", "",
)  # fmt: skip


@pytest.mark.parametrize("op", OPERATORS)
def test_an_operator_that_does_more_than_compute_is_refused(op: str, record: dict[str, Any], tmp_path: Path) -> None:
    _first(record)["op"] = op
    with pytest.raises(UnsupportedOperator) as caught:
        _compile(record, tmp_path)
    assert caught.value.op == op
    assert "\n" not in str(caught.value)


def test_an_operator_in_a_branch_is_refused(record: dict[str, Any], tmp_path: Path) -> None:
    inner = {"inputs": [], "nodes": [{"name": "a", "op": "aten.from_file.default", "args": ["/etc/passwd"]}]}
    branch = {"branch": {**inner, "outputs": [{"ref": "a"}]}}
    _first(record).update(op="cond", args=[True, branch, branch, []])
    with pytest.raises(UnsupportedOperator, match="from_file"):
        _compile(record, tmp_path)


@pytest.mark.parametrize(
    "special", [{"dtype": "os"}, {"dtype": "__class__"}, {"layout": "load"}, {"memory_format": "a.b"}]
)
def test_a_name_that_is_no_dtype_is_refused(special: dict[str, str], record: dict[str, Any], tmp_path: Path) -> None:
    _first(record)["args"].append(special)
    with pytest.raises(CleftError, match="which is no"):
        _compile(record, tmp_path)


@pytest.mark.parametrize("args", [[], [None], [[1, 2]], ["text"], [1e308], [True] * 40])
def test_arguments_that_do_not_fit_fail_in_one_line(args: list[object], record: dict[str, Any], tmp_path: Path) -> None:
    import numpy as np

    _first(record)["args"] = args
    with pytest.raises(CleftError) as caught:
        _compile(record, tmp_path)({"x": np.zeros((1, 3, 8, 8), np.float32)})
    assert "\n" not in str(caught.value)


def test_nested_branches_end_in_one_line(record: dict[str, Any], tmp_path: Path) -> None:
    branch: dict[str, Any] = {"branch": {"inputs": [], "nodes": [], "outputs": []}}
    for _ in range(150):
        node = {"name": "a", "op": "cond", "args": [True, branch, branch, []]}
        branch = {"branch": {"inputs": [], "nodes": [{**node, "args": [True, branch, None, []]}], "outputs": []}}
    _first(record).update(op="cond", args=[True, branch, branch, []])
    with pytest.raises((BundleError, ModelError)) as caught:
        _compile(record, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.fixture
def record(packed_case: Callable[[str], Bundle]) -> dict[str, Any]:
    """The JSON of a small model that a test may spoil."""
    return json.loads((packed_case("densenet_skips").path / "graph.json").read_text())


def _compile(record: dict[str, Any], tmp_path: Path) -> Any:
    def no_weights(_weights: object, path: Path) -> None:
        path.write_bytes((8).to_bytes(8, "little") + b"{}      ")

    bundle = bundles.write(
        tmp_path / "hostile",
        graph_text=json.dumps({**record, "weights": []} if not record["weights"] else record),
        weights={},
        save_weights=no_weights,
        name="hostile",
        origin="given",
    )
    return open_engine(bundle, device="cpu").segment(Cuts(bundle.graph, bundle.digest).whole())


def _first(record: dict[str, Any]) -> dict[str, Any]:
    return record["nodes"][0]


def _arg(record: dict[str, Any], argument: object) -> None:
    record["nodes"][0]["args"][0] = argument


def _nested(depth: int) -> object:
    found: object = 1
    for _ in range(depth):
        found = [found]
    return found


def _tree(depth: int) -> object:
    found: object = 0
    for _ in range(depth):
        found = {"list": [found]}
    return found
