"""Frames of a free-energy job: sweeps through a series, each kept when it is complete, and a run's replica exchange."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spacetime_tps.arrays import FloatArray
from spacetime_tps.coordinates.states import state_indices
from spacetime_tps.dynamics.annealing import RestraintSchedule
from spacetime_tps.errors import OutputError, TrajectoryError
from spacetime_tps.free_energy.core import Ladder
from spacetime_tps.free_energy.series import Series, frame_intervals, frictions
from spacetime_tps.free_energy.sweeps import SweepTask, read_sweep, sample_sweep, write_sweep
from spacetime_tps.pipeline.annealing import run_paths, works
from spacetime_tps.progress import track
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.hdf5 import read_hdf5, read_hdf5_energies
from spacetime_tps.runs.journal import Journal
from spacetime_tps.runs.layout import REPLICAS, SWEEP_FILE, SWEEPS_JOURNAL
from spacetime_tps.runs.reports import FileDigest
from spacetime_tps.settings.samples import ReplicaExchangeSettings
from spacetime_tps.settings.units import MOLAR_GAS_CONSTANT


@dataclass(frozen=True)
class SeriesFrames:
    """Frames of every ensemble of a series.

    Attributes
    ----------
    positions : array, shape (sweeps, ensembles, frames, atoms, 3)
        nm.
    evaluations : int
    """

    positions: FloatArray
    evaluations: int


def sample_series(
    run: Run, series: Series, frames: int, seed: np.random.SeedSequence, name: str, folder: Path
) -> SeriesFrames:
    """Dynamics in all ensembles at the run's own temperature, by sweeps from A to B and from B to A.

    Each sweep is written to ``folder`` when it is complete, and one that is there is not run again.

    Raises
    ------
    OutputError
        If the file of a sweep is damaged.
    DynamicsError
        If a simulation breaks down.
    """
    settings = run.settings.free_energy
    damping = frictions(series, settings.friction, run.molecule.friction)
    intervals = np.maximum(1, np.round(frame_intervals(series, settings) / run.molecule.time_step)).astype(int)
    tasks = [
        SweepTask(
            positions=run.structure(index % 2),
            centres=series.centres[::direction],
            log_snr=series.log_snr[::direction],
            superpose=run.coordinates.superpose,
            temperature=run.molecule.temperature,
            frictions=damping[::direction].tolist(),
            equilibration_steps=(settings.equilibration * intervals[::direction]).tolist(),
            frame_steps=intervals[::direction].tolist(),
            frames=frames,
            seed=sweep_seed,
        )
        for index, sweep_seed in enumerate(seed.spawn(settings.sweeps))
        for direction in (-1 if index % 2 else 1,)
    ]
    files = [folder / SWEEP_FILE.format(index) for index in range(settings.sweeps)]
    shape = (len(intervals), frames, *tasks[0].positions.shape)
    journal = Journal.read(folder / SWEEPS_JOURNAL)
    sweeps = {}
    for index, digest in journal.rows(_sweep_and_digest):
        file = files[index]
        if not file.is_file():
            continue
        if FileDigest.of(file) != digest:
            raise OutputError(f"{file} is not as it was written: remove it, and --resume makes it again")
        sweeps[index] = read_sweep(file, shape)
    left = [index for index in range(settings.sweeps) if index not in sweeps]
    sampled = run.pool.map(sample_sweep, [tasks[index] for index in left])
    with journal.appending() as appender:
        for index, sweep in zip(left, track(sampled, name, len(left)), strict=True):
            write_sweep(files[index], sweep)
            appender.add({"sweep": index, "file": asdict(FileDigest.of(files[index]))})
            sweeps[index] = sweep
    positions = np.array([sweeps[index] for index in range(settings.sweeps)])
    positions[1::2] = positions[1::2, ::-1]
    return SeriesFrames(positions, sum(task.evaluations for task in tasks))


def _sweep_and_digest(record: Mapping[str, Any]) -> tuple[int, FileDigest]:
    return int(record["sweep"]), FileDigest(**record["file"])


@dataclass(frozen=True)
class Works:
    """Work done on the molecule along annealed paths there and back.

    Attributes
    ----------
    there, back : array, shape (paths,)
        kJ/mol; paths that failed are left out.
    evaluations : int
    """

    there: FloatArray
    back: FloatArray
    evaluations: int


def anneal_both_ways(
    run: Run,
    schedule: RestraintSchedule,
    starts: tuple[list[FloatArray], list[FloatArray]],
    count: int,
    seed: np.random.SeedSequence,
) -> Works:
    """Anneal along a curve from its two ends.

    Parameters
    ----------
    run : Run
    schedule : RestraintSchedule
    starts : (list of array, list of array)
        Equilibrium positions (atoms, 3) under the restraint at the curve's two ends.
    count : int
        Number of paths each way.
    seed : SeedSequence
    """
    there_seed, back_seed = seed.spawn(2)
    there = run_paths(run, schedule, count, there_seed, "annealing there", starts=starts[0])
    back = run_paths(run, schedule.reversed(), count, back_seed, "annealing back", starts=starts[1])
    return Works(works(there), works(back), sum(path.evaluations for path in (*there, *back)))


def read_ladder(run: Run) -> Ladder | None:
    """The run's replica exchange after what its settings discard; None if its samples are of another kind.

    Raises
    ------
    TrajectoryError
        If a file has no potential energies.
    """
    settings = run.settings.samples
    paths = run.files("samples", REPLICAS)
    if not isinstance(settings, ReplicaExchangeSettings) or len(paths) != len(settings.temperatures):
        return None
    states, energies = [], []
    for path in paths:
        trajectory, energy = read_hdf5(path), read_hdf5_energies(path)
        if energy is None:
            raise TrajectoryError(f"{path} has no potential energies; run the samples again")
        keep = trajectory.time > settings.discard
        states.append(state_indices(run.molecule.states, trajectory.xyz[keep].astype(float)))
        energies.append(energy[keep])
    return Ladder([MOLAR_GAS_CONSTANT * temperature for temperature in settings.temperatures], states, energies)
