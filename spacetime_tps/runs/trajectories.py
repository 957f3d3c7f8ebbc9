"""Trajectories on disk: TRR for dynamics, HDF5 for samples with their energies, PDB for the topology.

Every file is written beside its final name first and renamed when complete.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import mdtraj
import numpy as np
import openmm.app
from mdtraj.formats import HDF5TrajectoryFile, TRRTrajectoryFile
from numpy.typing import ArrayLike, NDArray
from openmm import unit
from openmm.app.internal import xtc_utils

from spacetime_tps.arrays import FloatArray
from spacetime_tps.errors import OutputError, TrajectoryError
from spacetime_tps.runs.hdf5 import read_hdf5
from spacetime_tps.runs.trajectory_files import check_frames
from spacetime_tps.writing import KEPT, replacing


def write_trr(
    path: Path,
    positions: FloatArray,
    velocities: FloatArray | None,
    time: FloatArray,
    box: FloatArray | None = None,
) -> None:
    """Write a GROMACS TRR file, in single precision. The step of a frame is its index.

    Parameters
    ----------
    path : Path
        Overwritten if it exists.
    positions : array, shape (frames, atoms, 3)
        nm.
    velocities : array, shape (frames, atoms, 3), or None
        nm/ps.
    time : array, shape (frames,)
        ps.
    box : array, shape (3, 3) or (frames, 3, 3), optional
        Box vectors in nm; None for vacuum.

    Raises
    ------
    TrajectoryError
        If shapes do not agree, there are no frames, or a number is not finite in single precision.
    OutputError
        If the path is not plain ASCII, which mdtraj's TRR needs.
    """
    if not str(path).isascii():
        raise OutputError(f"{path}: TRR files need a path of plain ASCII characters; choose another directory")
    xyz = _checked_positions(path, positions)
    frames = len(xyz)
    vel = None if velocities is None else _checked(path, "velocities", velocities, xyz.shape)
    vectors = np.zeros((3, 3)) if box is None else np.asarray(box)
    vectors = np.broadcast_to(vectors, (frames, 3, 3)) if vectors.shape == (3, 3) else vectors
    columns = (
        _checked(path, "times", time, (frames,)),
        np.arange(frames, dtype=np.int32),
        _checked(path, "box vectors", vectors, (frames, 3, 3)),
        np.zeros(frames, dtype=np.float32),  # alchemical λ
    )
    with replacing(path) as partial:
        with TRRTrajectoryFile(str(partial), "w") as file:
            file._write(xyz, *columns, vel)  # the public write() takes no velocities
        _check_written(path, xyz, lambda: read_trr(partial)[0])


def read_trr(path: Path) -> tuple[FloatArray, FloatArray | None, FloatArray]:
    """Read a TRR file with its velocities, which ``mdtraj.load`` drops.

    Returns
    -------
    positions : array, shape (frames, atoms, 3)
        nm.
    velocities : array, shape (frames, atoms, 3), or None
        nm/ps; None if the file has none.
    time : array, shape (frames,)
        ps.

    Raises
    ------
    TrajectoryError
        If the file is missing or unreadable.
    """
    try:
        check_frames(path)
        with TRRTrajectoryFile(str(path)) as file:
            has_velocities = file._check_has_velocities_forces()[0] > 0
            xyz, time, _, _, _, velocities, _ = file._read(len(file), None, has_velocities)
    except (OSError, RuntimeError, UnicodeEncodeError) as error:
        raise TrajectoryError(f"{path} cannot be read as TRR: {error}") from error
    return xyz.astype(float), velocities.astype(float) if has_velocities else None, time.astype(float)


def write_hdf5(
    path: Path,
    trajectory: mdtraj.Trajectory,
    potential_energy: FloatArray | None = None,
    temperature: float | None = None,
) -> None:
    """Write an mdtraj HDF5 file, in single precision, with its topology and times inside.

    Parameters
    ----------
    path : Path
        Ends in ``.h5``; overwritten if it exists.
    trajectory : mdtraj.Trajectory
    potential_energy : array, shape (frames,), optional
        kJ/mol.
    temperature : float, optional
        That of the ensemble, K.

    Raises
    ------
    TrajectoryError
        If shapes do not agree, there are no frames, or a number is not finite in single precision.
    """
    xyz = _checked_positions(path, trajectory.xyz)
    frames = len(xyz)
    energy = None if potential_energy is None else _checked(path, "energies", potential_energy, (frames,))
    with replacing(path) as partial:
        with HDF5TrajectoryFile(str(partial), "w") as file:
            file.topology = trajectory.topology
            file.write(
                xyz,
                time=_checked(path, "times", trajectory.time, (frames,)),
                cell_lengths=trajectory.unitcell_lengths,
                cell_angles=trajectory.unitcell_angles,
                potentialEnergy=energy,
                temperature=None if temperature is None else np.full(frames, temperature),
            )
        _check_written(path, xyz, lambda: read_hdf5(partial).xyz)


def _check_written(path: Path, positions: NDArray[np.float32], read: Callable[[], ArrayLike]) -> None:
    """Read what was written: the libraries of both formats say nothing if the disk is full when they close a file."""
    try:
        whole = np.array_equal(read(), positions)
    except TrajectoryError:
        whole = False
    if not whole:
        raise OutputError(f"{path} cannot be written whole (is the disk full?); {KEPT}")


def read_xtc(path: Path, topology: mdtraj.Topology) -> mdtraj.Trajectory:
    """Read a GROMACS XTC file by OpenMM, whose reader survives damaged frames; mdtraj's writes beyond its memory.

    Raises
    ------
    TrajectoryError
        If the file is missing, damaged or of another number of atoms.
    """
    check_frames(path, topology.n_atoms)
    try:
        xyz, box, time, _ = xtc_utils.read_xtc(os.fsencode(path))
    except Exception as error:  # damaged files fail in many ways
        raise TrajectoryError(f"{path} cannot be read as XTC: {error}") from error
    trajectory = mdtraj.Trajectory(xyz.transpose(2, 0, 1), topology, time=time)
    if box.any():
        trajectory.unitcell_vectors = box.transpose(2, 0, 1)
    return trajectory


def write_topology_pdb(path: Path, topology: openmm.app.Topology, positions: FloatArray) -> None:
    """Write the structure that belongs to trajectories of a molecule, with the topology's own residue numbers.

    Parameters
    ----------
    path : Path
        Overwritten if it exists.
    topology : openmm.app.Topology
    positions : array, shape (atoms, 3)
        nm.

    Raises
    ------
    TrajectoryError
        If the number of positions is not that of the atoms, or one is not finite.
    """
    _checked(path, "positions", [positions], (1, topology.getNumAtoms(), 3))
    with replacing(path) as partial:
        openmm.app.PDBFile.writeFile(topology, positions * unit.nanometer, str(partial), keepIds=True)


def _checked_positions(path: Path, positions: FloatArray) -> NDArray[np.float32]:
    shape = np.shape(positions)
    if len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise TrajectoryError(
            f"{path} not written: positions have shape {shape}; give (frames, atoms, 3) with at least one frame"
        )
    return _checked(path, "positions", positions, shape)


def _checked(path: Path, name: str, values: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Values in single precision, refused unless they have this shape, frames first, and are finite."""
    if np.shape(values) != shape:
        raise TrajectoryError(f"{path} not written: {name} have shape {np.shape(values)}, expected {shape}")
    with np.errstate(over="ignore"):
        single = np.ascontiguousarray(values, dtype=np.float32)
    broken = np.flatnonzero(~np.isfinite(single).reshape(len(single), -1).all(axis=1))
    if len(broken) > 0:
        raise TrajectoryError(
            f"{path} not written: {name} in frame {broken[0]} of {len(single)} (0-based) are not finite numbers; "
            "keep only the frames before it, and look for what broke the simulation there"
        )
    return single
