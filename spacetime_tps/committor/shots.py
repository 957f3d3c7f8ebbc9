"""The committor of a frame by one-sided shots: unbiased dynamics from it until A or B is reached."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

import numpy as np

from spacetime_tps.dynamics.shooting import Outcome, Shot, run_side, seed_text
from spacetime_tps.dynamics.workers import maxwell_boltzmann, openmm_seed, seeded_context


@dataclass(frozen=True)
class Commitment:
    """Where a one-sided shot ended.

    Attributes
    ----------
    outcome : str
        The state it reached first, none if the time limit came first, or failed.
    time : float
        Until then, ps.
    evaluations : int
    failure : str or None
        What broke, and the seed that breaks it again.
    """

    outcome: Outcome
    time: float
    evaluations: int
    failure: str | None = None


def commit(shot: Shot) -> Commitment:
    """Fresh Maxwell-Boltzmann velocities, then unbiased dynamics (BAOAB) until a state is reached, in a worker.

    The committor p_B of a frame is the share of such trajectories that reach B before A (Bolhuis, Chandler, Dellago &
    Geissler, Annu. Rev. Phys. Chem. 53, 291 (2002)). A simulation that breaks down is told, not raised.
    """
    velocity_seed, dynamics_seed = shot.seed.spawn(2)
    context, _ = seeded_context("shooting", openmm_seed(dynamics_seed))
    context.setPositions(shot.positions)
    velocities = maxwell_boltzmann(context, shot.temperature, np.random.default_rng(velocity_seed))
    looks = count(1)
    side = run_side(
        shot.positions, velocities, shot.frame_steps, dynamics_seed, lambda _: next(looks) < shot.max_frames
    )
    steps = (len(side.positions) + (side.outcome == "failed")) * shot.frame_steps
    failure = f"{side.failure} ({seed_text(shot.seed)})" if side.failure else None
    return Commitment(side.outcome, steps * shot.time_step, steps + 1, failure)


def lost_commitment(shot: Shot) -> Commitment:
    """What stands for a shot whose worker process has died."""
    return Commitment("failed", 0.0, 0, f"the worker process died ({seed_text(shot.seed)})")
