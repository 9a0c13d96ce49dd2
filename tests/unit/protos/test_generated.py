from __future__ import annotations

import importlib.util
import pathlib
import re

import pytest

import protos
from protos import build
from protos import messages as pb
from protos.codecs import DTYPES

FOLDER = pathlib.Path(protos.__file__).parent
needs_generator = pytest.mark.skipif(importlib.util.find_spec("grpc_tools") is None, reason="needs grpcio-tools")


@needs_generator
def test_the_committed_code_is_what_the_sources_generate(capfd):
    assert build.main(["--check"]) == 0


@needs_generator
def test_a_changed_source_is_noticed(monkeypatch, tmp_path, capsys):
    for path in FOLDER.glob("*.proto"):
        text = path.read_text()
        (tmp_path / path.name).write_text(text.replace("uint64 sequence = 1;", "uint64 sequence = 2;"))
    monkeypatch.setattr(build, "HERE", tmp_path)
    assert build.main(["--check"]) == 1
    assert "worker_pb2.py" in capsys.readouterr().err


def test_every_field_of_a_quantity_says_its_unit():
    """``_bytes``, ``_s``, ``_ratio`` and counts; a bare ``time`` or ``size`` says nothing. (Published names stay.)"""
    for path in set(FOLDER.glob("*.proto")) - {FOLDER / build.PRIVATE_SOURCE}:
        for field in re.findall(r"^\s+(?:double|float|uint64|int64)\s+(\w+)\s*=", path.read_text(), re.MULTILINE):
            assert re.search(r"(_bytes|_s|_ratio|_id|_left_s|_answered|_failed|version|sequence|progress)$", field), (
                field
            )


def test_every_element_type_of_the_wire_has_a_numpy_type():
    names = {name.removeprefix("DTYPE_").lower() for name in pb.DType.keys()} - {"unspecified"}  # noqa: SIM118
    assert names == DTYPES.keys()
