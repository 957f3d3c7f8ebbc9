"""What a job is asked for: options, and whether what is there may be gone on with or replaced."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spacetime_tps.errors import ConfigError, OutputError
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.layout import PARTS, REQUEST, UNFINISHED
from spacetime_tps.settings.jobs import nested, put_on_top, read_job_settings
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


def take_settings(run: Run, part: str, config: str | Path | None, resume: bool) -> None:
    """Have the settings that a job goes by as those of the run.

    They are the run's with those of a file on top. Without a file, a job that is resumed has those that it was begun
    with.

    Parameters
    ----------
    run : Run
        Its settings are replaced in this object, not in its folder.
    part : str
        The job.
    config : str or Path, optional
        The file.
    resume : bool

    Raises
    ------
    ConfigError
        If the file cannot be read, or a setting in it is wrong or has no effect on the job.
    OutputError
        If what the job was begun with is damaged.
    """
    file = run.path(PARTS[part][0]) / REQUEST
    if config is not None:
        run.settings = read_job_settings(run.settings, part, Path(config))
    elif resume and file.is_file():
        settings = _begun_with(file).get("settings")
        try:
            content = nested(settings) if isinstance(settings, Mapping) else {}
            run.settings = put_on_top(run.settings, part, content, str(file))
        except ConfigError as error:
            raise OutputError(f"{file} is damaged ({error}); take --overwrite to begin anew") from error


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
    before = _with_settings(_begun_with(begun))
    for name, value in _with_settings(request).items():
        if before.get(name) != value:
            raise OutputError(
                f"{folder} was begun with {name} {before.get(name)}, not {value} ({REQUEST} there); ask for the same, "
                "or --overwrite it"
            )


def _begun_with(file: Path) -> Mapping[str, object]:
    """The request that a job was begun with.

    Raises
    ------
    OutputError
        If the file is damaged.
    """
    try:
        request = dict(json.loads(file.read_bytes()))
        if request.pop("sha256", None) != _checksum(request):
            raise ValueError("it is not as it was written")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise OutputError(f"{file} is damaged ({error}); take --overwrite to begin anew") from error
    return request


def _checksum(request: Mapping[str, object]) -> str:
    """Of a request as JSON, in whatever order: its settings are gone on with, so that damage must be seen."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def _with_settings(request: Mapping[str, object]) -> Mapping[str, object]:
    """A request in which each of its settings stands under its own name."""
    settings = request.get("settings")
    others = {name: value for name, value in request.items() if name != "settings"}
    return {**others, **settings} if isinstance(settings, Mapping) else others


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
    write_json(partial / REQUEST, {**request, "sha256": _checksum(request)})
    yield partial
    remove(folder)
    with told(folder, "made"):
        partial.rename(folder)
