"""The Gaussian-mixture denoiser against quadrature, identities of the exponential family and closed forms."""

import numpy as np
import pytest
import torch
from contracts.denoiser import MixtureContract
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from spacetime_tps.denoisers import GaussianMixtureDenoiser, average_mixtures
from spacetime_tps.denoisers.base import Moments
from spacetime_tps.denoisers.files import write
from spacetime_tps.errors import GeometryError
from spacetime_tps.spacetime.family import Points, moments_at, symmetric_divergence


def random_mixture(dimension: int, components: int, seed: int) -> GaussianMixtureDenoiser:
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(components, dimension, dimension))
    covariances = 0.3 * factors @ np.swapaxes(factors, 1, 2) / dimension + 0.02 * np.eye(dimension)
    means = 1.5 * rng.normal(size=(components, dimension))
    return GaussianMixtureDenoiser(rng.uniform(0.2, 1, components), means, covariances)


def random_low_rank(dimension: int, components: int, rank: int, seed: int) -> GaussianMixtureDenoiser:
    rng = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(rng.normal(size=(components, dimension, rank)))
    variances = rng.uniform(0.01, 0.6, (components, rank))  # some below the floor
    floors, means = rng.uniform(0.02, 0.1, components), 1.5 * rng.normal(size=(components, dimension))
    return GaussianMixtureDenoiser.from_factors(rng.uniform(0.2, 1, components), means, axes, variances, floors)


def dense(mixture: GaussianMixtureDenoiser) -> GaussianMixtureDenoiser:
    """The same with full covariances."""
    return GaussianMixtureDenoiser(mixture.weights, mixture.means, mixture.covariances)


def random_points(dimension: int, count: int, seed: int, low: float = -3.0, high: float = 4.0) -> Points:
    rng = np.random.default_rng(seed)
    y = torch.from_numpy(2 * rng.normal(size=(count, dimension)))
    return Points(y, torch.from_numpy(rng.uniform(low, high, count)))


def density(mixture: GaussianMixtureDenoiser, x: np.ndarray) -> np.ndarray:
    """q(x) from the textbook formula with inverses and determinants, independent of the eigenbases in use."""
    total = np.zeros(x.shape[:-1])
    for weight, mean, covariance in zip(
        mixture.weights.numpy(), mixture.means.numpy(), mixture.covariances.numpy(), strict=True
    ):
        exponent = np.einsum("...i,ij,...j->...", x - mean, np.linalg.inv(covariance), x - mean)
        total += weight * np.exp(-0.5 * exponent) / np.sqrt(np.linalg.det(2 * np.pi * covariance))
    return total


def second_moment_about(y: torch.Tensor, moments) -> torch.Tensor:
    """E|x − y|²."""
    return ((moments.mean - y) ** 2).sum(-1) + moments.variance


class MixtureCase(MixtureContract):
    """Moments of q are those of its components."""

    @pytest.fixture
    def clean(self, denoiser):
        return denoiser.means

    @pytest.fixture
    def prior(self, denoiser):
        mean = denoiser.weights @ denoiser.means
        within = denoiser.covariances.diagonal(dim1=1, dim2=2).sum(-1)
        return Moments(mean, denoiser.weights @ (within + ((denoiser.means - mean) ** 2).sum(-1)))


class TestFullMixture(MixtureCase):
    @pytest.fixture(params=[1, 3])
    def denoiser(self, request):
        return random_mixture(request.param, 3, seed=3)


class TestLowRankMixture(MixtureCase):
    @pytest.fixture(params=[0, 2])
    def denoiser(self, request):
        return random_low_rank(5, 3, request.param, seed=5)


# The trapezoidal rule converges exponentially for Gaussians narrower than the domain and wider than the spacing.
@pytest.mark.parametrize("dimension, edge, nodes", [(1, 12.0, 8001), (2, 9.0, 601)])
def test_moments_and_log_normalizer_agree_with_quadrature(dimension, edge, nodes):
    mixture = random_mixture(dimension, 3, seed=1)
    axis = np.linspace(-edge, edge, nodes)
    x = np.stack(np.meshgrid(*[axis] * dimension, indexing="ij"), axis=-1).reshape(-1, dimension)
    q, cell = density(mixture, x), (axis[1] - axis[0]) ** dimension
    points = random_points(dimension, 6, seed=2, high=3.5)
    moments = mixture.moments(points.y, points.log_snr)
    log_normalizer = mixture.log_normalizer(points.y, points.log_snr)
    for index in range(len(points)):
        y, snr = points.y[index].numpy(), points.snr[index].item()
        mass = q * np.exp(-0.5 * snr * ((x - y) ** 2).sum(-1)) * cell
        normalizer = mass.sum()
        mean = mass @ x / normalizer
        variance = mass @ ((x - mean) ** 2).sum(-1) / normalizer
        np.testing.assert_allclose(log_normalizer[index], np.log(normalizer), atol=1e-8)
        np.testing.assert_allclose(moments.mean[index], mean, atol=1e-8)
        np.testing.assert_allclose(moments.variance[index], variance, rtol=1e-7)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    dimension=st.integers(1, 5),
    components=st.integers(1, 6),
    rank=st.none() | st.integers(0, 4),
    seed=st.integers(0, 10**6),
    high=st.floats(-3.0, 9.0),
)
def test_log_partition_is_convex(dimension, components, rank, seed, high):
    """J = (η_a − η_b)·(∇ψ_a − ∇ψ_b) ≥ 0; the tolerance is the rounding of its largest term, SNR |y − x̂|²."""
    if rank is None:
        mixture = random_mixture(dimension, components, seed)
    else:
        mixture = random_low_rank(dimension, components, min(rank, dimension), seed)
    a = random_points(dimension, 30, seed + 1, high=high + 0.1)
    b = random_points(dimension, 30, seed + 2, high=high + 0.1)
    at_a, at_b = moments_at(mixture, a), moments_at(mixture, b)
    divergence = symmetric_divergence(a, at_a, b, at_b)
    scale = (a.snr + b.snr) * (1 + second_moment_about(a.y, at_b) + second_moment_about(b.y, at_a))
    assert (divergence >= -1e-12 * scale).all()
    assert (divergence > 1e-6).any()


def test_one_component_is_the_wiener_filter():
    rng = np.random.default_rng(9)
    factor = rng.normal(size=(3, 3))
    mean, covariance = rng.normal(size=3), factor @ factor.T + 0.1 * np.eye(3)
    mixture = GaussianMixtureDenoiser([2.0], mean[None], covariance[None])
    y, snr = rng.normal(size=3), 1.7
    posterior = np.linalg.inv(np.linalg.inv(covariance) + snr * np.eye(3))
    moments = mixture.moments(torch.from_numpy(y)[None], torch.tensor([snr], dtype=torch.float64).log())
    gain = covariance @ np.linalg.inv(covariance + np.eye(3) / snr)
    np.testing.assert_allclose(moments.mean[0], mean + gain @ (y - mean), atol=1e-12)
    np.testing.assert_allclose(moments.variance[0], np.trace(posterior), atol=1e-12)


def test_wiener_has_the_weighted_mean_and_covariance_of_the_samples():
    rng = np.random.default_rng(10)
    samples, weights = rng.normal(size=(50, 3)) + 4, rng.integers(0, 4, 50)
    wiener = GaussianMixtureDenoiser.wiener(samples, weights)
    repeated = np.repeat(samples, weights, axis=0)
    np.testing.assert_allclose(wiener.means[0], repeated.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(wiener.covariances[0], np.cov(repeated.T, bias=True), atol=1e-12)


def test_singular_covariances_confine_the_posterior_and_keep_gradients_finite():
    normal, along = torch.tensor([[0.6, 0.8], [-0.8, 0.6]], dtype=torch.float64)
    covariance = 2.0 * torch.outer(along, along)  # no extent along the normal
    mean = torch.tensor([1.0, -2.0]).double()
    mixture = GaussianMixtureDenoiser([1.0], mean[None], covariance[None])
    y = torch.tensor([[0.0, 0.0], [5.0, 5.0]]).double().requires_grad_()
    log_snr = torch.tensor([-2.0, 6.0]).double().requires_grad_()
    moments = mixture.moments(y, log_snr)
    torch.testing.assert_close(moments.mean @ normal, (mean @ normal).expand(2), rtol=0, atol=1e-12)
    torch.testing.assert_close(moments.variance, 1 / (0.5 + log_snr.exp()), rtol=1e-12, atol=0)
    total = moments.mean.sum() + moments.variance.sum() + mixture.log_normalizer(y, log_snr).sum()
    for gradient in torch.autograd.grad(total, (y, log_snr)):
        assert torch.isfinite(gradient).all()
        assert (gradient != 0).any()


def test_log_density_integrates_to_one():
    mixture = GaussianMixtureDenoiser([1, 3], [[-1.0], [2.0]], [[[0.04]], [[0.5]]])
    x = torch.linspace(-10, 12, 20001, dtype=torch.float64)[:, None]
    total = mixture.log_density(x).exp().sum() * (x[1, 0] - x[0, 0])
    assert float(total) == pytest.approx(1.0, abs=1e-9)
    np.testing.assert_allclose(mixture.log_density(x).exp(), density(mixture, x.numpy()), atol=1e-12)


class TestLowRank:
    """Against the same mixture with full covariances, whose axes span everything."""

    def test_covariances_are_those_of_the_factors(self):
        mixture = random_low_rank(4, 2, 2, seed=20)
        for k in range(2):
            u, c, f = mixture.axes[k].numpy(), mixture.variances[k].numpy(), float(mixture.floors[k])
            expected = u @ np.diag(c) @ u.T + f * (np.eye(4) - u @ u.T)
            np.testing.assert_allclose(mixture.covariances[k], expected, rtol=0, atol=1e-15)

    @pytest.mark.parametrize("dimension, rank", [(1, 0), (2, 1), (5, 0), (5, 3), (40, 6), (40, 40)])
    def test_agrees_with_full_covariances(self, dimension, rank):
        mixture, points = random_low_rank(dimension, 4, rank, seed=21), random_points(dimension, 20, seed=22, high=9.0)
        full = dense(mixture)
        assert (mixture.rank, full.rank) == (rank, dimension)
        moments, expected = (q.moments(points.y, points.log_snr) for q in (mixture, full))
        torch.testing.assert_close(moments.mean, expected.mean, rtol=0, atol=1e-10)
        torch.testing.assert_close(moments.variance, expected.variance, rtol=1e-10, atol=1e-12)
        for one, two in (
            (mixture.log_normalizer(points.y, points.log_snr), full.log_normalizer(points.y, points.log_snr)),
            (mixture.log_density(points.y), full.log_density(points.y)),
        ):
            torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)

    def test_gradients_agree_with_those_of_full_covariances(self):
        mixture, points = random_low_rank(6, 3, 2, seed=23), random_points(6, 5, seed=24)

        def derivatives(q: GaussianMixtureDenoiser) -> list[torch.Tensor]:
            """First and second derivatives of a function of everything that a mixture answers."""
            at = points.y.clone().requires_grad_(), points.log_snr.clone().requires_grad_()
            moments = q.moments(*at)
            total = (moments.mean**3).sum() + moments.variance.sum() + q.log_normalizer(*at).sum()
            first = torch.autograd.grad(total, at, create_graph=True)
            return [*first, *torch.autograd.grad(sum((d**2).sum() for d in first), at)]

        for one, two in zip(derivatives(mixture), derivatives(dense(mixture)), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)

    def test_moves_and_turns_with_the_coordinates(self):
        """Also far from the origin: what is lost is the rounding of the coordinates themselves, 1e4 × 2e-16."""
        mixture, points = random_low_rank(5, 3, 2, seed=25), random_points(5, 20, seed=26)
        rotation = torch.from_numpy(np.linalg.qr(np.random.default_rng(27).normal(size=(5, 5)))[0])
        moved = GaussianMixtureDenoiser.from_factors(
            mixture.weights,
            mixture.means @ rotation.T + 1e4,
            rotation @ mixture.axes,
            mixture.variances,
            mixture.floors,
        )
        before = mixture.moments(points.y, points.log_snr)
        after = moved.moments(points.y @ rotation.T + 1e4, points.log_snr)
        torch.testing.assert_close(after.mean, before.mean @ rotation.T + 1e4, rtol=0, atol=1e-9)
        torch.testing.assert_close(after.variance, before.variance, rtol=1e-9, atol=0)

    def test_never_forms_a_matrix_of_dimension_by_dimension(self):
        """It would take 80 GB. One axis of variance 3 and floor 0.5: Wiener gains along it and elsewhere."""
        dimension, axis = 100_000, torch.zeros(1, 100_000, 1).double()
        axis[0, 7] = 1
        mixture = GaussianMixtureDenoiser.from_factors([1.0], torch.zeros(1, dimension), axis, [[3.0]], [0.5])
        moments = mixture.moments(torch.ones(1, dimension).double(), torch.zeros(1).double())
        expected = torch.full((dimension,), 0.5 / 1.5).double()
        expected[7] = 3 / 4
        torch.testing.assert_close(moments.mean[0], expected)
        torch.testing.assert_close(moments.variance, expected.sum(0, keepdim=True))

    def test_singular_floors_keep_gradients_finite(self):
        mixture = GaussianMixtureDenoiser.from_factors([1.0], [[0.0, 0.0]], [[[0.6], [0.8]]], [[2.0]], [0.0])
        y = torch.tensor([[5.0, -3.0]]).double().requires_grad_()
        log_snr = torch.tensor([6.0]).double().requires_grad_()
        moments = mixture.moments(y, log_snr)
        torch.testing.assert_close(moments.mean @ torch.tensor([-0.8, 0.6]).double(), torch.zeros(1).double())
        torch.testing.assert_close(moments.variance, 1 / (0.5 + log_snr.exp()), rtol=1e-12, atol=0)
        total = moments.mean.sum() + moments.variance.sum() + mixture.log_normalizer(y, log_snr).sum()
        assert all(torch.isfinite(gradient).all() for gradient in torch.autograd.grad(total, (y, log_snr)))


@pytest.mark.parametrize("ranks", [(2, 2), (0, 3), (1, 3, 5)])
def test_average_has_the_mean_density(ranks):
    mixtures = [random_low_rank(5, 2 + rank, rank, seed=30 + rank) for rank in ranks]
    average = average_mixtures(mixtures)
    assert average.rank == max(ranks)
    x = random_points(5, 30, seed=31).y
    expected = torch.stack([mixture.log_density(x).exp() for mixture in mixtures]).mean(0)
    torch.testing.assert_close(average.log_density(x).exp(), expected, rtol=1e-10, atol=0)


class TestFiles:
    def test_full_covariances_are_kept_exactly(self, tmp_path):
        mixture = random_mixture(4, 3, seed=13)
        mixture.save(tmp_path / "model.safetensors", {})
        loaded, _ = GaussianMixtureDenoiser.load(tmp_path / "model.safetensors")
        for name in ("means", "covariances"):
            assert torch.equal(getattr(loaded, name), getattr(mixture, name))

    def test_low_rank_round_trip_is_exact_and_small(self, tmp_path):
        mixture = random_low_rank(50, 3, 2, seed=15)
        mixture.save(tmp_path / "model.safetensors", {})
        assert (tmp_path / "model.safetensors").stat().st_size < 8 * 3 * 50 * 4 + 1000
        loaded, _ = GaussianMixtureDenoiser.load(tmp_path / "model.safetensors")
        for name in ("means", "axes", "variances", "floors"):
            assert torch.equal(getattr(loaded, name), getattr(mixture, name))

    def test_files_with_whole_covariances_are_read(self, tmp_path):
        mixture = random_mixture(4, 3, seed=16)
        tensors = {name: getattr(mixture, name) for name in ("weights", "means", "covariances")}
        write(tmp_path / "old.safetensors", "gaussian_mixture", tensors, {"samples": 12})
        loaded, description = GaussianMixtureDenoiser.load(tmp_path / "old.safetensors")
        assert description == {"samples": 12}
        torch.testing.assert_close(loaded.covariances, mixture.covariances, rtol=0, atol=1e-14)

    def test_other_safetensors_are_refused(self, tmp_path):
        path = tmp_path / "other.safetensors"
        save_file({"weights": torch.ones(2)}, path)
        with pytest.raises(GeometryError, match="does not hold a gaussian mixture"):
            GaussianMixtureDenoiser.load(path)


@pytest.mark.parametrize(
    "weights, means, covariances, message",
    [
        ([1.0, 1.0], [[0.0]], [[[1.0]]], "do not fit"),
        ([1.0], [0.0], [[[1.0]]], "do not fit"),
        ([1.0], [[0.0, 0.0]], [[[1.0]]], "do not fit"),
        ([1.0], [[np.nan]], [[[1.0]]], "means are not all finite"),
        ([np.inf], [[0.0]], [[[1.0]]], "weights are not all finite"),
        ([1.0], [[0.0]], [[[np.nan]]], "covariances are not all finite"),
        ([1.0, 0.0], [[0.0], [1.0]], [[[1.0]], [[1.0]]], "every weight must be positive"),
        ([1.0], [[0.0, 0.0]], [[[1.0, 0.5], [0.0, 1.0]]], "symmetric and positive semi-definite"),
        ([1.0], [[0.0, 0.0]], [[[1.0, 2.0], [2.0, 1.0]]], "symmetric and positive semi-definite"),
    ],
)
def test_constructor_refuses(weights, means, covariances, message):
    with pytest.raises(GeometryError, match=message):
        GaussianMixtureDenoiser(weights, means, covariances)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"axes": np.ones((1, 3, 1))}, "do not fit"),
        ({"variances": [[1.0, 1.0]]}, "do not fit"),
        ({"floors": [1.0, 1.0]}, "do not fit"),
        ({"weights": [1.0, 1.0]}, "do not fit"),
        ({"means": [1.0, 1.0]}, "do not fit"),
        ({"weights": [0.0]}, "every weight must be positive"),
        ({"means": [[0.0, np.inf]]}, "means are not all finite"),
        ({"axes": [[[np.nan], [1.0]]]}, "axes are not all finite"),
        ({"variances": [[-1.0]]}, "variances and floors must not be negative"),
        ({"floors": [-1.0]}, "variances and floors must not be negative"),
        ({"axes": [[[0.6], [0.6]]]}, "must be orthonormal"),
        ({"axes": [[[0.0], [0.0]]]}, "must be orthonormal"),
    ],
)
def test_factors_are_refused(changed, message):
    factors = {"weights": [1.0], "means": [[0.0, 0.0]], "axes": [[[0.6], [0.8]]], "variances": [[1.0]], "floors": [0.1]}
    GaussianMixtureDenoiser.from_factors(**factors)
    with pytest.raises(GeometryError, match=message):
        GaussianMixtureDenoiser.from_factors(**(factors | changed))
