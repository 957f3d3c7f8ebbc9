"""The calibration job: a model's moments, and the length of a curve, against restrained dynamics of the molecule."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spacetime_tps.calibration.figure import calibration_figure
from spacetime_tps.calibration.statistics import SampledCurve, compare_moments, sampled_curve
from spacetime_tps.calibration.windows import sample_windows
from spacetime_tps.coordinates.base import squared
from spacetime_tps.coordinates.states import FloatArray
from spacetime_tps.denoisers import Denoiser
from spacetime_tps.denoisers.noise_space import laboratory_denoiser
from spacetime_tps.errors import DynamicsError
from spacetime_tps.processes import check_guard
from spacetime_tps.progress import log
from spacetime_tps.runs.denoiser import read_denoiser
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.read import (
    StoredGeodesic,
    TrainingSet,
    geodesic_names,
    need_geodesic,
    read_training_set,
)
from spacetime_tps.runs.requests import (
    begun_folder,
    check_options,
    working_on,
)
from spacetime_tps.spacetime import Points
from spacetime_tps.spacetime.curve import resample_polyline
from spacetime_tps.spacetime.family import curve_divergences, moments_at
from spacetime_tps.statistics.blocks import halves_score, held_out_blocks
from spacetime_tps.threads import one_thread
from spacetime_tps.writing import write_json, write_table


def calibrate(
    run: str | Path,
    *,
    points: int = 16,
    windows: int = 24,
    curve: str = "low_variance",
    frames: int = 100,
    seed: int | None = None,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    trust_scripts: bool = False,
) -> dict[str, Any]:
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
    seed : int, optional
        By default that of the run.
    workers : int, optional
        Worker processes, by default one a core. Results do not depend on it.
    resume : bool
        Go on with an interrupted one that was asked for the same.
    overwrite : bool
        Replace an earlier calibration.
    trust_scripts : bool
        Whether force-field files that are not OpenMM's may run code; never stored.

    Returns
    -------
    dict
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
    stored = need_geodesic(opened, curve)
    request = {"points": points, "windows": windows, "curve": curve, "frames": frames, "seed": opened.base_seed}
    with working_on(opened, "calibrate", request, resume, overwrite) as folder, one_thread():
        if not resume:
            with begun_folder(folder, request):
                pass
        with opened.workers(workers), opened.keeping("calibrate"):
            denoiser = laboratory_denoiser(read_denoiser(opened), opened.coordinates.noise_space())
            training = read_training_set(opened)
            point_seed, curve_seed = opened.seed("calibration points"), opened.seed("calibration curve")
            at_points, spent_at_points = compare_points(opened, denoiser, training, points, frames, point_seed)
            along, spent_on_curve = compare_curve(
                opened, denoiser, training, stored, curve, windows, frames, curve_seed
            )
            evaluations = {"points": spent_at_points, "curve": spent_on_curve}
        results = _results(opened, frames, evaluations, at_points, along)
        _write(folder, results)
        opened.finish("calibrate", started, evaluations, after=["geodesics"])
    return results


def _results(
    run: Run, frames: int, evaluations: dict[str, int], at_points: list[dict[str, float]], along: dict[str, Any]
) -> dict[str, Any]:
    return {
        "system": run.molecule.name,
        "denoiser": run.settings.denoiser.kind,
        "unit": run.coordinates.unit,
        "temperature": run.settings.samples.model_temperature,
        "seed": run.base_seed,
        "replicas": run.settings.windows.replicas,
        "frames": frames,
        "evaluations": evaluations,
        "points": at_points,
        "curve": along,
    }


def compare_points(
    run: Run,
    denoiser: Denoiser,
    training: TrainingSet,
    count: int,
    frames: int,
    seed: np.random.SeedSequence,
) -> tuple[list[dict[str, float]], int]:
    """Moments by the model and by dynamics at noised held-out frames, and the evaluations spent.

    Their log SNR go evenly from the lowest to the highest of all stored geodesics, and
    ``calibration.log_snr_margin`` beyond.
    """
    pick_seed, noise_seed, dynamics_seed = seed.spawn(3)
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
    latent, outside = windows.project(run.coordinates)
    halves = halves_score(_square_displacements(points, latent, outside))
    unit = squared(run.coordinates.unit)
    rows, in_unit = [], f" in{unit}" if unit else ""
    for index in range(count):
        row = {"log_snr": float(log_snr[index])} | compare_moments(
            moments.mean[index].numpy(),
            float(moments.variance[index]),
            y[index].numpy(),
            latent[index].reshape(-1, latent.shape[-1]),
            outside[index].ravel(),
            blocks=run.settings.windows.replicas,
        )
        row["mean_z"] = row["mean_distance"] / row["mean_distance_error"]
        misfit, by_dynamics = (row[f"mean_square_displacement_{source}"] for source in ("model", "md"))
        row["mean_square_displacement_z"] = (misfit - by_dynamics) / row["mean_square_displacement_md_error"]
        row["halves_z"] = float(halves[index])
        log.info(
            "log SNR %5.2f: E|x − y|²%s %.5f by the model, %.5f ± %.5f by dynamics; means %.4f ± %.4f apart",
            *(row["log_snr"], in_unit, misfit, by_dynamics, row["mean_square_displacement_md_error"]),
            *(row["mean_distance"], row["mean_distance_error"]),
        )
        rows.append(row)
    return rows, windows.evaluations


def compare_curve(
    run: Run,
    denoiser: Denoiser,
    training: TrainingSet,
    stored: StoredGeodesic,
    name: str,
    count: int,
    frames: int,
    seed: np.random.SeedSequence,
) -> tuple[dict[str, Any], int]:
    """J, energy and length of a stored geodesic by the model and by dynamics, and the evaluations spent.

    Both are of the chords between ``count`` windows, equal in arc length by the model.
    """
    axes = run.coordinates.decode(np.eye(denoiser.dimension)).reshape(denoiser.dimension, -1)  # orthonormal
    y = stored.y.reshape(len(stored.y), -1) @ axes.T
    points = resample_polyline(denoiser, Points(torch.from_numpy(y), torch.from_numpy(stored.log_snr)), count)
    with torch.no_grad():
        by_model = curve_divergences(points, moments_at(denoiser, points, "calibration")).numpy()
    windows = sample_windows(run, points, training, frames, seed, f"windows, {name}")
    latent, outside = windows.project(run.coordinates)
    noise_space = run.coordinates.noise_space()
    turned = (noise_space.latent(noise_space.ambient(points.y)) - points.y).norm(dim=1) > 1e-6 * points.y.norm(dim=1)
    if turned.any():
        log.warning(
            "%s: at %d of %d windows y is not superposed on the template as it lies: dynamics turns the molecule there",
            *(name, int(turned.sum()), count),
        )
    scores = halves_score(_square_displacements(points, latent, outside))
    half = frames // 2
    y_snr = (points.y.numpy(), points.snr.numpy())
    whole, *halves = (
        sampled_curve(*y_snr, latent[:, :, part], outside[:, :, part])
        for part in (slice(None), slice(half), slice(-half, None))
    )
    if whole.length <= 0:
        raise DynamicsError(f"{name}: its length by dynamics is lost in noise; take more --frames")
    results: dict[str, Any] = {
        "name": name,
        "windows": [
            {"log_snr": float(log_snr), "halves_z": float(score), "turned": bool(turns)}
            for log_snr, score, turns in zip(points.log_snr, scores, turned, strict=True)
        ],
        "chords": _chords(points, by_model, whole),
        "energy_model": 0.5 * (count - 1) * float(by_model.sum()),
        "energy_md": whole.energy,
        "energy_md_error": whole.energy_error,
        "length_model": float(np.sqrt(by_model.clip(min=0)).sum()),
        "length_md": whole.length,
        "length_md_error": whole.length_error,
        "length_md_of_halves": [part.length for part in halves],
        "negative_chords_model": int((by_model < 0).sum()),
    }
    for quantity in ("energy", "length"):
        model, dynamics, error = (results[f"{quantity}_{source}"] for source in ("model", "md", "md_error"))
        results[f"{quantity}_ratio"] = model / dynamics
        results[f"{quantity}_ratio_error"] = model * error / dynamics**2
    log.info(
        "%s, %d windows: length %.3f by the model, %.3f ± %.3f by dynamics (ratio %.3f ± %.3f; halves %.3f, %.3f)",
        *(name, count, results["length_model"], whole.length, whole.length_error),
        *(results["length_ratio"], results["length_ratio_error"], *results["length_md_of_halves"]),
    )
    return results, windows.evaluations


def _chords(points: Points, by_model: FloatArray, sampled: SampledCurve) -> list[dict[str, float]]:
    columns = (points.log_snr[:-1].numpy(), points.log_snr[1:].numpy(), by_model, sampled.divergences, sampled.errors)
    names = ("log_snr_a", "log_snr_b", "divergence_model", "divergence_md", "divergence_md_error")
    rows = [dict(zip(names, map(float, row), strict=True)) for row in zip(*columns, strict=True)]
    for row in rows:
        row["divergence_z"] = (row["divergence_model"] - row["divergence_md"]) / row["divergence_md_error"]
    return rows


def _square_displacements(points: Points, latent: FloatArray, outside: FloatArray) -> FloatArray:
    """|x − y|² of every frame, shape (points, chains, frames)."""
    return np.asarray(((latent - points.y.numpy()[:, None, None]) ** 2).sum(-1) + outside)


def _log_snr_range(run: Run, denoiser: Denoiser) -> tuple[float, float]:
    margin = run.settings.calibration.log_snr_margin
    log_snr = np.concatenate([need_geodesic(run, name).log_snr for name in geodesic_names(run)])
    low, high = denoiser.log_snr_range
    return max(low, float(log_snr.min()) - margin), min(high, float(log_snr.max()) + margin)


def _write(folder: Path, results: dict[str, Any]) -> None:
    """Files of the calibration, in place of an earlier one's."""
    write_table(folder / "points.csv", results["points"])
    write_table(folder / "chords.csv", results["curve"]["chords"])
    calibration_figure(folder / "calibration.png", results)
    write_json(folder / "calibration.json", results)
