from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from partitioner.cli import main
from partitioner.errors import UsageError
from partitioner.files import check_writable, replace_text


def test_a_link_stays_one_and_what_it_names_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    real, link = tmp_path / "elsewhere" / "real.json", tmp_path / "link.json"
    real.write_text("old")
    link.symlink_to(real)
    check_writable(link, flag="-o")
    replace_text(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert [each.name for each in real.parent.iterdir()] == ["real.json"]


def test_a_link_to_nothing_makes_the_file_that_it_names(tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to("real.json")
    check_writable(link, flag="-o")
    replace_text(link, "new")
    assert link.is_symlink()
    assert (tmp_path / "real.json").read_text() == "new"


@pytest.mark.parametrize("is_linked", [False, True])
def test_a_pipe_is_written_into_and_stays_a_pipe(tmp_path: Path, is_linked: bool) -> None:
    pipe = target = tmp_path / "pipe"
    os.mkfifo(pipe)
    if is_linked:
        target = tmp_path / "link"
        target.symlink_to(pipe)
    check_writable(target, flag="-o")
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()), daemon=True)
    reader.start()
    replace_text(target, "text")
    reader.join(10)
    assert got == ["text"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_the_standard_output_of_a_pipe_can_be_named(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    name = Path(f"/dev/fd/{writing}")
    check_writable(name, flag="-o")
    replace_text(name, "text")
    os.close(writing)
    with os.fdopen(reading) as file:
        assert file.read() == "text"


def test_a_terminal_is_written_into() -> None:
    master, terminal = os.openpty()
    name = Path(os.ttyname(terminal))
    check_writable(name, flag="-o")
    replace_text(name, "text")
    assert os.read(master, 100) == b"text"
    assert stat.S_ISCHR(name.stat().st_mode)
    os.close(terminal)
    os.close(master)


def test_what_cannot_be_written_is_named_as_it_was_given(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    (tmp_path / "file").write_text("")
    for path, why in (
        (tmp_path, "is a directory"),
        (tmp_path / "missing" / "x.json", f"there is no directory {tmp_path / 'missing'}"),
        (tmp_path / "file" / "x.json", "Not a directory"),
        (loop, "symbolic links"),
        (Path("/proc/x.json"), "no file can be made in /proc"),
    ):
        with pytest.raises(UsageError) as caught:
            check_writable(path, flag="-o")
        assert str(caught.value).startswith(f"-o {path}: ")
        assert why in str(caught.value)
        with pytest.raises(OSError) as failed:
            replace_text(path, "text")
        assert failed.value.filename == str(path)
    assert loop.is_symlink()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "loop"]


def test_a_profile_that_cannot_be_written_is_not_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_model(args: object) -> None:
        raise AssertionError("the model was opened")

    monkeypatch.setattr("partitioner.cli.profile.open_model", open_model)
    assert main(["profile", "digits", "-o", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"cleft-plan: error: -o {tmp_path}: is a directory, and a file is to be written\n"
    )
