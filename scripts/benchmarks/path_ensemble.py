"""Transition path sampling against long plain dynamics, and the cost of decorrelated paths.

The distributions of duration and of crossing point in path ensembles, by one-way and two-way moves with uniform and
biased selection, stand beside those of the reactive trajectories that long dynamics of the same integrator shows, with
Kolmogorov-Smirnov tests at effective sizes: on a potential of two dimensions with a low barrier, and on alanine
dipeptide at a temperature where plain dynamics crosses often. Chains begin with transitions that plain dynamics has
shown, evenly from all of it: a wrong rule would drive them away from where they have begun.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import mdtraj
import numpy as np
import openmm
from common import SYSTEM, Bench, Result, number, table
from scipy.special import expit

from spacetime_tps.arrays import FloatArray
from spacetime_tps.committor.model import CommittorModel, Descriptors
from spacetime_tps.coordinates.states import CollectiveVariable, State, state_indices
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.dynamics.workers import (
    Engine,
    WorkerPool,
    get_positions,
    get_velocities,
    maxwell_boltzmann,
    openmm_seed,
    seeded_context,
)
from spacetime_tps.path_ensemble.moves import KINDS, Move, MoveKind, Path, lost_move, try_move
from spacetime_tps.path_ensemble.statistics import crossing, reactive_segments
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.shipped import find_system
from spacetime_tps.settings.units import MOLAR_GAS_CONSTANT
from spacetime_tps.statistics.comparison import compare_distributions
from spacetime_tps.statistics.correlation import statistical_inefficiency

TEMPERATURE = 300.0  # of the model potential, K
HOT = (
    1500.0  # of alanine dipeptide, K; its chains stay in one channel for hundreds of moves, so that many begin in each
)


@dataclass(frozen=True)
class Case:
    """A system whose path ensemble is sampled in both ways.

    ``start`` is a structure in A, ``progress`` what is negative on A's side and positive on B's, and ``position`` where
    along the dividing surface a frame is; both of positions (frames, atoms, 3).
    """

    name: str
    engine: Engine
    start: FloatArray
    frame_steps: int
    max_frames: int
    descriptors: Descriptors
    progress: Callable[[FloatArray], FloatArray]
    position: Callable[[FloatArray], FloatArray]


def double_well(barrier: float = 2.0, bend: float = 0.6) -> Case:
    """A particle in a bent channel between (±1, 0) nm with a barrier of ``barrier`` kT at x = 0.

    Two particles without mass hold the places from which distances define the states.
    """
    kt = MOLAR_GAS_CONSTANT * TEMPERATURE
    system = openmm.System()
    for mass in (10.0, 0.0, 0.0):
        system.addParticle(mass)
    force = openmm.CustomExternalForce(f"{barrier * kt}*(x^2-1)^2 + 10*(y-{bend}*(1-x^2))^2 + 10*z^2")
    force.addParticle(0, [])
    system.addForce(force)
    start = np.array([[-1.0, 0, 0], [-1.0, 0, 0], [1.0, 0, 0]])
    distances = {f"r_{n}": CollectiveVariable(f"r_{n}", "distance", (0, n)) for n in (1, 2)}
    states = tuple(State(s, s, ({f"r_{n}": (0.0, 0.5)},), distances) for s, n in (("A", 1), ("B", 2)))
    engine = Engine(
        system_xml=openmm.XmlSerializer.serialize(system),
        restrained_atoms=(),
        temperature=TEMPERATURE,
        friction=1.0,
        time_step=0.02,
        kt=kt,
        periodic=False,
        platform="Reference",
        states=(states[0], states[1]),
    )
    return Case(
        name="bent double well",
        engine=engine,
        start=start,
        frame_steps=10,
        max_frames=300,
        descriptors=Descriptors(tuple(distances.values())),
        progress=lambda x: x[:, 0, 0],
        position=lambda x: x[:, 0, 1],
    )


def hot_dipeptide() -> Case:
    """Alanine dipeptide at ``HOT`` K; paths cross φ = 0, at some ψ."""
    molecule = MolecularSystem.from_settings(load_settings(find_system(SYSTEM)).system)
    engine = dataclasses.replace(
        Engine.for_system(molecule, ()), temperature=HOT, kt=MOLAR_GAS_CONSTANT * HOT, time_step=0.001
    )
    phi, psi = (molecule.variables[name] for name in ("phi", "psi"))
    return Case(
        name=f"alanine dipeptide, {HOT:g} K",
        engine=engine,
        start=molecule.structures["c7eq"],
        frame_steps=20,
        max_frames=500,
        descriptors=Descriptors.of_molecule(molecule.variables, molecule.topology),
        progress=lambda x: phi(mdtraj.Trajectory(x, None)),
        position=lambda x: psi(mdtraj.Trajectory(x, None)),
    )


@dataclass(frozen=True)
class Stretch:
    """A piece of plain dynamics, in a worker; velocities are drawn where there are none."""

    positions: FloatArray
    velocities: FloatArray | None
    temperature: float
    frames: int
    frame_steps: int
    seed: np.random.SeedSequence


def run_stretch(task: Stretch) -> tuple[FloatArray, FloatArray]:
    """Positions and velocities (frames, atoms, 3) of dynamics with the integrator of the shots."""
    dynamics_seed, velocity_seed = task.seed.spawn(2)
    context, _ = seeded_context("shooting", openmm_seed(dynamics_seed))
    context.setPositions(task.positions)
    if task.velocities is None:
        maxwell_boltzmann(context, task.temperature, np.random.default_rng(velocity_seed))
    else:
        context.setVelocities(task.velocities)
    frames = []
    for _ in range(task.frames):
        context.getIntegrator().step(task.frame_steps)
        frames.append((get_positions(context), get_velocities(context)))
    positions, velocities = (np.array(part) for part in zip(*frames, strict=True))
    return positions, velocities


@dataclass
class Direct:
    """Reactive trajectories that plain dynamics shows, all from A to B, by walker."""

    paths: list[list[tuple[FloatArray, FloatArray]]]
    evaluations: int


def plain_dynamics(pool: WorkerPool, case: Case, walkers: int, frames: int, seed: np.random.SeedSequence) -> Direct:
    """Long dynamics of several walkers, cut into reactive trajectories with a frame between the states at least.

    Those from B to A are taken backward in time.
    """
    states = case.engine.states
    found: list[list[tuple[FloatArray, FloatArray]]] = [[] for _ in range(walkers)]
    size = min(2000, frames)
    kept: list[tuple[FloatArray, FloatArray]] = [(case.start[None], np.zeros((1, *case.start.shape)))] * walkers
    ends: list[tuple[FloatArray, FloatArray | None]] = [(case.start, None)] * walkers
    for _ in range(frames // size):
        tasks = [
            Stretch(x, v, case.engine.temperature, size, case.frame_steps, s)
            for (x, v), s in zip(ends, seed.spawn(walkers), strict=True)
        ]
        for walker, (x, v) in enumerate(pool.map(run_stretch, tasks)):
            ends[walker] = (x[-1], v[-1])
            positions, velocities = (np.concatenate(pair) for pair in zip(kept[walker], (x, v), strict=True))
            indices = state_indices(states, positions)
            for start, stop, backward in reactive_segments(indices):
                if stop - start > 1:
                    part = slice(start, stop + 1)
                    path = (positions[part], velocities[part])
                    found[walker].append((path[0][::-1], -path[1][::-1]) if backward else path)
            last = int(np.flatnonzero(indices >= 0)[-1]) if (indices >= 0).any() else 0
            kept[walker] = (positions[last:], velocities[last:])
    return Direct(found, walkers * (frames // size) * size * case.frame_steps)


def observe(case: Case, positions: FloatArray) -> tuple[float, float]:
    """Duration (ps) of a path, and where it first crosses the dividing surface, between frames."""
    duration = (len(positions) - 1) * case.frame_steps * case.engine.time_step
    progress, place = case.progress(positions), case.position(positions)
    at = crossing(progress, 0.0)
    share = progress[at] / (progress[at] - progress[at - 1])
    return duration, float(place[at] - share * (place[at] - place[at - 1]))


def committor_of(case: Case, direct: Direct) -> CommittorModel:
    """A model for biased selection: logistic in the progress of frames of a few plain trajectories."""
    paths = [x for walker in direct.paths for x, _ in walker][:20]
    frames = np.concatenate([x[1:-1] for x in paths])
    model = CommittorModel(case.descriptors, frames)
    progress = case.progress(frames)
    model.fit(frames, 2 * expit(2 * progress / progress.std()))
    return model


@dataclass
class Sampled:
    """Observations along chains, (chains, moves), and what they took."""

    durations: FloatArray
    crossings: FloatArray
    acceptance: float
    verdicts: dict[str, int]
    evaluations: int
    decorrelated: int
    seconds: float


def sample(
    pool: WorkerPool,
    case: Case,
    first: Sequence[tuple[FloatArray, FloatArray]],
    kind: MoveKind,
    model: CommittorModel | None,
    moves: int,
    seed: np.random.SeedSequence,
) -> Sampled:
    """Chains of moves from different first paths."""
    begun = time.perf_counter()
    chains = [Path.first(x, v, model) for x, v in first]
    references = [0] * len(chains)
    now = [observe(case, chain.positions) for chain in chains]
    observed: list[list[tuple[float, float]]] = []
    verdicts: dict[str, int] = {}
    evaluations = decorrelated = 0
    for move in range(1, moves + 1):
        tasks = [
            Move(p, kind, model, move, case.engine.temperature, case.frame_steps, case.max_frames, s)
            for p, s in zip(chains, seed.spawn(len(chains)), strict=True)
        ]
        for index, result in enumerate(pool.map(try_move, tasks, lost=lost_move)):
            verdicts[result.verdict] = verdicts.get(result.verdict, 0) + 1
            evaluations += result.evaluations
            if result.path is not None:
                chains[index] = result.path
                now[index] = observe(case, result.path.positions)
                if result.path.born.min() > references[index]:
                    references[index], decorrelated = move, decorrelated + 1
        observed.append(list(now))
    durations, crossings = np.array(observed).T
    return Sampled(
        durations=durations,
        crossings=crossings,
        acceptance=verdicts.get("accepted", 0) / sum(verdicts.values()),
        verdicts=verdicts,
        evaluations=evaluations,
        decorrelated=decorrelated,
        seconds=time.perf_counter() - begun,
    )


@dataclass(frozen=True)
class Agreement:
    """A quantity in a path ensemble and in plain dynamics: means, effective sizes, and a Kolmogorov-Smirnov test."""

    means: tuple[float, float]
    effective_sizes: tuple[float, float]
    p_value: float
    inefficiency: float


@dataclass(frozen=True)
class Row:
    """One way of sampling; acceptance in %."""

    moves: MoveKind
    selection: str
    acceptance: float
    verdicts: dict[str, int]
    evaluations: int
    decorrelated: int
    seconds: float
    duration: Agreement
    crossing: Agreement


@dataclass(frozen=True)
class PathEnsembleResult(Result[Row]):
    """Plain dynamics, and four ways of sampling its paths."""

    rows: list[Row]
    system: str
    transitions: int
    plain_evaluations: int
    plain_seconds: float


CASES = {"ensemble_well": double_well, "ensemble_molecule": hot_dipeptide}


@dataclass(frozen=True)
class PathEnsemble:
    """Path ensembles of a system against plain dynamics, as :class:`Section`.

    Attributes
    ----------
    name : str
        One of ``CASES``.
    cost : str
    walkers, frames : int
        Number of walkers of plain dynamics, and of frames of each.
    chains, moves : int
        Number of chains, and of moves of each. A tenth of the moves is left out of the tests.
    """

    every_seed: ClassVar[bool] = False
    name: str
    cost: str
    walkers: int = 8
    frames: int = 30_000
    chains: int = 8
    moves: int = 400

    def measure(self, bench: Bench, seed: int) -> PathEnsembleResult:
        """Without any run."""
        case = CASES[self.name]()
        direct_seed, *seeds = np.random.SeedSequence([seed, *self.name.encode()]).spawn(5)
        rows = []
        with WorkerPool(case.engine) as pool:
            begun = time.perf_counter()
            direct = plain_dynamics(pool, case, self.walkers, self.frames, direct_seed)
            seconds = time.perf_counter() - begun
            every = [path for walker in direct.paths for path in walker]
            first = [every[i] for i in np.linspace(0, len(every) - 1, self.chains).astype(int)]
            model = committor_of(case, direct)
            for (kind, biased), move_seed in zip(itertools.product(KINDS, (False, True)), seeds, strict=True):
                sampled = sample(pool, case, first, kind, model if biased else None, self.moves, move_seed)
                duration, crossing = judge(case, direct, sampled, discard=self.moves // 10)
                rows.append(
                    Row(
                        kind,
                        "committor" if biased else "uniform",
                        100 * sampled.acceptance,
                        sampled.verdicts,
                        sampled.evaluations,
                        sampled.decorrelated,
                        sampled.seconds,
                        duration,
                        crossing,
                    )
                )
        evaluations = direct.evaluations + sum(row.evaluations for row in rows)
        return PathEnsembleResult(seed, evaluations, rows, case.name, len(every), direct.evaluations, seconds)

    def tables(self, results: Sequence[PathEnsembleResult]) -> list[str]:
        """A table for each seed."""
        columns = ("moves", "selection", "accepted %", "duration ps (plain)", "KS p (sizes)", "crossing (plain)")
        blocks = []
        for result in results:
            blocks.append(
                f"{result.system}: {result.transitions} transitions in {number(result.plain_evaluations)} evaluations "
                f"of plain dynamics ({number(result.plain_seconds)} s)"
            )
            rows = [
                [
                    *(row.moves.replace("_", "-"), row.selection, number(row.acceptance)),
                    *(cell for test in (row.duration, row.crossing) for cell in _cells(test)),
                    number(row.evaluations / max(1, row.decorrelated)),
                ]
                for row in result.rows
            ]
            blocks.append(table((*columns, "KS p (sizes)", "evaluations per decorrelated path"), rows))
        return blocks


def judge(case: Case, direct: Direct, sampled: Sampled, discard: int) -> list[Agreement]:
    """Durations and crossings against plain dynamics, without the first moves of each chain."""
    by_walker = [np.array([observe(case, x) for x, _ in walker]) for walker in direct.paths if walker]
    tests = []
    for column, observed in enumerate((sampled.durations, sampled.crossings)):
        chains = list(observed[:, discard:])
        found = compare_distributions(chains, [walker[:, column] for walker in by_walker])
        tests.append(Agreement(found.means, found.effective_sizes, found.p_value, statistical_inefficiency(chains)))
    return tests


def _cells(test: Agreement) -> list[str]:
    sizes = " / ".join(number(size) for size in test.effective_sizes)
    return [f"{test.means[0]:.3f} ({test.means[1]:.3f})", f"{test.p_value:.2f} ({sizes})"]
