"""Chains of moves: where they begin, the next move of each, and where they are after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spacetime_tps.committor.model import CommittorModel
from spacetime_tps.dynamics.sampling import whole_steps
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.path_ensemble.moves import Move, MoveResult, Path
from spacetime_tps.path_ensemble.results import MoveRow, PathEnsembleRequest
from spacetime_tps.path_ensemble.statistics import crossing
from spacetime_tps.progress import log
from spacetime_tps.runs.layout import PATH_FILE
from spacetime_tps.settings.run import ShootingSettings


@dataclass(frozen=True)
class Chain:
    """Where a chain is.

    Attributes
    ----------
    path : Path
    crossing_frame : int
        First frame of the path that is more likely to reach B than A.
    reference : int
        Move that made the last decorrelated path.
    kept : str
        Name of the file of the last stored path; empty if there is none.
    kept_born : int
        Youngest move that a frame of that path is from.
    """

    path: Path
    crossing_frame: int
    reference: int
    kept: str
    kept_born: int


@dataclass(frozen=True)
class Chains:
    """All chains after the same number of moves.

    Attributes
    ----------
    chains : tuple of Chain
    done : int
        Number of moves of each chain.
    stored : int
        Number of stored paths.
    new_rows : tuple of MoveRow
        The last moves: those that are in no file yet.
    new_paths : mapping of str to Path
        Stored paths that are in no file yet, by name.
    """

    chains: tuple[Chain, ...]
    done: int
    stored: int
    new_rows: tuple[MoveRow, ...]
    new_paths: Mapping[str, Path]


@dataclass(frozen=True)
class Sampler:
    """Moves chains on.

    Attributes
    ----------
    molecule : MolecularSystem
    model : CommittorModel
        Says where paths cross p_B = 0.5, and selects shooting points if that is asked for.
    request : PathEnsembleRequest
    shooting : ShootingSettings
    seed : callable
        The seed of a move, by the number of the chain and of the move.
    """

    molecule: MolecularSystem
    model: CommittorModel
    request: PathEnsembleRequest
    shooting: ShootingSettings
    seed: Callable[[int, int], np.random.SeedSequence]

    @property
    def frame_steps(self) -> int:
        """Number of time steps between two frames."""
        return whole_steps(self.shooting.frame_interval, self.molecule.time_step, "shooting.frame_interval")

    @property
    def max_frames(self) -> int:
        """Largest number of frames of a path."""
        return max(3, round(self.shooting.time_limit / self.shooting.frame_interval))

    @property
    def max_duration(self) -> float:
        """Longest duration of a path, ps."""
        return (self.max_frames - 1) * self.shooting.frame_interval

    @property
    def selecting(self) -> CommittorModel | None:
        """The model, if it selects the shooting points."""
        return self.model if self.request.selection == "committor" else None

    def begin(self, paths: Sequence[Path]) -> Chains:
        """Chains whose first paths are given."""
        return Chains(tuple(Chain(path, self._crossing(path), 0, "", -1) for path in paths), 0, 0, (), {})

    def moves(self, chains: Chains) -> list[Move]:
        """The next move of each chain, to be tried in workers."""
        number = chains.done + 1
        return [
            Move(
                path=chain.path,
                kind=self.request.move,
                model=self.selecting,
                number=number,
                temperature=self.molecule.temperature,
                frame_steps=self.frame_steps,
                max_frames=self.max_frames,
                seed=self.seed(index, number),
            )
            for index, chain in enumerate(chains.chains)
        ]

    def advance(self, before: Chains, results: Sequence[MoveResult]) -> Chains:
        """The chains after their next move, whose results are given in the order of the chains."""
        number, stored, new_paths = before.done + 1, before.stored, dict(before.new_paths)
        keeping = number % self.request.keep_every == 0
        chains, rows = [], list(before.new_rows)
        for index, (chain, result) in enumerate(zip(before.chains, results, strict=True)):
            path, at, kept, kept_born = chain.path, chain.crossing_frame, chain.kept, chain.kept_born
            if result.failure:
                log.error("chain %d, move %d: %s", index, number, result.failure)
            if result.path is not None:
                path, at = result.path, self._crossing(result.path)
            decorrelated = bool(path.born.min() > chain.reference)
            if keeping and path.born.max() != kept_born:
                kept, kept_born, stored = PATH_FILE.format(stored), int(path.born.max()), stored + 1
                new_paths[kept] = path
            chains.append(Chain(path, at, number if decorrelated else chain.reference, kept, kept_born))
            rows.append(
                MoveRow(
                    move=number,
                    chain=index,
                    verdict=result.verdict,
                    direction=result.direction,
                    frame=result.frame,
                    frames=len(path),
                    duration_ps=(len(path) - 1) * self.shooting.frame_interval,
                    crossing_frame=at,
                    crossings=self._variables(path, at),
                    decorrelated=decorrelated,
                    evaluations=result.evaluations,
                    path=kept if keeping else "",
                    failure=result.failure or "",
                )
            )
        return Chains(tuple(chains), number, stored, tuple(rows), new_paths)

    def _crossing(self, path: Path) -> int:
        return crossing(self.model(path.positions), 0.5)

    def _variables(self, path: Path, frame: int) -> dict[str, float]:
        values = self.molecule.collective_variables(self.molecule.trajectory(path.positions[frame][None]))
        return {name: float(value[0]) for name, value in values.items()}
