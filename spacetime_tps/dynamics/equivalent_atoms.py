"""Names of equivalent hydrogens: which of a methyl's three is the first says nothing, but it must be so everywhere.

Tools that add hydrogens name them as they come. Two structures whose methyls are named clockwise in one and
anticlockwise in the other are joined by no motion of the molecule.
"""

from __future__ import annotations

from itertools import permutations

import mdtraj
import numpy as np
from numpy.typing import NDArray

from spacetime_tps.coordinates.cartesian import optimal_rotation
from spacetime_tps.coordinates.states import FloatArray
from spacetime_tps.errors import MoleculeError

_FLAT = 1e-4
"""nm³; a centre whose neighbours span less has no handedness. That of CH₄ is 5e-4."""


def matched_hydrogens(topology: mdtraj.Topology, reference: FloatArray, positions: FloatArray) -> NDArray[np.intp]:
    """Order of atoms in which hydrogens of one centre are named as in a reference.

    Of all ways to name the hydrogens of a centre it is the one that leaves them nearest to the reference's, once the
    centre and its neighbours are superposed. Handedness agrees then, and methyls are turned by no more than 60 degrees.

    Parameters
    ----------
    topology : mdtraj.Topology
        With bonds.
    reference : array, shape (atoms, 3)
        nm.
    positions : array, shape (frames, atoms, 3)
        nm.

    Returns
    -------
    array of int, shape (frames, atoms)
        ``positions[frame, order[frame]]`` has its hydrogens renamed.
    """
    order = np.tile(np.arange(topology.n_atoms), (len(positions), 1))
    neighbours = bonded_atoms(topology)
    hydrogen = [atom.element is not None and atom.element.symbol == "H" for atom in topology.atoms]
    for centre, bonded in enumerate(neighbours):
        ours = np.array([atom for atom in bonded if hydrogen[atom]])
        if len(ours) < 2:
            continue
        others = [atom for atom in bonded if not hydrogen[atom]]
        if len(others) == 1:  # which way round its axis the group stands is for the next atoms to say
            others += [atom for atom in neighbours[others[0]] if atom != centre]
        here, there = positions - positions[:, [centre]], reference - reference[centre]
        here = here[:, ours] @ optimal_rotation(here[:, others], there[others])
        squares = ((here[:, :, None] - there[ours]) ** 2).sum(axis=3)  # of a hydrogen here from one there
        ways = np.array(list(permutations(range(len(ours)))))
        best = ways[squares[:, ways, np.arange(len(ours))].sum(axis=2).argmin(axis=1)]
        order[:, ours] = ours[best]
    return order


def renamed(topology: mdtraj.Topology, reference: FloatArray, positions: FloatArray) -> FloatArray:
    """Positions (frames, atoms, 3) whose equivalent hydrogens are named as in a reference (atoms, 3)."""
    order = matched_hydrogens(topology, reference, positions)
    return np.take_along_axis(positions, order[:, :, None], axis=1)


def check_same_handedness(
    topology: mdtraj.Topology, name: str, reference: FloatArray, other_name: str, positions: FloatArray
) -> None:
    """Refuse two structures of which a centre of four atoms is the mirror image of itself.

    Raises
    ------
    MoleculeError
        Naming the atom.
    """
    for centre, bonded in enumerate(bonded_atoms(topology)):
        if len(bonded) != 4:
            continue
        volumes = [float(np.linalg.det(x[bonded[:3]] - x[bonded[3]])) for x in (reference, positions)]
        if volumes[0] * volumes[1] < 0 and min(map(abs, volumes)) > _FLAT:
            raise MoleculeError(
                f"structures {name!r} and {other_name!r} are mirror images of each other at {topology.atom(centre)}: "
                "no motion leads from one to the other; give two structures of the same molecule"
            )


def bonded_atoms(topology: mdtraj.Topology) -> list[list[int]]:
    """Atoms that each atom is bonded to, in rising order."""
    neighbours: list[list[int]] = [[] for _ in range(topology.n_atoms)]
    for one, two in topology.bonds:
        neighbours[one.index].append(two.index)
        neighbours[two.index].append(one.index)
    return [sorted(bonded) for bonded in neighbours]
