"""What a hundred decorrelated transition paths cost, by every kind of move, beside OpenPathSampling's.

Chains from the reactive trajectories of a main-job run are made longer until as many paths as wanted share no frame
with the path before. OpenPathSampling's figures, of one-way moves with uniform selection from the same trajectories,
are those that ``check_openpathsampling.sh`` has left in the run.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from common import Bench, Result, number, table

from spacetime_tps import sample_path_ensemble
from spacetime_tps.path_ensemble.moves import KINDS
from spacetime_tps.path_ensemble.results import SELECTIONS


@dataclass(frozen=True)
class Row:
    """Moves of one kind: acceptance in %, evaluations of all, for each decorrelated path and for each move."""

    moves: str
    selection: str
    acceptance: float
    decorrelated: int
    evaluations: int
    evaluations_each: float | None
    evaluations_per_move: float
    wall_seconds: float


@dataclass(frozen=True)
class Decorrelation:
    """Costs of decorrelated paths, as :class:`Section`.

    Attributes
    ----------
    paths : int
        Number of decorrelated paths that are wanted.
    chains : int
    moves : int
        Number of moves of each chain between two looks at the count.
    most_moves : int
    """

    name: ClassVar[str] = "decorrelation"
    cost: ClassVar[str] = "3 minutes"
    every_seed: ClassVar[bool] = True
    paths: int = 100
    chains: int = 8
    moves: int = 20
    most_moves: int = 400

    def measure(self, bench: Bench, seed: int) -> Result[Row]:
        """From the run of a seed, whose path ensemble is replaced."""
        output, rows = bench.main_job(seed), []
        for move, selection in itertools.product(KINDS, SELECTIONS):
            moves, decorrelated = 0, 0
            while decorrelated < self.paths and moves < self.most_moves:
                again = {"resume": moves > 0, "overwrite": moves == 0}
                moves += self.moves
                asked = {"move": move, "selection": selection, "chains": self.chains, "seed": seed}
                found = sample_path_ensemble(output, moves=moves, **asked, **again)
                decorrelated = found.decorrelated_paths
            rows.append(
                Row(
                    move.replace("_", "-"),
                    selection,
                    100 * found.acceptance,
                    decorrelated,
                    found.evaluations,
                    found.evaluations_per_decorrelated_path,
                    found.evaluations / (found.moves * self.chains),
                    found.wall_seconds,
                )
            )
        evaluations = sum(row.evaluations for row in rows)
        others = output / "openpathsampling.json"
        if others.is_file():
            theirs = json.loads(others.read_text())["one_way_shooting"]
            rows.append(
                Row(
                    "one-way, OpenPathSampling",
                    "uniform",
                    100 * theirs["acceptance"],
                    len(theirs["chains"]),
                    theirs["evaluations"],
                    theirs["evaluations_to_decorrelation"],
                    theirs["evaluations_per_move"],
                    theirs["wall_seconds"],
                )
            )
        return Result(seed, evaluations, rows)

    def tables(self, results: Sequence[Result[Row]]) -> list[str]:
        """A line for each kind of move of each run."""
        columns = (
            "seed",
            "moves",
            "selection",
            "accepted %",
            "decorrelated",
            "evaluations",
            "each",
            "a move",
            "wall s",
        )
        rows = [
            [
                *(result.seed, row.moves, row.selection, number(row.acceptance), row.decorrelated),
                *(number(row.evaluations), number(row.evaluations_each), number(row.evaluations_per_move)),
                number(row.wall_seconds),
            ]
            for result in results
            for row in result.rows
        ]
        return [table(columns, rows)]
