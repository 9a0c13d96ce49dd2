"""Settings in layers: flags over the environment over a TOML file over defaults.

The flags that a command declares are its only schema: the key ``max-sessions`` of the file and ``CLEFT_MAX_SESSIONS``
of the environment mean ``--max-sessions``, and the flag's own type reads their values. What is wrong in any layer
(values, unknown keys, settings that are missing) is reported at once. The file is flat; a table named like the program
(``[edge]``, ``[cloud]``) may hold the keys instead, so that one file can serve both programs.
"""

from __future__ import annotations

import argparse
import difflib
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from partitioner.environment import COMMON, PREFIX
from partitioner.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SECTIONS = ("edge", "cloud")
_NOT_SETTINGS = ("help", "config", "print_config", "verbose")
_NO_KEYS = COMMON | {"CONFIG", "BENCH", "CHAOS"}
"""Variables that mean something else; ``CLEFT_RUNTIME`` says what ``auto`` stands for."""
_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_MAX_FILE_BYTES = 1024 * 1024
_CLOSE = 0.8

Text = str | list[str] | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where a setting's value comes from, and what stood there; ``text`` is None where nobody set it."""

    key: str
    origin: str
    text: Text | None
    value: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a command is to do, and why."""

    args: argparse.Namespace
    effective: tuple[Setting, ...]
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """The settings as TOML that can be read back, each with its origin; what nobody set is commented out."""
        shown = [_line(each) for each in self.effective]
        width = min(48, max((len(line) for line in shown), default=0))
        return [f"{line:<{width}}  # {each.origin}" for line, each in zip(shown, self.effective, strict=True)]


def read_settings(
    parser: argparse.ArgumentParser, argv: Sequence[str], *, environ: Mapping[str, str], section: str
) -> Settings:
    """Read every layer.

    Raises:
        UsageError: something is wrong, in whichever layers; one message names it all.
    """
    actions = {_key(action): action for action in parser._actions if _is_setting(action)}
    flags = _Flags(parser)
    flags.read(argv)
    faults = list(flags.faults)
    layers = [_Layer(origin=None, found=flags.texts)]
    environment, warnings = _from_environment(actions, environ)
    layers.append(environment)
    path = _file_of(argv) or environ.get(f"{PREFIX}CONFIG") or None
    if path is not None:
        layers.append(_from_file(Path(path), actions, section, faults))
    args = argparse.Namespace(**flags.given)
    settings = [_settle(key, action, layers, flags, args, faults) for key, action in actions.items()]
    if flags.is_whole:
        said = {key for layer in layers for key in layer.found}
        faults += [_missing(key, path) for key, action in actions.items() if action.required and key not in said]
    if faults:
        count = f"{len(faults)} settings are wrong: " if len(faults) > 1 else ""
        raise UsageError(count + "; ".join(faults))
    for action in parser._actions:
        if not hasattr(args, action.dest) and action.default is not argparse.SUPPRESS:
            setattr(args, action.dest, action.default)
    return Settings(args=args, effective=tuple(settings), warnings=tuple(warnings))


def _file_of(argv: Sequence[str]) -> str | None:
    """The value of ``--config``, whether or not the other flags can be read."""
    found = None
    for word, following in itertools.zip_longest(argv, argv[1:]):
        if word == "--config":
            found = following
        elif word.startswith("--config="):
            found = word.removeprefix("--config=")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """What one layer says, by key: where, and the text. The flags' layer has no origin of its own."""

    origin: str | None
    found: dict[str, tuple[str, Text]]


class _Flags:
    """The flags alone: what was given, as text and as values, and the first fault."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parser = parser
        self.given: dict[str, object] = {}
        self.texts: dict[str, tuple[str, Text]] = {}
        self.faults: list[str] = []
        self.is_whole = False

    def read(self, argv: Sequence[str]) -> None:
        """Parse without defaults or requirements; the parser is as it was afterwards."""
        parser, actions = self._parser, self._parser._actions
        kept = [(action, action.default, action.required, action.type) for action in actions]
        fail, raw = parser.error, dict[str, list[str]]()
        try:
            for action in actions:
                action.default, action.required = argparse.SUPPRESS, not action.option_strings and action.required
                action.type = _Recorder(action, raw)
            parser.error = _raise_fault  # type: ignore[method-assign]
            self.given = vars(parser.parse_args(list(argv)))
            self.is_whole = True
        except _Fault as fault:
            self.faults.append(str(fault))
        finally:
            parser.error = fail  # type: ignore[method-assign]
            for action, default, required, kind in kept:
                action.default, action.required, action.type = default, required, kind
        for action in actions:
            if action.dest in self.given and _is_setting(action):
                texts = raw.get(action.dest, [])
                text: Text = texts if _is_list(action) else texts[-1] if texts else self.given[action.dest] is not False
                self.texts[_key(action)] = (f"--{_key(action)}", text)


class _Fault(Exception):
    """What argparse has to say against the flags."""


def _raise_fault(message: str) -> NoReturn:
    raise _Fault(message)


class _Recorder:
    """A flag's type that also keeps the text it was given."""

    def __init__(self, action: argparse.Action, raw: dict[str, list[str]]) -> None:
        self._type, self._dest, self._raw = action.type, action.dest, raw
        self.__name__ = getattr(action.type, "__name__", "value")

    def __call__(self, text: str) -> object:
        value = self._type(text) if callable(self._type) else text
        self._raw.setdefault(self._dest, []).append(text)
        return value


def _settle(
    key: str,
    action: argparse.Action,
    layers: Sequence[_Layer],
    flags: _Flags,
    args: argparse.Namespace,
    faults: list[str],
) -> Setting:
    """The value of one setting, put into ``args``; every layer's text is checked, the first that speaks counts."""
    chosen: Setting | None = None
    for layer in layers:
        if key not in layer.found:
            continue
        where, text = layer.found[key]
        if layer.origin is None:
            value = flags.given[action.dest]
        else:
            try:
                value = _value(action, text)
            except (argparse.ArgumentTypeError, TypeError, ValueError) as error:
                faults.append(f"{where}: {error}")
                continue
        if chosen is None:
            chosen = Setting(key=key, origin=where, text=text, value=value)
    if chosen is None:
        default = action.default
        if isinstance(default, str) and callable(action.type):
            default = action.type(default)
        chosen = Setting(key=key, origin="default", text=None, value=default)
    setattr(args, action.dest, chosen.value)
    return chosen


def _from_environment(actions: Mapping[str, argparse.Action], environ: Mapping[str, str]) -> tuple[_Layer, list[str]]:
    """What the environment sets; an empty variable sets nothing, and one that is nearly a key's is told of."""
    names = {PREFIX + _upper(key): key for key in actions if _upper(key) not in _NO_KEYS}
    found: dict[str, tuple[str, Text]] = {}
    warnings = []
    for name, text in environ.items():
        if not name.startswith(PREFIX) or not text:
            continue
        if name in names:
            is_list = _is_list(actions[names[name]])
            found[names[name]] = (name, [part.strip() for part in text.split(",") if part.strip()] if is_list else text)
        elif name.removeprefix(PREFIX) not in _NO_KEYS:
            near = difflib.get_close_matches(name, names, n=1, cutoff=_CLOSE)
            warnings += [f"the environment sets {name}, which is no setting; {each} is one" for each in near]
    return _Layer(origin="environment", found=found), warnings


def _from_file(path: Path, actions: Mapping[str, argparse.Action], section: str, faults: list[str]) -> _Layer:
    """What a file sets; what is wrong with its keys goes to ``faults``."""
    found: dict[str, tuple[str, Text]] = {}
    content = _load(path, faults)
    own = content.get(section)
    tables = [{key: value for key, value in content.items() if not (key in SECTIONS and isinstance(value, dict))}]
    tables += [own] if isinstance(own, dict) else []
    for table in tables:
        for written, value in table.items():
            key = written.replace("_", "-")
            where = f"{path}: {written}"
            if key not in actions:
                near = difflib.get_close_matches(key, actions, n=1, cutoff=_CLOSE / 2)
                faults.append(f"{path}: unknown key {written!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
            elif key in found:
                faults.append(f"{where} is set twice")
            else:
                try:
                    found[key] = (where, _text(value))
                except TypeError as error:
                    faults.append(f"{where}: {error}")
    return _Layer(origin=str(path), found=found)


def _load(path: Path, faults: list[str]) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            faults.append(f"{path} is over {_MAX_FILE_BYTES // 1024} KiB: it is no settings file")
            return {}
        return tomllib.loads(content.decode("utf-8-sig"))
    except OSError as error:
        faults.append(f"{path}: {error.strerror or error}")
    except RecursionError:
        faults.append(f"{path} is not TOML that can be read: it is nested too deeply")
    except ValueError as error:  # of TOML, of UTF-8, or of a number with thousands of digits
        faults.append(f"{path} is not TOML: {error}")
    return {}


def _text(value: object) -> Text:
    """A TOML value as a flag would be given it."""
    match value:
        case str() if "\0" in value:
            raise TypeError("a text cannot hold a NUL")
        case bool() | str():
            return value
        case int() | float():
            return str(value)
        case list() if all(isinstance(each, str | int | float) and not isinstance(each, bool) for each in value):
            return [str(each) for each in value]
    raise TypeError("a text, a number, true, false, or a list of texts or numbers is wanted")


def _value(action: argparse.Action, text: Text) -> object:
    """What the flag would have made of it."""
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        return _switch(action, text)
    if isinstance(text, bool):
        raise TypeError("a value is wanted, not true or false")
    if not _is_list(action):
        if isinstance(text, list):
            raise TypeError("one value is wanted, not a list")
        return _checked(action, text)
    values = [_checked(action, each) for each in ([text] if isinstance(text, str) else text)]
    if not values and action.nargs == "+":
        raise ValueError("the list is empty")
    return values


def _switch(action: argparse.Action, text: Text) -> object:
    word = text if isinstance(text, bool) else _WORDS.get(text.strip().lower()) if isinstance(text, str) else None
    if word is None:
        raise TypeError("true or false is wanted")
    if isinstance(action, argparse.BooleanOptionalAction):
        return word
    return action.const if word else action.default


def _checked(action: argparse.Action, text: str) -> object:
    try:
        value = action.type(text) if callable(action.type) else text
    except (TypeError, ValueError):
        raise ValueError(f"{text!r} is not a valid {getattr(action.type, '__name__', 'value')}") from None
    if action.choices is not None and value not in action.choices:
        raise ValueError(f"{text!r} is none of {', '.join(map(str, action.choices))}")
    return value


def _missing(key: str, path: object) -> str:
    file = f"{path}" if path is not None else "the file of --config"
    return f"{key} is not set: give --{key}, {PREFIX}{_upper(key)}, or {key} = ... in {file}"


def _is_setting(action: argparse.Action) -> bool:
    return any(each.startswith("--") for each in action.option_strings) and action.dest not in _NOT_SETTINGS


def _key(action: argparse.Action) -> str:
    return next(each for each in action.option_strings if each.startswith("--")).removeprefix("--")


def _upper(key: str) -> str:
    return key.upper().replace("-", "_")


def _is_list(action: argparse.Action) -> bool:
    if isinstance(action.nargs, int):
        return action.nargs > 1
    return action.nargs in ("+", "*") or isinstance(action, argparse._AppendAction)


def _line(setting: Setting) -> str:
    if setting.text is None:
        value = setting.value
        return f"# {setting.key} = {_toml(value) if isinstance(value, str | int | float | list) else 'not set'}"
    is_plain = isinstance(setting.value, bool) or str(setting.value) == setting.text
    return f"{setting.key} = {_toml(setting.value if is_plain else setting.text)}"


def _toml(value: object) -> str:
    """A value in TOML; its strings are JSON's."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value if isinstance(value, bool | int | float) else str(value), ensure_ascii=False)
