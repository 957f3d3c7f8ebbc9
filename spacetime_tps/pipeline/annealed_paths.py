"""Stage 4: annealed dynamics along the geodesics, and along straight lines for comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from spacetime_tps.arrays import FloatArray
from spacetime_tps.coordinates.base import latent_vectors
from spacetime_tps.dynamics.annealing import RestraintSchedule, TransitionPath
from spacetime_tps.dynamics.springs import set_springs
from spacetime_tps.pipeline.annealing import annealing_steps, fraction_in_region, measure_paths, run_paths, works
from spacetime_tps.pipeline.geodesics import endpoints
from spacetime_tps.pipeline.schedules import TimedSchedule, make_schedule
from spacetime_tps.pipeline.stage_results import GeodesicsResult, PathFigures, PathsResult, WindowFriction
from spacetime_tps.progress import log
from spacetime_tps.runs.context import StageReport
from spacetime_tps.runs.denoiser import read_denoiser
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.layout import ENERGIES, FAILED_PATH_FILE, PATH_FILE, PATHS, REGION_AVOIDING_PATHS
from spacetime_tps.runs.read import StoredGeodesic, read_geodesic
from spacetime_tps.runs.trajectories import write_trr
from spacetime_tps.spacetime import solve_string
from spacetime_tps.statistics.intervals import mean_sd
from spacetime_tps.writing import replacing, write_table

ENERGY_COLUMNS = (
    "path",
    "frame",
    "time_ps",
    "log_snr",
    "potential_energy_kj_per_mol",
    "restraint_energy_kj_per_mol",
    "highest_potential_energy_kj_per_mol",
)


def make_paths(run: Run) -> StageReport[PathsResult]:
    """Run the paths of every geodesic and baseline; write ``paths/`` and ``paths_region_avoiding/``."""
    settings = run.settings.paths
    evaluations = {"annealing": 0, "region_avoiding": 0, "baselines": 0, "friction": 0}

    def timed(schedule: RestraintSchedule, name: str) -> TimedSchedule:
        made = make_schedule(run, schedule, settings.schedule, run.seed(f"friction {name}"), name)
        evaluations["friction"] += made.evaluations
        return made

    main, main_figures = read_geodesic(run, "low_variance"), None
    if main is not None:
        made = timed(restraints(run, main), "low-variance")
        paths = run_paths(run, made.schedule, settings.count, run.seed("annealed_paths"), "low-variance paths")
        evaluations["annealing"] = sum(path.evaluations for path in paths)
        main_figures = _figures(run, paths, made.friction)
        _store(run, paths, run.made(PATHS))

    avoiding, avoiding_figures = read_geodesic(run, "region_avoiding"), None
    if avoiding is not None and settings.count_region_avoiding:
        made = timed(restraints(run, avoiding), "region-avoiding")
        seed = run.seed("region_avoiding_paths")
        paths = run_paths(run, made.schedule, settings.count_region_avoiding, seed, "region-avoiding paths")
        evaluations["region_avoiding"] = sum(path.evaluations for path in paths)
        avoiding_figures = _figures(run, paths, made.friction)
        _store(run, paths, run.made(REGION_AVOIDING_PATHS))

    schedules = {f"straight_snr_{snr:g}": straight_line(run, snr) for snr in settings.baseline_snr}
    if main is not None:
        schedules["straight_with_geodesic_snr"] = straight_line(run, np.exp(restraints(run, main).log_snr))
        end_snr = run.settings.geodesics.end_snr
        schedules[f"string_snr_{end_snr:g}"] = string(run, main.mean, end_snr)
    unconstrained = read_geodesic(run, "unconstrained")
    if unconstrained is not None:
        schedules["unconstrained_geodesic"] = restraints(run, unconstrained)
    baselines = {}
    for name, schedule in schedules.items():
        paths = run_paths(run, schedule, settings.count, run.seed(f"baseline {name}"), name.replace("_", " "))
        evaluations["baselines"] += sum(path.evaluations for path in paths)
        baselines[name] = _figures(run, paths)
    return StageReport(
        evaluations,
        PathsResult(
            annealing_steps(run),
            settings.schedule,
            baselines,
            main_figures,
            avoiding_figures,
            settings.spring_temperature,
            settings.narrowing,
        ),
    )


def restraints(run: Run, geodesic: StoredGeodesic) -> RestraintSchedule:
    """A geodesic with the springs that the settings ask for."""
    settings, temperature = run.settings.paths, run.molecule.temperature
    spring = run.settings.samples.model_temperature if settings.spring_temperature == "model" else temperature
    return set_springs(
        run.coordinates, geodesic.schedule, geodesic.mean, spring, temperature, narrowing=settings.narrowing
    )


def straight_line(run: Run, snr: float | np.ndarray) -> RestraintSchedule:
    """The straight line between the superposed structures, at one SNR or at a given one for each point."""
    a, b = (end.y.numpy()[0] for end in endpoints(run))
    log_snr = np.broadcast_to(np.log(snr), run.settings.geodesics.points).astype(float)
    share = np.linspace(0, 1, len(log_snr))[:, None]
    return RestraintSchedule(run.coordinates.decode((1 - share) * a + share * b), log_snr)


def string(run: Run, start: FloatArray, snr: float) -> RestraintSchedule:
    """The minimum free-energy path of the model at one SNR, found from the means along a geodesic."""
    a, b = (end.y.numpy() for end in endpoints(run))
    first = np.concatenate([a, latent_vectors(run.coordinates, start)[1:-1], b])
    points, converged = solve_string(
        read_denoiser(run), torch.from_numpy(first), float(np.log(snr)), points=run.settings.geodesics.points
    )
    if not converged:
        log.warning("the string at SNR %g has not converged; its paths are not those of a minimum", snr)
    centres = run.coordinates.decode(points.y.numpy())
    return RestraintSchedule(*run.coordinates.canonical(centres, points.log_snr.numpy()))


def _figures(run: Run, paths: Sequence[TransitionPath], friction: list[WindowFriction] | None = None) -> PathFigures:
    metrics = measure_paths(run, paths).summary()
    region = run.results("geodesics", GeodesicsResult).region
    return PathFigures(
        count=len(paths),
        failed=sum(path.failure is not None for path in paths),
        target_hit_percentage=metrics.target_hit_percentage,
        rmsd_angstrom=metrics.rmsd_angstrom,
        ets_kj_per_mol=metrics.ets_kj_per_mol,
        work_kj_per_mol=mean_sd(works(paths)),
        fraction_in_region=None if region is None else fraction_in_region(run, region.collective_variables, paths),
        friction=friction,
    )


def _store(run: Run, paths: Sequence[TransitionPath], folder: Path) -> None:
    for index, path in enumerate(paths):
        if path.failure is not None:
            with replacing(folder / FAILED_PATH_FILE.format(index)) as partial:
                np.savez(partial, positions=path.positions, velocities=path.velocities)
        if len(path.positions):
            file = folder / PATH_FILE.format(index)
            write_trr(file, path.positions, path.velocities, path.time, run.molecule.box)
    rows = [
        dict(zip(ENERGY_COLUMNS, (index, frame, *row), strict=True))
        for index, path in enumerate(paths)
        for frame, row in enumerate(_energy_rows(path))
    ]
    write_table(folder / ENERGIES, rows, ENERGY_COLUMNS)


def _energy_rows(path: TransitionPath) -> Iterator[list[str]]:
    columns = (
        path.time,
        path.log_snr,
        path.potential_energy,
        path.restraint_energy,
        path.highest_potential_energy,
    )
    for row in zip(*columns, strict=True):
        yield [f"{value:.6f}" for value in row]


def load_energies(folder: Path) -> dict[int, np.ndarray]:
    """Rows of ``energies.csv`` by path: arrays (frames, columns) of the columns from ``time_ps`` on."""
    table = np.loadtxt(folder / ENERGIES, delimiter=",", skiprows=1, ndmin=2)
    return {int(index): table[table[:, 0] == index, 2:] for index in np.unique(table[:, 0])}
