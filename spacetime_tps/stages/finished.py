"""Runs that jobs start from: what they must be, and have, before any long work."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from spacetime_tps.config import RunSettings
from spacetime_tps.config_files import open_run
from spacetime_tps.errors import ConfigError, OutputError
from spacetime_tps.stages.context import report_path


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
