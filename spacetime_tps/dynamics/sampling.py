"""Boltzmann samples from OpenMM: replica exchange over a ladder of temperatures, or plain dynamics in each state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from spacetime_tps.arrays import FloatArray
from spacetime_tps.dynamics.checkpoint import Frames, SamplingCheckpoint, SamplingState
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.dynamics.workers import (
    Pool,
    get_positions,
    get_velocities,
    maxwell_boltzmann,
    openmm_seed,
    seeded_context,
)
from spacetime_tps.errors import DynamicsError
from spacetime_tps.progress import log, track
from spacetime_tps.settings.samples import MolecularDynamicsSettings, ReplicaExchangeSettings
from spacetime_tps.settings.units import MOLAR_GAS_CONSTANT


@dataclass(frozen=True)
class Segment:
    """A piece of unrestrained dynamics: a task for a worker.

    ``velocities`` is None where they are to be drawn at ``temperature``.
    """

    positions: FloatArray
    velocities: FloatArray | None
    temperature: float
    steps: int
    seed: np.random.SeedSequence


@dataclass(frozen=True)
class SegmentEnd:
    """Where a segment ended. Energies in kJ/mol."""

    positions: FloatArray
    velocities: FloatArray
    potential_energy: float


@dataclass(frozen=True)
class Ensemble:
    """Frames of one temperature (or of one trajectory), and how they were made.

    ``positions`` has shape (frames, atoms, 3) in nm, ``time`` in ps, ``potential_energy`` in kJ/mol.
    """

    temperature: float
    positions: FloatArray
    time: FloatArray
    potential_energy: FloatArray


@dataclass(frozen=True)
class ReplicaExchangeResult:
    """Ensembles by temperature, acceptance of each neighbouring pair, and the evaluations spent."""

    ensembles: list[Ensemble]
    acceptance: list[float]
    evaluations: int


def run_segment(segment: Segment) -> SegmentEnd:
    """Langevin dynamics of one segment, in a worker."""
    dynamics_seed, velocity_seed = segment.seed.spawn(2)
    context, _ = seeded_context("sampling", openmm_seed(dynamics_seed))
    integrator = context.getIntegrator()
    integrator.setTemperature(segment.temperature)
    context.setPositions(segment.positions)
    if segment.velocities is None:
        maxwell_boltzmann(context, segment.temperature, np.random.default_rng(velocity_seed))
    else:
        context.setVelocities(segment.velocities)
    try:
        integrator.step(segment.steps)
        energy = context.getState(energy=True).getPotentialEnergy()._value
    except Exception as error:
        raise DynamicsError(f"sampling at {segment.temperature:g} K failed: {error}") from error
    if not np.isfinite(energy):
        raise DynamicsError(
            f"sampling at {segment.temperature:g} K: the energy became {energy} within {segment.steps} steps; "
            "check the starting structures or take a smaller system.time_step"
        )
    return SegmentEnd(get_positions(context), get_velocities(context), energy)


def whole_steps(duration: float, time_step: float, name: str, kind: str = "time steps") -> int:
    """Number of steps in a duration, at least one.

    Parameters
    ----------
    duration, time_step : float
        In ps.
    name : str
        Name of the duration, for the error message.
    kind : str
        What the steps are, for the error message.

    Raises
    ------
    ValueError
        If it is not a whole number of steps.
    """
    steps = round(duration / time_step)
    if steps < 1 or abs(steps * time_step - duration) > 1e-6 * duration:
        raise ValueError(f"{name} ({duration:g} ps) is not a whole number of {kind} of {time_step:g} ps")
    return steps


def run_replica_exchange(
    molecule: MolecularSystem,
    settings: ReplicaExchangeSettings,
    pool: Pool,
    seed: np.random.SeedSequence,
    checkpoint: SamplingCheckpoint | None = None,
) -> ReplicaExchangeResult:
    """Temperature replica exchange, started alternately from the structures of A and B.

    Neighbouring replicas exchange configurations with the Metropolis probability
    min(1, exp[(β_i − β_j)(U_i − U_j)]) and velocities rescaled by √(T_new/T_old) (Sugita & Okamoto,
    Chem. Phys. Lett. 314, 141 (1999)); even and odd pairs take turns.

    With a checkpoint it goes on exactly where it was interrupted.

    Raises
    ------
    DynamicsError
        If a simulation fails.
    OutputError
        If the checkpoint cannot be read or written.
    """
    temperatures = np.array(settings.temperatures)
    steps = whole_steps(settings.exchange_interval, molecule.time_step, "samples.exchange_interval")
    every = whole_steps(
        settings.frame_interval, settings.exchange_interval, "samples.frame_interval", "exchange intervals"
    )
    rounds = max(1, round(settings.length / settings.exchange_interval))
    starts = [molecule.structures[state.structure] for state in molecule.states]
    first = np.array([starts[replica % 2] for replica in range(len(temperatures))])
    chunk = -(-len(temperatures) // pool.workers)
    state, frames = _begin(first, rounds, checkpoint)
    try:
        for number in track(range(state.rounds, rounds), "replica exchange", rounds - state.rounds):
            *seeds, exchange_seed = _round_seed(seed, number).spawn(len(temperatures) + 1)
            ends = list(pool.map(run_segment, _segments(state, temperatures, steps, seeds), chunk))
            if (number + 1) % every == 0:
                frames.positions.append(np.array([end.positions for end in ends]))
                frames.energies.append(np.array([end.potential_energy for end in ends]))
            state = _exchanged(state, ends, temperatures, np.random.default_rng(exchange_seed))
            if checkpoint is not None and checkpoint.due:
                checkpoint.save(state, frames, state.rounds // every)
    finally:
        if checkpoint is not None:
            checkpoint.save(state, frames, state.rounds // every)
    acceptance = (state.accepted / np.maximum(state.attempts, 1)).tolist()
    ensembles = _ensembles(frames, temperatures, settings.frame_interval)
    return ReplicaExchangeResult(ensembles, acceptance, rounds * len(temperatures) * (steps + 1))


def run_molecular_dynamics(
    molecule: MolecularSystem,
    settings: MolecularDynamicsSettings,
    pool: Pool,
    seed: np.random.SeedSequence,
    checkpoint: SamplingCheckpoint | None = None,
) -> tuple[list[Ensemble], int]:
    """Plain dynamics at ``model_temperature`` from each state's structure: ensembles (A's first) and evaluations.

    With a checkpoint it goes on exactly where it was interrupted.

    Raises
    ------
    DynamicsError
        If a simulation fails.
    OutputError
        If the checkpoint cannot be read or written.
    """
    steps = whole_steps(settings.frame_interval, molecule.time_step, "samples.frame_interval")
    rounds = max(1, round(settings.length / settings.frame_interval))
    starts = [
        molecule.structures[state.structure]
        for state in molecule.states
        for _ in range(settings.trajectories_per_state)
    ]
    temperatures = np.full(len(starts), settings.model_temperature)
    chunk = -(-len(starts) // pool.workers)
    state, frames = _begin(np.array(starts), rounds, checkpoint)
    try:
        for number in track(range(state.rounds, rounds), "molecular dynamics", rounds - state.rounds):
            seeds = _round_seed(seed, number).spawn(len(starts))
            ends = list(pool.map(run_segment, _segments(state, temperatures, steps, seeds), chunk))
            positions, velocities = _joined(ends)
            frames.positions.append(positions)
            frames.energies.append(np.array([end.potential_energy for end in ends]))
            state = replace(state, rounds=number + 1, positions=positions, velocities=velocities)
            if checkpoint is not None and checkpoint.due:
                checkpoint.save(state, frames, state.rounds)
    finally:
        if checkpoint is not None:
            checkpoint.save(state, frames, state.rounds)
    return _ensembles(frames, temperatures, settings.frame_interval), rounds * len(starts) * (steps + 1)


def _begin(positions: FloatArray, rounds: int, checkpoint: SamplingCheckpoint | None) -> tuple[SamplingState, Frames]:
    """Where sampling begins: with these positions (trajectories, atoms, 3), or at the checkpoint."""
    kept = None if checkpoint is None else checkpoint.load()
    if kept is None:
        pairs = np.zeros(len(positions) - 1)
        return SamplingState(0, positions, None, pairs, pairs), Frames([], [])
    log.info("sampling goes on after %d of %d rounds", kept[0].rounds, rounds)
    return kept


def _segments(
    state: SamplingState, temperatures: FloatArray, steps: int, seeds: Sequence[np.random.SeedSequence]
) -> list[Segment]:
    velocities = [None] * len(seeds) if state.velocities is None else list(state.velocities)
    return [
        Segment(x, v, float(temperature), steps, seed)
        for x, v, temperature, seed in zip(state.positions, velocities, temperatures, seeds, strict=True)
    ]


def _round_seed(seed: np.random.SeedSequence, number: int) -> np.random.SeedSequence:
    """That which ``seed.spawn`` would give the round first, made alone: there may be 10⁸ rounds."""
    return np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, number))


def _joined(ends: Sequence[SegmentEnd]) -> tuple[FloatArray, FloatArray]:
    """Positions and velocities, (trajectories, atoms, 3)."""
    return np.array([end.positions for end in ends]), np.array([end.velocities for end in ends])


def _exchanged(
    state: SamplingState, ends: Sequence[SegmentEnd], temperatures: FloatArray, rng: np.random.Generator
) -> SamplingState:
    """The state after a round whose segments have ended so, neighbours exchanged."""
    beta = 1 / (MOLAR_GAS_CONSTANT * temperatures)
    positions, velocities = _joined(ends)
    attempts, accepted = state.attempts.copy(), state.accepted.copy()
    for low in range(state.rounds % 2, len(ends) - 1, 2):
        high = low + 1
        attempts[low] += 1
        gain = (beta[low] - beta[high]) * (ends[low].potential_energy - ends[high].potential_energy)
        if np.log(rng.uniform()) < gain:
            accepted[low] += 1
            scale = np.sqrt(temperatures[low] / temperatures[high])
            positions[[low, high]] = positions[[high, low]]
            velocities[low], velocities[high] = velocities[high] * scale, velocities[low] / scale
    return SamplingState(state.rounds + 1, positions, velocities, attempts, accepted)


def _ensembles(frames: Frames, temperatures: FloatArray, frame_interval: float) -> list[Ensemble]:
    time = frame_interval * np.arange(1, len(frames.positions) + 1, dtype=np.float64)
    return [
        Ensemble(
            float(temperature),
            np.array([frame[index] for frame in frames.positions]),
            time,
            np.array([energies[index] for energies in frames.energies]),
        )
        for index, temperature in enumerate(temperatures)
    ]
