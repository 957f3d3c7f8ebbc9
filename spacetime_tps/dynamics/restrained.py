"""Equilibrium sampling at one spacetime point: the molecule under its restraint, standing still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openmm

from spacetime_tps.arrays import FloatArray
from spacetime_tps.dynamics.workers import get_positions, start_restrained
from spacetime_tps.errors import DynamicsError
from spacetime_tps.settings.units import MOLAR_GAS_CONSTANT


@dataclass(frozen=True)
class RestrainedTask:
    """Dynamics at a spacetime point, in a worker.

    Attributes
    ----------
    positions : array, shape (atoms, 3)
        Start, nm.
    centres : array, shape (atoms, 3) or (dihedrals, 2)
        y in the restraint's own shape: positions in nm, or (cos, sin).
    log_snr : float
        Of SNR in the inverse square of y's unit.
    temperature : float
        Of the thermostat and of the restraint's spring constant kT·SNR, K.
    equilibration_steps, frame_steps, frames : int
        Steps before the first frame is due, steps between frames, number of frames.
    seed : SeedSequence
    friction : float, optional
        1/ps; by default that of the system.
    """

    positions: FloatArray
    centres: FloatArray
    log_snr: float
    temperature: float
    equilibration_steps: int
    frame_steps: int
    frames: int
    seed: np.random.SeedSequence
    friction: float | None = None

    @property
    def evaluations(self) -> int:
        """Force evaluations it takes."""
        return self.equilibration_steps + self.frames * self.frame_steps


def sample_restrained(task: RestrainedTask) -> FloatArray:
    """Positions (frames, atoms, 3) in nm drawn from p(x|z) with the true force field.

    Raises
    ------
    DynamicsError
        If the simulation breaks down.
    """
    context, restraint = start_restrained(task.positions, task.temperature, task.seed, friction=task.friction)
    integrator = context.getIntegrator()
    scale = MOLAR_GAS_CONSTANT * task.temperature / restraint.kt
    restraint.update(context, task.centres, float(np.exp(task.log_snr)) * scale)
    frames = []
    try:
        integrator.step(task.equilibration_steps)
        for _ in range(task.frames):
            integrator.step(task.frame_steps)
            frames.append(get_positions(context))
            if not np.isfinite(frames[-1]).all():  # the Reference platform does not say so itself
                raise openmm.OpenMMException("positions are not finite")
    except openmm.OpenMMException as error:
        raise DynamicsError(
            f"restrained sampling at log SNR {task.log_snr:.3f} failed: {error}; take a smaller system.time_step or a "
            "lower SNR"
        ) from error
    return np.array(frames)
