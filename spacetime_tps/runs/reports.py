"""Reports: what each finished part of a run has done, and the size and checksum of every file it has written.

A report is the last file that a part writes. It names the reports that the part was built on by their identities, so
that a part counts as finished only as long as those before it are the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from spacetime_tps.errors import OutputError
from spacetime_tps.runs.layout import PARTS, REPORT, REPORTS
from spacetime_tps.writing import make_folder, told, write_json


@dataclass(frozen=True)
class FileDigest:
    """Size in bytes and SHA-256 of a file."""

    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileDigest:
        """That of a file as it is."""
        with told(path, "read"), path.open("rb") as file:
            return cls(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


@dataclass(frozen=True)
class Report:
    """What a part of a run has done.

    Attributes
    ----------
    part : str
        One of :data:`PARTS`.
    wall_seconds : float
    evaluations : mapping of str to int
        Energy or force evaluations, by purpose.
    results : mapping
        Figures; JSON.
    files : mapping of str to FileDigest
        Every file that the part has written, by its name in the run's folder.
    after : mapping of str to str
        Identities of the reports that the part was built on, by part.
    """

    part: str
    wall_seconds: float = 0.0
    evaluations: Mapping[str, int] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, FileDigest] = field(default_factory=dict)
    after: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """The same for two reports of the same work, however long it took."""
        content = asdict(self)
        del content["wall_seconds"]
        return _checksum(content)

    def matching(self, pattern: str) -> list[str]:
        """Names of its files that match a pattern of the shell, sorted."""
        return sorted(name for name in self.files if fnmatch(name, pattern))


def report_path(folder: Path, part: str) -> Path:
    """Where the report of a part is."""
    return folder / REPORTS / REPORT.format(part)


def files_of(folder: Path, part: str) -> list[str]:
    """Names in a run's folder of all files that a part has written, sorted."""
    found: list[Path] = []
    for name in PARTS[part]:
        path = folder / name
        found += [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return sorted(path.relative_to(folder).as_posix() for path in found if path.is_file())


def write_report(
    folder: Path,
    part: str,
    wall_seconds: float,
    evaluations: Mapping[str, int],
    results: Mapping[str, Any],
    after: Iterable[str] = (),
) -> Report:
    """Write the report of a part whose files are all there.

    Parameters
    ----------
    folder : Path
        Of the run.
    part : str
    wall_seconds : float
    evaluations : mapping of str to int
    results : mapping
    after : iterable of str
        Parts that it was built on; their reports must be there.
    """
    files = {name: FileDigest.of(folder / name) for name in files_of(folder, part)}
    identities = {name: read_report(folder, name).identity for name in after}
    report = Report(part, wall_seconds, dict(evaluations), dict(results), files, identities)
    content = asdict(report)
    make_folder(folder / REPORTS)
    write_json(report_path(folder, part), content | {"checksum": _checksum(content)})
    return report


def read_report(folder: Path, part: str) -> Report:
    """Report of a part.

    Raises
    ------
    OutputError
        If it is not there, damaged, or that of another part.
    """
    path = report_path(folder, part)
    try:
        content = json.loads(path.read_bytes())
        checksum = content.pop("checksum")
        if checksum != _checksum(content):
            raise ValueError("its checksum is that of another content")
        digests = {name: FileDigest(**digest) for name, digest in content.pop("files").items()}
        report = Report(**content, files=digests)
    except FileNotFoundError as error:
        raise OutputError(f"{path} is missing: {part} has not finished; go on with --resume") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise OutputError(f"{path} is damaged ({error}); {_again(path)}") from error
    if report.part != part:
        raise OutputError(f"{path} is the report of {report.part}, not of {part}; {_again(path)}")
    return report


def check_files(folder: Path, report: Report, pattern: str = "*") -> None:
    """Refuse files of a part that are not as the part has written them.

    Parameters
    ----------
    folder : Path
        Of the run.
    report : Report
    pattern : str
        Of the shell: only the names that match are looked at.

    Raises
    ------
    OutputError
        Naming the first file that is missing or changed.
    """
    for name in report.matching(pattern):
        path, known = folder / name, report.files[name]
        again = _again(report_path(folder, report.part))
        if not path.is_file():
            raise OutputError(f"{path} is missing; put it back, or {again}")
        found = FileDigest.of(path)
        if found.size != known.size:
            raise OutputError(
                f"{path} is damaged: it has {found.size} bytes, and {known.size} when it was written; put the right "
                f"file back, or {again}"
            )
        if found != known:
            raise OutputError(
                f"{path} is not the file that was written there (its checksum differs); put the right file back, or "
                f"{again}"
            )


def is_current(folder: Path, report: Report) -> bool:
    """Whether all that a part was built on is still the same."""
    for part, identity in report.after.items():
        if not report_path(folder, part).is_file() or read_report(folder, part).identity != identity:
            return False
    return True


def _again(path: Path) -> str:
    return f"remove {path} and go on with --resume: this part and all that was built on it are then made anew"


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
