"""Two-way shooting: unbiased dynamics, forward and backward, from frames between the states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import openmm

from spacetime_tps.arrays import FloatArray
from spacetime_tps.dynamics.workers import (
    current_state,
    get_positions,
    get_velocities,
    maxwell_boltzmann,
    openmm_seed,
    seeded_context,
)

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
    """What broke, and the seed that breaks it again."""

    @property
    def reactive(self) -> bool:
        """Whether the two sides join A and B."""
        return {self.forward, self.backward} == {"A", "B"}


@dataclass(frozen=True)
class Side:
    """Dynamics from a shooting point, which is not among the frames, until a state is reached."""

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
    forward, backward = (
        run_side(shot.positions, way * velocities, shot.frame_steps, seed, _frames_left(shot.max_frames))
        for way, seed in zip((1, -1), side_seeds, strict=True)
    )
    frames = len(forward.positions) + len(backward.positions)
    trajectory = _join(shot, velocities, forward, backward)
    failure = forward.failure or backward.failure
    return ShotResult(
        forward=forward.outcome,
        backward=backward.outcome,
        forward_frames=len(forward.positions),
        backward_frames=len(backward.positions),
        evaluations=frames * shot.frame_steps + 2,
        trajectory=trajectory,
        failure=f"{failure} ({seed_text(shot.seed)})" if failure else None,
    )


def lost_shot(shot: Shot) -> ShotResult:
    """What stands for a shot whose worker process has died."""
    failure = f"the worker process died ({seed_text(shot.seed)})"
    return ShotResult("failed", "failed", 0, 0, evaluations=0, trajectory=None, failure=failure)


def seed_text(seed: np.random.SeedSequence) -> str:
    """The seed as Python that makes it again."""
    return f"SeedSequence({seed.entropy}, spawn_key={seed.spawn_key})"


def run_side(
    positions: FloatArray,
    velocities: FloatArray,
    frame_steps: int,
    seed: np.random.SeedSequence,
    go_on: Callable[[FloatArray], bool],
) -> Side:
    """Unbiased dynamics from a point until a state is reached, in a worker.

    Parameters
    ----------
    positions, velocities : array, shape (atoms, 3)
        nm and nm/ps.
    frame_steps : int
        Steps between two looks at the state.
    seed : SeedSequence
    go_on : callable
        Asked after every frame between the states, with its positions; the outcome is none where it says no.
    """
    context, _ = seeded_context("shooting", openmm_seed(seed))
    context.setPositions(positions)
    context.setVelocities(velocities)
    integrator = context.getIntegrator()
    frames: tuple[list[FloatArray], list[FloatArray]] = ([], [])
    while True:
        try:
            integrator.step(frame_steps)
            now = get_positions(context)
        except openmm.OpenMMException as error:
            return Side(*frames, "failed", f"frame {len(frames[0])}: {error}")
        if not np.isfinite(now).all():
            return Side(*frames, "failed", f"frame {len(frames[0])}: positions are not finite")
        frames[0].append(now)
        frames[1].append(get_velocities(context))
        state = current_state(now)
        if state >= 0:
            return Side(*frames, "A" if state == 0 else "B", None)
        if not go_on(now):
            return Side(*frames, "none", None)


def _frames_left(count: int) -> Callable[[FloatArray], bool]:
    """Says no when it has been asked ``count`` times."""
    left = iter(range(count - 1, -1, -1))
    return lambda _: next(left) > 0


def _join(shot: Shot, velocities: FloatArray, forward: Side, backward: Side) -> ReactiveTrajectory | None:
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
