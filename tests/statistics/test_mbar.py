"""MBAR of harmonic series and of ladders of temperatures, and work there and back, against closed forms."""

from dataclasses import replace

import numpy as np
import pytest

from spacetime_tps.errors import StatisticsError
from spacetime_tps.statistics.mbar import Sampled, bar, ladder_weights, mbar, mbar_weights, resample_replicas, resampled


def test_a_harmonic_series_and_its_errors(harmonic_series):
    """Twelve repetitions: each value within four errors, and the errors right to 30 % (1/√(2·12·5) ≈ 9 % and more, for
    the values of one repetition are correlated)."""
    deviations, claimed = [], []
    for seed in range(12):
        sampled, exact = harmonic_series(50, seed)
        solved = mbar(sampled)
        assert (np.abs(solved.values - exact)[1:] < 4 * solved.errors[1:]).all()
        deviations.append(solved.values - exact)
        claimed.append(solved.errors)
    assert np.sqrt(np.mean(np.square(deviations))) == pytest.approx(np.sqrt(np.mean(np.square(claimed))), rel=0.4)
    np.testing.assert_allclose(solved.overlap.sum(axis=1), 1, atol=1e-9)
    assert np.exp(solved.log_weights).sum() == pytest.approx(1)


def test_frames_that_count_several_times_are_several_frames(harmonic_series):
    """Also from a start that is a kT or so away."""
    sampled, _ = harmonic_series(50, 3)
    times = np.random.default_rng(0).integers(0, 4, len(sampled.replica))
    repeated = Sampled(*(np.repeat(of, times, axis=-1) for of in (sampled.bias, sampled.ensemble, sampled.replica)))
    whole, exact = mbar(sampled), mbar(repeated)
    start = replace(whole, values=whole.values + np.append(0, np.random.default_rng(1).normal(size=5)))
    for known in (whole, start):
        values, log_weights = resampled(sampled, known, times)
        np.testing.assert_allclose(values, exact.values, atol=1e-5)
        np.testing.assert_allclose(
            (np.exp(log_weights) / times.clip(1)).repeat(times), np.exp(exact.log_weights), atol=1e-7
        )
        assert not np.exp(log_weights[times == 0]).any()


def test_a_part_of_a_series_is_a_series(harmonic_series):
    sampled, exact = harmonic_series(400, 0)
    part = mbar(sampled.part(range(2, 5)))
    assert (np.abs(part.values - (exact[2:5] - exact[2]))[1:] < 4 * part.errors[1:]).all()


def test_bar_of_gaussian_work():
    """N(ΔF ± σ²/2, σ²) there and back obey Crooks."""
    rng, difference, sigma = np.random.default_rng(6), 2.5, 2.0
    there = rng.normal(difference + sigma**2 / 2, sigma, 1000)
    back = rng.normal(-difference + sigma**2 / 2, sigma, 1000)
    value, error = bar(there, back)
    assert 0.02 < error < 0.15
    assert value == pytest.approx(difference, abs=4 * error)
    with pytest.raises(StatisticsError, match="work is known of 1000 paths there and 1 back"):
        bar(there, back[:1])


def test_resampled_replicas_show_that_they_differ(harmonic_series):
    """Replicas whose frames share a shift of three widths: the asymptotic error knows nothing of it."""
    errors = {}
    for name, offsets in (("alike", 0.0), ("apart", 3.0)):
        sampled, _ = harmonic_series(100, 1, replicas=8, offsets=offsets)
        solved = mbar(sampled)
        draws = list(resample_replicas(sampled, solved, np.random.default_rng(0), 25))
        assert len(draws) == 25
        errors[name] = (np.std([values[-1] for values, _ in draws], ddof=1), solved.errors[-1])
        np.testing.assert_allclose([np.exp(log_weights).sum() for _, log_weights in draws], 1)
    assert 0.4 < errors["alike"][0] / errors["alike"][1] < 2.0
    assert errors["apart"][0] > 3 * errors["apart"][1]


def test_weights_are_those_of_the_whole_answer(harmonic_series):
    """Also where neighbours in the list do not overlap: the weights need no series."""
    sampled, _ = harmonic_series(60, 4)
    by_series = np.exp(mbar(sampled).log_weights)
    order = [0, 5, 1, 3, 2, 4]
    frames = np.concatenate([np.flatnonzero(sampled.ensemble == ensemble) for ensemble in order])
    weights = mbar_weights(sampled.bias[order][:, frames], sampled.counts[order])
    np.testing.assert_allclose(weights, by_series[frames], rtol=1e-4)


@pytest.mark.parametrize("target", [300.0, 500.0, 800.0])
@pytest.mark.parametrize("dimension", [1, 12])
def test_ladder_weights_of_harmonic_oscillators(target, dimension):
    """U ~ Gamma(D/2, kT) on a ladder; <U> = D/2 kT and Var U = D/2 (kT)² at a temperature on or between its rungs.

    Standard errors from twenty independent ladders, four of them; ladders have different numbers of frames.
    """
    rng = np.random.default_rng(0)
    temperatures = [300.0, 420.0, 600.0, 900.0]
    counts = (300, 200, 250, 400)
    means, squares = [], []
    exact = dimension / 2 * target
    for _ in range(20):
        energies = [rng.gamma(dimension / 2, t, count) for t, count in zip(temperatures, counts, strict=True)]
        weights = ladder_weights(energies, temperatures, target)
        assert [len(w) for w in weights] == list(counts)
        w, u = np.concatenate(weights), np.concatenate(energies)
        assert w.sum() == pytest.approx(1, rel=1e-12)
        assert (w >= 0).all()
        means.append((w * u).sum())
        squares.append((w * (u - exact) ** 2).sum())
    for values, expected in ((means, exact), (squares, exact**2 * 2 / dimension)):
        error = np.std(values, ddof=1) / np.sqrt(20)
        assert error < 0.06 * expected
        assert abs(np.mean(values) - expected) < 4 * error


def test_ladder_weights_do_not_depend_on_the_zero_of_energy():
    rng = np.random.default_rng(1)
    temperatures = [300.0, 500.0]
    energies = [rng.gamma(3, t, 200) for t in temperatures]
    weights = ladder_weights(energies, temperatures, 350.0)
    shifted = ladder_weights([e - 1e6 for e in energies], temperatures, 350.0)
    np.testing.assert_allclose(np.concatenate(shifted), np.concatenate(weights), rtol=1e-5)
