"""How far a denoiser can be trusted: held-out denoising error, moments and divergences against restrained dynamics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from spacetime_tps.arrays import FloatArray
from spacetime_tps.calibration.results import Compared, MomentComparison
from spacetime_tps.denoisers.base import Denoiser
from spacetime_tps.denoisers.noise_space import NoiseSpace
from spacetime_tps.statistics.blocks import BLOCKS, block_mean
from spacetime_tps.statistics.intervals import standard_error


def denoising_error(
    denoiser: Denoiser,
    noise_space: NoiseSpace,
    samples: FloatArray,
    weights: FloatArray,
    log_snr: float,
    generator: torch.Generator,
    repeats: int = 4,
) -> float:
    """Mean squared error E|x − x̂(y)|² on noised samples.

    Parameters
    ----------
    denoiser : Denoiser
    noise_space : NoiseSpace
        That noise is added in.
    samples : array, shape (n, dimension)
        Held out from the fit.
    weights : array, shape (n,)
    log_snr : float
    generator : torch.Generator
    repeats : int
        Noise draws for each sample.
    """
    x = torch.from_numpy(np.repeat(samples, repeats, axis=0))
    levels = torch.full((len(x),), log_snr, dtype=torch.float64)
    y, target, _ = noise_space.noisy(x, levels, generator)
    with torch.no_grad():
        mean = denoiser.moments(y, levels).mean
    errors = ((mean - target) ** 2).sum(1).numpy()
    return float(np.average(errors, weights=np.repeat(weights, repeats)))


def compare_moments(
    mean: FloatArray,
    variance: float,
    y: FloatArray,
    sampled: FloatArray,
    outside: FloatArray | float = 0.0,
    blocks: int = BLOCKS,
) -> MomentComparison:
    """Model's moments at a spacetime point beside those of restrained dynamics there.

    Parameters
    ----------
    mean : array, shape (dimension,)
    variance : float
        tr Cov[x|z] by the model.
    y : array, shape (dimension,)
    sampled : array, shape (frames, dimension)
        Latent vectors from restrained dynamics.
    outside : array, shape (frames,), optional
        Square of what x has outside the latent space.
    blocks : int
        For the errors; of equal length, in the order of the frames.
    """
    md_mean, md_error = block_mean(sampled, blocks)
    misfit, misfit_error = block_mean(((sampled - y) ** 2).sum(1) + outside, blocks)
    return MomentComparison(
        mean_distance=float(np.linalg.norm(mean - md_mean)),
        mean_distance_error=float(np.linalg.norm(md_error)),
        variance_model=variance,
        variance_md=float(sampled.var(axis=0, ddof=1).sum() + np.mean(outside)),
        mean_square_displacement=Compared(
            float(((mean - y) ** 2).sum()) + variance, float(misfit), float(misfit_error)
        ),
    )


@dataclass(frozen=True)
class SampledCurve:
    """Divergences along a row of windows by what was sampled in them, and the energy and length they add up to.

    Attributes
    ----------
    divergences, errors : array, shape (windows - 1,)
        J of neighbouring windows, and its standard error.
    energy, energy_error : float
        (windows − 1)/2 Σ J.
    length, length_error : float
        Σ √J. A J that noise has made negative counts as zero.
    """

    divergences: FloatArray
    errors: FloatArray
    energy: float
    energy_error: float
    length: float
    length_error: float


def sampled_curve(y: FloatArray, snr: FloatArray, latent: FloatArray, outside: FloatArray) -> SampledCurve:
    """J of neighbouring windows from frames of the restrained ensembles in them.

    J(a, b) = (η_a − η_b)·(μ_a − μ_b) = ⟨u_b − u_a⟩_a − ⟨u_b − u_a⟩_b with u = SNR/2 |x − y|²: the work dissipated by an
    instantaneous switch forward and one back (Crooks, arXiv 0706.0559). It is linear in what is sampled, so its
    estimate has no bias. Errors are from the spread over replicas; those of energy and length know that neighbouring
    chords share a window.

    Parameters
    ----------
    y : array, shape (windows, dimension)
    snr : array, shape (windows,)
    latent : array, shape (windows, replicas, frames, dimension)
    outside : array, shape (windows, replicas, frames)
    """

    def works(frames: slice) -> FloatArray:
        """u_b − u_a of each chord, averaged over each replica of these windows, shape (chords, replicas)."""
        ends = (
            0.5 * snr[end, None, None] * (((latent[frames] - y[end, None, None]) ** 2).sum(-1) + outside[frames])
            for end in (slice(1, None), slice(None, -1))
        )
        return np.asarray(np.subtract(*ends).mean(axis=-1))

    ahead, behind = works(slice(None, -1)), works(slice(1, None))
    divergences = ahead.mean(axis=1) - behind.mean(axis=1)
    root = np.sqrt(divergences.clip(min=0))

    def error(slope: FloatArray) -> float:
        """Standard error of Σ slope · J."""
        by_window = np.zeros((len(y), ahead.shape[1]))
        by_window[:-1] += slope[:, None] * ahead
        by_window[1:] -= slope[:, None] * behind
        return float(np.sqrt((standard_error(by_window) ** 2).sum()))

    chords = len(divergences)
    return SampledCurve(
        divergences=divergences,
        errors=np.hypot(standard_error(ahead), standard_error(behind)),
        energy=float(0.5 * chords * divergences.sum()),
        energy_error=error(np.full(chords, 0.5 * chords)),
        length=float(root.sum()),
        length_error=error(np.divide(0.5, root, out=np.zeros(chords), where=root > 0)),
    )
