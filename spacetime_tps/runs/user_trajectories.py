"""Trajectories and frame weights that the user brings: everything is looked at, nothing is silently chosen."""

from __future__ import annotations

from pathlib import Path

import mdtraj
import numpy as np
from numpy.typing import NDArray

from spacetime_tps.arrays import FloatArray
from spacetime_tps.dynamics.equivalent_atoms import find_mirror_image
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.errors import TrajectoryError
from spacetime_tps.progress import log
from spacetime_tps.runs.hdf5 import read_hdf5
from spacetime_tps.runs.trajectories import read_xtc
from spacetime_tps.runs.trajectory_files import check_frames

_WITH_TOPOLOGY = (".h5", ".hdf5", ".pdb", ".gro")
_WITHOUT_TOPOLOGY = (".dcd", ".xtc", ".trr", ".nc", ".ncdf", ".netcdf")
_SAME_BOX = 2e-3
"""nm and rad; files round."""
_LARGEST_WEIGHT = 1e200
"""Sums stay finite."""


def load_user_trajectory(path: Path, molecule: MolecularSystem) -> mdtraj.Trajectory:
    """A user's trajectory of this molecule, every frame checked and its equivalent atoms named as in the structures.

    Raises
    ------
    TrajectoryError
        If the file cannot be read, is cut short, can run code or has other atoms or another box, or if a frame is not
        finite, broken or of the other handedness.
    """
    trajectory = _read(path, molecule)
    if trajectory.n_atoms != molecule.topology.n_atoms:
        raise TrajectoryError(f"{path} has {trajectory.n_atoms} atoms, {molecule.name} has {molecule.topology.n_atoms}")
    for mine, theirs in zip(molecule.topology.atoms, trajectory.topology.atoms, strict=True):
        if mine.element != theirs.element:
            raise TrajectoryError(
                f"{path}: atom {mine.index + 1} is {theirs} ({_symbol(theirs)}), in {molecule.name} it is "
                f"{mine} ({_symbol(mine)}); the atoms must be in the order of the structures"
            )
    if trajectory.n_frames == 0:
        raise TrajectoryError(f"{path} has no frames")
    finite = np.isfinite(trajectory.xyz).all(axis=(1, 2))
    if not finite.all():
        frame = int(np.argmin(finite))
        raise TrajectoryError(f"{path}: frame {frame} has positions that are not finite; remove it")
    _check_box(path, trajectory, molecule)
    _check_bonds(path, trajectory, molecule)
    trajectory.xyz = molecule.named_alike(trajectory.xyz)
    _check_handedness(path, trajectory, molecule)
    return trajectory


def load_frame_weights(path: Path, frames: int, stride: int) -> FloatArray:
    """Weights of a trajectory's frames, shape (frames,), from a text file or an array of numpy's.

    Raises
    ------
    TrajectoryError
        If the file cannot be read, has not one number a frame, or a number is negative or not finite, or those of every
        ``stride``-th frame are all zero.
    """
    try:
        if path.suffix == ".npy":
            values: NDArray[np.generic] = np.lib.format.open_memmap(path, mode="r")
        else:
            with path.open(encoding="utf-8") as file:
                values = np.loadtxt(file)
    except Exception as error:  # damaged files fail in many ways
        raise TrajectoryError(f"frame weights {path} cannot be read: {error}") from error
    values = np.atleast_1d(values)
    if values.shape != (frames,):
        raise TrajectoryError(f"{path} has {len(values)} weights for {frames} frames")
    if values.dtype.kind not in "fiu" or not np.isfinite(values.astype(float)).all():
        raise TrajectoryError(f"{path}: frame weights must be numbers, finite and not negative")
    weights = values.astype(float)
    if (weights < 0).any():
        raise TrajectoryError(f"{path}: frame weights must be numbers, finite and not negative")
    if not weights[::stride].any():
        raise TrajectoryError(f"{path}: every frame weight is zero")
    if weights.max() > _LARGEST_WEIGHT:
        raise TrajectoryError(f"{path}: frame weights are too large; divide them by {weights.max():.0e}")
    return weights


def _read(path: Path, molecule: MolecularSystem) -> mdtraj.Trajectory:
    """Read a file that has been looked at."""
    suffix = path.suffix.lower()
    if not path.is_file():
        raise TrajectoryError(f"there is no trajectory {path}")
    if suffix not in _WITH_TOPOLOGY + _WITHOUT_TOPOLOGY:
        known = ", ".join(_WITHOUT_TOPOLOGY + _WITH_TOPOLOGY)
        raise TrajectoryError(
            f"{path} cannot be read as a trajectory of {molecule.name}: its ending must be one of {known}"
        )
    if suffix in (".h5", ".hdf5"):
        return read_hdf5(path)
    if suffix == ".xtc":
        return read_xtc(path, molecule.topology)
    if suffix == ".pdb":
        _check_pdb(path)
    frames = check_frames(path, molecule.topology.n_atoms)
    if frames == 0:
        raise TrajectoryError(f"{path} has no frames")
    try:
        trajectory = mdtraj.load(str(path), **({} if suffix in _WITH_TOPOLOGY else {"top": molecule.topology}))
    except Exception as error:  # damaged files fail in many ways
        raise TrajectoryError(
            f"{path} cannot be read as a trajectory of {molecule.name} ({molecule.topology.n_atoms} atoms): {error}"
        ) from error
    if frames is not None and trajectory.n_frames != frames:
        raise TrajectoryError(f"{path} has {frames} frames, of which {trajectory.n_frames} can be read; it is damaged")
    return trajectory


def _check_pdb(path: Path) -> None:
    """Refuse alternate locations: a frame has one."""
    with path.open(encoding="ascii", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if line.startswith(("ATOM  ", "HETATM")) and line[16:17].strip():
                raise TrajectoryError(
                    f"{path}: line {number} is an alternate location ({line[16]}) of atom {line[12:16].strip()} of "
                    f"{line[17:26].strip()}; keep one location of every atom, and leave column 17 empty"
                )


def _check_box(path: Path, trajectory: mdtraj.Trajectory, molecule: MolecularSystem) -> None:
    """Refuse frames in another box than the structures'."""
    box = molecule.box
    if box is None:
        return
    theirs = trajectory.unitcell_vectors
    if theirs is None or not np.nan_to_num(theirs).any():
        log.warning("%s has no box; its frames are taken to be in that of the structures", path)
        return
    with np.errstate(invalid="ignore"):
        differs = ~(np.abs(theirs - box) <= _SAME_BOX).all(axis=(1, 2))
    if differs.any():
        frame = int(np.argmax(differs))
        lengths = [" × ".join(f"{x:.4f}" for x in np.linalg.norm(one, axis=1)) for one in (theirs[frame], box)]
        raise TrajectoryError(
            f"{path}: frame {frame} is in a box of {lengths[0]} nm, the structures are in one of {lengths[1]} nm; "
            "give frames of dynamics at constant volume in the structures' box"
        )


def _check_bonds(path: Path, trajectory: mdtraj.Trajectory, molecule: MolecularSystem) -> None:
    pairs = np.array([(a.index, b.index) for a, b in molecule.topology.bonds])
    if not len(pairs):
        return
    reference = next(iter(molecule.structures.values()))
    usual = np.linalg.norm(reference[pairs[:, 0]] - reference[pairs[:, 1]], axis=1)
    lengths = mdtraj.compute_distances(trajectory, pairs, periodic=False)
    stretched = ~((lengths <= 2 * usual) & (lengths >= 0.5 * usual))
    if stretched.any():
        frame, bond = (int(i[0]) for i in np.nonzero(stretched))
        one, two = (molecule.topology.atom(int(atom)) for atom in pairs[bond])
        raise TrajectoryError(
            f"{path}: frame {frame} is broken: {one} and {two} are bonded but {lengths[frame, bond]:.3f} nm "
            "apart; make molecules whole across the periodic box, or remove the frame"
        )


def _check_handedness(path: Path, trajectory: mdtraj.Trajectory, molecule: MolecularSystem) -> None:
    reference = next(iter(molecule.structures.values()))
    found = find_mirror_image(molecule.topology, reference, trajectory.xyz)
    if found is not None:
        raise TrajectoryError(
            f"{path}: frame {found[0]} is the mirror image of the structures at {found[1]}: no motion leads from one "
            "to the other; remove the frame, or give a trajectory of the same molecule"
        )


def _symbol(atom: mdtraj.core.topology.Atom) -> str:
    return str(atom.element.symbol) if atom.element is not None else "no element"
