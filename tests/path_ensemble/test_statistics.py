"""Effective sizes, Kolmogorov-Smirnov tests, and reactive segments of long trajectories."""

import numpy as np
import pytest
from scipy.stats import ks_2samp

from spacetime_tps.path_ensemble.statistics import (
    compare,
    crossing,
    effective_size,
    reactive_segments,
    statistical_inefficiency,
)


def autoregressive(rho: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """x' = ρ x + √(1 − ρ²) ξ, from equilibrium: autocorrelation ρᵗ, so g = (1 + ρ) / (1 − ρ)."""
    x = np.empty(count)
    x[0] = rng.normal()
    for index, kick in enumerate(rng.normal(size=count - 1) * np.sqrt(1 - rho**2), 1):
        x[index] = rho * x[index - 1] + kick
    return x


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_statistical_inefficiency_of_an_autoregressive_process(rho):
    """Eight chains of 4,000; the estimate's relative standard error is √(8 g / samples) or less: four of them."""
    rng = np.random.default_rng(0)
    g = statistical_inefficiency([autoregressive(rho, 4000, rng) for _ in range(8)])
    exact = (1 + rho) / (1 - rho)
    assert abs(g / exact - 1) < 4 * np.sqrt(8 * exact / 32000)


def test_chains_that_stay_apart_are_worth_one_sample_each():
    rng = np.random.default_rng(1)
    chains = [place + 0.01 * rng.normal(size=200) for place in (0.0, 1.0, 2.0, 3.0)]
    assert effective_size(chains) < 8


def test_constant_chains_are_worth_one_sample():
    assert effective_size([np.ones(50), np.ones(50)]) == 1


def test_p_values_of_correlated_samples_are_on_the_safe_side():
    """150 comparisons of processes with ρ = 0.8: p < 0.05 in 5 % of them at most, here less than 12 % (four standard
    errors), where samples taken for independent give more than 30 %; and p is not 1 either.
    """
    rng = np.random.default_rng(2)
    p, naive = [], []
    for _ in range(150):
        one, other = ([autoregressive(0.8, 150, rng) for _ in range(2)] for _ in range(2))
        p.append(compare(one, other).p_value)
        naive.append(ks_2samp(np.concatenate(one), np.concatenate(other)).pvalue)
    assert np.mean(np.array(p) < 0.05) < 0.12
    assert np.mean(np.array(naive) < 0.05) > 0.3
    assert np.mean(np.array(p) < 0.5) > 0.1


def test_other_distribution_is_found():
    rng = np.random.default_rng(3)
    one, other = [rng.normal(size=300)], [rng.normal(size=300) + 0.5]
    comparison = compare(one, other)
    assert comparison.p_value < 1e-4
    assert comparison.means == pytest.approx((one[0].mean(), other[0].mean()))
    assert compare(one, one).statistic == 0


def test_reactive_segments():
    indices = np.array([-1, 0, 0, -1, 0, -1, -1, 1, -1, 1, -1, 0, 1, -1])
    assert reactive_segments(indices) == [(4, 7, False), (9, 11, True), (11, 12, False)]
    assert reactive_segments(np.array([-1, -1])) == []
    assert reactive_segments(np.array([0, -1, 0])) == []


def test_crossing():
    assert crossing(np.array([-2.0, -1.0, 0.5, -1.0, 2.0]), 0.0) == 2
    assert crossing(np.array([-2.0, -1.0]), 0.0) == 1
