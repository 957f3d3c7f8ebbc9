"""What the path sampling job is asked for, and what it finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from spacetime_tps.path_ensemble.moves import MoveKind, Verdict

Selection = Literal["uniform", "committor"]
SELECTIONS: tuple[Selection, ...] = get_args(Selection)


@dataclass(frozen=True)
class PathEnsembleRequest:
    """What the path sampling job is asked for; the number of moves may grow later.

    Attributes
    ----------
    move : str
        Kind of the moves.
    selection : str
        How shooting points are drawn.
    chains : int
        Number of Markov chains.
    keep_every : int
        Number of moves between two stored paths.
    seed : int
    settings : mapping of str to object
        Settings that the job goes by, as in YAML, by names such as ``shooting.time_limit``.
    """

    move: MoveKind
    selection: Selection
    chains: int
    keep_every: int
    seed: int
    settings: Mapping[str, object]

    def to_json(self) -> dict[str, object]:
        """The request as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class MoveRow:
    """A move of a chain, and what the path of the chain is after it.

    Attributes
    ----------
    move, chain : int
        Number of the move (from 1) and of the chain (from 0).
    verdict : str
        What came of the trial.
    direction : str
        ``"forward"``, ``"backward"`` or ``"both"``; empty if the worker died.
    frame : int
        Shooting point in the path before; -1 if the worker died.
    frames : int
        Number of frames of the path.
    duration_ps : float
        Duration of the path, ps.
    crossing_frame : int
        First frame of the path that is more likely to reach B than A, by the committor model.
    crossings : mapping of str to float
        Collective variables of that frame by name, rad or nm.
    decorrelated : bool
        Whether the path shares no frame with the last path that was decorrelated.
    evaluations : int
        Number of energy evaluations of the move.
    path : str
        Name of the file of the path; empty where the path is not stored.
    failure : str
        What broke; empty if nothing did.
    """

    move: int
    chain: int
    verdict: Verdict
    direction: str
    frame: int
    frames: int
    duration_ps: float
    crossing_frame: int
    crossings: Mapping[str, float]
    decorrelated: bool
    evaluations: int
    path: str
    failure: str

    def to_json(self) -> dict[str, object]:
        """The row as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> MoveRow:
        """The row that :meth:`to_json` has described.

        Raises
        ------
        ValueError, KeyError, TypeError
            If the content is not what :meth:`to_json` makes.
        """
        if not isinstance(content["crossings"], dict):
            raise TypeError("crossings are not values by name")
        return cls(
            move=int(content["move"]),
            chain=int(content["chain"]),
            verdict=content["verdict"],
            direction=str(content["direction"]),
            frame=int(content["frame"]),
            frames=int(content["frames"]),
            duration_ps=float(content["duration_ps"]),
            crossing_frame=int(content["crossing_frame"]),
            crossings={str(name): float(value) for name, value in content["crossings"].items()},
            decorrelated=bool(content["decorrelated"]),
            evaluations=int(content["evaluations"]),
            path=str(content["path"]),
            failure=str(content["failure"]),
        )


@dataclass(frozen=True)
class Observable:
    """A quantity of paths over all chains.

    Attributes
    ----------
    mean, sd : float
        In the quantity's own unit.
    autocorrelation_moves : float
        Number of moves that are worth an independent path, for this quantity.
    effective_size : float
        Number of independent paths that the sampled paths are worth.
    """

    mean: float
    sd: float
    autocorrelation_moves: float
    effective_size: float

    def to_json(self) -> dict[str, float]:
        """The figures as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class PathEnsembleResult:
    """What ``path_ensemble.json`` holds.

    Attributes
    ----------
    system : str
        Name of the molecule.
    request : PathEnsembleRequest
    moves : int
        Number of moves of each chain.
    max_duration_ps : float
        Longest duration of a path, ps; longer trial paths are rejected.
    acceptance : float
        Share of the moves that were accepted.
    verdicts : mapping of str to int
        Number of moves with each verdict.
    decorrelated_paths : int
        Number of paths that share no frame with the decorrelated path before.
    stored_paths : int
        Number of paths in files.
    evaluations : int
        Number of energy evaluations.
    wall_seconds : float
    duration : Observable
        ps.
    crossings : mapping of str to Observable
        Collective variables where paths cross p_B = 0.5 by the committor model, by name; rad or nm.
    """

    system: str
    request: PathEnsembleRequest
    moves: int
    max_duration_ps: float
    acceptance: float
    verdicts: Mapping[Verdict, int]
    decorrelated_paths: int
    stored_paths: int
    evaluations: int
    wall_seconds: float
    duration: Observable
    crossings: Mapping[str, Observable]

    @property
    def evaluations_per_decorrelated_path(self) -> float | None:
        """Number of energy evaluations for each decorrelated path; None if there is no such path."""
        return self.evaluations / self.decorrelated_paths if self.decorrelated_paths else None

    def to_json(self) -> dict[str, object]:
        """The result as JSON."""
        return {
            "system": self.system,
            **self.request.to_json(),
            "moves": self.moves,
            "max_duration_ps": self.max_duration_ps,
            "acceptance": self.acceptance,
            "verdicts": dict(self.verdicts),
            "decorrelated_paths": self.decorrelated_paths,
            "stored_paths": self.stored_paths,
            "evaluations": self.evaluations,
            "evaluations_per_decorrelated_path": self.evaluations_per_decorrelated_path,
            "wall_seconds": self.wall_seconds,
            "observables": {
                "duration_ps": self.duration.to_json(),
                "crossings": {name: figures.to_json() for name, figures in self.crossings.items()},
            },
        }
