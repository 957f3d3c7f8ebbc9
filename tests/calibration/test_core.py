"""The core of a calibration, on samples of a Gaussian posterior: a right model agrees with them within their errors."""

import numpy as np
import pytest
import torch

from spacetime_tps.calibration.core import compare_curve, compare_points
from spacetime_tps.denoisers import GaussianMixtureDenoiser
from spacetime_tps.errors import DynamicsError
from spacetime_tps.spacetime import Points
from spacetime_tps.spacetime.family import curve_divergences, moments_at

REPLICAS, FRAMES, DIMENSION = 8, 400, 3
MODEL = GaussianMixtureDenoiser([1.0], np.zeros((1, DIMENSION)), np.eye(DIMENSION)[None])
WINDOWS = Points(
    torch.tensor([[-1.0, 0, 0], [0, 0.5, 0], [1, 0, 0]], dtype=torch.float64), torch.tensor([1.0, 0.5, 1.5]).double()
)


def posterior(points: Points, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples of p(x|z) for x from N(0, I), and nothing outside the latent space."""
    moments, rng = MODEL.moments(points.y, points.log_snr), np.random.default_rng(seed)
    width = np.sqrt(moments.variance.numpy() / DIMENSION)[:, None, None, None]
    noise = rng.normal(size=(len(points), REPLICAS, FRAMES, DIMENSION))
    return moments.mean.numpy()[:, None, None] + width * noise, np.zeros((len(points), REPLICAS, FRAMES))


def test_points_of_a_right_model():
    found = compare_points(WINDOWS, moments_at(MODEL, WINDOWS), *posterior(WINDOWS, 1))
    assert [point.log_snr for point in found] == [1.0, 0.5, 1.5]
    for point in found:
        assert abs(point.moments.mean_square_displacement.z) < 5 and abs(point.halves_z) < 6
        assert point.moments.variance_md == pytest.approx(point.moments.variance_model, rel=0.1)


def test_curve_of_a_right_model():
    """Energy and length are (windows − 1)/2 Σ J and Σ √J of the chords, by the model and by the samples."""
    divergences = curve_divergences(WINDOWS, moments_at(MODEL, WINDOWS)).numpy()
    turned = np.array([False, True, False])
    curve = compare_curve("curve", WINDOWS, divergences, *posterior(WINDOWS, 2), turned)
    assert [chord.divergence.model for chord in curve.chords] == pytest.approx(divergences)
    assert [(chord.log_snr_a, chord.log_snr_b) for chord in curve.chords] == [(1.0, 0.5), (0.5, 1.5)]
    assert [window.turned for window in curve.windows] == [False, True, False]
    assert curve.energy.model == pytest.approx(divergences.sum())
    assert curve.length.model == pytest.approx(np.sqrt(divergences).sum())
    for compared in (*(chord.divergence for chord in curve.chords), curve.energy, curve.length):
        assert abs(compared.z) < 5
    assert np.mean(curve.length_md_of_halves) == pytest.approx(curve.length.md, rel=0.05)
    assert curve.negative_chords_model == 0


def test_length_that_is_lost_in_noise():
    """Samples that move against y have a negative J in every chord."""
    latent, outside = posterior(WINDOWS, 3)
    with pytest.raises(DynamicsError, match="curve: its length by dynamics is lost in noise; take more --frames"):
        compare_curve("curve", WINDOWS, np.ones(2), -4 * latent, outside, np.zeros(3, dtype=bool))
