"""How far a denoiser can be trusted: held-out denoising error, and its moments against restrained dynamics."""

from __future__ import annotations

import numpy as np
import torch

from spacetime_tps.denoisers.base import Denoiser
from spacetime_tps.states import FloatArray


def denoising_error(
    denoiser: Denoiser,
    samples: FloatArray,
    weights: FloatArray,
    log_snr: float,
    rng: np.random.Generator,
    repeats: int = 4,
) -> float:
    """Mean squared error E|x0 − x̂(x0 + σε)|² on samples, with σ² = 1/SNR.

    Parameters
    ----------
    denoiser : Denoiser
    samples : array, shape (n, dimension)
        Held out from the fit.
    weights : array, shape (n,)
    log_snr : float
    rng : numpy.random.Generator
    repeats : int
        Noise draws for each sample.
    """
    x = torch.from_numpy(np.repeat(samples, repeats, axis=0))
    noise = torch.from_numpy(rng.normal(size=tuple(x.shape)))
    y = x + noise * float(np.exp(-0.5 * log_snr))
    with torch.no_grad():
        mean = denoiser.moments(y, torch.full((len(x),), log_snr, dtype=torch.float64)).mean
    errors = ((mean - x) ** 2).sum(1).numpy()
    return float(np.average(errors, weights=np.repeat(weights, repeats)))


def block_mean(values: FloatArray, blocks: int = 10) -> tuple[FloatArray, FloatArray]:
    """Mean over frames (first axis) of a correlated series and its standard error from block averages."""
    means = np.array([block.mean(axis=0) for block in np.array_split(values, blocks)])
    return means.mean(axis=0), means.std(axis=0, ddof=1) / np.sqrt(blocks)


def compare_moments(mean: FloatArray, variance: float, y: FloatArray, sampled: FloatArray) -> dict[str, float]:
    """Model's moments at a spacetime point beside those of restrained dynamics there.

    Parameters
    ----------
    mean : array, shape (dimension,)
    variance : float
        tr Cov[x|z] by the model.
    y : array, shape (dimension,)
    sampled : array, shape (frames, dimension)
        Latent vectors from restrained dynamics.

    Returns
    -------
    dict
        ``mean_distance`` |x̂_model − x̂_MD| with its error, and E|x − y|² by both, all in the coordinate's unit.
    """
    md_mean, md_error = block_mean(sampled)
    misfit, misfit_error = block_mean(((sampled - y) ** 2).sum(1))
    return {
        "mean_distance": float(np.linalg.norm(mean - md_mean)),
        "mean_distance_error": float(np.linalg.norm(md_error)),
        "variance_model": variance,
        "variance_md": float(sampled.var(axis=0, ddof=1).sum()),
        "mean_square_displacement_model": float(((mean - y) ** 2).sum()) + variance,
        "mean_square_displacement_md": float(misfit),
        "mean_square_displacement_md_error": float(misfit_error),
    }
