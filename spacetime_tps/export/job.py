"""The export job: a run's trajectories, or the path it found, for other tools."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from spacetime_tps.coordinates.states import select
from spacetime_tps.errors import ConfigError, OutputError
from spacetime_tps.export.formats import NOTES, WRITERS, boxed_topology, write_trajectories
from spacetime_tps.export.openpathsampling import write_openpathsampling
from spacetime_tps.export.plumed import pick_reference, write_plumed
from spacetime_tps.progress import log
from spacetime_tps.runs import layout
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.read import read_geodesic
from spacetime_tps.runs.reports import FileDigest
from spacetime_tps.runs.stored import StoredTrajectory
from spacetime_tps.runs.trajectories import write_topology_pdb
from spacetime_tps.writing import make_folder, remove, told, write_json

TOOLS = ("openpathsampling", "plumed", *WRITERS)
SOURCES = {
    "reactive": ("reactive", layout.REACTIVE_FILES),
    "path_ensemble": ("path-ensemble", layout.ENSEMBLE_FILES),
    "paths": ("paths", layout.PATH_FILES),
    "paths_region_avoiding": ("paths", layout.REGION_AVOIDING_PATH_FILES),
    "transition_states": ("committor", layout.TRANSITION_STATES),
}
"""What a run has trajectories of: the part that makes them, and their files."""

UNBIASED = ("reactive", "path_ensemble")
"""Dynamics that another tool may shoot from: annealed paths are driven, and their time is not physical."""

REFERENCE_FRAMES = 10


@dataclass(frozen=True)
class ExportResult:
    """Of an export.

    Attributes
    ----------
    to : str
    system : str
    run : str
        Its folder.
    what : str
    trajectories : int
        Number of them.
    note : str
        What the format cannot hold, or how to go on.
    folder : Path
        Where it was written to.
    """

    to: str
    system: str
    run: str
    what: str
    trajectories: int
    note: str
    folder: Path

    def to_json(self) -> dict[str, object]:
        """What ``export.json`` in the folder holds; all but where this is."""
        return {name: value for name, value in asdict(self).items() if name != "folder"}


@dataclass(frozen=True)
class _Made:
    """What was written for a tool; see :class:`ExportResult`."""

    what: str
    trajectories: int
    note: str


def export_run(
    run: str | Path,
    to: str,
    *,
    what: str | None = None,
    output: str | Path | None = None,
    reference_frames: int = REFERENCE_FRAMES,
    overwrite: bool = False,
    trust_scripts: bool = False,
) -> ExportResult:
    """Write trajectories of a run in the format of another tool.

    Parameters
    ----------
    run : str or Path
        Folder of a run of a molecule.
    to : str
        One of :data:`TOOLS`.
    what : str, optional
        One of :data:`SOURCES`, by default ``"reactive"``; for ``plumed`` also the name of a stored geodesic, whose mean
        is the reference: by default ``"low_variance"``, or ``"reactive"`` where latent coordinates are torsions.
    output : str or Path, optional
        Where to, by default ``export/TO`` in the run.
    reference_frames : int
        Of the reference for ``plumed``.
    overwrite : bool
        Replace an earlier export. It is refused if there are files that the export has not written.
    trust_scripts : bool
        Whether force-field files that are not OpenMM's may run code; never stored.

    Returns
    -------
    ExportResult
        What ``export.json`` there holds, and the folder.

    Raises
    ------
    SpacetimeError
        If there is nothing to export, or it is not what the tool needs; then nothing is written.
    """
    if to not in TOOLS:
        raise ConfigError(f"--to: unknown tool or format {to!r}; there are {', '.join(TOOLS)}")
    opened = Run.open(run, trust_scripts=trust_scripts)
    target = Path(output) if output is not None else opened.path(layout.EXPORT) / to
    with opened.locked() if output is None else nullcontext():
        with told(target, "used as the folder of an export"):
            if target.is_symlink():
                target = target.resolve(strict=True)
            there = target.exists()
        if there and not overwrite:
            raise OutputError(f"{target} is there already; take --overwrite to replace it, or another --output")
        if there:
            _check_export(target)
        partial = target.with_name(f"partial-{target.name}")
        if partial.exists() and output is not None:
            raise OutputError(f"{partial} is there already, and the export would write there first; move or remove it")
        remove(partial)
        try:
            result = _export(opened, to, what, reference_frames, make_folder(partial), target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            if output is None:
                with suppress(OSError):  # it holds another export
                    target.parent.rmdir()
    log.info("%s: %s", target, result.note)
    return result


def _export(run: Run, to: str, what: str | None, reference_frames: int, partial: Path, target: Path) -> ExportResult:
    """Write an export into a folder beside its own, and move it there when all of it has been written."""
    with told(target):
        if to == "plumed":
            made = _to_plumed(partial, run, what, reference_frames)
        else:
            made = _to_trajectories(partial, run, what or "reactive", to)
        result = ExportResult(
            to=to,
            system=run.molecule.name,
            run=str(run.folder.resolve()),
            what=made.what,
            trajectories=made.trajectories,
            note=made.note,
            folder=target,
        )
        files = {str(path.relative_to(partial)): asdict(FileDigest.of(path)) for path in _files(partial)}
        write_json(partial / layout.EXPORT_RESULTS, result.to_json() | {"files": files})
        remove(target)
        partial.rename(target)
    return result


def _files(folder: Path) -> list[Path]:
    """All files and links in an export, but its report."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path for path in found if path != folder / layout.EXPORT_RESULTS)


def _check_export(folder: Path) -> None:
    """Refuse to replace what an earlier export has not written.

    Raises
    ------
    OutputError
        Naming the file.
    """
    path = folder / layout.EXPORT_RESULTS
    if not path.is_file():
        raise OutputError(f"{folder} holds something else than an earlier export; choose another --output")
    try:
        files = {name: FileDigest(**digest) for name, digest in json.loads(path.read_bytes())["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise OutputError(
            f"{path} is damaged, so that nothing says which files are of the export ({error}); choose another "
            f"--output, or remove {folder}"
        ) from error
    for file in _files(folder):
        name = str(file.relative_to(folder))
        if name not in files or file.is_symlink() or FileDigest.of(file) != files[name]:
            what = "has been changed since the export wrote it" if name in files else "was not written by the export"
            raise OutputError(f"{file} {what}; move it out of the folder that is to be replaced, or remove it")


def _to_trajectories(folder: Path, run: Run, what: str, to: str) -> _Made:
    settings, molecule = run.settings, run.molecule
    if to == "openpathsampling" and what not in UNBIASED:
        raise ConfigError(
            f"--what: {what} cannot go to OpenPathSampling: only {' and '.join(UNBIASED)} are unbiased dynamics with a "
            "real time step between frames"
        )
    trajectories = _trajectories(run, what)
    if to == "openpathsampling":
        limit = 2 * round(settings.shooting.time_limit / settings.shooting.frame_interval) + 1
        write_openpathsampling(folder, molecule, trajectories, limit)
        note = "load_openpathsampling.py opens it in an environment that has openpathsampling (numpy<2, six)"
    else:
        write_trajectories(folder, molecule, trajectories, to)
        note = NOTES[to]
        if what not in UNBIASED:
            log.warning("%s are not unbiased dynamics: their times and velocities are those of driven molecules", what)
    return _Made(what, len(trajectories), note)


def _trajectories(run: Run, what: str) -> list[StoredTrajectory]:
    if what not in SOURCES:
        raise ConfigError(f"--what: unknown {what!r}; there are {', '.join(SOURCES)}")
    part, pattern = SOURCES[what]
    found = [StoredTrajectory.read(path) for path in run.files(part, pattern)]
    if not found:
        raise OutputError(
            f"{run.folder} has no {what} ({pattern}): the run has not made them, or has no {layout.REPORTS}/{part}.json"
        )
    run.check(part, pattern)
    return found


def _to_plumed(folder: Path, run: Run, what: str | None, frames: int) -> _Made:
    molecule, chosen = run.molecule, run.coordinates.positioned
    what = what or ("low_variance" if chosen is not None else "reactive")
    heavy = select(molecule.topology, "element != H", "atoms of the reference")
    atoms = heavy if chosen is None else np.array(chosen, dtype=np.intp)
    if what in SOURCES:
        by_length = sorted(_trajectories(run, what), key=lambda trajectory: len(trajectory.time))
        middle = by_length[len(by_length) // 2]
        path, source = middle.positions[:, atoms], f"{middle.name} of {what}, that of median duration"
    else:
        geodesic = read_geodesic(run, what)
        if geodesic is None:
            run.report("geodesics")  # refuses a run that has not come so far
            raise OutputError(f"--what: {run.folder} has neither trajectories nor a geodesic called {what!r}")
        if chosen is None:
            raise ConfigError(f"--what: the mean of {what} is one of torsions, not of positions; take reactive")
        path, source = geodesic.mean, f"the mean of the {what} geodesic"
    reference = pick_reference(path, atoms, frames, source)
    spacing = 10 * reference.spacing
    apart = f"{spacing.mean():.3f} Å apart in RMSD ({spacing.min():.3f} to {spacing.max():.3f})"
    if not reference.even:
        log.warning(
            "%s: neighbours are %s, which is uneven; take fewer --reference-frames, or the mean of a geodesic",
            source,
            apart,
        )
    write_plumed(folder, molecule.topology, reference, molecule.periodic, source)
    write_topology_pdb(
        folder / layout.TOPOLOGY, boxed_topology(molecule), molecule.structures[molecule.states[0].structure]
    )
    note = f"{frames} frames of {source}, {apart}, LAMBDA {reference.decay:.2f} nm⁻²; run PLUMED on plumed.dat there"
    return _Made(what, 1, note)
