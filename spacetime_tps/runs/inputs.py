"""Inputs of a run that are kept with it, so that it can be moved, and noticed where they change."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

from spacetime_tps.errors import OutputError
from spacetime_tps.runs.layout import INPUTS, TRAINING_FRAMES, TRAINING_WEIGHTS
from spacetime_tps.runs.reports import FileDigest
from spacetime_tps.settings.run import RunSettings
from spacetime_tps.settings.samples import FilesSettings, OtherRunSettings
from spacetime_tps.writing import make_folder, replacing


def with_kept_inputs(content: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Path]]:
    """Content of ``config.yaml`` that names kept copies of its inputs.

    Parameters
    ----------
    content : mapping
        Settings as JSON, with absolute paths.

    Returns
    -------
    content : dict
        With paths relative to the run's folder for structures, force fields, a trained denoiser and a grid.
    sources : dict of str to Path
        The file that each of these relative paths is a copy of, and the files that force fields include.

    Raises
    ------
    OutputError
        If a force field includes a file that cannot be kept beside it.
    """
    sources: dict[str, Path] = {}

    def kept(path: str) -> str:
        source = Path(path)
        for name, known in sources.items():
            if known == source:
                return name
        name, number = f"{INPUTS}/{source.name}", 2
        while name in sources:
            name, number = f"{INPUTS}/{source.stem}_{number}{source.suffix}", number + 1
        sources[name] = source
        return name

    content = {key: dict(value) if isinstance(value, dict) else value for key, value in content.items()}
    if "system" in content:
        system = content["system"]
        system["structures"] = {name: kept(path) for name, path in system["structures"].items()}
        files = [Path(name) for name in system["force_field"] if Path(name).is_absolute() and Path(name).is_file()]
        names = _force_field_names(files)
        sources |= {name: source for source, name in names.items()}
        system["force_field"] = [names.get(Path(name), name) for name in system["force_field"]]
    for section, key in (("denoiser", "pretrained"), ("surface", "grid")):
        if content.get(section, {}).get(key) is not None:
            content[section][key] = kept(content[section][key])
    return content, sources


def keep_inputs(folder: Path, sources: Mapping[str, Path]) -> None:
    """Copy inputs into the folder of a run."""
    make_folder(folder / INPUTS)
    for name, source in sources.items():
        make_folder((folder / name).parent)
        with replacing(folder / name) as partial:
            shutil.copyfile(source, partial)


def check_inputs(folder: Path, sources: Mapping[str, Path]) -> None:
    """Refuse inputs that are not as they were when a run was begun.

    Raises
    ------
    OutputError
        Naming the file.
    """
    for name, source in sources.items():
        kept = folder / name
        if not kept.is_file():
            raise OutputError(f"{kept} is missing: it is the copy of {source}; put it back, or take --overwrite")
        if not source.is_file() or FileDigest.of(source) != FileDigest.of(kept):
            raise OutputError(
                f"{source} has changed since the run in {folder} was begun, which kept {kept}; put the file back as it "
                "was, or take --overwrite to begin anew"
            )


def sample_files(settings: RunSettings) -> dict[str, dict[str, int | str]]:
    """Size and checksum of the user's own trajectories and weights, or of another run's, by path; JSON."""
    return {str(path): asdict(FileDigest.of(path)) for path in _sample_files(settings)}


def check_sample_files(folder: Path, settings: RunSettings, known: Mapping[str, Any]) -> None:
    """Refuse samples of the user or of another run, which are not copied, that have changed since a run was begun.

    Parameters
    ----------
    folder : Path
        Of the run.
    settings : RunSettings
    known : mapping
        What :func:`sample_files` gave then.

    Raises
    ------
    OutputError
        Naming the file.
    """
    for path in _sample_files(settings):
        if asdict(FileDigest.of(path)) != known.get(str(path)):
            raise OutputError(
                f"{path} has changed since the run in {folder} was begun; put the file back as it was, or take "
                "--overwrite to begin anew"
            )


def _sample_files(settings: RunSettings) -> tuple[Path, ...]:
    samples = settings.samples
    if isinstance(samples, OtherRunSettings):
        return samples.folder / TRAINING_FRAMES, samples.folder / TRAINING_WEIGHTS
    return (*samples.trajectories, *(samples.weights or ())) if isinstance(samples, FilesSettings) else ()


def _force_field_names(files: Iterable[Path]) -> dict[Path, str]:
    """Names in the run of force-field files and of all that they include, by which includes find each other.

    Files of one folder, and of folders in it, stay together in a folder of the run.
    """
    files = list(dict.fromkeys(files))
    folders = sorted(dict.fromkeys(file.parent for file in files), key=lambda folder: len(folder.parts))
    tops: dict[Path, str] = {}
    for folder in folders:
        if not any(folder.is_relative_to(top) for top in tops):
            tops[folder] = f"{INPUTS}/force_field" + (f"_{len(tops) + 1}" if tops else "")
    names: dict[Path, str] = {}
    for file in files:
        top = next(top for top in tops if file.is_relative_to(top))
        place = PurePosixPath(tops[top])
        waiting = [(file, str(place / file.relative_to(top).as_posix()))]
        for source, name in waiting:  # grows while it is walked
            if source in names:
                if names[source] != name:
                    raise OutputError(f"{source} is included by two names, one of them a link; include it by its own")
                continue
            names[source] = name
            waiting += _included(source, name, top, place)
    return names


def _included(source: Path, name: str, top: Path, place: PurePosixPath) -> Iterator[tuple[Path, str]]:
    """Files that a force-field file includes from its folder, and their names in the run; not those of OpenMM."""
    from spacetime_tps.dynamics.safe_xml import read_xml

    if source.suffix == ".prmtop":
        return
    for include in read_xml(source).includes:
        found = source.parent / include
        if not found.is_file():
            continue  # comes with OpenMM or this package
        kept = PurePosixPath(os.path.normpath(PurePosixPath(name).parent / include))
        if not kept.is_relative_to(place) or not found.resolve().is_relative_to(top):
            raise OutputError(
                f"{source} includes {include}, which is not in {top}; a run keeps a copy of its force field, so put "
                "the file there and include it by its relative name"
            )
        yield found.resolve(), str(kept)
