"""Stage 5: unbiased reactive trajectories, shot from frames of the annealed paths."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spacetime_tps.dynamics.committor import CommittorModel
from spacetime_tps.dynamics.sampling import whole_steps
from spacetime_tps.dynamics.shooting import Shot, ShotResult, shoot
from spacetime_tps.export import read_trr, write_trr
from spacetime_tps.progress import log, track
from spacetime_tps.stages.context import RunContext, StageReport
from spacetime_tps.states import FloatArray, Values, state_indices

SHOT_COLUMNS = (
    "shot",
    "path",
    "frame",
    "predicted_committor",
    "forward",
    "backward",
    "forward_ps",
    "backward_ps",
    "evaluations",
    "reactive_trajectory",
    "failure",
)


@dataclass(frozen=True)
class _Candidates:
    """Frames of the annealed paths that lie in neither state."""

    path: np.ndarray
    frame: np.ndarray
    positions: FloatArray
    values: Values


def make_reactive(run: RunContext) -> StageReport:
    """Shoot until enough reactive trajectories are found; write ``reactive/``."""
    settings, molecule = run.settings.shooting, run.molecule
    candidates = _candidates(run)
    results: list[ShotResult] = []
    if settings.reactive and not len(candidates.frame):
        log.warning("no frame of the paths lies between the states: nothing to shoot from")
    elif settings.reactive:
        results = _shoot_until_enough(run, candidates)
    found = [result.trajectory for result in results if result.trajectory is not None]
    for index, trajectory in enumerate(found):
        name = run.folder("reactive") / f"reactive_{index:04d}.trr"
        write_trr(name, trajectory.positions, trajectory.velocities, trajectory.time)
    evaluations = sum(result.evaluations for result in results)
    annealing = run.finished_evaluations("paths").get("annealing", 0)
    report = {
        "shots": len(results),
        "reactive": len(found),
        "failed_shots": sum(result.failure is not None for result in results),
        "evaluations_per_reactive": (annealing + evaluations) / len(found) if found else None,
        "shooting_evaluations_per_reactive": evaluations / len(found) if found else None,
        "mean_duration_ps": float(np.mean([t.time[-1] for t in found])) if found else None,
    }
    if len(found) < settings.reactive:
        log.warning("%d of %d reactive trajectories after %d shots", len(found), settings.reactive, len(results))
    else:
        log.info("%d of %d shots are reactive (%s)", len(found), len(results), molecule.name)
    return StageReport({"shooting": evaluations}, report)


def _shoot_until_enough(run: RunContext, candidates: _Candidates) -> list[ShotResult]:
    """Batches of shots; after each the committor model learns and picks the next shooting points near p_B = 0.5."""
    settings, molecule = run.settings.shooting, run.molecule
    choice_seed, shot_seed = run.seed.spawn(2)
    rng = np.random.default_rng(choice_seed)
    model = CommittorModel(list(molecule.variables.values()))
    frame_steps = whole_steps(settings.frame_interval, molecule.time_step, "shooting.frame_interval")
    results: list[ShotResult] = []
    chosen: list[int] = []
    rows: list[list[object]] = []
    reactive = 0
    while reactive < settings.reactive and len(results) < settings.max_shots:
        committor = model(candidates.values)
        weight = committor * (1 - committor)
        size = min(settings.batch, settings.max_shots - len(results))
        batch = rng.choice(len(weight), size=size, p=weight / weight.sum())
        shots = [
            Shot(
                positions=candidates.positions[index],
                temperature=molecule.temperature,
                time_step=molecule.time_step,
                frame_steps=frame_steps,
                max_frames=max(1, round(settings.time_limit / settings.frame_interval)),
                seed=seed,
            )
            for index, seed in zip(batch, shot_seed.spawn(size), strict=True)
        ]
        for index, result in zip(batch, track(run.pool.map(shoot, shots), "shooting", size), strict=True):
            if result.failure:
                log.error("shot %d: %s", len(results), result.failure)
            place = (candidates.path[index], candidates.frame[index], f"{committor[index]:.4f}")
            rows.append(_row(len(results), place, result, reactive, settings.frame_interval))
            reactive += result.trajectory is not None
            results.append(result)
            chosen.append(int(index))
        _write_shots(run.folder("reactive") / "shots.csv", rows)
        at = np.array(chosen)
        model.fit({name: v[at] for name, v in candidates.values.items()}, np.array([_sides_in_b(r) for r in results]))
    return results


def _sides_in_b(result: ShotResult) -> float:
    sides = (result.forward, result.backward)
    return float(sides.count("B")) if all(side in ("A", "B") for side in sides) else np.nan


def _candidates(run: RunContext) -> _Candidates:
    path, frame, positions = [], [], []
    for file in sorted((run.output / "paths").glob("path_*.trr")):
        xyz, _, _ = read_trr(file)
        between = np.flatnonzero(state_indices(run.molecule.states, xyz) < 0)
        path += [int(file.stem.split("_")[1])] * len(between)
        frame += between.tolist()
        positions.append(xyz[between])
    stacked = np.concatenate(positions) if positions else np.empty((0, run.molecule.topology.n_atoms, 3))
    values = run.molecule.collective_variables(run.molecule.trajectory(stacked))
    return _Candidates(np.array(path), np.array(frame), stacked.astype(float), values)


def _row(
    number: int, place: tuple[object, ...], result: ShotResult, reactive: int, frame_interval: float
) -> list[object]:
    return [
        number,
        *place,
        result.forward,
        result.backward,
        f"{result.forward_frames * frame_interval:.4f}",
        f"{result.backward_frames * frame_interval:.4f}",
        result.evaluations,
        f"reactive_{reactive:04d}.trr" if result.trajectory is not None else "",
        result.failure or "",
    ]


def _write_shots(path: Path, rows: list[list[object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(SHOT_COLUMNS)
        writer.writerows(rows)
