"""The calibration job: a model's moments, and the length of a curve, against restrained dynamics of the molecule."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spacetime_tps.calibration.figure import calibration_figure
from spacetime_tps.calibration.statistics import SampledCurve, compare_moments, sampled_curve
from spacetime_tps.calibration.windows import CHAINS, sample_windows
from spacetime_tps.coordinates.base import squared
from spacetime_tps.coordinates.states import FloatArray
from spacetime_tps.denoisers import Denoiser
from spacetime_tps.denoisers.noise_space import laboratory_denoiser
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.dynamics.workers import Engine, WorkerPool
from spacetime_tps.errors import DynamicsError
from spacetime_tps.pipeline.geodesics import load_geodesic
from spacetime_tps.pipeline.samples import TrainingSet, load_training_set
from spacetime_tps.progress import log
from spacetime_tps.runs.context import RunContext, make_coordinates
from spacetime_tps.runs.denoiser import read_denoiser
from spacetime_tps.runs.requests import check_curve, check_options, check_room, open_molecule_run
from spacetime_tps.spacetime import Points
from spacetime_tps.spacetime.curve import resample_polyline
from spacetime_tps.spacetime.family import curve_divergences, moments_at
from spacetime_tps.statistics.blocks import halves_score, held_out_blocks

FOLDER = "calibration"
MARGIN = 0.5
"""How far beyond the log SNR of the stored geodesics the model is checked, at either end."""


def calibrate(
    output: str | Path,
    *,
    points: int = 16,
    windows: int = 24,
    curve: str = "low_variance",
    frames: int = 100,
    seed: int | None = None,
    workers: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Compare the model of a run with restrained dynamics, and write ``calibration/`` in its folder.

    There are ``calibration.json`` with everything, ``points.csv`` and ``chords.csv`` with a row for each spacetime
    point and each pair of neighbouring windows, and ``calibration.png``. Scripts that call this need an
    ``if __name__ == "__main__":`` guard, for it starts worker processes.

    Parameters
    ----------
    output : str or Path
        Folder of a run that has its geodesics.
    points : int
        Noised held-out frames at which moments are compared.
    windows : int
        On the curve, equal in arc length.
    curve : str
        Name of a stored geodesic.
    frames : int
        Of each of the eight trajectories at a point or in a window.
    seed : int, optional
        By default that of the run.
    workers : int, optional
        Worker processes, by default one a core. Results do not depend on it.
    overwrite : bool
        Replace an earlier calibration.

    Returns
    -------
    dict
        What ``calibration.json`` holds.

    Raises
    ------
    SpacetimeError
        If an input is wrong (before any long work), or a simulation fails.
    """
    output = Path(output)
    least = {"points": (points, 1), "windows": (windows, 2), "frames": (frames, 10), "workers": (workers, 1)}
    check_options(least | {"seed": (seed, 0)})
    settings, run_seed = open_molecule_run(output, "geodesics")
    check_curve(output, curve)
    check_room(output / FOLDER, overwrite)
    molecule = MolecularSystem.from_settings(settings.system)
    coordinates = make_coordinates(settings, molecule)
    seed = run_seed if seed is None else seed
    torch.set_num_threads(1)
    with WorkerPool(Engine.for_system(molecule, coordinates.atoms), workers) as pool:
        sequence = np.random.SeedSequence([seed, *FOLDER.encode()])
        run = RunContext(settings, molecule, coordinates, output, pool, sequence)
        known = read_denoiser(output, molecule, coordinates)
        denoiser = laboratory_denoiser(known, coordinates.noise_space())
        training = load_training_set(output)
        point_seed, curve_seed = sequence.spawn(2)
        at_points, spent_at_points = compare_points(run, denoiser, training, points, frames, point_seed)
        along, spent_on_curve = compare_curve(run, denoiser, training, curve, windows, frames, curve_seed)
    results: dict[str, Any] = {
        "system": molecule.name,
        "denoiser": settings.denoiser.kind,
        "unit": coordinates.unit,
        "temperature": settings.samples.model_temperature,
        "seed": seed,
        "chains": CHAINS,
        "frames": frames,
        "evaluations": {"points": spent_at_points, "curve": spent_on_curve},
        "points": at_points,
        "curve": along,
    }
    _write(output / FOLDER, results)
    return results


def compare_points(
    run: RunContext,
    denoiser: Denoiser,
    training: TrainingSet,
    count: int,
    frames: int,
    seed: np.random.SeedSequence,
) -> tuple[list[dict[str, float]], int]:
    """Moments by the model and by dynamics at noised held-out frames, and the evaluations spent.

    Their log SNR go evenly from the lowest to the highest of all stored geodesics, and :data:`MARGIN` beyond.
    """
    pick_seed, noise_seed, dynamics_seed = seed.spawn(3)
    held_out = np.flatnonzero(held_out_blocks(training.source, run.settings.denoiser.held_out))
    weights = training.weights[held_out]
    picked = np.random.default_rng(pick_seed).choice(held_out, count, p=weights / weights.sum())
    x = torch.from_numpy(run.coordinates.encode(training.positions[picked]))
    generator = torch.Generator().manual_seed(int(noise_seed.generate_state(1)[0]))
    log_snr = torch.linspace(*_log_snr_range(run.output, denoiser), count, dtype=torch.float64)
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
            blocks=CHAINS,
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
    run: RunContext,
    denoiser: Denoiser,
    training: TrainingSet,
    name: str,
    count: int,
    frames: int,
    seed: np.random.SeedSequence,
) -> tuple[dict[str, Any], int]:
    """J, energy and length of a stored geodesic by the model and by dynamics, and the evaluations spent.

    Both are of the chords between ``count`` windows, equal in arc length by the model.
    """
    stored = load_geodesic(run.output, name)
    assert stored is not None  # `check_curve` has seen it
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


def _log_snr_range(output: Path, denoiser: Denoiser) -> tuple[float, float]:
    stored = [load_geodesic(output, path.stem) for path in sorted((output / "geodesics").glob("*.npz"))]
    log_snr = np.concatenate([geodesic.log_snr for geodesic in stored if geodesic is not None])
    low, high = denoiser.log_snr_range
    return max(low, float(log_snr.min()) - MARGIN), min(high, float(log_snr.max()) + MARGIN)


def _write(folder: Path, results: dict[str, Any]) -> None:
    """Files of the calibration, in place of an earlier one's."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    _write_table(folder / "points.csv", results["points"])
    _write_table(folder / "chords.csv", results["curve"]["chords"])
    calibration_figure(folder / "calibration.png", results)
    (folder / "calibration.json").write_text(json.dumps(results, indent=2, allow_nan=False) + "\n")


def _write_table(path: Path, rows: Sequence[dict[str, float]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
