"""Model specs: what each form gives, what is wrong in one line, and what the cache does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from partitioner import zoo
from partitioner.bundle import Bundle
from partitioner.errors import BundleError, CleftError, ModelError, UsageError
from partitioner.zoo.examples import from_shapes

SMALL = "torchvision:squeezenet1_1"
SHAPE = "1x3x32x32"
USER = """
import sys
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 2)
    def forward(self, x, y=None):
        return self.linear(x if y is None else x + y)

def alone(): return Net()
def with_tuple(): return Net(), (torch.ones(1, 4),)
def with_tensor(): return Net(), torch.ones(1, 4)
def with_list(): return Net(), [torch.ones(1, 4), torch.ones(1, 4)]
def with_dict(): return Net(), {"y": torch.ones(2, 4), "x": torch.ones(2, 4)}
def prints(): print("hello from the model"); return with_tuple()
instance = Net()
def nothing(): return None
def number(): return 5
def three(): return Net(), (torch.ones(1, 4),), {}
def state(): return Net().state_dict()
def raises(): raise RuntimeError("first line\\nsecond line")
def exits(): sys.exit(0)
def wants(argument): return Net()
class Box: make = staticmethod(with_tuple)
"""


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with a user's module, entered as the command would be started there."""
    directory = tmp_path_factory.mktemp("user")
    (directory / "zoo_user_models.py").write_text(USER)
    (directory / "zoo_user_broken.py").write_text("import no_such_package_at_all")
    (directory / "zoo_user_syntax.py").write_text("def broken(:")
    (directory / "zoo_user_exits.py").write_text("import sys; sys.exit(0)")
    before = list(sys.path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        yield directory
    sys.path[:] = before


INPUTS = {"Net": 0, "alone": 0, "instance": 0, "with_tuple": 1, "with_tensor": 1, "with_list": 2, "with_dict": 2}
INPUTS["Box.make"] = 1


@pytest.mark.parametrize("name", INPUTS)
def test_a_users_callable_is_packed(name: str, user: Path) -> None:
    bundle = zoo.resolve(f"zoo_user_models:{name}", shapes=() if INPUTS[name] else ("2x4",))
    assert len(bundle.graph.inputs) == (INPUTS[name] or 1)
    assert bundle.manifest.weights == "given"


def test_keyword_inputs_keep_their_own_values(user: Path) -> None:
    names = {each.name for each in zoo.resolve("zoo_user_models:with_dict").graph.inputs}
    assert names == {"x", "y"}


WRONG = {
    "zoo_user_models:nothing": "gave NoneType",
    "zoo_user_models:number": "gave int",
    "zoo_user_models:three": "gave tuple",
    "zoo_user_models:state": "gave OrderedDict",
    "zoo_user_models:raises": "first line",
    "zoo_user_models:exits": "SystemExit",
    "zoo_user_models:wants": "argument",
    "zoo_user_models:nosuch": "has no 'nosuch'",
    "zoo_user_models:Box.nosuch": "has no",
    "zoo_user_models:USER": "has no",
    "zoo_user_models:alone": "--shape",
    "zoo_user_nowhere:build": "not to be found",
    "zoo_user_broken:build": "no_such_package_at_all",
    "zoo_user_syntax:build": "SyntaxError",
    "zoo_user_exits:build": "SystemExit",
    "torchvision:resnet19": "did you mean",
    "torchvision:": "no model",
    "torchvision:../etc/passwd": "no model",
    "torchvision:resnet18?weights=NOSUCH": "no weights 'NOSUCH'",
    "torchvision:resnet18?weight=DEFAULT": "is no option",
    "nosuch/bundle": "no such directory",
    "nosuch.pt2": "no file",
    "resnet18": "is none of",
    "": "is none of",
    "a:b:c": "is none of",
    "os:system;x": "is none of",
}


@pytest.mark.parametrize("spec", WRONG)
def test_a_wrong_spec_says_why(spec: str, user: Path) -> None:
    with pytest.raises((ModelError, UsageError)) as caught:
        zoo.resolve(spec)
    assert WRONG[spec] in str(caught.value)


def test_trained_weights_without_a_network_are_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    with pytest.raises(ModelError, match="cannot be fetched"):
        zoo.resolve("torchvision:squeezenet1_1?weights=DEFAULT")


def test_random_weights_are_said_to_be_random() -> None:
    bundle = zoo.resolve(SMALL, shapes=[SHAPE])
    assert bundle.manifest.weights == "random"
    assert any("never trained" in note for note in bundle.manifest.notes)
    assert bundle.labels is None


SHAPES = [
    "",
    "x",
    "1x",
    "x1",
    "1x-3",
    "1,3",
    "1x3:nosuch",
    "1x3:Tensor",
    "1x3:__class__",
    "99999x99999x99999",
    "1.5x2",
    "1x3:",
]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_that_is_none_is_refused(shape: str) -> None:
    with pytest.raises(UsageError, match="--shape"):
        from_shapes([shape])


def test_shapes_give_the_same_tensors_every_time() -> None:
    texts = ["2x3", "2x16:int64", "4:bool", "scalar", "2x2:complex64", "3:float16", "2:uint8"]
    first, second = from_shapes(texts), from_shapes(texts)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert [str(each.dtype).removeprefix("torch.") for each in first] == [
        "float32", "int64", "bool", "float32", "complex64", "float16", "uint8",
    ]  # fmt: skip


def test_packing_flags_do_not_apply_to_a_bundle(packed_case: Callable[[str], Bundle]) -> None:
    path = str(packed_case("unet").path)
    assert zoo.resolve(path).digest == packed_case("unet").digest
    with pytest.raises(UsageError, match="packed already"):
        zoo.resolve(path, shapes=["1x3x8x8"])


def test_a_cached_bundle_is_opened_without_torch() -> None:
    packed = zoo.resolve(SMALL, shapes=[SHAPE])
    script = (
        "import sys, json; from partitioner import zoo; "
        f"bundle = zoo.resolve({SMALL!r}, shapes=[{SHAPE!r}]); bundle.graph; "
        "print(json.dumps([bundle.digest, str(bundle.path), 'torch' in sys.modules, 'grpc' in sys.modules]))"
    )
    done = python(script)
    assert json.loads(done.stdout) == [packed.digest, str(packed.path), False, False]


@pytest.mark.parametrize("damage", ["truncated", "emptied", "no manifest", "a manifest of garbage"])
def test_a_damaged_bundle_in_the_cache_is_packed_again(damage: str) -> None:
    packed = zoo.resolve(SMALL, shapes=[SHAPE])
    if damage == "truncated":
        os.truncate(packed.weights_path, 100)
    elif damage == "emptied":
        (packed.path / "graph.json").write_text("")
    elif damage == "no manifest":
        (packed.path / "bundle.json").unlink()
    else:
        (packed.path / "bundle.json").write_text("{")
    again = zoo.resolve(SMALL, shapes=[SHAPE])
    assert (again.path, again.digest) == (packed.path, packed.digest)
    assert [each.name for each in packed.path.parent.iterdir() if each.name.startswith(".")] == []


def test_what_a_killed_process_left_in_the_cache_is_swept_a_day_later() -> None:
    cache = zoo.resolve(SMALL, shapes=[SHAPE]).path.parent
    for name, age_s in ((".packing-old", 25 * 3600.0), (".packing-new", 60.0)):
        (cache / name).mkdir()
        os.utime(cache / name, (time.time() - age_s,) * 2)
    zoo.resolve(SMALL, shapes=["1x3x48x48"])
    assert [each.name for each in cache.glob(".packing-*")] == [".packing-new"]
    (cache / ".packing-new").rmdir()


def test_other_shapes_are_other_bundles() -> None:
    first, second = zoo.resolve(SMALL, shapes=[SHAPE]), zoo.resolve(SMALL, shapes=["1x3x40x40"])
    assert first.path != second.path
    assert first.digest != second.digest


def test_two_processes_may_pack_the_same_model_at_once(tmp_path: Path, user: Path) -> None:
    script = (
        "from partitioner import zoo; from partitioner.runtimes.eager import open_engine; "
        "from partitioner.segments import Cuts; "
        "bundles = [zoo.resolve(spec, shapes=shapes) for spec, shapes in "
        f"[({SMALL!r}, [{SHAPE!r}]), ('zoo_user_models:fixed', ())]]; "
        "[open_engine(b).segment(Cuts(b.graph, b.digest).whole()) for b in bundles]; "
        "print(*[b.digest for b in bundles])"
    )
    (user / "zoo_user_models.py").write_text(
        USER + "\ndef fixed():\n    torch.manual_seed(0)\n    return Net(), (torch.ones(1, 4),)\n"
    )
    environment = {**os.environ, "CLEFT_CACHE_DIR": str(tmp_path)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script], cwd=user, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=90) for process in running]
    assert [process.returncode for process in running] == [0, 0], answers
    assert answers[0][0] == answers[1][0]
    assert len(list((tmp_path / "bundles").iterdir())) == 2


def test_a_users_own_cloud_folder_shadows_nothing(tmp_path: Path) -> None:
    for package in ("cloud", "edge", "protos", "partitioner"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise RuntimeError('the wrong package')")
    (tmp_path / "shadowed_model.py").write_text(USER)
    command = [str(Path(sys.executable).with_name("cleft-plan")), "cuts", "shadowed_model:with_tuple", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["schema"] == "cleft.cuts/1"


def test_what_a_model_prints_is_kept_from_stdout(user: Path, capfd: pytest.CaptureFixture[str]) -> None:
    zoo.resolve("zoo_user_models:prints")
    assert capfd.readouterr() == ("", "hello from the model\n")


def test_every_error_is_ours() -> None:
    assert issubclass(ModelError, CleftError)
    assert issubclass(UsageError, CleftError)


def python(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("flag", ["preprocess", "labels"])
def test_an_endless_record_is_refused_unread(flag: str) -> None:
    with pytest.raises(UsageError, match=f"--{flag} /dev/zero"):
        zoo.resolve_request(zoo.ModelRequest(spec="digits", **{flag: Path("/dev/zero")}))


def test_a_cache_that_cannot_be_made_names_the_variable_that_moves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEFT_CACHE_DIR", "/proc/nowhere")
    with pytest.raises(BundleError, match="CLEFT_CACHE_DIR"):
        zoo.resolve("digits")
