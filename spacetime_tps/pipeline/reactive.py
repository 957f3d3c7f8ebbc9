"""Stage 5: unbiased reactive trajectories, shot from frames of the annealed paths and then from their own."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import mdtraj
import numpy as np
from numpy.typing import NDArray

from spacetime_tps.arrays import FloatArray
from spacetime_tps.committor.model import CommittorModel, Descriptors
from spacetime_tps.coordinates.states import State, Values, state_indices
from spacetime_tps.dynamics.sampling import whole_steps
from spacetime_tps.dynamics.shooting import ReactiveTrajectory, Shot, ShotResult, lost_shot, seed_text, shoot
from spacetime_tps.errors import DynamicsError
from spacetime_tps.pipeline.stage_results import ReactiveResult
from spacetime_tps.progress import log, track
from spacetime_tps.runs.context import StageReport
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.layout import COMMITTOR_MODEL, PATH_FILES, PATHS, REACTIVE, REACTIVE_FILE, SHOTS
from spacetime_tps.runs.trajectories import read_trr, write_trr
from spacetime_tps.writing import write_json

SHOT_COLUMNS = (
    "shot",
    "source",
    "frame",
    "predicted_committor",
    "forward",
    "backward",
    "forward_ps",
    "backward_ps",
    "evaluations",
    "reactive_trajectory",
    "seed",
    "failure",
)


@dataclass
class ShootingPoints:
    """Frames between the states that can be shot from, and the outcomes that are known without a shot.

    Attributes
    ----------
    source : list of str
        File of each frame, in the output of the run.
    frame : list of int
        Its index in that file.
    positions : array, shape (frames, atoms, 3)
        nm.
    edges : array, shape (edges, atoms, 3)
        Frames on either side of the paths' crossings: the last in A, and the first in B after it.
    edges_reached_b : array, shape (edges,)
        Outcomes of these: 0 or 2 sides in B.
    free : array of int
        Frames that have not been shot from.
    """

    source: list[str]
    frame: list[int]
    positions: FloatArray
    edges: FloatArray
    edges_reached_b: FloatArray
    free: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, dtype=np.intp))

    @classmethod
    def of_paths(cls, files: Sequence[Path], states: tuple[State, State]) -> ShootingPoints:
        """Those of annealed paths, TRR files of a run.

        Raises
        ------
        DynamicsError
            If no frame of the paths lies between the states; it says how far they came.
        """
        points = cls([], [], np.empty((0, 0, 3)), np.empty((0, 0, 3)), np.empty(0))
        paths = [read_trr(file)[0] for file in files]
        indices = [state_indices(states, path) for path in paths]
        if not any((index < 0).any() for index in indices):
            raise DynamicsError(_nothing_between(files, paths, indices, states))
        edges: list[FloatArray] = []
        reached: list[float] = []
        for file, path, index in zip(files, paths, indices, strict=True):
            points.add(f"{PATHS}/{file.name}", np.flatnonzero(index < 0), path)
            in_a, in_b = np.flatnonzero(index == 0), np.flatnonzero(index == 1)
            for frames, outcome in ((in_a[-1:], 0.0), (in_b[in_b > in_a.max(initial=-1)][:1], 2.0)):
                edges += list(path[frames])
                reached += [outcome] * len(frames)
        points.edges = np.array(edges).reshape(-1, *points.positions.shape[1:])
        points.edges_reached_b = np.array(reached)
        return points

    def add(self, source: str, frames: NDArray[np.intp], positions: FloatArray) -> None:
        """Frames of one more trajectory, whose positions are (all its frames, atoms, 3)."""
        self.free = np.append(self.free, len(self.frame) + np.arange(len(frames)))
        self.source += [source] * len(frames)
        self.frame += frames.tolist()
        new = positions[frames]
        self.positions = np.concatenate([self.positions, new]) if len(self.positions) else new

    def take(self, picked: NDArray[np.intp]) -> NDArray[np.intp]:
        """The frames at these places among the free ones, which are so no longer."""
        taken = self.free[picked]
        self.free = np.delete(self.free, picked)
        return taken


def make_reactive(run: Run) -> StageReport[ReactiveResult]:
    """Shoot until enough reactive trajectories are found; write ``reactive/``."""
    settings = run.settings.shooting
    annealing = run.report("paths").evaluations["annealing"]
    files = run.files("paths", PATH_FILES)
    message, shooting = None, None
    if settings.reactive and not files:
        message = "there is no annealed path: nothing to shoot from"
    elif settings.reactive:
        try:
            shooting = Shooting(run, ShootingPoints.of_paths(files, run.molecule.states))
        except DynamicsError as error:
            message = str(error)
        else:
            shooting.until(settings.reactive, settings.max_shots)
    results = shooting.results if shooting is not None else []
    durations = shooting.durations if shooting is not None else []
    evaluations, found = sum(result.evaluations for result in results), len(durations)
    if message is not None:
        log.error(message)
    elif found < settings.reactive:
        log.warning("%d of %d reactive trajectories after %d shots", found, settings.reactive, len(results))
    else:
        log.info("%d of %d shots are reactive (%s)", found, len(results), run.molecule.name)
    report = ReactiveResult(
        shots=len(results),
        reactive=found,
        failed_shots=sum(result.failure is not None for result in results),
        undecided_shots=sum("none" in (result.forward, result.backward) for result in results),
        evaluations_per_reactive=(annealing + evaluations) / found if found else None,
        shooting_evaluations_per_reactive=evaluations / found if found else None,
        mean_duration_ps=float(np.mean(durations)) if found else None,
        message=message,
    )
    return StageReport({"shooting": evaluations}, report)


class Shooting:
    """Shots of a run, in batches; after each the committor model learns and picks the next shooting points.

    Frames of reactive trajectories are unbiased dynamics, and become shooting points themselves. No frame is shot from
    twice. The seed of a shot depends on its number alone, so results do not depend on the number of workers.

    Parameters
    ----------
    run : Run
    points : ShootingPoints
        To begin with; the frames of reactive trajectories are added.

    Attributes
    ----------
    model : CommittorModel
    results : list of ShotResult
        Of all shots so far.
    durations : list of float
        Of the reactive trajectories, ps.
    """

    def __init__(self, run: Run, points: ShootingPoints) -> None:
        settings, molecule = run.settings.shooting, run.molecule
        choice_seed, self._shot_seed = run.seed("shooting").spawn(2)
        self._rng = np.random.default_rng(choice_seed)
        self._frame_steps = whole_steps(settings.frame_interval, molecule.time_step, "shooting.frame_interval")
        self._max_frames = max(1, round(settings.time_limit / settings.frame_interval))
        self._run, self._points = run, points
        self._positions, self._reached_b = list(points.edges), points.edges_reached_b.tolist()
        self.model = CommittorModel(Descriptors.of_molecule(molecule.variables, molecule.topology), points.positions)
        self.results: list[ShotResult] = []
        self.durations: list[float] = []

    def until(self, reactive: int, max_shots: int) -> None:
        """Shoot until there are ``reactive`` trajectories, or ``max_shots`` shots, or no frame is left.

        Every shot is written to ``shots.csv`` as it comes, every reactive trajectory to a file of its own, and the
        trained model to ``committor.json``.
        """
        batch = self._run.settings.shooting.batch
        self._learn()
        self._run.made(REACTIVE)
        with self._run.path(SHOTS).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(SHOT_COLUMNS)
            while len(self.durations) < reactive and len(self.results) < max_shots and len(self._points.free):
                for row in self._shoot(min(batch, max_shots - len(self.results), len(self._points.free))):
                    writer.writerow(row)
                    file.flush()
                self._learn()
        write_json(self._run.path(COMMITTOR_MODEL), self.model.to_json())

    def _learn(self) -> None:
        if self._positions:
            self.model.fit(np.array(self._positions), np.array(self._reached_b))

    def _shoot(self, count: int) -> Iterator[list[object]]:
        """One batch: its rows of ``shots.csv``."""
        run, points = self._run, self._points
        chosen = points.take(self.model.choose(points.positions[points.free], count, self._rng))
        predicted = self.model(points.positions[chosen])
        shots = [
            Shot(
                positions=points.positions[index],
                temperature=run.molecule.temperature,
                time_step=run.molecule.time_step,
                frame_steps=self._frame_steps,
                max_frames=self._max_frames,
                seed=seed,
            )
            for index, seed in zip(chosen, self._shot_seed.spawn(count), strict=True)
        ]
        results = track(run.pool.map(shoot, shots, lost=lost_shot), "shooting", count)
        for index, shot, p, result in zip(chosen, shots, predicted, results, strict=True):
            number, name = len(self.results), ""
            if result.failure:
                log.error("shot %d from %s: %s", number, points.source[index], result.failure)
            if result.trajectory is not None:
                name = self._keep(result.trajectory)
            self.results.append(replace(result, trajectory=None))
            self._positions.append(shot.positions)
            self._reached_b.append(_sides_in_b(result))
            yield [
                number,
                points.source[index],
                points.frame[index],
                f"{p:.4f}",
                result.forward,
                result.backward,
                f"{result.forward_frames * run.settings.shooting.frame_interval:.4f}",
                f"{result.backward_frames * run.settings.shooting.frame_interval:.4f}",
                result.evaluations,
                name,
                seed_text(shot.seed),
                result.failure or "",
            ]

    def _keep(self, trajectory: ReactiveTrajectory) -> str:
        """Write a reactive trajectory, and make its frames shooting points; its file's name."""
        name = REACTIVE_FILE.format(len(self.durations))
        path = self._run.made(REACTIVE) / name
        box = self._run.molecule.box
        write_trr(path, trajectory.positions, trajectory.velocities, trajectory.time, box)
        between = np.delete(np.arange(1, len(trajectory.time) - 1), trajectory.shooting_frame - 1)
        self._points.add(f"{REACTIVE}/{name}", between, trajectory.positions)
        self.durations.append(float(trajectory.time[-1]))
        return name


def _sides_in_b(result: ShotResult) -> float:
    sides = (result.forward, result.backward)
    return float(sides.count("B")) if all(side in ("A", "B") for side in sides) else np.nan


def _nothing_between(
    files: Sequence[Path], paths: list[FloatArray], indices: list[NDArray[np.intp]], states: tuple[State, State]
) -> str:
    """Why no frame of the paths can be shot from."""
    a, b = states
    if any((index == 1).any() for index in indices):
        return (
            f"the {len(files)} paths go from {a.name} to {b.name} between two frames, and none lies between the "
            "states: take a shorter paths.frame_interval (--config) in a new run, or make the states smaller"
        )
    values = [{name: v(mdtraj.Trajectory(path, None)) for name, v in a.variables.items()} for path in paths]
    distances = [_distance(b, value) for value in values]
    best = int(np.argmin([distance.min() for distance in distances]))
    frame = int(np.argmin(distances[best]))
    at = ", ".join(f"{name} = {value[frame]:.3f}" for name, value in values[best].items())
    return (
        f"none of the {len(files)} paths ever leaves {a.name}: nearest to {b.name} comes frame {frame} of "
        f"{files[best].name} ({at}; rad or nm). Take a longer paths.length or a higher geodesics.end_snr "
        "(--config) in a new run, or see whether the samples lie between the states at all"
    )


def _distance(state: State, values: Values) -> FloatArray:
    """Distance of frames (frames,) from the nearest box of a state, in its collective variables."""
    to_boxes = []
    for box in state.boxes:
        square = np.zeros(len(next(iter(values.values()))))
        for name, bounds in box.items():
            inside = State(state.name, state.structure, ({name: bounds},), state.variables).contains(values)
            gaps = [np.abs(state.variables[name].difference(values[name], bound)) for bound in bounds]
            square += np.where(inside, 0.0, np.minimum(*gaps)) ** 2
        to_boxes.append(np.sqrt(square))
    return np.asarray(np.min(to_boxes, axis=0))
