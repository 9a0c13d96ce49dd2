"""Reading records from JSON that others wrote: every fault is found in one pass and reported on one line.

A reader function takes ``Fields`` (one JSON object) and builds a record. Where a field is missing or wrong, the fault
is noted under its path and a harmless value stands in, so that reading goes on; ``read`` raises at the end. Unknown
keys are ignored: within a schema version fields are only ever added.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn, TypeGuard, TypeVar, cast

T = TypeVar("T")

_SHOWN_FAULTS = 6
_MAX_WHOLE = 2**63 - 1
_MAX_NUMBER = 1e100
_TOKEN_START = re.compile(r"[\w.+\\-]{0,5}")


class RecordError(ValueError):
    """The text is no JSON, or the JSON does not hold the record: ``faults`` says each reason."""

    def __init__(self, faults: Sequence[str]) -> None:
        shown = "; ".join(faults[:_SHOWN_FAULTS])
        more = len(faults) - _SHOWN_FAULTS
        super().__init__(f"{shown}; and {more} more" if more > 0 else shown)
        self.faults = tuple(faults)


class Fields:
    """One JSON object that is being read."""

    def __init__(self, value: object, *, path: str, faults: list[str]) -> None:
        self._path = path
        self._faults = faults
        self._is_object = isinstance(value, dict)
        self._values = cast("dict[str, object]", value) if self._is_object else {}
        if not self._is_object:
            self.fault("", f"is {_shown(value)}, not an object")

    def fault(self, key: str, message: str) -> None:
        """Note that a field is wrong."""
        self._faults.append(f"{self._at(key)} {message}")

    def number(self, key: str, *, is_over_zero: bool = False) -> float:
        """A finite number of zero or more."""
        value = self._get(key)
        if _is_number(value) and (0 < value <= _MAX_NUMBER or (value == 0 and not is_over_zero)):
            return float(value)
        self._wrong(key, value, "a number over 0" if is_over_zero else "a number of 0 or more")
        return 1.0

    def optional_number(self, key: str, *, at_most: float = _MAX_NUMBER) -> float | None:
        """A number from zero to ``at_most``, or null; a key that is missing is null."""
        value = self._values.get(key)
        if value is None or (_is_number(value) and 0 <= value <= at_most):
            return None if value is None else float(value)
        limit = "" if at_most >= _MAX_NUMBER else f" and at most {at_most:g}"
        self._wrong(key, value, f"null or a number of 0 or more{limit}")
        return None

    def whole(self, key: str, *, least: int = 0) -> int:
        """A whole number of at least ``least`` that fits 64 bits."""
        value = self._get(key)
        if _is_whole(value, least):
            return value
        self._wrong(key, value, f"a whole number of {least} or more")
        return least

    def text(self, key: str, *, among: Sequence[str] = ()) -> str:
        """A text; one of ``among`` where that is given."""
        value = self._get(key)
        if isinstance(value, str) and (not among or value in among):
            return value
        self._wrong(key, value, f"one of {', '.join(among)}" if among else "a text")
        return among[0] if among else ""

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self._get(key)
        if isinstance(value, bool):
            return value
        self._wrong(key, value, "true or false")
        return False

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        value = self._get(key)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        self._wrong(key, value, "a list of texts")
        return ()

    def wholes(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers of zero or more."""
        value = self._get(key)
        if isinstance(value, list) and all(_is_whole(item, 0) for item in value):
            return tuple(value)
        self._wrong(key, value, "a list of whole numbers")
        return ()

    def wholes_by_name(self, key: str) -> dict[str, int]:
        """An object whose values are whole numbers of zero or more."""
        value = self._get(key)
        if isinstance(value, dict) and all(_is_whole(item, 0) for item in value.values()):
            return dict(value)
        self._wrong(key, value, "an object of whole numbers")
        return {}

    def numbers_by_name(self, key: str, *, least: float, most: float) -> dict[str, float]:
        """An object whose values are numbers from ``least`` to ``most``."""
        value = self._get(key)
        if isinstance(value, dict) and all(_is_number(item) and least <= item <= most for item in value.values()):
            return {name: float(item) for name, item in value.items()}
        self._wrong(key, value, f"an object of numbers from {least:g} to {most:g}")
        return {}

    def signed_number(self, key: str) -> float:
        """A finite number of either sign."""
        value = self._get(key)
        if _is_number(value) and abs(value) <= _MAX_NUMBER:
            return float(value)
        self._wrong(key, value, "a number")
        return 0.0

    def texts_by_name(self, key: str) -> dict[str, str]:
        """An object whose values are texts."""
        value = self._get(key)
        if isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
            return dict(value)
        self._wrong(key, value, "an object of texts")
        return {}

    def record(self, key: str, reader: Callable[[Fields], T]) -> T:
        """An object, read by ``reader``."""
        value = self._get(key)
        if isinstance(value, _Missing):
            self._wrong(key, value, "an object")
            return reader(_muted())
        return self._nested(value, self._at(key), reader)

    def optional(self, key: str, reader: Callable[[Fields], T]) -> T | None:
        """An object or null; a key that is missing is null."""
        value = self._values.get(key)
        return None if value is None else self._nested(value, self._at(key), reader)

    def records(self, key: str, reader: Callable[[Fields], T]) -> tuple[T, ...]:
        """A list of objects, each read by ``reader``."""
        value = self._get(key)
        if not isinstance(value, list):
            self._wrong(key, value, "a list")
            return ()
        return tuple(self._nested(item, f"{self._at(key)}[{index}]", reader) for index, item in enumerate(value))

    def raw(self, key: str) -> object:
        """Whatever is there, null where nothing is; the reader checks it."""
        return self._values.get(key)

    def raw_object(self, key: str) -> dict[str, object]:
        """An object of anything; a key that is missing is an empty one."""
        value = self._values.get(key, {})
        if isinstance(value, dict):
            return value
        self._wrong(key, value, "an object")
        return {}

    def items(self, key: str) -> tuple[object, ...]:
        """A list of anything."""
        value = self._get(key)
        if isinstance(value, list):
            return tuple(value)
        self._wrong(key, value, "a list")
        return ()

    def integer(self, key: str) -> int:
        """A whole number of either sign that fits 64 bits."""
        value = self._get(key)
        if _is_whole(value, -(2**63)):
            return value
        self._wrong(key, value, "a whole number")
        return 0

    def nested(self, key: str, value: object, reader: Callable[[Fields], T]) -> T:
        """A value at hand, read as an object under this key's path."""
        return self._nested(value, self._at(key), reader)

    def _nested(self, value: object, path: str, reader: Callable[[Fields], T]) -> T:
        if not isinstance(value, dict):
            self._faults.append(f"{path} is {_shown(value)}, not an object")
            return reader(_muted())
        return reader(Fields(value, path=path, faults=self._faults))

    def _get(self, key: str) -> object:
        return self._values.get(key, _MISSING)

    def _wrong(self, key: str, value: object, wanted: str) -> None:
        if not self._is_object:
            return
        self.fault(key, "is missing" if value is _MISSING else f"is {_shown(value)}, not {wanted}")

    def _at(self, key: str) -> str:
        return f"{self._path}.{key}".strip(".") or "the file"


def read(text: str | bytes, reader: Callable[[Fields], T], *, max_chars: int) -> T:
    """Build a record from JSON text.

    Raises:
        RecordError: the text is too long, is not JSON, is nested too deeply, or has faults; all are named.
    """
    if len(text) > max_chars:
        raise RecordError([f"it is longer than {max_chars} characters"])
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        if text.strip() == (b"" if isinstance(text, bytes) else ""):
            raise RecordError(["it is empty"]) from error
        rest = error.doc[error.pos :].strip()
        is_cut_off = error.msg.startswith("Unterminated string") or _TOKEN_START.fullmatch(rest) is not None
        at_end = is_cut_off and error.doc.lstrip().startswith(("{", "["))
        where = "it ends too early (truncated?)" if at_end else f"it is not JSON ({error})"
        raise RecordError([where]) from error
    except UnicodeDecodeError as error:
        raise RecordError(["it is not UTF-8 text"]) from error
    except RecursionError as error:
        raise RecordError(["it is nested too deeply"]) from error
    except ValueError as error:
        raise RecordError([str(error)]) from error
    return read_value(value, reader)


def read_value(value: object, reader: Callable[[Fields], T]) -> T:
    """Build a record from a JSON value.

    Raises:
        RecordError: fields are missing or wrong; all are named.
    """
    faults: list[str] = []
    record = reader(Fields(value, path="", faults=faults))
    if faults:
        raise RecordError(faults)
    return record


def to_json(record: object) -> object:
    """JSON values of a dataclass, of tuples and of mappings, all the way down."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return {field.name: to_json(getattr(record, field.name)) for field in dataclasses.fields(record)}
    if isinstance(record, Mapping):
        return {str(key): to_json(value) for key, value in record.items()}
    if isinstance(record, tuple | list):
        return [to_json(item) for item in record]
    return record


class _Missing:
    def __repr__(self) -> str:
        return "missing"


_MISSING = _Missing()


def _muted() -> Fields:
    """Fields in place of something that is no object; their faults go nowhere."""
    return Fields({}, path="", faults=[])


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, float | int) and not isinstance(value, bool)


def _is_whole(value: object, least: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= _MAX_WHOLE


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is no number")


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "null"
    text = json.dumps(value) if isinstance(value, str | bool) else repr(value)
    return text if len(text) <= 40 else text[:39] + "…"
