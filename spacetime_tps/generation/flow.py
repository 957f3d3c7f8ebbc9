"""New samples from a denoiser: probability flow and reverse SDE from noise to states, and the flow's likelihood.

States are y = x + σ ε with σ = SNR^(−1/2), x clean and ε a standard normal in the ambient space of a
:class:`~spacetime_tps.denoisers.noise_space.NoiseSpace`; no schedule enters. In this form the probability flow is
dy/dσ = (y − x̂(y, σ))/σ (Karras et al., arXiv 2206.00364, eq. 3 with Tweedie's formula).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from spacetime_tps.denoisers.base import Denoiser
from spacetime_tps.denoisers.noise_space import NoiseSpace
from spacetime_tps.errors import GeometryError

_RHO = 7.0  # Karras et al., eq. 5: how much denser the levels lie where the noise is low
_BATCH = 256  # states at a time: more leave the processor's cache and take several times as long


@dataclass(frozen=True)
class GaussianStates:
    """The Gaussian with the mean and the covariance of clean states: what they are like behind much noise.

    Attributes
    ----------
    mean : tensor, shape (size,)
    axes : tensor, shape (size, size)
        Orthonormal columns.
    variances : tensor, shape (size,)
        Along the axes.
    degrees : int
        Number of coordinates that noise is added to; along the other axes all states are the same.
    """

    mean: Tensor
    axes: Tensor
    variances: Tensor
    degrees: int

    @classmethod
    def from_samples(cls, noise_space: NoiseSpace, x: Tensor, weights: Tensor) -> GaussianStates:
        """The Gaussian of weighted latent samples.

        Parameters
        ----------
        noise_space : NoiseSpace
        x : tensor, shape (samples, dimension)
        weights : tensor, shape (samples,)

        Raises
        ------
        GeometryError
            If shapes do not fit the noise space or each other.
        """
        if x.ndim != 2 or x.shape[1] != noise_space.dimension or weights.shape != x.shape[:1]:
            raise GeometryError(
                f"samples {tuple(x.shape)} and weights {tuple(weights.shape)} do not fit a latent space of "
                f"{noise_space.dimension} coordinates"
            )
        mean, covariance = noise_space.clean_moments(x, weights)
        variances, axes = torch.linalg.eigh(covariance)
        return cls(mean, axes, variances.clamp(min=0.0), noise_space.degrees)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Clean states (count, size)."""
        normal = torch.randn(count, len(self.mean), generator=generator, dtype=torch.float64)
        return self.mean + (normal * self.variances.sqrt()) @ self.axes.T

    def log_density(self, state: Tensor, sigma: float) -> Tensor:
        """log N(state; mean, covariance + σ²) in all ``degrees``, shape (B,)."""
        variances = self.variances + sigma**2
        exponent = (((state - self.mean) @ self.axes) ** 2 / variances).sum(-1)
        fixed = len(self.mean) - self.degrees
        log_volume = variances.log().sum() + self.degrees * math.log(2 * math.pi) - 2 * fixed * math.log(sigma)
        return -0.5 * (exponent + log_volume)


@dataclass(frozen=True)
class Diffusion:
    """Samples and likelihoods of what a denoiser has learnt, on a ladder of noise levels.

    Both samplers end at the lowest noise σ, in states of q convolved with N(0, σ²); of these the likelihood speaks.
    Levels of noise lie as in Karras et al. (eq. 5, ρ = 7) and steps are Heun's, whose error falls with the square of
    their number.

    Parameters
    ----------
    noise_space : NoiseSpace
    denoiser : Denoiser
        It answers for the latent vectors of the noise space.
    start : GaussianStates
        What the states are like at the lowest SNR.
    log_snr : (float, float)
        Lowest and highest.
    steps : int
        From the one to the other; each asks the denoiser twice.

    Raises
    ------
    GeometryError
        If dimensions do not fit, there is no step, or the range is empty or not within the denoiser's.
    """

    noise_space: NoiseSpace
    denoiser: Denoiser
    start: GaussianStates
    log_snr: tuple[float, float]
    steps: int

    def __post_init__(self) -> None:
        (low, high), (least, most) = self.log_snr, self.denoiser.log_snr_range
        if self.denoiser.dimension != self.noise_space.dimension:
            raise GeometryError(
                f"generation: the denoiser has {self.denoiser.dimension} coordinates, the noise space "
                f"{self.noise_space.dimension}"
            )
        if not least <= low < high <= most or not math.isfinite(high - low):
            raise GeometryError(
                f"generation: log SNR from {low:g} to {high:g} is not a finite range within the denoiser's, "
                f"{least:g} to {most:g}"
            )
        if self.steps < 1:
            raise GeometryError(f"generation takes at least one step, not {self.steps}")

    @property
    def sigmas(self) -> list[float]:
        """Levels of noise, falling; one more than steps."""
        high, low = (math.exp(-0.5 * log_snr / _RHO) for log_snr in self.log_snr)
        return [(high + i / self.steps * (low - high)) ** _RHO for i in range(self.steps + 1)]

    def probability_flow(self, count: int, generator: torch.Generator) -> Tensor:
        """States (count, size) by the ordinary differential equation, random in where they start only."""
        return torch.cat([self._descend(size, generator, langevin=False) for size in _batches(count)])

    def reverse_sde(self, count: int, generator: torch.Generator) -> Tensor:
        """States (count, size) by the reverse stochastic differential equation.

        It is the probability flow and Langevin dynamics at once (Karras et al., eq. 6), the noise of the latter
        d(σ²) in all. As in their Algorithm 2 each step but the first adds its noise before it takes Heun's step: from
        σ up to (2σ² − σ'²)^(1/2) and down to σ'. This forgets errors of earlier steps, but its own are larger.
        """
        return torch.cat([self._descend(size, generator, langevin=True) for size in _batches(count)])

    def log_likelihood(self, state: Tensor, probes: Tensor | None = None) -> Tensor:
        """Log-density that the probability flow gives to states at the lowest noise.

        log p(y) = log p_start(y_start) + ∫ (degrees − tr ∂x̂/∂y) d log σ along the flow from y up to the start (Chen et
        al., arXiv 1806.07366; Song et al., arXiv 2011.13456, eq. 39).

        Parameters
        ----------
        state : tensor, shape (B, size)
        probes : tensor, shape (probes, B, size), optional
            Directions v with E[v vᵀ] = 1, such as random signs; the trace is then the mean of v·(∂x̂/∂y)v (Hutchinson),
            free of bias for the log-density but not for the density, so weights need the exact trace. That is the
            default, at the cost of one derivative for each coordinate.

        Returns
        -------
        tensor, shape (B,)
            Per volume of the ambient ``degrees``; turning a molecule does not change it.
        """
        batches = torch.split(state.detach(), _BATCH)
        chosen = [None] * len(batches) if probes is None else torch.split(probes, _BATCH, dim=1)
        return torch.cat([self._ascend(*batch) for batch in zip(batches, chosen, strict=True)])

    @torch.no_grad()
    def _descend(self, count: int, generator: torch.Generator, langevin: bool) -> Tensor:
        """States at the lowest noise from ones at the highest."""
        sigmas = self.sigmas
        state = self.start.sample(count, generator) + sigmas[0] * self.noise_space.noise(count, generator)
        for sigma, target in pairwise(sigmas):
            if langevin and sigma < sigmas[0]:
                added = math.sqrt(sigma**2 - target**2)
                state, sigma = state + added * self.noise_space.noise(count, generator), math.hypot(sigma, added)
            state = self._heun(state, sigma, target, self._slope(state, sigma))
        return state

    def _ascend(self, state: Tensor, probes: Tensor | None) -> Tensor:
        """Log-density of states at the lowest noise."""
        sigmas = self.sigmas[::-1]
        slope, excess = self._slope_and_excess(state, sigmas[0], probes)
        gained = torch.zeros_like(excess)
        for sigma, target in pairwise(sigmas):
            with torch.no_grad():
                state = self._heun(state, sigma, target, slope)
            before = excess
            slope, excess = self._slope_and_excess(state, target, probes)
            gained = gained + 0.5 * math.log(target / sigma) * (before + excess)
        return self.start.log_density(state, sigmas[-1]) + gained

    def _slope(self, state: Tensor, sigma: float) -> Tensor:
        """dy/dσ of the probability flow, (B, size)."""
        level = torch.full((len(state),), -2 * math.log(sigma), dtype=state.dtype)
        slope = (state - self.noise_space.mean(self.denoiser, state, level)) / sigma
        if not torch.isfinite(slope).all():
            raise GeometryError(
                f"generation: {type(self.denoiser).__name__} returned means that are not finite at log SNR "
                f"{-2 * math.log(sigma):.4g}; take more steps or a range of log SNR that it has learnt"
            )
        return slope

    def _slope_and_excess(self, state: Tensor, sigma: float, probes: Tensor | None) -> tuple[Tensor, Tensor]:
        """The slope, and degrees − tr ∂x̂/∂y = σ div(slope) (B,)."""
        with torch.enable_grad():
            state = state.detach().requires_grad_()
            slope = self._slope(state, sigma)
        if probes is None:
            directions, scale = torch.eye(state.shape[1], dtype=state.dtype)[:, None].expand(-1, *state.shape), sigma
        else:
            directions, scale = probes, sigma / len(probes)
        trace = torch.zeros_like(slope[:, 0])
        for v in directions:
            trace = trace + scale * (torch.autograd.grad(slope, state, v, retain_graph=True)[0] * v).sum(-1)
        fixed = state.shape[1] - self.noise_space.degrees  # directions in which x̂ stays and y moves the slope alone
        return slope.detach(), trace.detach() - fixed

    def _heun(self, state: Tensor, sigma: float, target: float, slope: Tensor) -> Tensor:
        """One step of Heun's method from ``sigma`` to ``target``; ``slope`` is that at ``state``."""
        ahead = self._slope(state + (target - sigma) * slope, target)
        return state + 0.5 * (target - sigma) * (slope + ahead)


def _batches(count: int) -> list[int]:
    """Sizes of the batches that ``count`` states are made in."""
    return [min(_BATCH, count - done) for done in range(0, count, _BATCH)]
