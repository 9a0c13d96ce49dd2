"""What the three commands have in common: subcommands imported on demand, errors as one line, exit codes.

A subcommand is a module (see ``Command``). A ``Program`` names them; only the one that was asked for is imported, so
that ``cleft-plan cut`` never pays for what ``cleft-plan pack`` needs. ``--help`` imports them all for their one-line
help: subcommand modules therefore import heavy things (torch, grpc, rich) inside ``run``.

Exit codes: 0 done; 1 something the user can act on; 2 wrong usage; 70 a fault of ours (``EX_SOFTWARE``); 130
interrupted; 141 the reader of our output went away. Every failure is one line on stderr; ``CLEFT_TRACEBACK=1`` adds
the traceback.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import select
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol, cast

from partitioner.errors import CleftError, UsageError

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERNAL = 70
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

EXTRAS: Mapping[str, str] = {
    "torch": "torch",
    "torchvision": "vision",
    "PIL": "image",
    "sklearn": "demo",
    "skimage": "demo",
    "shtab": "completion",
    "matplotlib": "plot",
    "pynvml": "nvml",
    "paho": "mqtt",
}
"""Import name of an optional dependency -> the extra of ours that installs it."""


class Command(Protocol):
    """A subcommand: any module with these names.

    It may also have ``EXAMPLES: str``, shown below its help, and ``CONFIG: str``, which makes it a long-running program
    whose settings come in layers (``layers``), from the table of that name too, and whose log has a format (``logs``).
    """

    @property
    def HELP(self) -> str:  # noqa: N802 - a module constant
        """One line, no full stop at the end."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments. ``-v`` (dest ``verbose``) is taken."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; returns the exit code. Raises ``CleftError`` for what the user can act on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A command of ours: its name on the command line and the module of each subcommand."""

    name: str
    summary: str
    commands: Mapping[str, str]

    def load(self, command: str) -> Command:
        """Import a subcommand's module."""
        return cast(Command, importlib.import_module(self.commands[command]))


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and whose options cannot be abbreviated."""

    def __init__(self, prog: str, *, description: str, epilog: str | None = None) -> None:
        super().__init__(
            prog,
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """Print one line and leave with exit code 2."""
        self.exit(EXIT_USAGE, f"{self.prog}: error: {one_line(message)} (see {self.prog} --help)\n")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        print(f"{parser.prog} {version()}")
        parser.exit()


class _PrintCompletion(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, namespace: object, values: object, *_: object) -> NoReturn:
        shtab = importlib.import_module("shtab")
        print(shtab.complete(parser, shell=values))
        parser.exit()


def run_program(program: Program, argv: Sequence[str] | None = None) -> int:
    """Run one of our commands; every failure ends in one line on stderr and an exit code, never in an exception."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _dispatch(program, arguments)
        sys.stdout.flush()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except KeyboardInterrupt:
        print(f"{program.name}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _stdout_is_gone():
            _discard_stdout()
            return EXIT_BROKEN_PIPE
        if os.environ.get("CLEFT_TRACEBACK"):
            sys.excepthook(type(error), error, error.__traceback__)
        message, code = explain(error)
        print(f"{program.name}: error: {message}", file=sys.stderr)
    return code


def explain(error: BaseException) -> tuple[str, int]:
    """One line that says what went wrong, and the exit code that goes with it."""
    text = one_line(str(error)) or type(error).__name__
    if isinstance(error, CleftError):
        return text, error.exit_code
    if _is_wire_error(error):
        return text, EXIT_FAILURE
    if isinstance(error, ModuleNotFoundError) and (module := (error.name or "").partition(".")[0]) in EXTRAS:
        return f"this needs {module}, which is not installed: pip install 'cleft[{EXTRAS[module]}]'", EXIT_FAILURE
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}", EXIT_FAILURE
    if isinstance(error, OSError) and error.strerror:
        return error.strerror, EXIT_FAILURE
    if isinstance(error, MemoryError):
        return "out of memory", EXIT_FAILURE
    hint = "" if os.environ.get("CLEFT_TRACEBACK") else " (set CLEFT_TRACEBACK=1 for the traceback)"
    return f"internal error: {type(error).__name__}: {text}{hint}", EXIT_INTERNAL


def version() -> str:
    """Version of the installed distribution."""
    metadata = importlib.import_module("importlib.metadata")
    try:
        return str(metadata.version("cleft"))
    except metadata.PackageNotFoundError:
        return "unknown (not installed)"


def one_line(text: str, *, limit: int = 2000) -> str:
    """The text with runs of white space made single spaces, cut at ``limit`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _dispatch(program: Program, arguments: list[str]) -> int:
    name = arguments[0] if arguments else ""
    if name in program.commands:
        command = program.load(name)
        parser = Parser(f"{program.name} {name}", description=_description(command), epilog=_epilog(command))
        _fill(parser, command)
        if (section := _section(command)) is not None:
            return _run_layered(parser, command, arguments[1:], section=section)
        args = parser.parse_args(arguments[1:])
        _configure_logging(args.verbose)
        return command.run(args)
    if name and not name.startswith("-"):
        near = difflib.get_close_matches(name, program.commands, n=1)
        guess = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(program.commands)}"
        print(f"{program.name}: error: no command {name!r}: {guess} (see {program.name} --help)", file=sys.stderr)
        return EXIT_USAGE
    parser = _whole_parser(program)
    parser.parse_args(arguments)
    parser.print_help(sys.stderr)
    return EXIT_USAGE


def _run_layered(parser: Parser, command: Command, arguments: list[str], *, section: str) -> int:
    """Run a command whose settings come in layers, or print them."""
    from partitioner.cli.layers import read_settings
    from partitioner.cli.logs import all_in_the_log, configure_logs

    try:
        settings = read_settings(parser, arguments, environ=os.environ, section=section)
    except UsageError as error:
        parser.error(str(error))
    args = settings.args
    for line in settings.warnings:
        print(f"warning: {line}", file=sys.stderr)
    if args.print_config:
        print("\n".join(settings.lines()))
        return 0
    configure_logs(log_format=args.log_format, level=args.log_level, verbosity=args.verbose)
    if args.log_format != "json":
        return command.run(args)
    try:
        with all_in_the_log():
            return command.run(args)
    except Exception as error:
        message, code = explain(error)
        import logging

        logging.getLogger(parser.prog).error(message, exc_info=error if code == EXIT_INTERNAL else None)
        return code


def _whole_parser(program: Program) -> Parser:
    parser = Parser(
        program.name, description=program.summary, epilog=f"{program.name} COMMAND --help explains each command."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and leave")
    parser.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        choices=("bash", "zsh", "tcsh"),
        help="print a completion script for this shell and leave (needs shtab)",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Subparser)
    for name in program.commands:
        command = program.load(name)
        parser_of_command = commands.add_parser(
            name, help=command.HELP, description=_description(command), epilog=_epilog(command)
        )
        _fill(parser_of_command, command)
    return parser


class _Subparser(Parser):
    def __init__(self, *, prog: str, description: str, epilog: str | None = None) -> None:
        super().__init__(prog, description=description, epilog=epilog)


def _description(command: Command) -> str:
    return f"{command.HELP[:1].upper()}{command.HELP[1:]}."


def _epilog(command: Command) -> str | None:
    return getattr(command, "EXAMPLES", None)


def _section(command: Command) -> str | None:
    return getattr(command, "CONFIG", None)


def _fill(parser: argparse.ArgumentParser, command: Command) -> None:
    command.add_arguments(parser)
    if _section(command) is not None:
        from partitioner.cli.logs import add_log_arguments

        add_log_arguments(parser)
        group = parser.add_argument_group("settings", "Flags override the environment (CLEFT_FLAG) overrides the file.")
        group.add_argument("--config", metavar="FILE", help="settings in TOML, by the flags' names (or CLEFT_CONFIG)")
        group.add_argument(
            "--print-config", action="store_true", help="print every setting with where it comes from, and leave"
        )
    parser.add_argument("-v", "--verbose", action="count", default=0, help="log more to stderr; twice for everything")


def _configure_logging(verbosity: int) -> None:
    if verbosity == 0:
        return
    import logging

    level = logging.INFO if verbosity == 1 else logging.DEBUG
    logging.basicConfig(level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def _is_wire_error(error: BaseException) -> bool:
    """Whether it is an error of ``protos``; while that is not imported, none of its errors can be at hand."""
    root = getattr(sys.modules.get("protos.errors"), "WireError", None)
    return root is not None and isinstance(error, root)


def _stdout_is_gone() -> bool:
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return bool(poll.poll(0))
    except (AttributeError, OSError, ValueError):
        return True


def _discard_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's own flush at exit stays quiet."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (AttributeError, OSError, ValueError):
        return
