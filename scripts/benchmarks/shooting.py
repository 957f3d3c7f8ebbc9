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
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from spacetime_tps.coordinates import TorsionCoordinates
from spacetime_tps.dynamics.annealing import RestraintSchedule
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.dynamics.workers import Engine, WorkerPool
from spacetime_tps.pipeline.annealed_paths import straight_line
from spacetime_tps.pipeline.annealing import run_paths
from spacetime_tps.pipeline.geodesics import load_geodesic
from spacetime_tps.pipeline.reactive import make_reactive
from spacetime_tps.runs.context import RunContext, make_coordinates
from spacetime_tps.runs.trajectories import write_trr
from spacetime_tps.settings.files import open_run
from spacetime_tps.settings.run import RunSettings, ShootingSettings

STRAIGHT_SNR = (2000.0, 5500.0, 15000.0)  # nm⁻²
STEERED_SNR = (50.0, 200.0)
LEARNED = 50  # shots after which the model has learned


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes
    ----------
    shots : int
        Of each seed.
    seeds : int
        Of shooting, for the same paths.
    reactive : int
        Trajectories that end a pipeline.
    counts : tuple of int
        Numbers of annealed paths that are tried along the geodesic.
    paths : int
        Of them, and of every other pipeline, in the comparison.
    repeats : int
        Of every pipeline.
    max_shots : int
        After which a pipeline is given up.
    """

    shots: int = 200
    seeds: int = 3
    reactive: int = 10
    counts: tuple[int, ...] = (1, 2, 4, 8)
    paths: int = 2
    repeats: int = 6
    max_shots: int = 200


EFFORT = Effort()


def section(output: Path, seed: int, effort: Effort = EFFORT) -> dict[str, Any]:
    """Figures of both.

    Parameters
    ----------
    output : Path
        Folder of a finished run of the main job; nothing is written into it.
    seed : int
    effort : Effort
    """
    scratch = output.with_name(f"{output.name}_shooting")
    seeds = np.random.SeedSequence([seed, *b"shooting"])
    learning_seed, pipeline_seed = seeds.spawn(2)
    return {
        "seed": seed,
        "learning": learning(output, scratch, learning_seed, effort),
        "first": pipelines(output, scratch, pipeline_seed, effort),
    }


def learning(source: Path, scratch: Path, seed: np.random.SeedSequence, effort: Effort) -> list[dict[str, Any]]:
    """A row for each seed of shooting."""
    rows = []
    for index, shooting_seed in enumerate(seed.spawn(effort.seeds)):
        with opened(source, scratch, effort.shots, effort.shots) as run:
            shutil.copytree(source / "paths", run.output / "paths")
            rows.append({"seed": index} | shoot(run, shooting_seed))
    return rows


def shoot(run: RunContext, seed: np.random.SeedSequence) -> dict[str, Any]:
    """The stage of reactive trajectories on the paths that lie in its folder."""
    report = make_reactive(dataclasses.replace(run, seed=seed))
    table = run.output / "reactive" / "shots.csv"
    reactive = []
    if table.is_file():
        with table.open(newline="") as file:
            reactive = [row["reactive_trajectory"] != "" for row in csv.DictReader(file)]
    return {
        "shots": len(reactive),
        "reactive": sum(reactive),
        "evaluations": report.evaluations["shooting"],
        "evaluations_per_reactive": report.results["shooting_evaluations_per_reactive"],
        "reactive_percent_at_first": 100 * float(np.mean(reactive[:LEARNED])) if reactive else None,
        "reactive_percent_learned": 100 * float(np.mean(reactive[LEARNED:])) if len(reactive) > LEARNED else None,
    }


def pipelines(source: Path, scratch: Path, seed: np.random.SeedSequence, effort: Effort) -> list[dict[str, Any]]:
    """A row for each pipeline, over its repeats."""
    rows = []
    with opened(source, scratch, effort.reactive, effort.max_shots) as run:
        stored = load_geodesic(source, "low_variance")
        if stored is None:
            raise SystemExit(f"{source} has no low-variance geodesic to anneal along")
        along: dict[str, tuple[RestraintSchedule, int]] = {
            f"low-variance geodesic, {count} paths": (stored.schedule, count)
            for count in sorted({*effort.counts, effort.paths})
        }
        for snr in STRAIGHT_SNR:
            along[f"straight line, SNR {snr:g} nm⁻²"] = (straight_line(run, snr), effort.paths)
        rows += [pipeline(run, name, *of, seed, effort) for name, of in along.items()]
    with opened(source, scratch, effort.reactive, effort.max_shots, torsions=True) as run:
        for snr in STEERED_SNR:
            for way in ("short way", "through φ = 0"):
                schedule = steered(run, snr, way == "short way")
                rows.append(pipeline(run, f"steered, SNR {snr:g}, {way}", schedule, effort.paths, seed, effort))
    return rows


def pipeline(
    run: RunContext, name: str, schedule: RestraintSchedule, count: int, seed: np.random.SeedSequence, effort: Effort
) -> dict[str, Any]:
    """Annealing and shooting until enough are reactive, several times from the same seeds for all pipelines."""
    totals, shots, found = [], [], []
    for index in range(effort.repeats):
        path_seed, shooting_seed = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, index)).spawn(2)
        shutil.rmtree(run.output / "paths", ignore_errors=True)
        paths = run_paths(run, schedule, count, path_seed, name)
        for number, path in enumerate(paths):
            write_trr(run.folder("paths") / f"path_{number:04d}.trr", path.positions, path.velocities, path.time)
        outcome = shoot(run, shooting_seed)
        totals.append(sum(path.evaluations for path in paths) + outcome["evaluations"])
        shots.append(outcome["shots"])
        found.append(outcome["reactive"])
    complete = [number >= effort.reactive for number in found]
    return {
        "name": name,
        "paths": count,
        "complete": sum(complete),
        "repeats": effort.repeats,
        "shots": float(np.mean(shots)),
        "reactive": float(np.mean(found)),
        "evaluations": float(np.mean(totals)),
        "evaluations_error": float(np.std(totals, ddof=1) / np.sqrt(len(totals))) if len(totals) > 1 else None,
    }


def steered(run: RunContext, snr: float, short: bool) -> RestraintSchedule:
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
def opened(source: Path, scratch: Path, reactive: int, max_shots: int, torsions: bool = False) -> Iterator[RunContext]:
    """A run with the settings of ``source`` and an empty folder; restrained in its atoms or in its dihedrals."""
    settings, _ = open_run(source)
    if not isinstance(settings, RunSettings):
        raise SystemExit(f"{source} is not the run of a molecule")
    shooting = ShootingSettings(reactive=reactive, max_shots=max_shots)
    settings = settings.model_copy(update={"shooting": shooting})
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    molecule = MolecularSystem.from_settings(settings.system)
    coordinates = make_coordinates(settings, molecule)
    if torsions:
        coordinates = TorsionCoordinates.from_topology(molecule.topology, list(molecule.variables), molecule.variables)
    with WorkerPool(Engine.for_system(molecule, coordinates.atoms)) as pool:
        yield RunContext(settings, molecule, coordinates, scratch, pool, np.random.SeedSequence(0))
    shutil.rmtree(scratch)


def print_tables(content: dict[str, Any]) -> None:
    """Both tables."""
    print("| shooting seed | shots | reactive | % of the first 50 | % after | evaluations per reactive |")
    print("|---|---|---|---|---|---|")
    for row in content["learning"]:
        print(
            f"| {row['seed']} | {row['shots']} | {row['reactive']} | {row['reactive_percent_at_first']:.0f} "
            f"| {row['reactive_percent_learned']:.0f} | {row['evaluations_per_reactive']:.0f} |"
        )
    print("\n| paths | evaluations to the first ten reactive | shots | repeats that found ten |\n|---|---|---|---|")
    for row in content["first"]:
        error = row["evaluations_error"]
        cost = f"{row['evaluations']:,.0f}" + (f" ± {error:,.0f}" if error is not None else "")
        print(f"| {row['name']} | {cost} | {row['shots']:.0f} | {row['complete']} of {row['repeats']} |")
