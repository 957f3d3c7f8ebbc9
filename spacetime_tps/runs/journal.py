"""A journal: results of single tasks, kept as they come, in which damage is noticed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

from spacetime_tps.errors import OutputError
from spacetime_tps.writing import told, write_bytes

Row = TypeVar("Row")
_START = "0" * 64


@dataclass
class Journal:
    """Records of finished tasks, one line of JSON each.

    Each line has a checksum of itself and of all lines before it. A last line that an interruption has cut short is
    dropped; any other damage is refused.

    Attributes
    ----------
    path : Path
    records : list of dict
        Those that are known.
    """

    path: Path
    records: list[dict[str, Any]] = field(default_factory=list)
    _link: str = _START

    @classmethod
    def read(cls, path: Path) -> Journal:
        """The journal in a file; an empty one if there is no file.

        Raises
        ------
        OutputError
            If a line is damaged; the message names it.
        """
        journal = cls(path)
        if not path.exists():
            return journal
        with told(path, "read"):
            content = path.read_bytes()
        lines = content.splitlines(keepends=True)
        for number, line in enumerate(lines):
            try:
                entry = json.loads(line)
                record, link = entry["record"], entry["link"]
                if not line.endswith(b"\n") or link != _chained(journal._link, record):
                    raise ValueError("its checksum is that of another content")
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                if number == len(lines) - 1 and not line.endswith(b"\n"):
                    write_bytes(path, b"".join(lines[:-1]))
                    return journal
                raise OutputError(
                    f"{path} is damaged at line {number + 1} ({error}); put the right file back, or take --overwrite"
                ) from error
            journal.records.append(record)
            journal._link = link
        return journal

    def rows(self, from_json: Callable[[Mapping[str, Any]], Row]) -> list[Row]:
        """The records as objects.

        Parameters
        ----------
        from_json : callable
            Makes an object of a record; it raises ValueError, KeyError or TypeError for a record of another kind.

        Raises
        ------
        OutputError
            If a record is of another kind; the message names its line.
        """
        rows = []
        for number, record in enumerate(self.records):
            try:
                rows.append(from_json(record))
            except (ValueError, KeyError, TypeError) as error:
                raise OutputError(
                    f"{self.path}: line {number + 1} is not what this version writes ({error!r}); take --overwrite to "
                    "begin anew"
                ) from error
        return rows

    def keep(self, count: int) -> None:
        """Drop the records after the first ``count``, in the file too."""
        if count == len(self.records):
            return
        kept = Journal(self.path)
        lines = []
        for record in self.records[:count]:
            kept._link = _chained(kept._link, record)
            lines.append(_line(record, kept._link))
        write_bytes(self.path, b"".join(lines))
        self.records, self._link = self.records[:count], kept._link

    @contextmanager
    def appending(self) -> Iterator[Appender]:
        """Have the file open to add records to.

        Raises
        ------
        OutputError
            If the system cannot write there.
        """
        with told(self.path), self.path.open("ab") as file:
            yield Appender(self, file)
            file.flush()
            os.fsync(file.fileno())


@dataclass
class Appender:
    """Adds records to a journal whose file is open."""

    journal: Journal
    file: IO[bytes]

    def add(self, record: Mapping[str, Any]) -> None:
        """Write a record; it outlives this process when this returns."""
        journal = self.journal
        kept = json.loads(json.dumps(dict(record), allow_nan=False))
        journal._link = _chained(journal._link, kept)
        self.file.write(_line(kept, journal._link))
        self.file.flush()
        journal.records.append(kept)


def _line(record: Any, link: str) -> bytes:
    return json.dumps({"record": record, "link": link}).encode() + b"\n"


def _chained(link: str, record: Any) -> str:
    return hashlib.sha256((link + json.dumps(record, sort_keys=True)).encode()).hexdigest()
