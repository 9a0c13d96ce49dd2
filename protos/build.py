"""Regenerates the message classes: ``python -m protos.build [--check]``.

The ``.proto`` files are mapped to the virtual folder ``protos/_generated``, so protoc itself writes imports of the form
``protos._generated.tensor_pb2``; the one thing added is a first line that lets mypy pass over a bare ``Mapping``.
Generated code refuses protobuf runtimes older than its generator, so the generator is the oldest that is supported;
stubs and handlers are written by hand in ``channel``.

The Open Inference Protocol is generated as a descriptor set with a stub beside it, and as no module: ``inference``
loads it into a descriptor pool of its own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

SOURCES = ("tensor.proto", "plan.proto", "worker.proto")
PRIVATE_SOURCE = "open_inference.proto"
PRIVATE_SET = "open_inference.binpb"
HERE = Path(__file__).resolve().parent
GENERATED = HERE / "_generated"
_MADE = ("*_pb2.py", "*_pb2.pyi", "*.binpb")
_STUB_HEADER = b'# mypy: disable-error-code="type-arg"\n'


def generate(root: Path) -> dict[str, bytes]:
    """Run protoc with ``root`` as the output folder; returns the content of each file made, by name.

    Raises:
        RuntimeError: protoc is not installed, or it refused a source.
    """
    try:
        from grpc_tools import protoc
    except ModuleNotFoundError as error:
        raise RuntimeError("grpcio-tools is not installed: pip install 'cleft[dev]'") from error
    made = root / "protos" / "_generated"
    made.mkdir(parents=True)
    private = [f"--descriptor_set_out={made / PRIVATE_SET}", f"--pyi_out={root}", str(HERE / PRIVATE_SOURCE)]
    public = [f"--python_out={root}", f"--pyi_out={root}", *(str(HERE / name) for name in SOURCES)]
    for arguments in (private, public):
        if protoc.main(["protoc", f"-Iprotos/_generated={HERE}", *arguments]):
            raise RuntimeError("protoc refused the .proto files; its message stands above")
    return {
        path.name: (_STUB_HEADER if path.suffix == ".pyi" else b"") + path.read_bytes() for path in _generated(made)
    }


def stale() -> list[str]:
    """Names of committed files that differ from what the sources generate, or that no source generates."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = generate(Path(folder))
    committed = {path.name: path.read_bytes() for path in _generated(GENERATED)}
    return sorted(name for name in fresh.keys() | committed.keys() if fresh.get(name) != committed.get(name))


def _generated(folder: Path) -> list[Path]:
    return sorted(path for pattern in _MADE for path in folder.glob(pattern))


def main(argv: list[str] | None = None) -> int:
    """Regenerate, or with ``--check`` only compare; 1 when the committed code is not current."""
    parser = argparse.ArgumentParser(prog="python -m protos.build", description="Regenerate the message classes.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a file is stale")
    arguments = parser.parse_args(argv)
    try:
        if arguments.check:
            names = stale()
            if names:
                print(f"stale: {', '.join(names)}; run python -m protos.build", file=sys.stderr)
            return 1 if names else 0
        with tempfile.TemporaryDirectory() as folder:
            made = generate(Path(folder))
        GENERATED.mkdir(exist_ok=True)
        for name, content in made.items():
            (GENERATED / name).write_bytes(content)
    except RuntimeError as error:
        print(f"protos.build: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
