"""Inefficiencies and effective sizes of series and weights that are known exactly."""

import numpy as np
import pytest

from spacetime_tps.statistics.correlation import effective_size, kish_size, statistical_inefficiency, uncorrelated


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_statistical_inefficiency_of_an_autoregressive_process(rho, autoregressive):
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


def test_frames_are_taken_as_far_apart_as_they_are_correlated(autoregressive):
    """AR(1) with factor 0.8 has g = (1 + 0.8)/(1 − 0.8) = 9; 25 % for 4 chains of 5000 frames."""
    rng = np.random.default_rng(5)
    kept, inefficiency = uncorrelated([autoregressive(0.8, 5000, rng) for _ in range(4)])
    assert inefficiency == pytest.approx(9, rel=0.25)
    for frames in kept:
        assert np.diff(frames).mean() == pytest.approx(inefficiency, rel=0.01)
    independent, one = uncorrelated([rng.normal(size=500), rng.normal(size=2)])
    assert one == pytest.approx(1, abs=0.3)
    assert len(independent[1]) == 2
    assert [len(frames) for frames in uncorrelated([np.ones(7)])[0]] == [7]


def test_kish_size():
    assert kish_size(np.full(4, 0.25)) == pytest.approx(4)
    assert kish_size(np.array([3.0, 3.0, 0, 0])) == pytest.approx(2)
