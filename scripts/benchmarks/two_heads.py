"""The plain network that potentials are measured against: one head for x̂, one for tr Cov[x|z], the gradient of nothing.

Both heads correct what a single Gaussian says, in units of its posterior standard deviation in every principal
direction, and are trained by plain regression on noised samples: the one on x, the other on |x − x̂|².
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from spacetime_tps.denoisers import Moments
from spacetime_tps.denoisers.noise_space import NoiseSpace
from spacetime_tps.denoisers.perceptron import LEVELS
from spacetime_tps.errors import GeometryError
from spacetime_tps.settings.denoiser import PotentialSettings
from spacetime_tps.training.trainer import principal_directions

_ONE = math.log(math.e - 1)  # softplus of it is 1


class TwoHeads(nn.Module):
    """A perceptron of y and log SNR with two heads; a :class:`Denoiser` without a log-normalizer.

    Parameters
    ----------
    directions : tuple of tensor
        Mean (D,), principal directions (D, D) as columns and variances (D,) of the samples.
    free_directions : int
        In which x follows its restraint alone, such as rotations of a molecule.
    log_snr_range : tuple of float
    width, depth : int
        Of the hidden layers.
    generator : torch.Generator
        Of the first weights; those of the heads are zero, so that the Gaussian speaks.
    """

    mean: Tensor
    axes: Tensor
    variances: Tensor

    def __init__(
        self,
        directions: tuple[Tensor, Tensor, Tensor],
        free_directions: int,
        log_snr_range: tuple[float, float],
        width: int,
        depth: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        for name, tensor in zip(("mean", "axes", "variances"), directions, strict=True):
            self.register_buffer(name, tensor)
        self.free_directions, self.log_snr_range = free_directions, log_snr_range
        sizes = [self.dimension + LEVELS, *[width] * depth]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.head_of_mean = nn.Linear(width, self.dimension)
        self.head_of_variance = nn.Linear(width, 1)
        for layer in self.layers:
            bound = layer.in_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.zeros_(layer.bias)
        for head in (self.head_of_mean, self.head_of_variance):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    @property
    def dimension(self) -> int:
        """Number of coordinates."""
        return len(self.mean)

    def posterior(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        """Of the Gaussian: standard deviations (B, D) along the axes, and tr Cov[x|z] (B,)."""
        spread = torch.exp(-log_snr)
        variances = self.variances * spread[:, None] / (self.variances + spread[:, None])
        return variances.sqrt(), variances.sum(1) + self.free_directions * spread

    def forward(self, y: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        """x̂ (B, D) and tr Cov[x|z] (B,) at y (B, D) and log SNR (B,)."""
        spread = torch.exp(-log_snr)[:, None]
        along = (y - self.mean) @ self.axes
        low, high = self.log_snr_range
        angle = math.pi * (log_snr - low) / (high - low)
        level = torch.cos(torch.outer(angle, torch.arange(LEVELS).to(angle)))
        hidden = torch.cat([along / (self.variances + spread).sqrt(), level], dim=1)
        for index, layer in enumerate(self.layers):
            new = nn.functional.silu(layer(hidden))
            hidden = new if index == 0 else hidden + new
        scale, variance = self.posterior(log_snr)
        shrunk = along * self.variances / (self.variances + spread)
        mean = self.mean + (shrunk + scale * self.head_of_mean(hidden)) @ self.axes.T
        return mean, variance * nn.functional.softplus(_ONE + self.head_of_variance(hidden)[:, 0])

    def moments(self, y: Tensor, log_snr: Tensor) -> Moments:
        """See :class:`Denoiser`."""
        shape = log_snr.shape
        mean, variance = self(y.reshape(-1, self.dimension), log_snr.reshape(-1))
        return Moments(mean.reshape(*shape, self.dimension), variance.reshape(shape))

    def log_normalizer(self, y: Tensor, log_snr: Tensor) -> Tensor:
        """There is none.

        Raises
        ------
        GeometryError
            Always.
        """
        raise GeometryError("two heads have no log-normalizer: they are the gradient of nothing")


def train_two_heads(
    x: Tensor,
    weights: Tensor,
    noise_space: NoiseSpace,
    log_snr_range: tuple[float, float],
    settings: PotentialSettings,
    seed: int,
) -> TwoHeads:
    """Two heads trained on weighted samples.

    Parameters
    ----------
    x : tensor, shape (samples, dimension)
    weights : tensor, shape (samples,)
    noise_space : NoiseSpace
        That noise is added in.
    log_snr_range : tuple of float
    settings : PotentialSettings
        Of a perceptron: its size, steps, batch, learning rate and average are taken.
    seed : int
    """
    generator = torch.Generator().manual_seed(seed)
    free, directions = noise_space.degrees - noise_space.dimension, principal_directions(x, weights)
    network = TwoHeads(directions, free, log_snr_range, settings.width, settings.depth, generator).float()
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(settings.average))
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    low, high = log_snr_range
    for _ in range(settings.steps):
        index = torch.multinomial(weights, settings.batch, replacement=True, generator=generator)
        log_snr = low + (high - low) * torch.rand(settings.batch, generator=generator, dtype=torch.float64)
        y, target, square = noise_space.noisy(x[index], log_snr, generator)
        outside = square - ((target - y) ** 2).sum(1)
        y, log_snr, target, outside = (tensor.float() for tensor in (y, log_snr, target, outside))
        mean, variance = network(y, log_snr)
        scale, usual = network.posterior(log_snr)
        off = mean - target
        of_mean = ((off @ network.axes / scale) ** 2).mean()
        of_variance = (((variance - (off.detach() ** 2).sum(1) - outside) / usual) ** 2).mean()
        optimizer.zero_grad()
        (of_mean + of_variance).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
    trained: TwoHeads = average.module
    return trained.double().requires_grad_(False)
