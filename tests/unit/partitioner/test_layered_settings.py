"""Settings in layers, against what a person would expect of flags, environment and file."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from partitioner.cli.arguments import duration_s, positive_int, target
from partitioner.cli.layers import Settings, read_settings
from partitioner.cli.shell import Parser, Program, run_program
from partitioner.environment import for_children
from partitioner.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def parser() -> Parser:
    made = Parser("tool serve", description="")
    made.add_argument("--model", action="extend", nargs="+", required=True)
    made.add_argument("--allow", action="append", default=[])
    made.add_argument("--cloud", type=target)
    made.add_argument("--max-sessions", type=positive_int, default=256)
    made.add_argument("--grace", type=duration_s, default="10s")
    made.add_argument("--level", choices=("low", "high"), default="low")
    made.add_argument("--cache-dir")
    made.add_argument("--json", action="store_true")
    made.add_argument("--adapt", action=argparse.BooleanOptionalAction, default=True)
    made.add_argument("--config")
    made.add_argument("--print-config", action="store_true")
    made.add_argument("-v", "--verbose", action="count", default=0)
    return made


@pytest.fixture
def read(tmp_path):
    def read(
        argv: Sequence[str] = (), *, toml: str | None = None, environ: Mapping[str, str] | None = None
    ) -> Settings:
        words = list(argv)
        if toml is not None:
            path = tmp_path / "tool.toml"
            path.write_text(textwrap.dedent(toml))
            words += ["--config", str(path)]
        return read_settings(parser(), words, environ=environ or {}, section="cloud")

    return read


def test_without_layers_the_flags_mean_what_they_always_did(read):
    for argv in (
        ["--model", "a", "b", "--model", "c", "--json", "--grace", "500ms", "--no-adapt", "-vv"],
        ["--model", "a", "--allow", "x", "--allow", "y", "--max-sessions=7", "--cloud", "h:1"],
    ):
        assert vars(read(argv).args) == vars(parser().parse_args(argv))


@pytest.mark.parametrize(
    ("flag", "variable", "line", "expected"),
    [
        ("3", "2", "max-sessions = 1", 3),
        (None, "2", "max-sessions = 1", 2),
        (None, None, "max_sessions = 1", 1),
        (None, None, "[cloud]\nmax-sessions = '1'", 1),
        (None, "", "max-sessions = 1", 1),
        (None, None, "", 256),
    ],
)
def test_flags_override_the_environment_overrides_the_file_overrides_defaults(read, flag, variable, line, expected):
    argv = ["--model", "m", *(["--max-sessions", flag] if flag else [])]
    environ = {} if variable is None else {"CLEFT_MAX_SESSIONS": variable}
    assert read(argv, toml=line, environ=environ).args.max_sessions == expected


def test_a_layer_replaces_a_list_and_never_adds_to_one_below(read):
    toml = 'model = ["a", "b"]\nallow = ["x"]'
    assert read(toml=toml).args.model == ["a", "b"]
    assert read(toml=toml, environ={"CLEFT_MODEL": "c, d,"}).args.model == ["c", "d"]
    assert read(["--model", "e", "--model", "f"], toml=toml, environ={"CLEFT_MODEL": "c"}).args.model == ["e", "f"]
    assert read(toml=toml).args.allow == ["x"]
    assert read(toml='model = "one"').args.model == ["one"]
    read(toml=toml)
    assert parser().get_default("allow") == []


@pytest.mark.parametrize(
    ("line", "name", "expected"),
    [
        ("json = true", "json", True),
        ("json = false", "json", False),
        ("json = 'on'", "json", True),
        ("adapt = false", "adapt", False),
        ("adapt = true", "adapt", True),
        ("grace = '250ms'", "grace", 0.25),
        ("grace = 3", "grace", 3.0),
        ("grace = 1.5", "grace", 1.5),
        ("level = 'high'", "level", "high"),
        ("cloud = '[::1]:50051'", "cloud", "[::1]:50051"),
        ("", "grace", 10.0),
    ],
)
def test_values_are_read_as_the_flag_reads_them(read, line, name, expected):
    assert getattr(read(["--model", "m"], toml=line).args, name) == expected


def test_the_environment_switches_on_and_off(read):
    toml = "model = ['m']\njson = true"
    assert read(toml=toml, environ={"CLEFT_JSON": "no"}).args.json is False
    assert read(["--model", "m"], environ={"CLEFT_JSON": "YES", "CLEFT_ADAPT": "0"}).args.json is True
    assert read(["--model", "m", "--adapt"], environ={"CLEFT_ADAPT": "0"}).args.adapt is True


def test_everything_that_is_wrong_is_said_at_once(read):
    toml = """
        modle = ["m"]
        max-sessions = -1
        max_sessions = 5
        level = "loud"
        json = 3
        adapt = "perhaps"
        allow = [1, [2]]
        [cloud]
        cloud = true
        grace = ["1s", "2s"]
        [clouds]
        x = 1
    """
    with pytest.raises(UsageError) as caught:
        read(["--cloud", "nowhere"], toml=toml, environ={"CLEFT_GRACE": "soon", "CLEFT_LEVEL": "no"})
    said = str(caught.value)
    for part in (
        "argument --cloud: 'nowhere' has no port",
        "unknown key 'modle' (did you mean 'model'?)",
        "tool.toml: max-sessions: '-1' is not a whole number of 1 or more",
        "tool.toml: max_sessions is set twice",
        "tool.toml: level: 'loud' is none of low, high",
        "tool.toml: json: true or false is wanted",
        "tool.toml: adapt: true or false is wanted",
        "tool.toml: allow: a text, a number, true, false, or a list",
        "tool.toml: cloud: a value is wanted, not true or false",
        "tool.toml: grace: one value is wanted, not a list",
        "unknown key 'clouds'",
        "CLEFT_GRACE: 'soon' is not a duration",
        "CLEFT_LEVEL: 'no' is none of low, high",
    ):
        assert part in said
    assert said.startswith("13 settings are wrong: ")


@pytest.mark.parametrize(
    ("argv", "toml", "environ"),
    [
        (["--model", "m"], None, {}),
        ([], "model = ['m']", {}),
        ([], "[cloud]\nmodel = ['m']", {}),
        ([], None, {"CLEFT_MODEL": "m"}),
    ],
)
def test_what_is_required_may_come_from_any_layer(read, argv, toml, environ):
    assert read(argv, toml=toml, environ=environ).args.model == ["m"]


def test_what_is_missing_is_named_with_every_way_to_give_it(read):
    with pytest.raises(UsageError, match=r"model is not set: give --model, CLEFT_MODEL, or model = \.\.\. in .*tool"):
        read(toml="grace = 1")
    with pytest.raises(UsageError, match="the file of --config"):
        read()
    with pytest.raises(UsageError, match=r"^/\S+: model: the list is empty$"):
        read(toml="model = []")


def test_the_file_can_be_named_by_the_environment(read, tmp_path):
    path = tmp_path / "other.toml"
    path.write_text("model = ['m']")
    assert read(environ={"CLEFT_CONFIG": str(path)}).args.model == ["m"]
    assert read(toml="model = ['n']", environ={"CLEFT_CONFIG": str(path)}).args.model == ["n"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        (b"model = [", "is not TOML"),
        (b"\xff", "is not TOML"),
        (b"#" * 2_000_000, "over 1024 KiB"),
        (b"threads = " + b"9" * 5_000, "is not TOML"),
        (b"model = " + b"[" * 5_000, "nested too deeply"),
        (b'model = "a\\u0000b"', "NUL"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(read, tmp_path, content, says):
    path = tmp_path / "bad.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=rf"bad.toml.*{says}"):
        read(["--model", "m", f"--config={path}"])


def test_a_file_of_another_system_is_read(read, tmp_path):
    path = tmp_path / "windows.toml"
    path.write_bytes(b"\xef\xbb\xbfmodel = ['m']\r\ngrace = 2\r\n")
    assert read([f"--config={path}"]).args.grace == 2.0


def test_one_file_serves_both_programs(read):
    toml = "model = ['m']\n[edge]\ncut = 'auto'\n[cloud]\ngrace = 2"
    assert read(toml=toml).args.grace == 2.0


def test_variables_that_are_no_settings_are_left_alone_unless_they_nearly_are(read):
    environ = {
        "CLEFT_CACHE_DIR": "/c",
        "CLEFT_RUNTIME": "eager",
        "CLEFT_OTHER_THING": "1",
        "CLEFTMODEL": "x",
        "PATH": "",
    }
    settings = read(["--model", "m"], environ=environ)
    assert settings.args.cache_dir is None
    assert not settings.warnings
    (warning,) = read(["--model", "m"], environ={"CLEFT_MAX_SESSION": "1"}).warnings
    assert "CLEFT_MAX_SESSION" in warning
    assert "CLEFT_MAX_SESSIONS is one" in warning


def test_the_printed_settings_name_their_origin_and_can_be_read_back(read, tmp_path):
    toml = 'model = ["a", "b\\"c"]\ngrace = "250ms"\njson = true'
    first = read(["--max-sessions", "7"], toml=toml, environ={"CLEFT_LEVEL": "high"})
    lines = first.lines()
    for key, origin in [("max-sessions", "--max-sessions"), ("level", "CLEFT_LEVEL"), ("cloud", "default")]:
        assert any(line.lstrip("# ").startswith(f"{key} = ") and line.endswith(f"# {origin}") for line in lines)
    assert any("tool.toml: grace" in line for line in lines)
    printed = "\n".join(lines)
    assert tomllib.loads(printed)["max-sessions"] == 7
    again = vars(read(toml=printed).args)
    assert {**again, "config": None} == {**vars(first.args), "config": None}


COMMAND = """
import logging, sys, threading
CONFIG = "edge"
HELP = "serve"
def add_arguments(parser):
    parser.add_argument("--name", required=True)
def run(args):
    if args.name == "printer":
        for part in ("warn", "ing: two\\nnote: three\\n\\n"):
            print(part, end="", file=sys.stderr)
        thread = threading.Thread(target=lambda: 1 / 0, name="divider")
        thread.start()
        thread.join()
    if args.name == "nobody":
        raise LookupError("no such name")
    logging.getLogger("tool").warning("named %s", args.name)
    return 0
"""


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    name = f"layered_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(COMMAND)
    monkeypatch.syspath_prepend(tmp_path)
    yield Program(name="tool", summary="A tool.", commands={"serve": name})
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.modules.pop(name, None)


def test_a_command_that_says_so_gets_the_layers(tool, tmp_path, capsys, monkeypatch):
    (tmp_path / "edge.toml").write_text("[edge]\nname = 'x'\nlog-level = 'error'")
    assert run_program(tool, ["serve", "--config", str(tmp_path / "edge.toml"), "--print-config"]) == 0
    out = capsys.readouterr().out
    assert 'name = "x"' in out
    assert 'log-level = "error"' in out
    monkeypatch.setenv("CLEFT_NAMES", "y")
    assert run_program(tool, ["serve"]) == 2
    error = capsys.readouterr().err
    assert "tool serve: error: name is not set" in error
    assert error.count("\n") == 1
    assert run_program(tool, ["serve", "--help"]) == 0
    assert "--config FILE" in capsys.readouterr().out


def test_a_log_for_machines_holds_the_failure_too(tool, capsys):
    assert run_program(tool, ["serve", "--name", "me", "--log-format", "json"]) == 0
    assert json.loads(capsys.readouterr().err)["message"] == "named me"
    assert run_program(tool, ["serve", "--name", "nobody", "--log-format", "json"]) == 70
    found = json.loads(capsys.readouterr().err)
    assert found["level"] == "error"
    assert "no such name" in found["message"]
    assert "Traceback" in found["trace"]
    argv = ["serve", "--name", "printer", "--log-format", "json", "--log-level", "info"]
    assert run_program(tool, argv) == 0
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(each["level"], each["message"]) for each in lines] == [
        ("warning", "two"),
        ("info", "note: three"),
        ("error", "divider ended by an error"),
        ("warning", "named printer"),
    ]
    assert "ZeroDivisionError" in lines[2]["error"]


def test_a_program_that_another_starts_sees_none_of_its_settings():
    environ = {"CLEFT_MODEL": "m", "CLEFT_CONFIG": "c", "CLEFT_CACHE_DIR": "/c", "CLEFT_RUNTIME": "ort", "PATH": "/bin"}
    assert for_children(environ) == {
        "OMP_WAIT_POLICY": "PASSIVE", "CLEFT_CACHE_DIR": "/c", "CLEFT_RUNTIME": "ort", "PATH": "/bin"
    }  # fmt: skip
    assert for_children({"OMP_WAIT_POLICY": "ACTIVE"}) == {"OMP_WAIT_POLICY": "ACTIVE"}
