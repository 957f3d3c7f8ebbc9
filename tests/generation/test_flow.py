"""Samplers and likelihood against Gaussians, mixtures and a Gaussian network of atoms, whose densities are known."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from spacetime_tps.coordinates import CartesianCoordinates
from spacetime_tps.denoisers import GaussianMixtureDenoiser, Moments
from spacetime_tps.denoisers.noise_space import PlainNoiseSpace, RigidNoiseSpace
from spacetime_tps.errors import GeometryError
from spacetime_tps.generation.flow import Diffusion, GaussianStates

LOG_SNR = (-6.0, 8.0)
ATOMS = 5


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ones(samples: torch.Tensor) -> torch.Tensor:
    return torch.ones(len(samples), dtype=torch.float64)


def like(mixture: GaussianMixtureDenoiser) -> GaussianStates:
    """The Gaussian with the mean and covariance of a mixture."""
    off = mixture.means - mixture.weights @ mixture.means
    covariance = torch.einsum("k,kij->ij", mixture.weights, mixture.covariances + off[:, :, None] * off[:, None])
    variances, axes = torch.linalg.eigh(covariance)
    return GaussianStates(mixture.weights @ mixture.means, axes, variances, mixture.dimension)


def diffusion(mixture: GaussianMixtureDenoiser, steps: int, log_snr=LOG_SNR) -> Diffusion:
    return Diffusion(PlainNoiseSpace(mixture.dimension), mixture, like(mixture), log_snr, steps)


@pytest.fixture
def gaussian() -> GaussianMixtureDenoiser:
    return GaussianMixtureDenoiser([1.0], [[1.0, -2.0, 0.5]], np.diag([0.01, 0.5, 3.0])[None])


@pytest.fixture
def mixture() -> GaussianMixtureDenoiser:
    covariances = [[[0.6, 0.2], [0.2, 0.4]], [[0.3, -0.1], [-0.1, 0.5]]]
    return GaussianMixtureDenoiser([0.3, 0.7], [[-3.0, 0.0], [2.0, 2.0]], covariances)


def smoothed_log_density(mixture: GaussianMixtureDenoiser, y: torch.Tensor, log_snr: float) -> torch.Tensor:
    """Of q convolved with N(0, 1/SNR)."""
    log_normalizer = mixture.log_normalizer(y, torch.full((len(y),), log_snr, dtype=torch.float64))
    return log_normalizer + 0.5 * mixture.dimension * (log_snr - math.log(2 * math.pi))


class GaussianNetwork:
    """Posterior means of atoms tied by springs of no length, p ∝ exp(−½ Σ_ij x_i·K⁺_ij x_j): x̂ = K (K + σ²)⁻¹ y.

    The density is that of centred positions in the laboratory; ``covariance`` K (atoms, atoms) is in each direction.
    """

    log_snr_range = (-math.inf, math.inf)

    def __init__(self, coordinates: CartesianCoordinates, covariance: np.ndarray) -> None:
        self.dimension = coordinates.dimension
        self.basis, self.covariance = torch.from_numpy(coordinates.basis), torch.from_numpy(covariance)

    def moments(self, y: torch.Tensor, log_snr: torch.Tensor) -> Moments:
        noisy = self.covariance + torch.exp(-log_snr)[:, None, None] * torch.eye(ATOMS, dtype=torch.float64)
        gain = torch.linalg.solve(noisy, self.covariance)
        positions = (y @ self.basis.T).unflatten(-1, (-1, 3))
        variance = 3 * torch.exp(-log_snr) * gain.diagonal(dim1=1, dim2=2).sum(-1)
        return Moments((gain.mT @ positions).flatten(1) @ self.basis, variance)


@pytest.fixture
def network() -> tuple[RigidNoiseSpace, GaussianNetwork]:
    """A chain with a side group: springs of stiffness 4 between neighbours, as Rouse's model has them."""
    edges = [(0, 1), (1, 2), (2, 3), (1, 4)]
    stiffness = np.zeros((ATOMS, ATOMS))
    for i, j in edges:
        stiffness[[i, j, i, j], [i, j, j, i]] += [4.0, 4.0, -4.0, -4.0]
    template = np.random.default_rng(1).normal(size=(ATOMS, 3))
    coordinates = CartesianCoordinates.from_structure(range(ATOMS), template)
    noise_space = RigidNoiseSpace(torch.from_numpy(coordinates.basis), torch.from_numpy(coordinates.template))
    return noise_space, GaussianNetwork(coordinates, np.linalg.pinv(stiffness))


def network_start(noise_space: RigidNoiseSpace, network: GaussianNetwork) -> GaussianStates:
    covariance = torch.kron(network.covariance, torch.eye(3, dtype=torch.float64))
    variances, axes = torch.linalg.eigh(covariance)
    return GaussianStates(
        torch.zeros(3 * ATOMS, dtype=torch.float64), axes, variances.clamp(min=0), noise_space.degrees
    )


def test_start_has_mean_and_covariance_of_the_samples():
    rng = np.random.default_rng(2)
    x, weights = rng.normal(size=(50, 3)) * [1, 2, 3] + 1, rng.random(50)
    start = GaussianStates.from_samples(PlainNoiseSpace(3), torch.from_numpy(x), torch.from_numpy(weights))
    at = rng.normal(size=(4, 3))
    covariance = np.cov(x.T, aweights=weights, ddof=0) + 0.25 * np.eye(3)
    exact = multivariate_normal(np.average(x, axis=0, weights=weights), covariance).logpdf(at)
    np.testing.assert_allclose(start.log_density(torch.from_numpy(at), 0.5), exact, rtol=1e-12)


def test_start_of_molecules_is_turned_at_random(network):
    """Second moments over all rotations are those over the 24 that turn a cube onto itself."""
    noise_space, _ = network
    x = torch.from_numpy(np.random.default_rng(3).normal(size=(7, noise_space.dimension)))
    start = GaussianStates.from_samples(noise_space, x, ones(x))
    signed = [
        np.eye(3)[list(order)] * signs
        for order in itertools.permutations(range(3))
        for signs in itertools.product([1, -1], repeat=3)
    ]
    turns = torch.from_numpy(np.array([q for q in signed if np.linalg.det(q) > 0]))
    states = (noise_space.ambient(x).unflatten(-1, (-1, 3))[:, None] @ turns).flatten(2).flatten(0, 1)
    assert len(turns) == 24
    np.testing.assert_allclose(states.mean(0), start.mean, atol=1e-12)
    covariance = start.axes * start.variances @ start.axes.T
    np.testing.assert_allclose(states.T @ states / len(states), covariance, atol=1e-12)


def test_levels_of_noise_are_those_of_the_range(gaussian):
    sigmas = diffusion(gaussian, 10).sigmas
    assert len(sigmas) == 11
    np.testing.assert_allclose([-2 * math.log(sigmas[i]) for i in (0, -1)], LOG_SNR, rtol=1e-12)
    assert np.all(np.diff(sigmas) < 0)


def test_flow_of_a_gaussian_shrinks_each_axis(gaussian):
    """Along an axis of variance c the flow multiplies y − m by √[(c + σ²_end)/(c + σ²_start)]; Heun's order is 2."""
    random = generator(4)
    start = like(gaussian)
    sigma, end = (math.exp(-0.5 * log_snr) for log_snr in LOG_SNR)
    first = start.sample(20, random) + sigma * PlainNoiseSpace(3).noise(20, random)
    scale = ((start.variances + end**2) / (start.variances + sigma**2)).sqrt()
    exact = start.mean + ((first - start.mean) @ start.axes * scale) @ start.axes.T
    errors = [
        float((diffusion(gaussian, steps).probability_flow(20, generator(4)) - exact).abs().max())
        for steps in (40, 80, 160)
    ]
    assert errors[0] < 0.02
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 4, rtol=0.15)


def test_likelihood_of_a_gaussian_is_its_density(gaussian):
    y = torch.from_numpy(np.random.default_rng(5).normal(size=(10, 3)))
    y = gaussian.means + y * torch.tensor([0.1, 0.7, 1.7], dtype=torch.float64)
    exact = smoothed_log_density(gaussian, y, LOG_SNR[1])
    np.testing.assert_allclose(diffusion(gaussian, 200).log_likelihood(y), exact, atol=0.01)


def test_likelihood_of_a_mixture_converges_with_the_square_of_the_steps(mixture):
    """At log SNR −12 the mixture is Gaussian to 10⁻⁴: what is left is the error of the steps."""
    y = torch.from_numpy(np.random.default_rng(6).normal(size=(30, 2)) * 2)
    exact = smoothed_log_density(mixture, y, 4.0)
    errors = [
        float((diffusion(mixture, steps, (-12.0, 4.0)).log_likelihood(y) - exact).abs().mean())
        for steps in (64, 128, 256)
    ]
    assert errors[-1] < 5e-3
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 4, rtol=0.25)


def test_probes_that_span_the_space_give_the_exact_trace(mixture):
    """v_i = √D e_i have Σ v_i v_iᵀ / D = 1, in any orthonormal basis."""
    y = torch.from_numpy(np.random.default_rng(7).normal(size=(300, 2)))
    basis = torch.tensor([[0.6, 0.8], [-0.8, 0.6]], dtype=torch.float64)
    probes = (math.sqrt(2) * basis)[:, None].expand(2, 300, 2)
    model = diffusion(mixture, 20)
    np.testing.assert_allclose(model.log_likelihood(y, probes), model.log_likelihood(y), rtol=1e-10)


@pytest.mark.parametrize("sampler", ["probability_flow", "reverse_sde"])
def test_samples_have_weights_and_moments_of_the_mixture(mixture, sampler):
    """3,000 samples, 40 steps; four standard errors, and for moments of each component 3 % for the steps.

    The two components overlap in less than 10⁻³ of the samples. Noise at the end adds 1/SNR to each variance.
    """
    n = 3000
    x = getattr(diffusion(mixture, 40), sampler)(n, generator(8))
    first = mixture.component_log_densities(x).argmax(1) == 0
    assert abs(first.double().mean() - 0.3) < 4 * math.sqrt(0.3 * 0.7 / n) + 1e-3
    for index, part in enumerate((x[first], x[~first])):
        covariance = mixture.covariances[index] + math.exp(-LOG_SNR[1]) * torch.eye(2, dtype=torch.float64)
        sd = covariance.diagonal().sqrt()
        assert ((part.mean(0) - mixture.means[index]).abs() < (4 / math.sqrt(len(part)) + 0.03) * sd).all()
        largest = torch.outer(sd, sd)
        assert ((part.T.cov() - covariance).abs() < (4 * math.sqrt(2 / len(part)) + 0.03) * largest).all()


def test_reverse_sde_forgets_a_wrong_start_and_the_flow_does_not(gaussian):
    """Started with no spread at a noise σ² = c, the variance V of y along the axis of variance c lacks one half.

    With s = σ² the flow has dV/ds = V/(c + s) and what lacks falls as c + s. The SDE has dV/ds = 2V/(c + s) − 1, and it
    falls as (c + s)². Four standard errors of a variance of 3,000 samples, and 3 % for the steps.
    """
    start = like(gaussian)
    still = GaussianStates(start.mean, start.axes, torch.zeros_like(start.variances), 3)
    model = Diffusion(PlainNoiseSpace(3), gaussian, still, (-math.log(3.0), LOG_SNR[1]), 60)
    exact = 3.0 + math.exp(-LOG_SNR[1])
    flow, sde = (getattr(model, name)(3000, generator(9))[:, 2].var() for name in ("probability_flow", "reverse_sde"))
    tolerance = 4 * math.sqrt(2 / 3000) + 0.03
    assert float(flow) == pytest.approx(exact - 3 * (exact / 6), rel=tolerance)
    assert float(sde) == pytest.approx(exact - 3 * (exact / 6) ** 2, rel=tolerance)


@pytest.mark.slow
def test_likelihood_of_a_gaussian_network_of_atoms(network):
    """In all 3n − 3 centred coordinates, and the same however the molecule is turned."""
    noise_space, denoiser = network
    start = network_start(noise_space, denoiser)
    random = generator(10)
    y = start.sample(10, random) + 0.02 * noise_space.noise(10, random)
    model = Diffusion(noise_space, denoiser, start, (-3.0, -2 * math.log(0.02)), 60)
    likelihood = model.log_likelihood(y)
    np.testing.assert_allclose(likelihood, start.log_density(y, 0.02), atol=0.03)
    q, _ = np.linalg.qr(np.random.default_rng(11).normal(size=(3, 3)))
    turned = (y.unflatten(-1, (-1, 3)) @ torch.from_numpy(q * np.linalg.det(q))).flatten(1)
    np.testing.assert_allclose(model.log_likelihood(turned), likelihood, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["probability_flow", "reverse_sde"])
def test_samples_of_a_gaussian_network_of_atoms(network, sampler):
    """⟨x_i·x_j⟩/3 = K_ij + σ²(1 − 1/n) or −σ²/n: 1,500 samples of three directions; four standard errors and 3 %."""
    noise_space, denoiser = network
    model = Diffusion(noise_space, denoiser, network_start(noise_space, denoiser), (-3.0, 6.0), 40)
    x = getattr(model, sampler)(1500, generator(12)).unflatten(-1, (-1, 3))
    np.testing.assert_allclose(x.mean(1), 0, atol=1e-8)
    found = torch.einsum("sic,sjc->ij", x, x) / 4500
    exact = denoiser.covariance + math.exp(-6.0) * (torch.eye(ATOMS, dtype=torch.float64) - 1 / ATOMS)
    sd = exact.diagonal().sqrt()
    assert ((found - exact).abs() < (4 * math.sqrt(2 / 4500) + 0.03) * torch.outer(sd, sd)).all()


def test_one_seed_gives_the_same_samples(mixture):
    model = diffusion(mixture, 5)
    assert torch.equal(model.reverse_sde(300, generator(13)), model.reverse_sde(300, generator(13)))
    assert not torch.equal(model.reverse_sde(300, generator(13)), model.reverse_sde(300, generator(14)))


def test_refuses_what_cannot_be_done(mixture):
    noise_space, start = PlainNoiseSpace(2), like(mixture)
    with pytest.raises(GeometryError, match="at least one step"):
        Diffusion(noise_space, mixture, start, LOG_SNR, 0)
    for empty in ((3.0, 3.0), (4.0, 3.0), (-math.inf, 3.0), (0.0, math.nan)):
        with pytest.raises(GeometryError, match="not a finite range"):
            Diffusion(noise_space, mixture, start, empty, 10)
    with pytest.raises(GeometryError, match="the denoiser has 2 coordinates, the noise space 3"):
        Diffusion(PlainNoiseSpace(3), mixture, start, LOG_SNR, 10)
    with pytest.raises(GeometryError, match="do not fit a latent space of 2"):
        GaussianStates.from_samples(noise_space, torch.zeros(5, 3), torch.ones(5))
    with pytest.raises(GeometryError, match="do not fit a latent space of 2"):
        GaussianStates.from_samples(noise_space, torch.zeros(5, 2), torch.ones(4))


def test_says_at_which_noise_the_denoiser_broke_down(mixture):
    class Broken(GaussianMixtureDenoiser):
        def moments(self, y, log_snr):
            moments = super().moments(y, log_snr)
            return Moments(moments.mean + torch.where(log_snr > 0, torch.nan, 0.0)[:, None], moments.variance)

    broken = Broken(mixture.weights, mixture.means, mixture.covariances)
    with pytest.raises(GeometryError, match=r"Broken returned means that are not finite at log SNR [0-9]"):
        diffusion(broken, 10).probability_flow(3, generator())
