"""How trajectories are divided, and errors of correlated series."""

import numpy as np
import pytest

from spacetime_tps.statistics.blocks import (
    BLOCKS,
    block_mean,
    block_numbers,
    halves_score,
    held_out_blocks,
    random_halves,
)

SOURCE = np.array([3] * 25 + [7] * 10 + [3] * 15 + [9] * 4)  # frames of trajectory 3 on both sides of those of 7


def test_blocks_are_equal_and_in_order():
    numbers = block_numbers(SOURCE)
    np.testing.assert_array_equal(numbers[SOURCE == 3], np.arange(40) // 4)
    np.testing.assert_array_equal(numbers[SOURCE == 7], np.arange(10))
    assert len(set(numbers[SOURCE == 9])) == 4


def test_held_out_blocks_are_whole_and_spread():
    held_out, numbers = held_out_blocks(SOURCE, 0.2), block_numbers(SOURCE)
    for trajectory in (3, 7):
        here = trajectory == SOURCE
        assert held_out[here].mean() == 0.2
        assert set(numbers[here & held_out]) == {4, 9}
        assert not set(numbers[here & held_out]) & set(numbers[here & ~held_out])
    assert held_out_blocks(SOURCE, 0.01)[SOURCE == 3].sum() == 4  # one block at least


def test_halves_are_of_whole_blocks_and_differ():
    halves = list(random_halves(SOURCE, 6, np.random.default_rng(0)))
    numbers = block_numbers(SOURCE)
    for half in halves:
        assert half[SOURCE == 3].sum() == 20 and half[SOURCE == 7].sum() == 5
        chosen = set(numbers[(SOURCE == 3) & half])
        assert len(chosen) == BLOCKS // 2 and not chosen & set(numbers[(SOURCE == 3) & ~half])
    assert len({half.tobytes() for half in halves}) == 6


def ar1(correlation: float, series: int, length: int) -> np.ndarray:
    """Stationary AR(1) series of unit variance, (length, series)."""
    rng = np.random.default_rng(6)
    x = np.empty((length, series))
    x[0] = rng.normal(size=series)
    for step in range(1, length):
        x[step] = correlation * x[step - 1] + np.sqrt(1 - correlation**2) * rng.normal(size=series)
    return x


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_error_of_the_mean_of_correlated_series(correlation):
    """Var[mean] = [(1 + ρ)/(1 − ρ) − 2ρ(1 − ρⁿ)/(n (1 − ρ)²)]/n, estimated by 400 series of 10 blocks each.

    A block estimate of a variance has relative spread √(2/9); blocks of 100 frames miss 2ρ/(100 (1 − ρ²)) = 4 % of
    it at ρ = 0.8, which is added to the tolerance. The naive error would be nine times too small in the square.
    """
    n, series = 1000, 400
    mean, error = block_mean(ar1(correlation, series, n))
    exact = ((1 + correlation) / (1 - correlation) - 2 * correlation / (n * (1 - correlation) ** 2)) / n
    tolerance = 4 * np.sqrt(2 / 9 / series) + 2 * correlation / (100 * (1 - correlation**2))
    assert (error**2).mean() == pytest.approx(exact, rel=tolerance)
    assert mean.var() == pytest.approx(exact, rel=4 * np.sqrt(2 / series))
    assert mean.shape == error.shape == (series,)


def test_block_mean_by_hand():
    mean, error = block_mean(np.array([1.0, 3.0, 5.0, 7.0]), blocks=2)
    assert mean == 4.0
    assert error == pytest.approx(np.sqrt(8 / 2))  # blocks 2 and 6


def test_halves_of_stationary_replicas_agree_and_of_drifting_ones_do_not():
    """Without drift the score is Student's t of 7 degrees, whose square has the mean 7/5 and the variance 10.5."""
    noise = np.random.default_rng(12).normal(size=(2000, 8, 20))
    score = halves_score(noise)
    assert score.shape == (2000,)
    assert (score**2).mean() == pytest.approx(7 / 5, abs=4 * np.sqrt(10.5 / 2000))
    assert (halves_score(noise + np.linspace(0, 20, 20)) > 10).all()
