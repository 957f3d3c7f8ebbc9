"""Committors from counted outcomes: coverage of intervals, and the histogram test without the noise of counting."""

import numpy as np
import pytest
from matplotlib.image import imread
from scipy.integrate import trapezoid
from scipy.stats import binom

from spacetime_tps.committor.statistics import (
    CONFIDENCE,
    HistogramTest,
    committor_figure,
    histogram_test,
    intrinsic_density,
    wilson_interval,
)


@pytest.mark.parametrize("shots", [10, 20, 50])
def test_interval_covers_as_often_as_it_says(shots):
    """Coverage by the exact binomial sum, over all p: on average within 1 % of nominal, nowhere below 83 %."""
    k = np.arange(shots + 1)
    low, high = wilson_interval(k, np.full(shots + 1, shots))
    p = np.linspace(0, 1, 2001)[1:-1]
    inside = (low <= p[:, None]) & (p[:, None] <= high)
    coverage = (binom.pmf(k, shots, p[:, None]) * inside).sum(axis=1)
    assert abs(coverage.mean() - CONFIDENCE) < 0.01
    assert coverage.min() > 0.83  # just above p = 0, as is known of Wilson's


def test_interval_of_a_known_case_and_at_the_ends():
    """10 of 20: half width z √(n/4 + z²/4)/(n + z²) with z = 1.95996."""
    low, high = wilson_interval([10, 0, 20, 0], [20, 20, 20, 0])
    z = 1.959963985
    half = z * np.sqrt((20 + z**2) / 4) / (20 + z**2)
    np.testing.assert_allclose([low[0], high[0]], [0.5 - half, 0.5 + half])
    assert low[1] == 0 and high[2] == 1
    assert high[1] == pytest.approx(1 - low[2])
    assert 0 < high[1] < 0.2
    assert (low[3], high[3]) == (0, 1)


def test_test_recovers_the_spread_of_the_true_committors():
    """p of a beta density: mean and corrected variance within four standard errors, with few and unequal shots.

    Without the correction the variance would be off by some thirty of them.
    """
    rng = np.random.default_rng(0)
    a, b = 6.0, 4.0
    p = rng.beta(a, b, 8000)
    shots = rng.choice([5, 10, 40], len(p))
    test = histogram_test(rng.binomial(shots, p), shots, rng)
    variance = a * b / ((a + b) ** 2 * (a + b + 1))
    assert abs(test.mean - a / (a + b)) < 4 * test.mean_error
    assert abs(test.variance - variance) < 4 * test.variance_error
    assert test.observed_variance - variance > 25 * test.variance_error
    assert test.variance_error < 0.05 * variance
    assert test.standard_deviation == pytest.approx(np.sqrt(test.variance))


def test_frames_all_alike_have_no_spread():
    """The bootstrap error is the spread over repetitions, within a third (60 repetitions: 9 % of noise)."""
    rng = np.random.default_rng(1)
    tests = [histogram_test(rng.binomial(20, 0.5, 100), np.full(100, 20), rng) for _ in range(60)]
    variances = np.array([test.variance for test in tests])
    spread = variances.std(ddof=1)
    assert abs(variances.mean()) < 4 * spread / np.sqrt(60)
    assert np.mean([test.variance_error for test in tests]) == pytest.approx(spread, rel=1 / 3)
    assert min(test.standard_deviation for test in tests) == 0.0


def test_too_little_to_test():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="two frames or more"):
        histogram_test([3], [5], rng)
    with pytest.raises(ValueError, match="two decided shots"):
        histogram_test([3, 1], [5, 1], rng)


def test_intrinsic_density_has_the_moments_of_the_test():
    test = HistogramTest(50, 0.45, 0.01, 0.03, 0.02, 0.004)
    p = np.linspace(0, 1, 20001)[1:-1]
    density = intrinsic_density(test, p)
    assert trapezoid(density, p) == pytest.approx(1, abs=1e-3)
    assert trapezoid(density * p, p) == pytest.approx(0.45, abs=1e-3)
    assert trapezoid(density * (p - 0.45) ** 2, p) == pytest.approx(0.02, abs=1e-4)


@pytest.mark.parametrize("variance", [-0.001, 0.0, 0.25])
def test_no_density_where_there_is_none(variance):
    assert intrinsic_density(HistogramTest(50, 0.5, 0.01, 0.03, variance, 0.004), np.array([0.5])) is None


@pytest.mark.parametrize("tested", [True, False])
def test_figure(tmp_path, tested):
    reached_b, shots = np.array([10, 12, 3]), np.full(3, 20)
    test = histogram_test(reached_b, shots, np.random.default_rng(0)) if tested else None
    committor_figure(tmp_path / "committor.png", reached_b, shots, test, "title")
    assert min(imread(tmp_path / "committor.png").shape[:2]) > 300
