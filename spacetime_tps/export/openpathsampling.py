"""OpenPathSampling: a folder that its own environment opens.

Nothing here imports ``openpathsampling``, whose version 1.7 wants ``numpy<2``: the folder's loader does, and needs
nothing of this package.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import openmm

from spacetime_tps.dynamics.integrators import shooting_integrator
from spacetime_tps.dynamics.path_shape import check_path_shape
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.errors import OutputError, TrajectoryError
from spacetime_tps.runs.stored import StoredTrajectory
from spacetime_tps.runs.trajectories import write_topology_pdb

LOADER = "load_openpathsampling.py"


def frame_steps(trajectory: StoredTrajectory, time_step: float) -> int:
    """Integration steps between two frames.

    Raises
    ------
    TrajectoryError
        If frames are not equally far apart, or not by a whole number of steps.
    """
    spacing = np.diff(trajectory.time)
    steps = round(float(spacing.mean()) / time_step)
    tolerance = 1e-3 * time_step + 1e-6 * float(np.abs(trajectory.time).max())  # times are single precision
    off = np.abs(spacing - steps * time_step) > tolerance
    if steps < 1 or off.any():
        frame = int(np.argmax(off))
        raise TrajectoryError(
            f"{trajectory.name}: frames {frame} and {frame + 1} are {spacing[frame]:g} ps apart, which is not "
            f"{max(steps, 1)} time steps of {time_step:g} ps as elsewhere; shooting needs frames of dynamics, equally "
            "far apart"
        )
    return steps


def write_openpathsampling(
    folder: Path, molecule: MolecularSystem, trajectories: Sequence[StoredTrajectory], max_frames: int
) -> None:
    """Write a folder that its ``load_openpathsampling.py`` opens where this package is not installed.

    In it are ``topology.pdb``, ``system.xml``, ``integrator.xml`` (BAOAB, the one that made the trajectories),
    ``settings.json`` with states and collective variables, and ``trajectories/*.npz``: positions (nm), velocities
    (nm/ps) and times (ps).

    Parameters
    ----------
    folder : Path
        There already, and empty.
    molecule : MolecularSystem
    trajectories : sequence of StoredTrajectory
        Unbiased dynamics from A to B, all with the same spacing of frames.
    max_frames : int
        Longest path that the engine makes.

    Raises
    ------
    TrajectoryError
        If a trajectory has no velocities, another shape than a path from A to B, or another spacing of frames.
    """
    spacings = []
    for trajectory in trajectories:
        check_path_shape(molecule.states, trajectory.positions, trajectory.name)
        trajectory.need_velocities("OpenPathSampling shoots from snapshots with velocities")
        spacings.append(frame_steps(trajectory, molecule.time_step))
    other = [t.name for t, steps in zip(trajectories, spacings, strict=True) if steps != spacings[0]]
    if other:
        raise TrajectoryError(
            f"{other[0]} has another time between frames than {trajectories[0].name}: export them apart"
        )
    write_topology_pdb(folder / "topology.pdb", molecule.openmm_topology, trajectories[0].positions[0])
    (folder / "system.xml").write_text(molecule.system_xml)
    constraints = openmm.XmlSerializer.deserialize(molecule.system_xml).getNumConstraints() > 0
    integrator = shooting_integrator(molecule.temperature, molecule.friction, molecule.time_step, constraints)
    (folder / "integrator.xml").write_text(openmm.XmlSerializer.serialize(integrator))
    settings = describe(molecule) | {"frame_steps": spacings[0], "max_frames": max_frames}
    (folder / "settings.json").write_text(json.dumps(settings, indent=2) + "\n")
    (folder / "trajectories").mkdir()
    for trajectory in trajectories:
        columns = {key: getattr(trajectory, key) for key in ("positions", "velocities", "time")}
        np.savez(folder / "trajectories" / f"{trajectory.name}.npz", **columns)
    shutil.copyfile(str(files("spacetime_tps.export") / LOADER), folder / LOADER)


def describe(molecule: MolecularSystem) -> dict[str, Any]:
    """Thermodynamic state, collective variables (atoms 0-based) and states (bounds in rad or nm), as JSON."""
    return {
        "name": molecule.name,
        "temperature": molecule.temperature,
        "friction": molecule.friction,
        "time_step": molecule.time_step,
        "platform": molecule.platform,
        "variables": {
            name: {"kind": variable.kind, "atoms": list(variable.atoms)}
            for name, variable in molecule.variables.items()
        },
        "states": [
            {"name": state.name, "boxes": [{key: list(bounds) for key, bounds in box.items()} for box in state.boxes]}
            for state in molecule.states
        ],
    }


def to_openpathsampling(folder: Path) -> Any:
    """Engine, states and trajectories of an exported folder, where ``openpathsampling`` is installed.

    Returns
    -------
    Loaded
        With ``engine``, ``states``, ``variables``, ``trajectories`` and ``velocities``.

    Raises
    ------
    OutputError
        If ``openpathsampling`` cannot be imported here.
    """
    try:
        from spacetime_tps.export.load_openpathsampling import load
    except ImportError as error:
        raise OutputError(
            f"OpenPathSampling cannot be imported here ({error}); its version 1.7 wants an environment of its own with "
            f"numpy<2 and six: run {folder / LOADER} there, which needs nothing of this package"
        ) from error
    return load(folder)
