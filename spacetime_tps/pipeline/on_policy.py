"""On-policy rounds: restrained windows along a geodesic join the samples, and the denoiser learns from them.

Windows are equilibrium samples of ensembles q(x) exp(−SNR/2 |x − y|²) of the true force field, where the curve goes and
samples are few. MBAR (Shirts & Chodera, J. Chem. Phys. 129, 124105 (2008)) gives all frames their weights in q.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from spacetime_tps.arrays import FloatArray
from spacetime_tps.calibration.statistics import sampled_curve
from spacetime_tps.calibration.windows import Windows, sample_windows
from spacetime_tps.coordinates import Coordinates
from spacetime_tps.denoisers import Denoiser, PotentialDenoiser
from spacetime_tps.denoisers.noise_space import laboratory_denoiser
from spacetime_tps.pipeline.potential import train_potential
from spacetime_tps.pipeline.samples import latent_samples
from spacetime_tps.progress import log
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.read import TrainingSet
from spacetime_tps.settings.denoiser import MixtureSettings
from spacetime_tps.spacetime import Points
from spacetime_tps.spacetime.curve import resample_polyline
from spacetime_tps.spacetime.family import curve_divergences, moments_at
from spacetime_tps.statistics.correlation import kish_size
from spacetime_tps.statistics.mbar import mbar_weights
from spacetime_tps.training.mixtures import MadeDenoiser, make_mixture


@dataclass(frozen=True)
class CurveLengths:
    """Length of a curve by the model and by restrained dynamics, and the standard error of the latter."""

    model: float
    dynamics: float
    dynamics_error: float

    @property
    def agree(self) -> bool:
        """Whether they differ by no more than two standard errors."""
        return abs(self.model - self.dynamics) <= 2 * self.dynamics_error


def measure_curve(
    run: Run, denoiser: Denoiser, points: Points, training: TrainingSet, seed: np.random.SeedSequence, name: str
) -> tuple[Windows, Points, CurveLengths]:
    """Windows along a curve, and its length by the model and by their dynamics."""
    settings, known = run.settings.windows, laboratory_denoiser(denoiser, run.coordinates.noise_space())
    with torch.no_grad():
        at = resample_polyline(known, points, settings.count)
        by_model = curve_divergences(at, moments_at(known, at, name)).clamp(min=0).sqrt().sum()
    windows = sample_windows(run, at, training, settings.frames, seed, name)
    sampled = sampled_curve(at.y.numpy(), at.snr.numpy(), *windows.project(run.coordinates))
    lengths = CurveLengths(float(by_model), sampled.length, sampled.length_error)
    told = (lengths.model, lengths.dynamics, lengths.dynamics_error)
    log.info("%s: length %.2f by the model, %.2f ± %.2f by dynamics", name, *told)
    return windows, at, lengths


def retrain(run: Run, denoiser: Denoiser, training: TrainingSet, seed: np.random.SeedSequence) -> MadeDenoiser:
    """The denoiser of an enlarged training set: a mixture is fitted anew, a network goes on from its weights."""
    settings = run.settings.denoiser
    if isinstance(settings, MixtureSettings):
        samples = latent_samples(training.thinned(settings.max_frames), run.coordinates, settings.held_out)
        return make_mixture(samples, run.coordinates.mixture, settings, seed, run.pool)
    assert isinstance(denoiser, PotentialDenoiser)
    return train_potential(run, settings, training, seed, denoiser)


def join(training: TrainingSet, rounds: Sequence[tuple[Windows, Points]], coordinates: Coordinates) -> TrainingSet:
    """Training frames and frames of the windows of all rounds, with their weights in q.

    Training frames whose weights differ are first drawn by weight, as many as their effective number: MBAR takes its
    samples of each ensemble as equal.

    Parameters
    ----------
    training : TrainingSet
        Of q.
    rounds : sequence of (Windows, Points)
        Windows and where they are.
    coordinates : Coordinates
    """
    kept = _evenly_by_weight(training.weights)
    positions, counts = [training.positions[kept]], [len(kept)]
    for windows, points in rounds:
        replicas, frames = windows.positions.shape[1:3]
        positions.append(windows.positions.reshape(-1, *windows.positions.shape[3:]))
        counts += [replicas * frames] * len(points)
    together = np.concatenate(positions)
    bias = [np.zeros((1, len(together)))]
    for _, at in rounds:
        centres = coordinates.decode(at.y.numpy())
        bias.append(coordinates.restraint_energies(together, centres, at.log_snr.numpy()))
    weights = mbar_weights(np.concatenate(bias), np.array(counts))
    replicas = sum(windows.positions.shape[0] * windows.positions.shape[1] for windows, _ in rounds)
    new = training.source.max() + 1 + np.arange(replicas).repeat((len(together) - len(kept)) // replicas)
    return TrainingSet(together, weights, np.concatenate([training.source[kept], new]))


def _evenly_by_weight(weights: FloatArray) -> np.ndarray:
    """Frames drawn at even steps of cumulative weight, as many as are effective; all if their weights are equal."""
    if np.ptp(weights) <= 1e-12 * weights.max():
        return np.arange(len(weights))
    effective = int(kish_size(weights))
    steps = (np.arange(effective) + 0.5) / effective
    return np.searchsorted(np.cumsum(weights) / weights.sum(), steps).clip(max=len(weights) - 1)
