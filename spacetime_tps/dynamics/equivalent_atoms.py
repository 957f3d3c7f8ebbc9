"""Names of equivalent atoms: which of a methyl's three is the first says nothing, but it must be so everywhere.

Tools name hydrogens, and the two sides of a phenyl, as they come. Two structures whose methyls are named clockwise in
one and anticlockwise in the other are joined by no motion of the molecule; two whose phenyls are named the other way
round are joined by a path that turns the ring by 180 degrees and ends where it began. :mod:`.local_groups` says which
atoms are equivalent: bonds and elements decide, and a force field is taken to treat them alike.
"""

from __future__ import annotations

import mdtraj
import numpy as np
from numpy.typing import NDArray

from spacetime_tps.arrays import FloatArray
from spacetime_tps.coordinates.cartesian import optimal_rotation
from spacetime_tps.dynamics.local_groups import LocalGroup, local_groups
from spacetime_tps.dynamics.molecular_graph import MolecularGraph
from spacetime_tps.errors import MoleculeError

_FLAT = 1e-4
"""nm³; a centre whose neighbours span less has no handedness. That of CH₄ is 5e-4."""
_STRAIGHT = 0.03
"""nm; atoms that lie nearer to a line than this do not say how a group stands about it."""


def matched_atoms(topology: mdtraj.Topology, reference: FloatArray, positions: FloatArray) -> NDArray[np.intp]:
    """Order of atoms in which equivalent atoms of a group are named as in a reference.

    Of all ways to name a group it is the one that leaves its atoms nearest to the reference's, once the atoms that the
    group hangs on are superposed. A naming that turns the handedness of a centre against the reference's is not taken:
    the methyls of valine keep their names however they stand, and change them only where another program has named them
    the other way round. Methyls are turned by no more than 60 degrees, phenyls and carboxylates by no more than 90.

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
        ``positions[frame, order[frame]]`` has its equivalent atoms renamed. Water and other solvent keep their names.
    """
    order = np.tile(np.arange(topology.n_atoms), (len(positions), 1))
    for group in local_groups(topology):
        held = _held(group, reference)
        if held:
            _rename(group, held, reference, positions, order)
    return order


def renamed(topology: mdtraj.Topology, reference: FloatArray, positions: FloatArray) -> FloatArray:
    """Positions (frames, atoms, 3) whose equivalent atoms are named as in a reference (atoms, 3)."""
    order = matched_atoms(topology, reference, positions)
    return np.take_along_axis(positions, order[:, :, None], axis=1)


def find_mirror_image(
    topology: mdtraj.Topology, reference: FloatArray, positions: FloatArray
) -> tuple[int, mdtraj.core.topology.Atom] | None:
    """The first frame, and its first centre of four atoms, that is the mirror image of the reference's.

    Equivalent atoms must be named as in the reference. A centre whose four neighbours are alike has no handedness, and
    solvent is not looked at.

    Parameters
    ----------
    topology : mdtraj.Topology
    reference : array, shape (atoms, 3)
        nm.
    positions : array, shape (frames, atoms, 3)
        nm.

    Returns
    -------
    tuple of int and Atom, or None
        None if there is no such frame.
    """
    graph = MolecularGraph.of(topology)
    centres = [
        atom
        for atom in graph.colours
        if len(graph.neighbours[atom]) == 4 and len({graph.colours[other] for other in graph.neighbours[atom]}) > 1
    ]
    if not centres:
        return None
    neighbours = np.array([graph.neighbours[centre] for centre in centres])
    mirrored = _is_mirrored(_volumes(reference[neighbours]), _volumes(positions[:, neighbours]))
    if not mirrored.any():
        return None
    frame, index = (int(found[0]) for found in np.nonzero(mirrored))
    return frame, topology.atom(centres[index])


def check_same_handedness(
    topology: mdtraj.Topology, name: str, reference: FloatArray, other_name: str, positions: FloatArray
) -> None:
    """Refuse two structures (atoms, 3) of which a centre of four atoms is the mirror image of itself.

    Raises
    ------
    MoleculeError
        Naming the atom.
    """
    found = find_mirror_image(topology, reference, positions[None])
    if found is not None:
        raise MoleculeError(
            f"structures {name!r} and {other_name!r} are mirror images of each other at {found[1]}: "
            "no motion leads from one to the other; give two structures of the same molecule"
        )


def _held(group: LocalGroup, reference: FloatArray) -> list[int]:
    """Atoms to superpose: as few shells as are not on a line with the centre; none if all are."""
    held: list[int] = []
    for shell in group.shells:
        held += shell
        if len(held) > 1 and np.linalg.svd(reference[held] - reference[group.centre])[1][1] > _STRAIGHT:
            return held
    return []


def _rename(
    group: LocalGroup, held: list[int], reference: FloatArray, positions: FloatArray, order: NDArray[np.intp]
) -> None:
    """Rename a group in every frame of ``order``, in place."""
    moved = sorted(group.namings[0])
    atoms = sorted({group.centre, *held, *moved, *(one for four in group.stereo for one in four)})
    place = {atom: index for index, atom in enumerate(atoms)}
    frames = np.take_along_axis(positions, order[:, atoms][:, :, None], axis=1)
    frames = frames - frames[:, [place[group.centre]]]
    there = reference[atoms] - reference[group.centre]

    fixed, compared = ([place[atom] for atom in some] for some in (held, group.compared))
    turned = frames[:, compared] @ optimal_rotation(frames[:, fixed], there[fixed])
    squares = ((turned[:, :, None] - there[compared]) ** 2).sum(axis=3)  # of an atom here from one there
    index = {atom: number for number, atom in enumerate(group.compared)}
    ways = np.array([[index[naming[atom]] for atom in group.compared] for naming in group.namings])
    deviations = squares[:, ways, np.arange(len(compared))].sum(axis=2)
    if group.stereo:
        four = np.array(
            [[[place[n.get(atom, atom)] for atom in atoms] for atoms in group.stereo] for n in group.namings]
        )
        mirrored = _is_mirrored(_volumes(there[four[0]]), _volumes(frames[:, four]))
        deviations = deviations + np.where(mirrored.any(axis=2), np.inf, 0)
    best = deviations.argmin(axis=1)  # the first one, which changes nothing, if all are mirrored
    taken = np.array([[naming[atom] for atom in moved] for naming in group.namings])[best]
    order[:, moved] = np.take_along_axis(order, taken, axis=1)


def _volumes(neighbours: FloatArray) -> FloatArray:
    """Signed volumes (...) spanned by four atoms (..., 4, 3)."""
    return np.asarray(np.linalg.det(neighbours[..., :3, :] - neighbours[..., 3:, :]))


def _is_mirrored(reference: FloatArray, volumes: FloatArray) -> NDArray[np.bool_]:
    mirrored: NDArray[np.bool_] = (reference * volumes < 0) & (np.minimum(abs(reference), abs(volumes)) > _FLAT)
    return mirrored
