from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import textwrap

import pytest

from partitioner.cli import PROGRAM, arguments
from partitioner.cli.output import plain_table, print_json, print_table, progress
from partitioner.cli.shell import Program, run_program
from partitioner.errors import CleftError, PlanError, UsageError

COMMAND = textwrap.dedent(
    """
    HELP = "raise what it is told"
    EXAMPLES = "examples:\\n  tool fail --with KeyError"
    RAISES = None
    def add_arguments(parser):
        parser.add_argument("--count", type=int)
    def run(args):
        if RAISES is not None:
            raise RAISES
        print("counted", args.count)
        return 0 if args.count else 3
    """
)


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """A program with one command; ``tool.command`` is its module."""
    name = f"shell_command_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(COMMAND)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("CLEFT_TRACEBACK", raising=False)
    program = Program(name="tool", summary="A tool.", commands={"fail": name, "absent": "no_such_module_of_ours"})
    yield program, __import__(name)
    sys.modules.pop(name, None)


def test_a_command_runs_without_importing_the_others(tool, capsys):
    assert run_program(tool[0], ["fail", "--count", "7"]) == 0
    assert capsys.readouterr().out == "counted 7\n"
    assert run_program(tool[0], ["fail"]) == 3


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (CleftError("two\nlines"), 1, "tool: error: two lines"),
        (PlanError("no plan"), 1, "tool: error: no plan"),
        (UsageError("say which"), 2, "tool: error: say which"),
        (CleftError(), 1, "tool: error: CleftError"),
        (KeyboardInterrupt(), 130, "tool: interrupted"),
        (FileNotFoundError(2, "No such file", "a.npy"), 1, "tool: error: a.npy: No such file"),
        (OSError(28, "No space left on device"), 1, "tool: error: No space left on device"),
        (MemoryError(), 1, "tool: error: out of memory"),
        (
            ModuleNotFoundError("No module named 'torchvision'", name="torchvision.models"),
            1,
            "tool: error: this needs torchvision, which is not installed: pip install 'cleft[vision]'",
        ),
        (KeyError("x"), 70, "tool: error: internal error: KeyError: 'x' (set CLEFT_TRACEBACK=1 for the traceback)"),
    ],
)
def test_a_failure_is_one_line_and_an_exit_code(tool, capsys, error, code, line):
    tool[1].RAISES = error
    assert run_program(tool[0], ["fail"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == line + "\n"


def test_the_traceback_is_shown_when_asked_for(tool, capsys, monkeypatch):
    monkeypatch.setenv("CLEFT_TRACEBACK", "1")
    tool[1].RAISES = KeyError("x")
    assert run_program(tool[0], ["fail"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_an_error_of_the_wire_is_something_the_user_can_act_on(tool, capsys):
    errors = pytest.importorskip("protos.errors")
    tool[1].RAISES = errors.WireError.__new__(errors.WireError)
    assert run_program(tool[0], ["fail"]) == 1
    assert capsys.readouterr().err.startswith("tool: error: ")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["fial"], "did you mean 'fail'?"),
        (["zzz"], "choose from fail, absent"),
        (["fail", "--count", "x"], "argument --count: invalid int value: 'x'"),
        (["fail", "--cou", "1"], "unrecognized arguments: --cou 1"),
        (["fail", "extra"], "unrecognized arguments: extra"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(tool, capsys, argv, says):
    assert run_program(tool[0], argv) == 2
    error = capsys.readouterr().err
    assert says in error
    assert "--help" in error
    assert error.count("\n") == 1


def test_help_of_a_command_shows_its_examples(tool, capsys):
    assert run_program(tool[0], ["fail", "--help"]) == 0
    out = capsys.readouterr().out
    assert "Raise what it is told".lower() in out.lower()
    assert "tool fail --with KeyError" in out


def test_without_a_command_the_help_goes_to_stderr(tool, capsys):
    only = Program(name="tool", summary="A tool.", commands={"fail": tool[0].commands["fail"]})
    assert run_program(only, []) == 2
    assert "raise what it is told" in capsys.readouterr().err
    assert run_program(only, ["--help"]) == 0
    assert "raise what it is told" in capsys.readouterr().out
    assert run_program(only, ["--version"]) == 0
    assert capsys.readouterr().out.startswith("tool ")


def test_a_completion_script_names_the_commands(tool, capsys):
    pytest.importorskip("shtab")
    only = Program(name="tool", summary="A tool.", commands={"fail": tool[0].commands["fail"]})
    assert run_program(only, ["--print-completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert "fail" in script
    assert "--count" in script


def test_a_reader_that_leaves_ends_the_command_quietly(tmp_path):
    (tmp_path / "chatter.py").write_text(
        "HELP = 'talk'\ndef add_arguments(parser): pass\ndef run(args):\n    for i in range(10**6): print(i)\n"
    )
    program = (
        "import sys; from partitioner.cli.shell import Program, run_program;"
        "sys.exit(run_program(Program(name='t', summary='', commands={'talk': 'chatter'}), ['talk']))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.getcwd()])}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as child:
        assert child.stdout.readline() == b"0\n"
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait() == 141


def test_every_command_of_cleft_plan_loads_and_describes_itself():
    for name in PROGRAM.commands:
        command = PROGRAM.load(name)
        assert command.HELP
        assert not command.HELP.endswith(".")
        assert "\n" not in command.HELP
        command.add_arguments(argparse.ArgumentParser())


@pytest.mark.parametrize(
    ("kind", "good"),
    [
        (arguments.positive, {"1": 1.0, "0.5": 0.5, "1e3": 1000.0}),
        (arguments.not_negative, {"0": 0.0, "2.5": 2.5}),
        (arguments.share, {"0": 0.0, "0.98": 0.98, "98%": 0.98, " 100% ": 1.0}),
        (arguments.at_least_one, {"1": 1.0, "8": 8.0}),
        (arguments.positive_int, {"1": 1, "12": 12}),
        (arguments.not_negative_int, {"0": 0}),
        (arguments.duration_s, {"60s": 60.0, "500ms": 0.5, "2m": 120.0, "1.5": 1.5, "1h": 3600.0, "2 min": 120.0}),
        (arguments.size_bytes, {"0": 0, "4096": 4096, "16KiB": 16384, "1.5MB": 1_500_000, "2k": 2048}),
        (
            arguments.target,
            {"127.0.0.1:50051": "127.0.0.1:50051", "[::1]:1": "[::1]:1", "worker-1.lan:65535": "worker-1.lan:65535"},
        ),
        (arguments.listen_target, {"localhost:0": "localhost:0"}),
        (arguments.names, {"none": ("none",), "int8, none,int8": ("int8", "none")}),
        (arguments.shape, {"1x3x224x224": (1, 3, 224, 224), "7": (7,), "scalar": (), "2,3": (2, 3)}),
    ],
)
def test_arguments_are_read(kind, good):
    assert {text: kind(text) for text in good} == good


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (arguments.positive, ["0", "-1", "nan", "inf", "", "x", "1e999"]),
        (arguments.not_negative, ["-1", "nan", "-inf"]),
        (arguments.share, ["1.1", "-0.1", "101%", "%", "nan", ""]),
        (arguments.at_least_one, ["0.99", "nan"]),
        (arguments.positive_int, ["0", "1.5", "-3", "x"]),
        (arguments.duration_s, ["0", "-1s", "1 fortnight", "", "s", "1e999s", "nan"]),
        (arguments.size_bytes, ["-1", "1.5", "1QB", "", "1e40"]),
        (
            arguments.target,
            [
                "",
                "host",
                "host:",
                ":5",
                "host:0",
                "host:65536",
                "host:x",
                "http://h:1",
                "::1:5",
                "a b:1",
                "h:-1",
                "h:１",
            ],
        ),
        (arguments.names, ["", ",", " "]),
        (arguments.shape, ["", "1x", "x", "-1x3", "1.5", "1x3x²"]),
    ],
)
def test_arguments_that_make_no_sense_say_what_was_expected(kind, bad):
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError, match=r"is not|has no|has port|is a URL|names nothing"):
            kind(text)


def test_machine_output_names_its_schema_and_holds_no_nan(capsys):
    with pytest.raises(ValueError, match="schema"):
        print_json({"a": 1})
    with pytest.raises(ValueError):
        print_json({"schema": "cleft.x/1", "a": float("nan")})
    assert capsys.readouterr().out == ""


def test_plain_tables_align_text_left_and_numbers_right():
    assert list(plain_table(("cut", "ms"), [("a", "1.5"), ("after:b", "12.25")])) == [
        "cut         ms",
        "a          1.5",
        "after:b  12.25",
    ]


def test_progress_is_silent_in_a_pipe(capsys):
    with progress("measuring", total=2) as advance:
        advance(1, "first")
        advance(1, "second")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("columns", [60, 80])
def test_a_table_on_a_narrow_terminal_keeps_every_name_whole(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is folded over lines cannot be copied back into a command."""
    shown = io.StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setenv("COLUMNS", str(columns))
    names = [f"after:features.{index}.conv.block" for index in range(3)]
    print_table(("cut", "what", "bytes"), [(name, "y" * 40, "1.20 MB") for name in names], optional=(1,))
    lines = shown.getvalue().splitlines()
    assert all(any(name in line and "1.20 MB" in line for line in lines) for name in names)
    assert not any("yyyy" in line for line in lines)
