"""Annealed paths of a run: how they are started and judged, wherever a stage needs some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from spacetime_tps.arrays import FloatArray
from spacetime_tps.dynamics.annealing import AnnealingTask, RestraintSchedule, TransitionPath, anneal
from spacetime_tps.dynamics.molecular_graph import MolecularGraph
from spacetime_tps.dynamics.sampling import whole_steps
from spacetime_tps.pipeline.metrics import PathMetrics, path_metrics
from spacetime_tps.progress import log, track
from spacetime_tps.runs.folder import Run


def run_paths(
    run: Run,
    schedule: RestraintSchedule,
    count: int,
    seed: np.random.SeedSequence,
    name: str,
    *,
    starts: Sequence[FloatArray] = (),
    equilibration_steps: int = 0,
) -> list[TransitionPath]:
    """Independent annealed paths along a schedule with fresh velocities; failures are logged.

    Parameters
    ----------
    run : Run
    schedule : RestraintSchedule
    count : int
    seed : SeedSequence
    name : str
        In messages and on the progress bar.
    starts : sequence of array, shape (atoms, 3)
        Positions that the paths start from in turn, superposed as the schedule is; by default A's structure.
    equilibration_steps : int
        Under the restraint at the schedule's first point.
    """
    molecule = run.molecule
    starts = starts or [run.structure(0)]
    tasks = [
        AnnealingTask(
            name=f"{name}, path {index}",
            schedule=schedule,
            positions=starts[index % len(starts)],
            steps=annealing_steps(run),
            frame_steps=whole_steps(run.settings.paths.frame_interval, molecule.time_step, "paths.frame_interval"),
            temperature=molecule.temperature,
            time_step=molecule.time_step,
            seed=path_seed,
            equilibration_steps=equilibration_steps,
        )
        for index, path_seed in enumerate(seed.spawn(count))
    ]
    paths = list(track(run.pool.map(anneal, tasks), name, count))
    for path in paths:
        if path.failure:
            log.error(path.failure)
    return paths


def annealing_steps(run: Run) -> int:
    """Steps of each path."""
    return whole_steps(run.settings.paths.length, run.molecule.time_step, "paths.length")


def measure_paths(run: Run, paths: Sequence[TransitionPath]) -> PathMetrics:
    """RMSD, target hits and highest energies of paths, with the target that the settings name."""
    target = run.settings.system.target
    variables = [run.molecule.variables[name] for name in target.collective_variables]
    unit = run.settings.system.collective_variables[variables[0].name].unit
    return path_metrics(paths, run.molecule, compared_atoms(run), variables, unit.parse(target.tolerance))


def compared_atoms(run: Run) -> list[int]:
    """Heavy atoms that paths are compared by: those of the model, or of the molecules whose dihedrals it sees.

    Solvent is not among them, for its molecules have no places of their own.
    """
    topology, positioned = run.molecule.topology, run.coordinates.positioned
    seen = list(positioned or ())
    if positioned is None:
        graph, dihedrals = MolecularGraph.of(topology), np.unique(np.array(run.coordinates.atoms))
        seen = [atom for molecule in graph.molecules() if np.isin(molecule, dihedrals).any() for atom in molecule]
    heavy = [atom for atom in sorted(seen) if topology.atom(int(atom)).element.symbol != "H"]
    return heavy or seen


def works(paths: Sequence[TransitionPath]) -> FloatArray:
    """Work in kJ/mol done on the molecule along every path that did not fail."""
    return np.array([path.work[-1] for path in paths if path.failure is None])


def fraction_in_region(run: Run, centre: Mapping[str, float], paths: Sequence[TransitionPath]) -> float:
    """Fraction of the paths' frames within the avoided region's radius of its centre.

    Parameters
    ----------
    run : Run
        Its settings must have a region.
    centre : mapping of str to float
        Collective variables of the centre.
    paths : sequence of TransitionPath
    """
    region = run.settings.geodesics.region
    assert region is not None
    radius = run.settings.system.collective_variables[region.plane[0]].unit.parse(region.radius)
    frames = run.molecule.trajectory(np.concatenate([path.positions for path in paths]))
    square = np.zeros(len(frames))
    for name in region.plane:
        variable = run.molecule.variables[name]
        square = square + variable.difference(variable(frames), centre[name]) ** 2
    return float(np.mean(np.sqrt(square) < radius)) if len(frames) else 0.0
