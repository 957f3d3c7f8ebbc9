"""Torsion coordinates: planted dihedrals, invariances, names, and frames without a value."""

import mdtraj
import numpy as np
import pytest
from contracts.coordinates import CoordinatesContract, moved
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from spacetime_tps.coordinates import TorsionCoordinates
from spacetime_tps.coordinates.states import CollectiveVariable
from spacetime_tps.errors import ConfigError, MoleculeError, TrajectoryError
from spacetime_tps.settings.shipped import data_folder
from spacetime_tps.training.mixtures import VON_MISES

PHI, PSI = (4, 6, 8, 14), (6, 8, 14, 16)
LOOSE = TorsionCoordinates(("first", "second"), ((0, 1, 2, 3), (1, 2, 3, 4)))


@pytest.fixture(scope="module")
def structure() -> mdtraj.Trajectory:
    return mdtraj.load(str(data_folder("systems") / "alanine_dipeptide" / "c7eq.pdb"))


@pytest.fixture(scope="module")
def coordinates(structure) -> TorsionCoordinates:
    return TorsionCoordinates.from_topology(structure.topology, ["phi", "psi"])


def chains(angles: np.ndarray) -> np.ndarray:
    """Five atoms in a row whose two dihedrals are ``angles`` (frames, 2), (frames, 5, 3): built atom by atom."""
    frames = []
    for pair in angles:
        atoms = [np.array(place) for place in ([0.0, 0.1, 0.0], [0.0, 0.0, 0.0], [0.15, 0.0, 0.0])]
        for angle in pair:
            a, b, c = atoms[-3:]
            axis = (c - b) / np.linalg.norm(c - b)
            side = (a - b) - (a - b) @ axis * axis  # the first bond, seen along the middle one
            turned = Rotation.from_rotvec(angle * axis).apply(side / np.linalg.norm(side))
            atoms.append(c + 0.05 * axis + 0.12 * turned)
        frames.append(atoms)
    return np.array(frames)


def random_angles(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-np.pi, np.pi, (count, 2))


@settings(deadline=None, max_examples=60)
@given(st.tuples(st.floats(-20, 20), st.floats(-20, 20)))
def test_planted_dihedrals_are_found(angles):
    """Any number of turns more or less is the same."""
    latent = LOOSE.encode(chains(np.array([angles])))[0]
    expected = np.ravel([(np.cos(angle), np.sin(angle)) for angle in angles])
    np.testing.assert_allclose(latent, expected, rtol=0, atol=1e-10)


class TestContract(CoordinatesContract):
    @pytest.fixture
    def coordinates(self):
        return LOOSE

    @pytest.fixture
    def frames(self):
        return moved(chains(random_angles(30, seed=0)), seed=1)

    @pytest.fixture
    def known(self):
        return CollectiveVariable("mine", "dihedral", (1, 2, 3, 4))

    @pytest.fixture
    def unknown(self):
        return CollectiveVariable("other", "dihedral", (0, 1, 2, 4))


def test_a_mirror_image_has_the_opposite_angles():
    positions = chains(random_angles(10, seed=3))
    latent, mirrored = LOOSE.encode(positions), LOOSE.encode(positions * [1, 1, -1])
    np.testing.assert_allclose(mirrored, latent * [1, -1, 1, -1], atol=1e-12)


def test_dihedrals_are_those_of_mdtraj(coordinates, structure):
    """In single precision."""
    noise = np.random.default_rng(4).normal(0, 0.02, (20, structure.n_atoms, 3))
    frames = mdtraj.Trajectory(structure.xyz + noise, structure.topology)
    for name, compute in (("phi", mdtraj.compute_phi), ("psi", mdtraj.compute_psi)):
        atoms = {"phi": PHI, "psi": PSI}[name]
        found = coordinates.values(
            CollectiveVariable("any", "dihedral", atoms), coordinates.decode(coordinates.encode(frames.xyz))
        )
        np.testing.assert_allclose(found, compute(frames)[1][:, 0], atol=2e-5)


class TestNames:
    def test_every_dihedral_of_a_name(self, structure):
        found = TorsionCoordinates.from_topology(structure.topology, ["phi", "omega", "psi"])
        assert found.names == ("phi ALA2", "omega ACE1", "omega ALA2", "psi ALA2")
        assert found.atoms == (PHI, (0, 4, 6, 8), (8, 14, 16, 18), PSI)
        assert found.dimension == 8

    def test_atoms_and_collective_variables(self, structure):
        mine = CollectiveVariable("mine", "dihedral", PSI)
        found = TorsionCoordinates.from_topology(structure.topology, [list(PHI), "mine"], {"mine": mine})
        assert found.names == ("4 6 8 14", "mine")
        assert found.atoms == (PHI, PSI)

    def test_labels_say_what_the_centres_are_of(self, coordinates):
        assert coordinates.labels["atoms"].tolist() == [list(PHI), list(PSI)]
        assert coordinates.labels["names"].tolist() == ["phi ALA2", "psi ALA2"]

    @pytest.mark.parametrize(
        "dihedrals, message",
        [
            (["chi1"], "there is no 'chi1' in this molecule; take one of phi, psi, omega, chi1"),
            (["length"], r"there is no 'length' .* collective variables \(turn\), or four atoms"),
            ([[0, 1, 2, 22]], "not four different ones of the 22 atoms"),
            ([[0, 1, 2, 1]], "not four different ones of the 22 atoms"),
            ([], "no dihedral is given"),
            (["phi", list(PHI)], "4 6 8 14 .* is there twice"),
            (["phi", list(PHI[::-1])], "14 8 6 4 .* is there twice"),
        ],
        ids=["none_here", "distance", "range", "repeated", "empty", "twice", "backwards"],
    )
    def test_refusals(self, structure, dihedrals, message):
        variables = {
            "length": CollectiveVariable("length", "distance", (0, 1)),
            "turn": CollectiveVariable("turn", "dihedral", PSI),
        }
        with pytest.raises(MoleculeError, match=message):
            TorsionCoordinates.from_topology(structure.topology, dihedrals, variables)


class TestValues:
    def test_a_dihedral_read_backwards_is_the_same(self, coordinates):
        centres = coordinates.decode(np.array([[0.3, 0.4, 0.0, -0.5]]))
        for atoms, angle in ((PHI, np.arctan2(0.4, 0.3)), (PHI[::-1], np.arctan2(0.4, 0.3)), (PSI, -np.pi / 2)):
            variable = CollectiveVariable("any", "dihedral", atoms)
            assert coordinates.knows(variable)
            assert coordinates.values(variable, centres) == pytest.approx(angle)

    def test_another_collective_variable_is_refused(self, coordinates):
        other = CollectiveVariable("omega", "dihedral", (1, 4, 6, 8))
        assert not coordinates.knows(other)
        message = r"'omega' is none of the dihedrals .*\(phi ALA2, psi ALA2\); add it to coordinates\.dihedrals"
        with pytest.raises(ConfigError, match=message):
            coordinates.values(other, np.ones((1, 2, 2)))


def test_canonical_centres_have_unit_length():
    rng = np.random.default_rng(5)
    centres, log_snr = rng.normal(size=(7, 2, 2)), rng.normal(size=7)
    same, _ = LOOSE.canonical(centres, log_snr)
    np.testing.assert_allclose((same**2).sum((1, 2)), 2, rtol=1e-12)


@pytest.mark.parametrize("place", [[0.3, 0.0, 0.0], [0.15, 0.0, 0.0]], ids=["on_a_line", "on_one_spot"])
def test_frame_whose_dihedral_has_no_value_is_named(place):
    """Atoms 1, 2 and 3 on a line: neither of the two dihedrals is defined; or atoms 2 and 3 in one place."""
    positions = chains(random_angles(5, seed=8))
    positions[3, 3] = place
    with pytest.raises(TrajectoryError, match="frame 3: dihedral first has no value"):
        LOOSE.encode(positions)


def test_restraint_energies_are_of_von_mises_densities():
    """SNR/2 |x − y|² is SNR (1 − cos(θ − μ)) for a centre at the angle μ."""
    rng = np.random.default_rng(5)
    angles, at = rng.uniform(-np.pi, np.pi, (7, 2)), rng.uniform(-np.pi, np.pi, (3, 2))
    log_snr = np.array([1.0, 3.0, -np.inf])
    centres = np.stack([np.cos(at), np.sin(at)], axis=-1)
    energies = LOOSE.restraint_energies(chains(angles), centres, log_snr)
    exact = np.exp(log_snr)[:, None] * (1 - np.cos(angles - at[:, None])).sum(-1)
    np.testing.assert_allclose(energies, exact, atol=1e-9)


def test_its_kind():
    assert LOOSE.positioned is None
    assert LOOSE.mixture is VON_MISES
    assert LOOSE.noise_space().degrees == LOOSE.dimension == 4
