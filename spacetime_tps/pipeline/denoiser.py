"""Stage 2: make the denoiser, and check it on held-out samples and against restrained dynamics."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from spacetime_tps.arrays import FloatArray
from spacetime_tps.calibration.statistics import compare_moments, denoising_error
from spacetime_tps.calibration.windows import sample_windows
from spacetime_tps.coordinates.base import squared
from spacetime_tps.denoisers import Denoiser
from spacetime_tps.denoisers.noise_space import laboratory_denoiser
from spacetime_tps.pipeline.potential import train_potential
from spacetime_tps.pipeline.samples import latent_samples
from spacetime_tps.pipeline.stage_results import DenoiserResult, DenoisingErrors, MomentsCheck
from spacetime_tps.progress import log
from spacetime_tps.runs.context import StageReport
from spacetime_tps.runs.denoiser import write_denoiser
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.layout import DENOISER
from spacetime_tps.runs.read import TrainingSet, read_training_set
from spacetime_tps.settings.denoiser import MixtureSettings
from spacetime_tps.spacetime import Points
from spacetime_tps.training.mixtures import make_mixture

_NOISED = 4000  # samples, at least, for an error


def make_denoiser(run: Run) -> StageReport[DenoiserResult]:
    """Make and check the denoiser; write ``denoiser.safetensors``."""
    settings = run.settings.denoiser
    training = read_training_set(run)
    fit_seed, noise_seed, check_seed = run.seed("denoiser").spawn(3)
    if isinstance(settings, MixtureSettings):
        training = training.thinned(settings.max_frames)
        samples = latent_samples(training, run.coordinates, settings.held_out)
        made = make_mixture(samples, run.coordinates.mixture, settings, fit_seed, run.pool)
    else:
        made = train_potential(run, settings, training, fit_seed)
    x = run.coordinates.encode(training.positions)
    held_out = made.held_out
    errors = denoising_errors(run, made.compared, x[held_out], training.weights[held_out], noise_seed)
    check, evaluations = _check_by_dynamics(made.denoiser, x, training, run, check_seed)
    write_denoiser(run, made.denoiser, run.path(DENOISER))
    fit = made.results
    results = DenoiserResult(
        kind=settings.kind,
        unit=run.coordinates.unit,
        denoising_error=errors,
        restrained_dynamics=check,
        components=fit.components,
        held_out_log_likelihood=fit.held_out_log_likelihood,
        training=fit.training,
    )
    return StageReport({"model_check": evaluations}, results)


def denoising_errors(
    run: Run, compared: Mapping[str, Denoiser], x: FloatArray, weights: FloatArray, seed: np.random.SeedSequence
) -> list[DenoisingErrors]:
    """Held-out E|x − x̂|² of several denoisers, over the range of SNR."""
    rows, unit, noise_space = [], squared(run.coordinates.unit), run.coordinates.noise_space()
    low, high = np.log(run.settings.geodesics.snr_bounds)
    noise, repeats = int(seed.generate_state(1)[0]), -(-_NOISED // len(x))
    for log_snr in np.linspace(low, high, 8):
        errors = {
            name: denoising_error(
                model, noise_space, x, weights, float(log_snr), torch.Generator().manual_seed(noise), repeats
            )
            for name, model in compared.items()
        }
        rows.append(DenoisingErrors(float(log_snr), **errors))
        told = ", ".join(f"{name.replace('_', ' ')} {error:.3e}{unit}" for name, error in errors.items())
        log.info("log SNR %5.2f: held-out error of %s", log_snr, told)
    return rows


def _check_by_dynamics(
    denoiser: Denoiser, x: FloatArray, training: TrainingSet, run: Run, seed: np.random.SeedSequence
) -> tuple[list[MomentsCheck], int]:
    """Moments by the model beside those of restrained dynamics at the model's temperature."""
    count = run.settings.denoiser.check_points
    if not count:
        return [], 0
    pick_seed, dynamics_seed = seed.spawn(2)
    end = np.log(run.settings.geodesics.end_snr)
    log_snr = torch.linspace(end - 2, end, count, dtype=torch.float64)
    frames = np.random.default_rng(pick_seed).choice(len(x), count, p=training.weights)
    known = laboratory_denoiser(denoiser, run.coordinates.noise_space())
    with torch.no_grad():
        points = Points(known.moments(torch.from_numpy(x[frames]), log_snr).mean, log_snr)
        moments = known.moments(points.y, points.log_snr)
    windows = sample_windows(run, points, training, run.settings.windows.frames, dynamics_seed, "restrained dynamics")
    latent, outside = windows.project(run.coordinates)
    rows, unit = [], squared(run.coordinates.unit)
    for index in range(count):
        compared = compare_moments(
            moments.mean[index].numpy(),
            float(moments.variance[index]),
            points.y[index].numpy(),
            latent[index].reshape(-1, latent.shape[-1]),
            outside[index].ravel(),
            blocks=run.settings.windows.replicas,
        )
        row = MomentsCheck.of(float(log_snr[index]), compared)
        log.info(
            "log SNR %5.2f: variance%s %.4f by the model, %.4f by dynamics; means %.4f ± %.4f apart",
            *(row.log_snr, f" in{unit}" if unit else ""),
            *(row.variance_model, row.variance_md, row.mean_distance, row.mean_distance_error),
        )
        rows.append(row)
    return rows, windows.evaluations
