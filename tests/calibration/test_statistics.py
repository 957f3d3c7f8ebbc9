"""Denoising error of an exact denoiser, and moments and divergences of exact samples."""

import numpy as np
import pytest
import torch

from spacetime_tps.calibration.statistics import (
    compare_moments,
    denoising_error,
    sampled_curve,
)
from spacetime_tps.denoisers import GaussianMixtureDenoiser
from spacetime_tps.denoisers.noise_space import FreeRotations, PlainNoiseSpace
from spacetime_tps.spacetime import Points
from spacetime_tps.spacetime.family import curve_divergences


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("log_snr", [-2.0, 0.5, 4.0])
@pytest.mark.parametrize("dimension", [1, 5])
def test_denoising_error_of_a_gaussian(log_snr, dimension):
    """q = N(m, c I): the error is the posterior variance D c/(1 + SNR c). Four standard errors over the samples.

    A squared error has variance 2 D s⁴; repeats of a sample are counted once, which can only overstate the error.
    """
    c, mean, samples = 0.3, np.arange(dimension, dtype=float), 4000
    denoiser = GaussianMixtureDenoiser([1.0], mean[None], c * np.eye(dimension)[None])
    x = mean + np.sqrt(c) * np.random.default_rng(0).normal(size=(samples, dimension))
    found = denoising_error(denoiser, PlainNoiseSpace(dimension), x, np.ones(samples), log_snr, seeded(1))
    exact = dimension * c / (1 + np.exp(log_snr) * c)
    assert abs(found - exact) < 4 * exact * np.sqrt(2 / (dimension * samples))


def test_no_other_denoiser_has_a_lower_error():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(4000, 2))
    errors = [
        denoising_error(
            GaussianMixtureDenoiser([1.0], [[shift, 0.0]], scale * np.eye(2)[None]),
            PlainNoiseSpace(2),
            x,
            np.ones(4000),
            0.0,
            seeded(3),
        )
        for shift, scale in ((0.0, 1.0), (0.5, 1.0), (0.0, 0.5), (0.0, 2.0))
    ]
    assert min(errors) == errors[0]


def test_weights_weigh_samples():
    """Two samples, at high SNR on their own noise: frames without weight do not count, weights need no norm."""
    denoiser = GaussianMixtureDenoiser([1.0], [[0.0]], [[[1.0]]])
    x = np.concatenate([np.random.default_rng(4).normal(size=(3000, 1)), np.full((3000, 1), 50.0)])
    weights = np.repeat([7.0, 0.0], 3000)
    found = denoising_error(denoiser, PlainNoiseSpace(1), x, weights, 0.0, seeded(5))
    assert abs(found - 0.5) < 4 * 0.5 * np.sqrt(2 / 3000)
    half = denoising_error(denoiser, PlainNoiseSpace(1), x, np.ones(6000), 0.0, seeded(5))
    assert half == pytest.approx(0.5 * 0.5 + 0.5 * (50 / 2) ** 2, rel=0.05)  # x̂ of y ≈ 50 is 25


def test_compare_moments_by_hand():
    """Frames alternate between (1, 0) and (3, 0); the model says (2, 1) with variance 1.5, and y = (0, 0)."""
    sampled = np.tile([[1.0, 0.0], [3.0, 0.0]], (50, 1))
    found = compare_moments(np.array([2.0, 1.0]), 1.5, np.zeros(2), sampled)
    assert found.mean_distance == pytest.approx(1.0)
    assert found.mean_distance_error == pytest.approx(0.0, abs=1e-12)
    assert found.variance_model == 1.5
    assert found.variance_md == pytest.approx(100 / 99)
    assert found.mean_square_displacement.model == pytest.approx(5 + 1.5)
    assert found.mean_square_displacement.md == pytest.approx((1 + 9) / 2)
    assert found.mean_square_displacement.md_error == pytest.approx(0.0, abs=1e-12)


def test_a_right_model_agrees_within_its_errors():
    """Samples of the posterior itself, N(y SNR s², s² I): four standard errors."""
    rng = np.random.default_rng(7)
    y, snr = np.array([1.0, -0.5, 2.0]), 3.0
    variance = 1 / (1 + snr)
    mean = y * snr * variance
    found = compare_moments(mean, 3 * variance, y, mean + np.sqrt(variance) * rng.normal(size=(5000, 3)))
    assert found.mean_distance_error == pytest.approx(np.sqrt(3 * variance / 5000), rel=0.5)
    assert found.variance_md == pytest.approx(3 * variance, rel=4 * np.sqrt(2 / 15000))
    assert abs(found.mean_square_displacement.z) < 4 and found.mean_z < 4


def test_what_lies_outside_the_latent_space_counts():
    """Samples of a 3-D posterior, one coordinate of which is given as its square: E|x − y|² and variance are whole."""
    rng = np.random.default_rng(8)
    x = np.array([0.4, -0.2, 0.0]) + 0.5 * rng.normal(size=(400, 3))
    whole = compare_moments(np.zeros(3), 0.7, np.zeros(3), x)
    part = compare_moments(np.zeros(2), 0.7, np.zeros(2), x[:, :2], x[:, 2] ** 2)
    of_part, of_whole = part.mean_square_displacement, whole.mean_square_displacement
    assert of_part.md == pytest.approx(of_whole.md, rel=1e-12)
    assert of_part.md_error == pytest.approx(of_whole.md_error, rel=1e-12)
    outside = x[:, 2].var(ddof=1)  # its mean is not known to be zero in the one case, and is in the other
    assert part.variance_md - whole.variance_md == pytest.approx((x[:, 2] ** 2).mean() - outside, rel=1e-9)


DIMENSION, REPLICAS, FRAMES, REPEATS = 4, 8, 25, 300


@pytest.fixture(scope="module")
def windows() -> Points:
    """Seven spacetime points in a row."""
    progress = torch.linspace(0, 1, 7, dtype=torch.float64)
    ends = torch.from_numpy(np.random.default_rng(9).normal(size=(2, DIMENSION)))
    return Points(torch.lerp(*ends[:, None], progress[:, None]), 2.0 - 6 * progress * (1 - progress))


@pytest.fixture(scope="module")
def exact(windows) -> np.ndarray:
    """J of neighbours if q = N(0, I), and three more directions are held by the restraint only."""
    gaussian = GaussianMixtureDenoiser([1.0], [np.zeros(DIMENSION)], [np.eye(DIMENSION)])
    moments = FreeRotations(gaussian).moments(windows.y, windows.log_snr)
    return curve_divergences(windows, moments).numpy()


@pytest.fixture(scope="module")
def estimates(windows):
    """300 of them, each from eight replicas of 25 frames in every window, drawn from the posteriors themselves.

    In the latent space these are N(y SNR s², s² I) with s² = 1/(1 + SNR); outside, N(0, I/SNR).
    """
    rng = np.random.default_rng(10)
    y, snr = windows.y.numpy(), windows.snr.numpy()
    shape = (len(y), REPLICAS, FRAMES)
    found = []
    for _ in range(REPEATS):
        noise = rng.normal(size=(*shape, DIMENSION)) / np.sqrt(1 + snr)[:, None, None, None]
        latent = (y * (snr / (1 + snr))[:, None])[:, None, None] + noise
        outside = (rng.normal(size=(*shape, 3)) ** 2).sum(-1) / snr[:, None, None]
        found.append(sampled_curve(y, snr, latent, outside))
    return found


def test_sampled_divergences_have_no_bias(estimates, exact):
    found = np.array([estimate.divergences for estimate in estimates])
    error = found.std(axis=0, ddof=1) / np.sqrt(REPEATS)
    assert (np.abs(found.mean(axis=0) - exact) < 4 * error).all()
    assert (error < 0.02 * exact).all()


def test_sampled_energy_and_length_add_up(estimates, exact):
    """√J is concave: noise makes the length shorter by Var J/(8 J^1.5), which is added; a fifth of it is tolerated."""
    energy, length = ([getattr(e, name) for e in estimates] for name in ("energy", "length"))
    short = (np.array([e.divergences for e in estimates]).var(axis=0) / (8 * exact**1.5)).sum()
    expected_energy, expected_length = 0.5 * len(exact) * exact.sum(), np.sqrt(exact).sum()
    assert abs(np.mean(energy) - expected_energy) < 4 * np.std(energy) / np.sqrt(REPEATS)
    assert abs(np.mean(length) + short - expected_length) < 4 * np.std(length) / np.sqrt(REPEATS) + 0.2 * short


@pytest.mark.parametrize("name", ["energy", "length"])
def test_errors_of_a_sampled_curve_are_the_spread_of_repeated_ones(estimates, name):
    """Neighbouring chords share a window. A spread over 300 is known to √(1/600): four times that."""
    spread = np.std([getattr(estimate, name) for estimate in estimates], ddof=1)
    errors = np.array([getattr(estimate, f"{name}_error") for estimate in estimates])
    assert np.sqrt((errors**2).mean()) == pytest.approx(spread, rel=4 * np.sqrt(0.5 / REPEATS))


def test_errors_of_sampled_divergences_too(estimates):
    spread = np.std([estimate.divergences for estimate in estimates], axis=0, ddof=1)
    errors = np.array([estimate.errors for estimate in estimates])
    np.testing.assert_allclose(np.sqrt((errors**2).mean(axis=0)), spread, rtol=4 * np.sqrt(0.5 / REPEATS))


def test_identical_windows_are_no_distance_apart(windows):
    y, snr = (np.repeat(array[:1].numpy(), 3, axis=0) for array in (windows.y, windows.snr))
    latent = np.random.default_rng(11).normal(size=(3, REPLICAS, 5, DIMENSION))
    found = sampled_curve(y, snr, latent, np.ones((3, REPLICAS, 5)))
    assert (found.energy, found.length, found.energy_error, found.length_error) == (0, 0, 0, 0)
