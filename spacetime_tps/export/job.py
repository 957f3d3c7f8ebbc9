"""The export job: a run's trajectories, or the path it found, for other tools."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from spacetime_tps.coordinates.states import select
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.errors import ConfigError, OutputError
from spacetime_tps.export.formats import NOTES, WRITERS, boxed_topology, write_trajectories
from spacetime_tps.export.openpathsampling import write_openpathsampling
from spacetime_tps.export.plumed import pick_reference, write_plumed
from spacetime_tps.pipeline.geodesics import load_geodesic
from spacetime_tps.progress import log
from spacetime_tps.runs.context import make_coordinates
from spacetime_tps.runs.requests import open_molecule_run
from spacetime_tps.runs.stored import StoredTrajectory
from spacetime_tps.runs.trajectories import write_topology_pdb
from spacetime_tps.settings.run import RunSettings

TOOLS = ("openpathsampling", "plumed", *WRITERS)
SOURCES = {
    "reactive": "reactive/reactive_*.trr",
    "path_ensemble": "path_ensemble/path_*.trr",
    "paths": "paths/path_*.trr",
    "paths_region_avoiding": "paths_region_avoiding/path_*.trr",
    "transition_states": "committor/transition_states.trr",
}
"""What a run has trajectories of."""

UNBIASED = ("reactive", "path_ensemble")
"""Dynamics that another tool may shoot from: annealed paths are driven, and their time is not physical."""

REFERENCE_FRAMES = 10
REPORT = "export.json"


def export(
    output: str | Path,
    to: str,
    *,
    what: str | None = None,
    folder: str | Path | None = None,
    frames: int = REFERENCE_FRAMES,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write trajectories of a run in the format of another tool.

    Parameters
    ----------
    output : str or Path
        Folder of a run of a molecule.
    to : str
        One of :data:`TOOLS`.
    what : str, optional
        One of :data:`SOURCES`, by default ``"reactive"``; for ``plumed`` also the name of a stored geodesic, whose mean
        is the reference: by default ``"low_variance"``, or ``"reactive"`` where latent coordinates are torsions.
    folder : str or Path, optional
        Where to, by default ``export/TO`` in the run.
    frames : int
        Of the reference for ``plumed``.
    overwrite : bool
        Replace what is there.

    Returns
    -------
    dict
        What ``export.json`` there holds, and ``folder``: ``to``, ``system``, ``run``, ``what``, ``trajectories`` (their
        number), and ``note`` (what the format cannot hold, or how to go on).

    Raises
    ------
    SpacetimeError
        If there is nothing to export, or it is not what the tool needs; then nothing is written.
    """
    output = Path(output)
    if to not in TOOLS:
        raise ConfigError(f"--to: unknown tool or format {to!r}; there are {', '.join(TOOLS)}")
    settings, _ = open_molecule_run(output)
    target = Path(folder) if folder is not None else output / "export" / to
    if target.exists() and not overwrite:
        raise OutputError(f"{target} is there already; take --overwrite to replace it, or another --output")
    if target.exists() and not (target / REPORT).is_file():
        raise OutputError(f"{target} holds something else than an earlier export; choose another --output")
    molecule = MolecularSystem.from_settings(settings.system)
    partial = target.with_name(f"partial-{target.name}")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    try:
        if to == "plumed":
            made = _to_plumed(partial, output, settings, molecule, what, frames)
        else:
            made = _to_trajectories(partial, output, settings, molecule, what or "reactive", to)
        report = {"to": to, "system": molecule.name, "run": str(output.resolve())} | made
        (partial / REPORT).write_text(json.dumps(report, indent=2) + "\n")
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    log.info("%s: %s", target, made["note"])
    return report | {"folder": str(target)}


def _to_trajectories(
    folder: Path, output: Path, settings: RunSettings, molecule: MolecularSystem, what: str, to: str
) -> dict[str, Any]:
    if to == "openpathsampling" and what not in UNBIASED:
        raise ConfigError(
            f"--what: {what} cannot go to OpenPathSampling: only {' and '.join(UNBIASED)} are unbiased dynamics with a "
            "real time step between frames"
        )
    trajectories = _trajectories(output, what)
    if to == "openpathsampling":
        limit = 2 * round(settings.shooting.time_limit / settings.shooting.frame_interval) + 1
        write_openpathsampling(folder, molecule, trajectories, limit)
        note = "load_openpathsampling.py opens it in an environment that has openpathsampling (numpy<2, six)"
    else:
        write_trajectories(folder, molecule, trajectories, to)
        note = NOTES[to]
        if what not in UNBIASED:
            log.warning("%s are not unbiased dynamics: their times and velocities are those of driven molecules", what)
    return {"what": what, "trajectories": len(trajectories), "note": note}


def _trajectories(output: Path, what: str) -> list[StoredTrajectory]:
    if what not in SOURCES:
        raise ConfigError(f"--what: unknown {what!r}; there are {', '.join(SOURCES)}")
    found = [StoredTrajectory.read(path) for path in sorted(output.glob(SOURCES[what]))]
    if not found:
        raise OutputError(f"{output} has no {what} ({SOURCES[what]}): the run has not made them")
    return found


def _to_plumed(
    folder: Path, output: Path, settings: RunSettings, molecule: MolecularSystem, what: str | None, frames: int
) -> dict[str, Any]:
    chosen = make_coordinates(settings, molecule).positioned
    what = what or ("low_variance" if chosen is not None else "reactive")
    heavy = select(molecule.topology, "element != H", "atoms of the reference")
    atoms = heavy if chosen is None else np.array(chosen, dtype=np.intp)
    if what in SOURCES:
        by_length = sorted(_trajectories(output, what), key=lambda trajectory: len(trajectory.time))
        middle = by_length[len(by_length) // 2]
        path, source = middle.positions[:, atoms], f"{middle.name} of {what}, that of median duration"
    else:
        geodesic = load_geodesic(output, what)
        if geodesic is None:
            raise OutputError(f"--what: {output} has neither trajectories nor a geodesic called {what!r}")
        if chosen is None:
            raise ConfigError(f"--what: the mean of {what} is one of torsions, not of positions; take reactive")
        path, source = geodesic.mean, f"the mean of the {what} geodesic"
    reference = pick_reference(path, atoms, frames, source)
    spacing = 10 * reference.spacing
    apart = f"{spacing.mean():.3f} Å apart in RMSD ({spacing.min():.3f} to {spacing.max():.3f})"
    if not reference.even:
        log.warning(
            "%s: neighbours are %s, which is uneven; take fewer --frames, or the mean of a geodesic", source, apart
        )
    write_plumed(folder, molecule.topology, reference, molecule.periodic, source)
    write_topology_pdb(
        folder / "topology.pdb", boxed_topology(molecule), molecule.structures[molecule.states[0].structure]
    )
    note = f"{frames} frames of {source}, {apart}, LAMBDA {reference.decay:.2f} nm⁻²; run PLUMED on plumed.dat there"
    return {"what": what, "trajectories": 1, "note": note}
