"""Divergences between denoising distributions against closed forms, quadrature and invariances."""

import math

import numpy as np
import pytest
import torch

from spacetime_tps.denoisers import GaussianMixtureDenoiser, Moments
from spacetime_tps.errors import GeometryError
from spacetime_tps.spacetime.family import (
    Points,
    curve_divergences,
    kl_divergence,
    moments_at,
    point,
    symmetric_divergence,
)


def mixture(rotation: np.ndarray | None = None, shift: np.ndarray | float = 0.0) -> GaussianMixtureDenoiser:
    """Three Gaussians in three dimensions, as a whole rotated and shifted."""
    rng = np.random.default_rng(0)
    rotation = np.eye(3) if rotation is None else rotation
    factors = rng.normal(size=(3, 3, 3))
    covariances = 0.1 * factors @ np.swapaxes(factors, 1, 2) + 0.02 * np.eye(3)
    means = rng.normal(size=(3, 3))
    return GaussianMixtureDenoiser([1, 2, 3], means @ rotation.T + shift, rotation @ covariances @ rotation.T)


def random_points(seed: int, count: int = 40) -> Points:
    rng = np.random.default_rng(seed)
    return Points(torch.from_numpy(rng.normal(size=(count, 3))), torch.from_numpy(rng.uniform(-2, 5, count)))


def divergence(denoiser, a: Points, b: Points) -> torch.Tensor:
    return symmetric_divergence(a, moments_at(denoiser, a), b, moments_at(denoiser, b))


def test_symmetric_divergence_is_the_sum_of_both_kl():
    a, b, q = random_points(1), random_points(2), mixture()
    both = kl_divergence(q, a, b) + kl_divergence(q, b, a)
    torch.testing.assert_close(divergence(q, a, b), both, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(divergence(q, a, b), divergence(q, b, a), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dimension", [1, 4])
def test_kl_of_gaussian_posteriors(dimension):
    """For q = N(0, I) the posterior is N(y SNR s², s² I) with s² = 1/(1 + SNR)."""
    q = GaussianMixtureDenoiser([1.0], np.zeros((1, dimension)), np.eye(dimension)[None])
    rng = np.random.default_rng(3)
    a, b = (
        Points(torch.from_numpy(rng.normal(size=(20, dimension))), torch.from_numpy(rng.uniform(-3, 5, 20)))
        for _ in range(2)
    )
    variance_a, variance_b = 1 / (1 + a.snr), 1 / (1 + b.snr)
    shift = a.y * (a.snr * variance_a)[:, None] - b.y * (b.snr * variance_b)[:, None]
    ratio = variance_a / variance_b
    exact = 0.5 * dimension * (ratio - 1 - ratio.log()) + 0.5 * (shift**2).sum(-1) / variance_b
    torch.testing.assert_close(kl_divergence(q, a, b), exact, rtol=1e-9, atol=1e-10)


def test_kl_of_bimodal_posteriors_agrees_with_quadrature():
    q = GaussianMixtureDenoiser([1, 2], [[-1.0], [1.0]], [[[0.05]], [[0.1]]])
    a, b = point([0.1], 0.5), point([0.6], 1.5)
    x = torch.linspace(-8, 8, 16001, dtype=torch.float64)[:, None]

    def log_posterior(z: Points) -> torch.Tensor:
        log = q.log_density(x) - 0.5 * z.snr * (x[:, 0] - z.y[0, 0]) ** 2
        return log - torch.logsumexp(log, 0)

    p, r = log_posterior(a), log_posterior(b)
    assert float(kl_divergence(q, a, b)) == pytest.approx(float((p.exp() * (p - r)).sum()), rel=1e-8)


def test_kl_to_itself_is_zero_and_positive_elsewhere():
    a, b, q = random_points(4), random_points(5), mixture()
    torch.testing.assert_close(kl_divergence(q, a, a), torch.zeros(40).double(), rtol=0, atol=1e-12)
    assert (kl_divergence(q, a, b) > 0).all()


def test_divergences_do_not_change_with_the_frame_of_reference():
    rotation = np.linalg.qr(np.random.default_rng(6).normal(size=(3, 3)))[0]
    shift = np.array([20.0, -5.0, 1.0])
    a, b = random_points(7), random_points(8)
    moved_a, moved_b = (Points(z.y @ torch.from_numpy(rotation).T + torch.from_numpy(shift), z.log_snr) for z in (a, b))
    q, moved = mixture(), mixture(rotation, shift)
    torch.testing.assert_close(divergence(q, a, b), divergence(moved, moved_a, moved_b), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(kl_divergence(q, a, b), kl_divergence(moved, moved_a, moved_b), rtol=1e-8, atol=1e-8)


def test_divergence_of_near_points_is_the_fisher_metric():
    """For q = N(0, 1) posteriors are N(m, s²): J → (dm² + 2 ds²)/s²; its error is of third order in the step."""
    q = GaussianMixtureDenoiser([1.0], [[0.0]], [[[1.0]]])
    mean, deviation = 0.3, 0.4
    for step in (1e-2, 1e-3):

        def at(m: float, s: float) -> Points:
            return point([m / (1 - s**2)], math.log(1 / s**2 - 1))

        dm, ds = step, -0.5 * step
        measured = float(divergence(q, at(mean, deviation), at(mean + dm, deviation + ds)))
        assert measured == pytest.approx((dm**2 + 2 * ds**2) / deviation**2, rel=5 * step)


def test_curve_divergences_are_those_of_neighbours():
    q, curve = mixture(), random_points(9, 6)
    pairs = [float(divergence(q, curve[i : i + 1], curve[i + 1 : i + 2])) for i in range(5)]
    np.testing.assert_allclose(curve_divergences(curve, moments_at(q, curve)), pairs, rtol=1e-12)


class Broken:
    """A denoiser that fails at some points, in the mean or in the variance."""

    dimension = 3

    def __init__(self, mean_at: int | None = None, variance_at: int | None = None) -> None:
        self.mean_at, self.variance_at = mean_at, variance_at

    def moments(self, y: torch.Tensor, log_snr: torch.Tensor) -> Moments:
        mean, variance = y.clone(), torch.ones_like(log_snr)
        if self.mean_at is not None:
            mean[self.mean_at, 1] = torch.nan
        if self.variance_at is not None:
            variance[self.variance_at] = torch.inf
        return Moments(mean, variance)


@pytest.mark.parametrize("mean_at, variance_at, index", [(2, None, 2), (None, 4, 4), (3, 1, 1)])
def test_values_that_are_not_finite_are_reported_with_their_point(mean_at, variance_at, index):
    points = random_points(10, 5)
    message = rf"Broken returned values that are not finite at point {index}: log SNR"
    with pytest.raises(GeometryError, match=message) as caught:
        moments_at(Broken(mean_at, variance_at), points)
    assert str(points.y[index].tolist()) in str(caught.value)
