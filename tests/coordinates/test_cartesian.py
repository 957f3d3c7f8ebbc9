"""Superposed Cartesian coordinates: invariances, the Eckart conditions and agreement with mdtraj."""

import mdtraj
import numpy as np
import pytest
from contracts.coordinates import CoordinatesContract, moved
from scipy.spatial.transform import Rotation

from spacetime_tps.coordinates import CartesianCoordinates
from spacetime_tps.coordinates.states import CollectiveVariable
from spacetime_tps.errors import MoleculeError
from spacetime_tps.training.mixtures import GAUSSIAN

ALL_ATOMS = 9
ATOMS = (0, 2, 3, 5, 6, 8)


def frames(count: int, seed: int, spread: float = 0.05) -> np.ndarray:
    """A nine-atom molecule of about 0.3 nm that vibrates by ``spread`` nm, (count, 9, 3)."""
    reference = 0.3 * np.random.default_rng(0).normal(size=(ALL_ATOMS, 3))
    return reference + spread * np.random.default_rng(seed).normal(size=(count, ALL_ATOMS, 3))


@pytest.fixture
def coordinates() -> CartesianCoordinates:
    return CartesianCoordinates.from_structure(ATOMS, frames(1, seed=1)[0])


class TestContract(CoordinatesContract):
    @pytest.fixture
    def coordinates(self, coordinates):
        return coordinates

    @pytest.fixture(params=[0.01, 0.1])
    def frames(self, request):
        """Small and large deformations."""
        return moved(frames(30, seed=2, spread=request.param), seed=7)

    @pytest.fixture
    def known(self):
        return CollectiveVariable("mine", "dihedral", (0, 3, 5, 8))

    @pytest.fixture
    def unknown(self):
        return CollectiveVariable("other", "distance", (0, 1))


@pytest.mark.parametrize("spread", [0.01, 0.2])
def test_superposed_positions_have_no_part_outside_the_latent_space(coordinates, spread):
    """The Eckart conditions hold exactly after optimal superposition, for large deformations too."""
    positions = moved(frames(50, seed=4, spread=spread), seed=5)
    superposed = coordinates.superpose(positions)[:, list(ATOMS)]
    np.testing.assert_allclose(coordinates.decode(coordinates.encode(positions)), superposed, rtol=0, atol=1e-12)
    np.testing.assert_allclose(superposed.sum(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(np.cross(coordinates.template, superposed).sum(axis=1), 0, atol=1e-12)


def test_rmsd_is_that_of_mdtraj(coordinates):
    """mdtraj computes in float32: 1e-5 nm."""
    template = frames(1, seed=1)
    positions = moved(frames(30, seed=10, spread=0.2), seed=11)
    deviation = coordinates.superpose(positions)[:, list(ATOMS)] - coordinates.template
    rmsd = np.sqrt((deviation**2).sum(axis=2).mean(axis=1))
    trajectory, reference = (mdtraj.Trajectory(x, None) for x in (positions, template))
    expected = mdtraj.rmsd(trajectory, reference, 0, atom_indices=np.array(ATOMS))
    np.testing.assert_allclose(rmsd, expected, rtol=0, atol=1e-5)
    assert rmsd.min() > 0.1


def test_template_encodes_itself(coordinates):
    latent = coordinates.encode(moved(frames(1, seed=1), seed=12))
    np.testing.assert_allclose(coordinates.decode(latent)[0], coordinates.template, atol=1e-12)
    np.testing.assert_allclose(coordinates.template.mean(axis=0), 0, atol=1e-15)


@pytest.mark.parametrize("count", [3, 4, 7])
def test_dimension_is_that_of_the_internal_coordinates(count):
    positions = frames(1, seed=13)[0]
    assert CartesianCoordinates.from_structure(range(count), positions).dimension == 3 * count - 6


@pytest.mark.parametrize("count", [3, 5])
def test_template_on_a_line_is_refused(count):
    line = np.linspace(0, 0.4, count)[:, None] * np.array([0.6, 0.0, 0.8]) + [1.0, 2.0, 3.0]
    with pytest.raises(MoleculeError, match=f"the {count} chosen atoms of the template lie on a line"):
        CartesianCoordinates.from_structure(range(count), line)


def test_basis_is_orthonormal(coordinates):
    basis = coordinates.basis
    np.testing.assert_allclose(basis.T @ basis, np.eye(coordinates.dimension), atol=1e-12)


def test_mirror_image_is_not_superposed_onto_the_original(coordinates):
    original = frames(1, seed=1)
    mirror = original * [-1, 1, 1]
    latent, mirrored = coordinates.encode(original), coordinates.encode(mirror)
    assert np.linalg.norm(latent - mirrored) > 0.1
    decoded = coordinates.decode(mirrored)[0]
    chosen = mirror[0, list(ATOMS)]

    def volume(x: np.ndarray) -> float:
        return float(np.linalg.det(x[1:4] - x[0]))

    assert volume(decoded) == pytest.approx(volume(chosen))  # its own hand, not the template's
    assert volume(decoded) == pytest.approx(-volume(coordinates.template))
    np.testing.assert_allclose(coordinates.encode(moved(mirror, seed=15)), mirrored, atol=1e-12)


@pytest.mark.parametrize("atoms", [(), (3,)])
def test_too_few_atoms_are_refused(atoms):
    with pytest.raises(MoleculeError, match="select at least three"):
        CartesianCoordinates.from_structure(atoms, frames(1, seed=18)[0])


def test_projection_keeps_the_distance_from_any_centre(coordinates):
    """|x − y|² of centred x that are not superposed, with y in the latent space: that within it and that outside."""
    positions = moved(frames(20, seed=19), seed=20)
    latent, outside = coordinates.project(positions)
    assert latent.shape == (20, coordinates.dimension)
    chosen = positions[:, list(ATOMS)]
    centred = chosen - chosen.mean(axis=1, keepdims=True)
    y = np.random.default_rng(21).normal(size=coordinates.dimension)
    expected = ((centred - coordinates.decode(y)) ** 2).sum(axis=(1, 2))
    np.testing.assert_allclose(((latent - y) ** 2).sum(axis=1) + outside, expected, rtol=1e-12)
    np.testing.assert_allclose(coordinates.project(positions + 7.0)[0], latent, atol=1e-12)


def test_projection_sees_how_the_molecule_is_turned(coordinates):
    """Superposed frames lie in the latent space; turned by a small angle they leave it in proportion."""
    superposed = coordinates.superpose(moved(frames(20, seed=22), seed=23))
    latent, outside = coordinates.project(superposed)
    np.testing.assert_allclose(latent, coordinates.encode(superposed), atol=1e-12)
    np.testing.assert_allclose(outside, 0, atol=1e-12)
    small, smaller = (
        np.sqrt(coordinates.project(superposed @ Rotation.from_rotvec([0, angle, 0]).as_matrix())[1])
        for angle in (2e-3, 1e-3)
    )
    np.testing.assert_allclose(small, 2 * smaller, rtol=1e-4)
    assert smaller.min() > 1e-4  # nm


def test_its_kind(coordinates):
    space = coordinates.noise_space()
    assert (space.dimension, space.degrees) == (3 * len(ATOMS) - 6, 3 * len(ATOMS) - 3)
    assert coordinates.positioned == ATOMS
    assert coordinates.mixture is GAUSSIAN
