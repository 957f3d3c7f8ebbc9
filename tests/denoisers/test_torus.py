"""The von Mises mixture denoiser: quadrature, identities of the exponential family, convexity, and fits."""

import math

import numpy as np
import pytest
import torch
from contracts.denoiser import MixtureContract
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import i0e, i1e

from spacetime_tps.denoisers import (
    GridDenoiser,
    VonMisesMixtureDenoiser,
    average_von_mises_mixtures,
    fit_von_mises_mixture,
)
from spacetime_tps.denoisers.base import Moments
from spacetime_tps.denoisers.torus import concentration
from spacetime_tps.errors import GeometryError
from spacetime_tps.spacetime import Points, kl_divergence, symmetric_divergence

WEIGHTS = np.array([0.5, 0.2, 0.3])
MEANS = np.array([[-2.4, 2.9], [1.0, -0.7], [3.1, 0.2]])
CONCENTRATIONS = np.array([[4.0, 0.0], [9.0, 2.0], [0.7, 25.0]])
MIXTURE = VonMisesMixtureDenoiser(WEIGHTS, MEANS, CONCENTRATIONS)


def tensor(values) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float64)


def on_torus(angles: np.ndarray) -> np.ndarray:
    """Latent vectors (..., 2·angles) of angles (..., angles)."""
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1).reshape(*angles.shape[:-1], -1)


def random_points(count: int, seed: int, angles: int = 2) -> Points:
    """Points with y inside, on and outside the circles, at log SNR from −3 to 6."""
    rng = np.random.default_rng(seed)
    y, log_snr = rng.normal(0, 1, (count, 2 * angles)), rng.uniform(-3, 6, count)
    return Points(tensor(y), tensor(log_snr))


def on_grid(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """One axis, and log q on the product of two, from the definition of the mixture."""
    axis = np.linspace(-np.pi, np.pi, nodes, endpoint=False)
    cosines = np.cos(axis[:, None, None] - MEANS.T)  # (nodes, angles, components)
    scale = np.log(2 * np.pi * i0e(CONCENTRATIONS.T)) + CONCENTRATIONS.T
    each = CONCENTRATIONS.T * cosines - scale
    return axis, np.log(np.exp(each[:, None, 0] + each[None, :, 1]) @ WEIGHTS)


def test_moments_and_normalizer_are_those_of_quadrature():
    """The trapezoid rule on circles converges exponentially: 240 nodes resolve every width here."""
    axis, log_q = on_grid(240)
    grid = GridDenoiser(log_q, [axis, axis], [True, True])
    points = random_points(12, seed=0)
    exact, mine = grid.moments(points.y, points.log_snr), MIXTURE.moments(points.y, points.log_snr)
    torch.testing.assert_close(mine.mean, exact.mean, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(mine.variance, exact.variance, rtol=1e-8, atol=1e-11)
    corners = on_torus(np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1))
    cell = 2 * np.log(axis[1] - axis[0])
    for index in range(len(points)):
        misfit = ((corners - points.y[index].numpy()) ** 2).sum(-1)
        total = np.logaddexp.reduce((log_q - 0.5 * float(points.snr[index]) * misfit).ravel()) + cell
        found = float(MIXTURE.log_normalizer(points.y[index : index + 1], points.log_snr[index : index + 1]))
        assert found == pytest.approx(total, rel=1e-10)


def test_log_density_is_normalised_and_that_of_the_definition():
    axis, log_q = on_grid(120)
    x = on_torus(np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1))
    mine = MIXTURE.log_density(tensor(x)).numpy()
    np.testing.assert_allclose(mine, log_q, rtol=1e-11)
    assert np.exp(mine).sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1, rel=1e-10)


@pytest.mark.parametrize("angles", [1, 3])
def test_variance_and_mean_add_up_to_the_number_of_angles(angles):
    rng = np.random.default_rng(3)
    mixture = VonMisesMixtureDenoiser(np.ones(4), rng.uniform(-3, 3, (4, angles)), rng.gamma(2, 3, (4, angles)))
    points = random_points(30, seed=4, angles=angles)
    moments = mixture.moments(points.y, points.log_snr)
    torch.testing.assert_close((moments.mean**2).sum(-1) + moments.variance, torch.full((30,), angles).double())


@pytest.mark.parametrize("snr", [1e3, 1e6, 1e9])
def test_narrow_distributions_have_accurate_variances(snr):
    """1 − A(ρ)² = 1/ρ + O(1/ρ³) for each angle; of 1 − |mean|² only a relative 10⁻¹⁶ρ would be right."""
    mixture = VonMisesMixtureDenoiser([1.0], [[0.3, -2.0]], [[0.0, 0.0]])
    variance = mixture.moments(tensor(on_torus(np.array([[2.0, 0.4]]))), tensor([math.log(snr)])).variance
    assert float(variance) == pytest.approx(2 / snr, rel=2 / snr + 4e-16 * snr)


def test_extreme_levels_do_not_overflow():
    """At SNR → 0 the moments are those of q."""
    x = tensor(on_torus(np.array([[0.5, -1.0], [3.0, 2.0]])))
    for log_snr in (-200.0, 40.0):
        at = torch.full((2,), log_snr, dtype=torch.float64)
        moments = MIXTURE.moments(x, at)
        assert torch.isfinite(moments.mean).all() and torch.isfinite(MIXTURE.log_normalizer(x, at)).all()
    torch.testing.assert_close(moments.mean, x)
    ratio = i1e(CONCENTRATIONS) / i0e(CONCENTRATIONS)
    mean = (WEIGHTS[:, None] * np.stack([ratio * np.cos(MEANS), ratio * np.sin(MEANS)], -1).reshape(3, -1)).sum(0)
    low = MIXTURE.moments(x, torch.full((2,), -200.0, dtype=torch.float64))
    np.testing.assert_allclose(low.mean, [mean, mean], atol=1e-12)


def test_the_family_depends_on_snr_times_y_alone():
    points = random_points(10, seed=5)
    one = MIXTURE.moments(points.y, points.log_snr)
    other = MIXTURE.moments(points.y / 3.0, points.log_snr + math.log(3.0))
    torch.testing.assert_close(one.mean, other.mean, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(one.variance, other.variance, rtol=1e-9, atol=1e-12)


def test_turning_an_angle_turns_its_part_of_everything():
    turn = 1.3
    points = random_points(8, seed=6)
    turned = VonMisesMixtureDenoiser(WEIGHTS, MEANS + np.array([turn, -turn + 2 * np.pi]), CONCENTRATIONS)
    blocks = [[[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]] for a in (turn, -turn)]
    rotation = torch.block_diag(*(tensor(block) for block in blocks))
    one, other = MIXTURE.moments(points.y, points.log_snr), turned.moments(points.y @ rotation.T, points.log_snr)
    torch.testing.assert_close(one.mean @ rotation.T, other.mean, rtol=0, atol=1e-11)
    torch.testing.assert_close(one.variance, other.variance, rtol=1e-9, atol=1e-12)


class TestContract(MixtureContract):
    extent = 2

    @pytest.fixture
    def denoiser(self):
        return MIXTURE

    @pytest.fixture
    def clean(self):
        return tensor(on_torus(MEANS))

    @pytest.fixture
    def prior(self):
        ratio = i1e(CONCENTRATIONS) / i0e(CONCENTRATIONS)
        each = np.stack([ratio * np.cos(MEANS), ratio * np.sin(MEANS)], -1).reshape(3, -1)
        mean = tensor(WEIGHTS @ each)
        return Moments(mean, 2 - (mean**2).sum())


class TestFlatContract(MixtureContract):
    """One component is flat: its natural parameter vanishes at y = 0, where Bessel functions are hard."""

    extent = 1

    @pytest.fixture
    def denoiser(self):
        return VonMisesMixtureDenoiser([0.4, 0.6], [[0.0], [2.0]], [[0.0], [3.0]])

    @pytest.fixture
    def points(self):
        points = random_points(6, seed=7, angles=1)
        points.y[1], points.log_snr[1] = 0, 0
        return points

    @pytest.fixture
    def clean(self):
        return tensor(on_torus(np.array([[2.0], [1.0]])))

    @pytest.fixture
    def prior(self):
        mean = 0.6 * i1e(3.0) / i0e(3.0) * tensor([np.cos(2.0), np.sin(2.0)])
        return Moments(mean, 1 - (mean**2).sum())


def test_second_derivatives_of_the_mean():
    points = random_points(2, seed=7)
    y, log_snr = points.y.requires_grad_(), points.log_snr.requires_grad_()
    assert torch.autograd.gradgradcheck(lambda *z: MIXTURE.moments(*z).mean, (y, log_snr))


coordinate = st.floats(-3, 3)
spacetime_point = st.tuples(st.tuples(*[coordinate] * 4), st.floats(-6, 8))


@settings(deadline=None, max_examples=60)
@given(spacetime_point, spacetime_point)
def test_divergences_are_never_negative(one, other):
    a, b = (Points(tensor([y]), tensor([log_snr])) for y, log_snr in (one, other))
    at_a, at_b = (MIXTURE.moments(p.y, p.log_snr) for p in (a, b))
    scale = 1e-12 * float(a.snr + b.snr) * 10
    both = float(symmetric_divergence(a, at_a, b, at_b))
    forward, backward = float(kl_divergence(MIXTURE, a, b)), float(kl_divergence(MIXTURE, b, a))
    assert min(both, forward, backward) >= -scale
    assert both == pytest.approx(forward + backward, rel=1e-8, abs=10 * scale)


@pytest.mark.parametrize(
    "arrays, message",
    [
        (([1.0], [[0.0]], [[1.0, 2.0]]), "do not fit"),
        (([1.0, 1.0], [[0.0]], [[1.0]]), "do not fit"),
        (([0.0], [[0.0]], [[1.0]]), "every weight must be positive"),
        (([1.0], [[np.nan]], [[1.0]]), "means are not all finite"),
        (([1.0], [[0.0]], [[np.inf]]), "concentrations are not all finite"),
        (([1.0], [[0.0]], [[-1.0]]), "no concentration may be negative"),
    ],
)
def test_refuses_what_is_no_mixture(arrays, message):
    with pytest.raises(GeometryError, match=message):
        VonMisesMixtureDenoiser(*arrays)


def test_log_density_refuses_what_is_not_on_the_torus():
    x = on_torus(np.array([[0.1, 0.2], [0.3, 0.4]]))
    x[1, 2:] *= 1.1
    with pytest.raises(GeometryError, match=r"sample 1 is not on the torus: \(cos, sin\) of angle 1 has length 1\.1"):
        MIXTURE.log_density(tensor(x))


def draw(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Angles of two separated components of weights 0.3 and 0.7, and which is which."""
    rng = np.random.default_rng(seed)
    which = (rng.random(count) < 0.7).astype(int)
    return rng.vonmises(np.array([[3.0, -1.0], [0.0, 2.0]])[which], np.array([[20.0, 5.0], [8.0, 30.0]])[which]), which


class TestFit:
    def test_recovers_a_known_mixture(self):
        """Within four standard errors of maximum likelihood: 1/√(nκA) of a mean, 1/√(n A′) of a concentration."""
        angles, _ = draw(4000, seed=0)
        fitted, _ = fit_von_mises_mixture(on_torus(angles), 2, shrinkage=0.0)
        order = np.argsort(fitted.weights.numpy())
        np.testing.assert_allclose(fitted.weights.numpy()[order], [0.3, 0.7], atol=4 * math.sqrt(0.21 / 4000))
        kappa, members = np.array([[20.0, 5.0], [8.0, 30.0]]), 4000 * np.array([[0.3], [0.7]])
        ratio = i1e(kappa) / i0e(kappa)
        off = np.angle(np.exp(1j * (fitted.means.numpy()[order] - [[3.0, -1.0], [0.0, 2.0]])))
        assert (np.abs(off) < 4 / np.sqrt(members * kappa * ratio)).all()
        slope = 1 - ratio**2 - ratio / kappa
        assert (np.abs(fitted.concentrations.numpy()[order] - kappa) < 4 / np.sqrt(members * slope)).all()

    def test_one_component_has_the_mean_of_the_samples(self):
        """Maximum likelihood: the model's mean of (cos θ, sin θ) is that of the samples."""
        x = on_torus(draw(500, seed=1)[0])
        weights = np.random.default_rng(2).random(500)
        fitted, _ = fit_von_mises_mixture(x, 1, weights=weights, shrinkage=0.0)
        everywhere = fitted.moments(torch.zeros(1, 4, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
        np.testing.assert_allclose(everywhere.mean[0], np.average(x, axis=0, weights=weights), atol=1e-6)

    def test_is_the_same_for_the_same_seed_and_turns_with_the_samples(self):
        angles, _ = draw(400, seed=3)
        fitted, iterations = fit_von_mises_mixture(on_torus(angles), 3, seed=5)
        again, iterations_again = fit_von_mises_mixture(on_torus(angles), 3, seed=5)
        assert torch.equal(fitted.means, again.means) and iterations == iterations_again
        turned, _ = fit_von_mises_mixture(on_torus(angles + 2 * np.pi), 3, seed=5)
        np.testing.assert_allclose(turned.concentrations, fitted.concentrations, rtol=1e-6)

    def test_samples_of_zero_weight_are_ignored_and_the_scale_of_weights_does_not_matter(self):
        angles, which = draw(400, seed=4)
        x, weights = on_torus(angles), np.where(which == 1, 3.0, 0.0)
        one, _ = fit_von_mises_mixture(x, 1, weights=weights)
        other, _ = fit_von_mises_mixture(x[which == 1], 1, weights=np.full(int(which.sum()), 1e-7))
        np.testing.assert_allclose(one.means, other.means, atol=1e-9)
        np.testing.assert_allclose(one.concentrations, other.concentrations, rtol=1e-7)

    def test_concentrations_stay_finite_and_shrinkage_makes_them_alike(self):
        """One angle never moves; the other differs in width between the components."""
        angles, _ = draw(200, seed=6)
        angles[:, 0] = np.where(angles[:, 1] > 0.5, 0.0, 2.0)
        ratios = []
        for shrinkage in (0.0, 1e6):
            kappa = fit_von_mises_mixture(on_torus(angles), 2, shrinkage=shrinkage)[0].concentrations.numpy()
            assert np.isfinite(kappa).all()
            ratios.append(kappa[:, 1].max() / kappa[:, 1].min())
        assert ratios[0] > 2
        assert ratios[1] == pytest.approx(1, abs=1e-3)

    def test_average_is_the_mean_of_the_densities(self):
        x = on_torus(draw(300, seed=7)[0])
        fits = [fit_von_mises_mixture(x, components)[0] for components in (2, 3)]
        mean = average_von_mises_mixtures(fits)
        densities = [fit.log_density(tensor(x)).exp() for fit in fits]
        torch.testing.assert_close(mean.log_density(tensor(x)).exp(), (densities[0] + densities[1]) / 2)

    @pytest.mark.parametrize(
        "weights", [np.ones(9), -np.ones(10), np.zeros(10), np.full(10, np.nan)], ids=["few", "neg", "zero", "nan"]
    )
    def test_refuses_weights(self, weights):
        with pytest.raises(GeometryError, match="frame weights must be 10 finite numbers"):
            fit_von_mises_mixture(on_torus(draw(10, seed=8)[0]), 2, weights=weights)

    @pytest.mark.parametrize(
        "change, message",
        [
            (lambda x: x[:3], "3 samples are too few for 2 components"),
            (lambda x: x[:, :3], r"needs samples of shape \(n, 2·angles\)"),
            (lambda x: 0.9 * x, "sample 0 is not on the torus"),
            (lambda x: np.where(np.arange(10)[:, None] == 4, np.nan, x), "sample 4 is not finite"),
        ],
        ids=["few", "odd", "length", "nan"],
    )
    def test_refuses_samples(self, change, message):
        with pytest.raises(GeometryError, match=message):
            fit_von_mises_mixture(change(on_torus(draw(10, seed=9)[0])), 2)


@settings(deadline=None, max_examples=60)
@given(st.floats(0, 1e5))
def test_concentration_inverts_the_ratio_of_bessel_functions(kappa):
    """Where the ratio is near one its rounding is what limits κ: dκ/dA = 2κ²."""
    ratio = i1e(kappa) / i0e(kappa)
    assert concentration(np.array([ratio]))[0] == pytest.approx(kappa, rel=1e-8 + 1e-15 * kappa, abs=1e-7)
