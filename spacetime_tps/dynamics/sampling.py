"""Boltzmann samples from OpenMM: replica exchange over a ladder of temperatures, or plain dynamics in each state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spacetime_tps.coordinates.states import FloatArray
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.dynamics.workers import (
    WorkerPool,
    get_positions,
    get_velocities,
    maxwell_boltzmann,
    openmm_seed,
    seeded_context,
)
from spacetime_tps.errors import DynamicsError
from spacetime_tps.progress import track
from spacetime_tps.settings.run import MolecularDynamicsSettings, ReplicaExchangeSettings
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


def whole_steps(duration: float, time_step: float, name: str) -> int:
    """Number of steps in a duration, at least one.

    Raises
    ------
    ValueError
        If it is not a whole number of steps.
    """
    steps = round(duration / time_step)
    if steps < 1 or abs(steps * time_step - duration) > 1e-6 * duration:
        raise ValueError(f"{name} ({duration:g} ps) is not a whole number of time steps of {time_step:g} ps")
    return steps


def run_replica_exchange(
    molecule: MolecularSystem, settings: ReplicaExchangeSettings, pool: WorkerPool, seed: np.random.SeedSequence
) -> ReplicaExchangeResult:
    """Temperature replica exchange, started alternately from the structures of A and B.

    Neighbouring replicas exchange configurations with the Metropolis probability
    min(1, exp[(β_i − β_j)(U_i − U_j)]) and velocities rescaled by √(T_new/T_old) (Sugita & Okamoto,
    Chem. Phys. Lett. 314, 141 (1999)); even and odd pairs take turns.
    """
    temperatures = np.array(settings.temperatures)
    steps = whole_steps(settings.exchange_interval, molecule.time_step, "samples.exchange_interval")
    every = whole_steps(settings.frame_interval, settings.exchange_interval, "samples.frame_interval")
    rounds = max(1, round(settings.length / settings.exchange_interval))
    starts = [molecule.structures[state.structure] for state in molecule.states]
    positions = [starts[replica % 2] for replica in range(len(temperatures))]
    velocities: list[FloatArray | None] = [None] * len(temperatures)
    beta = 1 / (MOLAR_GAS_CONSTANT * temperatures)
    exchange_seed, *round_seeds = seed.spawn(rounds + 1)
    rng = np.random.default_rng(exchange_seed)
    attempts, accepted = np.zeros(len(beta) - 1), np.zeros(len(beta) - 1)
    chunk = -(-len(temperatures) // pool.workers)
    frames: list[list[FloatArray]] = []
    energies: list[list[float]] = []

    for number in track(range(rounds), "replica exchange", rounds):
        seeds = round_seeds[number].spawn(len(temperatures))
        tasks = [
            Segment(x, v, float(temperature), steps, s)
            for x, v, temperature, s in zip(positions, velocities, temperatures, seeds, strict=True)
        ]
        ends = list(pool.map(run_segment, tasks, chunk))
        if (number + 1) % every == 0:
            frames.append([end.positions for end in ends])
            energies.append([end.potential_energy for end in ends])
        velocities = [end.velocities for end in ends]
        for low in range(number % 2, len(ends) - 1, 2):
            high = low + 1
            attempts[low] += 1
            gain = (beta[low] - beta[high]) * (ends[low].potential_energy - ends[high].potential_energy)
            if np.log(rng.uniform()) < gain:
                accepted[low] += 1
                scale = np.sqrt(temperatures[low] / temperatures[high])
                velocities[low], velocities[high] = ends[high].velocities * scale, ends[low].velocities / scale
                ends[low], ends[high] = ends[high], ends[low]
        positions = [end.positions for end in ends]

    time = settings.frame_interval * np.arange(1, len(frames) + 1, dtype=np.float64)
    ensembles = [
        Ensemble(
            float(temperature),
            np.array([frame[replica] for frame in frames]),
            time,
            np.array([energy[replica] for energy in energies]),
        )
        for replica, temperature in enumerate(temperatures)
    ]
    acceptance = (accepted / np.maximum(attempts, 1)).tolist()
    return ReplicaExchangeResult(ensembles, acceptance, rounds * len(temperatures) * (steps + 1))


def run_molecular_dynamics(
    molecule: MolecularSystem, settings: MolecularDynamicsSettings, pool: WorkerPool, seed: np.random.SeedSequence
) -> tuple[list[Ensemble], int]:
    """Plain dynamics at ``model_temperature`` from each state's structure: ensembles (A's first) and evaluations."""
    steps = whole_steps(settings.frame_interval, molecule.time_step, "samples.frame_interval")
    frames = max(1, round(settings.length / settings.frame_interval))
    starts = [
        molecule.structures[state.structure]
        for state in molecule.states
        for _ in range(settings.trajectories_per_state)
    ]
    chunk = -(-len(starts) // pool.workers)
    current = [SegmentEnd(x, np.zeros_like(x), 0.0) for x in starts]
    history: list[list[SegmentEnd]] = []
    for number, frame_seed in track(enumerate(seed.spawn(frames)), "molecular dynamics", frames):
        tasks = [
            Segment(end.positions, end.velocities if number else None, settings.model_temperature, steps, s)
            for end, s in zip(current, frame_seed.spawn(len(starts)), strict=True)
        ]
        current = list(pool.map(run_segment, tasks, chunk))
        history.append(current)
    time = settings.frame_interval * np.arange(1, frames + 1, dtype=np.float64)
    ensembles = [
        Ensemble(
            settings.model_temperature,
            np.array([ends[i].positions for ends in history]),
            time,
            np.array([ends[i].potential_energy for ends in history]),
        )
        for i in range(len(starts))
    ]
    return ensembles, frames * len(starts) * (steps + 1)
