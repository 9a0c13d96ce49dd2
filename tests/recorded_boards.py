"""Trees of the files that boards show, from listings in ``tests/golden/boards``: a path and what it holds, a line each.

They were put together from published output of the boards named in their first lines and from the drivers' sources.
"""

from __future__ import annotations

from pathlib import Path

BOARDS = Path(__file__).parent / "golden" / "boards"


def board(name: str, root: Path) -> Path:
    """Write the files of a board below a root, which is returned."""
    for line in (BOARDS / f"{name}.txt").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            path, _, content = line.partition(" ")
            put(root, path, content)
    return root


def put(root: Path, path: str, content: str | int) -> None:
    """Write one file in one step, as a driver would change it; ``hex:`` leads bytes."""
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    text = str(content)
    data = bytes.fromhex(text.removeprefix("hex:")) if text.startswith("hex:") else f"{text}\n".encode()
    fresh = target.with_name(f".{target.name}.new")
    fresh.write_bytes(data)
    fresh.replace(target)
