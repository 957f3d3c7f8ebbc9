"""Annealed Langevin dynamics along a spacetime curve: transition paths of the whole molecule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import openmm

from spacetime_tps.dynamics.restraint import Restraint
from spacetime_tps.dynamics.workers import get_positions, get_velocities, start_restrained
from spacetime_tps.errors import GeometryError
from spacetime_tps.states import FloatArray

_EXPLODED = 1e6  # nm or nm/ps: no molecule, and soon beyond what trajectory files can hold


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

    def at(self, progress: float) -> tuple[FloatArray, float]:
        """Centres and log SNR at a fraction of the time, linear between points."""
        left = min(int(np.searchsorted(self.progress, progress, side="right")), len(self.log_snr) - 1) - 1
        share = (progress - self.progress[left]) / (self.progress[left + 1] - self.progress[left])
        centres = (1 - share) * self.centres[left] + share * self.centres[left + 1]
        return centres, float((1 - share) * self.log_snr[left] + share * self.log_snr[left + 1])

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

    Before each step the restraint is at the spacetime point of that time. Energies at every step come out of the
    step's own force evaluation; the work needs the restraint's alone besides, after each step. A simulation that breaks
    down ends the path and says where.
    """
    context, restraint = start_restrained(task.positions, task.temperature, task.seed, "annealing")
    integrator = context.getIntegrator()
    names = ("potential", "restraint", "restraint_after")
    potential, restraining, restraining_after = (_global_variable(integrator, name) for name in names)
    configurations: list[tuple[FloatArray, FloatArray]] = []
    scalars: list[tuple[float, ...]] = []
    highest, work, failure = -np.inf, 0.0, None
    step = 0
    for step in range(task.steps + 1):
        before = integrator.getGlobalVariable(restraining_after)
        centres, log_snr = task.schedule.at(step / task.steps)
        restraint.update(context, centres, float(np.exp(log_snr)))
        try:
            if step == 0:
                integrator.step(task.equilibration_steps)
            keep = step % task.frame_steps == 0 or step == task.steps
            if keep:
                positions, velocities = get_positions(context), get_velocities(context)
            integrator.step(1)
        except openmm.OpenMMException as error:
            failure = _failure(task, step, log_snr, restraint, str(error))
            break
        energy = integrator.getGlobalVariable(potential)
        if not np.isfinite(energy):
            failure = _failure(task, step, log_snr, restraint, f"potential energy {energy}")
            break
        if keep and max(np.abs(positions).max(), np.abs(velocities).max()) > _EXPLODED:
            failure = _failure(task, step, log_snr, restraint, "the molecule has flown apart")
            break
        held = integrator.getGlobalVariable(restraining)
        work += held - before if step else 0.0
        highest = max(highest, energy)
        if keep:
            configurations.append((positions, velocities))
            scalars.append((step * task.time_step, log_snr, energy, held, highest, work))
            highest = -np.inf
    time, snr, potential_energy, held_energy, highest_energy, done = np.array(scalars).reshape(-1, 6).T
    frames = np.array(configurations).reshape(-1, 2, *task.positions.shape)
    return TransitionPath(
        positions=frames[:, 0],
        velocities=frames[:, 1],
        time=time,
        log_snr=snr,
        potential_energy=potential_energy,
        restraint_energy=held_energy,
        highest_potential_energy=highest_energy,
        work=done,
        evaluations=task.equilibration_steps + step + 1,
        failure=failure,
    )


def _global_variable(integrator: openmm.CustomIntegrator, name: str) -> int:
    names: Sequence[str] = [integrator.getGlobalVariableName(i) for i in range(integrator.getNumGlobalVariables())]
    return names.index(name)


def _failure(task: AnnealingTask, step: int, log_snr: float, restraint: Restraint, what: str) -> str:
    stiffness = restraint.kt * np.exp(log_snr)
    return (
        f"annealing, {task.name}, step {step} of {task.steps}: {what}; the restraint was at progress "
        f"{step / task.steps:.4f} with log SNR {log_snr:.3f} (spring constant {stiffness:.4g} {restraint.unit}). "
        "Take a smaller system.time_step, a longer paths.length or a lower SNR"
    )
