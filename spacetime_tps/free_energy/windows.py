"""Windows from free A along a curve to free B, annealing there and back, and the free energies of both."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from spacetime_tps.coordinates.states import FloatArray, state_indices
from spacetime_tps.dynamics.annealing import RestraintSchedule
from spacetime_tps.errors import DynamicsError, OutputError, TrajectoryError
from spacetime_tps.free_energy.estimates import (
    OUTSIDE,
    bootstrap,
    check_overlap,
    difference_of_states,
    profile,
)
from spacetime_tps.free_energy.sweeps import SweepTask, read_sweep, sample_sweep, write_sweep
from spacetime_tps.pipeline.annealing import run_paths, works
from spacetime_tps.progress import log, track
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.hdf5 import read_hdf5, read_hdf5_energies
from spacetime_tps.runs.journal import Journal
from spacetime_tps.runs.layout import REPLICAS
from spacetime_tps.runs.reports import FileDigest
from spacetime_tps.settings.run import ReplicaExchangeSettings
from spacetime_tps.settings.units import MOLAR_GAS_CONSTANT
from spacetime_tps.settings.windows import FreeEnergySettings
from spacetime_tps.statistics.blocks import BLOCKS, block_numbers
from spacetime_tps.statistics.correlation import uncorrelated
from spacetime_tps.statistics.mbar import Sampled, bar, ladder_weights, mbar

JOURNAL = "sweeps.jsonl"
_DRAWS = 200


@dataclass(frozen=True)
class Series:
    """Ensembles from the free state A, by restraints that stiffen, along a curve, to B and free again.

    Attributes
    ----------
    centres : array, shape (ensembles, atoms, 3) or (ensembles, dihedrals, 2)
    log_snr : array, shape (ensembles,)
        −∞ for the first and the last if these are the free states.
    curve : slice
        The windows on the curve, its ends among them.
    progress : array, shape (windows,)
        Where these are on the curve.
    """

    centres: FloatArray
    log_snr: FloatArray
    curve: slice
    progress: FloatArray

    @property
    def windows(self) -> Series:
        """Those on the curve alone."""
        alone = slice(0, len(self.progress))
        return Series(self.centres[self.curve], self.log_snr[self.curve], alone, self.progress)

    @property
    def names(self) -> list[str]:
        """Of the ensembles, for messages."""
        return [
            f"window {index} (log SNR {log_snr:.2f})" if np.isfinite(log_snr) else f"state {'B' if index else 'A'}"
            for index, log_snr in enumerate(self.log_snr)
        ]


def stiffened(run: Run, schedule: RestraintSchedule) -> RestraintSchedule:
    """A curve with the spring constants kT·SNR that it has at the model's temperature, for dynamics at the run's own.

    Then molecule and restraint have the same energy together as in the model's distributions and are only colder: where
    these have one maximum so have the windows, and none of them must cross a barrier to come to equilibrium.
    """
    ratio = run.settings.samples.model_temperature / run.molecule.temperature
    return replace(schedule, log_snr=schedule.log_snr + np.log(max(1.0, ratio)))


def make_series(schedule: RestraintSchedule, windows: int, settings: FreeEnergySettings) -> Series:
    """Windows at equal steps of a schedule's time, and ramps from its ends to the free states.

    The weakest restraint of a ramp still keeps the molecule at its end: windows below would have to be in both states.
    """
    progress = np.linspace(0, 1, windows)
    points = [schedule.at(float(at)) for at in progress]
    weakest = np.log(2 * settings.selectivity / ((schedule.centres[0] - schedule.centres[-1]) ** 2).sum())
    ramps = []
    for _, end in (points[0], points[-1]):
        steps = max(1, int(np.ceil((end - weakest) / settings.ramp)))
        ramps.append(np.linspace(min(weakest, end - settings.ramp), end, steps + 1)[:-1])
    before, after = ramps[0], ramps[1][::-1]
    centres = [points[0][0]] * (1 + len(before)) + [y for y, _ in points] + [points[-1][0]] * (1 + len(after))
    log_snr = np.concatenate([[-np.inf], before, [value for _, value in points], after, [-np.inf]])
    first = 1 + len(before)
    return Series(np.array(centres), log_snr, slice(first, first + windows), progress)


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


def frame_intervals(series: Series, settings: FreeEnergySettings) -> FloatArray:
    """Time between frames of each ensemble (ensembles,) in ps: on ramps as springs relax, up to a limit."""
    ends = series.log_snr[[series.curve.start, series.curve.stop - 1]]
    intervals = np.full(len(series.log_snr), settings.frame_interval)
    for ramp, end in ((slice(None, series.curve.start), ends[0]), (slice(series.curve.stop, None), ends[1])):
        relaxed = settings.frame_interval * np.exp(end - series.log_snr[ramp])
        intervals[ramp] = np.minimum(settings.weak_frame_interval, relaxed)
    return np.where(np.isfinite(series.log_snr), intervals, settings.free_frame_interval)


def frictions(series: Series, median: float, own: float) -> FloatArray:
    """Friction (ensembles,) in 1/ps: ``median`` in the curve's median window, and ``own`` without a restraint.

    Between it goes as the restraint's frequency.

    A stiff restraint makes oscillators that exchange little energy with anything but the thermostat: at a friction far
    below their frequency their energies, which MBAR needs, stay correlated for the inverse of the friction.
    """
    frequency = np.exp(0.5 * (series.log_snr - np.median(series.log_snr[series.curve])))
    return np.where(np.isfinite(series.log_snr), median * frequency, own)


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
    files = [folder / f"sweep_{index}.npy" for index in range(settings.sweeps)]
    shape = (len(intervals), frames, *tasks[0].positions.shape)
    journal = Journal.read(folder / JOURNAL)
    sweeps = {}
    for record in journal.records:
        file, digest = files[record["sweep"]], FileDigest(**record["file"])
        if not file.is_file():
            continue
        if FileDigest.of(file) != digest:
            raise OutputError(f"{file} is not as it was written: remove it, and --resume makes it again")
        sweeps[record["sweep"]] = read_sweep(file, shape)
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


def reduced(run: Run, series: Series, frames: SeriesFrames) -> tuple[Sampled, np.ndarray, FloatArray]:
    """Uncorrelated frames with their reduced energies, the window on the curve that each is nearest to, inefficiencies.

    Nearest is the window whose own frames' mean is. Frames of the free ensembles that are outside of their state are
    not of the ensemble: they are left out.

    Raises
    ------
    DynamicsError
        If hardly any frame of a free ensemble is in its state.
    """
    sweeps, ensembles, count = frames.positions.shape[:3]
    flat = frames.positions.reshape(-1, *frames.positions.shape[3:])
    sweep, ensemble, _ = (index.ravel() for index in np.indices((sweeps, ensembles, count)))
    states = state_indices(run.molecule.states, flat)
    keep = np.ones(len(flat), dtype=bool)
    bias = run.coordinates.restraint_energies(flat, series.centres, series.log_snr)
    for state, place in ((0, 0), (1, ensembles - 1)):
        if np.isfinite(series.log_snr[place]):
            continue  # a series of windows alone
        here = ensemble == place
        keep &= ~here | (states == state)
        bias[place] = np.where(states == state, 0.0, OUTSIDE)
        share = float((states[here] == state).mean())
        log.info("free dynamics of %s: %.0f %% of frames in it", run.molecule.states[state].name, 100 * share)
        if share < 0.05:
            raise DynamicsError(
                f"free energy: only {100 * share:.1f} % of the frames of free dynamics that should be in state "
                f"{run.molecule.states[state].name} are: its boxes do not hold its basin, or its structure is not "
                "stable; see system.states"
            )
    kept: list[np.ndarray] = []
    inefficiencies = []
    for place in range(ensembles):
        members = [np.flatnonzero(keep & (ensemble == place) & (sweep == index)) for index in range(sweeps)]
        neighbour = int(np.clip(place, 1, ensembles - 2))  # the states themselves see no restraint
        chosen, inefficiency = uncorrelated([bias[neighbour, frames] for frames in members])
        kept.extend(frames[picked] for frames, picked in zip(members, chosen, strict=True))
        inefficiencies.append(inefficiency)
    order = np.concatenate(kept)
    on_curve = frames.positions[:, series.curve].swapaxes(0, 1)
    means = np.array([run.coordinates.encode(np.concatenate(window)).mean(axis=0) for window in on_curve])
    latent = run.coordinates.encode(flat[order])
    cells = cdist(means, latent, "sqeuclidean").argmin(axis=0)
    return Sampled(bias[:, order], ensemble[order], sweep[order]), cells, np.array(inefficiencies)


def window_estimate(
    run: Run, series: Series, frames: SeriesFrames, seed: np.random.SeedSequence
) -> tuple[dict[str, Any], dict[str, Any], FloatArray]:
    """ΔF(A→B) by MBAR over the whole series, by annealing's corrections at either end, and the profile.

    Returns
    -------
    estimate : dict
        ``value`` in kJ/mol, ``error`` (of sweeps by bootstrap), ``asymptotic_error`` and more.
    ends : dict
        ``value`` and ``error`` of what annealing between the curve's ends lacks, in kJ/mol.
    overlap : array, shape (ensembles, ensembles)

    Raises
    ------
    DynamicsError
        If neighbours do not overlap; the message names them.
    """
    kt, settings = run.molecule.kt, run.settings.free_energy
    sampled, cells, inefficiencies = reduced(run, series, frames)
    independent = [int(sampled.counts[end]) for end in (0, -1)]
    for state, count in zip(run.molecule.states, independent, strict=True):
        if count < settings.least_independent_frames:
            log.warning(
                "free energy: free dynamics of %s has only %d independent frames: its error may be larger than it "
                "looks; take more --frames",
                state.name,
                count,
            )
    solved = mbar(sampled)
    check_overlap(solved.overlap, series.names, settings.least_overlap)

    windows = len(series.progress)
    errors, cell_errors = bootstrap(sampled, solved, cells, windows, np.random.default_rng(seed))
    along = profile(solved.log_weights, cells, windows)
    rows = [
        {
            "progress": float(progress),
            "log_snr": float(series.log_snr[index]),
            "free_energy": kt * float(solved.values[index]),
            "free_energy_error": kt * float(errors[index]),
            "profile": kt * float(cell) if np.isfinite(cell) else None,
            "profile_error": kt * float(cell_error) if np.isfinite(cell_error) else None,
            "statistical_inefficiency": float(inefficiencies[index]),
            "frames": int(sampled.counts[index]),
        }
        for index, progress, cell, cell_error in zip(
            range(series.curve.start, series.curve.stop), series.progress, along, cell_errors, strict=True
        )
    ]
    estimate = {
        "value": kt * float(solved.values[-1]),
        "error": kt * float(errors[-1]),
        "asymptotic_error": kt * float(solved.errors[-1]),
        "frames": int(sampled.counts.sum()),
        "independent_frames_of_states": independent,
        "least_overlap": float(np.diagonal(solved.overlap, 1).min()),
        "profile": rows,
    }
    first, last = series.curve.start, series.curve.stop - 1
    sides = [mbar(sampled.part(range(first + 1))), mbar(sampled.part(range(last, len(series.log_snr))))]
    ends = {
        "value": kt * float(sides[0].values[-1] + sides[1].values[-1]),
        "error": kt * float(np.hypot(sides[0].errors[-1], sides[1].errors[-1])),
    }
    return estimate, ends, solved.overlap


def equilibrium_ends(series: Series, frames: SeriesFrames) -> tuple[list[FloatArray], list[FloatArray]]:
    """Positions (atoms, 3) under the restraint at the curve's two ends, a quarter of a sweep's frames apart."""
    every = max(1, frames.positions.shape[2] // 4)
    ends = (series.curve.start, series.curve.stop - 1)
    a, b = (list(np.concatenate(frames.positions[:, end, every - 1 :: every].swapaxes(0, 1))) for end in ends)
    return a, b


def annealing_estimate(
    run: Run,
    schedule: RestraintSchedule,
    starts: tuple[list[FloatArray], list[FloatArray]],
    ends: dict[str, Any],
    count: int,
    seed: np.random.SeedSequence,
) -> tuple[dict[str, Any], int]:
    """ΔF(A→B) from work done along a curve there and back (Crooks, BAR), with the corrections of its ends.

    Parameters
    ----------
    run : Run
    schedule : RestraintSchedule
    starts : (list of array, list of array)
        Equilibrium positions (atoms, 3) under the restraint at the curve's two ends.
    ends : dict
        From the free states to the ends, as :func:`window_estimate` has it.
    count : int
        Paths each way.
    seed : SeedSequence

    Returns
    -------
    estimate : dict
        In kJ/mol.
    evaluations : int
    """
    kt = run.molecule.kt
    forward_seed, backward_seed = seed.spawn(2)
    forward = run_paths(run, schedule, count, forward_seed, "annealing there", starts=starts[0])
    backward = run_paths(run, schedule.reversed(), count, backward_seed, "annealing back", starts=starts[1])
    there, back = works(forward), works(backward)
    value, error = bar(there / kt, back / kt)
    estimate = {
        "value": kt * value + ends["value"],
        "error": float(np.hypot(kt * error, ends["error"])),
        "between_ends": kt * value,
        "between_ends_error": kt * error,
        "paths": [len(there), len(back)],
        "work": [float(there.mean()), float(back.mean())],
        "dissipated": 0.5 * float(there.mean() + back.mean()),
        "dissipated_error": 0.5 * float(np.sqrt(there.var(ddof=1) / len(there) + back.var(ddof=1) / len(back))),
    }
    return estimate, sum(path.evaluations for path in (*forward, *backward))


def replica_estimate(run: Run, rng: np.random.Generator) -> dict[str, Any] | None:
    """ΔF(A→B) from the run's replica exchange at the dynamics' temperature; None if it is not there.

    All temperatures count, with MBAR weights; the error is that of a bootstrap over blocks of time, the same for all
    temperatures.
    """
    settings = run.settings.samples
    paths = run.files("samples", REPLICAS)
    if not isinstance(settings, ReplicaExchangeSettings) or len(paths) != len(settings.temperatures):
        return None
    in_a, in_b, energies = [], [], []
    for path in paths:
        trajectory, energy = read_hdf5(path), read_hdf5_energies(path)
        if energy is None:
            raise TrajectoryError(f"{path} has no potential energies; run the samples again")
        keep = trajectory.time > settings.discard
        states = state_indices(run.molecule.states, trajectory.xyz[keep].astype(float))
        in_a.append(states == 0)
        in_b.append(states == 1)
        energies.append(energy[keep])
    kt = run.molecule.kt
    ladder = MOLAR_GAS_CONSTANT * np.array(settings.temperatures)
    weights = np.concatenate(ladder_weights(energies, ladder.tolist(), kt))
    a, b = np.concatenate(in_a), np.concatenate(in_b)
    block = block_numbers(np.repeat(np.arange(len(energies)), [len(energy) for energy in energies]))
    sums = np.array([[weights[side & (block == number)].sum() for number in range(BLOCKS)] for side in (a, b)])
    if not sums.sum(axis=1).all():
        return None
    drawn = sums[:, rng.integers(BLOCKS, size=(_DRAWS, BLOCKS))].sum(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = kt * np.log(drawn[0] / drawn[1])
    return {
        "value": kt * difference_of_states(a, b, weights),
        "error": float(values[np.isfinite(values)].std(ddof=1)),
        "blocks": BLOCKS,
    }
