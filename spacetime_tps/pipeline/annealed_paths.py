"""Stage 4: annealed dynamics along the geodesics, and along straight lines for comparison."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spacetime_tps.dynamics.annealing import RestraintSchedule, TransitionPath
from spacetime_tps.pipeline.annealing import annealing_steps, fraction_in_region, measure_paths, run_paths, works
from spacetime_tps.pipeline.geodesics import endpoints, load_geodesic
from spacetime_tps.pipeline.schedules import TimedSchedule, make_schedule
from spacetime_tps.runs.context import RunContext, StageReport
from spacetime_tps.runs.trajectories import write_trr
from spacetime_tps.statistics.intervals import mean_sd

ENERGY_COLUMNS = (
    "path",
    "frame",
    "time_ps",
    "log_snr",
    "potential_energy_kj_per_mol",
    "restraint_energy_kj_per_mol",
    "highest_potential_energy_kj_per_mol",
)


def make_paths(run: RunContext) -> StageReport:
    """Run the paths of every geodesic and baseline; write ``paths/`` and ``paths_region_avoiding/``."""
    settings = run.settings.paths
    main_seed, avoiding_seed, unconstrained_seed, *baseline_seeds = run.seed.spawn(4 + len(settings.baseline_snr))
    friction_seeds = run.seed.spawn(2)
    results: dict[str, Any] = {"steps_per_path": annealing_steps(run), "schedule": settings.schedule}
    evaluations = {"annealing": 0, "region_avoiding": 0, "baselines": 0, "friction": 0}

    def timed(schedule: RestraintSchedule, seed: np.random.SeedSequence, name: str) -> TimedSchedule:
        made = make_schedule(run, schedule, settings.schedule, seed, name)
        evaluations["friction"] += made.evaluations
        return made

    main = load_geodesic(run.output, "low_variance")
    if main is not None:
        made = timed(main.schedule, friction_seeds[0], "low-variance")
        paths = run_paths(run, made.schedule, settings.count, main_seed, "low-variance paths")
        evaluations["annealing"] = sum(path.evaluations for path in paths)
        results["paths"] = {"count": len(paths)} | _report(run, paths) | made.report
        _store(run, paths, run.folder("paths"))

    avoiding = load_geodesic(run.output, "region_avoiding")
    if avoiding is not None and settings.count_region_avoiding:
        made = timed(avoiding.schedule, friction_seeds[1], "region-avoiding")
        paths = run_paths(run, made.schedule, settings.count_region_avoiding, avoiding_seed, "region-avoiding paths")
        evaluations["region_avoiding"] = sum(path.evaluations for path in paths)
        results["paths_region_avoiding"] = {"count": len(paths)} | _report(run, paths) | made.report
        _store(run, paths, run.folder("paths_region_avoiding"))

    schedules = {f"straight_snr_{snr:g}": straight_line(run, snr) for snr in settings.baseline_snr}
    seeds = dict(zip(schedules, baseline_seeds, strict=False))
    if main is not None:
        name = "straight_with_geodesic_snr"
        schedules[name], seeds[name] = straight_line(run, np.exp(main.log_snr)), baseline_seeds[-1]
    unconstrained = load_geodesic(run.output, "unconstrained")
    if unconstrained is not None:
        schedules["unconstrained_geodesic"], seeds["unconstrained_geodesic"] = (
            unconstrained.schedule,
            unconstrained_seed,
        )
    results["baselines"] = {}
    for name, schedule in schedules.items():
        paths = run_paths(run, schedule, settings.count, seeds[name], name.replace("_", " "))
        evaluations["baselines"] += sum(path.evaluations for path in paths)
        results["baselines"][name] = {"count": len(paths)} | _report(run, paths)
    return StageReport(evaluations, results)


def straight_line(run: RunContext, snr: float | np.ndarray) -> RestraintSchedule:
    """The straight line between the superposed structures, at one SNR or at a given one for each point."""
    a, b = (end.y.numpy()[0] for end in endpoints(run))
    log_snr = np.broadcast_to(np.log(snr), run.settings.geodesics.points).astype(float)
    share = np.linspace(0, 1, len(log_snr))[:, None]
    return RestraintSchedule(run.coordinates.decode((1 - share) * a + share * b), log_snr)


def _report(run: RunContext, paths: Sequence[TransitionPath]) -> dict[str, Any]:
    report: dict[str, Any] = measure_paths(run, paths).summary()
    report["work_kj_per_mol"] = mean_sd(works(paths))
    report["failed"] = sum(path.failure is not None for path in paths)
    region = run.finished("geodesics").get("region")
    if region is not None:
        report["fraction_in_region"] = fraction_in_region(run, region["collective_variables"], paths)
    return report


def _store(run: RunContext, paths: Sequence[TransitionPath], folder: Path) -> None:
    for index, path in enumerate(paths):
        if path.failure is not None:
            np.savez(folder / f"failed_{index:04d}.npz", positions=path.positions, velocities=path.velocities)
        if len(path.positions):
            write_trr(folder / f"path_{index:04d}.trr", path.positions, path.velocities, path.time)
    with (folder / "energies.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(ENERGY_COLUMNS)
        for index, path in enumerate(paths):
            writer.writerows([index, frame, *row] for frame, row in enumerate(_energy_rows(path)))


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
    table = np.loadtxt(folder / "energies.csv", delimiter=",", skiprows=1, ndmin=2)
    return {int(index): table[table[:, 0] == index, 2:] for index in np.unique(table[:, 0])}
