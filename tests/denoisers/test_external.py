"""Wrapped networks: the exact x̂0 of a mixture in every parametrisation, Hutchinson's estimate, bad networks."""

import math

import numpy as np
import pytest
import torch
from contracts.denoiser import DensityContract

from spacetime_tps.denoisers import ExternalDenoiser, GaussianMixtureDenoiser
from spacetime_tps.errors import GeometryError
from spacetime_tps.spacetime import Points, point, solve_geodesic

DIMENSION = 3


@pytest.fixture(scope="module")
def mixture() -> GaussianMixtureDenoiser:
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(3, DIMENSION, DIMENSION))
    covariances = 0.2 * factors @ np.swapaxes(factors, 1, 2) + 0.1 * np.eye(DIMENSION)
    return GaussianMixtureDenoiser([0.5, 0.3, 0.2], 1.5 * rng.normal(size=(3, DIMENSION)), covariances)


def random_points(count: int, seed: int) -> Points:
    rng = np.random.default_rng(seed)
    return Points(
        torch.from_numpy(2 * rng.normal(size=(count, DIMENSION))), torch.from_numpy(rng.uniform(-2, 4, count))
    )


def network(mixture, schedule, conditioned_on):
    """What a network trained to perfection in this parametrisation computes."""

    def function(x_t, c):
        if conditioned_on == "log_snr":
            log_snr = c
        else:  # σ = 1/√SNR, or σ² = 1/(1 + SNR)
            log_snr = -2 * c.log() if schedule == "ve" else torch.log1p(-(c**2)) - 2 * c.log()
        alpha = torch.sigmoid(log_snr).sqrt() if schedule == "vp" else torch.ones_like(log_snr)
        return mixture.moments(x_t / alpha[:, None], log_snr).mean

    return function


PARAMETRISATIONS = [("ve", "sigma"), ("ve", "log_snr"), ("vp", "sigma"), ("vp", "log_snr")]


class TestContract(DensityContract):
    """The exact divergence of a network that is exact: a density's moments, second derivatives included."""

    blurred = (-18.0, 1e-6)  # σ near 1 has lost the digits of lower SNR; y still adds up to SNR·Cov·y, 1e-7

    @pytest.fixture(params=PARAMETRISATIONS, ids="-".join)
    def denoiser(self, mixture, request):
        schedule, conditioned_on = request.param
        function = network(mixture, schedule, conditioned_on)
        return ExternalDenoiser(function, DIMENSION, schedule=schedule, conditioned_on=conditioned_on)

    @pytest.fixture
    def clean(self, mixture):
        return mixture.means

    @pytest.fixture
    def prior(self, mixture):
        level = torch.full((1,), -40.0, dtype=torch.float64)
        return mixture.moments(torch.zeros(1, DIMENSION, dtype=torch.float64), level)


@pytest.mark.parametrize("schedule, conditioned_on", PARAMETRISATIONS)
def test_every_parametrisation_has_the_exact_moments(mixture, schedule, conditioned_on):
    wrapped = ExternalDenoiser(
        network(mixture, schedule, conditioned_on), DIMENSION, schedule=schedule, conditioned_on=conditioned_on
    )
    points = random_points(20, seed=1)
    ours, exact = (d.moments(points.y, points.log_snr) for d in (wrapped, mixture))
    torch.testing.assert_close(ours.mean, exact.mean, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ours.variance, exact.variance, rtol=1e-10, atol=1e-10)
    assert not ours.mean.requires_grad and not ours.variance.requires_grad


def test_edm_network_with_its_preconditioning(mixture):
    """D = c_skip x + c_out F(c_in x, ln σ/4) (arXiv 2206.00364, Eq. 7), with the F that makes D exact."""
    data = 1.3

    def function(x_t, sigma):
        s = sigma[:, None]
        total = s**2 + data**2
        skip, out, scale = data**2 / total, s * data / total.sqrt(), total.rsqrt()

        def inner(scaled, noise):
            x, level = scaled / scale, torch.exp(4 * noise)
            return (mixture.moments(x, -2 * level.log()).mean - skip * x) / out

        return skip * x_t + out * inner(scale * x_t, sigma.log() / 4)

    points = random_points(20, seed=2)
    ours, exact = (d.moments(points.y, points.log_snr) for d in (ExternalDenoiser(function, DIMENSION), mixture))
    torch.testing.assert_close(ours.mean, exact.mean, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ours.variance, exact.variance, rtol=1e-10, atol=1e-10)


def test_lengths_do_not_depend_on_the_parametrisation(mixture):
    ends = point([-1.0, 0.5, 0.2], 2.0), point([1.2, -0.4, 0.6], 2.5)
    expected = solve_geodesic(mixture, *ends, points=24, knots=4).length
    for schedule, conditioned_on in PARAMETRISATIONS:
        function = network(mixture, schedule, conditioned_on)
        wrapped = ExternalDenoiser(function, DIMENSION, schedule=schedule, conditioned_on=conditioned_on)
        geodesic = solve_geodesic(wrapped, *ends, points=24, knots=4)
        assert geodesic.length == pytest.approx(expected, rel=1e-6)
        assert geodesic.negative_chord_fraction == 0


def test_gradients_of_the_moments_with_probes(mixture):
    """Against finite differences: the variance is itself a derivative, so this is the second one of the network."""
    wrapped = ExternalDenoiser(network(mixture, "vp", "sigma"), DIMENSION, schedule="vp", probes=2)
    points = random_points(2, seed=3)

    def outputs(y, log_snr):
        moments = wrapped.moments(y, log_snr)
        return moments.mean, moments.variance

    assert torch.autograd.gradcheck(outputs, (points.y.requires_grad_(), points.log_snr.requires_grad_()))


def test_hutchinson_is_unbiased(mixture):
    """Over 400 seeds the mean is within four standard errors of the exact divergence at each of five points."""
    function, points = network(mixture, "ve", "sigma"), random_points(5, seed=5)
    exact = mixture.moments(points.y, points.log_snr).variance

    def estimates(probes, seeds):
        wrapped = (ExternalDenoiser(function, DIMENSION, probes=probes, seed=seed) for seed in range(seeds))
        return torch.stack([w.moments(points.y, points.log_snr).variance for w in wrapped])

    one, many = estimates(1, 400), estimates(16, 100)
    assert ((one.mean(0) - exact).abs() < 4 * one.std(0) / math.sqrt(400)).all()
    # 16 probes: a quarter of the error; the ratio of the two standard deviations is known within 8 % (one sigma)
    torch.testing.assert_close(one.std(0) / many.std(0), torch.full((5,), 4.0, dtype=torch.float64), rtol=0.32, atol=0)


def test_hutchinson_is_a_function_of_the_point(mixture):
    """Not of the call, nor of a point's place in the batch; another seed is another function."""
    function, points = network(mixture, "ve", "sigma"), random_points(6, seed=6)
    wrapped = ExternalDenoiser(function, DIMENSION, probes=1, seed=7)
    together = wrapped.moments(points.y, points.log_snr).variance
    alone = torch.cat([wrapped.moments(points[i : i + 1].y, points[i : i + 1].log_snr).variance for i in range(6)])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=0)
    others = (ExternalDenoiser(function, DIMENSION, probes=1, seed=seed) for seed in range(8))  # of 4 possible ones
    assert any((other.moments(points.y, points.log_snr).variance - together).abs().max() > 1e-3 for other in others)


def test_float32_network(mixture):
    """A module with parameters of its own: float64 outside, float32 inside."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(DIMENSION + 1, 16), torch.nn.SiLU(), torch.nn.Linear(16, DIMENSION))

    def function(x_t, sigma):
        assert x_t.dtype == sigma.dtype == next(module.parameters()).dtype
        return module(torch.cat([x_t, sigma[:, None]], dim=1))

    points = random_points(5, seed=9)
    y = points.y.requires_grad_()
    single = ExternalDenoiser(function, DIMENSION, dtype=torch.float32).moments(y, points.log_snr)
    assert single.mean.dtype == single.variance.dtype == torch.float64
    (gradient,) = torch.autograd.grad(single.variance.sum(), y)
    assert gradient.dtype == torch.float64 and gradient.abs().min() > 0
    module.double()
    double = ExternalDenoiser(function, DIMENSION).moments(points.y.detach(), points.log_snr)
    torch.testing.assert_close(single.mean.detach(), double.mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(single.variance.detach(), double.variance, rtol=1e-4, atol=1e-5)


LAYER = torch.nn.Linear(DIMENSION, DIMENSION).double()


@pytest.mark.parametrize(
    "function, message",
    [
        (lambda x, c: x[:, :2], r"shape \(5, 3\), like its x_t; got \(5, 2\)"),
        (lambda x, c: x.sum(), r"got \(\)"),
        (lambda x, c: (x, c), "got tuple"),
        (lambda x, c: x.detach().numpy(), "got ndarray"),
        (lambda x, c: x.detach() * 2, "no gradient by its x_t"),
        (lambda x, c: LAYER(x.detach()), "no gradient by its x_t"),
    ],
)
def test_bad_networks(function, message):
    points = random_points(5, seed=10)
    with pytest.raises(GeometryError, match=message):
        ExternalDenoiser(function, DIMENSION).moments(points.y, points.log_snr)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"schedule": "cosine"}, "'ve' or 'vp'.*'cosine'"),
        ({"conditioned_on": "t"}, "'sigma' or 'log_snr'.*'t'"),
        ({"probes": 0}, "at least 1, not 3 and 0"),
        ({"log_snr_range": (2.0, -2.0)}, "must rise"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(GeometryError, match=message):
        ExternalDenoiser(lambda x, c: x, DIMENSION, **options)


def test_range_is_handed_on_and_the_log_partition_is_not_known():
    wrapped = ExternalDenoiser(lambda x, c: x, DIMENSION, log_snr_range=(-3.0, 6.0))
    assert wrapped.log_snr_range == (-3.0, 6.0)
    z = random_points(1, seed=11)
    with pytest.raises(GeometryError, match="bound the variance instead"):
        wrapped.log_normalizer(z.y, z.log_snr)
