"""The calibration job: a model's moments, and the length of a curve, against restrained dynamics of the molecule."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch

from spacetime_tps.calibration.core import compare_curve, compare_points
from spacetime_tps.calibration.figure import calibration_figure
from spacetime_tps.calibration.results import CalibrationResult, CurveComparison, PointComparison
from spacetime_tps.calibration.windows import sample_windows
from spacetime_tps.coordinates.base import latent_vectors, squared
from spacetime_tps.denoisers import Denoiser
from spacetime_tps.denoisers.noise_space import laboratory_denoiser
from spacetime_tps.processes import check_guard
from spacetime_tps.progress import log
from spacetime_tps.runs import layout
from spacetime_tps.runs.denoiser import read_denoiser
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.read import (
    TrainingSet,
    geodesic_names,
    need_geodesic,
    read_training_set,
)
from spacetime_tps.runs.requests import (
    begun_folder,
    check_options,
    take_settings,
    working_on,
)
from spacetime_tps.settings.jobs import job_settings
from spacetime_tps.spacetime import Points
from spacetime_tps.spacetime.curve import resample_polyline
from spacetime_tps.spacetime.family import curve_divergences, moments_at
from spacetime_tps.statistics.blocks import held_out_blocks
from spacetime_tps.threads import one_thread
from spacetime_tps.writing import write_json, write_table


def calibrate(
    run: str | Path,
    *,
    points: int = 16,
    windows: int = 24,
    curve: str = "low_variance",
    frames: int = 100,
    config: str | Path | None = None,
    seed: int | None = None,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    trust_scripts: bool = False,
) -> CalibrationResult:
    """Compare the model of a run with restrained dynamics, and write ``calibration/`` in its folder.

    There are ``calibration.json`` with everything, ``points.csv`` and ``chords.csv`` with a row for each spacetime
    point and each pair of neighbouring windows, and ``calibration.png``.

    Parameters
    ----------
    run : str or Path
        Folder of a run that has its geodesics.
    points : int
        Noised held-out frames at which moments are compared.
    windows : int
        On the curve, equal in arc length.
    curve : str
        Name of a stored geodesic.
    frames : int
        Of each replica at a point or in a window (``windows.replicas`` in the settings).
    config : str or Path, optional
        YAML file with settings of this job in place of the run's: ``calibration.log_snr_margin``, and
        ``replicas``, ``equilibration`` and ``frame_interval`` of ``windows``.
    seed : int, optional
        By default that of the run.
    workers : int, optional
        Worker processes, by default one a core. Results do not depend on it.
    resume : bool
        Go on with an interrupted one that was asked for the same. Without ``config`` it has the settings that it was
        begun with.
    overwrite : bool
        Replace an earlier calibration.
    trust_scripts : bool
        Whether force-field files that are not OpenMM's may run code; never stored.

    Returns
    -------
    CalibrationResult
        What ``calibration.json`` holds.

    Raises
    ------
    SpacetimeError
        If an input is wrong (before any long work), or a simulation fails.
    """
    check_guard()
    least = {"points": (points, 1), "windows": (windows, 2), "frames": (frames, 10), "workers": (workers, 1)}
    check_options(least | {"seed": (seed, 0)})
    started = time.perf_counter()
    opened = Run.open(run, "samples", "denoiser", "geodesics", seed=seed, trust_scripts=trust_scripts)
    need_geodesic(opened, curve)
    take_settings(opened, "calibrate", config, resume)
    effective = job_settings(opened.settings, "calibrate")
    request = {"points": points, "windows": windows, "curve": curve, "frames": frames, "seed": opened.base_seed}
    request["settings"] = effective
    with working_on(opened, "calibrate", request, resume, overwrite) as folder, one_thread():
        if not resume:
            with begun_folder(folder, request):
                pass
        with opened.workers(workers), opened.keeping("calibrate"):
            denoiser = laboratory_denoiser(read_denoiser(opened), opened.coordinates.noise_space())
            training = read_training_set(opened)
            at_points, spent_at_points = _measure_points(opened, denoiser, training, points, frames)
            along, spent_on_curve = measure_curve(opened, denoiser, training, curve, windows, frames)
        evaluations = {"points": spent_at_points, "curve": spent_on_curve}
        result = CalibrationResult(
            system=opened.molecule.name,
            denoiser=opened.settings.denoiser.kind,
            unit=opened.coordinates.unit,
            temperature=opened.settings.samples.model_temperature,
            seed=opened.base_seed,
            replicas=opened.settings.windows.replicas,
            frames=frames,
            evaluations=evaluations,
            points=at_points,
            curve=along,
            settings=effective,
        )
        _write(folder, result)
        opened.finish("calibrate", started, evaluations, after=["geodesics"])
    return result


def _measure_points(
    run: Run, denoiser: Denoiser, training: TrainingSet, count: int, frames: int
) -> tuple[tuple[PointComparison, ...], int]:
    """Moments by the model and by dynamics at noised held-out frames, and the evaluations spent.

    Their log SNR go evenly from the lowest to the highest of all stored geodesics, and
    ``calibration.log_snr_margin`` beyond.
    """
    pick_seed, noise_seed, dynamics_seed = run.seed("calibration points").spawn(3)
    held_out = np.flatnonzero(held_out_blocks(training.source, run.settings.denoiser.held_out))
    weights = training.weights[held_out]
    picked = np.random.default_rng(pick_seed).choice(held_out, count, p=weights / weights.sum())
    x = torch.from_numpy(run.coordinates.encode(training.positions[picked]))
    generator = torch.Generator().manual_seed(int(noise_seed.generate_state(1)[0]))
    log_snr = torch.linspace(*_log_snr_range(run, denoiser), count, dtype=torch.float64)
    y, _, _ = run.coordinates.noise_space().noisy(x, log_snr, generator)
    points = Points(y, log_snr)
    with torch.no_grad():
        moments = moments_at(denoiser, points, "calibration")
    windows = sample_windows(run, points, training, frames, dynamics_seed, "held-out points")
    compared = compare_points(points, moments, *windows.project(run.coordinates))
    unit = squared(run.coordinates.unit)
    for row in compared:
        displacement, means = row.moments.mean_square_displacement, row.moments
        log.info(
            "log SNR %5.2f: E|x − y|²%s %.5f by the model, %.5f ± %.5f by dynamics; means %.4f ± %.4f apart",
            *(row.log_snr, f" in{unit}" if unit else "", displacement.model, displacement.md, displacement.md_error),
            *(means.mean_distance, means.mean_distance_error),
        )
    return compared, windows.evaluations


def measure_curve(
    run: Run, denoiser: Denoiser, training: TrainingSet, name: str, count: int, frames: int
) -> tuple[CurveComparison, int]:
    """J, energy and length of a stored geodesic by the model and by dynamics, and the evaluations spent.

    Both are of the chords between windows that are equal in arc length by the model.

    Parameters
    ----------
    run : Run
        It must have workers.
    denoiser : Denoiser
        In the laboratory's frame of reference.
    training : TrainingSet
        Frames that dynamics starts from.
    name : str
        Name of the stored geodesic.
    count, frames : int
        Number of windows, and of the frames of each replica in a window.

    Raises
    ------
    DynamicsError
        If a simulation breaks down, or noise is as large as the curve's length.
    """
    stored, coordinates = need_geodesic(run, name), run.coordinates
    y = latent_vectors(coordinates, stored.y)
    points = resample_polyline(denoiser, Points(torch.from_numpy(y), torch.from_numpy(stored.log_snr)), count)
    with torch.no_grad():
        by_model = curve_divergences(points, moments_at(denoiser, points, "calibration")).numpy()
    windows = sample_windows(run, points, training, frames, run.seed("calibration curve"), f"windows, {name}")
    noise_space = coordinates.noise_space()
    turned = (noise_space.latent(noise_space.ambient(points.y)) - points.y).norm(dim=1) > 1e-6 * points.y.norm(dim=1)
    if turned.any():
        log.warning(
            "%s: at %d of %d windows y is not superposed on the template as it lies: dynamics turns the molecule there",
            *(name, int(turned.sum()), count),
        )
    compared = compare_curve(name, points, by_model, *windows.project(coordinates), turned.numpy())
    length = compared.length
    log.info(
        "%s, %d windows: length %.3f by the model, %.3f ± %.3f by dynamics (ratio %.3f ± %.3f; halves %.3f, %.3f)",
        *(name, count, length.model, length.md, length.md_error),
        *(length.ratio, length.ratio_error, *compared.length_md_of_halves),
    )
    return compared, windows.evaluations


def _log_snr_range(run: Run, denoiser: Denoiser) -> tuple[float, float]:
    margin = run.settings.calibration.log_snr_margin
    log_snr = np.concatenate([need_geodesic(run, name).log_snr for name in geodesic_names(run)])
    low, high = denoiser.log_snr_range
    return max(low, float(log_snr.min()) - margin), min(high, float(log_snr.max()) + margin)


def _write(folder: Path, result: CalibrationResult) -> None:
    """Tables and the figure; ``calibration.json`` comes last, when all the others are there."""
    write_table(folder / layout.CALIBRATION_POINTS, [point.to_json() for point in result.points])
    write_table(folder / layout.CALIBRATION_CHORDS, [chord.to_json() for chord in result.curve.chords])
    calibration_figure(folder / layout.CALIBRATION_FIGURE, result)
    write_json(folder / layout.CALIBRATION_RESULTS, result.to_json())
