"""Frames of noise: invariance under rotation, balance of torques, and a rigid body whose librations are known."""

import numpy as np
import pytest
import torch
from contracts.denoiser import NormalizerContract
from scipy.spatial.transform import Rotation

from spacetime_tps.denoisers.mixture import GaussianMixtureDenoiser
from spacetime_tps.denoisers.noise_space import FreeRotations, PlainNoiseSpace, RigidNoiseSpace, laboratory_denoiser
from spacetime_tps.spacetime import Points

ATOMS = 5


@pytest.fixture
def space() -> RigidNoiseSpace:
    """Of five atoms in no special place, with the orthonormal basis of what translations and rotations leave."""
    template = np.random.default_rng(0).normal(size=(ATOMS, 3))
    template -= template.mean(0)
    shifts = np.tile(np.eye(3), ATOMS)
    turns = np.cross(np.eye(3)[:, None], template[None]).reshape(3, -1)
    basis = np.linalg.svd(np.concatenate([shifts, turns]))[2][6:].T
    return RigidNoiseSpace(torch.from_numpy(basis.copy()), torch.from_numpy(template))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def near_template(space: RigidNoiseSpace, count: int, spread: float) -> torch.Tensor:
    """Latent vectors of structures near the template."""
    noise = torch.randn(count, space.dimension, generator=generator(1), dtype=torch.float64)
    return space.template.flatten() @ space.basis + spread * noise


def rotations(count: int) -> torch.Tensor:
    return torch.from_numpy(Rotation.random(count, random_state=2).as_matrix())


def turned(states: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    return (states.unflatten(-1, (-1, 3)) @ rotation).flatten(-2)


def some_mixture(space: RigidNoiseSpace) -> GaussianMixtureDenoiser:
    means = near_template(space, 3, 0.3)
    return GaussianMixtureDenoiser(np.ones(3), means, np.tile(0.02 * np.eye(space.dimension), (3, 1, 1)))


def torque(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.linalg.cross(a.unflatten(-1, (-1, 3)), b.unflatten(-1, (-1, 3)), dim=-1).sum(-2)


class TestRigidFrame:
    def test_dimensions(self, space):
        assert (space.dimension, space.degrees) == (3 * ATOMS - 6, 3 * ATOMS - 3)

    def test_latent_vectors_go_there_and_back(self, space):
        x = near_template(space, 20, 0.1)
        torch.testing.assert_close(space.latent(space.ambient(x)), x, rtol=0, atol=1e-12)

    def test_latent_vectors_do_not_depend_on_orientation(self, space):
        state = space.noise(20, generator())
        torch.testing.assert_close(space.latent(turned(state, rotations(20))), space.latent(state), rtol=0, atol=1e-10)

    def test_mirror_images_differ(self, space):
        state = space.ambient(near_template(space, 5, 0.1))
        assert (space.latent(-state) - space.latent(state)).norm(dim=1).min() > 0.1

    def test_mean_turns_with_the_state(self, space):
        state = space.ambient(near_template(space, 20, 0.2)) + 0.3 * space.noise(20, generator())
        log_snr = torch.linspace(-1, 4, 20, dtype=torch.float64)
        mean, turns = space.mean(some_mixture(space), state, log_snr), rotations(20)
        torch.testing.assert_close(
            space.mean(some_mixture(space), turned(state, turns), log_snr),
            turned(mean, turns),
            rtol=0,
            atol=1e-9,
        )

    def test_mean_exerts_no_torque_and_has_the_latent_mean(self, space):
        mixture, log_snr = some_mixture(space), torch.full((20,), 2.0, dtype=torch.float64)
        y = near_template(space, 20, 0.2)
        mean = space.mean(mixture, space.ambient(y), log_snr)
        torch.testing.assert_close(torque(space.ambient(y), mean), torch.zeros(20, 3).double(), rtol=0, atol=1e-12)
        torch.testing.assert_close(mean @ space.basis, mixture.moments(y, log_snr).mean, rtol=0, atol=1e-12)

    def test_noise_is_in_all_degrees(self, space):
        """A chi-squared mean of 20,000 × 12 squares: its standard error is √(2/240,000) = 0.3 %; four are allowed."""
        x, log_snr = near_template(space, 20_000, 0.1), torch.full((20_000,), 5.0, dtype=torch.float64)
        y, target, square = space.noisy(x, log_snr, generator())
        assert float(square.mean() * np.exp(5.0)) == pytest.approx(space.degrees, rel=4 * (2 / 240_000) ** 0.5)
        assert (((y - target) ** 2).sum(1) <= square + 1e-12).all()

    def test_noised_samples_are_those_of_a_turned_molecule(self, space):
        """Only how the molecule lies is lost: distances between y and the target's ambient state are of that noise."""
        x = near_template(space, 50, 0.1)
        drawn = [space.noisy(x, torch.full((50,), 4.0).double(), generator(seed))[0] for seed in (3, 3, 4)]
        assert torch.equal(drawn[0], drawn[1])
        assert not torch.equal(drawn[0], drawn[2])
        state = space.ambient(x) + np.exp(-2.0) * space.noise(50, generator(3))
        torch.testing.assert_close(drawn[0], space.latent(state), rtol=0, atol=1e-12)


def librations(space: RigidNoiseSpace, snr: float) -> tuple[torch.Tensor, float]:
    """Bᵀ E[x] and E|x|² − |Bᵀ E[x]|² of a rigid template restrained to itself, by quadrature over all small rotations.

    Rotation vectors are weighted with the Haar measure, 2(1 − cos θ)/θ², and Gauss-Hermite nodes are scaled to
    librations: SNR/2 |R t − t|² ≈ SNR/2 θ·(inertia θ).
    """
    template = space.template.numpy()
    inertia = (template**2).sum() * np.eye(3) - template.T @ template
    nodes, weights = np.polynomial.hermite_e.hermegauss(24)
    scaled = np.stack(np.meshgrid(nodes, nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 3)
    gauss = np.prod(np.stack(np.meshgrid(weights, weights, weights, indexing="ij"), axis=-1), axis=-1).ravel()
    vectors = scaled @ np.linalg.inv(np.linalg.cholesky(snr * inertia))
    angle = np.linalg.norm(vectors, axis=1)
    haar = np.sinc(angle / (2 * np.pi)) ** 2
    x = np.einsum("qij,nj->qni", Rotation.from_rotvec(vectors).as_matrix(), template)
    exponent = -0.5 * snr * ((x - template) ** 2).sum((1, 2)) + 0.5 * (scaled**2).sum(1)
    share = gauss * haar * np.exp(exponent)
    share /= share.sum()
    mean = torch.from_numpy((share @ x.reshape(len(x), -1)) @ space.basis.numpy())
    return mean, float((template**2).sum() - (mean**2).sum())


def test_free_rotations_are_the_limit_of_a_stiff_restraint(space):
    """Of a rigid body the variance approaches 3/SNR, and what is left out falls as 1/SNR relative to it."""
    latent = (space.template.flatten() @ space.basis)[None]
    body = FreeRotations(GaussianMixtureDenoiser([1.0], latent, np.zeros((1, space.dimension, space.dimension))))
    errors = []
    for log_snr in (4.0, 4.0 + np.log(4)):
        moments = body.moments(latent, torch.tensor([log_snr]).double())
        mean, variance = librations(space, np.exp(log_snr))
        assert float(moments.variance) == pytest.approx(3 * np.exp(-log_snr), rel=1e-9)
        errors.append((float(moments.variance) / variance - 1, float((moments.mean[0] - mean).norm())))
    assert abs(errors[1][0]) < 0.01
    for before, after in zip(*errors, strict=True):
        assert before / after == pytest.approx(4, rel=0.1)


class TestFreeRotationsContract(NormalizerContract):
    """A mixture in all degrees stays one potential."""

    @pytest.fixture
    def denoiser(self, space):
        return FreeRotations(some_mixture(space))

    @pytest.fixture
    def points(self, space):
        return Points(near_template(space, 6, 0.2), torch.linspace(-1, 4, 6, dtype=torch.float64))


class TestPlainFrame:
    def test_states_are_latent_vectors(self):
        space, x = PlainNoiseSpace(2), torch.randn(4, 2, generator=generator()).double()
        assert space.degrees == space.dimension == 2
        assert torch.equal(space.ambient(x), x)
        assert torch.equal(space.latent(x), x)

    def test_averaged_targets_are_the_posterior_of_the_weighted_samples(self):
        """Samples as a mixture of points with their weights: its denoiser is the same average."""
        rng = np.random.default_rng(5)
        x, weights = torch.from_numpy(rng.normal(size=(30, 2))), torch.from_numpy(rng.random(30))
        points = GaussianMixtureDenoiser(weights, x, np.zeros((30, 2, 2)))
        y, log_snr = torch.from_numpy(rng.normal(size=(9, 2))), torch.linspace(-3, 4, 9, dtype=torch.float64)
        target, square = PlainNoiseSpace.average(y, log_snr, x, weights.log())
        moments = points.moments(y, log_snr)
        torch.testing.assert_close(target, moments.mean, rtol=0, atol=1e-10)
        torch.testing.assert_close(square, ((target - y) ** 2).sum(1) + moments.variance, rtol=0, atol=1e-10)

    def test_mean_target_of_noised_samples_is_their_mean(self):
        x, log_snr = torch.ones(10, 2).double(), torch.zeros(10).double()
        y, target, square = PlainNoiseSpace(2).noisy(x, log_snr, generator())
        assert torch.equal(target, x)
        torch.testing.assert_close(square, ((y - x) ** 2).sum(1))


@pytest.mark.parametrize("kind", ["rigid", "plain"])
def test_draws_have_the_targets_of_weighted_samples(space, kind):
    """The mean of targets is that of the density that the weights stand for; four standard errors."""
    chosen = space if kind == "rigid" else PlainNoiseSpace(space.dimension)
    x = near_template(space, 6, 0.1)
    weights = torch.tensor([5.0, 1.0, 1.0, 1.0, 1.0, 1.0]).double() / 10
    log_snr = torch.full((4000,), 9.0, dtype=torch.float64)  # so high that every sample keeps its own target
    y, target, square = chosen.draw(x, weights, log_snr, generator())
    assert y.shape == target.shape == (4000, space.dimension) and square.shape == (4000,)
    near = torch.cdist(y, x).argmin(1)
    assert torch.cdist(target, x).argmin(1).eq(near).double().mean() > 0.99
    share = near.eq(0).double().mean()
    expected = 0.5 if kind == "rigid" else 1 / 6  # drawn by weight, and evenly
    assert float(share) == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 4000) ** 0.5)


def test_averaged_targets_know_the_weights():
    """Where noise is large y says nothing of x, and the target is the weighted mean of all samples."""
    x = torch.tensor([[0.0], [1.0]]).double()
    weights, log_snr = torch.tensor([0.9, 0.1]).double(), torch.full((50,), -12.0, dtype=torch.float64)
    _, target, _ = PlainNoiseSpace(1).draw(x, weights, log_snr, generator())
    torch.testing.assert_close(target, torch.full((50, 1), 0.1).double(), rtol=0, atol=0.03)


def test_laboratory_adds_rotations_to_mixtures_alone(space):
    mixture, log_snr = some_mixture(space), torch.full((3,), 4.0, dtype=torch.float64)
    y = near_template(space, 3, 0.1)
    free = laboratory_denoiser(mixture, space)
    added = free.moments(y, log_snr).variance - mixture.moments(y, log_snr).variance
    torch.testing.assert_close(added, 3 * torch.exp(-log_snr))
    assert laboratory_denoiser(free, space) is free  # it is in the laboratory already
    assert laboratory_denoiser(mixture, PlainNoiseSpace(space.dimension)) is mixture
