"""Inputs of a run that are kept with it, so that it can be moved, and noticed where they change."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spacetime_tps.errors import OutputError
from spacetime_tps.runs.layout import INPUTS
from spacetime_tps.runs.reports import FileDigest
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
        The file that each of these relative paths is a copy of.
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
        system["force_field"] = [
            kept(name) if Path(name).is_absolute() and Path(name).is_file() else name for name in system["force_field"]
        ]
    for section, key in (("denoiser", "pretrained"), ("surface", "grid")):
        if content.get(section, {}).get(key) is not None:
            content[section][key] = kept(content[section][key])
    return content, sources


def keep_inputs(folder: Path, sources: Mapping[str, Path]) -> None:
    """Copy inputs into the folder of a run."""
    make_folder(folder / INPUTS)
    for name, source in sources.items():
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
