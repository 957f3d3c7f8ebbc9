"""The histogram test without the noise of counting."""

import numpy as np
import pytest
from scipy.integrate import trapezoid

from spacetime_tps.committor.statistics import (
    HistogramTest,
    histogram_test,
    intrinsic_density,
)


@pytest.mark.slow
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
