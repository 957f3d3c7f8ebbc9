"""A network of latent vectors: quick where the molecule is small."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

LEVELS = 8  # functions of log SNR that the network is given
FREQUENCIES = (1.0, 2.0, 4.0)  # of the waves that each direction enters with


class PreconditionedNetwork(nn.Module):
    """A perceptron on latent vectors, with each principal direction of the samples scaled to the noise.

    A direction of variance c enters as u = √c/(c + s²) · (y − m), s² = 1/SNR: then s² ∂φ/∂y is as large as what is to
    be corrected where ∂φ/∂u is of order one, whether the direction is softer or stiffer than the noise, and a curve of
    clean structures is not far from noisy ones. It enters as sin(fu) and cos(fu) too, smoothed as noise smooths them.

    Parameters
    ----------
    mean : tensor, shape (dimension,)
    axes : tensor, shape (dimension, dimension)
        Principal directions, as columns.
    variances : tensor, shape (dimension,)
        Of the samples along them; positive.
    log_snr_range : tuple of float
    width, depth : int
        Of the hidden layers.
    generator : torch.Generator
        Of the first weights; those of the last layer are zero, so that φ = 0.
    """

    mean: Tensor
    axes: Tensor
    variances: Tensor

    def __init__(
        self,
        mean: Tensor,
        axes: Tensor,
        variances: Tensor,
        log_snr_range: tuple[float, float],
        width: int,
        depth: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("axes", axes)
        self.register_buffer("variances", variances)
        self.log_snr_range, self.depth = log_snr_range, depth
        sizes = [(1 + 2 * len(FREQUENCIES)) * len(mean) + LEVELS, *[width] * depth]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.scales = nn.ModuleList(nn.Linear(LEVELS, b) for b in sizes[1:])
        self.last = nn.Linear(width, 1)
        for layer in [*self.layers, *self.scales, self.last]:
            bound = layer.in_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.last.weight)
        self.double()

    def forward(self, y: Tensor, log_snr: Tensor) -> Tensor:
        """φ (B,) of y (B, dimension) and log SNR (B,)."""
        spread = torch.exp(-log_snr)[:, None]
        u = (y - self.mean) @ self.axes * (self.variances.sqrt() / (self.variances + spread))
        blur = spread / (self.variances + spread)
        waves = [torch.exp(-0.5 * f**2 * blur) * wave(f * u) for f in FREQUENCIES for wave in (torch.sin, torch.cos)]
        low, high = self.log_snr_range
        angle = math.pi * (log_snr - low) / (high - low)
        level = torch.cos(torch.outer(angle, torch.arange(LEVELS).to(angle)))  # Chebyshev polynomials, but for the map
        hidden = torch.cat([u, *waves, level], dim=1)
        for index, (layer, scale) in enumerate(zip(self.layers, self.scales, strict=True)):
            new = nn.functional.silu(layer(hidden) * (1 + scale(level)))
            hidden = new if index == 0 else hidden + new
        phi: Tensor = self.last(hidden)[:, 0]
        return phi
