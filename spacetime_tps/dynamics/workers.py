"""Worker processes that run independent pieces of dynamics, and the OpenMM contexts they keep.

Each task carries its own seed and the context is seeded anew for it, so results do not depend on the number of
workers. (On GPU platforms contexts are not re-seeded, for that recompiles their kernels.)
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self, TypeVar

import numpy as np
import openmm
from openmm import unit

from spacetime_tps.coordinates.base import Restrained
from spacetime_tps.coordinates.states import FloatArray, State, state_indices
from spacetime_tps.dynamics.integrators import annealing_integrator, set_temperature, shooting_integrator
from spacetime_tps.dynamics.restraint import Restraint, make_restraint
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.errors import DynamicsError
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
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENMM_CPU_THREADS")
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


class WorkerPool:
    """Processes that each simulate one task at a time on one thread.

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
        if executor is None:
            os.environ.update({name: "1" for name in _THREAD_VARIABLES})  # for the workers, who inherit them
            self._processes = self._start()

    def _start(self) -> ProcessPoolExecutor:
        spawn = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.workers, mp_context=spawn, initializer=_start_worker, initargs=(self.engine,))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._foreign is None:
            self._processes.shutdown(wait=kind is None, cancel_futures=True)

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
            Makes the result of a task in which the worker process dies; the other tasks go on. Without it, that is an
            error.

        Raises
        ------
        DynamicsError
            If a worker process dies.
        """
        batches = [tasks[start : start + chunk] for start in range(0, len(tasks), chunk)]
        futures = [self._submit(function, batch) for batch in batches]
        try:
            for index, batch in enumerate(batches):
                try:
                    results = futures[index].result()
                except BrokenExecutor as error:
                    if lost is None or self._foreign is not None:
                        raise DynamicsError(
                            f"a worker process died in {getattr(function, '__name__', function)} (out of memory?); "
                            "finished stages are kept: free memory or take fewer --workers, then go on with --resume"
                        ) from error
                    results = self._one_by_one(function, batch, lost)
                    for later in range(index + 1, len(batches)):
                        if futures[later].done() and futures[later].exception() is not None:
                            futures[later] = self._submit(function, batches[later])
                yield from results
        finally:
            for future in futures:
                future.cancel()

    def _submit(self, function: Callable[[Task], Result], batch: Sequence[Task]) -> Future[list[Result]]:
        if self._foreign is not None:
            return self._foreign.submit(_run_batch, function, batch, self.engine)
        try:
            return self._processes.submit(_run_batch, function, batch)
        except BrokenExecutor:  # one dead process takes all others with it
            self._processes.shutdown()
            self._processes = self._start()
            return self._processes.submit(_run_batch, function, batch)

    def _one_by_one(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], lost: Callable[[Task], Result]
    ) -> list[Result]:
        """Results of tasks run while nothing else is, so that it is known in which a process dies."""
        results = []
        for task in tasks:
            try:
                results += self._submit(function, [task]).result()
            except BrokenExecutor:
                results.append(lost(task))
        return results


def _run_batch(function: Callable[[Task], Result], tasks: Sequence[Task], engine: Engine | None = None) -> list[Result]:
    if engine is not None and engine != _engine:
        _start_worker(engine)
    return [function(task) for task in tasks]


def _start_worker(engine: Engine) -> None:
    global _engine
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _engine = engine
    _contexts.clear()
