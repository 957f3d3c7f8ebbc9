"""Transition path sampling: Monte Carlo moves in the space of paths from A to B, of any length.

The ensemble is that of unbiased dynamics: paths whose first frame is in A, whose last is in B and none between in
either, each as often as an endless trajectory shows it. A trial path is shot from a frame k of the old one, drawn with
probability w_k / Σw among the frames between the states. Dynamics that is reversible in probability leaves of the
Metropolis rule only the chances of drawing that frame from either path, so that the trial is accepted with probability
min(1, Σw(old) / Σw(new)): Dellago, Bolhuis & Geissler, Adv. Chem. Phys. 123, 1 (2002); Bolhuis & Swenson, Adv. Theory
Simul. 4, 2000237 (2021); Jung, Okazaki & Hummer, J. Chem. Phys. 147, 152716 (2017) for weights w other than 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from spacetime_tps.arrays import FloatArray
from spacetime_tps.committor.model import CommittorModel
from spacetime_tps.dynamics.shooting import Side, run_side, seed_text
from spacetime_tps.dynamics.workers import maxwell_boltzmann, openmm_seed, seeded_context

MoveKind = Literal["one_way", "two_way"]
KINDS: tuple[MoveKind, ...] = get_args(MoveKind)
Verdict = Literal["accepted", "not_reactive", "rejected", "too_long", "failed"]
"""What came of a trial. One that is rejected has stopped where its length, or weight, settled that."""
_LEAST_WEIGHT = 1e-6  # that every frame can be drawn, however sure the model is


@dataclass(frozen=True)
class Path:
    """A path from A to B.

    Attributes
    ----------
    positions, velocities : array, shape (frames, atoms, 3)
        nm and nm/ps, both at the same time.
    weights : array, shape (frames,)
        Of the draw of a shooting point; zero at both ends.
    born : array of int, shape (frames,)
        Move that has made each frame; 0 for those of the first path of the chain.
    """

    positions: FloatArray
    velocities: FloatArray
    weights: FloatArray
    born: NDArray[np.intp]

    @classmethod
    def first(cls, positions: FloatArray, velocities: FloatArray, model: CommittorModel | None) -> Path:
        """A chain's first path, weighted by a committor model or, without one, uniformly."""
        weights = np.zeros(len(positions))
        weights[1:-1] = selection_weights(model, positions[1:-1])
        return cls(positions, velocities, weights, np.zeros(len(positions), dtype=np.intp))

    def __len__(self) -> int:
        return len(self.positions)

    def reversed(self) -> Path:
        """The same backward in time."""
        return Path(self.positions[::-1], -self.velocities[::-1], self.weights[::-1], self.born[::-1])

    def part(self, start: int, stop: int) -> Path:
        """Frames from ``start`` to ``stop``, without the latter."""
        of = slice(start, stop)
        return Path(self.positions[of], self.velocities[of], self.weights[of], self.born[of])


@dataclass(frozen=True)
class Move:
    """One move of a chain, to be tried in a worker.

    Attributes
    ----------
    path : Path
        Where the chain is.
    kind : str
        ``"two_way"``: fresh Maxwell-Boltzmann velocities at the shooting point and both sides anew; a trial that
        comes out from B to A is taken backward in time. ``"one_way"``: the old velocities, and the past or the future
        anew, with probability ½ each.
    model : CommittorModel or None
        Shooting points are drawn with weights p(1 − p), p its p_B; uniformly without it.
    number : int
        Of the move in its chain, from 1.
    temperature : float
        Of fresh velocities, K.
    frame_steps : int
        Steps between frames.
    max_frames : int
        Of a path, ends included; longer ones are not part of the ensemble.
    seed : SeedSequence
    """

    path: Path
    kind: MoveKind
    model: CommittorModel | None
    number: int
    temperature: float
    frame_steps: int
    max_frames: int
    seed: np.random.SeedSequence


@dataclass(frozen=True)
class MoveResult:
    """What came of a move.

    Attributes
    ----------
    verdict : str
    path : Path or None
        The new path, if it is accepted.
    frame : int
        Shooting point, in the old path.
    direction : str
        ``"forward"``, ``"backward"`` or ``"both"``.
    evaluations : int
    failure : str or None
        What broke, and the seed that breaks it again.
    """

    verdict: Verdict
    path: Path | None
    frame: int
    direction: str
    evaluations: int
    failure: str | None = None


def try_move(move: Move) -> MoveResult:
    """Shoot a trial path, in a worker.

    The random number that decides on acceptance is drawn first: a trial is accepted as long as its Σw stays below
    Σw(old) / ξ, and the one that exceeds that stops there.
    """
    draw_seed, *side_seeds = move.seed.spawn(3)
    rng = np.random.default_rng(draw_seed)
    path = move.path
    frame = int(rng.choice(len(path), p=path.weights / path.weights.sum()))
    room = _Room(move.model, _allowance(path.weights.sum(), rng), move.max_frames - 2)
    if move.kind == "one_way":
        direction = "forward" if rng.random() < 0.5 else "backward"
        verdict, trial, sides = _shoot_one_way(move, frame, direction == "forward", room, side_seeds[0])
    else:
        direction = "both"
        verdict, trial, sides = _shoot_two_way(move, frame, room, rng, side_seeds)
    failure = next((side.failure for side in sides if side.failure is not None), None)
    return MoveResult(
        verdict=verdict,
        path=trial,
        frame=frame,
        direction=direction,
        evaluations=sum(len(side.positions) * move.frame_steps + 1 for side in sides),
        failure=f"{failure} ({seed_text(move.seed)})" if failure else None,
    )


def lost_move(move: Move) -> MoveResult:
    """What stands for a move whose worker process has died."""
    return MoveResult("failed", None, -1, "", 0, f"the worker process died ({seed_text(move.seed)})")


def selection_weights(model: CommittorModel | None, positions: FloatArray) -> FloatArray:
    """Weights of frames (frames, atoms, 3) in the draw of a shooting point, shape (frames,)."""
    if model is None or not len(positions):
        return np.ones(len(positions))
    p = model(positions)
    return np.maximum(p * (1 - p), _LEAST_WEIGHT)


def _allowance(total_weight: float, rng: np.random.Generator) -> float:
    """Σw that a trial must not exceed to be accepted: Σw(old) / ξ, ξ uniform in (0, 1]."""
    return total_weight / (1 - rng.random())


class _Room:
    """What a trial may still grow by: weight before it is sure to be rejected, and frames."""

    def __init__(self, model: CommittorModel | None, weight: float, frames: int) -> None:
        self.model, self.weight, self.frames = model, weight, frames
        self.taken: list[float] = []

    def __call__(self, positions: FloatArray) -> bool:
        """Take one more frame; whether there was room for it."""
        self.taken.append(float(selection_weights(self.model, positions[None])[0]))
        self.frames -= 1
        self.weight -= self.taken[-1]
        return self.frames >= 0 and self.weight >= 0

    def keep(self, kept: Path) -> None:
        """Take frames of the old path that are part of the trial."""
        self.frames -= int(np.count_nonzero(kept.weights))
        self.weight -= kept.weights.sum()

    def verdict(self, outcomes: list[str], wanted: set[str]) -> Verdict:
        """On a trial whose sides have ended in ``outcomes``."""
        if "failed" in outcomes:
            return "failed"
        if "none" in outcomes:
            return "too_long" if self.frames < 0 else "rejected"
        return "accepted" if set(outcomes) == wanted else "not_reactive"


def _shoot_one_way(
    move: Move, frame: int, forward: bool, room: _Room, seed: np.random.SeedSequence
) -> tuple[Verdict, Path | None, list[Side]]:
    path = move.path if forward else move.path.reversed()
    place = frame if forward else len(path) - 1 - frame
    kept = path.part(0, place + 1)
    room.keep(kept)
    side = run_side(path.positions[place], path.velocities[place], move.frame_steps, seed, room)
    verdict = room.verdict([side.outcome], {"B" if forward else "A"})
    if verdict != "accepted":
        return verdict, None, [side]
    trial = _join(kept, _as_path(side, room.taken, move.number))
    return verdict, trial if forward else trial.reversed(), [side]


def _shoot_two_way(
    move: Move, frame: int, room: _Room, rng: np.random.Generator, seeds: list[np.random.SeedSequence]
) -> tuple[Verdict, Path | None, list[Side]]:
    positions = move.path.positions[frame]
    context, _ = seeded_context("shooting", openmm_seed(seeds[0]))
    context.setPositions(positions)
    velocities = maxwell_boltzmann(context, move.temperature, rng)
    point = move.path.part(frame, frame + 1)
    room.keep(point)
    future = run_side(positions, velocities, move.frame_steps, seeds[0], room)
    sides = [future]
    after = _as_path(future, room.taken, move.number)
    if future.outcome in ("A", "B"):
        room.taken = []
        sides.append(run_side(positions, -velocities, move.frame_steps, seeds[1], room))
    verdict = room.verdict([side.outcome for side in sides], {"A", "B"})
    if verdict != "accepted":
        return verdict, None, sides
    past = _as_path(sides[1], room.taken, move.number).reversed()
    trial = _join(past, Path(point.positions, velocities[None], point.weights, point.born), after)
    return verdict, trial if future.outcome == "B" else trial.reversed(), sides


def _as_path(side: Side, weights: list[float], number: int) -> Path:
    """Frames of a side that has reached a state; its last has no weight."""
    return Path(
        positions=np.array(side.positions),
        velocities=np.array(side.velocities),
        weights=np.append(weights, np.zeros(len(side.positions) - len(weights))),
        born=np.full(len(side.positions), number, dtype=np.intp),
    )


def _join(*parts: Path) -> Path:
    positions, velocities, weights, born = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("positions", "velocities", "weights", "born")
    )
    return Path(positions, velocities, weights, born)
