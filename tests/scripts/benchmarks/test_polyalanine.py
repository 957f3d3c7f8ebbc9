"""The molecules that costs are measured on."""

import mdtraj
import numpy as np
import pytest


def test_polyalanine_is_a_helix_of_l_residues(script):
    build = script("polyalanine")
    topology, _, positions = build.polyalanine(12)
    top = mdtraj.Topology.from_openmm(topology)
    assert top.n_atoms == 12 + 10 * 12
    assert [residue.name for residue in top.residues] == ["ACE", *["ALA"] * 12, "NME"]
    build.check(top, positions)
    frame = mdtraj.Trajectory(positions, top)
    phi, psi = (np.degrees(compute(frame)[1][0]) for compute in (mdtraj.compute_phi, mdtraj.compute_psi))
    inner = slice(2, -2)  # the ends fray
    assert np.abs(phi[inner] + 62).max() < 15 and np.abs(psi[inner] + 42).max() < 15  # of α-helices in proteins
    rise = np.linalg.norm(np.diff(positions[[a.index for a in top.atoms if a.name == "CA"]], axis=0), axis=1)
    np.testing.assert_allclose(rise, 0.38, atol=0.01)  # Cα to Cα across a trans peptide bond


def test_a_mirrored_or_crowded_molecule_is_refused(script):
    build = script("polyalanine")
    topology, _, positions = build.polyalanine(2)
    top = mdtraj.Topology.from_openmm(topology)
    with pytest.raises(RuntimeError, match="ALA2 is not an L-amino acid"):
        build.check(top, positions * np.array([1.0, 1.0, -1.0]))
    crowded = positions.copy()
    first, last = (
        next(a.index for a in top.atoms if a.residue.name == name and a.name == "H1") for name in ("ACE", "NME")
    )
    crowded[last] = crowded[first] + 0.05
    with pytest.raises(RuntimeError, match="nm apart"):
        build.check(top, crowded)
