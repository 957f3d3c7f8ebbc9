"""The Gaussian-mixture denoiser against quadrature, identities of the exponential family and closed forms."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from spacetime_tps.denoisers import GaussianMixtureDenoiser
from spacetime_tps.denoisers.mixture import fit_mixture
from spacetime_tps.errors import GeometryError
from spacetime_tps.spacetime.family import Points, moments_at, symmetric_divergence


def random_mixture(dimension: int, components: int, seed: int) -> GaussianMixtureDenoiser:
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(components, dimension, dimension))
    covariances = 0.3 * factors @ np.swapaxes(factors, 1, 2) / dimension + 0.02 * np.eye(dimension)
    means = 1.5 * rng.normal(size=(components, dimension))
    return GaussianMixtureDenoiser(rng.uniform(0.2, 1, components), means, covariances)


def random_points(dimension: int, count: int, seed: int, low: float = -3.0, high: float = 4.0) -> Points:
    rng = np.random.default_rng(seed)
    y = torch.from_numpy(2 * rng.normal(size=(count, dimension)))
    return Points(y, torch.from_numpy(rng.uniform(low, high, count)))


def density(mixture: GaussianMixtureDenoiser, x: np.ndarray) -> np.ndarray:
    """q(x) from the textbook formula with inverses and determinants, independent of the eigenbases in use."""
    total = np.zeros(x.shape[:-1])
    for weight, mean, covariance in zip(
        mixture.weights.numpy(), mixture.means.numpy(), mixture.covariances.numpy(), strict=True
    ):
        exponent = np.einsum("...i,ij,...j->...", x - mean, np.linalg.inv(covariance), x - mean)
        total += weight * np.exp(-0.5 * exponent) / np.sqrt(np.linalg.det(2 * np.pi * covariance))
    return total


def second_moment_about(y: torch.Tensor, moments) -> torch.Tensor:
    """E|x − y|²."""
    return ((moments.mean - y) ** 2).sum(-1) + moments.variance


# The trapezoidal rule converges exponentially for Gaussians narrower than the domain and wider than the spacing.
@pytest.mark.parametrize("dimension, edge, nodes", [(1, 12.0, 8001), (2, 9.0, 601)])
def test_moments_and_log_normalizer_agree_with_quadrature(dimension, edge, nodes):
    mixture = random_mixture(dimension, 3, seed=1)
    axis = np.linspace(-edge, edge, nodes)
    x = np.stack(np.meshgrid(*[axis] * dimension, indexing="ij"), axis=-1).reshape(-1, dimension)
    q, cell = density(mixture, x), (axis[1] - axis[0]) ** dimension
    points = random_points(dimension, 6, seed=2, high=3.5)
    moments = mixture.moments(points.y, points.log_snr)
    log_normalizer = mixture.log_normalizer(points.y, points.log_snr)
    for index in range(len(points)):
        y, snr = points.y[index].numpy(), points.snr[index].item()
        mass = q * np.exp(-0.5 * snr * ((x - y) ** 2).sum(-1)) * cell
        normalizer = mass.sum()
        mean = mass @ x / normalizer
        variance = mass @ ((x - mean) ** 2).sum(-1) / normalizer
        np.testing.assert_allclose(log_normalizer[index], np.log(normalizer), atol=1e-8)
        np.testing.assert_allclose(moments.mean[index], mean, atol=1e-8)
        np.testing.assert_allclose(moments.variance[index], variance, rtol=1e-7)


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_tweedie_mean_is_the_score(dimension):
    mixture, points = random_mixture(dimension, 4, seed=3), random_points(dimension, 20, seed=4)
    y = points.y.clone().requires_grad_()
    (score,) = torch.autograd.grad(mixture.log_normalizer(y, points.log_snr).sum(), y)
    mean = mixture.moments(points.y, points.log_snr).mean
    torch.testing.assert_close(mean, points.y + score / points.snr[:, None], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_variance_is_the_divergence_of_the_mean(dimension):
    mixture, points = random_mixture(dimension, 4, seed=5), random_points(dimension, 20, seed=6)
    y = points.y.clone().requires_grad_()
    moments = mixture.moments(y, points.log_snr)
    divergence = sum(
        torch.autograd.grad(moments.mean[:, i].sum(), y, retain_graph=True)[0][:, i] for i in range(dimension)
    )
    torch.testing.assert_close(moments.variance, divergence / points.snr, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dimension", [1, 3])
def test_derivative_by_log_snr_is_the_misfit(dimension):
    mixture, points = random_mixture(dimension, 4, seed=7), random_points(dimension, 20, seed=8)
    log_snr = points.log_snr.clone().requires_grad_()
    (slope,) = torch.autograd.grad(mixture.log_normalizer(points.y, log_snr).sum(), log_snr)
    misfit = second_moment_about(points.y, mixture.moments(points.y, points.log_snr))
    torch.testing.assert_close(slope, -0.5 * points.snr * misfit, rtol=1e-9, atol=1e-10)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(dimension=st.integers(1, 5), components=st.integers(1, 6), seed=st.integers(0, 10**6), high=st.floats(-3.0, 9.0))
def test_log_partition_is_convex(dimension, components, seed, high):
    """J = (η_a − η_b)·(∇ψ_a − ∇ψ_b) ≥ 0; the tolerance is the rounding of its largest term, SNR |y − x̂|²."""
    mixture = random_mixture(dimension, components, seed)
    a = random_points(dimension, 30, seed + 1, high=high + 0.1)
    b = random_points(dimension, 30, seed + 2, high=high + 0.1)
    at_a, at_b = moments_at(mixture, a), moments_at(mixture, b)
    divergence = symmetric_divergence(a, at_a, b, at_b)
    scale = (a.snr + b.snr) * (1 + second_moment_about(a.y, at_b) + second_moment_about(b.y, at_a))
    assert (divergence >= -1e-12 * scale).all()
    assert (divergence > 1e-6).any()


def test_one_component_is_the_wiener_filter():
    rng = np.random.default_rng(9)
    factor = rng.normal(size=(3, 3))
    mean, covariance = rng.normal(size=3), factor @ factor.T + 0.1 * np.eye(3)
    mixture = GaussianMixtureDenoiser([2.0], mean[None], covariance[None])
    y, snr = rng.normal(size=3), 1.7
    posterior = np.linalg.inv(np.linalg.inv(covariance) + snr * np.eye(3))
    moments = mixture.moments(torch.from_numpy(y)[None], torch.tensor([snr], dtype=torch.float64).log())
    gain = covariance @ np.linalg.inv(covariance + np.eye(3) / snr)
    np.testing.assert_allclose(moments.mean[0], mean + gain @ (y - mean), atol=1e-12)
    np.testing.assert_allclose(moments.variance[0], np.trace(posterior), atol=1e-12)


def test_wiener_has_the_weighted_mean_and_covariance_of_the_samples():
    rng = np.random.default_rng(10)
    samples, weights = rng.normal(size=(50, 3)) + 4, rng.integers(0, 4, 50)
    wiener = GaussianMixtureDenoiser.wiener(samples, weights)
    repeated = np.repeat(samples, weights, axis=0)
    np.testing.assert_allclose(wiener.means[0], repeated.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(wiener.covariances[0], np.cov(repeated.T, bias=True), atol=1e-12)


def test_singular_covariances_confine_the_posterior_and_keep_gradients_finite():
    normal, along = torch.tensor([[0.6, 0.8], [-0.8, 0.6]], dtype=torch.float64)
    covariance = 2.0 * torch.outer(along, along)  # no extent along the normal
    mean = torch.tensor([1.0, -2.0]).double()
    mixture = GaussianMixtureDenoiser([1.0], mean[None], covariance[None])
    y = torch.tensor([[0.0, 0.0], [5.0, 5.0]]).double().requires_grad_()
    log_snr = torch.tensor([-2.0, 6.0]).double().requires_grad_()
    moments = mixture.moments(y, log_snr)
    torch.testing.assert_close(moments.mean @ normal, (mean @ normal).expand(2), rtol=0, atol=1e-12)
    torch.testing.assert_close(moments.variance, 1 / (0.5 + log_snr.exp()), rtol=1e-12, atol=0)
    total = moments.mean.sum() + moments.variance.sum() + mixture.log_normalizer(y, log_snr).sum()
    for gradient in torch.autograd.grad(total, (y, log_snr)):
        assert torch.isfinite(gradient).all()
        assert (gradient != 0).any()


@pytest.mark.parametrize("shape", [(), (3,), (2, 4)])
def test_batches_keep_their_shape_and_order(shape):
    mixture = random_mixture(3, 2, seed=11)
    rng = np.random.default_rng(12)
    y, log_snr = torch.from_numpy(rng.normal(size=(*shape, 3))), torch.from_numpy(np.array(rng.normal(size=shape)))
    moments, log_normalizer = mixture.moments(y, log_snr), mixture.log_normalizer(y, log_snr)
    assert moments.mean.shape == (*shape, 3)
    assert moments.variance.shape == log_normalizer.shape == mixture.log_density(y).shape == shape
    for index in np.ndindex(shape):
        alone = mixture.moments(y[index][None], log_snr[index][None])
        torch.testing.assert_close(moments.mean[index], alone.mean[0])
        torch.testing.assert_close(moments.variance[index], alone.variance[0])


def test_log_density_integrates_to_one():
    mixture = GaussianMixtureDenoiser([1, 3], [[-1.0], [2.0]], [[[0.04]], [[0.5]]])
    x = torch.linspace(-10, 12, 20001, dtype=torch.float64)[:, None]
    total = mixture.log_density(x).exp().sum() * (x[1, 0] - x[0, 0])
    assert float(total) == pytest.approx(1.0, abs=1e-9)
    np.testing.assert_allclose(mixture.log_density(x).exp(), density(mixture, x.numpy()), atol=1e-12)


class TestFiles:
    def test_round_trip_is_exact(self, tmp_path):
        mixture = random_mixture(4, 3, seed=13)
        mixture.save(tmp_path / "model.safetensors", {"samples": 12, "atoms": [0, 3]})
        loaded, description = GaussianMixtureDenoiser.load(tmp_path / "model.safetensors")
        assert description == {"samples": 12, "atoms": [0, 3]}
        for name in ("means", "covariances"):
            assert torch.equal(getattr(loaded, name), getattr(mixture, name))
        # normalised weights are normalised again; that may change the last bit
        torch.testing.assert_close(loaded.weights, mixture.weights, rtol=4e-16, atol=0)
        points = random_points(4, 5, seed=14)
        before, after = (m.moments(points.y, points.log_snr) for m in (mixture, loaded))
        torch.testing.assert_close(before.mean, after.mean, rtol=1e-14, atol=1e-14)

    @pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
    def test_truncated_file_is_refused(self, tmp_path, kept):
        path = tmp_path / "model.safetensors"
        random_mixture(4, 3, seed=13).save(path, {})
        content = path.read_bytes()
        path.write_bytes(content[: int(kept * len(content))])
        with pytest.raises(GeometryError, match=r"model\.safetensors is not a readable denoiser"):
            GaussianMixtureDenoiser.load(path)

    def test_other_safetensors_are_refused(self, tmp_path):
        path = tmp_path / "other.safetensors"
        save_file({"weights": torch.ones(2)}, path)
        with pytest.raises(GeometryError, match="does not hold a Gaussian mixture"):
            GaussianMixtureDenoiser.load(path)

    def test_mixture_without_its_tensors_is_refused(self, tmp_path):
        path = tmp_path / "part.safetensors"
        metadata = {"kind": "gaussian_mixture", "description": "{}"}
        save_file({"weights": torch.ones(2)}, path, metadata=metadata)
        with pytest.raises(GeometryError, match="not a readable denoiser"):
            GaussianMixtureDenoiser.load(path)

    def test_missing_file_is_refused(self, tmp_path):
        with pytest.raises(GeometryError, match="nowhere is not a readable denoiser"):
            GaussianMixtureDenoiser.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "weights, means, covariances, message",
    [
        ([1.0, 1.0], [[0.0]], [[[1.0]]], "do not fit"),
        ([1.0], [0.0], [[[1.0]]], "do not fit"),
        ([1.0], [[0.0, 0.0]], [[[1.0]]], "do not fit"),
        ([1.0], [[np.nan]], [[[1.0]]], "means are not all finite"),
        ([np.inf], [[0.0]], [[[1.0]]], "weights are not all finite"),
        ([1.0], [[0.0]], [[[np.nan]]], "covariances are not all finite"),
        ([1.0, 0.0], [[0.0], [1.0]], [[[1.0]], [[1.0]]], "every weight must be positive"),
        ([1.0], [[0.0, 0.0]], [[[1.0, 0.5], [0.0, 1.0]]], "symmetric and positive semi-definite"),
        ([1.0], [[0.0, 0.0]], [[[1.0, 2.0], [2.0, 1.0]]], "symmetric and positive semi-definite"),
    ],
)
def test_constructor_refuses(weights, means, covariances, message):
    with pytest.raises(GeometryError, match=message):
        GaussianMixtureDenoiser(weights, means, covariances)


def two_clusters(count: int, seed: int) -> np.ndarray:
    """30 % at (−2, 0), 70 % at (2, 1); eight standard deviations apart, so that labels are unambiguous."""
    rng = np.random.default_rng(seed)
    first = rng.random(count) < 0.3
    return np.where(first[:, None], [-2.0, 0.0], [2.0, 1.0]) + rng.normal(size=(count, 2)) * [0.5, 0.2]


def sorted_parameters(mixture: GaussianMixtureDenoiser) -> list[np.ndarray]:
    order = mixture.means[:, 0].argsort()
    return [array[order].numpy() for array in (mixture.weights, mixture.means, mixture.covariances)]


def assert_same_mixture(a: GaussianMixtureDenoiser, b: GaussianMixtureDenoiser, tolerance: float) -> None:
    for one, two in zip(sorted_parameters(a), sorted_parameters(b), strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=tolerance)


class TestFit:
    def test_recovers_a_known_mixture(self):
        """Within four standard errors of the maximum-likelihood estimates of separated components."""
        count = 4000
        fitted, _ = fit_mixture(two_clusters(count, seed=0), 2, shrinkage=0.0)
        weights, means, covariances = sorted_parameters(fitted)
        true_weights, deviations = np.array([0.3, 0.7]), np.array([0.5, 0.2])
        members = count * true_weights[:, None]
        assert np.all(np.abs(weights - true_weights) < 4 * np.sqrt(0.3 * 0.7 / count))
        assert np.all(np.abs(means - [[-2, 0], [2, 1]]) < 4 * deviations / np.sqrt(members))
        variances = np.diagonal(covariances, axis1=1, axis2=2)
        assert np.all(np.abs(variances - deviations**2) < 4 * deviations**2 * np.sqrt(2 / members))
        assert np.all(np.abs(covariances[:, 0, 1]) < 4 * deviations.prod() / np.sqrt(members[:, 0]))

    def test_is_the_same_for_the_same_seed_and_moves_with_the_samples(self):
        samples = two_clusters(500, seed=1)
        fitted, iterations = fit_mixture(samples, 2)
        again, iterations_again = fit_mixture(samples, 2)
        assert torch.equal(fitted.means, again.means)
        assert iterations == iterations_again
        shift = torch.tensor([10.0, -3.0], dtype=torch.float64)
        shifted, _ = fit_mixture(samples + shift.numpy(), 2)
        moved = GaussianMixtureDenoiser(fitted.weights, fitted.means + shift, fitted.covariances)
        assert_same_mixture(shifted, moved, 1e-10)

    @pytest.mark.parametrize("shrinkage", [0.0, 20.0])
    def test_integer_weights_are_copies_up_to_the_effective_sample_size(self, shrinkage):
        """Masses are scaled by ESS/Σw, so the prior of ``shrinkage`` pseudo-samples weighs Σw/ESS times as much."""
        samples = two_clusters(300, seed=2)
        weights = np.random.default_rng(3).integers(1, 5, 300)
        effective = weights.sum() ** 2 / (weights**2).sum()
        copies, _ = fit_mixture(np.repeat(samples, weights, axis=0), 2, shrinkage=shrinkage)
        scaled = shrinkage * effective / weights.sum()
        weighted, _ = fit_mixture(samples, 2, weights=weights, shrinkage=scaled)
        assert_same_mixture(copies, weighted, 1e-8)
        if shrinkage:  # and unscaled it is not the same: frame weights make the data worth less
            unscaled, _ = fit_mixture(samples, 2, weights=weights, shrinkage=shrinkage)
            difference = sorted_parameters(unscaled)[2] - sorted_parameters(copies)[2]
            assert np.abs(difference).max() > 1e-4

    def test_the_scale_of_the_weights_does_not_matter(self):
        samples, weights = two_clusters(300, seed=4), np.random.default_rng(5).random(300)
        one, _ = fit_mixture(samples, 2, weights=weights)
        other, _ = fit_mixture(samples, 2, weights=1e-6 * weights)
        assert_same_mixture(one, other, 1e-10)

    def test_samples_of_zero_weight_are_ignored(self):
        samples = two_clusters(300, seed=6)
        outliers = np.full((30, 2), 50.0)
        weights = np.r_[np.ones(300), np.zeros(30)]
        fitted, _ = fit_mixture(np.vstack([samples, outliers]), 2, weights=weights)
        without, _ = fit_mixture(samples, 2)
        assert_same_mixture(fitted, without, 1e-8)

    def test_shrinkage_pulls_covariances_to_the_pooled_one(self):
        samples = two_clusters(60, seed=7)
        samples[:, 1] *= np.where(samples[:, 0] > 0, 3.0, 1.0)  # so that the two differ
        difference = {}
        for shrinkage in (0.0, 1e6):
            _, _, covariances = sorted_parameters(fit_mixture(samples, 2, shrinkage=shrinkage)[0])
            difference[shrinkage] = np.abs(covariances[0] - covariances[1]).max()
        assert difference[0.0] > 0.1
        assert difference[1e6] < 1e-4

    @pytest.mark.parametrize(
        "weights", [np.ones(9), -np.ones(10), np.zeros(10), np.full(10, np.nan)], ids=["few", "neg", "zero", "nan"]
    )
    def test_refuses_weights(self, weights):
        with pytest.raises(GeometryError, match="frame weights must be 10 finite numbers"):
            fit_mixture(two_clusters(10, seed=8), 2, weights=weights)

    def test_refuses_too_few_samples(self):
        with pytest.raises(GeometryError, match="9 samples are too few for 5 Gaussians"):
            fit_mixture(two_clusters(9, seed=9), 5)

    def test_names_the_sample_that_is_not_finite(self):
        samples = two_clusters(20, seed=10)
        samples[[7, 12], 1] = np.nan, np.inf
        with pytest.raises(GeometryError, match="sample 7 is not finite"):
            fit_mixture(samples, 2)
