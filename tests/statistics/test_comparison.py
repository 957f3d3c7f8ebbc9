"""Kolmogorov-Smirnov tests of correlated samples."""

import numpy as np
import pytest
from scipy.stats import ks_2samp

from spacetime_tps.statistics.comparison import compare_distributions


def test_p_values_of_correlated_samples_are_on_the_safe_side(autoregressive):
    """150 comparisons of processes with ρ = 0.8: p < 0.05 in 5 % of them at most, here less than 12 % (four standard
    errors), where samples taken for independent give more than 30 %; and p is not 1 either.
    """
    rng = np.random.default_rng(2)
    p, naive = [], []
    for _ in range(150):
        one, other = ([autoregressive(0.8, 150, rng) for _ in range(2)] for _ in range(2))
        p.append(compare_distributions(one, other).p_value)
        naive.append(ks_2samp(np.concatenate(one), np.concatenate(other)).pvalue)
    assert np.mean(np.array(p) < 0.05) < 0.12
    assert np.mean(np.array(naive) < 0.05) > 0.3
    assert np.mean(np.array(p) < 0.5) > 0.1


def test_other_distribution_is_found():
    rng = np.random.default_rng(3)
    one, other = [rng.normal(size=300)], [rng.normal(size=300) + 0.5]
    comparison = compare_distributions(one, other)
    assert comparison.p_value < 1e-4
    assert comparison.means == pytest.approx((one[0].mean(), other[0].mean()))
    assert compare_distributions(one, one).statistic == 0


def test_independent_samples_have_the_p_value_of_scipy():
    """Effective sizes of independent samples are their numbers, but for the noise in g: 15 % here."""
    rng = np.random.default_rng(4)
    one, other = rng.normal(size=3000), rng.normal(size=3000) + 0.05
    found, known = compare_distributions([one], [other]), ks_2samp(one, other, method="asymp")
    assert found.statistic == known.statistic
    assert found.effective_sizes == pytest.approx((3000, 3000), rel=0.15)
    assert np.log(found.p_value) == pytest.approx(np.log(known.pvalue), rel=0.2)
