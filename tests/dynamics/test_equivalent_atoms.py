"""Equivalent hydrogens are named alike in all structures; mirror images are refused."""

import mdtraj
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from spacetime_tps.dynamics.energies import EnergyTask, potential_energies
from spacetime_tps.dynamics.equivalent_atoms import check_same_handedness, matched_atoms, renamed
from spacetime_tps.dynamics.workers import Engine
from spacetime_tps.errors import MoleculeError


def test_renamed_hydrogens_of_a_turned_molecule_get_their_names_back(molecule):
    """Every methyl's hydrogens are permuted, oddly or evenly, and the molecule is turned and moved."""
    reference = molecule.structures["c7eq"]
    rng = np.random.default_rng(0)
    for seed in range(20):
        shuffled = np.arange(molecule.topology.n_atoms)
        for atom in molecule.topology.atoms:
            hydrogens = sorted(
                (set(bond) - {atom}).pop().index
                for bond in molecule.topology.bonds
                if atom in bond and (set(bond) - {atom}).pop().element.symbol == "H"
            )
            shuffled[hydrogens] = rng.permutation(hydrogens)
        turned = Rotation.random(random_state=seed).apply(reference[shuffled]) + rng.normal(size=3)
        (order,) = matched_atoms(molecule.topology, reference, turned[None])
        np.testing.assert_array_equal(shuffled[order], np.arange(molecule.topology.n_atoms))


@pytest.mark.parametrize("degrees, kept", [(50, True), (70, False), (130, False), (-70, False)])
def test_a_turned_methyl_keeps_its_handedness(degrees, kept, molecule):
    """Methyls turned by up to 60 degrees keep their names; beyond, the three are renamed in a circle."""
    topology, x = molecule.topology, molecule.structures["c7eq"].copy()
    axis = [topology.select(f"resname ALA and name {name}")[0] for name in ("CA", "CB")]
    methyl = topology.select("resname ALA and name HB1 HB2 HB3")
    direction = x[axis[1]] - x[axis[0]]
    turn = Rotation.from_rotvec(np.radians(degrees) * direction / np.linalg.norm(direction))
    x[methyl] = turn.apply(x[methyl] - x[axis[1]]) + x[axis[1]]
    order = matched_atoms(topology, molecule.structures["c7eq"], x[None])[0, methyl]
    circle = methyl[np.argsort(methyl)]
    assert [tuple(np.roll(circle, shift)) for shift in range(3)].count(tuple(order)) == 1  # no odd permutation
    assert (order == methyl).all() == kept
    before, after = (np.linalg.norm(y - molecule.structures["c7eq"][methyl]) for y in (x[methyl], x[order]))
    assert after <= before


def test_structures_of_the_system_share_their_names(molecule):
    """Dihedrals of all hydrogens of methyls agree to 15 degrees between the minima."""
    quartets = []
    for residue, centre, neighbour, other in (("ACE", "CH3", "C", "O"), ("NME", "C", "N", "H")):
        methyl = molecule.topology.select(f"resname {residue} and element H and not name H")
        known = [
            molecule.topology.select(f"resname {residue} and name {name}")[0] for name in (centre, neighbour, other)
        ]
        quartets += [[atom, *known] for atom in methyl]
    assert len(quartets) == 6
    angles = [
        mdtraj.compute_dihedrals(molecule.trajectory(molecule.structures[name][None]), np.array(quartets))[0]
        for name in ("c5", "c7eq", "c7ax")
    ]
    for other in angles[1:]:
        np.testing.assert_allclose(np.cos(other - angles[0]), 1, atol=1 - np.cos(np.radians(15)))


def test_a_mirror_image_is_refused(molecule):
    """Also one whose hydrogens are named so that methyls agree."""
    x = molecule.structures["c7eq"]
    mirrored = x * [1, 1, -1]
    (mirrored,) = renamed(molecule.topology, x, mirrored[None])
    with pytest.raises(MoleculeError, match=r"'c7eq' and 'mirror' are mirror images of each other at ALA2-CA"):
        check_same_handedness(molecule.topology, "c7eq", x, "mirror", mirrored)
    check_same_handedness(molecule.topology, "c7eq", x, "c7ax", molecule.structures["c7ax"])


def test_frames_are_renamed_each_for_itself(molecule, worker):
    """Energies do not change: the hydrogens of a centre have the same parameters."""
    rng = np.random.default_rng(1)
    frames = np.stack([molecule.structures[name] for name in ("c5", "c7eq", "c7ax")])
    frames = frames + 0.005 * rng.normal(size=frames.shape)
    methyl = molecule.topology.select("resname ACE and element H")
    mixed = frames.copy()
    mixed[1, methyl] = frames[1, np.roll(methyl, 1)]
    mixed[2, methyl] = frames[2, methyl[::-1]]
    back = molecule.named_alike(mixed)
    np.testing.assert_array_equal(back, molecule.named_alike(frames))
    heavy = molecule.topology.select("element != H")
    np.testing.assert_array_equal(back[:, heavy], frames[:, heavy])
    worker(Engine.for_system(molecule, ()))
    energies = [potential_energies(EnergyTask(x)) for x in (mixed, back)]
    np.testing.assert_allclose(energies[1], energies[0], rtol=1e-9)
