"""Denoising error of an exact denoiser, errors of correlated series, and the comparison of moments."""

import numpy as np
import pytest

from spacetime_tps.analysis.calibration import block_mean, compare_moments, denoising_error
from spacetime_tps.denoisers import GaussianMixtureDenoiser


@pytest.mark.parametrize("log_snr", [-2.0, 0.5, 4.0])
@pytest.mark.parametrize("dimension", [1, 5])
def test_denoising_error_of_a_gaussian(log_snr, dimension):
    """q = N(m, c I): the error is the posterior variance D c/(1 + SNR c). Four standard errors over the samples.

    A squared error has variance 2 D s⁴; repeats of a sample are counted once, which can only overstate the error.
    """
    c, mean, samples = 0.3, np.arange(dimension, dtype=float), 4000
    denoiser = GaussianMixtureDenoiser([1.0], mean[None], c * np.eye(dimension)[None])
    x = mean + np.sqrt(c) * np.random.default_rng(0).normal(size=(samples, dimension))
    found = denoising_error(denoiser, x, np.ones(samples), log_snr, np.random.default_rng(1))
    exact = dimension * c / (1 + np.exp(log_snr) * c)
    assert abs(found - exact) < 4 * exact * np.sqrt(2 / (dimension * samples))


def test_no_other_denoiser_has_a_lower_error():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(4000, 2))
    errors = [
        denoising_error(
            GaussianMixtureDenoiser([1.0], [[shift, 0.0]], scale * np.eye(2)[None]),
            x,
            np.ones(4000),
            0.0,
            np.random.default_rng(3),
        )
        for shift, scale in ((0.0, 1.0), (0.5, 1.0), (0.0, 0.5), (0.0, 2.0))
    ]
    assert min(errors) == errors[0]


def test_weights_weigh_samples():
    """Two samples, at high SNR on their own noise: frames without weight do not count, weights need no norm."""
    denoiser = GaussianMixtureDenoiser([1.0], [[0.0]], [[[1.0]]])
    x = np.concatenate([np.random.default_rng(4).normal(size=(3000, 1)), np.full((3000, 1), 50.0)])
    weights = np.repeat([7.0, 0.0], 3000)
    found = denoising_error(denoiser, x, weights, 0.0, np.random.default_rng(5))
    assert abs(found - 0.5) < 4 * 0.5 * np.sqrt(2 / 3000)
    half = denoising_error(denoiser, x, np.ones(6000), 0.0, np.random.default_rng(5))
    assert half == pytest.approx(0.5 * 0.5 + 0.5 * (50 / 2) ** 2, rel=0.05)  # x̂ of y ≈ 50 is 25


def ar1(correlation: float, series: int, length: int) -> np.ndarray:
    """Stationary AR(1) series of unit variance, (length, series)."""
    rng = np.random.default_rng(6)
    x = np.empty((length, series))
    x[0] = rng.normal(size=series)
    for step in range(1, length):
        x[step] = correlation * x[step - 1] + np.sqrt(1 - correlation**2) * rng.normal(size=series)
    return x


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_error_of_the_mean_of_correlated_series(correlation):
    """Var[mean] = [(1 + ρ)/(1 − ρ) − 2ρ(1 − ρⁿ)/(n (1 − ρ)²)]/n, estimated by 400 series of 10 blocks each.

    A block estimate of a variance has relative spread √(2/9); blocks of 100 frames miss 2ρ/(100 (1 − ρ²)) = 4 % of
    it at ρ = 0.8, which is added to the tolerance. The naive error would be nine times too small in the square.
    """
    n, series = 1000, 400
    mean, error = block_mean(ar1(correlation, series, n))
    exact = ((1 + correlation) / (1 - correlation) - 2 * correlation / (n * (1 - correlation) ** 2)) / n
    tolerance = 4 * np.sqrt(2 / 9 / series) + 2 * correlation / (100 * (1 - correlation**2))
    assert (error**2).mean() == pytest.approx(exact, rel=tolerance)
    assert mean.var() == pytest.approx(exact, rel=4 * np.sqrt(2 / series))
    assert mean.shape == error.shape == (series,)


def test_block_mean_by_hand():
    mean, error = block_mean(np.array([1.0, 3.0, 5.0, 7.0]), blocks=2)
    assert mean == 4.0
    assert error == pytest.approx(np.sqrt(8 / 2))  # blocks 2 and 6


def test_compare_moments_by_hand():
    """Frames alternate between (1, 0) and (3, 0); the model says (2, 1) with variance 1.5, and y = (0, 0)."""
    sampled = np.tile([[1.0, 0.0], [3.0, 0.0]], (50, 1))
    found = compare_moments(np.array([2.0, 1.0]), 1.5, np.zeros(2), sampled)
    assert found["mean_distance"] == pytest.approx(1.0)
    assert found["mean_distance_error"] == pytest.approx(0.0, abs=1e-12)
    assert found["variance_model"] == 1.5
    assert found["variance_md"] == pytest.approx(100 / 99)
    assert found["mean_square_displacement_model"] == pytest.approx(5 + 1.5)
    assert found["mean_square_displacement_md"] == pytest.approx((1 + 9) / 2)
    assert found["mean_square_displacement_md_error"] == pytest.approx(0.0, abs=1e-12)


def test_a_right_model_agrees_within_its_errors():
    """Samples of the posterior itself, N(y SNR s², s² I): four standard errors."""
    rng = np.random.default_rng(7)
    y, snr = np.array([1.0, -0.5, 2.0]), 3.0
    variance = 1 / (1 + snr)
    mean = y * snr * variance
    found = compare_moments(mean, 3 * variance, y, mean + np.sqrt(variance) * rng.normal(size=(5000, 3)))
    assert found["mean_distance"] < 4 * found["mean_distance_error"]
    assert found["mean_distance_error"] == pytest.approx(np.sqrt(3 * variance / 5000), rel=0.5)
    assert found["variance_md"] == pytest.approx(3 * variance, rel=4 * np.sqrt(2 / 15000))
    difference = found["mean_square_displacement_md"] - found["mean_square_displacement_model"]
    assert abs(difference) < 4 * found["mean_square_displacement_md_error"]
