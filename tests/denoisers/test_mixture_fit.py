"""Fits of Gaussian mixtures: known truths, closed forms of the covariance models, weights, and bad input."""

import numpy as np
import pytest
import torch
from scipy.stats import ortho_group

from spacetime_tps.denoisers import GaussianMixtureDenoiser, fit_mixture
from spacetime_tps.errors import GeometryError

KINDS = ("full", "low_rank", "shrunk")


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


def conformers(dimension: int, count: int, kinds: int, seed: int, modes: int = 8) -> np.ndarray:
    """Like a molecule, in nm: several conformers, each with its own soft modes (0.1, 0.05, 0.033 …) and stiff rest."""
    rng = np.random.default_rng(seed)
    soft, _ = np.linalg.qr(rng.normal(size=(kinds, dimension, modes)))
    centres, of = 0.05 * rng.normal(size=(kinds, dimension)), rng.integers(kinds, size=count)
    amplitudes = rng.normal(size=(count, modes)) * 0.1 / np.arange(1, modes + 1)
    return centres[of] + (soft[of] @ amplitudes[..., None])[..., 0] + 0.004 * rng.normal(size=(count, dimension))


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

    @pytest.mark.parametrize("covariance", KINDS)
    def test_turns_with_the_samples(self, covariance):
        samples = conformers(6, 300, 3, seed=12, modes=3)
        rotation = ortho_group.rvs(6, random_state=13)
        fitted, _ = fit_mixture(samples, 3, covariance=covariance, rank=2)
        turned, _ = fit_mixture(samples @ rotation.T, 3, covariance=covariance, rank=2)
        expected = rotation @ fitted.covariances.numpy() @ rotation.T
        np.testing.assert_allclose(turned.means, fitted.means.numpy() @ rotation.T, rtol=0, atol=1e-10)
        np.testing.assert_allclose(turned.covariances, expected, rtol=0, atol=1e-10)

    @pytest.mark.parametrize("covariance", ["full", "low_rank"])
    @pytest.mark.parametrize("shrinkage", [0.0, 20.0])
    def test_integer_weights_are_copies_up_to_the_effective_sample_size(self, shrinkage, covariance):
        """Masses are scaled by ESS/Σw, so the prior of ``shrinkage`` pseudo-samples weighs Σw/ESS times as much."""
        samples = two_clusters(300, seed=2)
        weights = np.random.default_rng(3).integers(1, 5, 300)
        effective = weights.sum() ** 2 / (weights**2).sum()
        kind = {"covariance": covariance, "rank": 1}
        copies, _ = fit_mixture(np.repeat(samples, weights, axis=0), 2, shrinkage=shrinkage, **kind)
        scaled = shrinkage * effective / weights.sum()
        weighted, _ = fit_mixture(samples, 2, weights=weights, shrinkage=scaled, **kind)
        assert_same_mixture(copies, weighted, 1e-8)
        if shrinkage:  # and unscaled it is not the same: frame weights make the data worth less
            unscaled, _ = fit_mixture(samples, 2, weights=weights, shrinkage=shrinkage, **kind)
            difference = sorted_parameters(unscaled)[2] - sorted_parameters(copies)[2]
            assert np.abs(difference).max() > 1e-4

    @pytest.mark.parametrize("covariance", KINDS)
    def test_the_scale_of_the_weights_does_not_matter(self, covariance):
        samples, weights = two_clusters(300, seed=4), np.random.default_rng(5).random(300)
        one, _ = fit_mixture(samples, 2, weights=weights, covariance=covariance, rank=1)
        other, _ = fit_mixture(samples, 2, weights=1e-6 * weights, covariance=covariance, rank=1)
        assert_same_mixture(one, other, 1e-10)

    @pytest.mark.parametrize("covariance", KINDS)
    def test_samples_of_zero_weight_are_ignored(self, covariance):
        samples = two_clusters(300, seed=6)
        outliers = np.full((30, 2), 50.0)
        weights = np.r_[np.ones(300), np.zeros(30)]
        fitted, _ = fit_mixture(np.vstack([samples, outliers]), 2, weights=weights, covariance=covariance, rank=1)
        without, _ = fit_mixture(samples, 2, covariance=covariance, rank=1)
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

    def test_refuses_samples_without_extent(self):
        with pytest.raises(GeometryError, match="all samples of each component are the same"):
            fit_mixture(np.ones((10, 2)), 1)

    @pytest.mark.parametrize(
        "samples, components, options, message",
        [
            (np.zeros(5), 1, {}, "needs samples of shape"),
            (np.zeros((5, 2)), 0, {}, "at least one component"),
            (np.eye(5), 1, {"shrinkage": -1.0}, "shrinkage must not be negative; got -1"),
            (np.eye(5), 1, {"covariance": "diagonal"}, "no covariance 'diagonal': there are full, low_rank and shrunk"),
            (np.eye(5), 1, {"covariance": "low_rank", "rank": 0}, "rank 0 for 5 samples of 5 coordinates"),
            (np.eye(5), 1, {"covariance": "low_rank", "rank": 5}, "rank 5 for 5 samples of 5 coordinates"),
            (np.eye(4, 9), 1, {"covariance": "low_rank", "rank": 4}, "rank 4 for 4 samples of 9 coordinates"),
        ],
    )
    def test_refuses_options(self, samples, components, options, message):
        with pytest.raises(GeometryError, match=message):
            fit_mixture(samples, components, **options)


class TestLowRank:
    def test_one_component_is_probabilistic_pca(self):
        """Tipping & Bishop's closed form: leading eigenvectors and eigenvalues, and the mean of the other ones."""
        samples = conformers(7, 200, 1, seed=14, modes=3)
        fitted, _ = fit_mixture(samples, 1, covariance="low_rank", rank=3, shrinkage=0.0)
        eigenvalues, eigenvectors = np.linalg.eigh(np.cov(samples.T, bias=True))
        rest = eigenvalues[:4].mean()
        expected = rest * np.eye(7) + (eigenvectors[:, 4:] * (eigenvalues[4:] - rest)) @ eigenvectors[:, 4:].T
        np.testing.assert_allclose(fitted.means[0], samples.mean(0), rtol=0, atol=1e-12)
        np.testing.assert_allclose(fitted.covariances[0], expected, rtol=0, atol=1e-10)

    @pytest.mark.parametrize("shrinkage", [0.0, 30.0])
    def test_with_all_but_one_axis_is_full(self, shrinkage):
        """Then the floor is the variance of one direction, and nothing is restricted."""
        samples = conformers(5, 200, 2, seed=15, modes=2)
        full, iterations = fit_mixture(samples, 2, shrinkage=shrinkage)
        low, same = fit_mixture(samples, 2, covariance="low_rank", rank=4, shrinkage=shrinkage)
        assert (low.rank, same) == (4, iterations)
        assert_same_mixture(low, full, 1e-10)

    def test_recovers_a_low_rank_truth(self):
        """Within four standard errors of separated components: of the variance along the axis √(2/n) of itself, of the
        floor √(2/(9n)), of the axis' direction √(λf/n)/(λ − f) in each of the nine others."""
        rng = np.random.default_rng(16)
        axes, _ = np.linalg.qr(rng.normal(size=(2, 10, 1)))
        variances, floors, means = np.array([1.0, 0.5]), np.array([0.02, 0.05]), 3 * rng.normal(size=(2, 10))
        means = means[means[:, 0].argsort()]
        truth = GaussianMixtureDenoiser.from_factors([0.4, 0.6], means, axes, variances[:, None], floors)
        of = rng.permutation(np.repeat([0, 1], [1600, 2400]))
        noise = rng.multivariate_normal(np.zeros(10), np.eye(10), size=4000)
        samples = means[of] + np.einsum("nij,nj->ni", np.linalg.cholesky(truth.covariances.numpy())[of], noise)
        fitted, _ = fit_mixture(samples, 2, covariance="low_rank", rank=1, shrinkage=0.0)
        order, n = fitted.means[:, 0].argsort(), np.array([1600, 2400])
        assert np.all(np.abs(fitted.variances[order, 0].numpy() / variances - 1) < 4 * np.sqrt(2 / n))
        assert np.all(np.abs(fitted.floors[order].numpy() / floors - 1) < 4 * np.sqrt(2 / 9 / n))
        sine = np.sqrt(1 - np.einsum("kd,kd->k", fitted.axes[order, :, 0].numpy(), axes[:, :, 0]) ** 2)
        assert np.all(sine < 4 * np.sqrt(9 * variances * floors / n) / (variances - floors))

    def test_likelihood_rises_with_every_iteration_and_with_rank(self):
        """Expectation maximisation without a prior climbs, here on components that overlap."""
        x = torch.from_numpy(np.random.default_rng(17).uniform(size=(300, 6)) ** 2)
        reached = []
        for rank, iterations in [(2, 1), (2, 2), (2, 5), (2, 20), (4, 20)]:
            options = {"rank": rank, "shrinkage": 0.0, "tolerance": 0.0, "max_iterations": iterations}
            fitted, _ = fit_mixture(x, 3, covariance="low_rank", **options)
            reached.append(float(fitted.log_density(x).mean()))
        assert np.all(np.diff(reached) > 1e-3)


def oracle_approximation(covariance: np.ndarray, count: int) -> np.ndarray:
    """By its definition, the limit of Chen et al.'s iteration (2010, eqs. 20–22) of estimate and intensity."""
    p = len(covariance)
    target = np.trace(covariance) / p * np.eye(p)
    estimate = covariance
    for _ in range(2000):
        product, square = np.trace(estimate @ covariance), np.trace(estimate) ** 2
        intensity = ((1 - 2 / p) * product + square) / ((count + 1 - 2 / p) * product + (1 - count / p) * square)
        estimate = (1 - intensity) * covariance + intensity * target
    assert 0.01 < intensity < 0.9  # neither end
    return estimate


class TestShrunk:
    def test_is_the_oracle_approximating_estimate(self):
        """Of separated components where the pooled covariance, so estimated itself, is the identity.

        The target's scale has one pooled pseudo-sample: (n tr/D + 1)/(n + 1) instead of tr/D.
        """
        rng = np.random.default_rng(18)
        labels = np.repeat([0, 1], [30, 50])
        noise = (rng.normal(size=(2, 4, 4))[labels] @ rng.normal(size=(80, 4, 1)))[..., 0]
        samples = np.where(labels == 0, -50.0, 50.0)[:, None] + noise
        deviations = samples - np.stack([samples[labels == k].mean(0) for k in (0, 1)])[labels]
        root = np.linalg.cholesky(oracle_approximation(deviations.T @ deviations / 80, 80))
        white = deviations @ np.linalg.inv(root).T
        fitted, _ = fit_mixture(samples, 2, covariance="shrunk")
        for k, n in enumerate((30, 50)):
            own = white[labels == k].T @ white[labels == k] / n
            estimate, size = oracle_approximation(own, n), np.trace(own) / 4
            intensity = 1 - estimate[0, 1] / own[0, 1]
            expected = root @ (estimate + intensity * (1 - size) / (n + 1) * np.eye(4)) @ root.T
            np.testing.assert_allclose(sorted_parameters(fitted)[2][k], expected, rtol=0, atol=1e-8)

    def test_approaches_the_sample_covariance_with_many_samples(self):
        samples = two_clusters(20_000, seed=19)
        samples[:, 1] *= np.where(samples[:, 0] > 0, 3.0, 1.0)  # so that the pooled covariance is neither's
        fitted, _ = fit_mixture(samples, 2, covariance="shrunk")
        free, _ = fit_mixture(samples, 2, shrinkage=0.0)
        assert_same_mixture(fitted, free, 5e-4)  # the intensity is of order 1/n

    def test_one_sample_in_a_component_leaves_it_the_pooled_shape(self):
        samples = np.vstack([two_clusters(100, seed=20), [[100.0, 0.0]]])
        fitted, _ = fit_mixture(samples, 3, covariance="shrunk")
        _, means, covariances = sorted_parameters(fitted)
        np.testing.assert_allclose(means[2], [100.0, 0.0], atol=1e-6)
        assert np.linalg.eigvalsh(covariances[2]).min() > 1e-3


def held_out_likelihoods(dimension: int, count: int, components: int, shrinkage: float) -> dict[str, float]:
    samples = conformers(dimension, 2 * count, 3, seed=21)
    test = torch.from_numpy(samples[count:])
    options = {"rank": 12, "shrinkage": shrinkage}
    return {
        kind: float(fit_mixture(samples[:count], components, covariance=kind, **options)[0].log_density(test).mean())
        for kind in KINDS
    }


class TestHeldOut:
    """Of molecule-like samples; low rank is the truth's form here, and the others have too much to learn."""

    def test_low_rank_wins_with_fewer_samples_than_coordinates_in_a_component(self):
        likelihoods = held_out_likelihoods(60, 150, 3, 8.0)
        assert likelihoods["low_rank"] > likelihoods["shrunk"] + 5
        assert likelihoods["low_rank"] > likelihoods["full"] + 5

    def test_shrunk_beats_full_where_a_few_pseudo_samples_are_too_few(self):
        likelihoods = held_out_likelihoods(60, 150, 3, 1.0)
        assert likelihoods["shrunk"] > likelihoods["full"] + 5

    @pytest.mark.slow
    def test_low_rank_in_642_dimensions(self):
        likelihoods = held_out_likelihoods(642, 900, 3, 8.0)
        assert likelihoods["low_rank"] > max(likelihoods["full"], likelihoods["shrunk"]) + 50
