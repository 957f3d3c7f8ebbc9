"""Restrained windows: equilibrium frames of the molecule at spacetime points, by its own force field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from spacetime_tps.arrays import FloatArray
from spacetime_tps.coordinates import Coordinates
from spacetime_tps.dynamics.restrained import RestrainedTask, sample_restrained
from spacetime_tps.progress import track
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.read import TrainingSet
from spacetime_tps.spacetime import Points


@dataclass(frozen=True)
class Windows:
    """Frames drawn from p(x|z) at several spacetime points.

    Attributes
    ----------
    positions : array, shape (points, replicas, frames, atoms, 3)
        nm, in the frame of reference of the restraint: not superposed.
    evaluations : int
        Force evaluations that they took.
    """

    positions: FloatArray
    evaluations: int

    def project(self, coordinates: Coordinates) -> tuple[FloatArray, FloatArray]:
        """Latent components (points, replicas, frames, dimension) and the square outside (…, frames)."""
        shape = self.positions.shape[:3]
        latent, outside = coordinates.project(self.positions.reshape(-1, *self.positions.shape[3:]))
        return latent.reshape(*shape, -1), outside.reshape(shape)


def sample_windows(
    run: Run, points: Points, training: TrainingSet, frames: int, seed: np.random.SeedSequence, name: str
) -> Windows:
    """Restrained dynamics at spacetime points, at the model's temperature, as ``windows`` in the settings says.

    Each replica starts from a training frame drawn with its weight in p(x|z), so that basins are populated as the
    samples say, and not only the nearest one.

    Parameters
    ----------
    run : Run
    points : Points
    training : TrainingSet
    frames : int
        Of each replica at a point.
    seed : SeedSequence
    name : str
        On the progress bar.

    Raises
    ------
    DynamicsError
        If a simulation breaks down.
    """
    settings, coordinates, step = run.settings.windows, run.coordinates, run.molecule.time_step
    start_seed, *seeds = seed.spawn(1 + settings.replicas * len(points))
    latent = coordinates.encode(training.positions)
    starts = draw_starts(latent, training.weights, points, settings.replicas, np.random.default_rng(start_seed))
    centres, log_snr = coordinates.canonical(coordinates.decode(points.y.numpy()), points.log_snr.numpy())
    tasks = [
        RestrainedTask(
            positions=coordinates.superpose(training.positions[start : start + 1])[0],
            centres=centres[index // settings.replicas],
            log_snr=float(log_snr[index // settings.replicas]),
            temperature=run.settings.samples.model_temperature,
            equilibration_steps=round(settings.equilibration / step),
            frame_steps=max(1, round(settings.frame_interval / step)),
            frames=frames,
            seed=replica_seed,
        )
        for index, (start, replica_seed) in enumerate(zip(starts.ravel(), seeds, strict=True))
    ]
    sampled = np.array(list(track(run.pool.map(sample_restrained, tasks), name, len(tasks))))
    positions = sampled.reshape(len(points), settings.replicas, *sampled.shape[1:])
    return Windows(positions, sum(task.evaluations for task in tasks))


def draw_starts(
    samples: FloatArray, weights: FloatArray, points: Points, replicas: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Samples drawn with probability ∝ w exp(−SNR/2 |x − y|²) at each point, shape (points, replicas).

    Parameters
    ----------
    samples : array, shape (samples, dimension)
    weights : array, shape (samples,)
    points : Points
    replicas : int
        Samples at each point.
    rng : numpy.random.Generator
    """
    with np.errstate(divide="ignore"):
        log_weights = np.log(weights)
    exponents = (
        log_weights - 0.5 * snr * ((samples - y) ** 2).sum(axis=1)
        for y, snr in zip(points.y.numpy(), points.snr.numpy(), strict=True)
    )
    return np.array([rng.choice(len(samples), replicas, p=softmax(exponent)) for exponent in exponents])
