"""The neural denoiser is a gradient: of a function, hence free of curl, and the same after a round trip to disk."""

import numpy as np
import pytest
import torch
from contracts.denoiser import FileContract, NormalizerContract

from spacetime_tps.denoisers.base import Moments
from spacetime_tps.denoisers.files import read, write
from spacetime_tps.denoisers.mixture import GaussianMixtureDenoiser
from spacetime_tps.denoisers.noise_space import FreeRotations
from spacetime_tps.denoisers.potential import PotentialDenoiser, build_network
from spacetime_tps.denoisers.torus import VonMisesMixtureDenoiser
from spacetime_tps.errors import GeometryError

RANGE = (-3.0, 5.0)


def random_network(dimension: int):
    """One whose correction is as large as the mixture's own differences."""
    rng = np.random.default_rng(0)
    constants = {
        "mean": torch.from_numpy(rng.normal(size=dimension)),
        "axes": torch.from_numpy(np.linalg.qr(rng.normal(size=(dimension, dimension)))[0]),
        "variances": torch.from_numpy(rng.uniform(0.1, 2.0, dimension)),
    }
    network = build_network("perceptron", constants, RANGE, 12, 2, torch.Generator().manual_seed(1))
    torch.nn.init.normal_(network.last.weight, generator=torch.Generator().manual_seed(2))
    return network.requires_grad_(False)


def random_mixture(dimension: int) -> GaussianMixtureDenoiser:
    rng = np.random.default_rng(3)
    factors = rng.normal(size=(2, dimension, dimension))
    return GaussianMixtureDenoiser([0.4, 0.6], rng.normal(size=(2, dimension)), factors @ factors.transpose(0, 2, 1))


@pytest.fixture
def denoiser() -> PotentialDenoiser:
    return PotentialDenoiser(random_mixture(3), random_network(3), RANGE)


def natural(eta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """y and log SNR of natural parameters (SNR·y, −SNR/2)."""
    snr = -2 * eta[..., -1]
    return eta[..., :-1] / snr[..., None], snr.log()


def expectations(denoiser: PotentialDenoiser, eta: torch.Tensor) -> torch.Tensor:
    """(E[x|z], E[|x|²|z])."""
    moments: Moments = denoiser.moments(*natural(eta))
    square = (moments.mean**2).sum(-1) + moments.variance
    return torch.cat([moments.mean, square[..., None]], dim=-1)


def random_eta(count: int) -> torch.Tensor:
    rng = np.random.default_rng(4)
    return torch.from_numpy(np.column_stack([rng.normal(size=(count, 3)), -rng.uniform(0.1, 3, count)]))


def test_moments_are_derivatives_of_the_log_partition(denoiser):
    """μ = ∂ψ/∂η for ψ = log-normalizer + SNR |y|²/2, network and mixture together."""
    eta = random_eta(10).requires_grad_()
    y, log_snr = natural(eta)
    partition = denoiser.log_normalizer(y, log_snr) + 0.5 * log_snr.exp() * (y**2).sum(-1)
    (gradient,) = torch.autograd.grad(partition.sum(), eta)
    torch.testing.assert_close(expectations(denoiser, eta.detach()), gradient, rtol=1e-9, atol=1e-9)


def test_mixed_derivatives_agree(denoiser):
    """∂μ/∂η is symmetric, and the network's part of it is not small."""
    eta = random_eta(1)[0]
    jacobian = torch.autograd.functional.jacobian(lambda e: expectations(denoiser, e), eta)
    torch.testing.assert_close(jacobian, jacobian.T, rtol=0, atol=1e-9)
    plain = PotentialDenoiser(denoiser.base, random_network(3), RANGE)
    torch.nn.init.zeros_(plain.network.last.weight)
    without = torch.autograd.functional.jacobian(lambda e: expectations(plain, e), eta)
    assert (jacobian - without).abs().max() > 0.01


def test_work_around_a_closed_loop_vanishes(denoiser):
    """∮ μ·dη by the trapezoidal rule, whose error on a smooth closed curve is below every power of the step."""
    angle = 2 * torch.pi * torch.arange(400, dtype=torch.float64) / 400
    u, v = random_eta(2)
    centre = torch.tensor([0.3, -0.2, 0.1, -1.5]).double()
    scale = torch.tensor([1, 1, 1, 0.3]).double()
    loop = centre + scale * (angle.cos()[:, None] * u + angle.sin()[:, None] * v) / 2
    speed = scale * (-angle.sin()[:, None] * u + angle.cos()[:, None] * v) / 2
    power = (expectations(denoiser, loop) * speed).sum(1)
    assert abs(float(power.mean())) < 1e-8 * float(power.abs().mean())


def von_mises() -> VonMisesMixtureDenoiser:
    rng = np.random.default_rng(6)
    return VonMisesMixtureDenoiser(np.array([0.3, 0.7]), rng.uniform(-3, 3, (2, 2)), rng.uniform(1, 9, (2, 2)))


class TestContract(NormalizerContract, FileContract):
    """Whatever the coarse denoiser is; a network that has learned nothing is no density's, but a gradient still."""

    levels = RANGE

    @pytest.fixture(
        params=[(random_mixture(3), 3), (FreeRotations(random_mixture(3)), 3), (von_mises(), 4)],
        ids=["gaussian", "free rotations", "von Mises"],
    )
    def denoiser(self, request):
        base, dimension = request.param
        return PotentialDenoiser(base, random_network(dimension), RANGE)


class TestFiles:
    def test_mixture_is_refused(self, denoiser, tmp_path):
        denoiser.base.save(tmp_path / "model.safetensors", {})
        with pytest.raises(GeometryError, match="does not hold a potential"):
            PotentialDenoiser.load(tmp_path / "model.safetensors")

    def test_file_of_another_architecture_is_refused(self, denoiser, tmp_path):
        path = tmp_path / "model.safetensors"
        denoiser.save(path, {})
        kind, tensors, description = read(path, "potential")
        description["architecture"]["width"] += 1
        write(path, kind, tensors, description)
        with pytest.raises(GeometryError, match="not a readable denoiser"):
            PotentialDenoiser.load(path)
