"""Files that are there whole or not at all, and a disk that says what is wrong with it."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spacetime_tps.errors import OutputError

KEPT = "what was finished before is kept; mend this and go on with --resume"
"""What messages of a failed write promise."""


@contextmanager
def told(path: Path, doing: str = "written") -> Iterator[None]:
    """Errors of the operating system, also where a library tells of them in its own way, as one that names the file.

    Raises
    ------
    OutputError
        With the file, what the system says and what to do.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be {doing} ({error.strerror or error}); {KEPT}") from error
    except RuntimeError as error:
        if type(error).__name__ == "HDF5ExtError":  # of PyTables, which says in it that the disk is full
            raise OutputError(f"{path} cannot be {doing} by HDF5 (is the disk full?); {KEPT}") from error
        if str(error).startswith("TRR write error"):  # of mdtraj
            raise OutputError(f"{path} cannot be {doing} as TRR (is the disk full?); {KEPT}") from error
        if str(error).startswith("Symlink loop"):  # of pathlib
            raise OutputError(f"{path} cannot be {doing} (its links lead to each other); {KEPT}") from error
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Name beside ``path`` to write to, with the same ending; it takes the place of ``path`` if all goes well.

    Raises
    ------
    OutputError
        If the system cannot write there.
    """
    partial = path.with_name(f"partial-{path.name}")
    with told(path):
        try:
            yield partial
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write a text, whole or not at all."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all; numbers that are not finite are refused."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """Write a CSV table, whole or not at all.

    Parameters
    ----------
    path : Path
    rows : sequence of mapping
        All with the same keys.
    columns : sequence of str, optional
        By default the keys of the first row.
    """
    with replacing(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(columns or rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def make_folder(path: Path) -> Path:
    """Make a folder and those above it, if they are not there.

    Raises
    ------
    OutputError
        If the system cannot make it.
    """
    with told(path, "made"):
        path.mkdir(parents=True, exist_ok=True)
    return path


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there. What a link points to is left alone.

    Raises
    ------
    OutputError
        If the system does not let it go.
    """
    with told(path, "removed"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
