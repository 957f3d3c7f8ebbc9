"""What all latent coordinates promise; each inherits these tests in its own test file and gives its fixtures there."""

import numpy as np
import openmm
import pytest
import torch
from scipy.spatial.transform import Rotation

from spacetime_tps.coordinates import Coordinates
from spacetime_tps.coordinates.states import CollectiveVariable
from spacetime_tps.dynamics.restraint import make_restraint
from spacetime_tps.errors import SpacetimeError, TrajectoryError

KT = 2.5
"""kJ/mol, of restraints."""


def moved(positions: np.ndarray, seed: int) -> np.ndarray:
    """Each frame rotated and translated in its own way."""
    rng = np.random.default_rng(seed)
    rotations = Rotation.random(len(positions), random_state=seed).as_matrix()
    return positions @ rotations + 5 * rng.normal(size=(len(positions), 1, 3))


class CoordinatesContract:
    """The protocol of ``coordinates/base.py``.

    A class gives the fixtures ``coordinates``, ``frames`` (at least six, of all atoms, in nm, that lie anyhow),
    ``known`` and ``unknown``: collective variables that can be computed from centres, and that cannot.
    """

    @pytest.fixture
    def coordinates(self) -> Coordinates:
        raise NotImplementedError("give the coordinates that are tested as a fixture")

    @pytest.fixture
    def frames(self) -> np.ndarray:
        raise NotImplementedError("give frames (count, all atoms, 3)")

    @pytest.fixture
    def known(self) -> CollectiveVariable:
        raise NotImplementedError("give a collective variable of the restrained atoms")

    @pytest.fixture
    def unknown(self) -> CollectiveVariable:
        raise NotImplementedError("give a collective variable of other atoms")

    @pytest.fixture
    def latent(self, coordinates, frames) -> np.ndarray:
        return coordinates.encode(frames)

    def test_shapes_and_units(self, coordinates, frames, latent):
        count, restrained = len(frames), len(coordinates.atoms)
        assert latent.shape == (count, coordinates.dimension) and latent.dtype == np.float64
        centres = coordinates.decode(latent)
        assert centres.shape[:2] == (count, restrained) and centres.shape[2] in (2, 3)
        assert coordinates.unit in ("", "nm")
        assert (coordinates.positioned is None) == (centres.shape[2] == 2) == (coordinates.unit == "")
        assert coordinates.superpose(frames).shape == frames.shape
        assert all(len(array) == restrained for array in coordinates.labels.values())
        np.testing.assert_array_equal(coordinates.labels["atoms"], np.array(coordinates.atoms))
        assert coordinates.encode(frames[:0]).shape == (0, coordinates.dimension)
        single = coordinates.encode(frames.astype(np.float32))  # as trajectories have them
        assert single.dtype == np.float64
        np.testing.assert_allclose(single, latent, atol=1e-4)

    def test_latent_vectors_do_not_depend_on_how_the_molecule_lies(self, coordinates, frames, latent):
        """Rounding: positions 10 nm from the origin keep 1e-15 nm."""
        np.testing.assert_allclose(coordinates.encode(moved(frames, seed=3)), latent, rtol=0, atol=1e-11)
        np.testing.assert_allclose(coordinates.encode(coordinates.superpose(frames)), latent, rtol=0, atol=1e-11)
        assert latent.std(axis=0).min() > 1e-3  # and they do vary with the shape, in every direction

    def test_frames_do_not_see_each_other_and_are_not_changed(self, coordinates, frames, latent):
        before = frames.copy()
        alone = np.concatenate([coordinates.encode(frame[None]) for frame in frames])
        np.testing.assert_allclose(alone, latent, rtol=0, atol=1e-13)
        coordinates.superpose(frames), coordinates.project(frames)
        np.testing.assert_array_equal(frames, before)

    def test_mirror_images_are_told_apart(self, coordinates, frames, latent):
        """By more than the tolerance of any test here: chirality is kept."""
        mirrored = coordinates.encode(frames * [-1.0, 1.0, 1.0])
        assert np.linalg.norm(mirrored - latent, axis=1).max() > 1e-2

    def test_decoding_keeps_distances_and_shape(self, coordinates, latent):
        """|x − y|² is the same of latent vectors and of centres; any number of batch dimensions."""
        centres = coordinates.decode(latent)
        np.testing.assert_allclose(
            ((centres[0] - centres[1:]) ** 2).sum((1, 2)), ((latent[0] - latent[1:]) ** 2).sum(1), rtol=1e-10
        )
        np.testing.assert_allclose(coordinates.decode(latent[:6].reshape(2, 3, -1))[1, 2], centres[5], atol=1e-14)
        np.testing.assert_allclose(coordinates.decode(latent[0]), centres[0], atol=1e-14)
        # the way back, linear: centres of the basis are orthonormal
        axes = coordinates.decode(np.eye(coordinates.dimension)).reshape(coordinates.dimension, -1)
        np.testing.assert_allclose(centres.reshape(len(centres), -1) @ axes.T, latent, rtol=0, atol=1e-12)

    def test_decoded_positions_are_encoded_again(self, coordinates, frames, latent):
        if coordinates.positioned is None:
            centres = coordinates.decode(latent)
            np.testing.assert_allclose((centres**2).sum(-1), 1, rtol=1e-12)  # of frames: on the circles
            return
        again = frames.copy()
        again[:, list(coordinates.positioned)] = coordinates.decode(latent)
        np.testing.assert_allclose(coordinates.encode(again), latent, rtol=0, atol=1e-12)

    def test_superposition_is_rigid(self, coordinates, frames):
        superposed = coordinates.superpose(frames)
        for before, after in zip(frames, superposed, strict=True):
            one, other = (x - x.mean(0) for x in (before, after))
            np.testing.assert_allclose(other @ other.T, one @ one.T, atol=1e-12)  # all distances
            assert np.linalg.det(np.linalg.lstsq(one, other)[0]) == pytest.approx(1)  # no mirror

    def test_projection_of_superposed_frames_is_their_latent_vector(self, coordinates, frames, latent):
        projected, outside = coordinates.project(coordinates.superpose(frames))
        np.testing.assert_allclose(projected, latent, rtol=0, atol=1e-11)
        np.testing.assert_allclose(outside, 0, atol=1e-12)

    def test_projection_is_what_a_restraint_sees(self, coordinates, frames, latent):
        """Energies of OpenMM's restraint: differences of kT SNR/2 (|latent − y|² + outside) between centres.

        A restraint on positions also holds their centroid, which frames have at the origin here.
        """
        lying = moved(frames, seed=4)
        if coordinates.positioned is not None:
            lying = lying - lying[:, list(coordinates.positioned)].mean(axis=1, keepdims=True)
        projected, outside = coordinates.project(lying)
        snr = 3.0
        restraint = make_restraint(coordinates.atoms, KT, periodic=False)
        system = openmm.System()
        for _ in range(frames.shape[1]):
            system.addParticle(12.0)
        system.addForce(restraint.force)
        platform = openmm.Platform.getPlatformByName("Reference")
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
        energies, expected = np.zeros((3, len(lying))), np.zeros((3, len(lying)))
        for row, y in enumerate(latent[:3]):
            restraint.update(context, coordinates.decode(y), snr)
            for column, frame in enumerate(lying):
                context.setPositions(frame)
                energies[row, column] = context.getState(energy=True).getPotentialEnergy()._value
            expected[row] = 0.5 * KT * snr * (((projected - y) ** 2).sum(1) + outside)
        difference = energies - expected  # constant: not of the frame or the centre
        np.testing.assert_allclose(difference, difference[0, 0], rtol=0, atol=1e-9)

    def test_forces_are_derivatives_of_the_projection(self, coordinates, frames, latent):
        """By central differences of kT SNR/2 (|latent − y|² + outside) in each coordinate of one frame."""
        frame = frames[1]
        if coordinates.positioned is not None:
            frame = frame - frame[list(coordinates.positioned)].mean(axis=0)
        restraint, snr = make_restraint(coordinates.atoms, KT, periodic=False), 3.0
        system = openmm.System()
        for _ in frame:
            system.addParticle(12.0)
        system.addForce(restraint.force)
        platform = openmm.Platform.getPlatformByName("Reference")
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
        restraint.update(context, coordinates.decode(latent[0]), snr)
        context.setPositions(frame)
        forces = context.getState(forces=True).getForces(asNumpy=True)._value

        step = 1e-5
        shifts = step * np.eye(frame.size).reshape(frame.size, *frame.shape)
        energies = []
        for sign in (1, -1):
            projected, outside = coordinates.project(frame + sign * shifts)
            energies.append(0.5 * KT * snr * (((projected - latent[0]) ** 2).sum(1) + outside))
        slopes = ((energies[0] - energies[1]) / (2 * step)).reshape(frame.shape)
        np.testing.assert_allclose(forces, -slopes, rtol=0, atol=1e-6 * np.abs(forces).max() + 1e-7)

    def test_restraint_energies(self, coordinates, frames, latent):
        """However the molecule lies; 0 without a restraint; lowest where the restraint holds the frame itself."""
        centres, log_snr = coordinates.decode(latent[:3]), np.array([7.0, 9.0, -np.inf])
        energies = coordinates.restraint_energies(frames, centres, log_snr)
        assert energies.shape == (3, len(frames))
        again = coordinates.restraint_energies(moved(frames, seed=5), centres, log_snr)
        np.testing.assert_allclose(again, energies, rtol=1e-8, atol=1e-8)
        assert (energies[2] == 0).all()
        assert energies[0].argmin() == 0 and energies[1].argmin() == 1

    def test_canonical_points_are_the_same_distributions(self, coordinates, frames, latent):
        """SNR y stays, so that energies of frames differ by a constant alone; and there is one pair for each."""
        centres, log_snr = coordinates.decode(0.7 * latent[:3]), np.array([1.0, 3.0, 5.0])
        same, level = coordinates.canonical(centres, log_snr)
        assert same.shape == centres.shape and level.shape == log_snr.shape
        natural = [np.exp(at)[:, None, None] * y for y, at in ((same, level), (centres, log_snr))]
        np.testing.assert_allclose(*natural, rtol=1e-12)
        difference = coordinates.restraint_energies(frames, same, level) - coordinates.restraint_energies(
            frames, centres, log_snr
        )
        np.testing.assert_allclose(difference, difference[:, :1] + 0 * difference, rtol=0, atol=1e-7)
        again = coordinates.canonical(same, level)
        np.testing.assert_allclose(again[0], same, rtol=1e-12)
        np.testing.assert_allclose(again[1], level, atol=1e-12)

    def test_narrowing_moves_centres_towards_the_means(self, coordinates, latent):
        """Not at all without narrowing or where the means are at y, and in two steps as in one."""
        centres, means = coordinates.decode(latent[:3]), coordinates.decode(0.5 * (latent[:3] + latent[3:6]))
        np.testing.assert_array_equal(coordinates.narrowed(centres, means, 1.0), centres)
        np.testing.assert_allclose(coordinates.narrowed(centres, centres, 3.0), centres, rtol=0, atol=1e-12)
        once = coordinates.narrowed(centres, means, 6.0)
        assert np.abs(once - centres).max() > 1e-3
        twice = coordinates.narrowed(coordinates.narrowed(centres, means, 2.0), means, 3.0)
        np.testing.assert_allclose(twice, once, rtol=0, atol=1e-12)

    def test_narrowed_restraints_pull_at_the_means_as_before(self, coordinates, latent):
        """SNR (y − x̂) to all sides for positions, and across the mean (cos, sin) of each dihedral."""
        centres, means = coordinates.decode(latent[:3]), coordinates.decode(0.9 * latent[:3] + 0.1 * latent[3:6])
        pulls = [factor * (coordinates.narrowed(centres, means, factor) - means) for factor in (1.0, 4.0)]
        if coordinates.positioned is None:
            across = means[..., ::-1] * [-1.0, 1.0]
            pulls = [(pull * across).sum(-1) for pull in pulls]
        np.testing.assert_allclose(pulls[1], pulls[0], rtol=0, atol=1e-12)

    def test_the_noise_space_is_of_these_latent_vectors(self, coordinates, latent):
        space, x = coordinates.noise_space(), torch.from_numpy(latent)
        assert space.dimension == coordinates.dimension <= space.degrees
        torch.testing.assert_close(space.latent(space.ambient(x)), x, rtol=0, atol=1e-11)
        np.testing.assert_allclose(
            space.ambient(x).numpy(), coordinates.decode(latent).reshape(len(latent), -1), rtol=0, atol=1e-12
        )
        log_snr = torch.full((len(x),), 5.0, dtype=torch.float64)
        y, target, square = space.noisy(x, log_snr, torch.Generator().manual_seed(1))
        assert y.shape == target.shape == x.shape and square.shape == log_snr.shape
        assert (((y - target) ** 2).sum(1) <= square + 1e-12).all()

    def test_the_mixture_fits_these_latent_vectors(self, coordinates, latent):
        """One component of the greatest likelihood has their mean; iterations end at 1e-6."""
        weights = np.full(len(latent), 1 / len(latent))
        mixture = coordinates.mixture.single(latent, weights)
        assert mixture.dimension == coordinates.dimension
        everywhere = mixture.moments(torch.zeros(1, mixture.dimension).double(), torch.full((1,), -40.0).double())
        np.testing.assert_allclose(everywhere.mean[0], latent.mean(axis=0), rtol=0, atol=1e-6)

    def test_collective_variables(self, coordinates, latent, known, unknown):
        centres = coordinates.decode(latent)
        assert coordinates.knows(known) and not coordinates.knows(unknown)
        values = coordinates.values(known, centres)
        assert values.shape == (len(latent),) and np.isfinite(values).all()
        with pytest.raises(SpacetimeError, match=unknown.name):
            coordinates.values(unknown, centres)

    def test_values_are_those_of_the_frames(self, coordinates, frames, latent, known):
        """mdtraj computes in single precision."""
        import mdtraj

        found = coordinates.values(known, coordinates.decode(latent))
        expected = known(mdtraj.Trajectory(frames, None))
        apart = np.abs(found - expected)
        if known.periodic:
            apart = np.minimum(apart, 2 * np.pi - apart)
        assert apart.max() < 2e-4

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_a_frame_that_is_not_finite_is_named(self, coordinates, frames, value):
        broken = frames.copy()
        broken[[2, 4], 0, 1] = value
        with pytest.raises(TrajectoryError, match="frame 2 has positions that are not finite"):
            coordinates.encode(broken)

    def test_frames_of_another_molecule_are_refused(self, coordinates, frames):
        last = int(np.max(coordinates.atoms))
        with pytest.raises(TrajectoryError, match=f"frames have {last} atoms, .* atom {last}"):
            coordinates.encode(frames[:, :last])
        for shape in (frames[0], frames[..., :2]):
            with pytest.raises(TrajectoryError, match=r"positions must have the shape \(frames, atoms, 3\)"):
                coordinates.encode(shape)
