"""Bundles: what was written is what is opened; anything else is refused in one line."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from partitioner import bundle as bundles
from partitioner.bundle import Bundle
from partitioner.errors import BundleError
from partitioner.runtimes.eager import open_engine
from partitioner.segments import Cuts
from tests import every_cut

FILES = ("graph.json", "weights.safetensors", "preprocess.json", "labels.json", "examples.safetensors")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["truncated", "emptied", "lengthened", "flipped", "removed", "a folder"])
def test_a_damaged_file_is_refused_in_one_line(name: str, damage: str, copied: Path) -> None:
    path = copied / name
    content = bytearray(path.read_bytes())
    path.unlink()
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "emptied":
        path.write_bytes(b"")
    elif damage == "lengthened":
        path.write_bytes(content + b" ")
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "a folder":
        path.mkdir()
    assert name in refusal(copied)


def test_swapped_files_are_refused(copied: Path) -> None:
    (copied / "graph.json").rename(copied / "x")
    (copied / "labels.json").rename(copied / "graph.json")
    (copied / "x").rename(copied / "labels.json")
    refusal(copied)


@pytest.mark.parametrize("name", ["graph.json", "labels.json"])
def test_a_link_to_a_device_is_refused_and_not_read(name: str, copied: Path) -> None:
    (copied / name).unlink()
    (copied / name).symlink_to("/dev/zero")
    edit_manifest(copied, lambda m: file_record(m, name).update(nbytes=0))
    assert "no regular file" in refusal(copied)


def test_a_pipe_is_refused_and_not_waited_for(copied: Path) -> None:
    (copied / "labels.json").unlink()
    os.mkfifo(copied / "labels.json")
    edit_manifest(copied, lambda m: file_record(m, "labels.json").update(nbytes=0))
    assert "no regular file" in refusal(copied)


MANIFESTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "another version": lambda m: m.update(schema="cleft.bundle/7"),
    "another digest": lambda m: m.update(digest="0" * 64),
    "no digest": lambda m: m.pop("digest"),
    "a missing file": lambda m: m["files"].pop(),
    "a file twice": lambda m: m["files"].append(m["files"][0]),
    "an extra file": lambda m: m["files"].append({"name": "run.py", "nbytes": 0, "sha256": "0"}),
    "a path upwards": lambda m: m["files"][0].update(name="../graph.json"),
    "an absolute path": lambda m: m["files"][0].update(name="/etc/passwd"),
    "a negative size": lambda m: m["files"][0].update(nbytes=-1),
    "a checksum that is no text": lambda m: m["files"][0].update(sha256=5),
    "weights of no known origin": lambda m: m.update(weights="stolen"),
    "files of no kind": lambda m: m.update(files="graph.json"),
}


@pytest.mark.parametrize("fault", MANIFESTS)
def test_a_faulty_manifest_is_refused_in_one_line(fault: str, copied: Path) -> None:
    edit_manifest(copied, MANIFESTS[fault])
    refusal(copied)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\x80\x04\x95.", b"\xff\xff", b"null", b"[" * 100_000])
def test_a_manifest_that_is_none_is_refused_in_one_line(content: bytes, copied: Path) -> None:
    (copied / "bundle.json").write_bytes(content)
    refusal(copied)


def test_what_is_no_bundle_is_named(tmp_path: Path) -> None:
    assert "no such directory" in refusal(tmp_path / "nowhere")
    assert "bundle.json" in refusal(tmp_path)
    (tmp_path / "file").write_text("x")
    refusal(tmp_path / "file")


def test_a_file_beside_the_bundle_changes_nothing(copied: Path, packed_case: Callable[[str], Bundle]) -> None:
    (copied / "sitecustomize.py").write_text("raise SystemExit")
    assert Bundle.open(copied).digest == packed_case("unet").digest


class Marker:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return (Path.touch, (self.path,))


def test_weights_that_are_a_pickle_run_nothing(copied: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    (copied / "weights.safetensors").write_bytes(pickle.dumps(Marker(marker)))
    bundle = Bundle.open(resealed(copied))
    with pytest.raises(BundleError) as caught:
        whole(bundle)
    assert "\n" not in str(caught.value)
    assert not marker.exists()


def test_weights_that_torch_saved_run_nothing(copied: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    torch.save({"weight": Marker(marker)}, copied / "weights.safetensors")
    with pytest.raises(BundleError):
        whole(Bundle.open(resealed(copied)))
    assert not marker.exists()


@pytest.mark.parametrize("change", ["another shape", "another rank", "another dtype", "a key less", "transposed"])
def test_weights_that_the_graph_does_not_state_are_refused(change: str, copied: Path) -> None:
    tensors = load_file(copied / "weights.safetensors")
    key = next(name for name, tensor in tensors.items() if tensor.dim() == 4 and len(set(tensor.shape)) > 2)
    tensor = tensors.pop(key)
    if change == "another shape":
        tensors[key] = torch.cat([tensor, tensor])
    elif change == "another rank":
        tensors[key] = tensor.flatten(0, 1)
    elif change == "another dtype":
        tensors[key] = tensor.double()
    elif change == "transposed":
        tensors[key] = tensor.transpose(0, 1).contiguous()
    save_file(tensors, copied / "weights.safetensors")
    with pytest.raises(BundleError, match="pack"):
        whole(Bundle.open(resealed(copied)))


@pytest.mark.parametrize("shape", [[], [1], [2], [3, 3]])
def test_complex_weights_of_another_shape_are_refused(
    shape: list[int], packed_case: Callable[[str], Bundle], tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(packed_case("complex_numbers_cross").path, tmp_path / "bundle"))
    tensors = load_file(copied / "weights.safetensors")
    tensors["filter"] = torch.zeros(shape)
    save_file(tensors, copied / "weights.safetensors")
    with pytest.raises(BundleError, match="filter"):
        whole(Bundle.open(resealed(copied)))


def test_packing_twice_gives_the_same_digest(tmp_path: Path) -> None:
    from tests.models import CASES

    for name in ("unet", "text_encoder", "weights_on_both_sides"):
        first, second = CASES[name](), CASES[name]()
        digests = {
            every_cut.pack(
                case.module, tmp_path / f"{name}{index}", args=case.args, kwargs=case.kwargs, dynamic=case.dynamic
            ).digest
            for index, case in enumerate((first, second))
        }
        assert len(digests) == 1


def test_the_digest_covers_what_runs_and_not_what_it_is_called(tmp_path: Path) -> None:
    def digest(where: str, **changes: Any) -> str:
        given = {"graph_text": "{}", "weights": {}, "save_weights": save_nothing, "name": "a", "origin": "given"}
        return bundles.write(tmp_path / where, **{**given, **changes}).digest

    plain = digest("plain")
    assert digest("name", name="b", notes=["x"], labels=["cat"], origin="random") == plain
    assert digest("graph", graph_text="[]") != plain
    assert digest("preprocess", preprocess={"kind": "image"}) != plain
    assert digest("weights", save_weights=lambda _, path: path.write_bytes(b"1")) != plain


def test_shared_weights_are_stored_once(tmp_path: Path) -> None:
    shared = torch.nn.Linear(64, 64)
    bundle = every_cut.pack(torch.nn.Sequential(shared, shared), tmp_path / "b", args=(torch.zeros(1, 64),))
    assert bundle.weights_path.stat().st_size < 2 * 64 * 64 * 4


def test_writing_leaves_what_is_there(tmp_path: Path) -> None:
    def write(overwrite: bool) -> Bundle:
        return bundles.write(
            tmp_path / "b", graph_text="{}", weights={}, save_weights=save_nothing, name="a", origin="given",
            overwrite=overwrite,
        )  # fmt: skip

    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(BundleError):
            write(overwrite)
    assert (tmp_path / "b" / "thesis.txt").read_text() == "mine"
    shutil.rmtree(tmp_path / "b")
    first = write(False)
    with pytest.raises(BundleError, match="exists already"):
        write(False)
    assert write(True).digest == first.digest
    assert [each.name for each in tmp_path.iterdir()] == ["b"]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    def fail(_: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(BundleError, match="No space left"):
        bundles.write(tmp_path / "b", graph_text="{}", weights={}, save_weights=fail, name="a", origin="given")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def copied(packed_case: Callable[[str], Bundle], tmp_path: Path) -> Path:
    """A bundle that a test may damage."""
    return Path(shutil.copytree(packed_case("unet").path, tmp_path / "bundle"))


def refusal(path: Path) -> str:
    with pytest.raises(BundleError) as caught:
        Bundle.open(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def whole(bundle: Bundle) -> None:
    inputs = {
        each.name: np.zeros([dim if isinstance(dim, int) else 2 for dim in each.value.shape], each.value.dtype)
        for each in bundle.graph.inputs
    }
    open_engine(bundle, device="cpu").segment(Cuts(bundle.graph, bundle.digest).whole())(inputs)


def edit_manifest(directory: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((directory / "bundle.json").read_text())
    edit(manifest)
    (directory / "bundle.json").write_text(json.dumps(manifest))


def file_record(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in manifest["files"] if each["name"] == name)


def resealed(directory: Path) -> Path:
    """The directory with a manifest that fits its files, as somebody who means harm would write it."""
    contents = {name: (directory / name).read_bytes() for name in FILES}
    shutil.rmtree(directory)
    return bundles.write(
        directory,
        graph_text=contents["graph.json"].decode(),
        weights={},
        save_weights=lambda _, path: path.write_bytes(contents["weights.safetensors"]),
        name="hostile",
        origin="given",
    ).path


def save_nothing(_: object, path: Path) -> None:
    path.write_bytes(b"")


def test_every_file_can_be_read_by_whom_the_directory_can(copied: Path) -> None:
    assert {stat.S_IMODE(path.stat().st_mode) for path in copied.iterdir()} == {0o644}
