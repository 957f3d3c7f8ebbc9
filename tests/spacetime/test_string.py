"""The string at fixed stiffness: saddles of the Müller–Brown surface, symmetry, and what is refused."""

import numpy as np
import pytest
import torch

from spacetime_tps.denoisers import GaussianMixtureDenoiser, GridDenoiser
from spacetime_tps.errors import GeometryError
from spacetime_tps.spacetime import solve_string

A, B, C, D, X, Y = np.array(
    [
        (-200, -1, 0, -10, 1, 0),
        (-100, -1, 0, -10, 0, 0.5),
        (-170, -6.5, 11, -6.5, -0.5, 1.5),
        (15, 0.7, 0.6, 0.7, -1, 1),
    ]
).T
MINIMA = np.array([(-0.558, 1.442), (0.623, 0.028)])
SADDLES = np.array([(-0.822, 0.624), (0.212, 0.293)])
SADDLE_ENERGIES = (-40.665, -72.249)
"""Of Müller & Brown, Theor. Chim. Acta 53, 75 (1979)."""
KT, LOG_SNR = 10.0, 7.6


def muller_brown(x: np.ndarray) -> np.ndarray:
    dx, dy = x[..., 0, None] - X, x[..., 1, None] - Y
    return (A * np.exp(B * dx**2 + C * dx * dy + D * dy**2)).sum(-1)


@pytest.fixture(scope="module")
def denoiser() -> GridDenoiser:
    axes = np.arange(-1.7, 1.4, 0.02), np.arange(-0.6, 2.2, 0.02)
    energy = muller_brown(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))
    return GridDenoiser(-energy / KT, axes)


def test_passes_the_saddles(denoiser):
    """With a noise of 0.022 in a valley 0.1 wide: positions within 0.02, energies within 0.5 of 40 kT."""
    string, converged = solve_string(denoiser, torch.from_numpy(MINIMA), LOG_SNR, knots=64)
    assert converged
    y = string.y.numpy()
    assert (np.abs(y[:, None] - SADDLES).max(axis=2).min(axis=0) < 0.02).all()
    energy = muller_brown(y)
    tops = energy[1:-1][(energy[1:-1] > energy[:-2]) & (energy[1:-1] > energy[2:])]
    np.testing.assert_allclose(tops, SADDLE_ENERGIES, atol=0.5)
    steps = np.linalg.norm(np.diff(y, axis=0), axis=1)
    assert np.ptp(steps) < 0.01 * steps.mean()
    np.testing.assert_array_equal(y[[0, -1]], MINIMA)


def test_the_same_from_both_ends(denoiser):
    there, back = (
        solve_string(denoiser, torch.from_numpy(ends), LOG_SNR, points=48)[0].y
        for ends in (MINIMA, MINIMA[::-1].copy())
    )
    np.testing.assert_allclose(there.flip(0), back, atol=1e-6)


def test_stays_in_the_valley_that_it_is_started_in():
    """Between two normal distributions the straight line is a valley's floor; a bend comes back to it."""
    means = np.array([(-1.0, 0.0), (1.0, 0.0)])
    mixture = GaussianMixtureDenoiser([0.5, 0.5], means, np.tile(0.1 * np.eye(2), (2, 1, 1)))
    start = torch.tensor([(-1.0, 0.0), (0.0, 0.4), (1.0, 0.0)], dtype=torch.float64)
    string, converged = solve_string(mixture, start, 2.0, points=21, tolerance=1e-5)
    assert converged
    np.testing.assert_allclose(string.y[:, 1], 0, atol=1e-3)
    np.testing.assert_allclose(string.y[:, 0], np.linspace(-1, 1, 21), atol=1e-3)


def test_says_that_it_has_not_converged(denoiser):
    assert not solve_string(denoiser, torch.from_numpy(MINIMA), LOG_SNR, max_iterations=2)[1]


@pytest.mark.parametrize(
    "start, log_snr, points, message",
    [
        (np.zeros((2, 3)), LOG_SNR, 9, "at least 2 finite points of 2 coordinates"),
        (np.full((2, 2), np.nan), LOG_SNR, 9, "finite"),
        (MINIMA[:1], LOG_SNR, 9, "at least 2"),
        (MINIMA[[0, 0]], LOG_SNR, 9, "two ends that differ"),
        (MINIMA, 20.0, 9, r"a string cannot be at 20\.000"),
        (MINIMA, LOG_SNR, 2, "at least 3 points and 3 knots"),
    ],
)
def test_refused(denoiser, start, log_snr, points, message):
    with pytest.raises(GeometryError, match=message):
        solve_string(denoiser, torch.from_numpy(start), log_snr, points=points)
