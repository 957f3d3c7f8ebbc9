"""Two-way shooting: unbiased dynamics, forward and backward, from frames between the states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import openmm

from spacetime_tps.dynamics.workers import (
    current_state,
    get_positions,
    get_velocities,
    maxwell_boltzmann,
    openmm_seed,
    seeded_context,
)
from spacetime_tps.states import FloatArray

Outcome = Literal["A", "B", "none", "failed"]
"""The state that one side of a shot reached first; none if the time limit came first."""


@dataclass(frozen=True)
class Shot:
    """One shot to run, in a worker.

    Attributes
    ----------
    positions : array, shape (atoms, 3)
        Shooting point, nm.
    temperature, time_step : float
        K, ps.
    frame_steps : int
        Steps between two looks at the state.
    max_frames : int
        Frames after which a side is given up.
    seed : SeedSequence
    """

    positions: FloatArray
    temperature: float
    time_step: float
    frame_steps: int
    max_frames: int
    seed: np.random.SeedSequence


@dataclass(frozen=True)
class ReactiveTrajectory:
    """Unbiased dynamics from A to B: first frame in A, last in B, none between in either.

    Attributes
    ----------
    positions, velocities : array, shape (frames, atoms, 3)
        nm and nm/ps, both at the same time.
    time : array, shape (frames,)
        ps since the first frame.
    shooting_frame : int
        The frame that it was shot from.
    """

    positions: FloatArray
    velocities: FloatArray
    time: FloatArray
    shooting_frame: int


@dataclass(frozen=True)
class ShotResult:
    """What came of a shot: where both sides ended, and the trajectory if they join A and B."""

    forward: Outcome
    backward: Outcome
    forward_frames: int
    backward_frames: int
    evaluations: int
    trajectory: ReactiveTrajectory | None
    failure: str | None = None

    @property
    def reactive(self) -> bool:
        """Whether the two sides join A and B."""
        return {self.forward, self.backward} == {"A", "B"}


@dataclass(frozen=True)
class _Side:
    positions: list[FloatArray]
    velocities: list[FloatArray]
    outcome: Outcome
    failure: str | None


def shoot(shot: Shot) -> ShotResult:
    """Fresh Maxwell-Boltzmann velocities, then dynamics with them and with their reverse, in a worker.

    The backward side is the time-reversed past of the shooting point: its frames are put in front in reverse order,
    with reversed velocities (Dellago, Bolhuis & Geissler, Adv. Chem. Phys. 123, 1 (2002)). A trajectory from B to A
    is returned as its time reverse, from A to B.
    """
    velocity_seed, *side_seeds = shot.seed.spawn(3)
    context, _ = seeded_context("shooting", openmm_seed(side_seeds[0]))
    context.setPositions(shot.positions)
    velocities = maxwell_boltzmann(context, shot.temperature, np.random.default_rng(velocity_seed))
    forward = _run_side(shot, velocities, side_seeds[0])
    backward = _run_side(shot, -velocities, side_seeds[1])
    frames = len(forward.positions) + len(backward.positions)
    trajectory = _join(shot, velocities, forward, backward)
    return ShotResult(
        forward=forward.outcome,
        backward=backward.outcome,
        forward_frames=len(forward.positions),
        backward_frames=len(backward.positions),
        evaluations=frames * shot.frame_steps + 2,
        trajectory=trajectory,
        failure=forward.failure or backward.failure,
    )


def _run_side(shot: Shot, velocities: FloatArray, seed: np.random.SeedSequence) -> _Side:
    context, _ = seeded_context("shooting", openmm_seed(seed))
    context.setPositions(shot.positions)
    context.setVelocities(velocities)
    integrator = context.getIntegrator()
    side = _Side([], [], "none", None)
    for frame in range(shot.max_frames):
        try:
            integrator.step(shot.frame_steps)
            positions = get_positions(context)
        except openmm.OpenMMException as error:
            return _Side(side.positions, side.velocities, "failed", f"frame {frame}: {error}")
        if not np.isfinite(positions).all():
            return _Side(side.positions, side.velocities, "failed", f"frame {frame}: positions are not finite")
        side.positions.append(positions)
        side.velocities.append(get_velocities(context))
        state = current_state(positions)
        if state >= 0:
            return _Side(side.positions, side.velocities, "A" if state == 0 else "B", None)
    return side


def _join(shot: Shot, velocities: FloatArray, forward: _Side, backward: _Side) -> ReactiveTrajectory | None:
    """Past, shooting point and future as one trajectory from A to B; None if they do not join the states."""
    if {forward.outcome, backward.outcome} != {"A", "B"}:
        return None
    positions = np.array([*backward.positions[::-1], shot.positions, *forward.positions])
    joined = np.array([*(-v for v in backward.velocities[::-1]), velocities, *forward.velocities])
    shooting_frame = len(backward.positions)
    if forward.outcome == "A":
        positions, joined, shooting_frame = positions[::-1], -joined[::-1], len(forward.positions)
    time = np.arange(len(positions), dtype=np.float64) * (shot.frame_steps * shot.time_step)
    return ReactiveTrajectory(positions, joined, time, shooting_frame)
