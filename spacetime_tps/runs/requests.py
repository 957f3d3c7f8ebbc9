"""What a job is asked for: options, and whether what is there may be gone on with or replaced."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spacetime_tps.errors import ConfigError, OutputError
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.layout import PARTS, REQUEST, UNFINISHED
from spacetime_tps.writing import make_folder, remove, told, write_json


def check_options(options: Mapping[str, tuple[int | None, int]]) -> None:
    """Refuse command-line options, given with their lowest values, that are below these; None is not given.

    Raises
    ------
    ConfigError
        Naming the option.
    """
    for name, (number, least) in options.items():
        if number is not None and number < least:
            raise ConfigError(f"--{name} must be at least {least}, not {number}")


def check_band(band: tuple[float, float] | None) -> None:
    """Refuse lowest and highest p_B that are not in this order, or not probabilities; None is not given.

    Raises
    ------
    ConfigError
    """
    if band is not None and not 0 <= band[0] < band[1] <= 1:
        raise ConfigError(f"--band must rise within 0 and 1, not {band[0]:g} {band[1]:g}")


def check_exclusive(resume: bool, overwrite: bool) -> None:
    """Refuse to go on with what is to be replaced.

    Raises
    ------
    OutputError
    """
    if resume and overwrite:
        raise OutputError("--resume and --overwrite exclude each other")


def check_request(folder: Path, request: Mapping[str, Any], resume: bool, overwrite: bool) -> None:
    """Refuse to mix two requests in a job's folder, or to replace results unless that is asked.

    Raises
    ------
    OutputError
        Also if there is nothing to resume.
    """
    check_exclusive(resume, overwrite)
    if not resume:
        if folder.exists() and not overwrite:
            raise OutputError(
                f"{folder} is there already; take --resume to go on with it, or --overwrite to replace it"
            )
        return
    begun = folder / REQUEST
    if not begun.is_file():
        raise OutputError(f"{folder} holds nothing to resume (it has no {REQUEST}); leave out --resume")
    try:
        before = dict(json.loads(begun.read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise OutputError(f"{begun} is damaged ({error}); take --overwrite to begin anew") from error
    for name, value in request.items():
        if before.get(name) != value:
            raise OutputError(
                f"{folder} was begun with {name} {before.get(name)}, not {value} ({REQUEST} there); ask for the same, "
                "or --overwrite it"
            )


@contextmanager
def working_on(run: Run, part: str, request: Mapping[str, Any], resume: bool, overwrite: bool) -> Iterator[Path]:
    """Have a run to oneself to work on a job's folder in it, which is checked before.

    Raises
    ------
    OutputError
        If the request cannot be met, or another process works in the run.
    """
    folder = run.path(PARTS[part][0])
    check_request(folder, request, resume, overwrite)
    with run.locked():
        check_request(folder, request, resume, overwrite)
        if not resume:
            remove(run.path(UNFINISHED) / part)
        yield folder


@contextmanager
def begun_folder(folder: Path, request: Mapping[str, Any]) -> Iterator[Path]:
    """A folder to put a job's first files in; it takes the place of an earlier one when all of them are there."""
    partial = folder.with_name(f"partial-{folder.name}")
    remove(partial)
    make_folder(partial)
    write_json(partial / REQUEST, dict(request))
    yield partial
    remove(folder)
    with told(folder, "made"):
        partial.rename(folder)
