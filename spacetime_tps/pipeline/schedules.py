"""How the time of an annealed path is allotted along its curve: ``paths.schedule``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from spacetime_tps.dynamics.annealing import RestraintSchedule
from spacetime_tps.dynamics.friction import FrictionTask, allot, friction, restraint_forces, uniform
from spacetime_tps.pipeline.stage_results import WindowFriction
from spacetime_tps.progress import track
from spacetime_tps.runs.folder import Run

Kind = Literal["uniform", "arc_length", "friction"]


@dataclass(frozen=True)
class TimedSchedule:
    """A schedule, and what it took to make.

    Attributes
    ----------
    schedule : RestraintSchedule
    evaluations : int
        Of force and energy, by windows.
    friction : list of WindowFriction, optional
        None if none was measured.
    """

    schedule: RestraintSchedule
    evaluations: int = 0
    friction: list[WindowFriction] | None = None


def make_schedule(
    run: Run, schedule: RestraintSchedule, kind: Kind, seed: np.random.SeedSequence, name: str
) -> TimedSchedule:
    """A curve with the time allotted along it by one of three rules.

    ``arc_length`` leaves the points at equal times, at constant Fisher-Rao speed if the solver made them; ``uniform``
    moves the restraint at constant speed; ``friction`` allots half of the time so as to dissipate least, to linear
    response, by windows of restrained dynamics at the temperature of the paths, and leaves the other half as it is. So
    it dissipates no more than twice as much as either would alone, also where the estimated friction is wrong.

    Parameters
    ----------
    run : Run
    schedule : RestraintSchedule
        From A's structure to B's, superposed as the run's coordinates are.
    kind : str
    seed : SeedSequence
    name : str
        On the progress bar.

    Raises
    ------
    DynamicsError
        If a window's simulation breaks down.
    """
    if kind == "arc_length":
        return TimedSchedule(schedule)
    if kind == "uniform":
        return TimedSchedule(uniform(schedule))
    paths = run.settings.paths
    places = (np.arange(paths.friction.windows) + 0.5) / paths.friction.windows
    tasks = friction_tasks(run, schedule, places, seed)
    forces = np.array(list(track(run.pool.map(restraint_forces, tasks), f"friction, {name}", len(tasks))))
    forces[1::2] = forces[1::2, ::-1]  # those from B back to A
    interval = tasks[0].frame_steps * run.molecule.time_step
    values, errors = friction(forces, interval, paths.friction.memory * paths.length)
    least = allot(schedule, places, smooth(values))
    timed = replace(schedule, progress=0.5 * (schedule.progress + least.progress))
    times = np.interp(places, schedule.progress, timed.progress)
    rows = [WindowFriction(*map(float, row)) for row in zip(places, values, errors, times, strict=True)]
    return TimedSchedule(timed, sum(task.evaluations for task in tasks), rows)


def friction_tasks(
    run: Run, schedule: RestraintSchedule, places: np.ndarray, seed: np.random.SeedSequence
) -> list[FrictionTask]:
    """Sweeps through windows along a curve, in turn from A's structure and from B's."""
    settings, step = run.settings.paths.friction, run.molecule.time_step
    frame_steps = max(1, round(settings.frame_interval / step))
    return [
        FrictionTask(
            positions=run.structure(index % 2),
            schedule=schedule,
            places=places[::-1] if index % 2 else places,
            width=1 / len(places),
            equilibration_steps=round(settings.equilibration / step),
            frame_steps=frame_steps,
            frames=max(2, round(settings.length / (frame_steps * step))),
            temperature=run.molecule.temperature,
            seed=sweep_seed,
        )
        for index, sweep_seed in enumerate(seed.spawn(settings.sweeps))
    ]


def smooth(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Friction whose square root is averaged with its neighbours' by weights 1, 2, 1: single windows are noisy."""
    roots = np.pad(np.sqrt(np.maximum(values, 0.0)), 1, mode="edge")
    return np.asarray((0.25 * roots[:-2] + 0.5 * roots[1:-1] + 0.25 * roots[2:]) ** 2)
