"""Free energies against closed forms: rotations, harmonic series, states, work, bootstrap; series that fall apart."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.stats import norm

from spacetime_tps.errors import DynamicsError
from spacetime_tps.free_energy.estimates import (
    OUTSIDE,
    Sampled,
    bar,
    bootstrap,
    check_overlap,
    difference_of_states,
    log_rotation_integral,
    mbar,
    profile,
    resampled,
    restraint_bias,
    uncorrelated,
)


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_rotation_integral_is_the_mean_over_rotations(scale):
    """200,000 rotations; four standard errors."""
    rotations = Rotation.random(200000, rng=np.random.default_rng(1)).as_matrix()
    matrix = scale * np.random.default_rng(2).normal(size=(3, 3))
    for sign in (1, -1):  # both signs of the determinant
        values = np.exp(np.einsum("nij,ij->n", rotations, sign * matrix))
        integral = np.exp(log_rotation_integral(sign * matrix[None])[0])
        assert integral == pytest.approx(values.mean(), abs=4 * values.std() / np.sqrt(len(values)))


def test_rotation_integral_of_a_stiff_restraint_is_laplace():
    """exp(s₁+s₂+s₃) (2π)^{3/2} / (8π² √((s₁+s₂)(s₁+s₃)(s₂+s₃))), up to the inverse of the least sum."""
    for s in ([3000.0, 2000.0, 500.0], [3000.0, 2000.0, -500.0], [80000.0, 900.0, 600.0]):
        a, b, c = s
        laplace = sum(s) + 1.5 * np.log(2 * np.pi) - 0.5 * np.log((a + b) * (a + c) * (b + c)) - np.log(8 * np.pi**2)
        assert log_rotation_integral(np.diag(s)[None])[0] == pytest.approx(laplace, abs=1 / (b + c))


def test_bias_does_not_see_how_the_molecule_lies():
    rng = np.random.default_rng(3)
    x, centres = rng.normal(0, 0.2, (5, 6, 3)), rng.normal(0, 0.2, (3, 6, 3))
    log_snr = np.array([2.0, 6.0, -np.inf])
    bias = restraint_bias(x, centres, log_snr)
    turned = x @ Rotation.random(rng=rng).as_matrix() + [1.0, -2.0, 0.3]
    again = restraint_bias(turned, centres + np.array([0.4, 0, 1]), log_snr)
    np.testing.assert_allclose(again, bias, atol=1e-7)
    assert (bias[2] == 0).all()


def test_bias_is_the_integral_over_motions_of_the_body():
    """exp(−b) by 10⁶ rotations and Gaussian translations; four standard errors."""
    rng = np.random.default_rng(4)
    x, y, snr = rng.normal(0, 0.3, (1, 4, 3)), rng.normal(0, 0.3, (1, 4, 3)), 8.0
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    rotations = Rotation.random(300000, rng=rng).as_matrix()
    values = np.exp(-0.5 * snr * (((x[0] @ rotations) - y[0]) ** 2).sum((1, 2))) * (2 * np.pi / (4 * snr)) ** 1.5
    bias = restraint_bias(x, y, np.log([snr]))[0, 0]
    assert np.exp(-bias) == pytest.approx(values.mean(), abs=4 * values.std() / np.sqrt(len(values)))


def harmonic_series(frames: int, seed: int, chains: int = 4, offsets: float = 0.0) -> tuple[Sampled, np.ndarray]:
    """Frames of exp(−x²/2 − b_k), b_k = s_k (x − y_k)²/2 in one dimension, and the exact free energies."""
    y, s = np.array([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0]), np.array([9.0, 5.0, 4.0, 3.0, 5.0, 9.0])
    rng = np.random.default_rng(seed)
    moved = offsets * rng.normal(size=chains)[:, None, None]  # chains that have not come to equilibrium
    x = y * s / (1 + s) + (rng.normal(size=(chains, frames, len(y))) + moved) / np.sqrt(1 + s)
    ensemble = np.repeat(np.arange(len(y)), chains * frames)
    chain = np.tile(np.repeat(np.arange(chains), frames), len(y))
    flat = x.transpose(2, 0, 1).ravel()
    exact = 0.5 * np.log(1 + s) + 0.5 * s * y**2 / (1 + s)
    return Sampled(0.5 * s[:, None] * (flat - y[:, None]) ** 2, ensemble, chain), exact - exact[0]


def test_a_harmonic_series_and_its_errors():
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


def test_frames_that_count_several_times_are_several_frames():
    """Also from a start that is a kT or so away."""
    sampled, _ = harmonic_series(50, 3)
    times = np.random.default_rng(0).integers(0, 4, len(sampled.chain))
    repeated = Sampled(*(np.repeat(of, times, axis=-1) for of in (sampled.bias, sampled.ensemble, sampled.chain)))
    whole, exact = mbar(sampled), mbar(repeated)
    start = replace(whole, values=whole.values + np.append(0, np.random.default_rng(1).normal(size=5)))
    for known in (whole, start):
        values, log_weights = resampled(sampled, known, times)
        np.testing.assert_allclose(values, exact.values, atol=1e-5)
        np.testing.assert_allclose(
            (np.exp(log_weights) / times.clip(1)).repeat(times), np.exp(exact.log_weights), atol=1e-7
        )
        assert not np.exp(log_weights[times == 0]).any()


def test_a_part_of_a_series_is_a_series():
    sampled, exact = harmonic_series(400, 0)
    part = mbar(sampled.part(range(2, 5)))
    assert (np.abs(part.values - (exact[2:5] - exact[2]))[1:] < 4 * part.errors[1:]).all()


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


def test_bootstrap_over_chains_sees_that_they_differ():
    """Chains whose frames share a shift of three widths: the asymptotic error knows nothing of it."""
    alike, apart = (harmonic_series(100, 1, chains=8, offsets=o)[0] for o in (0.0, 3.0))
    errors = {}
    for name, sampled in (("alike", alike), ("apart", apart)):
        solved = mbar(sampled)
        nothing = np.zeros(len(sampled.chain), dtype=int)
        spread, flat = bootstrap(sampled, solved, nothing, 2, np.random.default_rng(0), 25)
        errors[name] = (spread[-1], solved.errors[-1])
        assert flat[0] == 0 and np.isnan(flat[1])  # all frames are in one cell
    assert 0.4 < errors["alike"][0] / errors["alike"][1] < 2.0
    assert errors["apart"][0] > 3 * errors["apart"][1]


def test_profile_is_that_of_the_unbiased_ensemble():
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
        check_overlap(overlap, ["w0", "w1", "w2", "w3"])
    check_overlap(np.eye(4) * 0.5 + 0.1, ["w0", "w1", "w2", "w3"])


def test_frames_are_taken_as_far_apart_as_they_are_correlated():
    """AR(1) with factor 0.8 has g = (1 + 0.8)/(1 − 0.8) = 9; 25 % for 4 chains of 5000 frames."""
    rng = np.random.default_rng(5)
    series = np.zeros((4, 5000))
    for frame in range(1, 5000):
        series[:, frame] = 0.8 * series[:, frame - 1] + 0.6 * rng.normal(size=4)
    kept, inefficiency = uncorrelated(list(series))
    assert inefficiency == pytest.approx(9, rel=0.25)
    for frames in kept:
        assert np.diff(frames).mean() == pytest.approx(inefficiency, rel=0.01)
    independent, one = uncorrelated([rng.normal(size=500), rng.normal(size=2)])
    assert one == pytest.approx(1, abs=0.3)
    assert len(independent[1]) == 2
    assert [len(frames) for frames in uncorrelated([np.ones(7)])[0]] == [7]


def test_bar_of_gaussian_work():
    """N(ΔF ± σ²/2, σ²) there and back obey Crooks."""
    rng, difference, sigma = np.random.default_rng(6), 2.5, 2.0
    there = rng.normal(difference + sigma**2 / 2, sigma, 1000)
    back = rng.normal(-difference + sigma**2 / 2, sigma, 1000)
    value, error = bar(there, back)
    assert 0.02 < error < 0.15
    assert value == pytest.approx(difference, abs=4 * error)
    with pytest.raises(DynamicsError, match="work is known of 1000 paths there and 1 back"):
        bar(there, back[:1])


def test_difference_of_states():
    weights = np.array([0.5, 0.2, 0.2, 0.1])
    a, b = np.array([1, 0, 0, 0], dtype=bool), np.array([0, 0, 1, 0], dtype=bool)
    assert difference_of_states(a, b, weights) == pytest.approx(np.log(2.5))
    assert difference_of_states(a, np.zeros(4, dtype=bool), weights) == np.inf
