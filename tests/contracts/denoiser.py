"""What every denoiser promises; each inherits these tests in its own test file and gives a ``denoiser`` there.

:class:`DenoiserContract` is the protocol of ``denoisers/base.py``. The others are for denoisers that promise more:
a log-normalizer (:class:`NormalizerContract`), the moments of a density (:class:`DensityContract`), a file
(:class:`FileContract`), the density itself (:class:`MixtureContract`).
"""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from spacetime_tps.denoisers.base import Denoiser, MixtureDenoiser, Moments
from spacetime_tps.denoisers.files import load_denoiser, read, write
from spacetime_tps.errors import GeometryError
from spacetime_tps.spacetime.family import Points, kl_divergence, moments_at, symmetric_divergence

ROUNDING = 1e-10
"""Relative: a batch sums in another order than one point does, and a sum of some hundred terms loses three digits."""

KINDS = ("gaussian_mixture", "von_mises_mixture", "potential")
"""Of denoisers in files."""


def jacobians(denoiser: Denoiser, points: Points) -> torch.Tensor:
    """∂x̂/∂y at each point, shape (points, dimension, dimension)."""
    return torch.stack(
        [
            torch.autograd.functional.jacobian(lambda y, at=log_snr: denoiser.moments(y[None], at[None]).mean[0], y)
            for y, log_snr in zip(points.y, points.log_snr, strict=True)
        ]
    )


def assert_same(one: Moments, other: Moments, tolerance: float = ROUNDING) -> None:
    torch.testing.assert_close(one.mean, other.mean, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(one.variance, other.variance, rtol=tolerance, atol=tolerance)


class DenoiserContract:
    """The protocol: shapes, batches, derivatives. A class gives the fixture ``denoiser``, and ``points`` if need be.

    Attributes
    ----------
    spread : float
        Standard deviation of y in the points, in its unit.
    levels : (float, float)
        log SNR of the points, if the denoiser's own range does not end before.
    step : float
        Of the finite differences in ``gradcheck``.
    """

    spread = 1.5
    levels = (-3.0, 3.0)
    step = 1e-6

    @pytest.fixture
    def denoiser(self) -> Denoiser:
        raise NotImplementedError("give the denoiser that is tested as a fixture")

    @pytest.fixture
    def points(self, denoiser) -> Points:
        """Six points around the origin, from low to high SNR."""
        low, high = denoiser.log_snr_range
        y = self.spread * np.random.default_rng(1).normal(size=(6, denoiser.dimension))
        levels = torch.linspace(max(low, self.levels[0]), min(high, self.levels[1]), 6, dtype=torch.float64)
        return Points(torch.from_numpy(y), levels)

    def test_range_and_moments_within_it(self, denoiser, points):
        """Two numbers that rise; both moments are finite from one to the other, or where that is open, far out."""
        low, high = denoiser.log_snr_range
        assert low < high
        levels = torch.linspace(max(low, -12.0), min(high, 12.0), 6, dtype=torch.float64)
        moments_at(denoiser, Points(points.y, levels))  # raises if a number is not finite
        assert isinstance(denoiser.dimension, int) and denoiser.dimension == points.y.shape[-1]

    @pytest.mark.parametrize("shape", [(), (0,), (1,), (6,), (2, 3), (2, 0)])
    def test_shapes_and_types(self, denoiser, points, shape):
        count = math.prod(shape)
        y, log_snr = points.y[:count].reshape(*shape, -1 if count else denoiser.dimension), points.log_snr[:count]
        moments = denoiser.moments(y, log_snr.reshape(shape))
        assert moments.mean.shape == (*shape, denoiser.dimension) and moments.variance.shape == shape
        assert moments.mean.dtype == moments.variance.dtype == torch.float64

    def test_a_batch_is_its_points_one_by_one(self, denoiser, points):
        alone = [denoiser.moments(points.y[i : i + 1], points.log_snr[i : i + 1]) for i in range(6)]
        together = Moments(torch.cat([m.mean for m in alone]), torch.cat([m.variance for m in alone]))
        assert_same(denoiser.moments(points.y, points.log_snr), together)
        nested = denoiser.moments(points.y.reshape(2, 3, -1), points.log_snr.reshape(2, 3))
        assert_same(Moments(nested.mean.flatten(0, 1), nested.variance.flatten()), together)

    def test_asking_changes_nothing(self, denoiser, points):
        """Not the arguments, and not the answer when asked again, on whatever number of threads."""
        y, log_snr, threads = points.y.clone(), points.log_snr.clone(), torch.get_num_threads()
        first = denoiser.moments(points.y, points.log_snr)
        again = denoiser.moments(points.y, points.log_snr)
        assert torch.equal(first.mean, again.mean) and torch.equal(first.variance, again.variance)
        assert torch.equal(points.y, y) and torch.equal(points.log_snr, log_snr)
        assert not points.y.requires_grad and not points.log_snr.requires_grad
        assert not first.mean.requires_grad and not first.variance.requires_grad
        try:
            for count in (1, 2):
                torch.set_num_threads(count)
                assert_same(denoiser.moments(points.y, points.log_snr), first)
        finally:
            torch.set_num_threads(threads)

    def test_moments_within_no_grad(self, denoiser, points):
        """The same, without a graph, whatever the arguments require."""
        y, log_snr = points.y.clone().requires_grad_(), points.log_snr.clone().requires_grad_()
        with torch.no_grad():
            quiet = denoiser.moments(y, log_snr)
        assert not quiet.mean.requires_grad and not quiet.variance.requires_grad
        assert_same(quiet, denoiser.moments(points.y, points.log_snr))

    def test_gradients_by_y_and_log_snr(self, denoiser, points):
        """Against finite differences; the tolerances are those of ``gradcheck``."""
        y, log_snr = points.y[1:5:3].clone().requires_grad_(), points.log_snr[1:5:3].clone().requires_grad_()
        assert torch.autograd.gradcheck(
            lambda *at: (denoiser.moments(*at).mean, denoiser.moments(*at).variance), (y, log_snr), eps=self.step
        )

    def test_gradients_by_one_of_the_two(self, denoiser, points):
        """What does not require a gradient takes none from the other."""
        y, log_snr = points.y.clone().requires_grad_(), points.log_snr.clone().requires_grad_()

        def total(y, log_snr):
            moments = denoiser.moments(y, log_snr)
            return moments.mean.sum() + moments.variance.sum()

        both = torch.autograd.grad(total(y, log_snr), (y, log_snr))
        alone = (
            torch.autograd.grad(total(y, points.log_snr), y)[0],
            torch.autograd.grad(total(points.y, log_snr), log_snr)[0],
        )
        for one, other in zip(both, alone, strict=True):
            torch.testing.assert_close(one, other, rtol=ROUNDING, atol=ROUNDING)

    def test_the_mean_has_no_curl(self, denoiser, points):
        """x̂ is y and the gradient of a function over SNR, so that ∂x̂/∂y is symmetric."""
        jacobian = jacobians(denoiser, points)
        torch.testing.assert_close(jacobian, jacobian.mT, rtol=0, atol=1e-9 * float(jacobian.abs().max()))


class NormalizerContract(DenoiserContract):
    """A denoiser that knows its log-normalizer M(y, λ) = log ∫ q(x) exp(−SNR/2 |x − y|²) dx."""

    def test_moments_are_derivatives_of_the_log_normalizer(self, denoiser, points):
        """x̂ = y + SNR⁻¹ ∂M/∂y (Tweedie's formula) and E|x − y|² = −2 SNR⁻¹ ∂M/∂λ."""
        y, log_snr, snr = points.y.clone().requires_grad_(), points.log_snr.clone().requires_grad_(), points.snr
        by_y, by_log_snr = torch.autograd.grad(denoiser.log_normalizer(y, log_snr).sum(), (y, log_snr))
        moments = denoiser.moments(points.y, points.log_snr)
        torch.testing.assert_close(points.y + by_y / snr[:, None], moments.mean, rtol=1e-9, atol=1e-9)
        misfit = ((moments.mean - points.y) ** 2).sum(-1) + moments.variance
        torch.testing.assert_close(-2 * by_log_snr / snr, misfit, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 3)])
    def test_shapes_of_the_log_normalizer(self, denoiser, points, shape):
        count = math.prod(shape)
        y, log_snr = points.y[:count].reshape(*shape, -1 if count else denoiser.dimension), points.log_snr[:count]
        found = denoiser.log_normalizer(y, log_snr.reshape(shape))
        assert found.shape == shape and found.dtype == torch.float64
        together = denoiser.log_normalizer(points.y, points.log_snr)[:count]
        torch.testing.assert_close(found.flatten(), together, rtol=ROUNDING, atol=ROUNDING)

    def test_the_log_normalizer_can_be_differentiated_twice(self, denoiser, points):
        at = points.y[1:5:3].clone().requires_grad_(), points.log_snr[1:5:3].clone().requires_grad_()
        assert torch.autograd.gradcheck(denoiser.log_normalizer, at, eps=self.step)
        assert torch.autograd.gradgradcheck(denoiser.log_normalizer, at, eps=self.step)


class DensityContract(DenoiserContract):
    """A denoiser whose moments are those of a density q. A class gives ``clean`` and ``prior`` too.

    Attributes
    ----------
    extent : int or None
        Number of directions in which x can move where q is smooth; by default the dimension.
    sharp : (float, float)
        log SNR at which the noise is narrower than all that q has, and the relative error that is left there.
    blurred : (float, float)
        log SNR at which the noise is wider than all that q has, and the error that is left there: by default that of
        rounding.
    """

    extent: int | None = None
    sharp = (14.0, 1e-3)
    blurred = (-35.0, 1e-9)

    @pytest.fixture
    def clean(self, denoiser) -> torch.Tensor:
        raise NotImplementedError("give latent vectors (count, dimension) where q is smooth")

    @pytest.fixture
    def prior(self, denoiser) -> Moments:
        raise NotImplementedError("give mean (dimension,) and variance () of q")

    def test_variance_is_the_trace_of_a_covariance(self, denoiser, points):
        """Cov[x|z] = SNR⁻¹ ∂x̂/∂y: symmetric, positive semidefinite, and its trace is the variance.

        So E|x|² is never below |E x|².
        """
        covariance = jacobians(denoiser, points) / points.snr[:, None, None]
        moments = denoiser.moments(points.y, points.log_snr)
        traces = covariance.diagonal(dim1=1, dim2=2).sum(-1)
        torch.testing.assert_close(traces, moments.variance, rtol=1e-8, atol=1e-11)
        lowest = torch.linalg.eigvalsh(0.5 * (covariance + covariance.mT)).amin(-1)
        assert (lowest >= -1e-10 * traces).all()  # the rounding of eigenvalues
        assert (moments.variance > 0).all()

    def test_without_noise_x_is_known(self, denoiser, clean):
        """At high SNR x̂ is y, and E|x − y|² is 1/SNR in each direction in which x can move."""
        level, error = self.sharp
        moments = denoiser.moments(clean, torch.full((len(clean),), level, dtype=torch.float64))
        extent = denoiser.dimension if self.extent is None else self.extent
        square = math.exp(level) * (((moments.mean - clean) ** 2).sum(-1) + moments.variance)
        torch.testing.assert_close(square, torch.full_like(square, extent), rtol=error, atol=0)

    def test_with_all_noise_x_is_that_of_the_density(self, denoiser, points, prior):
        """At low SNR the moments are those of q, whatever y is."""
        level, error = self.blurred
        moments = denoiser.moments(points.y, torch.full((len(points),), level, dtype=torch.float64))
        torch.testing.assert_close(moments.mean, prior.mean.expand_as(moments.mean), rtol=error, atol=error)
        torch.testing.assert_close(moments.variance, prior.variance.expand(len(points)), rtol=10 * error, atol=0)

    def test_divergences_are_not_negative(self, denoiser, points):
        """J = (η_a − η_b)·(μ_a − μ_b) ≥ 0 for all pairs, as ψ is convex; all but rounding is above 0."""
        i, j = torch.triu_indices(len(points), len(points), offset=1)
        moments = denoiser.moments(points.y, points.log_snr)
        assert (symmetric_divergence(points[i], moments[i], points[j], moments[j]) > 0).all()


class DensityNormalizerContract(NormalizerContract, DensityContract):
    """A density whose log-normalizer is known: both divergences are too, and add up."""

    def test_both_divergences_add_up(self, denoiser, points):
        i, j = torch.triu_indices(len(points), len(points), offset=1)
        moments = denoiser.moments(points.y, points.log_snr)
        both = symmetric_divergence(points[i], moments[i], points[j], moments[j])
        there, back = kl_divergence(denoiser, points[i], points[j]), kl_divergence(denoiser, points[j], points[i])
        assert (there > 0).all() and (back > 0).all()
        torch.testing.assert_close(there + back, both, rtol=1e-8, atol=1e-10)


class FileContract:
    """A denoiser that is written to a file and loaded from there. A class gives ``denoiser`` and ``points``."""

    @pytest.fixture
    def file(self, denoiser, tmp_path) -> Path:
        denoiser.save(tmp_path / "model.safetensors", {"system": "toy", "atoms": [0, 3]})
        return tmp_path / "model.safetensors"

    def test_round_trip(self, denoiser, points, file):
        """Exact, but that normalised weights are normalised again, which may change their last bit."""
        for loaded, description in (load_denoiser(file), type(denoiser).load(file)):
            assert type(loaded) is type(denoiser)
            assert description["system"] == "toy" and description["atoms"] == [0, 3]
            assert loaded.log_snr_range == denoiser.log_snr_range and loaded.dimension == denoiser.dimension
            assert_same(
                loaded.moments(points.y, points.log_snr), denoiser.moments(points.y, points.log_snr), tolerance=1e-14
            )
            again = file.with_name("again.safetensors")
            loaded.save(again, {})
            assert_same(
                load_denoiser(again)[0].moments(points.y, points.log_snr),
                loaded.moments(points.y, points.log_snr),
                tolerance=1e-14,
            )

    def test_the_same_content_makes_the_same_file(self, denoiser, file, tmp_path):
        denoiser.save(tmp_path / "other", {"system": "toy", "atoms": [0, 3]})
        assert (tmp_path / "other").read_bytes() == file.read_bytes()

    def test_a_description_is_json(self, denoiser, tmp_path):
        with pytest.raises(TypeError, match="JSON"):
            denoiser.save(tmp_path / "model", {"atoms": {1, 2}})
        assert not (tmp_path / "model").exists()

    @pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
    def test_a_truncated_file_is_refused(self, denoiser, file, kept):
        content = file.read_bytes()
        file.write_bytes(content[: int(kept * len(content))])
        with pytest.raises(GeometryError, match=r"model\.safetensors is not a readable denoiser"):
            type(denoiser).load(file)

    def test_a_file_that_is_not_there_is_refused(self, denoiser, tmp_path):
        with pytest.raises(GeometryError, match="nowhere is not a readable denoiser"):
            type(denoiser).load(tmp_path / "nowhere")

    def test_another_kind_is_refused(self, denoiser, file):
        _, tensors, description = read(file, *KINDS)
        write(file, "training", tensors, description)
        for load in (load_denoiser, type(denoiser).load):
            with pytest.raises(GeometryError, match=r"is not a readable denoiser .*does not hold a"):
                load(file)

    def test_a_file_without_one_of_its_tensors_is_refused(self, denoiser, file):
        kind, tensors, description = read(file, *KINDS)
        for missing in tensors:
            write(file, kind, {name: tensor for name, tensor in tensors.items() if name != missing}, description)
            with pytest.raises(GeometryError, match="not a readable denoiser"):
                type(denoiser).load(file)


class MixtureContract(DensityNormalizerContract, FileContract):
    """A mixture: it knows the density of latent vectors and is written to a file."""

    def test_is_a_mixture(self, denoiser):
        assert isinstance(denoiser, MixtureDenoiser)
        assert denoiser.components >= 1

    @pytest.mark.parametrize("shape", [(), (1,), (2, 1)])
    def test_log_density(self, denoiser, clean, shape):
        """M + extent/2 log(SNR/2π) → log q at high SNR; its own shape; the error is that of ``sharp``."""
        x = clean[: math.prod(shape)].reshape(*shape, -1)
        level, error = self.sharp
        extent = denoiser.dimension if self.extent is None else self.extent
        found = denoiser.log_density(x)
        assert found.shape == shape
        blurred = denoiser.log_normalizer(x, torch.full(shape, level, dtype=torch.float64))
        torch.testing.assert_close(
            blurred + 0.5 * extent * (level - math.log(2 * math.pi)), found, rtol=0, atol=error * extent
        )
