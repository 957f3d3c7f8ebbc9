"""Distances between ensembles by hand and by theory, floors of correlated data, and reweighting to known densities."""

import math

import mdtraj
import numpy as np
import pytest
import torch

from spacetime_tps.denoisers import fit_mixture
from spacetime_tps.denoisers.noise_space import PlainNoiseSpace
from spacetime_tps.errors import TrajectoryError
from spacetime_tps.generation.comparison import (
    angles,
    bond_angles,
    bond_lengths,
    bonds,
    compare,
    jensen_shannon,
    reweight,
    scaled_wasserstein,
    torsion_divergence,
    torsion_histogram,
)
from spacetime_tps.generation.flow import Diffusion, GaussianStates
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.shipped import find_system
from spacetime_tps.statistics.correlation import kish_size
from spacetime_tps.surfaces.surface import Surface


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_jensen_shannon_by_hand():
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.25, 0.5])
    exact = 0.5 * math.log(0.5 / 0.375) + 0.5 * (0.5 * math.log(0.25 / 0.375) + 0.5 * math.log(2))
    assert jensen_shannon(p, q) == pytest.approx(exact, rel=1e-12)
    assert jensen_shannon(q, p) == pytest.approx(exact, rel=1e-12)
    assert jensen_shannon(p, p) == 0
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(math.log(2))


def test_histogram_is_periodic_and_weighted(rng):
    x, weights = rng.uniform(-np.pi, np.pi, (500, 2)), rng.random(500)
    histogram = torsion_histogram(x, weights, 12)
    assert histogram.shape == (12, 12)
    assert histogram.sum() == pytest.approx(1)
    np.testing.assert_array_equal(torsion_histogram(x + 2 * np.pi * np.array([1, -2]), weights, 12), histogram)
    edges = np.linspace(-np.pi, np.pi, 13)
    np.testing.assert_allclose(histogram, np.histogram2d(*x.T, [edges, edges], weights=weights / weights.sum())[0])
    both_ends = torsion_histogram(np.array([[-np.pi], [np.pi]]), np.ones(2), 12)
    assert both_ends[0] == 1


def test_finite_samples_of_one_density_diverge_as_chi_square_says(rng):
    """JS of n and m samples over K bins is (1/n + 1/m)/8 times χ² with K − 1 degrees of freedom; 40 repeats, 4 σ."""
    n, m, bins, repeats = 4000, 6000, 6, 40
    distance = torsion_divergence(bins)
    found = [
        distance(rng.uniform(-np.pi, np.pi, (n, 2)), np.ones(n), rng.uniform(-np.pi, np.pi, (m, 2)), np.ones(m))[0]
        for _ in range(repeats)
    ]
    freedom, unit = bins**2 - 1, (1 / n + 1 / m) / 8
    assert np.mean(found) == pytest.approx(unit * freedom, abs=4 * unit * math.sqrt(2 * freedom / repeats))


def test_wasserstein_of_a_shift(rng):
    """A shift by d moves everything by d; units of a column do not matter, repeats count as weights do."""
    x = rng.normal(size=(200, 2)) * [1.0, 5.0]
    found = scaled_wasserstein(x + np.array([0.3, -2.0]), np.ones(200), x, np.ones(200))
    np.testing.assert_allclose(found, [0.3, 2.0] / x.std(axis=0), rtol=1e-9)
    np.testing.assert_allclose(
        scaled_wasserstein(10 * x + np.array([3, -20]), np.ones(200), 10 * x, np.ones(200)), found, rtol=1e-9
    )
    counts = rng.integers(1, 4, size=200)
    repeated = np.repeat(x, counts, axis=0)
    y = rng.normal(size=(100, 2))
    np.testing.assert_allclose(
        scaled_wasserstein(y, np.ones(100), x, counts.astype(float)),
        scaled_wasserstein(y, np.ones(100), repeated, np.ones(len(repeated))),
        rtol=1e-9,
    )


def correlated(rng: np.random.Generator, frames: int, correlation: float) -> np.ndarray:
    """Stationary AR(1) series of unit variance, (frames, 1)."""
    x = rng.normal(size=(frames, 1))
    for step in range(1, frames):
        x[step] = correlation * x[step - 1] + math.sqrt(1 - correlation**2) * x[step]
    return x


def test_a_perfect_model_reaches_the_floor(rng):
    data, generated = rng.normal(size=(4000, 1)), rng.normal(size=(3000, 1))
    source = np.repeat([0, 1], 2000)
    found = compare(torsion_divergence(12), generated, data, np.ones(4000), source, rng)
    assert found.distance[0] < found.floor[0] + 4 * (found.floor_spread[0] + found.distance_spread[0]) / math.sqrt(10)
    wrong = compare(torsion_divergence(12), 1.3 * generated, data, np.ones(4000), source, rng)
    assert wrong.distance[0] > 2 * wrong.floor[0]
    assert wrong.floor.shape == wrong.floor_spread.shape == (1,)


def test_floor_knows_that_frames_are_correlated(rng):
    """Halves are whole blocks of time: those of a slow series differ more than those of independent frames."""
    slow = compare(
        scaled_wasserstein, rng.normal(size=(2000, 1)), correlated(rng, 4000, 0.98), np.ones(4000), np.zeros(4000), rng
    )
    fast = compare(
        scaled_wasserstein, rng.normal(size=(2000, 1)), rng.normal(size=(4000, 1)), np.ones(4000), np.zeros(4000), rng
    )
    assert slow.floor[0] > 3 * fast.floor[0]


def test_weights_set_the_size_of_the_comparison(rng):
    """Half of 400 frames, of which one in four has weight, count for 50 on average: 80 are enough, 20 are not."""
    weights = np.tile([1.0, 0.0, 0.0, 0.0], 100)
    arguments = (rng.normal(size=(400, 1)), weights, np.zeros(400), rng)
    compare(scaled_wasserstein, rng.normal(size=(80, 1)), *arguments)
    with pytest.raises(TrajectoryError, match=r"20 generated samples .* half counts for 50; generate at least"):
        compare(scaled_wasserstein, rng.normal(size=(20, 1)), *arguments)


def test_bonds_and_angles_of_chosen_atoms():
    """Heavy atoms of the capped alanine: nine bonds make a tree with eleven angles; all atoms: 21 and 36."""
    topology = mdtraj.load(str(find_system("alanine_dipeptide").parent / "c5.pdb")).topology
    heavy = topology.select("element != H").tolist()
    pairs = bonds(topology, heavy)
    triples = angles(pairs)
    assert (pairs.shape, triples.shape) == ((9, 2), (11, 3))
    names = {frozenset(topology.atom(heavy[i]).name for i in pair) for pair in pairs}
    assert {"CA", "CB"} in names
    assert all(any({one, middle} == set(pair) for pair in pairs.tolist()) for one, middle, _ in triples.tolist())
    everything = bonds(topology, range(topology.n_atoms))
    assert (len(everything), len(angles(everything))) == (21, 36)
    assert angles(bonds(topology, heavy[:1])).shape == (0, 3)


def test_lengths_and_angles_of_a_right_triangle():
    positions = np.array([[[0.3, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.4, 0.0]]])
    pairs = np.array([[0, 1], [1, 2], [0, 2]])
    np.testing.assert_allclose(bond_lengths(positions, pairs), [[0.3, 0.4, 0.5]], rtol=1e-6)
    exact = [[math.pi / 2, math.atan2(0.3, 0.4), math.atan2(0.4, 0.3)]]
    np.testing.assert_allclose(bond_angles(positions, np.array([[0, 1, 2], [1, 2, 0], [1, 0, 2]])), exact, rtol=1e-5)


def test_reweighting_of_a_gaussian(rng):
    """From N(0, s²) to N(0, 1) the effective size is √(2s² − 1)/s² of the samples; 3 % for 20,000 of them."""
    s, n = 1.5, 20000
    x = s * rng.normal(size=n)
    weights = reweight(-0.5 * (x / s) ** 2, 0.5 * x**2)
    assert weights.sum() == pytest.approx(1)
    assert kish_size(weights) / n == pytest.approx(math.sqrt(2 * s**2 - 1) / s**2, rel=0.03)
    assert weights @ x**2 == pytest.approx(1, rel=0.05)
    np.testing.assert_allclose(reweight(-0.5 * (x / s) ** 2 + 1e4, 0.5 * x**2 - 1e5), weights, rtol=1e-6)


def test_structures_without_energy_have_no_weight():
    np.testing.assert_array_equal(reweight(np.zeros(4), np.array([1.0, np.inf, np.nan, 1.0])), [0.5, 0, 0, 0.5])
    with pytest.raises(TrajectoryError, match="finite"):
        reweight(np.zeros(2), np.array([np.inf, np.nan]))
    with pytest.raises(TrajectoryError, match="finite"):
        reweight(np.array([0.0, np.nan]), np.zeros(2))


def test_a_rough_model_of_a_surface_is_reweighted_to_its_boltzmann_density(rng):
    """C-channel, a mixture fitted to 300 samples: mean energy and population of state A of 1,500 generated points.

    The mixture is too wide: its mean energy is off. Five standard errors, from the effective size; the steps' error of
    the log-density adds at most 0.03.
    """
    surface = Surface.from_settings(load_settings(find_system("c_channel")).surface)
    energies, grid = surface.energy_on_grid(), surface.denoiser()
    nodes = np.stack(np.meshgrid(*surface.axes(), indexing="ij"), axis=-1)
    boltzmann = np.exp(-energies) / np.exp(-energies).sum()
    mean = (boltzmann * energies).sum()
    sd = math.sqrt((boltzmann * (energies - mean) ** 2).sum())
    disc = surface.settings.states["A"]
    population = boltzmann[surface.inside(disc, nodes)].sum()

    samples = grid.sample(300, rng)
    mixture, _ = fit_mixture(samples, 12)
    noise_space = PlainNoiseSpace(2)
    start = GaussianStates.from_samples(noise_space, samples, torch.ones(300, dtype=torch.float64))
    model = Diffusion(noise_space, mixture, start, (-5.0, 6.5), 40)
    y = model.probability_flow(1500, torch.Generator().manual_seed(0))
    found = surface.energy(y.numpy())
    weights = reweight(model.log_likelihood(y).numpy(), found)
    size = kish_size(weights)
    assert size > 0.4 * 1500
    assert abs(found.mean() - mean) > 0.2
    assert abs(weights @ found - mean) < 5 * sd / math.sqrt(size) + 0.03
    inside = weights @ surface.inside(disc, y.numpy())
    assert abs(inside - population) < 5 * math.sqrt(population * (1 - population) / size) + 0.03
