"""Free energies against closed forms: rotations, states, profiles, errors; series that fall apart."""

import numpy as np
import pytest
from scipy.stats import norm

from spacetime_tps.errors import DynamicsError
from spacetime_tps.free_energy.estimates import (
    OUTSIDE,
    bootstrap,
    check_overlap,
    difference_of_states,
    profile,
)
from spacetime_tps.statistics.mbar import Sampled, mbar


def test_states_are_ensembles_that_end_at_their_boxes():
    """In a box each, with restraints that lead from one to the other: −log of the ratio of Gaussian probabilities."""
    rng = np.random.default_rng(7)
    y = np.linspace(-1.5, 1.5, 7)
    draws = [rng.normal(4 * c / 5, 1 / np.sqrt(5), 600) for c in y]
    free = rng.normal(size=60000)
    a, b = free[free < -1.0][:600], free[(free > 0.5) & (free < 1.5)][:600]
    x = np.concatenate([a, *draws, b])
    bias = np.array(
        [
            np.where(x < -1.0, 0, OUTSIDE),
            *(2.0 * (x - c) ** 2 for c in y),
            np.where((x > 0.5) & (x < 1.5), 0, OUTSIDE),
        ]
    )
    solved = mbar(Sampled(bias, np.repeat(np.arange(9), [len(a), *[600] * 7, len(b)]), np.zeros(len(x), dtype=int)))
    exact = -np.log((norm.cdf(1.5) - norm.cdf(0.5)) / norm.cdf(-1.0))
    assert solved.errors[-1] < 0.15
    assert solved.values[-1] == pytest.approx(exact, abs=4 * solved.errors[-1])
    by_weights = difference_of_states(x < -1.0, (x > 0.5) & (x < 1.5), np.exp(solved.log_weights))
    assert by_weights == pytest.approx(solved.values[-1], abs=1e-6)


def test_errors_are_spreads_over_sweeps(harmonic_series):
    """Of free energies as MBAR's own, where sweeps are alike; of a cell that no frame is in nothing is known."""
    sampled, _ = harmonic_series(100, 1, replicas=8)
    solved = mbar(sampled)
    nothing = np.zeros(len(sampled.replica), dtype=int)
    spread, flat = bootstrap(sampled, solved, nothing, 2, np.random.default_rng(0), 25)
    assert 0.4 < spread[-1] / solved.errors[-1] < 2.0
    assert flat[0] == 0 and np.isnan(flat[1])  # all frames are in one cell


def test_profile_is_that_of_the_unbiased_ensemble(harmonic_series):
    """Probabilities of N(0, 1) in cells that the series covers; 0.15 kT is more than three errors of each."""
    sampled, _ = harmonic_series(1500, 2)
    solved = mbar(sampled)
    edges = np.array([-2.0, -1.0, 0.0, 1.0])
    # x from two of the biases
    third, fourth = np.sqrt(2 * sampled.bias[2:4] / np.array([[4.0], [3.0]]))  # |x + 1| and |x|
    frames = 0.5 * (third**2 - fourth**2 - 1)
    found = profile(solved.log_weights, np.digitize(frames, edges), 6)
    exact = -np.log(np.diff(norm.cdf([-np.inf, *edges, np.inf])))
    np.testing.assert_allclose(found[:5], exact - exact.min(), atol=0.15)
    assert np.isinf(found[5])


def test_neighbours_that_do_not_overlap_are_named():
    overlap = np.eye(4) * 0.5 + 0.1
    overlap[1, 2] = overlap[2, 1] = 1e-5
    with pytest.raises(DynamicsError, match=r"w1 and w2 do not overlap .*1 of 3 pairs.* take more --windows"):
        check_overlap(overlap, ["w0", "w1", "w2", "w3"], 1e-3)
    check_overlap(np.eye(4) * 0.5 + 0.1, ["w0", "w1", "w2", "w3"], 1e-3)


def test_difference_of_states():
    weights = np.array([0.5, 0.2, 0.2, 0.1])
    a, b = np.array([1, 0, 0, 0], dtype=bool), np.array([0, 0, 1, 0], dtype=bool)
    assert difference_of_states(a, b, weights) == pytest.approx(np.log(2.5))
    assert difference_of_states(a, np.zeros(4, dtype=bool), weights) == np.inf
