"""The network of latent vectors: what it depends on and what it does not."""

import numpy as np
import torch

from spacetime_tps.denoisers.perceptron import PreconditionedNetwork

RANGE = (-3.0, 5.0)
VARIANCES = torch.tensor([1e-4, 0.5, 30.0]).double()


def network(mean: torch.Tensor, axes: torch.Tensor) -> PreconditionedNetwork:
    """With a last layer that says something."""
    made = PreconditionedNetwork(mean, axes, VARIANCES, RANGE, 16, 2, torch.Generator().manual_seed(0))
    torch.nn.init.normal_(made.last.weight, generator=torch.Generator().manual_seed(1))
    return made.requires_grad_(False)


def points() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(2)
    return torch.from_numpy(rng.normal(size=(20, 3))), torch.from_numpy(rng.uniform(*RANGE, 20))


def test_a_new_network_says_nothing():
    made = PreconditionedNetwork(
        torch.zeros(3).double(), torch.eye(3).double(), VARIANCES, RANGE, 16, 2, torch.Generator().manual_seed(0)
    )
    assert torch.equal(made(*points()), torch.zeros(20).double())


def test_moves_and_turns_with_the_coordinates():
    y, log_snr = points()
    mean = torch.tensor([1.0, -2.0, 0.5]).double()
    rotation = torch.from_numpy(np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0])
    here = network(mean, torch.eye(3).double())(y, log_snr)
    there = network(mean @ rotation.T + 7, rotation)(y @ rotation.T + 7, log_snr)
    torch.testing.assert_close(there, here, rtol=0, atol=1e-10)
    assert here.std() > 0.01


def test_stiff_directions_are_not_heard_through_noise():
    """At s² ≫ c a shift of y by the noise's width moves u by √c/s only, so φ hardly changes."""
    made, (y, _) = network(torch.zeros(3).double(), torch.eye(3).double()), points()
    log_snr = torch.full((20,), -3.0).double()
    change = []
    for axis in (0, 2):
        moved = y.clone()
        moved[:, axis] += np.exp(1.5)
        change.append(float((made(moved, log_snr) - made(y, log_snr)).abs().mean()))
    assert change[0] < 0.02 * change[1]
