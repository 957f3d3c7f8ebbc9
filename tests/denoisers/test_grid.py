"""The grid denoiser against mixtures, sums over all nodes, Bessel functions and the exponential family's identities."""

import math

import numpy as np
import pytest
import torch
from contracts.denoiser import DensityNormalizerContract
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ive

from spacetime_tps.denoisers import GaussianMixtureDenoiser, GridDenoiser
from spacetime_tps.denoisers.base import Moments
from spacetime_tps.errors import GeometryError
from spacetime_tps.spacetime import Points, point, solve_geodesic
from spacetime_tps.spacetime.family import kl_divergence, moments_at, symmetric_divergence


def turn(nodes: int) -> np.ndarray:
    """One turn without its repeated end."""
    return -np.pi + 2 * np.pi / nodes * np.arange(nodes)


def points_near(grid: GridDenoiser, count: int, seed: int, low: float = -3.0, high: float = 3.0) -> Points:
    rng = np.random.default_rng(seed)
    y = torch.from_numpy(1.5 * rng.normal(size=(count, grid.dimension)))
    return Points(y, torch.from_numpy(rng.uniform(low, high, count)))


def mixture(dimension: int) -> GaussianMixtureDenoiser:
    """Isotropic, so that its log-density is a formula of one line."""
    means = np.random.default_rng(0).normal(size=(3, dimension))
    return GaussianMixtureDenoiser([0.2, 0.5, 0.3], means, [v * np.eye(dimension) for v in (0.3, 0.6, 1.0)])


def random_grid(periodic: tuple[bool, ...], seed: int = 0, nodes: int = 20, scale: float = 2.0) -> GridDenoiser:
    """Rough log-densities: on the grid the denoiser is exact whatever they are."""
    axes = [turn(nodes) if p else np.linspace(-2, 2, nodes) for p in periodic]
    log_q = scale * np.random.default_rng(seed).normal(size=(nodes,) * len(axes))
    return GridDenoiser(log_q, axes, periodic)


KINDS = [(False,), (True,), (False, False), (True, True), (False, True), (False, True, False)]


class TestContract(DensityNormalizerContract):
    """On the grid the denoiser is exact whatever the density, which is rough here."""

    levels = (-3.0, 2.0)

    @pytest.fixture(params=KINDS, ids=str)
    def denoiser(self, request):
        return random_grid(request.param, seed=4, nodes=9 if len(request.param) == 3 else 20)

    @pytest.fixture
    def prior(self, denoiser):
        weights = denoiser._density / denoiser._density.sum()
        nodes = denoiser.embed(np.stack(np.meshgrid(*denoiser.axes, indexing="ij"), axis=-1))
        x, w = nodes.reshape(-1, denoiser.dimension), weights.reshape(-1)
        mean = w @ x
        return Moments(mean, w @ ((x - mean) ** 2).sum(-1))

    test_without_noise_x_is_known = None  # at 1/h² it is known only where q is smooth, as in TestSmoothContract


class TestSmoothContract(DensityNormalizerContract):
    """A density that 300 nodes resolve: noise as wide as one of their steps is far narrower than it."""

    extent = 2

    @pytest.fixture
    def denoiser(self):
        axis, theta = np.linspace(-7, 9, 300), turn(300)
        return GridDenoiser(-0.5 * (axis[:, None] - 1) ** 2 + 2 * np.cos(theta), [axis, theta], (False, True))

    @pytest.fixture
    def prior(self):
        """Of a normal and a von Mises density."""
        mean = torch.tensor([1.0, ive(1, 2.0) / ive(0, 2.0), 0.0], dtype=torch.float64)
        return Moments(mean, 1.0 + 1.0 - mean[1] ** 2)

    @pytest.fixture
    def clean(self, denoiser):
        return denoiser.embed(np.array([[1.0, 0.0], [0.2, 1.0]]))

    @property
    def sharp(self):
        """Where the range ends, SNR 1/h² = 349: the density's own widths, about 1, make E|x − y|² 1/349 smaller."""
        return 2 * math.log(299 / 16), 1e-2


@pytest.mark.parametrize("dimension, nodes", [(1, 400), (2, 150)])
def test_grid_of_a_gaussian_mixture_is_the_mixture(dimension, nodes):
    exact = mixture(dimension)
    axes = [np.linspace(-8, 8, nodes)] * dimension
    x = torch.from_numpy(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))
    grid = GridDenoiser(exact.log_density(x), axes)
    points = points_near(grid, 12, seed=1)
    assert points.log_snr.max() < grid.log_snr_range[1]
    ours, theirs = grid.moments(points.y, points.log_snr), exact.moments(points.y, points.log_snr)
    torch.testing.assert_close(ours.mean, theirs.mean, rtol=0, atol=1e-9)
    torch.testing.assert_close(ours.variance, theirs.variance, rtol=1e-8, atol=0)
    normalizers = (d.log_normalizer(points.y, points.log_snr) for d in (grid, exact))
    torch.testing.assert_close(*normalizers, rtol=0, atol=1e-9)
    centre = point(np.zeros(dimension), 0.0)
    torch.testing.assert_close(kl_divergence(grid, points, centre), kl_divergence(exact, points, centre))


@pytest.mark.parametrize("periodic", KINDS)
def test_sums_over_all_nodes_one_by_one(periodic):
    grid = random_grid(periodic, seed=2, nodes=9)
    rng = np.random.default_rng(2)
    log_q = 2.0 * rng.normal(size=(9,) * len(periodic)).ravel()
    x = grid.embed(np.stack(np.meshgrid(*grid.axes, indexing="ij"), axis=-1)).numpy().reshape(log_q.size, -1)
    points = points_near(grid, 5, seed=3, high=grid.log_snr_range[1])
    moments, normalizers = grid.moments(points.y, points.log_snr), grid.log_normalizer(points.y, points.log_snr)
    for k in range(len(points)):
        weights = np.exp(log_q - 0.5 * points.snr[k].item() * ((x - points.y[k].numpy()) ** 2).sum(-1))
        mean = weights @ x / weights.sum()
        variance = weights @ ((x - mean) ** 2).sum(-1) / weights.sum()
        np.testing.assert_allclose(moments.mean[k], mean, rtol=0, atol=1e-13)
        np.testing.assert_allclose(moments.variance[k], variance, rtol=1e-11)
        np.testing.assert_allclose(normalizers[k], np.log(weights.sum() * np.prod(grid.spacings)), atol=1e-12)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(kappa=st.floats(0.0, 20.0), centre=st.floats(-3.0, 3.0), log_snr=st.floats(-6.0, 5.0), seed=st.integers(0, 999))
def test_von_mises_density_on_a_circle(kappa, centre, log_snr, seed):
    """q = exp(κ cos(θ − m)) makes p(x|z) von Mises with the vector κ (cos m, sin m) + SNR y; κ = 0 is flat."""
    theta = turn(128)
    grid = GridDenoiser(kappa * np.cos(theta - centre), [theta], (True,))
    y = np.random.default_rng(seed).normal(size=2)
    pull = kappa * np.array([np.cos(centre), np.sin(centre)]) + math.exp(log_snr) * y
    strength = float(np.linalg.norm(pull))
    length = ive(1, strength) / ive(0, strength)
    z = point(y, log_snr)
    moments = grid.moments(z.y, z.log_snr)
    np.testing.assert_allclose(moments.mean[0], length * pull / strength, atol=1e-11)
    # 1 − |x̂|² cancels in the reference, not in the denoiser
    np.testing.assert_allclose(moments.variance[0], 1 - length**2, rtol=1e-8, atol=1e-12)
    log_integral = math.log(2 * np.pi * ive(0, strength)) + strength - 0.5 * math.exp(log_snr) * (1 + y @ y)
    np.testing.assert_allclose(grid.log_normalizer(z.y, z.log_snr)[0], log_integral, rtol=1e-10, atol=1e-10)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(periodic=st.sampled_from(KINDS[:5]), seed=st.integers(0, 10**6), scale=st.floats(0.0, 30.0))
def test_log_partition_is_convex(periodic, seed, scale):
    """J ≥ 0 for any density; the tolerance is the rounding of its largest term."""
    grid = random_grid(periodic, seed, scale=scale)
    high = grid.log_snr_range[1]
    a, b = points_near(grid, 30, seed + 1, high=high), points_near(grid, 30, seed + 2, high=high)
    at_a, at_b = moments_at(grid, a), moments_at(grid, b)
    divergence = symmetric_divergence(a, at_a, b, at_b)
    assert (divergence >= -1e-12 * (a.snr + b.snr) * (1 + (a.y**2).sum(-1) + (b.y**2).sum(-1))).all()
    assert (divergence > 1e-6).any()


def test_error_of_the_sum_at_the_highest_snr():
    """The docstring's 2 exp(−2π²σ²/h²) for a flat density: 5e-9 at the end of the range, 0.015 at σ = h/2."""
    axis = np.linspace(-5, 5, 101)
    grid = GridDenoiser(np.zeros(101), [axis])
    for factor, error in ((1.0, 2 * math.exp(-2 * math.pi**2)), (0.5, 2 * math.exp(-0.5 * math.pi**2))):
        log_snr = grid.log_snr_range[1] - 2 * math.log(factor)
        z = point([0.0], log_snr)  # on a node, where the error is largest
        exact = 0.5 * (math.log(2 * math.pi) - log_snr)
        assert grid.log_normalizer(z.y, z.log_snr).item() - exact == pytest.approx(math.log1p(error), rel=1e-3)


def test_far_points_neither_overflow_nor_lose_digits():
    axis = np.linspace(-14, 14, 350)
    grid, exact = GridDenoiser(-0.5 * axis**2, [axis]), GaussianMixtureDenoiser([1.0], [[0.0]], [[[1.0]]])
    y = torch.tensor([[1e4], [-3e7]], dtype=torch.float64)
    log_snr = torch.tensor([-8.0, -16.0], dtype=torch.float64)
    ours, theirs = grid.moments(y, log_snr), exact.moments(y, log_snr)
    torch.testing.assert_close(ours.mean, theirs.mean, rtol=1e-6, atol=0)
    torch.testing.assert_close(ours.variance, theirs.variance, rtol=1e-4, atol=0)


def test_forbidden_regions():
    axis = np.linspace(-2, 2, 81)
    log_q = np.where(np.abs(axis) < 1, 0.0, -np.inf)
    grid = GridDenoiser(log_q, [axis])
    wide = point([0.0], -10.0)
    uniform = (39**2 - 1) / 12 * 0.05**2  # over the 39 nodes inside
    assert grid.moments(wide.y, wide.log_snr).variance.item() == pytest.approx(uniform, rel=1e-4)
    assert grid.sample(500, np.random.default_rng(0)).abs().max() < 1 + grid.spacings[0]
    y = torch.tensor([[0.0], [7.0]], dtype=torch.float64)
    with pytest.raises(GeometryError, match=r"no weight near point 1: y = \[7.0\], log SNR 5"):
        grid.moments(y, torch.full((2,), 5.9, dtype=torch.float64))
    with pytest.raises(GeometryError, match="outside the support"):
        grid.log_normalizer(y, torch.full((2,), 5.9, dtype=torch.float64))


def test_samples_follow_the_density():
    """Means and second moments within five standard errors; the angle's are those of a von Mises density."""
    axis, theta = np.linspace(-7, 7, 141), turn(72)
    grid = GridDenoiser(-0.5 * (axis[:, None] - 1) ** 2 + 2 * np.cos(theta), [axis, theta], (False, True))
    samples = grid.sample(20_000, np.random.default_rng(3))
    assert samples.shape == (20_000, 3)
    torch.testing.assert_close(samples[:, 1] ** 2 + samples[:, 2] ** 2, torch.ones(20_000, dtype=torch.float64))
    assert len(samples.unique(dim=0)) == 20_000  # no two in one place: uniform in the cells
    expected = torch.tensor([1.0, ive(1, 2.0) / ive(0, 2.0), 0.0], dtype=torch.float64)
    assert ((samples.mean(0) - expected).abs() < 5 * samples.std(0) / math.sqrt(20_000)).all()
    assert samples[:, 0].var().item() == pytest.approx(1.0, abs=5 * math.sqrt(2 / 20_000))
    torch.testing.assert_close(samples, grid.sample(20_000, np.random.default_rng(3)))


def test_geodesic_of_a_gaussian():
    """Length √2 arccosh(1 + ((Δm)²/2 + (Δs)²)/(2 s₁ s₂)) between N(−0.5, 0.3²) and N(0.7, 0.2²) for q = N(0, 1)."""
    axis = np.linspace(-9, 9, 241)
    grid = GridDenoiser(-0.5 * axis**2, [axis])
    ends = []
    for m, s in ((-0.5, 0.3), (0.7, 0.2)):
        snr = 1 / s**2 - 1
        ends.append(point([m / (s**2 * snr)], math.log(snr)))
    assert solve_geodesic(grid, *ends, points=64, knots=8).length == pytest.approx(3.7418, rel=1e-3)


UNIFORM = np.linspace(0.0, 1.0, 5)


@pytest.mark.parametrize(
    "log_density, axes, periodic, message",
    [
        (
            np.zeros(5),
            [np.array([0.0, 0.1, 0.2, 0.35, 0.4])],
            None,
            r"axis 0 .*equal steps: 0.2 to 0.35 .*nodes 2 and 3",
        ),
        (np.zeros(5), [UNIFORM[::-1]], None, "axis 0 does not rise"),
        (np.zeros((5, 5)), [UNIFORM, np.zeros(5)], None, "axis 1 does not rise"),
        (np.zeros(3), [np.arange(3.0)], None, "at least 4 finite nodes"),
        (np.zeros(5), [np.array([0.0, 1.0, np.nan, 3.0, 4.0])], None, "at least 4 finite nodes"),
        (np.zeros((5, 4)), [UNIFORM, UNIFORM], None, r"\(5, 4\) does not fit axes of 5, 5 nodes"),
        (np.array([0.0, 1.0, np.nan, 0.0, np.nan]), [UNIFORM], None, r"nan at index \(2,\) \(2 such nodes\)"),
        (np.array([0.0, np.inf, 0.0, 0.0, 0.0]), [UNIFORM], None, r"inf at index \(1,\)"),
        (np.full(5, -np.inf), [UNIFORM], None, "-inf at every node"),
        (np.zeros(73), [np.linspace(-np.pi, np.pi, 73)], (True,), "6.37045 rad, not one turn.*repeats the beginning"),
        (np.zeros(36), [np.arange(0.0, 360.0, 10.0)], (True,), "360 rad, not one turn"),
        (np.zeros(5), [UNIFORM], (True, False), "1 axes and 2 flags"),
        (np.zeros((4,) * 4), [np.arange(4.0)] * 4, None, "1 to 3 axes"),
    ],
)
def test_refusals(log_density, axes, periodic, message):
    with pytest.raises(GeometryError, match=message):
        GridDenoiser(log_density, axes, periodic)
