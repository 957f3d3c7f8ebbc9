"""Annealed Langevin dynamics along a spacetime curve: transition paths of the whole molecule."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import openmm

from spacetime_tps.arrays import FloatArray
from spacetime_tps.dynamics.integrators import set_motion
from spacetime_tps.dynamics.restraint import Restraint
from spacetime_tps.dynamics.workers import get_positions, get_velocities, start_restrained
from spacetime_tps.errors import GeometryError

_EXPLODED = 1e6  # nm or nm/ps: no molecule, and soon beyond what trajectory files can hold
_RECORDS = ("potential", "restraint", "highest", "work")


@dataclass(frozen=True)
class RestraintSchedule:
    """A spacetime curve as centres of a restraint and signal-to-noise ratios, and when each is reached.

    Attributes
    ----------
    centres : array, shape (points, atoms, 3) or (points, dihedrals, 2)
        y in the restraint's own shape: positions in nm, or (cos, sin).
    log_snr : array, shape (points,)
        Of SNR in the inverse square of y's unit.
    progress : array, shape (points,)
        Fraction of the time after which each point is reached, strictly rising from 0 to 1; by default at a constant
        rate.

    Raises
    ------
    GeometryError
        If the progress is not such.
    """

    centres: FloatArray
    log_snr: FloatArray
    progress: FloatArray = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        if not len(self.progress):
            object.__setattr__(self, "progress", np.linspace(0, 1, len(self.log_snr)))
        rising = bool((np.diff(self.progress) > 0).all())
        if self.progress.shape != self.log_snr.shape or not rising or tuple(self.progress[[0, -1]]) != (0, 1):
            raise GeometryError(
                f"the progress of a schedule must rise from 0 to 1, with a value for each of its {len(self.log_snr)} "
                f"points; it is {np.array2string(self.progress, precision=4, threshold=8)}"
            )

    def pieces(self, progress: float | FloatArray) -> tuple[Any, Any]:
        """Points that the schedule has just left at fractions of the time, and its shares of the way to the next."""
        left = np.minimum(np.searchsorted(self.progress, progress, side="right"), len(self.log_snr) - 1) - 1
        return left, (progress - self.progress[left]) / (self.progress[left + 1] - self.progress[left])

    def log_snr_at(self, progress: float | FloatArray) -> Any:
        """At fractions of the time, linear between points."""
        return np.interp(progress, self.progress, self.log_snr)

    def at(self, progress: float) -> tuple[FloatArray, float]:
        """Centres and log SNR at a fraction of the time, linear between points."""
        left, share = self.pieces(progress)
        centres = (1 - share) * self.centres[left] + share * self.centres[left + 1]
        return centres, float(self.log_snr_at(progress))

    def reversed(self) -> RestraintSchedule:
        """The same from its end to its start, each stretch at its own speed."""
        return RestraintSchedule(self.centres[::-1], self.log_snr[::-1], 1 - self.progress[::-1])


@dataclass(frozen=True)
class AnnealingTask:
    """One path to run, in a worker.

    Attributes
    ----------
    name : str
        For messages, such as ``"path 3"``.
    schedule : RestraintSchedule
    positions : array, shape (atoms, 3)
        Start, superposed as the schedule's centres are.
    steps : int
    frame_steps : int
        Steps between stored frames.
    temperature : float
        Of the initial velocities and of the thermostat, K.
    time_step : float
    seed : SeedSequence
    equilibration_steps : int
        Steps under the restraint at the schedule's first point before it begins to move: for paths that must start
        from equilibrium, as those of a free-energy estimate.
    """

    name: str
    schedule: RestraintSchedule
    positions: FloatArray
    steps: int
    frame_steps: int
    temperature: float
    time_step: float
    seed: np.random.SeedSequence
    equilibration_steps: int = 0


@dataclass(frozen=True)
class TransitionPath:
    """An annealed path and the true energies on it.

    Attributes
    ----------
    positions, velocities : array, shape (frames, atoms, 3)
        nm and nm/ps. Velocities are those of the leapfrog, half a step before the positions.
    time : array, shape (frames,)
        ps since the start of the annealing.
    log_snr : array, shape (frames,)
    potential_energy, restraint_energy : array, shape (frames,)
        kJ/mol; the restraint is not part of the potential energy.
    highest_potential_energy : array, shape (frames,)
        Highest potential energy of any step since the frame before, this frame included.
    work : array, shape (frames,)
        Work done on the molecule since the start by moving the restraint, kJ/mol: the sum of
        U_r(x; z_k) − U_r(x; z_{k−1}) over all moves from one spacetime point to the next, with x at rest
        (Crooks, J. Stat. Phys. 90, 1481 (1998)).
    evaluations : int
        Equilibration included.
    failure : str or None
        Why the path ended early; then its frames are those up to the failure.
    """

    positions: FloatArray
    velocities: FloatArray
    time: FloatArray
    log_snr: FloatArray
    potential_energy: FloatArray
    restraint_energy: FloatArray
    highest_potential_energy: FloatArray
    work: FloatArray
    evaluations: int
    failure: str | None = None


def anneal(task: AnnealingTask) -> TransitionPath:
    """Restrained Langevin dynamics while the restraint moves along its schedule, in a worker.

    Before each step the restraint is at the spacetime point of that time; between the schedule's points the integrator
    moves it by itself. Energies at every step come out of the step's own force evaluation; the work needs the
    restraint's alone besides, after each step. A simulation that breaks down ends the path and says where.
    """
    context, restraint = start_restrained(task.positions, task.temperature, task.seed, "annealing")
    integrator = context.getIntegrator()
    steps = np.arange(task.steps + 1)
    pieces, shares = task.schedule.pieces(steps / task.steps)
    keep = (steps % task.frame_steps == 0) | (steps == task.steps)
    turn = np.diff(pieces, prepend=-1) > 0
    begins = np.flatnonzero(keep | np.roll(keep, 1) | turn).tolist()
    configurations: list[tuple[FloatArray, FloatArray]] = []
    scalars: list[tuple[float, ...]] = []
    failure = None
    for begin, end in pairwise([*begins, len(steps)]):
        try:
            if begin == 0:
                _put(context, restraint, task, pieces[0], shares[0], moving=False)
                integrator.step(task.equilibration_steps)
            if turn[begin]:
                _put(context, restraint, task, pieces[begin], shares[begin])
            if keep[begin]:
                positions, velocities = get_positions(context), get_velocities(context)
            integrator.step(end - begin)
        except openmm.OpenMMException as error:
            failure = str(error)
        if begin == 0:
            integrator.setGlobalVariableByName("work", 0.0)  # that of the equilibration's start
        energy, held, highest, work = (integrator.getGlobalVariableByName(name) for name in _RECORDS)
        if failure is None and not np.isfinite(energy):
            failure = f"potential energy {energy}"
        if failure is None and keep[begin] and max(np.abs(positions).max(), np.abs(velocities).max()) > _EXPLODED:
            failure = "the molecule has flown apart"
        if failure is not None:
            failure = _failure(task, end - 1, restraint, failure)
            break
        if keep[begin]:
            configurations.append((positions, velocities))
            highest = energy if begin == 0 else highest
            scalars.append((begin * task.time_step, energy, held, highest, work))
            integrator.setGlobalVariableByName("highest", -math.inf)
    time, potential_energy, held_energy, highest_energy, done = np.array(scalars).reshape(-1, 5).T
    frames = np.array(configurations).reshape(-1, 2, *task.positions.shape)
    return TransitionPath(
        positions=frames[:, 0],
        velocities=frames[:, 1],
        time=time,
        log_snr=task.schedule.log_snr_at(steps[keep][: len(time)] / task.steps),
        potential_energy=potential_energy,
        restraint_energy=held_energy,
        highest_potential_energy=highest_energy,
        work=done,
        evaluations=task.equilibration_steps + end,
        failure=failure,
    )


def _put(
    context: openmm.Context, restraint: Restraint, task: AnnealingTask, piece: int, share: float, moving: bool = True
) -> None:
    """Put the restraint on a piece of the schedule, and set it in motion along it."""
    schedule = task.schedule
    rate = moving / (task.steps * (schedule.progress[piece + 1] - schedule.progress[piece]))
    gain = schedule.log_snr[piece + 1] - schedule.log_snr[piece]
    restraint.update(context, schedule.centres[piece], 0.0, towards=schedule.centres[piece + 1])
    set_motion(context, share, math.log(restraint.kt) + schedule.log_snr[piece] + share * gain, rate, rate * gain)


def _failure(task: AnnealingTask, step: int, restraint: Restraint, what: str) -> str:
    log_snr = task.schedule.log_snr_at(step / task.steps)
    stiffness = restraint.kt * np.exp(log_snr)
    return (
        f"annealing, {task.name}, step {step} of {task.steps}: {what}; the restraint was at progress "
        f"{step / task.steps:.4f} with log SNR {log_snr:.3f} (spring constant {stiffness:.4g} {restraint.unit}). "
        "Take a smaller system.time_step, a longer paths.length (--config) or a lower SNR"
    )
