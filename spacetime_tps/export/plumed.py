"""PLUMED: a path collective variable (PATHMSD) whose reference is a path or the mean of a geodesic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import mdtraj
import numpy as np
from numpy.typing import NDArray

from spacetime_tps.arrays import FloatArray
from spacetime_tps.errors import ConfigError, TrajectoryError

REFERENCE, INPUT = "reference.pdb", "plumed.dat"
CANDIDATES = 240
"""Frames among which those of the reference are picked."""

_MAX_SERIAL = 99999
_UNEVEN = 0.25


@dataclass(frozen=True)
class PathReference:
    """Reference frames of a path collective variable.

    Attributes
    ----------
    positions : array, shape (frames, atoms, 3)
        nm, superposed on the first.
    atoms : array of int, shape (atoms,)
        0-based, in the molecule.
    spacing : array, shape (frames - 1,)
        RMSD of neighbours, nm.
    """

    positions: FloatArray
    atoms: NDArray[np.intp]
    spacing: FloatArray

    @property
    def decay(self) -> float:
        """λ of s = Σ i exp(−λ d_i²)/Σ exp(−λ d_i²), nm⁻²: 2.3 over the mean squared deviation of neighbours.

        Then a neighbour counts a tenth (Branduardi, Gervasio & Parrinello, J. Chem. Phys. 126, 054103 (2007)).
        """
        return float(2.3 / np.mean(self.spacing**2))

    @property
    def even(self) -> bool:
        """Whether every spacing is within 25 % of their mean."""
        return bool((np.abs(self.spacing / self.spacing.mean() - 1) <= _UNEVEN).all())


def pick_reference(positions: FloatArray, atoms: NDArray[np.intp], count: int, name: str) -> PathReference:
    """Frames of a path, from its first to its last and in its order, that are as evenly spaced in RMSD as can be.

    Of all choices that with the least sum of squared RMSD of neighbours, which is even and as short as the path allows;
    found by dynamic programming.

    Parameters
    ----------
    positions : array, shape (frames, atoms, 3)
        nm, of the chosen atoms only. Fewer than :data:`CANDIDATES` are interpolated, more are thinned.
    atoms : array of int, shape (atoms,)
        Their indices in the molecule, 0-based.
    count : int
        Frames to pick: two or more, and far fewer than there are candidates.
    name : str
        Of the path, for messages.

    Raises
    ------
    ConfigError
        If too few or too many frames are asked for.
    TrajectoryError
        If there are fewer than three atoms or two frames, or the path has no length.
    """
    if not 2 <= count <= CANDIDATES // 4:
        raise ConfigError(f"a path reference has 2 to {CANDIDATES // 4} frames, not {count}")
    if len(positions) < 2 or len(atoms) < 3:
        raise TrajectoryError(f"{name}: a path reference needs two frames and three atoms, not {positions.shape[:2]}")
    frames = _superposed(_refined(positions))
    chosen = _evenly(_squared_deviations(frames), count)
    picked = frames[chosen]
    squared = _squared_deviations(picked)
    spacing = np.sqrt(np.diagonal(squared, offset=1))
    if not spacing.min() > 1e-6:
        raise TrajectoryError(f"{name}: neighbouring reference frames are alike; ask for fewer than {count}")
    return PathReference(picked, atoms, spacing)


def write_plumed(
    folder: Path, topology: mdtraj.Topology, reference: PathReference, periodic: bool, source: str
) -> None:
    """Write ``reference.pdb`` and a ``plumed.dat`` that computes progress s and distance z from it.

    Columns are those that PLUMED reads: real serial numbers, Å, occupancy 1 (weight in the superposition) and beta 1
    (weight in the deviation), each frame ended by ``END``.

    Parameters
    ----------
    folder : Path
        There already.
    topology : mdtraj.Topology
        Of the whole molecule.
    reference : PathReference
    periodic : bool
        Whether the molecule lives in a periodic box: then PLUMED makes it whole first.
    source : str
        What the frames are of, for the comment.

    Raises
    ------
    TrajectoryError
        If an atom's number does not fit the format.
    """
    serials = reference.atoms + 1
    if serials.max() > _MAX_SERIAL:
        raise TrajectoryError(f"atom {serials.max()} does not fit a PDB file of PLUMED, which ends at {_MAX_SERIAL}")
    lines = []
    for frame in 10 * reference.positions:
        if np.abs(frame).max() >= 999:
            raise TrajectoryError("positions beyond 99 nm do not fit a PDB file")
        lines += [_atom_line(topology.atom(int(i)), xyz) for i, xyz in zip(reference.atoms, frame, strict=True)]
        lines.append("END")
    (folder / REFERENCE).write_text("\n".join(lines) + "\n")
    (folder / INPUT).write_text(plumed_input(reference, topology.n_atoms, periodic, source))


def plumed_input(reference: PathReference, atoms: int, periodic: bool, source: str) -> str:
    """Text of a ``plumed.dat``: PATHMSD, a COLVAR file, and the reference's atoms along the run."""
    frames, rmsd = len(reference.positions), 10 * reference.spacing
    listed = ",".join(_ranges(reference.atoms + 1))
    whole = f"WHOLEMOLECULES ENTITY0=1-{atoms}\n" if periodic else ""
    no_box = "" if periodic else " NOPBC"
    return f"""# Path of {frames} frames from {source}.
# Neighbours are {rmsd.mean():.3f} Å apart in RMSD ({rmsd.min():.3f} to {rmsd.max():.3f});
# LAMBDA = 2.3 / mean squared deviation of neighbours, in nm^-2.
{whole}path: PATHMSD REFERENCE={REFERENCE} LAMBDA={reference.decay:.4f}{no_box}
# path.sss runs from 1 (A) to {frames} (B); path.zzz is the distance from the path, nm^2
PRINT ARG=path.sss,path.zzz STRIDE=100 FILE=COLVAR
DUMPATOMS ATOMS={listed} STRIDE=1000 FILE=path_atoms.gro
"""


def _atom_line(atom: mdtraj.core.topology.Atom, xyz: FloatArray) -> str:
    name = atom.name if len(atom.name) >= 4 else f" {atom.name}"
    place = "".join(f"{value:8.3f}" for value in xyz)
    return (
        f"ATOM  {atom.index + 1:5d} {name:<4.4s} {atom.residue.name:>3.3s} A{atom.residue.resSeq % 10000:4d}    "
        f"{place}  1.00  1.00"
    )


def _ranges(serials: Sequence[int] | NDArray[np.intp]) -> list[str]:
    """Numbers as PLUMED lists them: 1-4,7."""
    groups = np.split(np.asarray(serials), np.flatnonzero(np.diff(serials) != 1) + 1)
    return [f"{group[0]}-{group[-1]}" if len(group) > 1 else f"{group[0]}" for group in groups]


def _refined(positions: FloatArray) -> FloatArray:
    """The path as :data:`CANDIDATES` frames: some of those that there are, or linear between them."""
    frames = _superposed(positions)
    place = np.linspace(0, len(frames) - 1, CANDIDATES)
    if len(frames) >= CANDIDATES:
        return np.asarray(frames[place.round().astype(int)])
    left = np.minimum(place.astype(int), len(frames) - 2)
    share = (place - left)[:, None, None]
    return np.asarray((1 - share) * frames[left] + share * frames[left + 1])


def _superposed(positions: FloatArray) -> FloatArray:
    """Each frame on the one before it, the first centred."""
    frames: FloatArray = positions - positions.mean(axis=1, keepdims=True)
    for previous, frame in pairwise(frames):
        u, _, vt = np.linalg.svd(frame.T @ previous)
        flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
        frame[:] = frame @ (u @ flip @ vt)
    return frames


def _squared_deviations(frames: FloatArray) -> FloatArray:
    """Mean squared deviation of every pair of frames, superposed on each other; shape (frames, frames).

    From the singular values of the covariance: Kabsch, Acta Cryst. A 32, 922 (1976).
    """
    sizes = (frames**2).sum(axis=(1, 2))
    columns = frames.transpose(0, 2, 1).reshape(-1, frames.shape[1])
    covariance = (columns @ columns.T).reshape(len(frames), 3, len(frames), 3).swapaxes(1, 2)
    singular = np.linalg.svd(covariance, compute_uv=False)
    singular[..., 2] *= np.sign(np.linalg.det(covariance))
    squared = sizes[:, None] + sizes[None] - 2 * singular.sum(axis=-1)
    return np.asarray(squared.clip(min=0) / frames.shape[1])


def _evenly(squared: FloatArray, count: int) -> NDArray[np.intp]:
    """Indices of ``count`` frames, first and last among them, whose neighbours' squared deviations sum to the least."""
    frames = len(squared)
    later = np.where(np.arange(frames)[:, None] < np.arange(frames)[None], squared, np.inf)
    cost, before = later[0], [np.zeros(frames, dtype=np.intp)]
    for _ in range(count - 2):
        through = cost[:, None] + later
        before.append(through.argmin(axis=0))
        cost = through.min(axis=0)
    chosen = [frames - 1]
    for previous in reversed(before):
        chosen.append(int(previous[chosen[-1]]))
    return np.array(chosen[::-1])
