"""What reactive trajectories cost: shooting that learns, and whole pipelines from nothing to the first ten.

- learning: 200 shots from the annealed paths of a main-job run, several seeds of shooting: evaluations per reactive
  trajectory, and the share of shots that is reactive after the first 50.
- first ten: a few annealed paths, then shots until ten are reactive; every evaluation of both counts. Paths follow the
  low-variance geodesic, or straight lines of a constant stiffness, or are steered: φ and ψ held by a von Mises
  restraint that moves at constant speed, the short way round each circle or through φ = 0.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
from common import Bench, number, spread, table

from spacetime_tps.dynamics.annealing import RestraintSchedule
from spacetime_tps.errors import DynamicsError
from spacetime_tps.pipeline.annealed_paths import straight_line
from spacetime_tps.pipeline.annealing import run_paths
from spacetime_tps.pipeline.reactive import Shooting as ShootingStage
from spacetime_tps.pipeline.reactive import ShootingPoints
from spacetime_tps.progress import log
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.layout import PATH_FILES, PATHS, SHOTS
from spacetime_tps.runs.read import need_geodesic
from spacetime_tps.runs.trajectories import write_trr
from spacetime_tps.settings.run import TorsionSettings

LEARNED = 50  # shots after which the model has learned


@dataclasses.dataclass(frozen=True)
class Shots:
    """What shooting has done; shares in %, of the first ``LEARNED`` shots and of those after them."""

    shots: int
    reactive: int
    evaluations: int
    evaluations_per_reactive: float | None
    at_first: float | None
    learned: float | None


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """A pipeline over its repeats: means, and the evaluations with their standard error."""

    name: str
    paths: int
    repeats: int
    complete: int
    shots: float
    reactive: float
    evaluations: float
    evaluations_error: float | None


@dataclasses.dataclass(frozen=True)
class ShootingResult:
    """A row for each seed of shooting, and a row for each pipeline."""

    seed: int
    evaluations: int
    learning: list[Shots]
    pipelines: list[Pipeline]


@dataclasses.dataclass(frozen=True)
class Shooting:
    """Both, as :class:`Section`.

    Attributes
    ----------
    shots : int
        Number for each seed of shooting.
    seeds : int
        Number of seeds of shooting, from the same paths.
    reactive : int
        Number of trajectories that ends a pipeline.
    counts : tuple of int
        Numbers of annealed paths that are tried along the geodesic.
    paths : int
        Number of annealed paths in the comparison.
    repeats : int
        Number of times that every pipeline is run.
    max_shots : int
        Number after which a pipeline is given up.
    straight_snr, steered_snr : tuple of float
        Stiffness of straight lines (nm⁻²) and of steering.
    """

    name: ClassVar[str] = "shooting"
    cost: ClassVar[str] = "15 minutes"
    every_seed: ClassVar[bool] = True
    shots: int = 200
    seeds: int = 3
    reactive: int = 10
    counts: tuple[int, ...] = (1, 2, 4, 8)
    paths: int = 2
    repeats: int = 6
    max_shots: int = 200
    straight_snr: tuple[float, ...] = (2000.0, 5500.0, 15000.0)
    steered_snr: tuple[float, ...] = (50.0, 200.0)

    def measure(self, bench: Bench, seed: int) -> ShootingResult:
        """From the run of a seed, into which nothing is written."""
        source = Run.open(bench.main_job(seed), "geodesics", "paths", seed=1000 * (seed + 1))
        files, learning = source.files("paths", PATH_FILES), []
        with _elsewhere(source) as run:
            for _ in range(self.seeds):
                learning.append(_shoot(run, files, self.shots, self.shots))
        pipelines = list(self._pipelines(source))
        evaluations = sum(row.evaluations for row in learning)
        evaluations += round(sum(row.repeats * row.evaluations for row in pipelines))
        return ShootingResult(seed, evaluations, learning, pipelines)

    def _pipelines(self, source: Run) -> Iterator[Pipeline]:
        geodesic = need_geodesic(source, "low_variance").schedule
        with _elsewhere(source) as run:
            for count in sorted({*self.counts, self.paths}):
                yield self._pipeline(run, f"low-variance geodesic, {count} paths", geodesic, count)
            for snr in self.straight_snr:
                yield self._pipeline(run, f"straight line, SNR {snr:g} nm⁻²", straight_line(run, snr), self.paths)
        with _elsewhere(source, coordinates=TorsionSettings(dihedrals=tuple(source.molecule.variables))) as run:
            for snr in self.steered_snr:
                for way in ("short way", "through φ = 0"):
                    schedule = _steered(run, snr, way == "short way")
                    yield self._pipeline(run, f"steered, SNR {snr:g}, {way}", schedule, self.paths)

    def _pipeline(self, run: Run, name: str, schedule: RestraintSchedule, count: int) -> Pipeline:
        """Annealing and shooting until enough are reactive, several times from the same seeds for all pipelines."""
        totals, outcomes, first = [], [], run.base_seed
        for _ in range(self.repeats):
            paths = run_paths(run, schedule, count, run.seed("annealed_paths"), name)
            files = [run.made(PATHS) / f"path_{index:04d}.trr" for index in range(count)]
            for file, path in zip(files, paths, strict=True):
                write_trr(file, path.positions, path.velocities, path.time)
            outcomes.append(_shoot(run, files, self.reactive, self.max_shots))
            totals.append(sum(path.evaluations for path in paths) + outcomes[-1].evaluations)
        run.base_seed = first
        deviation = spread(totals)
        return Pipeline(
            name,
            count,
            self.repeats,
            sum(outcome.reactive >= self.reactive for outcome in outcomes),
            float(np.mean([outcome.shots for outcome in outcomes])),
            float(np.mean([outcome.reactive for outcome in outcomes])),
            float(np.mean(totals)),
            None if deviation is None else deviation / len(totals) ** 0.5,
        )

    def tables(self, results: Sequence[ShootingResult]) -> list[str]:
        """A line for each seed of shooting, and a line for each pipeline with a column for each run."""
        columns = ("run", "shooting", "shots", "reactive", "% of the first 50", "% after", "evaluations per reactive")
        learning = [
            [
                *(result.seed, index, row.shots, row.reactive, number(row.at_first), number(row.learned)),
                number(row.evaluations_per_reactive),
            ]
            for result in results
            for index, row in enumerate(result.learning)
        ]
        named = ["paths", *(f"evaluations to the first reactive, seed {result.seed}" for result in results)]
        rows = []
        for same in zip(*(result.pipelines for result in results), strict=True):
            cells = [
                f"{number(row.evaluations, 0, row.evaluations_error)} ({row.complete} of {row.repeats})" for row in same
            ]
            rows.append([same[0].name, *cells])
        return [table(columns, learning), table(named, rows)]


def _shoot(run: Run, files: Sequence[Path], wanted: int, most: int) -> Shots:
    """Shots from the frames of paths; the run has another seed after them."""
    try:
        stage = ShootingStage(run, ShootingPoints.of_paths(files, run.molecule.states))
        stage.until(wanted, most)
    except DynamicsError as error:  # no frame between the states
        log.error("%s", error)
        return Shots(0, 0, 0, None, None, None)
    finally:
        run.base_seed += 1
    with run.path(SHOTS).open(newline="") as file:
        reactive = [row["reactive_trajectory"] != "" for row in csv.DictReader(file)]
    evaluations, found = sum(result.evaluations for result in stage.results), sum(reactive)
    return Shots(
        len(reactive),
        found,
        evaluations,
        evaluations / found if found else None,
        100 * float(np.mean(reactive[:LEARNED])) if reactive else None,
        100 * float(np.mean(reactive[LEARNED:])) if len(reactive) > LEARNED else None,
    )


def _steered(run: Run, snr: float, short: bool) -> RestraintSchedule:
    """φ and ψ from A's structure to B's at constant speed, each the short way round or φ through zero."""
    ends = np.stack([run.molecule.structures[state.structure] for state in run.molecule.states])
    angles = []
    for name, variable in run.molecule.variables.items():
        first, last = variable(run.molecule.trajectory(ends))
        turn = variable.difference(np.array([last]), first)[0] if short or name != "phi" else last - first
        angles.append(np.linspace(first, first + turn, run.settings.geodesics.points))
    both = np.stack(angles, axis=1)
    return RestraintSchedule(np.stack([np.cos(both), np.sin(both)], axis=-1), np.full(len(both), np.log(snr)))


@contextmanager
def _elsewhere(source: Run, **settings: Any) -> Iterator[Run]:
    """A run with workers in a folder that is removed in the end, with some settings other than those of ``source``."""
    with TemporaryDirectory() as folder:
        run = Run(Path(folder), source.settings.model_copy(update=settings), source.base_seed)
        with run.workers():
            yield run
