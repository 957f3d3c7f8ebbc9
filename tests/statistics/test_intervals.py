"""Means of what is finite, and how often intervals of counted outcomes cover the truth."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from spacetime_tps.statistics.intervals import MeanSd, mean_sd, standard_error, wilson_interval


@pytest.mark.parametrize(
    "shots, confidence, least", [(10, 0.95, 0.83), (20, 0.95, 0.83), (50, 0.95, 0.83), (50, 0.8, 0.6)]
)
def test_interval_covers_as_often_as_it_says(shots, confidence, least):
    """Coverage by the exact binomial sum, over all p: on average within 1 % of nominal, and nowhere very low."""
    k = np.arange(shots + 1)
    low, high = wilson_interval(k, np.full(shots + 1, shots), confidence)
    p = np.linspace(0, 1, 2001)[1:-1]
    inside = (low <= p[:, None]) & (p[:, None] <= high)
    coverage = (binom.pmf(k, shots, p[:, None]) * inside).sum(axis=1)
    assert abs(coverage.mean() - confidence) < 0.01
    assert coverage.min() > least  # just above p = 0, as is known of Wilson's


def test_interval_of_a_known_case_and_at_the_ends():
    """10 of 20: half width z √(n/4 + z²/4)/(n + z²) with z = 1.95996."""
    low, high = wilson_interval([10, 0, 20, 0], [20, 20, 20, 0], 0.95)
    z = 1.959963985
    half = z * np.sqrt((20 + z**2) / 4) / (20 + z**2)
    np.testing.assert_allclose([low[0], high[0]], [0.5 - half, 0.5 + half])
    assert low[1] == 0 and high[2] == 1
    assert high[1] == pytest.approx(1 - low[2])
    assert 0 < high[1] < 0.2
    assert (low[3], high[3]) == (0, 1)


def test_interval_is_that_of_scipy():
    for k, n in ((0, 7), (3, 10), (50, 50)):
        known = binomtest(k, n).proportion_ci(0.9, method="wilson")
        np.testing.assert_allclose(np.ravel(wilson_interval([k], [n], 0.9)), [known.low, known.high], atol=1e-12)


def test_standard_error_is_over_the_last_axis():
    values = np.array([[1.0, 3.0], [2.0, 2.0]])
    np.testing.assert_allclose(standard_error(values), [1.0, 0.0])


def test_mean_of_what_is_finite():
    found = mean_sd(np.array([1.0, np.nan, 3.0, np.inf]))
    assert (found.mean, found.sd, found.standard_error) == pytest.approx((2.0, np.sqrt(2.0), 1.0))
    assert mean_sd(np.array([4.0])) == MeanSd(4.0, 0.0, 0.0)
    assert mean_sd(np.array([np.nan])) == MeanSd(None, None, None)
