"""How the folder of a run is begun, gone on with or replaced."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from spacetime_tps.errors import OutputError
from spacetime_tps.progress import log
from spacetime_tps.runs.folder import holds_run
from spacetime_tps.runs.inputs import check_inputs, keep_inputs, with_kept_inputs
from spacetime_tps.runs.layout import (
    BEGINNING,
    CONFIG,
    EXPORT,
    LOCK,
    PARTS,
    REPORTS,
    SUMMARY,
    TRAINING_CHECKPOINT,
    UNFINISHED,
)
from spacetime_tps.runs.lock import locked
from spacetime_tps.runs.reports import check_files, read_report, report_path
from spacetime_tps.runs.requests import check_exclusive
from spacetime_tps.settings.base import Settings
from spacetime_tps.settings.files import read_stored
from spacetime_tps.writing import make_folder, remove, told, write_text

_PACKAGES = ("spacetime-tps", "openmm", "mdtraj", "torch", "numpy", "scipy", "scikit-learn")


def check_output(output: Path, resume: bool, overwrite: bool) -> None:
    """Refuse a folder that cannot be used as asked; nothing is touched.

    Raises
    ------
    OutputError
    """
    check_exclusive(resume, overwrite)
    with told(output, "used as the folder of a run"):
        resolved = output.resolve()
        if not str(resolved).isascii():
            raise OutputError(f"{resolved}: trajectory files cannot be written below a path that is not ASCII")
        if (output.exists() or output.is_symlink()) and not output.is_dir():
            raise OutputError(f"{output} is not a directory; choose another --output")
        others = [path for path in output.iterdir() if path.name != LOCK] if output.is_dir() else []
    if holds_run(output):
        if not (resume or overwrite):
            raise OutputError(
                f"{output} already holds a run; take --resume to go on with it or --overwrite to replace it"
            )
    elif resume:
        raise OutputError(f"{output} holds no run to resume (it has no {CONFIG})")
    elif others:
        raise OutputError(f"{output} is not empty and holds no run of ours; choose another directory")


@contextmanager
def prepared(output: Path, settings: Settings, seed: int | None, resume: bool, overwrite: bool) -> Iterator[int]:
    """Have the folder of a run to oneself, with its ``config.yaml`` and its inputs; gives its seed.

    Parameters
    ----------
    output : Path
    settings : Settings
        With absolute paths.
    seed : int, optional
        By default 0, or with ``resume`` that of the run.
    resume, overwrite : bool

    Raises
    ------
    OutputError
        If the folder cannot be used as asked, another process works in it, or the run in it has other settings.
    """
    make_folder(output)
    with locked(output):
        check_output(output, resume, overwrite)
        content, sources = with_kept_inputs(settings.model_dump(mode="json", exclude_none=True))
        if resume:
            if report_path(output, BEGINNING).is_file():
                check_files(output, read_report(output, BEGINNING))
            seed = _check_same_run(output, content, seed)
            check_inputs(output, sources)
        else:
            seed = 0 if seed is None else seed
            clear(output)
            text = yaml.safe_dump(content | {"seed": seed, "versions": versions()}, sort_keys=False)
            write_text(output / CONFIG, text)
            keep_inputs(output, sources)
        make_folder(output / REPORTS)
        yield seed


def clear(output: Path) -> None:
    """Remove all that runs and their jobs write; ``config.yaml``, by which a folder is known as ours, goes last."""
    names = [name for files in PARTS.values() for name in files if name != CONFIG]
    for name in (*names, SUMMARY, EXPORT, TRAINING_CHECKPOINT, UNFINISHED, REPORTS, CONFIG):
        remove(output / name)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}


def _check_same_run(output: Path, content: dict[str, Any], seed: int | None) -> int:
    stored = read_stored(output / CONFIG)
    different = _differences(stored.content, content)
    if seed is not None and seed != stored.seed:
        different.append("seed")
    if different:
        raise OutputError(
            f"cannot resume {output}: these settings are not those of the run: {', '.join(different)}; "
            "give the same ones, or take another directory"
        )
    if stored.versions != versions():
        log.warning("resuming with other package versions than the run was begun with: results may differ")
    return stored.seed


def _differences(before: Any, after: Any, prefix: str = "") -> list[str]:
    """Names of the keys whose values differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted(before.keys() | after.keys())
        return [
            name
            for key in keys
            for name in _differences(before.get(key), after.get(key), f"{prefix}.{key}" if prefix else key)
        ]
    return [] if before == after else [prefix]
