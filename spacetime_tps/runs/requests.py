"""Runs that jobs start from: what they must be, and have, before any long work."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spacetime_tps.errors import ConfigError, OutputError
from spacetime_tps.runs.context import report_path
from spacetime_tps.settings.files import open_run
from spacetime_tps.settings.run import RunSettings

REQUEST = "request.json"
"""What a job was asked for, in its folder."""


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


def open_molecule_run(output: Path, stage: str | None = None) -> tuple[RunSettings, int]:
    """Settings and seed of the run in a folder, which has finished a stage.

    Raises
    ------
    OutputError
        If there is none, it is on a model surface, or it has not come so far.
    """
    settings, seed = open_run(output)
    if not isinstance(settings, RunSettings):
        raise OutputError(
            f"{output} is a run on a model surface, where everything is exact; give the folder of a molecule's run"
        )
    if stage is not None and not report_path(output, stage).is_file():
        raise OutputError(
            f"{output}: the run has not finished its stage {stage!r} yet; go on with it by "
            "'spacetime-tps run … --resume'"
        )
    return settings, seed


def check_curve(output: Path, curve: str) -> None:
    """Refuse the name of a geodesic that a run does not have.

    Raises
    ------
    ConfigError
        With those it has.
    """
    stored = sorted(path.stem for path in (output / "geodesics").glob("*.npz"))
    if curve not in stored:
        raise ConfigError(f"--curve: {output} has no geodesic {curve!r}; it has {', '.join(stored) or 'none'}")


def check_room(folder: Path, overwrite: bool) -> None:
    """Refuse to replace results unless that is asked.

    Raises
    ------
    OutputError
    """
    if folder.exists() and not overwrite:
        raise OutputError(f"{folder} is there already; take --overwrite to replace it")


def check_request(folder: Path, request: Mapping[str, Any], resume: bool, overwrite: bool) -> None:
    """Refuse to mix two requests in a job's folder, or to replace results unless that is asked.

    Raises
    ------
    OutputError
        Also if there is nothing to resume.
    """
    if resume and overwrite:
        raise OutputError("--resume and --overwrite exclude each other")
    if not resume:
        if folder.exists() and not overwrite:
            raise OutputError(
                f"{folder} is there already; take --resume to go on with it, or --overwrite to replace it"
            )
        return
    begun = folder / REQUEST
    if not begun.is_file():
        raise OutputError(f"{folder} holds nothing to resume (it has no {REQUEST}); leave out --resume")
    before = json.loads(begun.read_text())
    for name, value in request.items():
        if before.get(name) != value:
            raise OutputError(
                f"{folder} was begun with {name} {before.get(name)}, not {value}; ask for the same, or --overwrite it"
            )


@contextmanager
def begun_folder(folder: Path, request: Mapping[str, Any]) -> Iterator[Path]:
    """A folder to put a job's first files in; it takes the place of an earlier one when all of them are there."""
    partial = folder.with_name(f"partial-{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    (partial / REQUEST).write_text(json.dumps(request, indent=2) + "\n")
    yield partial
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
