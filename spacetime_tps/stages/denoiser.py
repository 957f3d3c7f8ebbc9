"""Stage 2: fit the denoiser, choose its size on held-out samples, and check it against restrained dynamics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from spacetime_tps.analysis.calibration import compare_moments, denoising_error
from spacetime_tps.coordinates.base import squared
from spacetime_tps.denoisers import Denoiser
from spacetime_tps.dynamics.equilibrium import RestrainedTask, sample_restrained
from spacetime_tps.errors import GeometryError
from spacetime_tps.progress import log, track
from spacetime_tps.stages.context import RunContext, StageReport
from spacetime_tps.stages.mixtures import MIXTURES, FitTask, MixtureDenoiser
from spacetime_tps.stages.samples import TrainingSet, load_training_set
from spacetime_tps.states import FloatArray

BLOCKS = 10  # of time, in which a trajectory is divided into training and held-out samples


def make_denoiser(run: RunContext) -> StageReport:
    """Fit and check the denoiser; write ``denoiser.safetensors``."""
    settings, kind = run.settings.denoiser, MIXTURES[run.settings.coordinates.kind]
    training = _thinned(load_training_set(run.output), settings.max_frames)
    x, weights = run.coordinates.encode(training.positions), training.weights
    held_out = held_out_blocks(training.source, settings.held_out)
    fit_seed, noise_seed, check_seed = run.seed.spawn(3)
    starts = (fit_seed.generate_state(settings.fits) % 2**31).tolist()

    def fit(sizes: Sequence[int], keep: np.ndarray) -> list[MixtureDenoiser]:
        """For each size the average of fits from different starts to some of the samples."""
        tasks = [
            FitTask(x[keep], weights[keep], components, settings, start) for components in sizes for start in starts
        ]
        fits = [kind.build(*arrays) for arrays in track(run.pool.map(kind.fit, tasks), "mixture", len(tasks))]
        return [kind.average(fits[i : i + len(starts)]) for i in range(0, len(fits), len(starts))]

    candidates = dict(zip(settings.components, fit(settings.components, ~held_out), strict=True))
    likelihoods: dict[int, float] = {}
    test = torch.from_numpy(x[held_out])
    for components in settings.components:
        density = candidates[components].log_density(test).numpy()
        likelihood = np.average(density, weights=weights[held_out])
        likelihoods[components] = float(likelihood)
        log.info("%d × %d components: held-out log-likelihood %.3f per sample", settings.fits, components, likelihood)
    best = max(likelihoods, key=lambda components: likelihoods[components])
    single = kind.single(x[~held_out], weights[~held_out])
    errors = _denoising_errors(candidates[best], single, x[held_out], weights[held_out], run, noise_seed)
    (denoiser,) = fit([best], np.ones(len(x), dtype=bool))
    check, evaluations = _check_by_dynamics(denoiser, x, training.positions, weights, run, check_seed)
    denoiser.save(
        run.output / "denoiser.safetensors",
        {
            "system": run.molecule.name,
            "coordinates": run.settings.coordinates.model_dump(mode="json"),
            "atoms": np.array(run.coordinates.atoms).tolist(),
            "model_temperature": run.settings.samples.model_temperature,
        },
    )
    results = {
        "components": denoiser.components,
        "unit": run.coordinates.unit,
        "held_out_log_likelihood": {str(k): v for k, v in likelihoods.items()},
        "denoising_error": errors,
        "restrained_dynamics": check,
    }
    return StageReport({"model_check": evaluations}, results)


def load_denoiser(run: RunContext) -> MixtureDenoiser:
    """The denoiser that :func:`make_denoiser` has written.

    Raises
    ------
    GeometryError
        If it is of other coordinates.
    """
    denoiser, description = MIXTURES[run.settings.coordinates.kind].load(run.output / "denoiser.safetensors")
    same_atoms = description["atoms"] == np.array(run.coordinates.atoms).tolist()
    if not same_atoms or denoiser.dimension != run.coordinates.dimension:
        raise GeometryError(f"{run.output / 'denoiser.safetensors'} was made for other atoms than this run's")
    return denoiser


def held_out_blocks(source: np.ndarray, fraction: float) -> np.ndarray:
    """Which frames are held out: whole blocks of time, evenly spread over every trajectory. Shape (frames,)."""
    mask = np.zeros(len(source), dtype=bool)
    chosen = np.floor(np.arange(1, BLOCKS + 1) * fraction) > np.floor(np.arange(BLOCKS) * fraction)
    if not chosen.any():
        chosen[BLOCKS // 2] = True
    for trajectory in np.unique(source):
        frames = np.flatnonzero(source == trajectory)
        mask[frames] = chosen[np.arange(len(frames)) * BLOCKS // len(frames)]
    return mask


def _thinned(training: TrainingSet, most: int) -> TrainingSet:
    if len(training.weights) <= most:
        return training
    keep = np.linspace(0, len(training.weights) - 1, most).round().astype(int)
    weights = training.weights[keep]
    return TrainingSet(training.positions[keep], weights / weights.sum(), training.source[keep])


def _denoising_errors(
    mixture: Denoiser,
    single: Denoiser,
    x: FloatArray,
    weights: FloatArray,
    run: RunContext,
    seed: np.random.SeedSequence,
) -> list[dict[str, float]]:
    """Held-out E|x0 − x̂|² of the mixture and of a single component, over the range of SNR."""
    rows, unit = [], squared(run.coordinates.unit)
    low, high = np.log(run.settings.geodesics.snr_bounds)
    for log_snr in np.linspace(low, high, 8):
        mine, one = (
            denoising_error(model, x, weights, float(log_snr), np.random.default_rng(seed))
            for model in (mixture, single)
        )
        rows.append({"log_snr": float(log_snr), "mixture": mine, "single_component": one})
        log.info("log SNR %5.2f: held-out error %.3e%s, of one component %.3e%s", log_snr, mine, unit, one, unit)
    return rows


def _check_by_dynamics(
    denoiser: Denoiser,
    x: FloatArray,
    positions: FloatArray,
    weights: FloatArray,
    run: RunContext,
    seed: np.random.SeedSequence,
) -> tuple[list[dict[str, float]], int]:
    """Moments by the model beside those of restrained dynamics at the model's temperature."""
    pick_seed, *point_seeds = seed.spawn(run.settings.denoiser.check_points + 1)
    rng = np.random.default_rng(pick_seed)
    log_snrs = np.linspace(
        np.log(run.settings.geodesics.end_snr) - 2, np.log(run.settings.geodesics.end_snr), len(point_seeds)
    )
    tasks, points = [], []
    for log_snr, point_seed in zip(log_snrs, point_seeds, strict=True):
        frame = int(rng.choice(len(x), p=weights))
        at = torch.tensor([float(log_snr)], dtype=torch.float64)
        centre = denoiser.moments(torch.from_numpy(x[frame : frame + 1]), at).mean
        moments = denoiser.moments(centre, at)
        points.append((centre[0].numpy(), moments.mean[0].numpy(), float(moments.variance[0])))
        tasks.append(
            RestrainedTask(
                positions=run.coordinates.superpose(positions[frame : frame + 1])[0],
                centres=run.coordinates.decode(centre[0].numpy()),
                log_snr=float(log_snr),
                temperature=run.settings.samples.model_temperature,
                equilibration_steps=5_000,
                frame_steps=50,
                frames=500,
                seed=point_seed,
            )
        )
    rows, unit = [], squared(run.coordinates.unit)
    sampled = track(run.pool.map(sample_restrained, tasks), "restrained dynamics", len(tasks))
    for task, (y, mean, variance), frames in zip(tasks, points, sampled, strict=True):
        row = {"log_snr": task.log_snr} | compare_moments(mean, variance, y, run.coordinates.encode(frames))
        log.info(
            "log SNR %5.2f: variance%s %.4f by the model, %.4f by dynamics; means %.4f ± %.4f apart",
            *(row["log_snr"], f" in{unit}" if unit else ""),
            *(row[k] for k in ("variance_model", "variance_md", "mean_distance", "mean_distance_error")),
        )
        rows.append(row)
    return rows, sum(task.evaluations for task in tasks)
