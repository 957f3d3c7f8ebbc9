"""Results as frozen dataclasses that are kept as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Self

from pydantic import TypeAdapter, ValidationError

from spacetime_tps.errors import OutputError


@dataclass(frozen=True)
class Record:
    """Base of results; every subclass is a frozen dataclass whose fields are JSON, arrays of it, or records.

    A field that is None, and is None by default, is left out of the JSON.
    """

    def to_json(self) -> dict[str, object]:
        """What is kept of it."""
        return _fields_to_json(self)

    @classmethod
    def from_json(cls, content: Mapping[str, object]) -> Self:
        """The record of what :meth:`to_json` gave.

        Raises
        ------
        OutputError
            If a field is missing or has another type.
        """
        try:
            return TypeAdapter(cls).validate_python(dict(content))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the whole"
            raise OutputError(f"these are no results of the kind {cls.__name__}: {place}: {first['msg']}") from error


def _fields_to_json(record: object) -> dict[str, object]:
    assert is_dataclass(record)
    values = ((field, getattr(record, field.name)) for field in fields(record))
    return {
        field.name: _to_json(value)
        for field, value in values
        if not (value is None and field.default is not MISSING and field.default is None)
    }


def _to_json(value: object) -> object:
    if isinstance(value, Record):
        return value.to_json()
    if is_dataclass(value):
        return _fields_to_json(value)
    if isinstance(value, Mapping):
        return {key: _to_json(of) for key, of in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(of) for of in value]
    return value
