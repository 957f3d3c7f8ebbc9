"""Trajectories in the formats that others read, with the real box or none, and what each format cannot hold."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import openmm
from mdtraj.formats import XTCTrajectoryFile
from openmm import app, unit

from spacetime_tps.arrays import FloatArray
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.errors import TrajectoryError
from spacetime_tps.runs.stored import StoredTrajectory
from spacetime_tps.runs.trajectories import write_topology_pdb, write_trr

NOTES: Mapping[str, str] = {
    "gromacs": "positions (nm), velocities (nm/ps), times (ps) and the box, in single precision",
    "xtc": "for viewing only: XTC has no velocities and rounds positions to 0.0005 nm, so that energies computed from "
    "it are off by kJ/mol; take gromacs (TRR) for anything else",
    "dcd": "positions in single precision and equally spaced times; DCD has no velocities: take gromacs (TRR) for them",
    "pdb": "for viewing only: PDB has neither velocities nor times and rounds positions to 0.0001 nm",
}
"""What each format holds and does not."""


def boxed_topology(molecule: MolecularSystem) -> app.Topology:
    """The topology with the box that the forces see, or none: that of the structure files may be another."""
    topology = copy.deepcopy(molecule.openmm_topology)
    box = molecule.box
    topology.setPeriodicBoxVectors(None if box is None else [openmm.Vec3(*v) for v in box] * unit.nanometer)
    return topology


def write_gromacs(folder: Path, molecule: MolecularSystem, trajectory: StoredTrajectory) -> None:
    """``NAME.trr`` with velocities, times and the box, and of its first frame ``NAME.gro``.

    Raises
    ------
    TrajectoryError
        If it has no velocities.
    """
    velocities = trajectory.need_velocities("a TRR for GROMACS goes on from them")
    box = molecule.box
    write_trr(folder / f"{trajectory.name}.trr", trajectory.positions, velocities, trajectory.time, box)
    gro = gro_text(molecule, trajectory.positions[0], velocities[0], float(trajectory.time[0]), box)
    (folder / f"{trajectory.name}.gro").write_text(gro)


def gro_text(
    molecule: MolecularSystem, positions: FloatArray, velocities: FloatArray, time: float, box: FloatArray | None
) -> str:
    """A structure (atoms, 3) as GRO, in nm and nm/ps; its box is zero in vacuum."""
    lines = [f"{molecule.name}, t= {time:.5f}", f"{len(positions):5d}"]
    for atom, x, v in zip(molecule.topology.atoms, positions, velocities, strict=True):
        residue, number = atom.residue, (atom.index + 1) % 100000
        lines.append(
            f"{residue.resSeq % 100000:5d}{residue.name:<5.5s}{atom.name:>5.5s}{number:5d}"
            + "".join(f"{value:8.3f}" for value in x)
            + "".join(f"{value:8.4f}" for value in v)
        )
    a, b, c = np.zeros((3, 3)) if box is None else box
    entries = (a[0], b[1], c[2], a[1], a[2], b[0], b[2], c[0], c[1])
    lines.append(" ".join(f"{value:9.5f}" for value in (entries if any(entries[3:]) else entries[:3])))
    return "\n".join(lines) + "\n"


def index_text(molecule: MolecularSystem, groups: Mapping[str, np.ndarray]) -> str:
    """A GROMACS index file of groups of atoms (0-based in, 1-based out)."""
    lines = []
    for name, atoms in groups.items():
        lines.append(f"[ {name} ]")
        lines += [" ".join(f"{atom + 1:d}" for atom in atoms[start : start + 15]) for start in range(0, len(atoms), 15)]
    return "\n".join(lines) + "\n"


def write_xtc(folder: Path, molecule: MolecularSystem, trajectory: StoredTrajectory) -> None:
    """``NAME.xtc``: for viewing."""
    frames, box = len(trajectory.time), molecule.box
    vectors = np.zeros((frames, 3, 3)) if box is None else np.broadcast_to(box, (frames, 3, 3))
    with XTCTrajectoryFile(str(folder / f"{trajectory.name}.xtc"), "w") as file:
        file.write(
            trajectory.positions.astype(np.float32),
            time=trajectory.time.astype(np.float32),
            step=np.arange(frames, dtype=np.int32),
            box=np.ascontiguousarray(vectors, dtype=np.float32),
        )


def write_dcd(folder: Path, molecule: MolecularSystem, trajectory: StoredTrajectory) -> None:
    """``NAME.dcd``, with the spacing of frames where readers look for it (mdtraj's DCD writer leaves it out).

    Raises
    ------
    TrajectoryError
        If frames are not equally spaced in time, which DCD cannot say.
    """
    spacing = np.diff(trajectory.time)
    step = float(spacing.mean()) if len(spacing) else molecule.time_step
    if np.abs(spacing - step).max(initial=0.0) > 1e-3 * step:
        raise TrajectoryError(
            f"{trajectory.name}: frames are not equally spaced in time, as DCD wants them; take gromacs"
        )
    with (folder / f"{trajectory.name}.dcd").open("wb+") as stream:
        file = app.DCDFile(stream, boxed_topology(molecule), step * unit.picosecond)
        for positions in trajectory.positions:
            file.writeModel(positions * unit.nanometer)


def write_pdb(folder: Path, molecule: MolecularSystem, trajectory: StoredTrajectory) -> None:
    """``NAME.pdb`` with a model for each frame: for viewing."""
    topology = boxed_topology(molecule)
    with (folder / f"{trajectory.name}.pdb").open("w") as file:
        app.PDBFile.writeHeader(topology, file)
        for number, positions in enumerate(trajectory.positions, start=1):
            app.PDBFile.writeModel(topology, positions * unit.nanometer, file, modelIndex=number, keepIds=True)
        app.PDBFile.writeFooter(topology, file)


WRITERS: Mapping[str, Callable[[Path, MolecularSystem, StoredTrajectory], None]] = {
    "gromacs": write_gromacs,
    "xtc": write_xtc,
    "dcd": write_dcd,
    "pdb": write_pdb,
}
"""By what ``spacetime-tps export --to`` calls them."""


def write_trajectories(folder: Path, molecule: MolecularSystem, trajectories: list[StoredTrajectory], to: str) -> None:
    """All trajectories in one format, with ``topology.pdb``, and for GROMACS an ``index.ndx``."""
    write_topology_pdb(folder / "topology.pdb", boxed_topology(molecule), trajectories[0].positions[0])
    for trajectory in trajectories:
        WRITERS[to](folder, molecule, trajectory)
    if to == "gromacs":
        atoms = molecule.topology
        heavy = np.array([atom.index for atom in atoms.atoms if atom.element is None or atom.element.symbol != "H"])
        groups = {"System": np.arange(atoms.n_atoms), "Heavy": heavy}
        (folder / "index.ndx").write_text(index_text(molecule, groups))
