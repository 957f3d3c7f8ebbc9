"""Worker processes that run independent pieces of dynamics, and the OpenMM contexts they keep.

Each task carries its own seed and the context is seeded anew for it, so results do not depend on the number of
workers. (On GPU platforms contexts are not re-seeded, for that recompiles their kernels.)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self, TypeVar

import numpy as np
import openmm
from openmm import unit

from spacetime_tps.arrays import FloatArray
from spacetime_tps.coordinates.base import Restrained
from spacetime_tps.coordinates.states import State, state_indices
from spacetime_tps.dynamics.integrators import annealing_integrator, set_temperature, shooting_integrator
from spacetime_tps.dynamics.restraint import Restraint, make_restraint
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.errors import DynamicsError
from spacetime_tps.processes import WorkerDiedError, Workers
from spacetime_tps.settings.units import MOLAR_GAS_CONSTANT

Task = TypeVar("Task")
Result = TypeVar("Result")
Purpose = Literal["sampling", "restrained", "annealing", "shooting"]


@dataclass(frozen=True)
class Engine:
    """What a worker needs to simulate a molecule; made by :meth:`for_system`, sent once to each worker."""

    system_xml: str
    restrained_atoms: Restrained
    temperature: float
    friction: float
    time_step: float
    kt: float
    periodic: bool
    platform: str
    states: tuple[State, State]

    @classmethod
    def for_system(cls, molecule: MolecularSystem, restrained: Restrained) -> Engine:
        """The engine of a molecular system at its own temperature, restrained in atoms or in dihedrals."""
        return cls(
            system_xml=molecule.system_xml,
            restrained_atoms=tuple(np.asarray(restrained, dtype=int).tolist()),
            temperature=molecule.temperature,
            friction=molecule.friction,
            time_step=molecule.time_step,
            kt=molecule.kt,
            periodic=molecule.periodic,
            platform=molecule.platform,
            states=molecule.states,
        )

    def context(self, purpose: Purpose) -> tuple[openmm.Context, Restraint | None]:
        """A new context, with the restraint where it is for annealing or for dynamics at one spacetime point."""
        system = openmm.XmlSerializer.deserialize(self.system_xml)
        restraint = None
        arguments = (self.temperature, self.friction, self.time_step)
        constraints = system.getNumConstraints() > 0
        if purpose in ("restrained", "annealing"):
            restraint = make_restraint(self.restrained_atoms, self.kt, self.periodic)
            system.addForce(restraint.force)
        if purpose == "annealing":
            integrator = annealing_integrator(*arguments, constraints)
        elif purpose == "shooting":
            sites = any(system.isVirtualSite(i) for i in range(system.getNumParticles()))
            integrator = shooting_integrator(*arguments, constraints, sites)
        else:
            integrator = openmm.LangevinMiddleIntegrator(*arguments)
        platform = openmm.Platform.getPlatformByName(self.platform)
        properties = {"Threads": "1"} if self.platform == "CPU" else {}
        return openmm.Context(system, integrator, platform, properties), restraint


_NO_ENGINE = "no engine in this process; run the task through a WorkerPool"
_engine: Engine | None = None
_contexts: dict[str, tuple[openmm.Context, Restraint | None]] = {}


def seeded_context(purpose: Purpose, seed: int) -> tuple[openmm.Context, Restraint | None]:
    """This process's context for a purpose, its random numbers started from ``seed``."""
    if _engine is None:
        raise RuntimeError(_NO_ENGINE)
    if purpose not in _contexts:
        _contexts[purpose] = _engine.context(purpose)
    context, restraint = _contexts[purpose]
    if _engine.platform in ("Reference", "CPU"):
        context.getIntegrator().setRandomNumberSeed(seed)
        context.reinitialize()
    return context, restraint


def current_state(positions: FloatArray) -> int:
    """State that positions (atoms, 3) are in: 0 for A, 1 for B, -1 for neither; in a worker."""
    if _engine is None:
        raise RuntimeError(_NO_ENGINE)
    return int(state_indices(_engine.states, positions[None])[0])


def maxwell_boltzmann(context: openmm.Context, temperature: float, rng: np.random.Generator) -> FloatArray:
    """Velocities (atoms, 3) in nm/ps drawn at a temperature, with the context's constraints applied.

    The context must have its positions; its velocities are overwritten.
    """
    system = context.getSystem()
    masses = np.array([system.getParticleMass(i)._value for i in range(system.getNumParticles())])
    with np.errstate(divide="ignore"):
        width = np.where(masses > 0, np.sqrt(MOLAR_GAS_CONSTANT * temperature / masses), 0.0)
    context.setVelocities(rng.normal(size=(len(masses), 3)) * width[:, None])
    if system.getNumConstraints():
        context.applyVelocityConstraints(1e-8)
    return get_velocities(context)


def start_restrained(
    positions: FloatArray,
    temperature: float,
    seed: np.random.SeedSequence,
    purpose: Literal["restrained", "annealing"] = "restrained",
    friction: float | None = None,
) -> tuple[openmm.Context, Restraint]:
    """A restrained context at positions (atoms, 3) in nm, with fresh velocities and thermostat at a temperature.

    The one for annealing records energies at every step, which takes time, and has the system's own friction; for the
    other this is the default, in 1/ps.
    """
    assert _engine is not None
    dynamics_seed, velocity_seed = seed.spawn(2)
    context, restraint = seeded_context(purpose, openmm_seed(dynamics_seed))
    assert restraint is not None
    context.setPositions(positions)
    maxwell_boltzmann(context, temperature, np.random.default_rng(velocity_seed))
    integrator = context.getIntegrator()
    if purpose == "annealing":
        set_temperature(integrator, temperature)
    else:
        integrator.setTemperature(temperature)
        integrator.setFriction(_engine.friction if friction is None else friction)
    return context, restraint


def get_positions(context: openmm.Context) -> FloatArray:
    """Positions (atoms, 3), nm."""
    state = context.getState(positions=True)
    return np.array(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))


def get_velocities(context: openmm.Context) -> FloatArray:
    """Velocities (atoms, 3), nm/ps."""
    state = context.getState(velocities=True)
    return np.array(state.getVelocities(asNumpy=True).value_in_unit(unit.nanometer / unit.picosecond))


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def openmm_seed(sequence: np.random.SeedSequence) -> int:
    """A positive 31-bit seed (OpenMM takes 0 for 'choose one')."""
    return int(sequence.generate_state(1)[0] % (2**31 - 2)) + 1


class Pool(Protocol):
    """What runs tasks: :class:`WorkerPool`, or :class:`InProcessPool`."""

    @property
    def workers(self) -> int:
        """Tasks that run at a time."""

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        chunk: int = 1,
        lost: Callable[[Task], Result] | None = None,
    ) -> Iterator[Result]:
        """Results in the order of the tasks, each as soon as it and those before it are there."""


class WorkerPool:
    """Processes that each simulate one task at a time on one thread.

    They end with the ``with`` block, and also when this process ends or is killed.

    Parameters
    ----------
    engine : Engine
    workers : int, optional
        Number of processes; by default one a core.
    executor : concurrent.futures.Executor, optional
        Where tasks run in place of processes of this machine: ``dask.distributed.Client.get_executor()``, or
        ``mpi4py.futures.MPIPoolExecutor()``. Each of its workers must be a process that runs one task at a time.
        It is not shut down.
    """

    def __init__(self, engine: Engine, workers: int | None = None, executor: Executor | None = None) -> None:
        self.engine = engine
        self.workers = workers or available_cores()
        self._foreign = executor
        self._own = Workers(self.workers, _start_worker, engine)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._own.__exit__(kind, error, trace)

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        chunk: int = 1,
        lost: Callable[[Task], Result] | None = None,
    ) -> Iterator[Result]:
        """Results in the order of the tasks, each as soon as it and those before it are there.

        Parameters
        ----------
        function : callable
            Runs one task in a worker; importable by name.
        tasks : sequence
        chunk : int
            Tasks that a worker takes at a time: more than one for short tasks.
        lost : callable, optional
            Makes the result of a task in which two worker processes have died, one after the other; the other tasks
            go on. Without it, that is an error, as is the first death with an executor.

        Raises
        ------
        DynamicsError
            If worker processes die.
        """
        try:
            if self._foreign is None:
                yield from self._own.map(function, tasks, chunk, lost)
            else:
                yield from self._elsewhere(self._foreign, function, tasks, chunk)
        except (WorkerDiedError, BrokenExecutor) as error:
            hint = "" if self._foreign is None else ", or a script that makes an executor and has no __main__ guard"
            raise DynamicsError(
                f"a worker process died in {getattr(function, '__name__', function)} (out of memory{hint}?); "
                "what is finished is kept: free memory or take fewer --workers, then go on with --resume"
            ) from error

    def _elsewhere(
        self, executor: Executor, function: Callable[[Task], Result], tasks: Sequence[Task], chunk: int
    ) -> Iterator[Result]:
        batches = [tasks[start : start + chunk] for start in range(0, len(tasks), chunk)]
        futures = [executor.submit(_run_batch, function, batch, self.engine) for batch in batches]
        try:
            for future in futures:
                yield from future.result()
        finally:
            for future in futures:
                future.cancel()


class InProcessPool:
    """Runs tasks in this process, each when its result is asked for; there are no workers that could die.

    Use it in a ``with`` block, which makes this process the worker of an engine. Afterwards it is what it was before.

    Parameters
    ----------
    engine : Engine
    """

    workers = 1

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._before: list[tuple[Engine | None, dict[str, tuple[openmm.Context, Restraint | None]]]] = []

    def __enter__(self) -> Self:
        global _contexts
        self._before.append((_engine, _contexts))
        _contexts = {}
        _start_worker(self.engine)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _engine, _contexts
        _engine, _contexts = self._before.pop()

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        chunk: int = 1,
        lost: Callable[[Task], Result] | None = None,
    ) -> Iterator[Result]:
        """Results in the order of the tasks; ``chunk`` and ``lost`` have no effect here."""
        return map(function, tasks)


def _run_batch(function: Callable[[Task], Result], tasks: Sequence[Task], engine: Engine) -> list[Result]:
    """Run tasks in a worker of a user's executor, which may have run others' before."""
    if engine != _engine:
        _start_worker(engine)
    return [function(task) for task in tasks]


def _start_worker(engine: Engine) -> None:
    global _engine
    _engine = engine
    _contexts.clear()
