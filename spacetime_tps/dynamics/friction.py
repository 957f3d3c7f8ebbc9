"""Friction along a curve of restraints, and the schedule that dissipates least.

Moving a restraint along a curve at the rate ds/dt costs, to linear response, the excess power ζ(s) (ds/dt)² with the
friction ζ(s) = β ∫₀^∞ ⟨δX(0) δX(t)⟩ dt of the force X = ∂U_r/∂s at rest (Sivak & Crooks, Phys. Rev. Lett. 108, 190602
(2012), arXiv 1201.4166). In natural parameters X = −kT (dη/ds)·T(x): its variance in kT is the Fisher-Rao metric
(dη/ds)·Cov[T]·(dη/ds), and ζ is that metric times kT and a relaxation time. Least is dissipated in a given time at a
constant thermodynamic speed, ds/dt ∝ 1/√ζ.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import openmm

from spacetime_tps.arrays import FloatArray
from spacetime_tps.dynamics.annealing import RestraintSchedule
from spacetime_tps.dynamics.integrators import RESTRAINT
from spacetime_tps.dynamics.workers import start_restrained
from spacetime_tps.errors import DynamicsError

LEAST = 0.02
"""Friction that any place is taken to have, in units of the mean: an estimate may come out at zero or below."""


@dataclass(frozen=True)
class FrictionTask:
    """Short restrained windows along a curve, each started where the one before has ended; in a worker.

    Attributes
    ----------
    positions : array, shape (atoms, 3)
        Start of the first window, nm, superposed as the schedule's centres are.
    schedule : RestraintSchedule
    places : array, shape (windows,)
        Where on the curve they are, as progress, in the order in which they are run: rising or falling.
    width : float
        Piece of the curve, as progress, over which X is taken.
    equilibration_steps, frame_steps, frames : int
        In each window: steps before the first frame is due, steps between frames, number of frames.
    temperature : float
        K.
    seed : SeedSequence
    """

    positions: FloatArray
    schedule: RestraintSchedule
    places: FloatArray
    width: float
    equilibration_steps: int
    frame_steps: int
    frames: int
    temperature: float
    seed: np.random.SeedSequence

    @property
    def evaluations(self) -> int:
        """Force evaluations it takes; those of the restraint alone are not among them."""
        return len(self.places) * (self.equilibration_steps + self.frames * self.frame_steps)


def restraint_forces(task: FrictionTask) -> FloatArray:
    """X/kT = β ∂U_r/∂s in every frame of every window, shape (windows, frames), but for a constant in each window.

    It is a difference quotient over ``width``, so s is the schedule's progress.

    Raises
    ------
    DynamicsError
        If the simulation breaks down.
    """
    context, restraint = start_restrained(task.positions, task.temperature, task.seed)
    integrator = context.getIntegrator()
    forces = np.empty((len(task.places), task.frames))
    for window, place in enumerate(task.places):
        low, high = max(0.0, place - task.width / 2), min(1.0, place + task.width / 2)
        (low_at, here, high_at) = (task.schedule.at(at) for at in (low, place, high))

        def put(point: tuple[FloatArray, float]) -> None:
            restraint.update(context, point[0], float(np.exp(point[1])))

        try:
            put(here)
            integrator.step(task.equilibration_steps)
            for frame in range(task.frames):
                integrator.step(task.frame_steps)
                put(low_at)
                below = _restraint_energy(context)
                put(high_at)
                forces[window, frame] = (_restraint_energy(context) - below) / (restraint.kt * (high - low))
                put(here)
            if not np.isfinite(forces[window]).all():  # the Reference platform does not say so itself
                raise openmm.OpenMMException("positions are not finite")
        except openmm.OpenMMException as error:
            raise DynamicsError(
                f"friction, window at progress {place:.3f} with log SNR {here[1]:.3f}: {error}; take a smaller "
                "system.time_step or a lower SNR"
            ) from error
    return forces


def _restraint_energy(context: openmm.Context) -> float:
    """Of the positions and the restraint as they are now, kJ/mol; the molecule's own forces are not evaluated."""
    return float(context.getState(energy=True, groups=1 << RESTRAINT).getPotentialEnergy()._value)


def friction(forces: FloatArray, interval: float, memory: float) -> tuple[FloatArray, FloatArray]:
    """βζ = ∫ ⟨δX(0) δX(t)⟩ dt of forces X in kT, and its standard error, both of shape (windows,).

    Autocorrelations are taken about the mean of all sweeps, so what differs between sweeps counts as correlated. They
    are weighted by 1 − t/memory (Bartlett): that is exact, to linear response, for a piece of the curve that is crossed
    at a constant rate in the time ``memory``, and has no truncation to choose where a stiff restraint makes them
    oscillate. The error is the spread of the sweeps' estimates; with one sweep it is not known (NaN).

    Parameters
    ----------
    forces : array, shape (sweeps, windows, frames)
        X/kT as of :func:`restraint_forces`.
    interval : float
        Time between frames, ps.
    memory : float
        ps; no more than the frames span.
    """
    sweeps, _, frames = forces.shape
    lags = max(1, min(frames - 1, round(memory / interval)))
    deviations = forces - forces.mean(axis=(0, 2), keepdims=True)
    estimates = 0.5 * (deviations**2).mean(axis=2)
    for lag in range(1, lags):
        products = deviations[..., :-lag] * deviations[..., lag:]
        estimates += (1 - lag / lags) * products.mean(axis=2)
    spread = estimates.std(axis=0, ddof=1) if sweeps > 1 else np.full(estimates.shape[1], np.nan)
    return interval * estimates.mean(axis=0), interval * spread / np.sqrt(sweeps)


def allot(schedule: RestraintSchedule, places: FloatArray, values: FloatArray) -> RestraintSchedule:
    """The same curve at constant thermodynamic speed: the time for a piece ds of its progress is ∝ √ζ ds.

    Parameters
    ----------
    schedule : RestraintSchedule
    places : array, shape (windows,)
        Progress at which the friction is known, rising; √ζ is linear between them and constant beyond.
    values : array, shape (windows,)
        Friction ζ per square of progress, in any unit.

    Raises
    ------
    DynamicsError
        If there is no friction anywhere.
    """
    mean = float(np.mean(values))
    if not mean > 0:
        raise DynamicsError(
            f"the friction along the curve is {mean:.3g} on average: its windows are too few or too short; take "
            "paths.schedule: arc_length"
        )
    rates = np.interp(schedule.progress, places, np.sqrt(np.maximum(values, LEAST * mean)))
    return timed(schedule, 0.5 * (rates[1:] + rates[:-1]) * np.diff(schedule.progress))


def uniform(schedule: RestraintSchedule) -> RestraintSchedule:
    """The same curve with the restraint moving at constant speed, as in steered dynamics.

    Speed is that of the restraint's own Gaussian N(y, 1/SNR) in the Wasserstein distance, |dy|² + D dσ² with
    σ = SNR^{−1/2} and D components of y: the centre's speed |dy| where the SNR stays, and the rate at which the
    Gaussian widens or narrows where the centre does.
    """
    components = schedule.centres[0].size
    width = np.exp(-0.5 * schedule.log_snr)
    moves = (np.diff(schedule.centres, axis=0).reshape(len(width) - 1, -1) ** 2).sum(axis=1)
    lengths = np.sqrt(moves + components * np.diff(width) ** 2)
    return timed(schedule, np.maximum(lengths, 1e-6 * lengths.mean()))  # where neither moves


def timed(schedule: RestraintSchedule, durations: FloatArray) -> RestraintSchedule:
    """The same curve with relative durations (points − 1,), all positive, of the pieces between its points."""
    progress = np.concatenate([[0.0], np.cumsum(durations)])
    return replace(schedule, progress=progress / progress[-1])
