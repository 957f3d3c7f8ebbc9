"""A sweep: a walk through restrained windows, each of which starts where the one before has ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spacetime_tps.arrays import FloatArray
from spacetime_tps.dynamics.restrained import RestrainedTask, sample_restrained
from spacetime_tps.errors import OutputError
from spacetime_tps.writing import replacing


@dataclass(frozen=True)
class SweepTask:
    """Windows one after the other, in a worker.

    Attributes
    ----------
    positions : array, shape (atoms, 3)
        Start of the first, nm.
    centres : array, shape (windows, atoms, 3) or (windows, dihedrals, 2)
        y in the restraint's own shape.
    log_snr : array, shape (windows,)
        −∞ where the molecule is free.
    superpose : callable
        Turns frames (frames, atoms, 3) into the restraints' frame of reference: a free molecule tumbles.
    temperature : float
        Of the dynamics and of the restraint's spring constant kT·SNR, K.
    frictions : sequence of float, length windows
        1/ps.
    equilibration_steps, frame_steps : sequence of int, length windows
    frames : int
        Of each window.
    seed : SeedSequence
    """

    positions: FloatArray
    centres: FloatArray
    log_snr: FloatArray
    superpose: Callable[[FloatArray], FloatArray]
    temperature: float
    frictions: Sequence[float]
    equilibration_steps: Sequence[int]
    frame_steps: Sequence[int]
    frames: int
    seed: np.random.SeedSequence

    @property
    def evaluations(self) -> int:
        """Force evaluations it takes."""
        return sum(self.equilibration_steps) + self.frames * sum(self.frame_steps)


def sample_sweep(task: SweepTask) -> FloatArray:
    """Positions (windows, frames, atoms, 3) in nm, each window drawn from its p(x|z) with the true force field.

    Raises
    ------
    DynamicsError
        If a simulation breaks down.
    """
    windows: list[FloatArray] = []
    last = task.positions
    seeds = task.seed.spawn(len(task.log_snr))
    steps = zip(task.equilibration_steps, task.frame_steps, strict=True)
    points = zip(task.centres, task.log_snr, steps, task.frictions, seeds, strict=True)
    for centres, log_snr, (equilibration_steps, frame_steps), friction, seed in points:
        window = RestrainedTask(
            positions=task.superpose(last[None])[0],
            centres=centres,
            log_snr=float(log_snr),
            temperature=task.temperature,
            equilibration_steps=equilibration_steps,
            frame_steps=frame_steps,
            frames=task.frames,
            seed=seed,
            friction=friction,
        )
        windows.append(sample_restrained(window))
        last = windows[-1][-1]
    return np.array(windows)


def write_sweep(file: Path, positions: FloatArray) -> None:
    """Write positions (windows, frames, atoms, 3) in nm; the file is there when all of it is."""
    with replacing(file) as partial:
        np.save(partial, positions)


def read_sweep(file: Path, shape: tuple[int, ...]) -> FloatArray:
    """Positions (windows, frames, atoms, 3) in nm that :func:`write_sweep` has written.

    Raises
    ------
    OutputError
        If the file is damaged, or holds another shape.
    """
    try:
        positions = np.load(file)
    except (OSError, ValueError, EOFError) as error:
        raise OutputError(f"{file} cannot be read ({error}): remove it, and --resume makes it again") from error
    if positions.shape != shape:
        raise OutputError(f"{file} holds {positions.shape}, not {shape}: remove it, and --resume makes it again")
    return np.asarray(positions)
